//! What `serde` adds: each type by its fields, and none left out.

use crate::common::{LONG, MODELS, Stage, admin, kill, kill_now, of, supervised, thread_for, user};
use safepoint::{
    Author, Cancel, Description, Doing, Drained, Ended, HowEnded, InterruptKind, Probe, Progress,
    Reason, Refused, Request, SessionManager, StatementId, StatementOver, Target, ThreadModel,
    Watchdog, When, WhyNotYet,
};
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

macro_rules! value {
    ($what:expr) => {
        serde_json::to_value($what).unwrap()
    };
}

fn time(time: SystemTime) -> Value {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    json!({ "secs_since_epoch": since.as_secs(), "nanos_since_epoch": since.subsec_nanos() })
}

fn spot(spot: safepoint::Spot) -> Value {
    json!({ "at": spot.at.to_string(), "since": time(spot.since) })
}

/// All that a row can say, while it says all of it.
#[test]
fn a_row_of_each_kind() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let description = Description {
                user: "ann".into(),
                admin: true,
                database: "shop".into(),
                application: "psql".into(),
                client: "10.0.0.9".into(),
            };
            let mut session = manager.open(description).unwrap();
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            let empty = manager.session(id).unwrap();
            assert_eq!(
                value!(&empty),
                json!({
                    "session": id.get(),
                    "thread": match model {
                        ThreadModel::PerSession => json!(id.get()),
                        ThreadModel::Pool => json!(null),
                    },
                    "description": {
                        "user": "ann", "admin": true, "database": "shop", "application": "psql",
                        "client": "10.0.0.9",
                    },
                    "doing": "Idle",
                    "waiting": false,
                    "statement": null,
                    "told": null,
                    "interrupt": null,
                    "hold_off": null,
                    "wait": null,
                    "safe_point": null,
                    "opened": time(empty.opened),
                    "transaction_start": null,
                    "statement_start": null,
                    "changed": time(empty.opened),
                    "text": "",
                })
            );
            let mut attached = session.attach(&thread).unwrap();
            let at = attached.thread();
            attached.set_transaction(true);
            let statement = attached.begin().unwrap().with_text("select pi()");
            assert!(matches!(manager.probe(id), Some(Probe::Asked { .. })));
            statement.check().unwrap();
            let _held = statement.hold_off("commit");
            manager.terminate(id, kill(When::AfterStatement)).unwrap();
            let row = statement.blocking(|| manager.session(id).unwrap());
            let held = row.hold_off.unwrap();
            let interrupt = row.interrupt.clone().unwrap();
            let request = &interrupt.request;
            assert_eq!(
                value!(&row),
                json!({
                    "session": id.get(),
                    "thread": at.get(),
                    "description": value!(&empty)["description"],
                    "doing": "Running",
                    "waiting": false,
                    "statement": 1,
                    "told": "AfterStatement",
                    "interrupt": {
                        "kind": "Terminate",
                        "when": "AfterStatement",
                        "request": {
                            "author": {
                                "session": null, "user": "root", "admin": true, "address": null,
                            },
                            "reason": "AdministratorCommand",
                            "text": "because",
                            "at": time(request.at),
                            "names_author": true,
                        },
                        "since": time(request.at),
                        "seen": null,
                    },
                    "hold_off": { "name": "commit", "spot": spot(held.spot) },
                    "wait": spot(row.wait.unwrap()),
                    "safe_point": spot(row.safe_point.unwrap()),
                    "opened": time(row.opened),
                    "transaction_start": time(row.transaction_start.unwrap()),
                    "statement_start": time(row.statement_start.unwrap()),
                    "changed": time(row.changed),
                    "text": "select pi()",
                })
            );
            assert!(spot(held.spot)["at"].as_str().unwrap().starts_with(file!()));
        }
    });
}

#[test]
fn a_row_of_a_thread() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        let background = manager.register_background("listener").unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let attached = session.attach(&worker).unwrap();
        let rows = manager.threads();
        assert_eq!((rows[0].thread, rows[1].thread), (background.id(), worker.id()));
        let row = |at: usize, name: &str, runs: bool, session: Value| {
            json!({
                "thread": rows[at].thread.get(),
                "name": name,
                "since": time(rows[at].since),
                "runs_sessions": runs,
                "session": session,
            })
        };
        let id = json!(attached.id().get());
        let expected = [row(0, "listener", false, json!(null)), row(1, "worker", true, id)];
        assert_eq!(value!(&rows), json!(expected));
    });
}

