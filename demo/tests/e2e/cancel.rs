//! Cancels over the wire: they end the statement that runs, and no other.

use crate::support::{
    CANCELLED, ENDLESS, MODELS, Server, pair, until_runs, until_state, until_waits,
    until_waits_for_lock,
};

fn each_model(options: &[&str], test: impl Fn(&Server)) {
    for model in MODELS {
        test(&Server::start(model, options));
    }
}

#[test]
fn what_runs_is_cancelled_and_the_session_goes_on() {
    each_model(&["--workers", "2"], |server| {
        let (mut admin, mut client, mut holder) =
            (server.admin(), server.user("ann"), server.user("bob"));
        admin.ok("create table t (v integer)");
        admin.ok("insert into t values (1)");
        holder.ok("begin");
        holder.ok("update t set v = 2");
        let session = client.session();
        for statement in [ENDLESS, "select pg_sleep(3600)", "update t set v = 3"] {
            client.start(statement);
            match statement {
                ENDLESS => until_runs(&mut admin, session, statement),
                "update t set v = 3" => until_waits_for_lock(&mut admin, session),
                _ => until_waits(&mut admin, session),
            };
            client.cancel();
            let answer = client.finish();
            answer.error().expect("ERROR", "57014", CANCELLED);
            assert_eq!(answer.status, Some('I'), "{statement}");
            assert_eq!(client.session(), session);
        }
        holder.ok("commit");
        assert_eq!(client.ok("select v from t").value(), "2");
    });
}

#[test]
fn a_cancel_ends_all_that_one_simple_query_holds() {
    each_model(&["--workers", "2"], |server| {
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        client.start("select 1; select pg_sleep(3600); select 3");
        until_waits(&mut admin, session);
        client.cancel();
        let answer = client.finish();
        assert_eq!(answer.tags, ["SELECT 1"]);
        answer.error().expect("ERROR", "57014", CANCELLED);
        assert_eq!(answer.rows.len(), 1);
    });
}

#[test]
fn a_cancelled_statement_fails_its_transaction() {
    each_model(&["--workers", "2"], |server| {
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        admin.ok("create table t (v integer)");
        let session = client.session();
        client.ok("begin");
        client.ok("insert into t values (1)");
        client.start("select pg_sleep(3600)");
        until_waits(&mut admin, session);
        client.cancel();
        assert_eq!(client.finish().status, Some('E'));
        client.fails("select 1").expect("ERROR", "25P02", "current transaction is aborted");
        // Idle now: there is nothing to cancel.
        client.cancel();
        let answer = client.ok("commit");
        assert_eq!((answer.tags.as_slice(), answer.status), (&["ROLLBACK".into()][..], Some('I')));
        assert_eq!(client.ok("select count(*) from t").value(), "0");
    });
}

#[test]
fn a_late_cancel_does_nothing_to_the_next_statement() {
    // Each is sent, and done with, after one statement is over and
    // before the next one begins.
    each_model(&["--workers", "2"], |server| {
        let mut client = server.user("ann");
        let session = client.session();
        for round in 0..2_000 {
            client.cancel();
            let number = round.to_string();
            let answer = client.ok(&format!("select {number}"));
            assert_eq!(answer.value(), number);
        }
        assert_eq!(client.session(), session);
    });
}

#[test]
fn a_late_cancel_does_nothing_to_the_next_message_of_the_extended_protocol() {
    each_model(&["--workers", "2"], |server| {
        let mut client = server.user("ann");
        client.parse("s", "select $1 + 1", &[20]);
        client.sync();
        assert!(client.finish().errors.is_empty());
        for round in 0_i64..1_000 {
            client.bind("", "s", &[(1, Some(&round.to_be_bytes()))], &[]);
            client.execute("", 0);
            client.sync();
            let answer = client.finish();
            assert!(answer.errors.is_empty(), "{answer:?}");
            assert_eq!(answer.value(), (round + 1).to_string());
            client.cancel();
        }
    });
}

#[test]
fn a_cancel_at_any_moment_hits_the_statement_of_that_moment_or_none() {
    each_model(&["--workers", "2"], |server| {
        let mut client = server.user("ann");
        let (address, pid, key) = (client.address, client.pid, client.key.clone());
        let mut hits = 0;
        for round in 0..1_500_u32 {
            // The first runs for a few safe points, and the cancel comes when it will.
            std::thread::scope(|scope| {
                let cancel = scope.spawn(|| crate::support::cancel(address, pid, &key));
                client.start(&format!("{ENDLESS_BUT} {}) select count(*) from c", round * 7));
                let answer = client.finish();
                assert_eq!(answer.status, Some('I'), "{answer:?}");
                if !answer.errors.is_empty() {
                    answer.error().expect("ERROR", "57014", CANCELLED);
                    hits += 1;
                }
                cancel.join().expect("the cancel is done with");
            });
            // Over before this one begins.
            assert_eq!(client.ok(&format!("select {round}")).value(), round.to_string());
        }
        eprintln!("{hits} of 1500 cancels found their statement running");
    });
}

