//! A waker that panics delays no other waiter, and ends no other session.

use crate::common::{
    Count, ENDLESS, Stage, admin, each_model, eventually, kill_now, of, supervised, until,
};
use safepoint::request::InterruptReason;
use safepoint::session::{Timeouts, WaitMode};
use safepoint::{Cancel, Receipt};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

fn panics() -> Waker {
    Waker::from(Arc::new(Panics))
}

fn waits<T: Clone>(receipt: &mut Receipt<T>, waker: &Waker) {
    let polled: Poll<T> = Pin::new(receipt).poll(&mut Context::from_waker(waker));
    assert!(polled.is_pending());
}

#[test]
fn all_who_wait_for_a_receipt_are_woken() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let (woken, counts) = Count::waker();
            let mut receipts: Vec<_> =
                (0..3).map(|_| manager.terminate(id, kill_now()).unwrap()).collect();
            for (receipt, waker) in receipts.iter_mut().zip([panics(), counts.clone(), panics()]) {
                waits(receipt, &waker);
            }
            session.attach(&thread).unwrap().check().unwrap_err();
            session.close();
            assert_eq!(woken.get(), 1);
        });
    });
}

#[test]
fn those_of_a_statement_too() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (woken, counts) = Count::waker();
            let cancel = || manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let mut receipts = [cancel(), cancel()];
            for (receipt, waker) in receipts.iter_mut().zip([panics(), counts]) {
                waits(receipt, &waker);
            }
            statement.finish().unwrap();
            assert_eq!(woken.get(), 1);
        });
    });
}

#[test]
fn a_killer_is_not_hit_by_its_target_s_waker() {
    supervised(|| {
        each_model(|Stage { manager, session, id, .. }| {
            session.set_detached_waker(Some(panics()));
            manager.terminate(id, kill_now()).unwrap();
            assert!(session.check().is_err());
        });
    });
}

#[test]
fn a_shutdown_tells_everyone() {
    supervised(|| {
        each_model(|Stage { manager, session, .. }| {
            let others: Vec<_> = (0..20).map(|_| manager.open(of("bob")).unwrap()).collect();
            session.set_detached_waker(Some(panics()));
            others.iter().step_by(3).for_each(|other| other.set_detached_waker(Some(panics())));
            assert_eq!(manager.shutdown(kill_now()).len(), 21);
            assert!(others.iter().all(|other| other.check().is_err()));
        });
    });
}

/// The end of a hold-off wakes too.
#[test]
fn whoever_ends_a_hold_off_is_not_hit() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let held = safepoint::current::hold_off("handed on");
            let waited = attached.wait(WaitMode::Interruptible, &panics(), || {
                manager.terminate(id, kill_now()).unwrap();
                drop(held);
            });
            waited.unwrap();
            attached.check().unwrap_err();
        });
    });
}

#[test]
fn the_next_statement_has_its_limit_all_the_same() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let limit = Some(Duration::from_millis(20));
            session.set_timeouts(Timeouts::new().with_statement(limit)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let sleeps = || {
                let told = || manager.session_info(id).unwrap().pending.is_some();
                eventually("the limit has run out", told);
            };
            statement.wait(WaitMode::Interruptible, &panics(), sleeps).unwrap();
            statement.check().unwrap_err();
            statement.finish().unwrap();
            let next = attached.begin().unwrap();
            let slept = until("its time runs out", || next.sleep(ENDLESS));
            let interrupt = slept.unwrap_err();
            assert_eq!(interrupt.request().reason(), InterruptReason::StatementTimeout);
            assert_eq!(manager.session_info(id).unwrap().statement_id, Some(next.statement_id()));
        });
    });
}

/// What is dropped with the session, too.
#[test]
fn a_waker_may_panic_as_it_is_dropped() {
    supervised(|| {
        struct Bomb;
        impl Wake for Bomb {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        each_model(|Stage { manager, session, id, .. }| {
            session.set_detached_waker(Some(Waker::from(Arc::new(Bomb))));
            let receipt = manager.terminate(id, kill_now()).unwrap();
            session.close();
            assert!(receipt.try_get().is_some());
        });
    });
}

/// Both of a session's may be the last of their kind as it ends.
#[test]
fn both_wakers_may_panic_as_they_are_dropped() {
    supervised(|| {
        struct Bomb;
        impl Wake for Bomb {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        each_model(|Stage { manager, mut session, thread, id }| {
            session.set_detached_waker(Some(Waker::from(Arc::new(Bomb))));
            {
                let attached = session.attach(&thread).unwrap();
                let waker = Waker::from(Arc::new(Bomb));
                attached.wait(WaitMode::Interruptible, &waker, || ()).unwrap();
            }
            let receipt = manager.terminate(id, kill_now()).unwrap();
            session.close();
            assert!(receipt.try_get().is_some());
        });
    });
}

#[test]
fn a_receipt_that_is_dropped_takes_its_waker_along() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let (count, waker) = Count::waker();
            let mut kept = manager.terminate(id, kill_now()).unwrap();
            waits(&mut kept, &waker);
            let (count_of_one, waker) = Count::waker();
            let mut given_up = manager.terminate(id, kill_now()).unwrap();
            waits(&mut given_up, &waker);
            waits(&mut given_up, &waker);
            assert_eq!(Arc::strong_count(&count_of_one), 3, "it is kept once");
            drop(given_up);
            assert_eq!(Arc::strong_count(&count_of_one), 2, "it is kept no longer");
            drop(attached);
            session.close();
            assert_eq!((count.get(), count_of_one.get()), (1, 0));
        });
    });
}

/// What a panic carries may panic as well, as it is dropped, and so may what that carries.
#[test]
fn so_may_what_a_panic_carries() {
    struct Layers(u32);
    impl Drop for Layers {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Layers(self.0 - 1));
            }
        }
    }
    struct Panics(u32);
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::panic_any(Layers(self.0));
        }
    }
    supervised(|| {
        for layers in 0..4 {
            each_model(|Stage { manager, session, id, .. }| {
                session.set_detached_waker(Some(Waker::from(Arc::new(Panics(layers)))));
                let mut receipt = manager.terminate(id, kill_now()).unwrap();
                let (woken, counts) = Count::waker();
                let mut other = manager.terminate(id, kill_now()).unwrap();
                waits(&mut receipt, &Waker::from(Arc::new(Panics(layers))));
                waits(&mut other, &counts);
                session.close();
                assert_eq!(woken.get(), 1);
            });
        }
    });
}
