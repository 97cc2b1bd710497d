//! Kills and cancels that are refused: each is a clear error for its author, and no session
//! notices. And the functions of the same names, which warn instead.

use crate::support::{
    CANCELLED, ENDLESS, Fields, MODELS, Server, TOLD, Wire, cstr, kill, kill_now, look, pair,
    until_gone, until_runs, until_state, until_waits, wait_until,
};

/// A server with a session beside the others that must not notice anything.
fn each_model(test: impl Fn(&str, &Server)) {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "3"]);
        let mut bystander = server.user("zoe");
        let session = bystander.session();
        bystander.ok("begin");
        test(model, &server);
        assert_eq!(bystander.session(), session);
        assert_eq!(bystander.ok("commit").status, Some('I'));
    }
}

/// It answers `f` and a WARNING.
#[track_caller]
fn warns(by: &mut Wire, call: &str, code: &str, message: &str) {
    let answer = by.ok(&format!("select {call}"));
    assert_eq!(answer.columns[0].1, 16, "a boolean");
    assert_eq!(answer.value(), "f", "{call}");
    answer.notice().expect("WARNING", code, message);
}

#[track_caller]
fn number(by: &mut Wire, sql: &str) -> i64 {
    by.ok(sql).value().parse().expect("a number")
}

#[track_caller]
fn invalid(error: &Fields) {
    error.expect("ERROR", "42704", "missing or invalid session ID");
    assert!(error.hint().contains("'thread_id, session_id'"), "{error:?}");
}

#[test]
fn malformed_strings() {
    each_model(|_, server| {
        let mut admin = server.admin();
        for ids in [
            "",
            " ",
            "1",
            "s",
            "1 1",
            "1,",
            ",1",
            ",",
            "1,1,1",
            "-1, 1",
            "1, -1",
            "+1, 1",
            "1.0, 1",
            "1e3, 1",
            "0x1, 1",
            "1; 1",
            "\u{661}, 1",
            "1, 0",
            "0, 0",
            "9223372036854775808, 1",
            "1, 9223372036854775808",
            "1, 18446744073709551616",
            "1, 99999999999999999999999999",
        ] {
            for tail in ["", " immediate", ";"] {
                invalid(&admin.fails(&format!("alter system kill session '{ids}'{tail}")));
            }
            let disconnect = format!("alter system disconnect session '{ids}' post_transaction");
            invalid(&admin.fails(&disconnect));
        }
        let digits = "1".repeat(1 << 20);
        invalid(&admin.fails(&format!("alter system kill session '{digits}, 1'")));
        invalid(&admin.fails(&format!("alter system kill session '1, {digits}'")));
        let error = admin.fails(&format!("select pg_terminate_session({digits}, '{digits}')"));
        assert_eq!(error.severity(), "ERROR");
    });
}

#[test]
fn malformed_statements() {
    each_model(|_, server| {
        let mut admin = server.admin();
        for tail in [
            "kill session",
            "kill session 1, 2",
            "kill session '1, 2' now",
            "kill session '1, 2' immediate immediate",
            "kill session '1, 2",
            "kill",
            "disconnect session '1, 2'",
            "disconnect session '1, 2' immediate",
        ] {
            let error = admin.fails(&format!("alter system {tail}"));
            error.expect("ERROR", "42601", "");
        }
    });
}

#[test]
fn a_zero_byte() {
    each_model(|_, server| {
        // In a query there is no room for it: the string ends there and the message does not.
        let mut admin = server.admin();
        admin.send(b'Q', b"alter system kill session '1\0, 1'\0");
        let answer = admin.finish();
        answer.errors[0].expect(answer.errors[0].severity(), "08P01", "invalid message format");
        // As a parameter it gets through to whoever reads it.
        for call in ["pg_terminate_session($1, $2)", "pg_cancel_session($1, $2)"] {
            let mut admin = server.admin();
            admin.parse("", &format!("select {call}"), &[25, 25]);
            admin.bind("", "", &[(0, Some(b"1\0")), (0, Some(b"1"))], &[]);
            admin.execute("", 0);
            admin.sync();
            let answer = admin.finish();
            assert_eq!((answer.error().severity(), answer.status), ("ERROR", Some('I')));
            assert!(answer.rows.is_empty());
        }
    });
}

