//! Portals and cursors that are fetched bit by bit: the threads that they keep, and what ends them.
//! `tests/truth/portal_cases.py` compares their rows with PostgreSQL's.

use crate::support::{
    MODELS, STALL, Server, Wire, kill_now, look, until_answer, until_gone, until_runs, until_state,
    wait_until,
};

const NUMBERS: &str =
    "with recursive g(x) as (select 1 union all select x + 1 from g) select x from g";

fn each_model(options: &[&str], test: impl Fn(&str, &Server)) {
    for model in MODELS {
        test(model, &Server::start(model, options));
    }
}

/// Opens a block, and a portal without end of which one row was fetched.
#[track_caller]
fn suspend(client: &mut Wire) {
    client.ok("begin");
    open(client, "p");
}

#[track_caller]
fn open(client: &mut Wire, portal: &str) {
    client.parse("", NUMBERS, &[]);
    client.bind(portal, "", &[], &[]);
    assert_eq!(fetch(client, portal, 1), ["1"]);
}

#[track_caller]
fn fetch(client: &mut Wire, portal: &str, rows: i32) -> Vec<String> {
    client.execute(portal, rows);
    client.sync();
    let answer = client.finish();
    assert!(answer.errors.is_empty() && answer.kinds.contains('s'), "{answer:?}");
    answer.rows.into_iter().flatten().map(Option::unwrap_or_default).collect()
}

/// Waits until the session is idle on no thread, as a session of the pool is without a portal.
#[track_caller]
fn until_off_thread(admin: &mut Wire, session: i64) {
    wait_until("the session leaves its thread", || {
        look(admin, session).is_some_and(|seen| seen.pid == 0)
    });
}

#[test]
fn suspended_portals_hold_no_worker() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut admin = server.admin();
    let mut clients: Vec<_> = (0..4).map(|_| server.user("ann")).collect();
    let sessions: Vec<_> = clients.iter_mut().map(Wire::session).collect();
    clients.iter_mut().for_each(suspend);
    for session in &sessions {
        let seen = until_state(&mut admin, *session, "idle in transaction");
        assert_ne!(seen.pid, 0, "it is on its thread");
    }
    assert_eq!(server.user("bob").ok("select 5").value(), "5");
    for round in 0..3 {
        for client in &mut clients {
            let rows = fetch(client, "p", 2);
            assert_eq!(rows, [(2 * round + 2).to_string(), (2 * round + 3).to_string()]);
            assert_eq!(client.ok("select 6").value(), "6");
        }
    }
    for (client, session) in clients.iter_mut().zip(&sessions) {
        client.ok("rollback");
        until_off_thread(&mut admin, *session);
    }
}

/// Each way in which a portal ends.
#[test]
fn the_thread_of_a_closed_portal_is_given_back() {
    let server = Server::start("on", &["--workers", "2"]);
    let mut admin = server.admin();
    let mut client = server.user("ann");
    let session = client.session();
    let mut end = |end: &dyn Fn(&mut Wire)| {
        client.ok("begin");
        client.ok("savepoint s");
        open(&mut client, "p");
        open(&mut client, "q");
        end(&mut client);
        until_off_thread(&mut admin, session);
        client.query("rollback");
    };
    end(&|client| {
        for portal in ["p", "q"] {
            client.send(b'C', format!("P{portal}\0").as_bytes());
        }
        client.sync();
        assert_eq!(client.finish().errors.len(), 0);
    });
    end(&|client| drop(client.ok("close all")));
    end(&|client| drop(client.ok("close p; close \"q\"")));
    end(&|client| drop(client.ok("commit")));
    end(&|client| drop(client.ok("commit and chain")));
    end(&|client| drop(client.ok("rollback to s")));
    end(&|client| assert_eq!(client.fails("selec 1").code(), "42601"));
    // The end of the pipeline ends a portal without a block.
    client.parse("", NUMBERS, &[]);
    client.bind("p", "", &[], &[]);
    assert_eq!(fetch(&mut client, "p", 1), ["1"]);
    until_off_thread(&mut admin, session);
}

#[test]
fn the_number_of_suspended_portals_is_limited() {
    each_model(&["--workers", "1", "--max-portals", "3"], |_, server| {
        let (mut first, mut second) = (server.user("ann"), server.user("bob"));
        suspend(&mut first);
        open(&mut first, "q");
        suspend(&mut second);
        let error = second.fails(&format!("declare c cursor for {NUMBERS}"));
        error.expect("ERROR", "53400", "too many suspended portals: the server allows 3");
        assert!(error.hint().contains("--max-portals"), "{error:?}");
        // The error has ended its own portal too.
        second.ok("rollback; begin");
        open(&mut second, "p");
        second.parse("", NUMBERS, &[]);
        second.bind("q", "", &[], &[]);
        second.execute("q", 1);
        second.sync();
        assert_eq!(second.finish().error().code(), "53400");
        second.ok("rollback");
        first.ok("close q; commit");
        for client in [&mut first, &mut second] {
            client.ok("begin");
            client.ok(&format!("declare c cursor for {NUMBERS}; fetch 2 from c; commit"));
        }
    });
}

