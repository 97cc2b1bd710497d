//! The limits that clients set: what each says over the wire, and that the session lives on
//! where it should.

use crate::support::{
    Answer, Fields, MODELS, STALL, Server, Wire, until_answer, until_state, wait_until,
};

fn each_model(test: impl Fn(&Server)) {
    for model in MODELS {
        test(&Server::start(model, &["--workers", "2"]));
    }
}

/// What the server says to a client that says nothing, before it closes the connection.
#[track_caller]
fn last_words(client: &mut Wire) -> Fields {
    let answer = client.finish();
    assert_eq!(answer.status, None, "{answer:?}");
    answer.error().clone()
}

const STATEMENT_TIMEOUT: &str = "canceling statement due to statement timeout";

/// A statement that takes next to no time. On a machine that is busy enough it may run into the
/// limit all the same, and then it is sent again.
#[track_caller]
fn in_time(client: &mut Wire, sql: &str) -> Answer {
    let mut answer = Answer::default();
    wait_until(&format!("{sql} is not too slow for its limit"), || {
        answer = client.query(sql);
        assert_eq!(answer.status, Some('I'), "{sql}: {answer:?}");
        for error in &answer.errors {
            error.expect("ERROR", "57014", STATEMENT_TIMEOUT);
        }
        answer.errors.is_empty()
    });
    answer
}

#[test]
fn a_statement_runs_out_of_time_and_its_session_lives_on() {
    each_model(|server| {
        let mut client = server.user("ann");
        let session = client.session();
        let endless = crate::support::ENDLESS;
        for (value, shown) in [("250", "250ms"), ("'200ms'", "200ms"), ("'0.25s'", "250ms")] {
            in_time(&mut client, &format!("set statement_timeout = {value}"));
            assert_eq!(in_time(&mut client, "show statement_timeout").value(), shown);
            for statement in [endless, "select pg_sleep(3600)"] {
                client.start(statement);
                let answer = client.finish();
                answer.error().expect("ERROR", "57014", STATEMENT_TIMEOUT);
                assert_eq!(answer.status, Some('I'));
                assert_eq!(in_time(&mut client, "select 1").value(), "1");
            }
        }
        in_time(&mut client, "set statement_timeout = 0");
        client.ok("select pg_sleep(0.35)");
        client.ok("set statement_timeout = '1min'");
        client.ok("select pg_sleep(0.35)");
        assert_eq!(client.session(), session);
    });
}

/// The one worker is taken, by code that nobody can end. What waits for it runs out of time
/// there, and says so as soon as there is a worker to say it.
#[test]
fn the_time_in_the_queue_counts() {
    let server = Server::start("on", &["--workers", "1", "--test-functions"]);
    let (mut admin, mut busy, mut client) =
        (server.admin(), server.user("bob"), server.user("ann"));
    let (busy_id, id) = (busy.session(), client.session());
    in_time(&mut client, "set statement_timeout = 100");
    busy.start(STALL);
    server.until_stalls(busy_id);
    client.start("select 1");
    until_state(&mut admin, id, "queued");
    let interrupt = format!("select interrupt from pg_stat_activity where sessionid = {id}");
    until_answer(&mut admin, &interrupt, |answer| answer.value().contains("cancel"));
    assert!(client.is_silent());
    assert_eq!(server.release(&mut admin), 1);
    let answer = client.finish();
    answer.error().expect("ERROR", "57014", STATEMENT_TIMEOUT);
    assert!(answer.rows.is_empty());
    assert_eq!(in_time(&mut client, "select 2").value(), "2");
    assert_eq!(busy.finish().value(), "1");
}

#[test]
fn a_wait_for_a_lock_runs_out_of_time_and_its_session_lives_on() {
    each_model(|server| {
        let (mut admin, mut holder, mut client) =
            (server.admin(), server.user("bob"), server.user("ann"));
        admin.ok("create table t (v integer)");
        admin.ok("insert into t values (1)");
        holder.ok("begin");
        holder.ok("update t set v = 2");
        client.ok("set lock_timeout = '100ms'");
        client.ok("select pg_sleep(0.2)");
        for _ in 0..2 {
            client.start("update t set v = 3");
            let answer = client.finish();
            let text = "canceling statement due to lock timeout";
            answer.error().expect("ERROR", "55P03", text);
            assert_eq!(answer.status, Some('I'));
            assert_eq!(client.ok("select v from t").value(), "1");
        }
        holder.ok("commit");
        client.ok("update t set v = v + 1");
        assert_eq!(client.ok("select v from t").value(), "3");
    });
}

