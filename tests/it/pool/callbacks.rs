//! Clients whose own code does what it should not: it panics, and again as it is dropped, or kills
//! its own session where the pool asks it something.

use crate::common::{TEST_TIMEOUT, admin, kill_now, locked, of, supervised, wait_until};
use crate::pool::custom::{CustomConnection, pool, serves, stick};
use safepoint::pool::{Action, CloseReason, Connection, PoolBuilder, Priority, ServeErrorKind};
use safepoint::request::EndReason;
use safepoint::{Attached, Cancel, Interrupt, Session, SessionId, SessionManager, ThreadModel};
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_payload_may_panic_in_its_drop() {
    supervised(|| {
        let (manager, pool) = pool();
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        client.runs = Box::new(|_| std::panic::panic_any(Bomb));
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "its connection is closed");
        serves(&manager, &pool);
    });
}

#[test]
fn on_close_and_the_connections_drop_may_panic() {
    supervised(|| {
        let (manager, pool) = pool();
        let (mut client, session, _peer) = CustomConnection::new(&manager);
        client.farewell = Box::new(|_| panic!("on purpose"));
        client.dropped = Box::new(|_| panic!("on purpose"));
        let id = session.id();
        pool.serve(session, client).unwrap();
        let mut receipt = manager.terminate(id, kill_now()).unwrap();
        assert!(matches!(
            receipt.wait_timeout(TEST_TIMEOUT).unwrap().reason,
            EndReason::Terminated(_)
        ));
        serves(&manager, &pool);
    });
}

#[test]
fn priority_may_terminate_its_own_session() {
    supervised(|| {
        for next in [Action::WaitReadable, Action::Yield] {
            let (manager, pool) = pool();
            // With the worker busy the listener asks, otherwise the worker where there is more to do.
            let stuck = (next == Action::WaitReadable).then(|| stick(&manager, &pool));
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            let id = session.id();
            client.runs = Box::new(move |_| Ok(next));
            client.priority = Box::new(move |manager| {
                let _ = manager.terminate(id, kill_now());
            });
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            wait_until("it has ended", || manager.session_info(id).is_none());
            drop(stuck);
            serves(&manager, &pool);
        }
    });
}

#[test]
fn an_emergency_may_shut_the_pool_down() {
    supervised(|| {
        let (manager, pool) = pool();
        let stuck = stick(&manager, &pool);
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        client.emergency = Box::new(|manager| drop(manager.shutdown(kill_now())));
        let id = session.id();
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        wait_until("it has ended", || manager.session_info(id).is_none());
        drop(stuck);
        wait_until("all have ended", || manager.is_empty());
    });
}

/// Its descriptor is polled for another session, which continues.
#[test]
fn a_rejected_connection_does_not_affect_the_first() {
    supervised(|| {
        struct Shared(Arc<UnixStream>);
        impl AsFd for Shared {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
        impl Connection for Shared {
            fn on_ready(&mut self, _: &mut Attached<'_>) -> Result<Action, Interrupt> {
                let mut byte = [0];
                let there = (&*self.0).read_exact(&mut byte).is_ok();
                Ok(if there && (&*self.0).write_all(&byte).is_ok() {
                    Action::WaitReadable
                } else {
                    Action::Close
                })
            }
            fn on_close(&mut self, _: &Session, _: CloseReason) {}
        }
        let manager = SessionManager::new(ThreadModel::Pool);
        let pool = PoolBuilder::new(1).start(manager.clone()).unwrap();
        let (socket, mut peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        peer.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let socket = Arc::new(socket);
        pool.serve(manager.open(of("ann")).unwrap(), Shared(socket.clone())).unwrap();
        let refused = pool.serve(manager.open(of("bob")).unwrap(), Shared(socket));
        let refused = refused.unwrap_err();
        assert!(matches!(refused.kind, ServeErrorKind::Io(_)), "{refused:?}");
        wait_until("the second has ended", || manager.len() == 1);
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).expect("the first is served");
    });
}

#[test]
fn as_fd_may_terminate_its_own_session() {
    supervised(|| {
        let (manager, pool) = pool();
        let (mut client, session, mut peer) = CustomConnection::new(&manager);
        let (id, asks) = (session.id(), Arc::new(AtomicBool::new(false)));
        let runs = asks.clone();
        client.runs = Box::new(move |_| {
            runs.store(true, Ordering::SeqCst);
            Ok(Action::WaitReadable)
        });
        client.as_fd = Box::new(move |manager| {
            if asks.load(Ordering::SeqCst) {
                let _ = manager.terminate(id, kill_now());
            }
        });
        pool.serve(session, client).unwrap();
        peer.write_all(b"x").unwrap();
        wait_until("it has ended", || manager.session_info(id).is_none());
        serves(&manager, &pool);
    });
}

/// A queued command is cancelled, and then discarded: no statement begins. The cancel ends when its
/// session is detached. The waiter for that is woken with no lock held, so it may end the session.
#[test]
fn a_cancel_of_a_discarded_command_ends_at_the_detach() {
    struct Kills(SessionManager, SessionId, AtomicBool);
    impl Wake for Kills {
        fn wake(self: Arc<Self>) {
            let _ = self.0.terminate(self.1, kill_now());
            self.2.store(true, Ordering::SeqCst);
        }
    }
    supervised(|| {
        for told_meanwhile in [false, true] {
            let (manager, pool) = pool();
            let stuck = stick(&manager, &pool);
            let (mut client, session, mut peer) = CustomConnection::new(&manager);
            let (id, ends, its) = (session.id(), client.ends.clone(), manager.clone());
            client.goes = Priority::Normal;
            client.runs = Box::new(move |_| {
                if told_meanwhile {
                    its.terminate(id, kill_now()).unwrap();
                }
                Ok(Action::WaitReadable)
            });
            pool.serve(session, client).unwrap();
            peer.write_all(b"x").unwrap();
            wait_until("it waits", || pool.status()[0].queued == 1);
            let command = manager.session_info(id).unwrap().statement_id.expect("it has a number");
            let mut receipt =
                manager.cancel(id, Cancel::statement(command, admin("root"))).unwrap();
            let kills = Arc::new(Kills(manager.clone(), id, AtomicBool::new(false)));
            let waker = kills.clone().into();
            assert!(Pin::new(&mut receipt).poll(&mut Context::from_waker(&waker)).is_pending());
            drop(stuck);
            wait_until("the cancel is over", || kills.2.load(Ordering::SeqCst));
            assert!(!receipt.try_get().expect("it is complete").cancelled);
            wait_until("it has ended", || manager.session_info(id).is_none());
            assert!(matches!(locked(&ends)[..], [CloseReason::Interrupted(_)]));
            serves(&manager, &pool);
        }
    });
}
