//! A waker that panics delays no other waiter, and ends no other session.

use crate::common::{
    CountingWaker, ENDLESS, Fixture, admin, each_model, kill_now, of, supervised, until, wait_until,
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
fn all_waiters_of_a_receipt_are_woken() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (woken, counts) = CountingWaker::waker();
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
fn all_waiters_of_a_statement_receipt_are_woken() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (woken, counts) = CountingWaker::waker();
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
fn a_targets_waker_does_not_affect_the_requester() {
    supervised(|| {
        each_model(|Fixture { manager, session, id, .. }| {
            session.set_detached_waker(Some(panics()));
            manager.terminate(id, kill_now()).unwrap();
            assert!(session.check().is_err());
        });
    });
}

#[test]
fn a_shutdown_terminates_every_session() {
    supervised(|| {
        each_model(|Fixture { manager, session, .. }| {
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
fn the_thread_that_ends_a_hold_off_is_not_affected() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
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
fn the_next_statement_still_has_its_timeout() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let limit = Some(Duration::from_millis(20));
            session.set_timeouts(Timeouts::new().with_statement(limit)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let sleeps = || {
                let is_pending = || manager.session_info(id).unwrap().pending.is_some();
                wait_until("the limit has run out", is_pending);
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

/// Also wakers that are dropped with the session.
#[test]
fn a_waker_may_panic_in_its_drop() {
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
        each_model(|Fixture { manager, session, id, .. }| {
            session.set_detached_waker(Some(Waker::from(Arc::new(Bomb))));
            let receipt = manager.terminate(id, kill_now()).unwrap();
            session.close();
            assert!(receipt.try_get().is_some());
        });
    });
}

/// Both of a session's may be the last of their kind as it ends.
#[test]
fn both_wakers_may_panic_in_their_drops() {
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
        each_model(|Fixture { manager, mut session, thread, id }| {
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
fn a_dropped_receipt_drops_its_waker() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let (count, waker) = CountingWaker::waker();
            let mut kept = manager.terminate(id, kill_now()).unwrap();
            waits(&mut kept, &waker);
            let (count_of_one, waker) = CountingWaker::waker();
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

/// The payload of a panic may panic when it is dropped, and so may the payload of that panic.
#[test]
fn a_panic_payload_may_panic_in_its_drop() {
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
            each_model(|Fixture { manager, session, id, .. }| {
                session.set_detached_waker(Some(Waker::from(Arc::new(Panics(layers)))));
                let mut receipt = manager.terminate(id, kill_now()).unwrap();
                let (woken, counts) = CountingWaker::waker();
                let mut other = manager.terminate(id, kill_now()).unwrap();
                waits(&mut receipt, &Waker::from(Arc::new(Panics(layers))));
                waits(&mut other, &counts);
                session.close();
                assert_eq!(woken.get(), 1);
            });
        }
    });
}