#[test]
fn requests_and_what_they_come_to() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let (id, at) = (session.id(), worker.id());
        let mut attached = session.attach(&worker).unwrap();
        let statement = attached.begin().unwrap();
        statement.set_transaction(true);
        manager.terminate(id, kill(When::AfterTransaction)).unwrap();
        let author = Author { session: Some(id), address: Some("10.0.0.7".into()), ..user("ann") };
        let receipt = manager.cancel(id, Cancel::running(author)).unwrap();
        assert_eq!(
            value!(receipt.found()),
            json!({
                "doing": "Running", "thread": at.get(), "statement": 1, "in_transaction": true,
                "already": "AfterTransaction",
            })
        );
        let interrupt = statement.check().unwrap_err();
        let request = interrupt.request();
        assert_eq!(
            value!(request),
            json!({
                "author": {
                    "session": id.get(), "user": "ann", "admin": false, "address": "10.0.0.7",
                },
                "reason": "UserRequest",
                "text": null,
                "at": time(request.at),
                "names_author": true,
            })
        );
        drop(statement);
        assert_eq!(value!(receipt.poll().unwrap()), json!({ "cancelled": true }));
        let receipt = manager.terminate(id, kill_now()).unwrap();
        assert_eq!(value!(receipt.found())["doing"], "IdleInTransaction");
        attached.detach().unwrap_err();
        let ended = session.close();
        let HowEnded::Killed(request) = &ended.how else { panic!("{ended:?}") };
        assert_eq!(value!(&ended), json!({ "how": { "Killed": value!(request) } }));
        assert_eq!(value!(request)["author"]["user"], "root");
        assert_eq!(value!(receipt.poll().unwrap()), value!(&ended));
        for (how, name) in [(HowEnded::Closed, "Closed"), (HowEnded::Panicked, "Panicked")] {
            assert_eq!(value!(Ended { how }), json!({ "how": name }));
        }
        assert_eq!(value!(StatementOver { cancelled: false }), json!({ "cancelled": false }));
    });
}

#[test]
fn what_only_has_a_name() {
    supervised(|| {
        for (doing, name) in [
            (Doing::Idle, "Idle"),
            (Doing::IdleInTransaction, "IdleInTransaction"),
            (Doing::Queued, "Queued"),
            (Doing::BetweenStatements, "BetweenStatements"),
            (Doing::Running, "Running"),
            (Doing::Waiting, "Waiting"),
        ] {
            assert_eq!(value!(doing), name);
        }
        for (when, name) in [
            (When::AfterTransaction, "AfterTransaction"),
            (When::AfterStatement, "AfterStatement"),
            (When::Immediate, "Immediate"),
        ] {
            assert_eq!(value!(when), name);
        }
        for (kind, name) in
            [(InterruptKind::Cancel, "Cancel"), (InterruptKind::Terminate, "Terminate")]
        {
            assert_eq!(value!(kind), name);
        }
        for (reason, name) in [
            (Reason::AdministratorCommand, "AdministratorCommand"),
            (Reason::UserRequest, "UserRequest"),
            (Reason::StatementTimeout, "StatementTimeout"),
            (Reason::LockTimeout, "LockTimeout"),
            (Reason::TransactionTimeout, "TransactionTimeout"),
            (Reason::IdleSessionTimeout, "IdleSessionTimeout"),
            (Reason::IdleInTransactionTimeout, "IdleInTransactionTimeout"),
            (Reason::InternalError, "InternalError"),
            (Reason::StatementsExhausted, "StatementsExhausted"),
        ] {
            assert_eq!(value!(reason), name);
            assert_eq!(value!(Request::new(admin("root"), reason, None))["reason"], name);
        }
    });
}

#[test]
fn targets_and_refusals() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let session = manager.open(of("ann")).unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let (id, thread, statement) = (session.id(), worker.id(), StatementId::from(7));
        let (i, t) = (json!(id.get()), json!(thread.get()));
        assert_eq!(
            (value!(id), value!(thread), value!(statement)),
            (i.clone(), t.clone(), json!(7))
        );
        for (target, expected) in [
            (Target::Session(id), json!({ "Session": i })),
            (Target::AttachedTo(thread), json!({ "AttachedTo": t })),
            (Target::Pair(thread, id), json!({ "Pair": [t, i] })),
        ] {
            assert_eq!(value!(target), expected);
        }
        for (refused, expected) in [
            (Refused::NoSuchSession(id), json!({ "NoSuchSession": i })),
            (Refused::AlreadyEnded(id), json!({ "AlreadyEnded": i })),
            (Refused::NoSuchThread(thread), json!({ "NoSuchThread": t })),
            (Refused::NothingAttached(thread), json!({ "NothingAttached": t })),
            (
                Refused::BackgroundThread(thread, "writer".into()),
                json!({ "BackgroundThread": [t, "writer"] }),
            ),
            (Refused::NotAttached(thread, id), json!({ "NotAttached": [t, i] })),
            (Refused::NotPermitted(id), json!({ "NotPermitted": i })),
            (Refused::NothingRuns(id), json!({ "NothingRuns": i })),
            (Refused::Stale(id, statement), json!({ "Stale": [i, 7] })),
            (Refused::NoSuchStatement(id, statement), json!({ "NoSuchStatement": [i, 7] })),
            (Refused::NoTimer(id), json!({ "NoTimer": i })),
        ] {
            assert_eq!(value!(refused), expected);
        }
    });
}

