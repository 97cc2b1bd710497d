//! Kill by filter in SQL, and who may, over sockets.

use crate::support::{MODELS, Server, TOLD, Wire, cancel, until_gone, until_waits, wait_until};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const ALL_OF: &str = "select pg_terminate_session(pid, sessionid) from pg_stat_activity \
                      where client_addr is not null and usename =";

/// Says that it is over, also where that is a panic: the others would go on for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sessions of one user come and go while others are killed by name, again and again. None of
/// them is hit, and none of the others is left out.
#[test]
fn select_from_pg_stat_activity_while_rows_come_and_go() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let (over, killed, served) =
            (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let churn = |user: &'static str, victim: bool| {
                let (server, over, killed, served) = (&server, &over, &killed, &served);
                move || {
                    while !over.load(Ordering::Relaxed) {
                        let mut wire = Wire::open(server.address);
                        wire.startup(3 << 16, &[("user", user)]);
                        wire.start("select 1");
                        let answer = wire.finish();
                        // A victim may be hit at any point from its greeting on.
                        let answer = if answer.errors.is_empty() { wire.finish() } else { answer };
                        match answer.errors.as_slice() {
                            // Its own unread words can keep it from hearing so.
                            [] if victim && answer.status.is_none() => {
                                killed.fetch_add(1, Ordering::Relaxed);
                            }
                            [] => {
                                assert_eq!(answer.value(), "1");
                                served.fetch_add(1, Ordering::Relaxed);
                            }
                            [error] if victim => {
                                error.expect("FATAL", "57P01", TOLD);
                                killed.fetch_add(1, Ordering::Relaxed);
                            }
                            errors => panic!("a bystander was hit: {errors:?}"),
                        }
                    }
                }
            };
            scope.spawn(churn("bystander", false));
            scope.spawn(churn("victim", true));
            let ends = Over(&over);
            let mut admin = server.admin();
            let own = admin.session();
            let mut told = 0;
            wait_until("twenty are told, and twenty are served", || {
                // One that sits there is always among them.
                let mut idle = server.user("victim");
                let session = idle.session();
                let answer = admin.ok(&format!("{ALL_OF} 'victim'"));
                assert!(!answer.rows.is_empty());
                told += answer.rows.iter().filter(|row| row[0].as_deref() == Some("t")).count();
                // Whoever has gone in between costs a warning, not the rest.
                for notice in &answer.notices {
                    notice.expect("WARNING", "42704", "session");
                }
                idle.expect_killed();
                until_gone(&mut admin, session);
                told >= 20 && served.load(Ordering::Relaxed) >= 20
            });
            drop(ends);
            assert_eq!(admin.session(), own, "the author lives");
        });
    }
}

/// The third argument is what the author has to say.
#[test]
fn the_target_is_told_why() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let (mut omm, mut ann) = (server.admin(), server.user("ann"));
        let session = ann.session();
        let thread = if model == "on" { 0 } else { session };
        ann.start("select pg_sleep(3600)");
        until_waits(&mut omm, session);
        let said = "It is \"too slow\".";
        let cancel = format!("select pg_cancel_session({thread}, {session}, '{said}')");
        assert_eq!(omm.ok(&cancel).value(), "t");
        let answer = ann.finish();
        answer.error().expect("ERROR", "57014", crate::support::CANCELLED);
        let detail = answer.error().detail();
        assert!(detail.starts_with("Requested by user \"omm\" in session "), "{detail}");
        assert!(detail.ends_with(said), "{detail}");
        let end = format!("select pg_terminate_session({thread}, {session}, 'Go home.')");
        assert_eq!(omm.ok(&end).value(), "t");
        let error = ann.expect_killed();
        assert!(error.detail().ends_with("Go home."), "{error:?}");
        // Without anything to say.
        let mut bob = server.user("bob");
        let session = bob.session();
        let thread = if model == "on" { 0 } else { session };
        let end = format!("select pg_terminate_session({thread}, {session}, NULL)");
        assert_eq!(omm.ok(&end).value(), "t");
        bob.expect_killed();
    }
}

