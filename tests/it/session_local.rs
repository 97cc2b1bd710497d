//! Session-local values: their session, their creation, and their destructors.

use crate::common::{
    Fixture, MODELS, ParkedSession, joined, kill_now, locked, of, outcome, rounds, scope,
    supervised, thread_for, until,
};
use safepoint::local::NoSessionError;
use safepoint::request::Target;
use safepoint::{
    Attached, Session, SessionId, SessionManager, ThreadModel, current, session_local,
};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

session_local! {
    /// With a doc comment, an attribute and a visibility, as any static.
    #[allow(dead_code, reason = "an attribute")]
    pub(crate) static TEXT: RefCell<String> = RefCell::new("first".into());
    static NUMBER: Cell<u32> = Cell::new(7);
}

session_local! {}

/// Runs `act` with the session attached to a thread that is started for it.
fn on_a_new_thread(manager: &SessionManager, session: &mut Session, act: impl FnOnce() + Send) {
    scope(|scope| {
        scope.spawn(|| {
            let thread = thread_for(manager, session);
            let _attached = session.attach(&thread).unwrap();
            act();
        });
    });
}

#[test]
fn values_are_replaced_and_taken() {
    supervised(|| {
        let Fixture { mut session, thread, .. } = Fixture::new(ThreadModel::PerSession);
        let _attached = session.attach(&thread).unwrap();
        let first = NUMBER.replace(8);
        assert_eq!((NUMBER.take(), NUMBER.get()), (8, 0));
        NUMBER.set(first);
        assert_eq!(TEXT.replace("second".into()), "first");
        assert_eq!((TEXT.take(), TEXT.take()), ("second".into(), String::new()));
        TEXT.set("third".into());
        assert_eq!(TEXT.with_borrow(String::clone), "third");
    });
}

#[test]
fn session_local_values_follow_the_session_from_thread_to_thread() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            assert_eq!(TEXT.with_borrow(String::clone), "first");
            TEXT.with_borrow_mut(|text| text.push_str(", ann's"));
            NUMBER.set(8);
            drop(attached);
            for turn in 0..3 {
                on_a_new_thread(&manager, &mut session, || {
                    assert_eq!(TEXT.with_borrow(String::clone), "first, ann's");
                    assert_eq!(NUMBER.get(), 8 + turn);
                    NUMBER.set(9 + turn);
                });
            }
            let attached = session.attach(&thread).unwrap();
            assert_eq!(NUMBER.get(), 11);
            attached.detach_to_queue().unwrap();
            let _attached = session.attach(&thread).unwrap();
            assert_eq!(NUMBER.get(), 11);
        }
    });
}

#[test]
fn session_local_values_of_two_sessions_on_one_thread_are_apart() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session: mut ann, thread: of_ann, .. } = Fixture::new(model);
            let mut bob = manager.open(of("bob")).unwrap();
            let of_bob = bob.own_thread();
            // In a pool it is the same worker.
            let of_bob = of_bob.as_ref().unwrap_or(&of_ann);
            for turn in 0..3 {
                let attached = ann.attach(&of_ann).unwrap();
                assert_eq!(NUMBER.get(), 7 + turn);
                NUMBER.set(8 + turn);
                drop(attached);
                let attached = bob.attach(of_bob).unwrap();
                assert_eq!(NUMBER.get(), if turn == 0 { 7 } else { 99 + turn });
                NUMBER.set(100 + turn);
                drop(attached);
            }
            drop(ann);
            let _attached = bob.attach(of_bob).unwrap();
            assert_eq!(NUMBER.get(), 102, "another's end is not this one's");
        }
    });
}

#[test]
fn a_session_local_is_created_once_on_first_use() {
    supervised(|| {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        session_local! {
            static LAZY: usize = MADE.fetch_add(1, Ordering::Relaxed);
        }
        for (before, model) in MODELS.into_iter().enumerate() {
            let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
            drop(session.attach(&thread).unwrap());
            assert_eq!(MADE.load(Ordering::Relaxed), before, "nobody has asked");
            for _ in 0..2 {
                let _attached = session.attach(&thread).unwrap();
                assert_eq!([LAZY.with(|at| *at), LAZY.with(|at| *at)], [before; 2]);
            }
            on_a_new_thread(&manager, &mut session, || assert_eq!(LAZY.with(|at| *at), before));
            assert_eq!(MADE.load(Ordering::Relaxed), before + 1);
        }
    });
}

