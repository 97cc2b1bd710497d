//! The requester and the reason, in the audit and in the target's error.

use crate::common::{
    CountingWaker, Fixture, MODELS, ParkedSession, TEST_TIMEOUT, admin, assert_cancelled, kill_now,
    locked, of, scope, sleep_until_woken, supervised, thread_for, user, wait_until,
};
use safepoint::audit::Event;
use safepoint::diagnose::Watchdog;
use safepoint::manager::BulkOptions;
use safepoint::policy::Policy;
use safepoint::request::InterruptReason;
use safepoint::session::Timeouts;
use safepoint::view::SessionInfo;
use safepoint::{
    Cancel, ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

type Heard = Arc<Mutex<Vec<String>>>;

/// The events, one word for each. The tests check the details themselves.
fn manager(model: ThreadModel) -> (SessionManager, Heard) {
    let heard = Heard::default();
    let audit = {
        let heard = heard.clone();
        move |event: &Event<'_>| {
            let line = match event {
                Event::SessionOpened { client: description, .. } => {
                    format!("opened {}", description.user())
                }
                Event::InterruptRequested { kind, request, .. } => {
                    let requester = request.requester().user().unwrap_or("-");
                    format!("{kind:?} by {requester}: {}", request.comment().unwrap_or("-"))
                }
                Event::RequestRejected { requester, error: refused, .. } => {
                    let requester = requester.user().unwrap_or("-");
                    format!("refused {requester}: {}", refused.sqlstate())
                }
                Event::InterruptObserved { kind, .. } => format!("{kind:?} seen"),
                Event::StatementEnded { end: over, request, .. } => {
                    format!("over {} {}", over.cancelled, request.comment().unwrap_or("-"))
                }
                Event::SessionEnded { end: ended, .. } => format!("ended {}", name(&ended.reason)),
                Event::TimeoutExpired { reason, .. } => format!("limit {reason:?}"),
                Event::SessionStalled { stalled, .. } => format!("stalled in {}", stalled.text),
                Event::InterruptOverdue { overdue, .. } => {
                    format!("overdue: {:?}", overdue.pending.kind)
                }
                other => panic!("{other:?}"),
            };
            locked(&heard).push(line);
        }
    };
    (SessionManager::builder(model).audit(audit).build(), heard)
}

fn name(how: &safepoint::request::EndReason) -> &'static str {
    match how {
        safepoint::request::EndReason::Terminated(_) => "killed",
        safepoint::request::EndReason::Closed => "closed",
        _ => "otherwise",
    }
}

fn take(heard: &Heard) -> Vec<String> {
    std::mem::take(&mut *locked(heard))
}

#[test]
fn the_audit_receives_all_events_in_order() {
    supervised(|| {
        for model in MODELS {
            let (manager, heard) = manager(model);
            let mut session = manager.open(of("ann")).unwrap();
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            assert_eq!(take(&heard), ["opened ann"]);

            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(user("ann")).comment("too slow")).unwrap();
            assert_eq!(take(&heard), ["Cancel by ann: too slow"]);
            assert_cancelled(&statement.check().unwrap_err());
            assert_cancelled(&statement.check().unwrap_err());
            assert_eq!(take(&heard), ["Cancel seen"], "once");
            drop(statement);
            assert_eq!(take(&heard), ["over true too slow"]);

            manager
                .terminate(id, Terminate::new(TerminateMode::Immediate, user("bob")))
                .unwrap_err();
            assert_eq!(take(&heard), ["refused bob: 42501"]);
            manager.terminate(id, kill_now()).unwrap();
            assert_eq!(take(&heard), ["Terminate by root: because"]);
            attached.check().unwrap_err();
            attached.check().unwrap_err();
            assert_eq!(take(&heard), ["Terminate seen"], "once");
            drop(attached);
            session.close();
            assert_eq!(take(&heard), ["ended killed"]);
            manager.terminate(id, kill_now()).unwrap_err();
            assert_eq!(take(&heard), ["refused root: 42704"]);
            drop(manager.open(of("bob")).unwrap());
            assert_eq!(take(&heard), ["opened bob", "ended closed"]);
        }
    });
}

