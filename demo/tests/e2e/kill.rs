//! Killing sessions over a socket: each thing that a victim may be doing, in both thread models.

use crate::support::{
    ENDLESS, MODELS, Server, TOLD, Wire, kill, kill_now, look, pair, until_gone, until_locked,
    until_runs, until_sending, until_state, until_value, until_waits, until_waits_at,
    until_waits_for_lock,
};

/// To be ended with a bracket: rows without end, or with a limit.
const NUMBERS: &str = "with recursive c(x) as (select 1 union all select x+1 from c";

const WORKERS: [&str; 2] = ["--workers", "3"];

fn each_model(test: impl Fn(&str, &Server)) {
    for model in MODELS {
        let server = Server::start(model, &WORKERS);
        test(model, &server);
    }
}

/// What is accepted answers with one row and one NOTICE, which says this.
#[track_caller]
fn accepted(admin: &mut Wire, sql: &str, said: &str) {
    let answer = admin.ok(sql);
    assert_eq!(answer.columns, [("pg_terminate_session".to_string(), 16)], "{sql}");
    assert_eq!(answer.value(), "t", "{sql}");
    answer.notice().expect("NOTICE", "00000", said);
}

fn table(admin: &mut Wire) {
    admin.ok("create table stock (id integer primary key, left_over integer)");
    admin.ok("insert into stock values (1, 10), (2, 20)");
}

#[test]
fn an_idle_victim_is_told_and_gone() {
    each_model(|model, server| {
        let mut admin = server.admin();
        for sql in [kill, kill_now] {
            let mut victim = server.user("ann");
            let session = victim.session();
            until_state(&mut admin, session, "idle");
            let sql = sql(model, session);
            // Its thread may not have put it down yet: then it was between statements.
            accepted(&mut admin, &sql, &format!("session {session} was "));
            // Not a word is sent by the client, and it is told all the same.
            let fatal = victim.expect_killed();
            assert!(fatal.detail().contains("omm"), "the author is named: {fatal:?}");
            until_gone(&mut admin, session);
            admin.fails(&sql).expect("ERROR", "42704", &session.to_string());
            assert_ne!(server.user("ann").session(), session, "a number is given out once");
        }
    });
}

#[test]
fn a_victim_whose_answer_has_only_just_come_is_told() {
    each_model(|model, server| {
        let mut admin = server.admin();
        for round in 0..400 {
            let mut victim = server.user("ann");
            let session = victim.session();
            admin.ok(&if round % 2 == 0 { kill(model, session) } else { kill_now(model, session) });
            victim.expect_killed();
        }
    });
}

#[test]
fn a_session_that_has_run_nothing_yet_can_be_killed() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let find = "select sessionid from pg_stat_activity where usename = 'ann'";
        let session: i64 = admin.ok(find).value().parse().unwrap();
        admin.ok(&kill(model, session));
        victim.expect_killed();
        until_gone(&mut admin, session);
    });
}

#[test]
fn without_immediate_a_running_statement_finishes_and_delivers_its_rows() {
    each_model(|model, server| {
        let (mut admin, mut victim, mut holder) =
            (server.admin(), server.user("ann"), server.user("bob"));
        table(&mut admin);
        let session = victim.session();
        holder.ok("begin");
        holder.ok("update stock set left_over = 9 where id = 1");
        victim.start("update stock set left_over = left_over - 1 where id = 1 returning left_over");
        until_waits_for_lock(&mut admin, session);
        accepted(&mut admin, &kill(model, session), "it ends when the statement does");
        // It runs on, for as long as it takes.
        for _ in 0..20 {
            assert_eq!(look(&mut admin, session).expect("still there").state, "active");
        }
        holder.ok("commit");
        let answer = victim.finish();
        assert_eq!((answer.value(), answer.status), ("8", Some('I')), "{answer:?}");
        assert_eq!(answer.tags, ["UPDATE 1"]);
        victim.expect_killed();
        until_gone(&mut admin, session);
        assert_eq!(admin.ok("select left_over from stock where id = 1").value(), "8");
    });
}

#[test]
fn without_immediate_a_slow_reader_gets_all_its_rows() {
    const ROWS: usize = 40_000;
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let session = victim.session();
        // More than the sockets hold: the statement waits for its client to read.
        victim.start(&format!("{NUMBERS} limit {ROWS}) select x, hex(zeroblob(200)) from c"));
        until_sending(&mut admin, session);
        accepted(&mut admin, &kill(model, session), "it ends when the statement does");
        let answer = victim.finish();
        assert_eq!((answer.rows.len(), answer.status), (ROWS, Some('I')));
        victim.expect_killed();
    });
}