#[test]
fn session_local_closures_nest_and_have_the_same_value() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let _attached = session.attach(&thread).unwrap();
            NUMBER.with(|outer| {
                outer.set(1);
                NUMBER.with(|inner| inner.set(inner.get() + 1));
                TEXT.with_borrow(|text| assert_eq!(text, "first"));
                assert_eq!(outer.get(), 2);
            });
        }
    });
}

#[test]
fn without_a_session_there_are_no_session_locals() {
    supervised(|| {
        let text = "no session is attached to this thread";
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            for _ in 0..2 {
                let refused = NUMBER.try_with(|_| unreachable!("it is not called")).unwrap_err();
                assert_eq!(refused.to_string(), text);
                let panic = catch_unwind(|| NUMBER.get()).unwrap_err();
                assert_eq!(panic.downcast_ref::<String>().unwrap(), text);
                let _attached = session.attach(&thread).unwrap();
                assert_eq!(NUMBER.try_with(Cell::get), Ok(7));
            }
        }
    });
}

/// Reports its drop, with the thread and the session that was attached there.
#[derive(Default)]
struct Tells(Option<(&'static str, Sender<Drops>)>);

#[derive(Debug, PartialEq)]
struct Drops {
    name: &'static str,
    thread: ThreadId,
    session: Option<SessionId>,
    asked: Result<u32, NoSessionError>,
}

impl Drop for Tells {
    fn drop(&mut self) {
        if let Some((name, drops)) = self.0.take() {
            let (thread, session) = (thread::current().id(), current::session_id());
            let asked = NUMBER.try_with(Cell::get);
            drops.send(Drops { name, thread, session, asked }).unwrap();
            assert_ne!(name, "panics", "on purpose");
        }
    }
}

session_local! {
    static ONE: RefCell<Tells> = RefCell::default();
    static TWO: RefCell<Tells> = RefCell::default();
    static THREE: RefCell<Tells> = RefCell::default();
}

/// Gives the attached session three values, the second, first and third of the statics.
fn three_values(_to: &Attached<'_>, second: &'static str) -> Receiver<Drops> {
    let (tells, drops) = channel();
    TWO.with_borrow_mut(|value| value.0 = Some(("made first", tells.clone())));
    ONE.with_borrow_mut(|value| value.0 = Some((second, tells.clone())));
    THREE.with_borrow_mut(|value| value.0 = Some(("made last", tells)));
    drops
}

/// Returns the reported drops. All of them were on this thread, with no session attached.
#[track_caller]
fn dropped_here(drops: &Receiver<Drops>) -> Vec<&'static str> {
    let here = thread::current().id();
    drops
        .try_iter()
        .map(|Drops { name, thread, session, asked }| {
            assert_eq!((thread, session, asked), (here, None, Err(NoSessionError)), "{name}");
            name
        })
        .collect()
}

const NEWEST_FIRST: [&str; 3] = ["made last", "made second", "made first"];

#[test]
fn session_locals_are_dropped_once_at_the_end_the_newest_first() {
    supervised(|| {
        for model in MODELS {
            for by_drop in [false, true] {
                let Fixture { mut session, thread, .. } = Fixture::new(model);
                let attached = session.attach(&thread).unwrap();
                let drops = three_values(&attached, "made second");
                drop(attached);
                assert_eq!(dropped_here(&drops), [""; 0], "detaching is no end");
                if by_drop {
                    drop(session);
                } else {
                    session.close();
                }
                assert_eq!(dropped_here(&drops), NEWEST_FIRST);
            }
        }
    });
}

/// Another thread, with another session attached, ends the idle target.
#[test]
fn session_locals_are_dropped_on_the_requesters_thread_first() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let drops = three_values(&attached, "made second");
            drop(attached);
            let parked = ParkedSession::leave(session);
            scope(|scope| {
                let manager = &manager;
                scope.spawn(move || {
                    let mut own = manager.open(of("killer")).unwrap();
                    let thread = thread_for(manager, &own);
                    let attached = own.attach(&thread).unwrap();
                    NUMBER.set(1);
                    let receipt = manager.terminate(id, kill_now()).unwrap();
                    assert!(receipt.try_get().is_some());
                    assert_eq!(dropped_here(&drops), NEWEST_FIRST);
                    assert_eq!(current::session_id(), Some(attached.id()));
                    assert_eq!(NUMBER.get(), 1, "the killer's own is as it was");
                });
            });
            assert!(locked(&parked.session).is_none());
        }
    });
}

