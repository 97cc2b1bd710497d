//! A slow audit on one thread, and waiters for the end on other threads.

use crate::common::{
    MODELS, TEST_TIMEOUT, admin, joined, kill_now, locked, of, outcome, scope, supervised,
    thread_for, wait_until,
};
use safepoint::audit::Event;
use safepoint::{Attached, Cancel, Receipt, SessionManager, ThreadModel};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

/// Holds the audit in each event of one kind, until it is let go.
struct Held {
    manager: SessionManager,
    /// Whether the audit receives this event.
    hears: Receiver<()>,
    lets_go: Sender<()>,
    /// The number of such events that the audit has received, and has finished with.
    heard: Arc<AtomicUsize>,
}

fn held(model: ThreadModel, at: impl Fn(&Event<'_>) -> bool + Send + Sync + 'static) -> Held {
    let ((says, hears), (lets_go, may_go)) = (channel(), channel::<()>());
    let (says, may_go) = (Mutex::new(says), Mutex::new(may_go));
    let heard = Arc::<AtomicUsize>::default();
    let through = heard.clone();
    let audit = move |event: &Event<'_>| {
        if at(event) {
            locked(&says).send(()).unwrap();
            locked(&may_go).recv_timeout(TEST_TIMEOUT).expect("it is let go");
            through.fetch_add(1, Ordering::SeqCst);
        }
    };
    Held { manager: SessionManager::builder(model).audit(audit).build(), hears, lets_go, heard }
}

/// Notes at each wake how much the audit was through with.
struct Told {
    heard: Arc<AtomicUsize>,
    at: Mutex<Vec<usize>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        locked(&self.at).push(self.heard.load(Ordering::SeqCst));
    }
}

/// Lets the audit continue, also if the test panics.
struct LetsGo<'a>(&'a Sender<()>);

impl Drop for LetsGo<'_> {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

impl Held {
    /// While the audit handles the event that `ends` causes, no waiter is notified. After that all
    /// waiters are.
    fn is_first<T: Clone + Send>(&self, receipts: [Receipt<T>; 2], ends: impl FnOnce() + Send) {
        let [mut polled, mut waited] = receipts;
        let told = Arc::new(Told { heard: self.heard.clone(), at: Mutex::default() });
        let waker = Waker::from(told.clone());
        let before = self.heard.load(Ordering::SeqCst);
        assert!(Pin::new(&mut polled).poll(&mut Context::from_waker(&waker)).is_pending());
        scope(|scope| {
            let heard = &self.heard;
            let waits = scope.spawn(move || {
                outcome(&mut waited);
                heard.load(Ordering::SeqCst)
            });
            let ends = scope.spawn(ends);
            self.hears.recv_timeout(TEST_TIMEOUT).expect("the audit hears of the end");
            let lets_go = LetsGo(&self.lets_go);
            assert!(polled.try_get().is_none(), "the audit is still to hear of it");
            assert!(locked(&told.at).is_empty());
            drop(lets_go);
            assert_eq!(joined("who waits is told", waits), before + 1);
            joined("it is over", ends);
            assert!(polled.try_get().is_some());
            assert_eq!(*locked(&told.at), [before + 1]);
        });
    }
}

#[test]
fn no_receipt_of_a_session_completes_before_the_audit() {
    supervised(|| {
        for model in MODELS {
            let held = held(model, |event| matches!(event, Event::SessionEnded { .. }));
            for route in 0..3 {
                let session = held.manager.open(of("ann")).unwrap();
                let kill = || held.manager.terminate(session.id(), kill_now()).unwrap();
                let receipts = [kill(), kill()];
                held.is_first(receipts, move || {
                    if route > 0 {
                        session.check().unwrap_err();
                    }
                    if route > 1 { drop(session) } else { drop(session.close()) }
                });
            }
        }
    });
}

#[test]
fn no_receipt_of_a_statement_completes_before_the_audit() {
    supervised(|| {
        type Route = fn(&mut Attached<'_>, &Receiver<()>);
        let finished: Route = |attached, go| {
            let statement = attached.begin().unwrap();
            go.recv_timeout(TEST_TIMEOUT).expect("it is cancelled");
            statement.finish().unwrap();
        };
        let seen: Route = |attached, go| {
            let statement = attached.begin().unwrap();
            go.recv_timeout(TEST_TIMEOUT).expect("it is cancelled");
            statement.check().unwrap_err();
            drop(statement);
        };
        let forgotten: Route = |attached, go| {
            std::mem::forget(attached.begin().unwrap());
            go.recv_timeout(TEST_TIMEOUT).expect("it is cancelled");
        };
        let ended: Route = |attached, go| {
            let statement = attached.begin().unwrap();
            go.recv_timeout(TEST_TIMEOUT).expect("it is cancelled");
            std::mem::forget(statement);
            let _ = attached.begin().unwrap();
        };
        for model in MODELS {
            let held = held(model, |event| matches!(event, Event::StatementEnded { .. }));
            let manager = &held.manager;
            for route in [finished, seen, forgotten, ended] {
                let mut session = manager.open(of("ann")).unwrap();
                let (id, thread) = (session.id(), thread_for(manager, &session));
                scope(|scope| {
                    let (go, gone) = channel();
                    let runs = scope.spawn(move || {
                        let thread = thread;
                        let mut attached = session.attach(&thread).unwrap();
                        route(&mut attached, &gone);
                        attached.detach().unwrap();
                    });
                    let begun = || manager.session_info(id).unwrap().statement_id.is_some();
                    wait_until("the statement has begun", begun);
                    let cancel = || manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                    held.is_first([cancel(), cancel()], move || go.send(()).unwrap());
                    joined("it has left its thread", runs);
                });
            }
        }
    });
}

/// The command that was queued is over by the end of its session.
#[test]
fn a_statement_ends_before_its_session() {
    supervised(|| {
        for model in MODELS {
            let held = held(model, |event| matches!(event, Event::StatementEnded { .. }));
            let session = held.manager.open(of("ann")).unwrap();
            let number = session.reserve_statement().unwrap();
            let cancel = || {
                let request = Cancel::statement(number, admin("root"));
                held.manager.cancel(session.id(), request).unwrap()
            };
            let receipts = [cancel(), cancel()];
            let ended = held.manager.terminate(session.id(), kill_now()).unwrap();
            held.is_first(receipts, move || {
                session.close();
            });
            assert!(ended.try_get().is_some());
        }
    });
}