/// It asks of the manager, from within each event, what takes every lock that there is.
#[test]
fn the_audit_is_called_with_no_lock_held() {
    supervised(|| {
        for model in MODELS {
            let slot: Arc<Mutex<Option<SessionManager>>> = Arc::default();
            let seen = slot.clone();
            let audit = move |_: &Event<'_>| {
                let Some(manager) = locked(&seen).clone() else { return };
                if let Some(row) = manager.sessions().next() {
                    let _ = manager.session_info(row.id);
                    let _ = manager.cancel(row.id, Cancel::running(Requester::default()));
                    let _ = safepoint::current::session_id();
                }
            };
            // Refusals within are events as well, so the manager is away while one is looked into.
            let audit = move |event: &Event<'_>| {
                if !matches!(event, Event::RequestRejected { .. }) {
                    audit(event);
                }
            };
            let manager = SessionManager::builder(model).audit(audit).build();
            *locked(&slot) = Some(manager.clone());
            let parked = ParkedSession::leave(manager.open(of("ann")).unwrap());
            let _swept =
                manager.terminate_where(|_: &SessionInfo| true, kill_now(), BulkOptions::new());
            assert_eq!(locked(&parked.interrupts).len(), 1);
            let mut session = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &session);
            let attached = session.attach(&thread).unwrap();
            manager.terminate(attached.id(), kill_now()).unwrap();
            safepoint::check().unwrap_err();
            attached.detach().unwrap_err();
            session.close();
            *locked(&slot) = None;
        }
    });
}

#[test]
fn a_panicking_audit_affects_nothing_else() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::builder(model)
                .audit(|_: &Event<'_>| panic!("the audit's own"))
                .build();
            let parked = ParkedSession::leave(manager.open(of("ann")).unwrap());
            let id = locked(&parked.session).as_ref().unwrap().id();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            assert!(receipt.try_get().is_some());
            assert!(manager.is_empty());
        }
    });
}

#[test]
fn a_request_carries_requester_address_time_and_reason() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            let about = of("ann").with_address("10.0.0.7");
            let mut requesting = manager.open(about).unwrap();
            let thread = thread_for(&manager, &requesting);
            let requester = requesting.attach(&thread).unwrap().requester();
            assert_eq!(requester.address(), Some("10.0.0.7"));
            let before = SystemTime::now();
            manager
                .terminate(
                    id,
                    Terminate::new(TerminateMode::Immediate, requester).comment("why not"),
                )
                .unwrap();
            let interrupt = session.check().unwrap_err();
            let request = interrupt.request();
            assert!(
                before <= request.requested_at() && request.requested_at() <= SystemTime::now()
            );
            assert_eq!(request.reason(), InterruptReason::AdministratorCommand);
            let detail = interrupt.detail(id).unwrap();
            let from = format!("user \"ann\" in session {} from 10.0.0.7 at 2", requesting.id());
            assert!(detail.contains(&from) && detail.ends_with(" UTC. why not"), "{detail}");
        }
    });
}

struct Anonymous;

impl Policy for Anonymous {
    fn permits(&self, _: &Requester, _: &ClientInfo) -> bool {
        true
    }

    fn discloses_requester(&self, requester: &Requester, _: &ClientInfo) -> bool {
        requester.user() != Some("root")
    }
}

#[test]
fn a_policy_may_hide_the_requester() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::builder(model).policy(Anonymous).build();
            for (requester, named) in [("root", false), ("eve", true)] {
                let session = manager.open(of("ann")).unwrap();
                let request =
                    Terminate::new(TerminateMode::Immediate, admin(requester)).comment("because");
                manager.terminate(session.id(), request).unwrap();
                let detail = session.check().unwrap_err().detail(session.id()).unwrap();
                assert_eq!(detail.contains(requester), named, "{detail}");
                assert!(detail.ends_with("because"));
            }
        }
    });
}