#[test]
fn sessions_and_threads_that_are_not_there() {
    each_model(|model, server| {
        let mut admin = server.admin();
        let unknown = i64::MAX;
        for sql in [kill(model, unknown), kill_now(model, unknown)] {
            admin.fails(&sql).expect("ERROR", "42704", "no such session: 9223372036854775807");
        }
        let mut gone = server.user("ann");
        let session = gone.session();
        gone.send(b'X', &[]);
        until_gone(&mut admin, session);
        let error = admin.fails(&kill_now(model, session));
        error.expect("ERROR", "42704", "session");

        let both = format!("alter system kill session '{unknown}, {unknown}'");
        admin.fails(&both).expect("ERROR", "42704", &unknown.to_string());
        let pair = pair(model, unknown);
        warns(&mut admin, &format!("pg_terminate_session({pair})"), "42704", "no such session");
        warns(&mut admin, &format!("pg_cancel_session({pair})"), "42704", "no such session");
        for pid in ["0", "-1", "1", "9223372036854775807"] {
            warns(&mut admin, &format!("pg_terminate_backend({pid})"), "42704", pid);
            warns(&mut admin, &format!("pg_cancel_backend({pid})"), "42704", pid);
        }
    });
}

#[test]
fn threads_and_sessions_that_do_not_belong_together() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let (session, own) = (victim.session(), admin.session());
        // Another session's number is no thread's in a pool, and another thread's without one.
        for thread in [own, session + 1, i64::MAX] {
            let ids = format!("{thread}, {session}");
            let error = admin.fails(&format!("alter system kill session '{ids}'"));
            error.expect("ERROR", "22023", "don't belong together");
            warns(&mut admin, &format!("pg_terminate_session({ids})"), "22023", "belong together");
            warns(&mut admin, &format!("pg_cancel_session({ids})"), "22023", "belong together");
        }
        if model == "off" {
            let error = admin.fails(&format!("alter system kill session '0, {session}'"));
            error.expect("ERROR", "22023", "don't belong together");
        }
        assert_eq!(victim.session(), session);
    });
}

#[test]
fn in_a_pool_one_number_twice_is_the_session_on_that_thread() {
    let server = Server::start("on", &["--workers", "2"]);
    let (mut admin, mut victim) = (server.admin(), server.user("ann"));
    let session = victim.session();
    until_state(&mut admin, session, "idle");
    let error = admin.fails(&format!("alter system kill session '{session}, {session}'"));
    error.expect("ERROR", "42704", "no such thread");
    assert!(error.hint().contains("0, session_id"), "{error:?}");

    victim.start("select pg_sleep(3600)");
    let seen = until_waits(&mut admin, session);
    // Any thread that the session could have been on will do for the session itself.
    let other =
        number(&mut admin, "select threadid from pg_stat_activity where pid = pg_backend_pid()");
    assert_ne!(other, seen.pid);
    let answer = admin.ok(&format!("alter system kill session '{other}, {session}'"));
    assert!(answer.notice().message().contains(&format!("on thread {}", seen.pid)));
    let now = format!("alter system kill session '{0}, {0}' immediate", seen.pid);
    let answer = admin.ok(&now);
    assert!(answer.notice().message().starts_with(&format!("session {session} ")), "{answer:?}");
    victim.finish().expect_killed();
    until_gone(&mut admin, session);
}

