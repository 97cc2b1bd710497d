//! What `serde` adds: each type by its fields, and none left out.

use crate::common::{
    Fixture, MODELS, TEST_TIMEOUT, kill, kill_now, of, supervised, thread_for, user,
};
use safepoint::diagnose::{PendingReason, ProbeResult, Progress, Watchdog};
use safepoint::id::StatementId;
use safepoint::manager::DrainReport;
use safepoint::request::{EndReason, InterruptKind, InterruptReason, RequestError, Target};
use safepoint::session::Timeouts;
use safepoint::view::SessionState;
use safepoint::{Cancel, ClientInfo, SessionManager, TerminateMode, ThreadModel};
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

fn call_site(call_site: safepoint::diagnose::CallSite) -> Value {
    json!({ "location": call_site.location.to_string(), "reached_at": time(call_site.reached_at) })
}

/// A row in which every field is set.
#[test]
fn session_rows_of_each_kind() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let description = ClientInfo::new("ann")
                .with_admin(true)
                .with_database("shop")
                .with_application("psql")
                .with_address("10.0.0.9");
            let mut session = manager.open(description).unwrap();
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            let empty = manager.session_info(id).unwrap();
            assert_eq!(
                value!(&empty),
                json!({
                    "id": id.get(),
                    "thread_id": (model == ThreadModel::PerSession).then(|| id.get()),
                    "client": {
                        "user": "ann", "admin": true, "database": "shop", "application": "psql",
                        "address": "10.0.0.9",
                    },
                    "state": "idle",
                    "waiting": false,
                    "statement_id": null,
                    "pending_mode": null,
                    "pending": null,
                    "hold_off": null,
                    "uninterruptible_wait": null,
                    "helper_count": 0,
                    "last_safe_point": null,
                    "opened_at": time(empty.opened_at),
                    "transaction_started_at": null,
                    "statement_started_at": null,
                    "changed_at": time(empty.opened_at),
                    "statement_text": "",
                    "is_disclosed": true,
                })
            );
            let mut attached = session.attach(&thread).unwrap();
            let at = attached.thread_id();
            attached.set_in_transaction(true);
            let statement = attached.begin().unwrap().with_text("select pi()");
            assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
            statement.check().unwrap();
            let _held = statement.hold_off("commit");
            manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            let row = statement.block_in_place(|| manager.session_info(id).unwrap());
            let held = row.hold_off.unwrap();
            let interrupt = row.pending.clone().unwrap();
            let request = &interrupt.request;
            assert_eq!(
                value!(&row),
                json!({
                    "id": id.get(),
                    "thread_id": at.get(),
                    "client": value!(&empty)["client"],
                    "state": "running",
                    "waiting": false,
                    "statement_id": 1,
                    "pending_mode": "after_statement",
                    "pending": {
                        "kind": "terminate",
                        "mode": "after_statement",
                        "request": {
                            "requester": {
                                "session": null, "user": "root", "admin": true, "address": null,
                            },
                            "reason": "administrator_command",
                            "comment": "because",
                            "requested_at": time(request.requested_at()),
                            "requester_disclosed": true,
                        },
                        "requested_at": time(request.requested_at()),
                        "observed_at": null,
                    },
                    "hold_off": { "name": "commit", "call_site": call_site(held.call_site) },
                    "helper_count": 0,
                    "uninterruptible_wait": call_site(row.uninterruptible_wait.unwrap()),
                    "last_safe_point": call_site(row.last_safe_point.unwrap()),
                    "opened_at": time(row.opened_at),
                    "transaction_started_at": time(row.transaction_started_at.unwrap()),
                    "statement_started_at": time(row.statement_started_at.unwrap()),
                    "changed_at": time(row.changed_at),
                    "statement_text": "select pi()",
                    "is_disclosed": true,
                })
            );
            assert!(call_site(held.call_site)["location"].as_str().unwrap().starts_with(file!()));
        }
    });
}