#[test]
fn session_locals_are_dropped_before_the_receipts_complete() {
    supervised(|| {
        for model in MODELS {
            for _ in rounds(200) {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let attached = session.attach(&thread).unwrap();
                let drops = three_values(&attached, "made second");
                drop(attached);
                let mut receipt = manager.terminate(id, kill_now()).unwrap();
                let ender = thread::spawn(move || drop(session));
                outcome(&mut receipt);
                assert_eq!(drops.try_iter().count(), 3);
                until("it has ended", || ender.join()).unwrap();
            }
        }
    });
}

#[test]
fn a_panicking_destructor_does_not_stop_the_others() {
    supervised(|| {
        for model in MODELS {
            for unwinding in [false, true] {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let attached = session.attach(&thread).unwrap();
                let drops = three_values(&attached, "panics");
                drop(attached);
                let receipt = manager.terminate(id, kill_now()).unwrap();
                if unwinding {
                    // The session goes as a panic of its holder's unwinds.
                    let panic = catch_unwind(AssertUnwindSafe(|| {
                        let _session = session;
                        panic!("the holder's own");
                    }));
                    assert_eq!(
                        panic.unwrap_err().downcast_ref::<&str>(),
                        Some(&"the holder's own")
                    );
                } else {
                    session.close();
                }
                assert_eq!(dropped_here(&drops), ["made last", "panics", "made first"]);
                assert!(receipt.try_get().is_some());
                assert!(manager.is_empty());
            }
        }
    });
}

/// Not useful, but safe: the session is detached, or ends, within the closure.
#[test]
fn a_session_that_ends_within_a_session_local_closure() {
    supervised(|| {
        for model in MODELS {
            // After the leak the thread cannot run another session, so a new thread is used.
            let spoilt = thread::spawn(move || ends_within_a_closure(model));
            until("the closure returns", || spoilt.join()).unwrap();
        }
    });
}

fn ends_within_a_closure(model: ThreadModel) {
    let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
    let attached = session.attach(&thread).unwrap();
    let drops = three_values(&attached, "made second");
    ONE.with(|value| {
        attached.detach().unwrap();
        assert_eq!(ONE.try_with(|_| ()), Err(NoSessionError), "detached");
        assert!(value.borrow().0.is_some(), "and still here");
    });
    // A leaked guard leaves its session on the thread.
    std::mem::forget(session.attach(&thread).unwrap());
    ONE.with(|value| {
        drop(session);
        assert_eq!(ONE.try_with(|_| ()), Err(NoSessionError), "it has ended");
        assert!(manager.is_empty());
        assert_eq!(dropped_here(&drops), ["made last", "made first"]);
        assert!(value.borrow().0.is_some(), "held by this closure");
    });
    assert_eq!(dropped_here(&drops), ["made second"]);
    assert_eq!(NUMBER.try_with(|_| ()), Err(NoSessionError), "first used after the end");
}

#[test]
fn a_recursive_initializer_keeps_the_inner_value() {
    supervised(|| {
        static DEPTH: AtomicUsize = AtomicUsize::new(0);
        static DROPPED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
        struct Layer(usize);
        impl Layer {
            fn new() -> Layer {
                let depth = DEPTH.fetch_add(1, Ordering::Relaxed);
                if depth.is_multiple_of(2) {
                    assert_eq!(SELF.with(|inner| inner.0), depth + 1);
                }
                Layer(depth)
            }
        }
        impl Drop for Layer {
            fn drop(&mut self) {
                locked(&DROPPED).push(self.0);
            }
        }
        session_local! {
            static SELF: Layer = Layer::new();
        }
        for (turn, model) in MODELS.into_iter().enumerate() {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            assert_eq!(SELF.with(|kept| kept.0), 2 * turn + 1);
            assert_eq!(*locked(&DROPPED), [2 * turn], "the outer one is not needed");
            drop(attached);
            drop(session);
            assert_eq!(std::mem::take(&mut *locked(&DROPPED)), [2 * turn, 2 * turn + 1]);
            locked(&DROPPED).clear();
        }
    });
}

#[test]
fn an_initializer_that_panics_is_tried_again() {
    supervised(|| {
        static TRIES: AtomicUsize = AtomicUsize::new(0);
        session_local! {
            static SECOND_TIME: usize = {
                let tries = TRIES.fetch_add(1, Ordering::Relaxed);
                assert!(tries % 2 == 1, "on purpose");
                tries
            };
        }
        for (turn, model) in MODELS.into_iter().enumerate() {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let _attached = session.attach(&thread).unwrap();
            assert!(catch_unwind(|| SECOND_TIME.with(|_| ())).is_err());
            assert_eq!(SECOND_TIME.with(|tries| *tries), 2 * turn + 1);
        }
    });
}