#[test]
fn immediate_ends_a_statement_whose_client_does_not_read() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let session = victim.session();
        victim.start(&format!("{NUMBERS} limit 40000) select x, hex(zeroblob(200)) from c"));
        until_sending(&mut admin, session);
        accepted(&mut admin, &kill_now(model, session), &session.to_string());
        until_gone(&mut admin, session);
        // What was on its way may still come, and then the end.
        victim.rest();
    });
}

#[test]
fn immediate_ends_whatever_runs() {
    each_model(|model, server| {
        let (mut admin, mut holder) = (server.admin(), server.user("bob"));
        table(&mut admin);
        holder.ok("begin");
        holder.ok("update stock set left_over = 0 where id = 1");
        for (sql, found) in [
            (ENDLESS, "running statement"),
            ("select pg_sleep(3600)", "waiting in statement"),
            // A wait for a lock is a wait between many tries.
            ("update stock set left_over = 0 where id = 2", "statement"),
            ("insert into stock select 5, 1", "statement"),
        ] {
            let mut victim = server.user("ann");
            let session = victim.session();
            victim.start(sql);
            let seen = match found {
                "running statement" => until_runs(&mut admin, session, sql),
                "waiting in statement" => until_waits(&mut admin, session),
                _ => until_waits_for_lock(&mut admin, session),
            };
            let answer = admin.ok(&kill_now(model, session));
            let notice = answer.notice();
            notice.expect("NOTICE", "00000", found);
            assert!(notice.message().contains(&format!("on thread {}", seen.pid)), "{notice:?}");
            let answer = victim.finish();
            answer.expect_killed();
            assert!(answer.rows.is_empty(), "{answer:?}");
            until_gone(&mut admin, session);
        }
        holder.ok("commit");
        assert_eq!(admin.ok("select group_concat(left_over) from stock").value(), "0,20");
    });
}

#[test]
fn immediate_ends_the_extended_protocol_s_statements_too() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let session = victim.session();
        victim.parse("", "select pg_sleep($1)", &[]);
        victim.bind("", "", &[(0, Some(b"3600"))], &[]);
        victim.execute("", 0);
        victim.sync();
        until_waits(&mut admin, session);
        accepted(&mut admin, &kill_now(model, session), "waiting in statement");
        let answer = victim.rest();
        answer.expect_killed();
        assert_eq!(answer.kinds, "12E");
    });
}

#[test]
fn immediate_ends_a_load_whose_client_has_stopped() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        table(&mut admin);
        let session = victim.session();
        victim.start("copy stock from stdin");
        victim.until('G');
        victim.send(b'd', b"7\t70\n");
        // It has the row, and thereby the lock, and waits for the next.
        let mut other = server.user("bob");
        until_locked(&mut other, "update stock set left_over = 20 where id = 2");
        until_waits_at(&mut admin, session, "stream.rs");
        accepted(&mut admin, &kill_now(model, session), "statement");
        victim.expect_killed();
        until_gone(&mut admin, session);
        assert_eq!(admin.ok("select count(*) from stock").value(), "2");
        admin.ok("insert into stock values (7, 70)");
    });
}

#[test]
fn a_session_idle_in_its_transaction_is_rolled_back() {
    each_model(|model, server| {
        let (mut admin, mut other) = (server.admin(), server.user("bob"));
        table(&mut admin);
        for sql in [kill, kill_now] {
            let mut victim = server.user("ann");
            let session = victim.session();
            victim.ok("begin");
            victim.ok("update stock set left_over = -1");
            until_state(&mut admin, session, "idle in transaction");
            accepted(&mut admin, &sql(model, session), "was idle in transaction");
            victim.expect_killed();
            until_gone(&mut admin, session);
            // Its lock has gone with it.
            other.ok("update stock set left_over = left_over + 1 where id = 1");
            assert_eq!(admin.ok("select min(left_over) > 0 from stock").value(), "1");
        }
        // The same for one that has only read, and holds no lock.
        let mut victim = server.user("ann");
        let session = victim.session();
        victim.ok("begin");
        victim.ok("select * from stock");
        until_state(&mut admin, session, "idle in transaction");
        accepted(&mut admin, &kill(model, session), "was idle in transaction");
        victim.expect_killed();
    });
}

