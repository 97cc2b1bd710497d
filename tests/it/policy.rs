//! Policies: which requester may end a session, and which may see it.

use crate::common::{Fixture, MODELS, admin, of, supervised, thread_for, user};
use safepoint::id::ThreadId;
use safepoint::manager::BulkOptions;
use safepoint::policy::{Policy, Roles};
use safepoint::request::{RequestError, Target};
use safepoint::view::SessionInfo;
use safepoint::{
    Cancel, ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel,
};

fn roles() -> Roles {
    Roles::new().owner("shop", "ann").signaller("eve")
}

fn about(user: &str, database: &str, admin: bool) -> ClientInfo {
    of(user).with_database(database).with_admin(admin)
}

#[test]
fn owners_and_signallers() {
    supervised(|| {
        let policy = roles();
        let everyone = ["ann", "bob", "eve"];
        for (target, may) in [
            (about("bob", "shop", false), ["ann", "bob", "eve"].as_slice()),
            (about("bob", "other", false), &["bob", "eve"]),
            (about("root", "shop", true), &["ann"]),
            (about("root", "other", true), &[]),
            // A client that has not authenticated may be any user.
            (about("", "", false), &[]),
            (about("", "shop", false), &["ann"]),
        ] {
            for name in everyone {
                let expected = may.contains(&name);
                assert_eq!(policy.permits(&user(name), &target), expected, "{name} {target:?}");
                assert!(policy.is_visible(&user(name), &target));
            }
            assert!(policy.permits(&admin("root"), &target));
            assert!(!policy.permits(&Requester::default(), &target));
        }
        let nobodys = Roles::new().owner("shop", "").signaller("");
        assert!(!nobodys.permits(&user(""), &about("bob", "shop", false)));
    });
}

fn kill(name: &str) -> Terminate {
    Terminate::new(TerminateMode::Immediate, user(name))
}

/// The errors for a hidden session are the errors for a missing one.
#[test]
fn a_hidden_session_is_rejected_as_if_missing() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::builder(model).policy(roles().hide_others()).build();
            let mut hidden = manager.open(of("root")).unwrap();
            let shown = manager.open(of("bob")).unwrap();
            let gone = manager.open(of("root")).unwrap();
            let (id, thread) = (hidden.id(), thread_for(&manager, &hidden));
            let (gone_id, thread_of_gone) = (gone.id(), thread_for(&manager, &gone).id());
            drop(gone);
            let mut attached = hidden.attach(&thread).unwrap();
            let _statement = attached.begin().unwrap();
            let say = |target: Target| {
                let first = manager.terminate(target, kill("bob")).unwrap_err();
                let second = manager.cancel(target, Cancel::running(user("bob"))).unwrap_err();
                assert_eq!(first, second);
                first
            };
            assert_eq!(say(Target::Session(id)), RequestError::NoSuchSession(id));
            assert_eq!(say(Target::Session(gone_id)), RequestError::NoSuchSession(gone_id));
            let at = |thread: ThreadId| {
                let alone = say(Target::AttachedTo(thread));
                let with_own = say(Target::Pair(thread, shown.id()));
                (alone, with_own)
            };
            if model == safepoint::ThreadModel::PerSession {
                let thread = thread.id();
                assert_eq!(
                    at(thread),
                    (RequestError::NoSuchThread(thread), RequestError::NoSuchThread(thread))
                );
                let thread = thread_of_gone;
                assert_eq!(
                    at(thread),
                    (RequestError::NoSuchThread(thread), RequestError::NoSuchThread(thread))
                );
            } else {
                // A worker is visible to every requester.
                assert_eq!(say(Target::Pair(thread.id(), id)), RequestError::NoSuchSession(id));
                let refused = say(Target::AttachedTo(thread.id()));
                assert_eq!(refused, RequestError::ThreadIdle(thread.id()));
            }
            assert!(manager.session_info(id).is_some(), "nothing was done to it");

            let rows: Vec<_> =
                manager.sessions_visible_to(&user("bob")).map(|row| row.id).collect();
            assert_eq!(rows, [shown.id()]);
            let mut asked = Vec::new();
            let all = |row: &SessionInfo| {
                asked.push(row.id);
                true
            };
            let result = manager.terminate_where(all, kill("bob"), BulkOptions::new());
            assert_eq!((result.accepted(), result.rejected.len(), result.already_ended), (1, 0, 0));
            assert_eq!(asked, [shown.id()]);
            assert_eq!(manager.sessions_visible_to(&admin("root")).count(), 2);
        }
    });
}

