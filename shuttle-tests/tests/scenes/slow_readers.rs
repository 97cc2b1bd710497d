//! A session that waits for its peer to read is ended by a termination, and runs after a cancel, though the peer does
//! not read.
//!
//! At the same time: a worker that suspends a statement, requesters, a peer that reads, and the listener.

use crate::common::explore;
use safepoint_under_shuttle::manager::DrainOptions;
use safepoint_under_shuttle::pool::{Action, CloseReason, Connection, Descriptor, PoolBuilder};
use safepoint_under_shuttle::request::EndReason;
use safepoint_under_shuttle::session::{SuspendedStatement, WaitMode};
use safepoint_under_shuttle::{
    Attached, Cancel, ClientInfo, Interrupt, Requester, Session, SessionManager, Terminate,
    TerminateMode, ThreadModel,
};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn each_request_is_answered() {
    explore("slow_readers::each_request_is_answered", 3000, scene);
}

#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    cancelled: AtomicUsize,
    terminated: AtomicUsize,
    closed: AtomicUsize,
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

struct Server {
    descriptor: Arc<Descriptor>,
    suspended: Option<SuspendedStatement>,
    seen: Arc<Seen>,
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Server {
    fn ended(&self, interrupt: Interrupt) -> Result<Action, Interrupt> {
        if interrupt.is_terminate() {
            return Err(interrupt);
        }
        add(&self.seen.cancelled);
        Ok(Action::WaitReadable)
    }
}

impl Connection for Server {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        let begun = match self.suspended.take() {
            Some(suspended) => session.resume(suspended),
            None if self.descriptor.drained() => {
                self.descriptor.fill();
                session.begin()
            }
            None => {
                session.discard_reserved();
                return Ok(Action::WaitReadable);
            }
        };
        let statement = match begun {
            Ok(statement) => statement,
            Err(interrupt) => return self.ended(interrupt),
        };
        if self.descriptor.is_full() {
            self.suspended = Some(statement.suspend(WaitMode::Interruptible));
            return Ok(Action::WaitWritable);
        }
        add(&self.seen.answered);
        statement.finish().map(|()| Action::WaitReadable)
    }

    fn on_close(&mut self, _: &Session, why: CloseReason) {
        match why {
            CloseReason::Interrupted(interrupt) => {
                assert!(interrupt.is_terminate(), "a cancel ends no session");
                add(&self.seen.terminated);
            }
            _ => add(&self.seen.closed),
        }
    }
}

fn scene() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let workers = thread_rng().gen_range(1..3);
    let config = PoolBuilder::new(workers).max_workers(workers);
    let pool = config.start(manager.clone()).unwrap();
    let session = manager.open(ClientInfo::default()).unwrap();
    let (id, seen, descriptor) = (session.id(), Arc::<Seen>::default(), Descriptor::new().unwrap());
    let server = Server { descriptor: descriptor.clone(), suspended: None, seen: seen.clone() };
    pool.serve(session, server).expect("the poller takes it");
    let (cancels, kills, reads) = match thread_rng().gen_range(0..4) {
        0 => (true, false, false),
        1 => (false, true, false),
        2 => (true, false, true),
        _ => (true, true, false),
    };
    descriptor.turn_readable();
    let reader = reads.then(|| {
        let descriptor = descriptor.clone();
        thread::spawn(move || {
            (0..8).for_each(|_| thread::yield_now());
            descriptor.turn_writable();
        })
    });
    let canceller = cancels.then(|| {
        let (manager, seen) = (manager.clone(), seen.clone());
        thread::spawn(move || {
            loop {
                let cancel = Cancel::running(Requester::system());
                if let Ok(mut receipt) = manager.cancel(id, cancel) {
                    let ended = receipt.wait_timeout(Duration::MAX).expect("it completes");
                    assert!(ended.cancelled || reads || kills, "nothing else ends it");
                    return ended.cancelled;
                }
                // It has been answered, or has ended, or its statement has not begun.
                if seen.answered.load(Ordering::Relaxed) == 1 || manager.is_empty() {
                    return false;
                }
                thread::yield_now();
            }
        })
    });
    let killer = kills.then(|| {
        let manager = manager.clone();
        let request = Terminate::new(TerminateMode::Immediate, Requester::system());
        thread::spawn(move || {
            let mut receipt = manager.terminate(id, request).expect("it has not ended");
            let ended = receipt.wait_timeout(Duration::MAX).expect("it completes");
            assert!(matches!(ended.reason, EndReason::Terminated(_)));
        })
    });
    for thread in [reader, killer].into_iter().flatten() {
        thread.join().unwrap();
    }
    let cancelled = canceller.map(|canceller| canceller.join().unwrap());
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    if !kills {
        // Its answer follows the end of its statement.
        while count(&seen.answered) + count(&seen.cancelled) == 0 {
            thread::yield_now();
        }
        assert_eq!(count(&seen.answered) + count(&seen.cancelled), 1);
        assert_eq!(cancelled, Some(count(&seen.cancelled) == 1), "a receipt tells the truth");
        assert_eq!(manager.len(), 1, "the session continues");
        // Nothing is left in the queue.
        while pool.status()[0].queued > 0 || pool.status()[0].running > 0 {
            thread::yield_now();
        }
    }
    let shutdown = Terminate::new(TerminateMode::Immediate, Requester::system());
    assert_eq!(pool.shutdown(DrainOptions::new(shutdown)).remaining, 0);
    assert_eq!(count(&seen.terminated) + count(&seen.closed), 1);
}