#[test]
fn a_thread_row() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        let background = manager.register_background("listener").unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let attached = session.attach(&worker).unwrap();
        let rows = manager.threads();
        assert_eq!((rows[0].id, rows[1].id), (background.id(), worker.id()));
        let row = |at: usize, name: &str, runs: bool, session: Value| {
            json!({
                "id": rows[at].id.get(),
                "name": name,
                "registered_at": time(rows[at].registered_at),
                "is_worker": runs,
                "session_id": session,
            })
        };
        let id = json!(attached.id().get());
        let expected = [row(0, "listener", false, json!(null)), row(1, "worker", true, id)];
        assert_eq!(value!(&rows), json!(expected));
    });
}

#[test]
fn requests_and_their_outcomes() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut session = manager.open(of("ann")).unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let (id, at) = (session.id(), worker.id());
        let mut attached = session.attach(&worker).unwrap();
        let statement = attached.begin().unwrap();
        statement.set_in_transaction(true);
        manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
        let requester = user("ann").with_session(id).with_address("10.0.0.7");
        let receipt = manager.cancel(id, Cancel::running(requester)).unwrap();
        assert_eq!(
            value!(receipt.target()),
            json!({
                "state": "running", "thread_id": at.get(), "statement_id": 1, "in_transaction": true,
                "pending_mode": "after_transaction",
            })
        );
        let interrupt = statement.check().unwrap_err();
        let request = interrupt.request();
        assert_eq!(
            value!(request),
            json!({
                "requester": {
                    "session": id.get(), "user": "ann", "admin": false, "address": "10.0.0.7",
                },
                "reason": "user_request",
                "comment": null,
                "requested_at": time(request.requested_at()),
                "requester_disclosed": true,
            })
        );
        drop(statement);
        let mut end = receipt.try_get().unwrap();
        assert_eq!(value!(end), json!({ "cancelled": true }));
        end.cancelled = false;
        assert_eq!(value!(end), json!({ "cancelled": false }));
        let receipt = manager.terminate(id, kill_now()).unwrap();
        assert_eq!(value!(receipt.target())["state"], "idle_in_transaction");
        attached.detach().unwrap_err();
        let mut ended = session.close();
        let EndReason::Terminated(request) = &ended.reason else { panic!("{ended:?}") };
        assert_eq!(value!(&ended), json!({ "reason": { "terminated": value!(request) } }));
        assert_eq!(value!(request)["requester"]["user"], "root");
        assert_eq!(value!(receipt.try_get().unwrap()), value!(&ended));
        for (how, name) in [(EndReason::Closed, "closed"), (EndReason::Panicked, "panicked")] {
            ended.reason = how;
            assert_eq!(value!(&ended), json!({ "reason": name }));
        }
    });
}

#[test]
fn fieldless_enums() {
    supervised(|| {
        for (doing, name) in [
            (SessionState::Idle, "idle"),
            (SessionState::IdleInTransaction, "idle_in_transaction"),
            (SessionState::Queued, "queued"),
            (SessionState::BetweenStatements, "between_statements"),
            (SessionState::Running, "running"),
            (SessionState::Waiting, "waiting"),
        ] {
            assert_eq!(value!(doing), name);
        }
        for (when, name) in [
            (TerminateMode::AfterTransaction, "after_transaction"),
            (TerminateMode::AfterStatement, "after_statement"),
            (TerminateMode::Immediate, "immediate"),
        ] {
            assert_eq!(value!(when), name);
        }
        for (kind, name) in
            [(InterruptKind::Cancel, "cancel"), (InterruptKind::Terminate, "terminate")]
        {
            assert_eq!(value!(kind), name);
        }
        for (reason, name) in [
            (InterruptReason::AdministratorCommand, "administrator_command"),
            (InterruptReason::UserRequest, "user_request"),
            (InterruptReason::StatementTimeout, "statement_timeout"),
            (InterruptReason::LockTimeout, "lock_timeout"),
            (InterruptReason::TransactionTimeout, "transaction_timeout"),
            (InterruptReason::IdleSessionTimeout, "idle_session_timeout"),
            (InterruptReason::IdleInTransactionTimeout, "idle_in_transaction_timeout"),
            (InterruptReason::ClientDisconnected, "client_disconnected"),
            (InterruptReason::InternalError, "internal_error"),
            (InterruptReason::StatementsExhausted, "statements_exhausted"),
        ] {
            assert_eq!(value!(reason), name);
        }
    });
}