#[test]
fn disconnect_waits_for_the_end_of_the_transaction() {
    each_model(|model, server| {
        let mut admin = server.admin();
        table(&mut admin);
        for (end, tag, left) in [("commit", "COMMIT", "12"), ("rollback", "ROLLBACK", "12")] {
            let mut victim = server.user("ann");
            let session = victim.session();
            victim.ok("begin");
            victim.ok("update stock set left_over = left_over + 1 where id = 1");
            until_state(&mut admin, session, "idle in transaction");
            let sql = format!(
                "ALTER SYSTEM DISCONNECT SESSION '{}' POST_TRANSACTION",
                pair(model, session)
            );
            accepted(&mut admin, &sql, "it ends when the transaction does");
            victim.ok("update stock set left_over = left_over + 1 where id = 1");
            until_state(&mut admin, session, "idle in transaction");
            let answer = victim.query(end);
            assert_eq!((answer.tags, answer.status), (vec![tag.to_string()], Some('I')));
            victim.expect_killed();
            until_gone(&mut admin, session);
            assert_eq!(admin.ok("select left_over from stock where id = 1").value(), left);
        }
        // Without a transaction there is nothing to wait for.
        let mut victim = server.user("ann");
        let session = victim.session();
        until_state(&mut admin, session, "idle");
        let pair = pair(model, session);
        admin.ok(&format!("alter system disconnect session '{pair}' post_transaction;"));
        victim.expect_killed();
    });
}

#[test]
fn the_stronger_kill_wins() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let session = victim.session();
        let pair = pair(model, session);
        victim.ok("begin");
        victim.start("select pg_sleep(3600)");
        until_waits(&mut admin, session);
        admin.ok(&format!("alter system disconnect session '{pair}' post_transaction"));
        accepted(&mut admin, &kill(model, session), "; it ends when the statement does");
        // A weaker one takes nothing back.
        let weaker = format!("alter system disconnect session '{pair}' post_transaction");
        accepted(
            &mut admin,
            &weaker,
            "; it ends when the statement does, as it had been told before",
        );
        assert_eq!(look(&mut admin, session).expect("it sleeps on").state, "active");
        let notice = admin.ok(&kill_now(model, session)).notice().message().to_string();
        assert!(!notice.contains("told before"), "{notice}");
        victim.finish().expect_killed();
    });
}

#[test]
fn a_cancel_that_comes_after_a_deferred_kill_ends_both() {
    each_model(|model, server| {
        let (mut admin, mut victim) = (server.admin(), server.user("ann"));
        let session = victim.session();
        victim.start("select pg_sleep(3600)");
        until_waits(&mut admin, session);
        admin.ok(&kill(model, session));
        victim.cancel();
        let answer = victim.finish();
        answer.error().expect("ERROR", "57014", "canceling statement");
        victim.expect_killed();
    });
}

#[test]
fn a_session_that_kills_itself_sees_fatal_and_no_row() {
    each_model(|model, server| {
        let mut watch = server.admin();
        let self_kills = [
            (kill as fn(&str, i64) -> String, "in its own words"),
            (kill_now, "at once"),
            (|_, session| format!("select pg_terminate_session(pg_backend_pid(), {session})"), "f"),
            (|_, _| "select pg_terminate_backend(pg_backend_pid())".to_string(), "by thread"),
            (|_, _| "select pg_terminate_backend(pg_backend_pid(), 1000)".to_string(), "waits"),
        ];
        for (sql, how) in self_kills {
            let mut victim = server.user("ann");
            let session = victim.session();
            let answer = victim.query(&sql(model, session));
            assert!(answer.rows.is_empty() && answer.status.is_none(), "{how}: {answer:?}");
            answer.error().expect("FATAL", "57P01", TOLD);
            until_gone(&mut watch, session);
        }
    });
}

#[test]
fn many_idle_victims_are_all_told() {
    each_model(|_, server| {
        let mut admin = server.admin();
        let mut victims: Vec<_> = (0..60).map(|_| server.user("ann")).collect();
        let sql = "select pg_terminate_session(case pid when 0 then 0 else pid end, sessionid) \
                   from pg_stat_activity where usename = 'ann'";
        let answer = admin.ok(sql);
        assert_eq!(answer.rows, vec![vec![Some("t".to_string())]; 60]);
        victims.iter_mut().for_each(|victim| {
            victim.expect_killed();
        });
        let count = "select count(*) from pg_stat_activity where usename = 'ann'";
        until_value(&mut admin, count, "0");
    });
}