#[test]
fn background_threads_are_no_sessions() {
    each_model(|_, server| {
        let mut admin = server.admin();
        let rows = admin.ok("select pid, application_name from pg_stat_activity \
             where pid = sessionid and client_addr is null and application_name not like 'worker%'");
        assert!(!rows.rows.is_empty());
        for row in rows.rows {
            let (pid, name) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
            let kill = format!("alter system kill session '{pid}, {pid}'");
            if name == "emergency lane" {
                // It runs sessions, though none now: unless the workers are slow to come, and it is
                // the lane that runs this.
                wait_until("the lane runs no session", || {
                    let mut admin = server.admin();
                    let answer = admin.query(&kill);
                    if answer.status.is_some() {
                        // One of several ends after a while.
                        let ended = answer.error().message().starts_with("no such thread");
                        let said = if ended { "" } else { "runs no session" };
                        answer.error().expect("ERROR", "42704", said);
                    }
                    answer.status.is_some()
                });
                continue;
            }
            let error = admin.fails(&kill);
            error.expect("ERROR", "42809", name);
            let both = format!("pg_terminate_session({pid}, {pid})");
            warns(&mut admin, &both, "42809", "background thread");
            let alone = format!("pg_terminate_backend({pid})");
            warns(&mut admin, &alone, "42809", "background thread");
        }
        let workers = admin
            .ok("select pid from pg_stat_activity where pid = sessionid and \
                 application_name like 'worker%'")
            .rows;
        for row in workers {
            let pid = row[0].as_deref().unwrap();
            let error = admin.fails(&format!("alter system kill session '0, {pid}'"));
            error.expect("ERROR", "42809", "is a worker, not a session");
        }
        assert_eq!(server.user("ann").ok("select 1").value(), "1");
    });
}

#[test]
fn users_may_end_what_is_their_own() {
    each_model(|model, server| {
        let mut admin = server.admin();
        let (mut ann, mut second, mut bob) =
            (server.user("ann"), server.user("ann"), server.user("bob"));
        let target = bob.session();
        bob.start("select pg_sleep(3600)");
        let pid = until_waits(&mut admin, target).pid;
        let pair_of_bob = pair(model, target);
        for sql in [
            kill(model, target),
            kill_now(model, target),
            format!("alter system disconnect session '{pair_of_bob}' post_transaction"),
        ] {
            ann.fails(&sql).expect("ERROR", "42501", "permission denied to end session");
        }
        for call in [
            format!("pg_terminate_session({pair_of_bob})"),
            format!("pg_cancel_session({pair_of_bob})"),
            format!("pg_terminate_backend({pid})"),
            format!("pg_terminate_backend({pid}, 100)"),
            format!("pg_cancel_backend({pid})"),
        ] {
            warns(&mut ann, &call, "42501", "permission denied to end session");
        }
        assert_eq!(look(&mut admin, target).expect("it sleeps on").state, "active");
        // An administrator is whoever the command line says, and their sessions no exception.
        let chief = admin.session();
        ann.fails(&kill(model, chief)).expect("ERROR", "42501", "permission denied to end session");
        // To say so does not make one.
        ann.query("set is_superuser = on");
        ann.query("set session_authorization = omm");
        ann.fails(&kill(model, chief)).expect("ERROR", "42501", "permission denied to end session");

        let own = second.session();
        assert_eq!(ann.ok(&kill(model, own)).value(), "t");
        second.expect_killed();
        assert_eq!(admin.ok(&format!("select pg_cancel_session({pair_of_bob})")).value(), "t");
        bob.finish().error().expect("ERROR", "57014", CANCELLED);
    });
}