#[test]
fn targets_and_errors() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let session = manager.open(of("ann")).unwrap();
        let worker = manager.register_worker("worker").unwrap();
        let (id, thread, statement) =
            (session.id(), worker.id(), StatementId::try_from(7).unwrap());
        let (i, t) = (json!(id.get()), json!(thread.get()));
        assert_eq!(
            (value!(id), value!(thread), value!(statement)),
            (i.clone(), t.clone(), json!(7))
        );
        for (target, expected) in [
            (Target::Session(id), json!({ "session": i })),
            (Target::AttachedTo(thread), json!({ "attached_to": t })),
            (Target::Pair(thread, id), json!({ "pair": [t, i] })),
        ] {
            assert_eq!(value!(target), expected);
        }
        for (refused, expected) in [
            (RequestError::NoSuchSession(id), json!({ "no_such_session": i })),
            (RequestError::AlreadyEnded(id), json!({ "already_ended": i })),
            (RequestError::NoSuchThread(thread), json!({ "no_such_thread": t })),
            (RequestError::ThreadIdle(thread), json!({ "thread_idle": t })),
            (
                RequestError::BackgroundThread { thread, name: "writer".into() },
                json!({ "background_thread": { "thread": t, "name": "writer" } }),
            ),
            (
                RequestError::NotAttached { thread, session: id },
                json!({ "not_attached": { "thread": t, "session": i } }),
            ),
            (RequestError::PermissionDenied(id), json!({ "permission_denied": i })),
            (RequestError::NoActiveStatement(id), json!({ "no_active_statement": i })),
            (
                RequestError::StatementEnded { session: id, statement },
                json!({ "statement_ended": { "session": i, "statement": 7 } }),
            ),
            (
                RequestError::NoSuchStatement { session: id, statement },
                json!({ "no_such_statement": { "session": i, "statement": 7 } }),
            ),
            (RequestError::SessionChanged(id), json!({ "session_changed": i })),
            (RequestError::TimerUnavailable(id), json!({ "timer_unavailable": i })),
        ] {
            assert_eq!(value!(refused), expected);
        }
    });
}

#[test]
fn pending_reasons() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        let receipt = manager.terminate(id, kill(TerminateMode::AfterTransaction)).unwrap();
        let ask = || receipt.pending_reason().unwrap();
        assert_eq!(value!(ask()), "detached");
        session.reserve_statement().unwrap();
        assert_eq!(value!(ask()), "queued");
        let attached = session.attach(&thread).unwrap();
        attached.set_in_transaction(true);
        assert_eq!(value!(ask()), json!({ "deferred": { "mode": "after_transaction" } }));
        attached.set_in_transaction(false);
        let no_safe_point = json!({
            "no_safe_point": { "elapsed": { "secs": 0, "nanos": 0 }, "last_safe_point": null },
        });
        assert_eq!(value!(ask()), no_safe_point);
        let held = attached.hold_off("commit");
        let why = ask();
        let PendingReason::HeldOff(at) = why else { panic!("{why:?}") };
        let expected =
            json!({ "held_off": { "name": "commit", "call_site": call_site(at.call_site) } });
        assert_eq!(value!(why), expected);
        drop(held);
        let why = attached.block_in_place(ask);
        let PendingReason::UninterruptibleWait(at) = why else { panic!("{why:?}") };
        assert_eq!(value!(why), json!({ "uninterruptible_wait": call_site(at) }));
        let rollback = attached.begin_rollback();
        rollback.report(Progress::new(3).of(10));
        let why = ask();
        drop(rollback);
        let PendingReason::RollingBack { call_site: at, .. } = why else { panic!("{why:?}") };
        let progress = json!({ "completed": 3, "total": 10 });
        assert_eq!(
            value!(why),
            json!({ "rolling_back": { "call_site": call_site(at), "progress": progress } })
        );
        let unknown = Progress::new(3);
        assert_eq!(value!(unknown), json!({ "completed": 3, "total": null }));
        // Once it has been seen.
        attached.check().unwrap_err();
        let seen = manager.session_info(id).unwrap().pending.unwrap();
        assert_eq!(value!(&seen)["observed_at"], call_site(seen.observed_at.unwrap()));
        let last = manager.session_info(id).unwrap().last_safe_point;
        assert_eq!(last, None, "nobody has probed it");
    });
}

