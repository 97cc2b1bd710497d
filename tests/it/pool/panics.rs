//! A panic in each method of a connection, ten times. After it the pool's counters are as before,
//! and the pool works.

use crate::common::{TEST_TIMEOUT, kill, kill_now, locked, supervised, wait_until};
use crate::pool::custom::{CustomConnection, is_closed, pool, serves, stick};
use crate::pool::queued::assert_queues_exactly;
use safepoint::local::SessionLocal;
use safepoint::pool::{Action, CloseReason, Pool, Priority, ServeErrorKind};
use safepoint::request::EndReason;
use safepoint::{SessionManager, TerminateMode, current, session_local};
use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Wake};
use std::thread::panicking;

/// No session is open, and the worker is idle. It serves. While it is stuck, sessions wait, the
/// lane serves, and a blocking worker releases its permit.
#[track_caller]
fn assert_all_is_right(manager: &SessionManager, pool: &Pool<CustomConnection>) {
    wait_until("all have ended", || manager.is_empty());
    let books = || {
        let [status] = <[_; 1]>::try_from(pool.status()).expect("one group");
        let workers = status.threads.iter().filter(|thread| !thread.is_emergency).count();
        let people = (status.sessions, status.queued, status.running);
        (workers, status.workers, status.active_limit, status.idle, status.starting, people)
    };
    wait_until("its worker is idle", || books() == (1, 1, 1, 1, 0, (0, 0, 0)));
    serves(manager, pool);
    let stuck = stick(manager, pool);
    assert_queues_exactly(manager, pool, 2);
    let (mut client, session, mut peer) = CustomConnection::new(manager);
    client.is_emergency = true;
    pool.serve(session, client).unwrap();
    peer.write_all(b"x").unwrap();
    peer.read_exact(&mut [0]).expect("the lane serves");
    drop(stuck);

    let (release, wait) = crossbeam_channel::bounded::<()>(0);
    let (blocks, blocked) = channel();
    let (mut client, session, mut blocking_peer) = CustomConnection::new(manager);
    client.runs = Box::new(move |_| {
        current::block_in_place(|| {
            blocks.send(()).unwrap();
            let _ = wait.recv();
        });
        Ok(Action::WaitReadable)
    });
    pool.serve(session, client).unwrap();
    blocking_peer.write_all(b"x").unwrap();
    blocked.recv_timeout(TEST_TIMEOUT).expect("it blocks");
    serves(manager, pool);
    drop(release);
    blocking_peer.read_exact(&mut [0]).expect("it is back");
    assert_eq!(pool.status()[0].active_limit, 1);
}

/// Ten connections that panic, one after the other. Each ends alone, with the expected reason.
fn ten(ends: impl Fn(&[CloseReason]) -> bool, prepare: impl Fn(&mut CustomConnection)) {
    let (manager, pool) = pool();
    for round in 0..10 {
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        prepare(&mut client);
        let (id, closed) = (session.id(), client.ends.clone());
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
        assert!(is_closed(&peer), "round {round}");
        wait_until("it has ended", || manager.session_info(id).is_none());
        assert!(ends(&locked(&closed)), "round {round}: {:?}", locked(&closed));
    }
    assert_all_is_right(&manager, &pool);
}

#[test]
fn in_on_readable() {
    supervised(|| {
        let panicked = |ends: &[CloseReason]| ends == [CloseReason::Panicked];
        ten(panicked, |client| client.runs = Box::new(|_| panic!("on purpose")));
        ten(panicked, |client| {
            client.runs = Box::new(|attached| {
                let _statement = attached.begin()?;
                panic!("on purpose")
            });
        });
    });
}