#[test]
fn owners_and_signallers() {
    for model in MODELS {
        let options = ["--owner", "shop=ann", "--signaller", "eve", "--workers", "2"];
        let server = Server::start(model, &options);
        let in_shop =
            |user| Wire::connect_as(server.address, &[("user", user), ("database", "shop")]);
        let (mut ann, mut eve, mut omm) = (server.user("ann"), server.user("eve"), server.admin());
        let (mut shopper, mut other, mut chief) =
            (in_shop("bob"), server.user("bob"), in_shop("omm"));
        let ids = [shopper.session(), other.session(), chief.session()];
        let end = |by: &mut Wire, id: i64| {
            let thread = if model == "on" { 0 } else { id };
            by.query(&format!("select pg_terminate_session({thread}, {id})"))
        };
        // The owner: in that database alone.
        let answer = end(&mut ann, ids[1]);
        assert_eq!(answer.value(), "f");
        answer.notice().expect("WARNING", "42501", "permission denied");
        assert_eq!(end(&mut ann, ids[0]).value(), "t");
        let error = shopper.expect_killed();
        let detail = error.detail().to_string();
        assert!(detail.starts_with("Requested by user \"ann\" in session "), "{detail}");
        assert!(detail.contains(" from 127.0.0.1 at 20"), "{detail}");
        // The signaller: anyone but an administrator.
        let own = omm.session();
        for chief in [ids[2], own] {
            let answer = end(&mut eve, chief);
            assert_eq!(answer.value(), "f");
            answer.notice().expect("WARNING", "42501", "permission denied");
        }
        assert_eq!(end(&mut eve, ids[1]).value(), "t");
        other.expect_killed();
        // The owner again: an administrator's session in that database too.
        assert_eq!(end(&mut ann, ids[2]).value(), "t");
        chief.expect_killed();
    }
}

#[test]
fn a_hidden_session_looks_as_if_it_were_not_there() {
    for model in MODELS {
        let server = Server::start(model, &["--hide-sessions", "--workers", "2"]);
        let (mut omm, mut ann, mut bob) = (server.admin(), server.user("ann"), server.user("bob"));
        let (hidden, own) = (bob.session(), ann.session());
        let seen = "select sessionid from pg_stat_activity where client_addr is not null";
        assert_eq!(ann.ok(seen).rows, [[Some(own.to_string())]]);
        assert_eq!(omm.ok(seen).rows.len(), 3);
        let mut gone = server.user("bob");
        let absent = gone.session();
        drop(gone);
        until_gone(&mut omm, absent);
        for call in ["pg_terminate_session", "pg_cancel_session"] {
            let said = [hidden, absent].map(|id| {
                let thread = if model == "on" { 0 } else { id };
                let answer = ann.ok(&format!("select {call}({thread}, {id})"));
                assert_eq!(answer.value(), "f");
                let notice = answer.notice();
                assert_eq!((notice.severity(), notice.code()), ("WARNING", "42704"));
                format!("{} {}", notice.message(), notice.hint()).replace(&id.to_string(), "n")
            });
            assert_eq!(said[0], said[1]);
        }
        assert_eq!(bob.session(), hidden);
    }
}

#[test]
fn wrong_keys_are_counted_and_the_right_one_works_all_the_time() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let (mut admin, mut client) = (server.admin(), server.user("ann"));
        let session = client.session();
        client.start("select pg_sleep(3600)");
        until_waits(&mut admin, session);
        let mut guess = client.key.clone();
        guess[0] ^= 1;
        // Many at once, as what counts is how many come within a second.
        wait_until("requests are not logged", || {
            std::thread::scope(|scope| {
                for _ in 0..16 {
                    scope.spawn(|| cancel(client.address, client.pid, &guess));
                }
            });
            server.said().contains("its next ones are not logged for a while")
        });
        let said = server.said();
        assert!(said.contains("cancel request with a wrong key for pid"), "{said}");
        assert!(said.contains("(1 wrong so far, 0 of them not logged)"), "{said}");
        client.cancel();
        client.finish().error().expect("ERROR", "57014", crate::support::CANCELLED);
    }
}