#[test]
fn stalls_and_drain_reports() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap().with_text("select endless");
        assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
        statement.check().unwrap();
        let _held = statement.hold_off("commit");
        let (report, reports) = mpsc::channel();
        let stalled = statement.block_in_place(|| {
            let watchdog = Watchdog::start(&manager, Duration::ZERO, move |stalled| {
                let _ = report.send(stalled);
            });
            let stalled = reports.recv_timeout(TEST_TIMEOUT).unwrap();
            drop(watchdog);
            stalled
        });
        let held = stalled.hold_off.unwrap();
        assert_eq!(
            value!(&stalled),
            json!({
                "session": id.get(),
                "thread": id.get(),
                "helper": null,
                "elapsed": {
                    "secs": stalled.elapsed.as_secs(), "nanos": stalled.elapsed.subsec_nanos(),
                },
                "last_safe_point": call_site(stalled.last_safe_point.unwrap()),
                "hold_off": { "name": "commit", "call_site": call_site(held.call_site) },
                "wait": call_site(stalled.wait.unwrap()),
                "text": "select endless",
            })
        );
        manager.terminate(id, kill_now()).unwrap();
        let (report, reports) = mpsc::channel();
        let watchdog = Watchdog::builder()
            .overdue(Duration::ZERO, move |overdue| report.send(overdue).unwrap())
            .start(&manager);
        let overdue = reports.recv_timeout(TEST_TIMEOUT).unwrap();
        drop(watchdog.unwrap());
        assert_eq!(
            value!(&overdue),
            json!({
                "session": id.get(),
                "pending": value!(&overdue.pending),
                "elapsed": {
                    "secs": overdue.elapsed.as_secs(), "nanos": overdue.elapsed.subsec_nanos(),
                },
                "reason": {
                    "held_off": { "name": "commit", "call_site": call_site(held.call_site) },
                },
                "state": "running",
                "thread": id.get(),
                "text": "select endless",
            })
        );
        let mut drained = DrainReport::default();
        (drained.sessions, drained.graceful, drained.forced, drained.remaining) = (10, 1, 2, 7);
        assert_eq!(
            value!(drained),
            json!({ "sessions": 10, "graceful": 1, "forced": 2, "remaining": 7 })
        );
    });
}

#[test]
fn an_interrupt_and_probe_results() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::PerSession);
        assert_eq!(value!(manager.probe(id)), "not_running");
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        assert_eq!(value!(manager.probe(id)), json!({ "requested": { "last_safe_point": null } }));
        let unanswered = value!(manager.probe(id));
        let fields = unanswered["unanswered"].as_object().expect("it has not been answered");
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["elapsed", "last_safe_point"]);
        manager.cancel(id, Cancel::running(user("ann")).comment("too slow")).unwrap();
        let interrupt = statement.check().unwrap_err();
        assert_eq!(
            value!(&interrupt),
            json!({ "kind": "cancel", "request": value!(interrupt.request()) })
        );
        assert_eq!(value!(interrupt.request())["comment"], "too slow");
        for (model, name) in [(ThreadModel::PerSession, "per_session"), (ThreadModel::Pool, "pool")]
        {
            assert_eq!(value!(model), name);
        }
    });
}