#[test]
fn in_on_close_and_its_destructor() {
    supervised(|| {
        let closed = |ends: &[CloseReason]| ends == [CloseReason::Closed];
        ten(closed, |client| {
            client.runs = Box::new(|_| Ok(Action::Close));
            client.farewell = Box::new(|_| panic!("on purpose"));
        });
        ten(closed, |client| {
            client.runs = Box::new(|_| Ok(Action::Close));
            client.dropped = Box::new(|_| panic!("on purpose"));
        });
        // The destructor runs after the panic was caught.
        let unwinding = Arc::new(AtomicUsize::new(0));
        ten(
            |ends| ends == [CloseReason::Panicked],
            |client| {
                client.runs = Box::new(|_| panic!("on purpose"));
                client.farewell = Box::new(|_| panic!("on purpose"));
                let unwinding = unwinding.clone();
                client.dropped = Box::new(move |_| {
                    unwinding.fetch_add(usize::from(panicking()), Ordering::SeqCst);
                });
            },
        );
        assert_eq!(unwinding.load(Ordering::SeqCst), 0);
    });
}

/// The worker asks for it as it goes off the thread, and can't watch it any more.
#[test]
fn in_as_fd_called_by_a_worker() {
    supervised(|| {
        let closed = |ends: &[CloseReason]| ends == [CloseReason::Closed];
        ten(closed, |client| {
            let calls = Cell::new(0);
            let calls = std::sync::Mutex::new(calls);
            client.as_fd = Box::new(move |_| {
                let calls = locked(&calls);
                calls.set(calls.get() + 1);
                assert_eq!(calls.get(), 1, "on purpose");
            });
        });
    });
}

#[test]
fn in_as_fd_called_by_the_pool() {
    supervised(|| {
        let (manager, pool) = pool();
        for _ in 0..10 {
            let (mut client, session, peer) = CustomConnection::new(&manager);
            client.as_fd = Box::new(|_| panic!("on purpose"));
            let (id, closed) = (session.id(), client.ends.clone());
            let refused = pool.serve(session, client).unwrap_err();
            assert!(matches!(refused.kind, ServeErrorKind::Io(_)), "{refused:?}");
            assert!(manager.session_info(id).is_none(), "its session has ended");
            assert_eq!(*locked(&closed), [], "the connection comes back as it was");
            drop(refused.connection);
            assert!(is_closed(&peer));
        }
        assert_all_is_right(&manager, &pool);
    });
}

/// The worker asks where it has more to run; it takes its turn.
#[test]
fn in_priority_called_by_a_worker() {
    supervised(|| {
        ten(
            |ends| ends == [CloseReason::Closed],
            |client| {
                let mut turns = 0;
                client.runs = Box::new(move |_| {
                    turns += 1;
                    Ok(if turns < 3 { Action::Yield } else { Action::Close })
                });
                client.priority = Box::new(|_| panic!("on purpose"));
            },
        );
    });
}

/// The listener calls `priority` when it queues the session. After the panic the session has normal
/// priority, so the lane does not check it.
#[test]
fn in_priority_called_by_the_listener() {
    supervised(|| {
        let (manager, pool) = pool();
        let asked = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let stuck = stick(&manager, &pool);
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            client.priority = Box::new(|_| panic!("on purpose"));
            let asks = asked.clone();
            client.emergency = Box::new(move |_| {
                asks.fetch_add(1, Ordering::SeqCst);
            });
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            wait_until("it waits", || pool.status()[0].queued == 1);
            let (mut help, session, mut help_peer) = CustomConnection::new(&manager);
            help.is_emergency = true;
            pool.serve(session, help).unwrap();
            help_peer.write_all(b"x").unwrap();
            help_peer.read_exact(&mut [0]).expect("the lane serves");
            drop(stuck);
            peer.read_exact(&mut [0]).expect("it is served");
            drop((peer, help_peer));
            wait_until("all have hung up", || manager.is_empty());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert_all_is_right(&manager, &pool);
    });
}

/// It is no emergency then, and waits for a worker.
#[test]
fn in_is_emergency() {
    supervised(|| {
        let (manager, pool) = pool();
        for _ in 0..10 {
            let stuck = stick(&manager, &pool);
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            let (asks, asked) = channel();
            client.emergency = Box::new(move |_| {
                asks.send(()).unwrap();
                panic!("on purpose")
            });
            client.is_emergency = true;
            let id = session.id();
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            asked.recv_timeout(TEST_TIMEOUT).expect("it is asked");
            wait_until("it waits again", || pool.status()[0].queued == 1);
            assert_eq!(manager.session_info(id).unwrap().thread_id, None);
            drop(stuck);
            peer.read_exact(&mut [0]).expect("it is served");
            assert!(asked.try_recv().is_err(), "once is enough");
            drop(peer);
            wait_until("all have hung up", || manager.is_empty());
        }
        assert_all_is_right(&manager, &pool);
    });
}