#[test]
fn the_audit_receives_expired_timeouts() {
    supervised(|| {
        for model in MODELS {
            let (manager, heard) = manager(model);
            let mut session = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &session);
            let limits = Timeouts::new().with_statement(Duration::from_millis(1));
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let asks = || statement.set_timeouts(limits).unwrap();
            sleep_until_woken(&statement, CountingWaker::waker(), asks);
            let interrupt = statement.check().unwrap_err();
            assert_eq!(interrupt.message(), "canceling statement due to statement timeout");
            assert_eq!(interrupt.to_string(), interrupt.message());
            drop(statement);
            assert_eq!(
                take(&heard),
                ["opened ann", "limit StatementTimeout", "Cancel seen", "over true -"]
            );
        }
    });
}

#[test]
fn the_audit_receives_stalled_sessions() {
    supervised(|| {
        for model in MODELS {
            let (manager, heard) = manager(model);
            let mut session = manager.open(of("ann")).unwrap();
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            let mut attached = session.attach(&thread).unwrap();
            let _statement = attached.begin().unwrap().with_text("select endless");
            let (report, reports) = mpsc::channel();
            let watchdog = Watchdog::start(&manager, Duration::from_millis(10), move |stalled| {
                let _ = report.send(stalled.session);
            });
            let watchdog = watchdog.unwrap();
            assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(id), "the watchdog reports it");
            drop(watchdog);
            assert_eq!(take(&heard), ["opened ann", "stalled in select endless"]);
        }
    });
}

#[test]
fn the_audit_receives_overdue_requests() {
    supervised(|| {
        for model in MODELS {
            let (manager, heard) = manager(model);
            let session = manager.open(of("ann")).unwrap();
            manager.terminate(session.id(), kill_now()).unwrap();
            take(&heard);
            let (report, reports) = mpsc::channel();
            let watchdog = Watchdog::builder()
                .overdue(Duration::ZERO, move |overdue| report.send(overdue.session).unwrap())
                .start(&manager);
            assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(session.id()));
            drop(watchdog.unwrap());
            assert_eq!(take(&heard), ["overdue: Terminate"]);
        }
    });
}

/// The first requester may be blocked there.
#[test]
fn a_hanging_audit_does_not_block_other_requesters() {
    supervised(|| {
        let (release, wait) = mpsc::channel::<()>();
        let (wait, first) = (Mutex::new(wait), AtomicBool::new(true));
        let stuck = Arc::new(AtomicBool::new(false));
        let audit = {
            let stuck = stuck.clone();
            move |event: &Event<'_>| {
                if matches!(event, Event::InterruptRequested { .. })
                    && first.swap(false, Ordering::SeqCst)
                {
                    stuck.store(true, Ordering::SeqCst);
                    let _ = locked(&wait).recv_timeout(TEST_TIMEOUT);
                }
            }
        };
        let manager = SessionManager::builder(ThreadModel::Pool).audit(audit).build();
        let parked = ParkedSession::leave(manager.open(of("ann")).unwrap());
        let id = locked(&parked.session).as_ref().unwrap().id();
        scope(|scope| {
            scope.spawn(|| manager.terminate(id, kill_now()).map(drop));
            wait_until("the first is held up", || stuck.load(Ordering::SeqCst));
            let receipt = manager.terminate(id, kill_now()).unwrap();
            let ended = receipt.try_get();
            drop(release);
            assert!(ended.is_some());
        });
        assert_eq!(locked(&parked.interrupts).len(), 1);
    });
}

#[test]
fn a_watchdog_may_be_dropped_by_its_report() {
    supervised(|| {
        let Fixture { manager, mut session, thread, .. } = Fixture::new(ThreadModel::PerSession);
        let place = Arc::<Mutex<Option<Watchdog>>>::default();
        let (dropped, done) = mpsc::channel();
        let report = {
            let place = place.clone();
            move |_| {
                drop(locked(&place).take());
                let _ = dropped.send(());
            }
        };
        let mut attached = session.attach(&thread).unwrap();
        let _statement = attached.begin().unwrap();
        let mut there = locked(&place);
        *there = Some(Watchdog::start(&manager, Duration::from_millis(1), report).unwrap());
        drop(there);
        done.recv_timeout(TEST_TIMEOUT).expect("it is dropped");
    });
}