#[test]
fn a_session_with_a_suspended_portal_is_ended() {
    each_model(&["--workers", "1"], |model, server| {
        let mut admin = server.admin();
        let mut client = server.user("ann");
        let session = client.session();
        suspend(&mut client);
        admin.ok(&kill_now(model, session));
        client.expect_killed();
        until_gone(&mut admin, session);

        let mut client = server.user("ann");
        let session = client.session();
        suspend(&mut client);
        client.hang_up();
        until_gone(&mut admin, session);

        for (setting, code) in
            [("idle_in_transaction_session_timeout", "25P03"), ("transaction_timeout", "25P04")]
        {
            let mut client = server.user("ann");
            client.ok("begin");
            client.start(&format!("set local {setting} = '300ms'; declare c cursor for {NUMBERS}"));
            assert_eq!(client.rest().errors.last().map(|error| error.code()), Some(code));
        }
    });
}

#[test]
fn a_fetch_without_end_is_a_statement() {
    each_model(&["--workers", "1"], |model, server| {
        let mut admin = server.admin();
        let mut client = server.user("ann");
        let session = client.session();
        let declare = format!("begin; declare c cursor for {NUMBERS}; fetch 1 from c");
        client.ok(&declare);
        client.start("move all from c");
        until_runs(&mut admin, session, "move all");
        client.cancel();
        let answer = client.finish();
        answer.error().expect("ERROR", "57014", "canceling statement due to user request");
        assert_eq!(answer.status, Some('E'));
        client.ok("rollback");

        client.ok(&declare);
        client.start("set local statement_timeout = '200ms'; move all from c");
        let text = "canceling statement due to statement timeout";
        client.finish().error().expect("ERROR", "57014", text);
        client.ok("rollback");

        client.ok(&declare);
        client.execute("c", i32::MAX);
        client.sync();
        client.until('D');
        admin.ok(&kill_now(model, session));
        let answer = client.rest();
        // The message is lost if the client is too slow to read all rows before it.
        answer.errors.iter().for_each(|error| {
            error.expect("FATAL", "57P01", "administrator command");
        });
        assert_eq!(answer.status, None);
        until_gone(&mut admin, session);
    });
}

#[test]
fn a_shutdown_ends_suspended_portals() {
    for model in MODELS {
        let mut server = Server::start(model, &["--workers", "1", "--grace", "0"]);
        let mut client = server.user("ann");
        suspend(&mut client);
        server.signal("TERM");
        client.expect_killed();
        assert!(server.wait().success());
    }
}

/// Of a commit, since only then all rows are read.
#[test]
fn rows_that_are_kept_are_limited() {
    each_model(&["--workers", "1"], |_, server| {
        let mut client = server.user("ann");
        client.ok("create table t (a integer)");
        client.ok("begin; insert into t values (1)");
        let endless = "with recursive g(x) as (select 1 union all select x + 1 from g) \
                       select zeroblob(9000000) from g";
        client.ok(&format!("declare c cursor with hold for {endless}"));
        let answer = client.query("commit");
        answer.error().expect("ERROR", "54000", "too much memory");
        assert_eq!(answer.status, Some('I'));
        assert_eq!(client.ok("select count(*) from t").value(), "0");
        assert_eq!(client.fails("fetch c").code(), "34000");
        // A portal of what the block has written is read to its end before the block writes more.
        client.ok("begin; insert into t values (1)");
        client.ok(&format!("declare c cursor for {endless}; move 2 from c"));
        assert_eq!(client.fails("insert into t values (2)").code(), "54000");
        client.ok("rollback");
    });
}

/// The one worker is taken. A client gets out of what it is in although its timeout expires first.
#[test]
fn ways_out_are_not_ended_in_the_queue() {
    let server = Server::start("on", &["--workers", "1", "--test-functions"]);
    let mut admin = server.admin();
    for (extended, sql, tag, status) in [
        (false, "rollback", "ROLLBACK", 'I'),
        (true, "rollback", "ROLLBACK", 'I'),
        (false, "commit", "COMMIT", 'I'),
        (true, "commit", "COMMIT", 'I'),
        (false, "set statement_timeout = 0", "SET", 'T'),
        (false, "reset statement_timeout", "RESET", 'T'),
        (true, "reset all", "RESET", 'T'),
        (false, "select 1", "", 'E'),
        (false, "rollback; select 1", "", 'E'),
    ] {
        let (mut client, mut busy) = (server.user("ann"), server.user("bob"));
        let (id, busy_id) = (client.session(), busy.session());
        client.ok("begin; set statement_timeout = '500ms'");
        busy.start(STALL);
        server.until_stalls(busy_id);
        if extended {
            client.parse("", sql, &[]);
            client.bind("", "", &[], &[]);
            client.execute("", 0);
            client.sync();
        } else {
            client.start(sql);
        }
        let interrupt = format!("select interrupt from pg_stat_activity where sessionid = {id}");
        until_answer(&mut admin, &interrupt, |answer| answer.value().contains("cancel"));
        assert_eq!(server.release(&mut admin), 1);
        busy.finish();
        let answer = client.finish();
        assert_eq!(answer.status, Some(status), "{sql}: {answer:?}");
        match tag {
            "" => assert_eq!(answer.error().code(), "57014", "{sql}"),
            tag => assert_eq!(answer.tags, [tag], "{sql}: {answer:?}"),
        }
    }
}