/// A thread that destroys its thread-locals runs no session at that time.
#[test]
fn a_session_local_in_a_thread_locals_destructor() {
    supervised(|| {
        struct Asks(Option<Session>, Arc<AtomicUsize>);
        impl Drop for Asks {
            fn drop(&mut self) {
                assert_eq!(NUMBER.try_with(|_| ()), Err(NoSessionError));
                drop(self.0.take());
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread_local! {
            static ASKS: RefCell<Option<Asks>> = const { RefCell::new(None) };
        }
        for model in MODELS {
            let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
            let asked = Arc::new(AtomicUsize::new(0));
            let drops = scope(|scope| {
                let asked = asked.clone();
                let runs = scope.spawn(move || {
                    // First used first, so, where such things run newest first, dropped after all that
                    // this thread knows of sessions.
                    ASKS.with_borrow(|_| ());
                    let attached = session.attach(&thread).unwrap();
                    let drops = three_values(&attached, "made second");
                    drop(attached);
                    ASKS.set(Some(Asks(Some(session), asked)));
                    drops
                });
                joined("the thread ends", runs)
            });
            assert_eq!(asked.load(Ordering::Relaxed), 1);
            assert_eq!(drops.try_iter().count(), 3);
            assert!(manager.is_empty());
        }
    });
}

/// The closure has the last reference, and another session is attached to the thread then.
#[test]
fn a_session_local_that_outlives_its_session_is_dropped_with_none_attached() {
    supervised(|| {
        let Fixture { manager, mut session, thread, .. } = Fixture::new(ThreadModel::Pool);
        let mut other = manager.open(of("bob")).unwrap();
        let attached = session.attach(&thread).unwrap();
        let drops = three_values(&attached, "made second");
        drop(attached);
        // A leaked guard leaves its session on the thread.
        std::mem::forget(session.attach(&thread).unwrap());
        let mut on_the_thread = None;
        ONE.with(|_| {
            drop(session);
            on_the_thread = Some(other.attach(&thread).unwrap());
            assert_eq!(drops.try_iter().count(), 2, "the others went with their session");
        });
        assert_eq!(dropped_here(&drops), ["made second"]);
        let attached = on_the_thread.unwrap();
        assert_eq!(current::session_id(), Some(attached.id()));
    });
}

/// The thread that ends a session may have another session attached, which must not be current for
/// that.
#[test]
fn session_locals_are_dropped_with_no_other_session_attached() {
    supervised(|| {
        for model in MODELS {
            for by_drop in [false, true] {
                let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
                let attached = session.attach(&thread).unwrap();
                let drops = three_values(&attached, "made second");
                drop(attached);
                let mut other = manager.open(of("bob")).unwrap();
                let thread = thread_for(&manager, &other);
                let attached = other.attach(&thread).unwrap();
                NUMBER.set(1);
                if by_drop {
                    drop(session);
                } else {
                    session.close();
                }
                assert_eq!(dropped_here(&drops), NEWEST_FIRST);
                assert_eq!(current::session_id(), Some(attached.id()));
                assert_eq!(NUMBER.get(), 1);
            }
        }
    });
}

/// A destructor may run another session on the thread. What ran there before runs there again.
#[test]
fn a_hidden_session_is_current_again_after() {
    struct Runs(Option<(SessionManager, Session)>);
    impl Drop for Runs {
        fn drop(&mut self) {
            let Some((manager, mut session)) = self.0.take() else { return };
            let thread = WORKER.get().unwrap();
            let attached = session.attach(thread).unwrap();
            assert_eq!(manager.threads()[0].session_id, Some(attached.id()));
        }
    }
    thread_local! {
        static WORKER: Cell<Option<&'static safepoint::Thread>> = const { Cell::new(None) };
    }
    session_local! {
        static RUNS: RefCell<Runs> = RefCell::new(Runs(None));
    }
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let worker: &'static _ = Box::leak(Box::new(manager.register_worker("worker").unwrap()));
        WORKER.set(Some(worker));
        let [mut outer, mut target, inner] = [(); 3].map(|()| manager.open(of("ann")).unwrap());
        let attached = target.attach(worker).unwrap();
        RUNS.with_borrow_mut(|runs| runs.0 = Some((manager.clone(), inner)));
        drop(attached);
        let attached = outer.attach(worker).unwrap();
        drop(target);
        assert_eq!(manager.threads()[0].session_id, Some(attached.id()));
        let receipt = manager.terminate(Target::AttachedTo(worker.id()), kill_now()).unwrap();
        assert_eq!(receipt.session(), attached.id());
        attached.check().unwrap_err();
    });
}