#[test]
fn an_idle_session_is_told_and_closed() {
    each_model(|server| {
        for name in ["idle_session_timeout", "session_timeout"] {
            let mut client = server.user("ann");
            // In one message: how fast the client sends the next is not its to decide here.
            client.ok(&format!("set {name} = 100; select pg_sleep(0.2)"));
            let text = "terminating connection due to idle-session timeout";
            last_words(&mut client).expect("FATAL", "57P05", text);
        }
        let mut client = server.user("ann");
        client.ok("set idle_session_timeout = 100; begin");
        server.user("bob").ok("select pg_sleep(0.2)");
        client.ok("commit");
    });
}

#[test]
fn a_session_idle_in_a_transaction_is_told_closed_and_rolled_back() {
    each_model(|server| {
        let mut admin = server.admin();
        admin.ok("create table t (v integer)");
        for statement in ["select count(*) from t", "insert into t values (1)"] {
            let mut client = server.user("ann");
            client.ok(&format!(
                "set idle_in_transaction_session_timeout = '100ms'; begin; {statement}"
            ));
            let text = "terminating connection due to idle-in-transaction timeout";
            last_words(&mut client).expect("FATAL", "25P03", text);
            assert_eq!(admin.ok("select count(*) from t").value(), "0");
            admin.ok("delete from t");
        }
    });
}

#[test]
fn a_transaction_runs_out_of_time_idle_or_not() {
    each_model(|server| {
        let text = "terminating connection due to transaction timeout";
        let mut client = server.user("ann");
        client.start("set transaction_timeout = 100; begin; select 1");
        client.rest().error().expect("FATAL", "25P04", text);

        // One after the other, for longer than the limit: each has its own time. On a machine that
        // is busy enough one may run into the limit all the same.
        let short = "begin; commit; select pg_sleep(0.2);".repeat(6);
        let mut client = server.user("ann");
        wait_until("short transactions are not too slow for their limit", || {
            let answer = client.query(&format!("set transaction_timeout = 1000; {short}"));
            if answer.status.is_none() {
                answer.error().expect("FATAL", "25P04", text);
                client = server.user("ann");
            }
            answer.status.is_some()
        });
        client.start("begin; select pg_sleep(3600)");
        last_words(&mut client).expect("FATAL", "25P04", text);
    });
}

#[test]
fn lengths_that_are_none_are_refused() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut client = server.user("ann");
    for value in ["'x'", "'5 weeks'", "-1", "'25d'"] {
        client.start(&format!("set statement_timeout = {value}"));
        client.finish().error().expect("ERROR", "22023", "\"statement_timeout\"");
    }
    client.ok("set statement_timeout = '1h'");
    client.ok("reset all");
    assert_eq!(client.ok("show statement_timeout").value(), "0");
}

/// A driver that hands a connection on says so, and nothing of its last user's is left.
#[test]
fn settings_are_as_at_the_start_again() {
    for model in MODELS {
        let server = Server::start(model, &[]);
        let mut wire = server.user("ann");
        let session = wire.session();
        for reset in ["reset all", "discard all"] {
            wire.ok("set statement_timeout = '10min'");
            wire.ok("set application_name = 'x'");
            wire.ok(reset);
            assert_eq!(wire.ok("show statement_timeout").value(), "0");
            let name = format!(
                "select application_name from pg_stat_activity where sessionid = {session}"
            );
            assert_eq!(wire.ok(&name).value(), wire.ok("show application_name").value());
        }
        // Outside of a block it has no effect, and says so.
        let warned = wire.ok("set local statement_timeout = 1");
        assert_eq!(warned.notices[0].code(), "25P01");
        assert_eq!(wire.ok("show statement_timeout").value(), "0");
    }
}

#[test]
fn a_transaction_that_is_chained_is_followed_by_one() {
    for model in MODELS {
        let server = Server::start(model, &[]);
        let mut wire = server.user("ann");
        wire.ok("create table t (a int)");
        wire.ok("begin");
        wire.ok("insert into t values (1)");
        assert_eq!(wire.ok("commit and chain").status, Some('T'));
        wire.ok("insert into t values (2)");
        assert_eq!(wire.ok("rollback and chain").status, Some('T'));
        wire.ok("insert into t values (3)");
        assert_eq!(wire.ok("rollback").status, Some('I'));
        assert_eq!(wire.ok("select group_concat(a) from t").value(), "1");
        assert_eq!(wire.fails("commit and chain").code(), "25P01");
    }
}