#[test]
fn reasons_why_not_yet() {
    supervised(|| {
        let Stage { manager, mut session, thread, id } = Stage::new(ThreadModel::PerSession);
        let receipt = manager.terminate(id, kill(When::AfterTransaction)).unwrap();
        let ask = || receipt.why_not_yet().unwrap();
        assert_eq!(value!(ask()), "Detached");
        session.queue().unwrap();
        assert_eq!(value!(ask()), "Queued");
        let attached = session.attach(&thread).unwrap();
        attached.set_transaction(true);
        assert_eq!(value!(ask()), json!({ "NotDue": { "when": "AfterTransaction" } }));
        attached.set_transaction(false);
        let no_safe_point = json!({
            "NoSafePoint": { "at_least": { "secs": 0, "nanos": 0 }, "last": null },
        });
        assert_eq!(value!(ask()), no_safe_point);
        let held = attached.hold_off("commit");
        let why = ask();
        let WhyNotYet::HeldOff(at) = why else { panic!("{why:?}") };
        let expected = json!({ "HeldOff": { "name": "commit", "spot": spot(at.spot) } });
        assert_eq!(value!(why), expected);
        drop(held);
        let why = attached.blocking(ask);
        let WhyNotYet::Waiting(at) = why else { panic!("{why:?}") };
        assert_eq!(value!(why), json!({ "Waiting": spot(at) }));
        let why = attached.unwinding(|rollback| {
            rollback.progress(Progress { done: 3, total: Some(10) });
            ask()
        });
        let WhyNotYet::Unwinding { spot: at, .. } = why else { panic!("{why:?}") };
        let progress = json!({ "done": 3, "total": 10 });
        assert_eq!(value!(why), json!({ "Unwinding": { "spot": spot(at), "progress": progress } }));
        let unknown = Progress { done: 3, total: None };
        assert_eq!(value!(unknown), json!({ "done": 3, "total": null }));
        // Once it has been seen.
        attached.check().unwrap_err();
        let seen = manager.session(id).unwrap().interrupt.unwrap();
        assert_eq!(value!(&seen)["seen"], spot(seen.seen.unwrap()));
        let last = manager.session(id).unwrap().safe_point;
        assert_eq!(last, None, "nobody has probed it");
    });
}

#[test]
fn stalls_and_drains() {
    supervised(|| {
        let Stage { manager, mut session, thread, id } = Stage::new(ThreadModel::PerSession);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap().with_text("select endless");
        assert!(matches!(manager.probe(id), Some(Probe::Asked { .. })));
        statement.check().unwrap();
        let _held = statement.hold_off("commit");
        let (report, reports) = mpsc::channel();
        let stalled = statement.blocking(|| {
            let watchdog = Watchdog::start(&manager, Duration::ZERO, move |stalled| {
                let _ = report.send(stalled);
            });
            let stalled = reports.recv_timeout(LONG).unwrap();
            drop(watchdog);
            stalled
        });
        let held = stalled.hold_off.unwrap();
        assert_eq!(
            value!(&stalled),
            json!({
                "session": id.get(),
                "thread": id.get(),
                "at_least": {
                    "secs": stalled.at_least.as_secs(), "nanos": stalled.at_least.subsec_nanos(),
                },
                "last": spot(stalled.last.unwrap()),
                "hold_off": { "name": "commit", "spot": spot(held.spot) },
                "wait": spot(stalled.wait.unwrap()),
                "text": "select endless",
            })
        );
        let drained = Drained { sessions: 10, in_grace: 1, cut_short: 2, left: 7 };
        assert_eq!(
            value!(drained),
            json!({ "sessions": 10, "in_grace": 1, "cut_short": 2, "left": 7 })
        );
    });
}