/// The session-local values are dropped by the worker that ends the session.
#[test]
fn in_the_drop_of_a_session_local_value() {
    supervised(|| {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        session_local! {
            static KEPT: Bomb = Bomb;
        }
        ten(
            |ends| ends == [CloseReason::Closed],
            |client| {
                client.runs = Box::new(|_| {
                    SessionLocal::with(&KEPT, |_| ());
                    Ok(Action::Close)
                });
            },
        );
    });
}

/// The waiter for a receipt is woken by the worker or the requester that completes the receipt.
#[test]
fn in_a_waker_of_a_receipt() {
    supervised(|| {
        struct Panics(AtomicUsize);
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
                panic!("on purpose");
            }
        }
        let (manager, pool) = pool();
        let panics = Arc::new(Panics(AtomicUsize::new(0)));
        for round in 1..=10 {
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            let (release, wait) = crossbeam_channel::bounded::<()>(0);
            client.goes = Priority::Normal;
            client.runs = Box::new(move |attached| {
                let _ = wait.recv();
                attached.check()?;
                Ok(Action::WaitReadable)
            });
            let id = session.id();
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            wait_until("it runs", || manager.session_info(id).unwrap().thread_id.is_some());
            let mut receipt = manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            let waker = panics.clone().into();
            assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
            drop(release);
            wait_until("it is woken", || panics.0.load(Ordering::SeqCst) == round);
            assert!(matches!(
                receipt.try_get().expect("it has ended").reason,
                EndReason::Terminated(_)
            ));
        }
        assert_all_is_right(&manager, &pool);
    });
}

/// The killer ends it on its own thread, and its panics do not reach that.
#[test]
fn while_its_requester_ends_it() {
    supervised(|| {
        let (manager, pool) = pool();
        for queued in [false, true] {
            for _ in 0..10 {
                let stuck = queued.then(|| stick(&manager, &pool));
                let (mut client, session, mut peer) = CustomConnection::new(&manager);
                client.goes = Priority::Normal;
                client.farewell = Box::new(|_| panic!("on purpose"));
                client.dropped = Box::new(|_| panic!("on purpose"));
                let id = session.id();
                pool.serve(session, client).unwrap();
                if queued {
                    peer.write_all(b"x").unwrap();
                    wait_until("it waits", || pool.status()[0].queued == 1);
                }
                let receipt = manager.terminate(id, kill_now()).unwrap();
                assert!(matches!(
                    receipt.try_get().expect("it has ended").reason,
                    EndReason::Terminated(_)
                ));
                assert!(is_closed(&peer));
                assert_eq!(pool.status()[0].queued, 0);
                drop((stuck, peer));
                wait_until("all have ended", || manager.is_empty());
            }
        }
        assert_all_is_right(&manager, &pool);
    });
}

/// After a panic in `block_in_place` the worker takes its permit again.
#[test]
fn in_code_that_blocks() {
    supervised(|| {
        ten(
            |ends| ends == [CloseReason::Panicked],
            |client| {
                client.runs = Box::new(|_| current::block_in_place(|| panic!("on purpose")));
            },
        );
        // Also for nested calls, of which only the outer released a permit; with a session and
        // without.
        ten(
            |ends| ends == [CloseReason::Panicked],
            |client| {
                client.runs = Box::new(|attached| {
                    attached.block_in_place(|| current::block_in_place(|| panic!("on purpose")));
                    Ok(Action::WaitReadable)
                });
            },
        );
        ten(
            |ends| ends == [CloseReason::Closed],
            |client| {
                client.runs = Box::new(|attached| {
                    let inner = || {
                        std::panic::catch_unwind(|| {
                            current::block_in_place(|| panic!("on purpose"))
                        })
                    };
                    assert!(attached.block_in_place(inner).is_err());
                    assert!(inner().is_err());
                    Ok(Action::Close)
                });
            },
        );
    });
}