#[test]
fn without_hiding_the_error_is_permission_denied() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, id, session: _session, .. } = Fixture::new(model);
            let refused = manager.terminate(id, kill("bob")).unwrap_err();
            assert_eq!(refused, RequestError::PermissionDenied(id));
            assert_eq!(manager.sessions_visible_to(&user("bob")).count(), 1);
        }
    });
}

/// A requester that may end a session sees it, even if `is_visible` returns `false`, and sees its
/// own session. Other requesters see nothing, and get the error for a missing session.
#[test]
fn a_requester_sees_sessions_that_it_may_end() {
    struct Blind;
    impl Policy for Blind {
        fn permits(&self, requester: &Requester, target: &ClientInfo) -> bool {
            requester.user() == Some("killer") && target.user() != "ann"
        }
        fn is_visible(&self, requester: &Requester, target: &ClientInfo) -> bool {
            requester.user() == Some("viewer") && target.user() == "ann"
        }
    }
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::builder(model).policy(Blind).build();
            let [ann, bob] = ["ann", "bob"].map(|name| manager.open(of(name)).unwrap());
            let seen = |requester: &Requester| -> Vec<_> {
                let mut seen: Vec<_> =
                    manager.sessions_visible_to(requester).map(|row| row.id).collect();
                seen.sort();
                seen
            };
            assert_eq!(seen(&user("killer")), [bob.id()]);
            assert_eq!(seen(&user("viewer")), [ann.id()]);
            assert_eq!(seen(&user("nobody")), []);
            assert_eq!(seen(&ann.requester()), [ann.id()]);
            let asked = |name| {
                let request = Terminate::new(TerminateMode::AfterTransaction, user(name));
                manager.terminate(ann.id(), request).unwrap_err()
            };
            assert_eq!(asked("viewer"), RequestError::PermissionDenied(ann.id()));
            assert_eq!(asked("nobody"), RequestError::NoSuchSession(ann.id()));
        }
    });
}

/// A session of ann that runs a statement in a transaction, with a hold-off and a pending request.
fn busy(
    policy: impl Policy + 'static,
    model: safepoint::ThreadModel,
    look: impl FnOnce(&SessionManager),
) {
    let manager = SessionManager::builder(model).policy(policy).build();
    let client = of("ann").with_database("shop").with_address("10.0.0.9");
    let mut session = manager.open(client).unwrap();
    let thread = thread_for(&manager, &session);
    let id = session.id();
    let mut attached = session.attach(&thread).unwrap();
    attached.set_in_transaction(true);
    let statement = attached.begin().unwrap().with_text("select 'secret'");
    let _held = statement.hold_off("commit");
    let kill = Terminate::new(TerminateMode::AfterStatement, admin("root"));
    manager.terminate(id, kill).unwrap();
    look(&manager);
}

#[test]
fn activity_is_disclosed_by_the_policy() {
    supervised(|| {
        for model in MODELS {
            let policy = Roles::new().owner("shop", "owner").signaller("eve").reader("mon");
            busy(policy, model, |manager| {
                let row = |requester: &Requester| {
                    let rows: Vec<_> = manager.sessions_visible_to(requester).collect();
                    let [row] = rows.as_slice() else { panic!("{rows:?}") };
                    row.clone()
                };
                for reader in [user("ann"), user("mon"), admin("root")] {
                    let row = row(&reader);
                    assert!(row.is_disclosed, "{reader:?}");
                    assert_eq!(row.statement_text, "select 'secret'");
                    assert_eq!(row.client.address(), "10.0.0.9");
                    assert!(row.pending.is_some() && row.hold_off.is_some());
                    assert!(row.transaction_started_at.is_some());
                    assert!(row.statement_started_at.is_some());
                }
                for other in [user("bob"), user("owner"), user("eve"), Requester::default()] {
                    let row = row(&other);
                    assert!(!row.is_disclosed, "{other:?}");
                    assert_eq!((&*row.statement_text, row.client.address()), ("", ""));
                    assert_eq!((row.pending, row.pending_mode, row.hold_off), (None, None, None));
                    assert_eq!((row.uninterruptible_wait, row.last_safe_point), (None, None));
                    assert_eq!(
                        (row.transaction_started_at, row.statement_started_at),
                        (None, None)
                    );
                    assert_eq!((row.client.user(), row.client.database()), ("ann", "shop"));
                }
            });
        }
    });
}