/// Settings are read back as they were written, may leave fields out, and may name no others.
#[test]
fn settings_both_ways() {
    let timeouts = Timeouts::new().with_lock(Duration::from_millis(1_500)).with_idle(TEST_TIMEOUT);
    let written = value!(timeouts);
    assert_eq!(
        written,
        json!({
            "statement": null,
            "transaction": null,
            "lock": { "secs": 1, "nanos": 500_000_000 },
            "idle": { "secs": TEST_TIMEOUT.as_secs(), "nanos": 0 },
            "idle_in_transaction": null,
            "client_disconnect": null,
        })
    );
    assert_eq!(serde_json::from_value::<Timeouts>(written).unwrap(), timeouts);
    assert_eq!(serde_json::from_str::<Timeouts>("{}").unwrap(), Timeouts::new());
    let wrong = serde_json::from_str::<Timeouts>(r#"{ "lock_wait": null }"#).unwrap_err();
    assert!(wrong.to_string().contains("unknown field `lock_wait`"), "{wrong}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_pool_and_its_setting() {
    use safepoint::pool::{CpuBinding, GroupStatus, PoolBuilder, ThreadPoolAttr, WorkerStatus};
    let attr: ThreadPoolAttr = "32, 2, (cpubind: 0-1)".parse().unwrap();
    let written = value!(&attr);
    let expected = json!({ "thread_num": 32, "group_num": 2, "binding": { "cpus": [0, 1] } });
    assert_eq!(written, expected);
    assert_eq!(serde_json::from_value::<ThreadPoolAttr>(written).unwrap(), attr);
    for (binding, expected) in [
        (CpuBinding::None, json!("none")),
        (CpuBinding::All, json!("all")),
        (CpuBinding::Nodes(vec![1]), json!({ "nodes": [1] })),
        (CpuBinding::Numa(vec![2]), json!({ "numa": [2] })),
    ] {
        assert_eq!(value!(&binding), expected);
    }
    let empty = serde_json::from_str::<ThreadPoolAttr>("{}").unwrap();
    assert_eq!(empty, ThreadPoolAttr::default());

    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let pool = PoolBuilder::new(1).start::<Unserved>(manager).unwrap();
        let [group]: [GroupStatus; 1] = pool.status().try_into().expect("one group");
        let workers: Vec<&WorkerStatus> = group.threads.iter().collect();
        let threads: Vec<_> = workers
            .iter()
            .map(|worker| {
                json!({
                    "thread_id": worker.thread_id.get(),
                    "is_emergency": worker.is_emergency,
                    "session_id": null,
                    "since": time(worker.since),
                })
            })
            .collect();
        assert_eq!(
            value!(&group),
            json!({
                "group": 0,
                "min_workers": 1,
                "max_workers": group.max_workers,
                "active_limit": group.active_limit,
                "workers": group.workers,
                "starting": group.starting,
                "idle": group.idle,
                "sessions": 0,
                "queued": 0,
                "running": 0,
                "cpus": [],
                "threads": threads,
            })
        );
    });
}

/// No connection of this kind exists.
#[cfg(target_os = "linux")]
enum Unserved {}

#[cfg(target_os = "linux")]
impl std::os::fd::AsFd for Unserved {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match *self {}
    }
}

#[cfg(target_os = "linux")]
impl safepoint::pool::Connection for Unserved {
    fn on_ready(
        &mut self,
        _: &mut safepoint::Attached<'_>,
    ) -> Result<safepoint::pool::Action, safepoint::Interrupt> {
        match *self {}
    }

    fn on_close(&mut self, _: &safepoint::Session, _: safepoint::pool::CloseReason) {
        match *self {}
    }
}