const ENDLESS_BUT: &str = "with recursive c(x) as (select 1 union all select x+1 from c limit";

#[test]
fn a_wrong_key_is_ignored() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let (mut admin, mut client, other) =
            (server.admin(), server.user("ann"), server.user("ann"));
        let session = client.session();
        client.start("select pg_sleep(3600)");
        until_waits(&mut admin, session);
        let mut flipped = client.key.clone();
        flipped[0] ^= 1;
        let longer = [client.key.as_slice(), &[0; 4]].concat();
        for (pid, key) in [
            (client.pid, flipped),
            (client.pid, vec![0; 4]),
            (client.pid, longer),
            (client.pid, vec![0; 256]),
            (client.pid, other.key.clone()),
            (other.pid, client.key.clone()),
            (0, client.key.clone()),
            (-1, client.key.clone()),
            (i32::MIN, client.key.clone()),
        ] {
            crate::support::cancel(client.address, pid, &key);
        }
        // None of them has ended it: this one does.
        let pair = pair(model, session);
        assert_eq!(admin.ok(&format!("select pg_cancel_session({pair}, 'at last')")).value(), "t");
        let answer = client.finish();
        answer.error().expect("ERROR", "57014", CANCELLED);
        assert!(answer.error().detail().ends_with("at last"), "{answer:?}");
        // And the right key works.
        client.start("select pg_sleep(3600)");
        until_waits(&mut admin, session);
        client.cancel();
        client.finish().error().expect("ERROR", "57014", CANCELLED);
    }
}

#[test]
fn keys_differ_and_end_with_their_session() {
    each_model(&["--workers", "2"], |server| {
        let mut admin = server.admin();
        let mut clients: Vec<_> = (0..20).map(|_| server.user("ann")).collect();
        let mut keys: Vec<_> = clients.iter().map(|client| client.key.clone()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), clients.len());
        let mut gone = clients.remove(0);
        let (pid, key, session) = (gone.pid, gone.key.clone(), gone.session());
        drop(gone);
        crate::support::until_gone(&mut admin, session);
        crate::support::cancel(admin.address, pid, &key);
        assert!(clients.iter_mut().all(|client| client.ok("select 1").value() == "1"));
    });
}

#[test]
fn a_cancel_needs_no_worker() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut admin = server.admin();
    let (mut client, mut queued) = (server.user("ann"), server.user("bob"));
    let (session, second) = (client.session(), queued.session());
    client.start(ENDLESS);
    until_runs(&mut admin, session, ENDLESS);
    queued.start("select 2");
    until_state(&mut admin, second, "queued");
    client.cancel();
    client.finish().error().expect("ERROR", "57014", CANCELLED);
    assert_eq!(queued.finish().value(), "2");
}

#[test]
fn a_queued_command_can_be_cancelled() {
    let server = Server::start("on", &["--workers", "1"]);
    let mut admin = server.admin();
    let (mut client, mut queued) = (server.user("ann"), server.user("bob"));
    let (session, second) = (client.session(), queued.session());
    client.start(ENDLESS);
    until_runs(&mut admin, session, ENDLESS);
    queued.start("select 2");
    let seen = until_state(&mut admin, second, "queued");
    assert_eq!(seen.pid, 0);
    queued.cancel();
    client.cancel();
    client.finish().error().expect("ERROR", "57014", CANCELLED);
    let answer = queued.finish();
    assert_eq!(answer.status, Some('I'));
    answer.error().expect("ERROR", "57014", CANCELLED);
    assert_eq!(queued.ok("select 3").value(), "3");
}

#[test]
fn many_cancels_at_once() {
    each_model(&["--workers", "2"], |server| {
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        client.start(ENDLESS);
        until_runs(&mut admin, session, ENDLESS);
        let (address, pid, key) = (client.address, client.pid, client.key.clone());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        crate::support::cancel(address, pid, &key);
                    }
                });
            }
            client.finish().error().expect("ERROR", "57014", CANCELLED);
        });
        assert_eq!(client.session(), session);
    });
}