/// The text is not disclosed to the predicate of a bulk request either, also not at a second try.
#[test]
fn bulk_requests_see_what_is_disclosed() {
    supervised(|| {
        for model in MODELS {
            busy(Roles::new().signaller("eve"), model, |manager| {
                let mut texts = Vec::new();
                let see = |row: &SessionInfo| {
                    texts.push(row.statement_text.clone());
                    true
                };
                let rows = manager.dry_run(see, &user("eve"), BulkOptions::new());
                assert_eq!(rows.len(), 1);
                assert!(!rows[0].is_disclosed);
                let see = |row: &SessionInfo| {
                    texts.push(row.statement_text.clone());
                    true
                };
                let cancel = Cancel::running(user("eve"));
                let result = manager.cancel_where(see, cancel, BulkOptions::new());
                assert_eq!(result.accepted(), 1);
                assert!(texts.iter().all(String::is_empty), "{texts:?}");
            });
        }
    });
}

/// Unless a policy says otherwise, a requester may read what it may end.
#[test]
fn a_requester_may_read_what_it_may_end() {
    struct Killer;
    impl Policy for Killer {
        fn permits(&self, requester: &Requester, _target: &ClientInfo) -> bool {
            requester.is_admin() || requester.user() == Some("killer")
        }
    }
    supervised(|| {
        for model in MODELS {
            busy(Killer, model, |manager| {
                let disclosed = |name: &str| {
                    let requester = user(name);
                    let mut rows = manager.sessions_visible_to(&requester);
                    rows.next().unwrap().is_disclosed
                };
                assert!(disclosed("killer"));
                assert!(!disclosed("ann"), "this policy permits its own sessions to nobody else");
                let row = manager.sessions().next().unwrap();
                let own = Requester::new("ann").with_session(row.id);
                assert!(manager.sessions_visible_to(&own).next().unwrap().is_disclosed);
            });
        }
    });
}

/// The row of one session, as each requester may see it: whole, without the text, or not at all.
#[test]
fn one_row_as_each_may_see_it() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::builder(model).policy(Roles::new().hide_others()).build();
            let session = manager.open(of("ann")).unwrap();
            let id = session.id();
            let seen = |requester: &Requester| manager.session_info_visible_to(id, requester);
            for reader in [user("ann"), admin("root")] {
                assert_eq!(seen(&reader), manager.session_info(id), "{reader:?}");
            }
            assert_eq!(seen(&user("bob")), None);
            session.close();
            assert_eq!(seen(&admin("root")), None);

            let manager = SessionManager::new(model);
            let session = manager.open(of("ann")).unwrap();
            let row = manager.session_info_visible_to(session.id(), &user("bob")).unwrap();
            assert!(!row.is_disclosed);
            assert_eq!(row.id, session.id());
        }
    });
}

/// The target of a request learns whether its requester was disclosed to it.
#[test]
fn whether_the_requester_is_disclosed() {
    struct Discloses(bool);

    impl Policy for Discloses {
        fn permits(&self, _: &Requester, _: &ClientInfo) -> bool {
            true
        }

        fn discloses_requester(&self, _: &Requester, _: &ClientInfo) -> bool {
            self.0
        }
    }

    supervised(|| {
        for discloses in [true, false] {
            let manager =
                SessionManager::builder(ThreadModel::Pool).policy(Discloses(discloses)).build();
            let session = manager.open(of("ann")).unwrap();
            manager.terminate(session.id(), kill("bob")).unwrap();
            let interrupt = session.check().unwrap_err();
            assert_eq!(interrupt.request().is_requester_disclosed(), discloses);
        }
    });
}