#[test]
fn functions_terminate() {
    each_model(|model, server| {
        let mut admin = server.admin();
        for call in ["pg_terminate_session", "pg_terminate_backend", "with a limit"] {
            let mut victim = server.user("ann");
            let session = victim.session();
            victim.start(ENDLESS);
            let pid = until_runs(&mut admin, session, ENDLESS).pid;
            let answer = match call {
                "pg_terminate_session" => {
                    admin.ok(&format!("select {call}({})", pair(model, session)))
                }
                "pg_terminate_backend" => admin.ok(&format!("select {call}({pid})")),
                _ => admin.ok(&format!("select pg_terminate_backend({pid}, 300000)")),
            };
            assert_eq!(answer.value(), "t");
            assert!(answer.notices.is_empty(), "{answer:?}");
            if call == "with a limit" {
                assert!(look(&mut admin, session).is_none(), "it has ended by then");
            }
            victim.finish().expect_killed();
            until_gone(&mut admin, session);
        }
        let error = admin.fails("select pg_terminate_backend(1, -1)");
        error.expect("ERROR", "22003", "\"timeout\" must not be negative");
        assert_eq!(admin.ok("select pg_terminate_backend(null)").value(), "NULL");
        assert_eq!(admin.ok("select pg_terminate_session(1, null)").value(), "NULL");
        // One that has vanished doesn't stop the rest.
        let mut victim = server.user("ann");
        let session = victim.session();
        let ids = format!("({}), ({})", pair(model, i64::MAX), pair(model, session));
        let answer = admin.ok(&format!(
            "with them(t, s) as (values {ids}) select pg_terminate_session(t, s) from them"
        ));
        assert_eq!(answer.rows, [[Some("f".to_string())], [Some("t".to_string())]]);
        answer.notice().expect("WARNING", "42704", "no such session");
        victim.expect_killed();
    });
}

#[test]
fn functions_cancel() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let session = victim.session();
        until_state(&mut admin, session, "idle");
        let idle = format!("pg_cancel_session({})", pair(model, session));
        warns(&mut admin, &idle, "55000", "runs no statement");
        for statement in [ENDLESS, "select pg_sleep(3600)"] {
            for by_session in [true, false] {
                victim.start(statement);
                let seen = match statement {
                    ENDLESS => until_runs(&mut admin, session, statement),
                    _ => until_waits(&mut admin, session),
                };
                let pid = seen.pid;
                let call = match by_session {
                    true => format!("select pg_cancel_session({})", pair(model, session)),
                    false => format!("select pg_cancel_backend({pid})"),
                };
                assert_eq!(admin.ok(&call).value(), "t");
                let answer = victim.finish();
                answer.error().expect("ERROR", "57014", CANCELLED);
                assert_eq!(answer.status, Some('I'));
            }
        }
        assert_eq!(victim.session(), session);
    });
}

#[test]
fn a_kill_among_other_statements() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let session = victim.session();
        let sql = format!("select 1; /* here */ {}; select 2", kill(model, session));
        let answer = admin.ok(&sql);
        assert_eq!(answer.rows.len(), 3, "{answer:?}");
        victim.expect_killed();

        let (mut admin, mut watch) = (server.admin(), server.admin());
        let own = admin.session();
        let answer = admin.query(&format!("select 1; {}; select 2", kill(model, own)));
        assert_eq!(answer.rows, [[Some("1".to_string())]], "{answer:?}");
        answer.error().expect("FATAL", "57P01", TOLD);
        until_gone(&mut watch, own);

        // By the extended protocol, in binary.
        let mut victim = server.user("ann");
        let session = victim.session();
        watch.send(b'P', &[cstr("k"), cstr(&kill(model, session)), vec![0, 0]].concat());
        watch.bind("", "k", &[], &[1]);
        watch.describe(b'P', "");
        watch.execute("", 0);
        watch.sync();
        let answer = watch.finish();
        assert_eq!(answer.raw, [[Some(vec![1])]], "{answer:?}");
        victim.expect_killed();
        // And again: it is another time, and the session is gone.
        until_gone(&mut watch, session);
        watch.bind("", "k", &[], &[1]);
        watch.execute("", 0);
        watch.sync();
        let answer = watch.finish();
        answer.error().expect("ERROR", "42704", &session.to_string());
        assert_eq!(answer.status, Some('I'));
    });
}
