//! Waits for sockets that do not block.

use crate::common::{
    Fixture, MODELS, Raises, admin, assert_interruptible, assert_terminated, each_model, kill,
    kill_now, outcome, scope, supervised, until, wait_until,
};
use safepoint::diagnose::PendingReason;
use safepoint::session::WaitMode;
use safepoint::{Attached, Cancel, TerminateMode};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A socket whose peer reads nothing, and which takes no more.
fn full() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[7; 65_536]).is_ok() {}
    (ours, theirs)
}

#[test]
fn wait_readable_and_wait_writable() {
    supervised(|| {
        let (mut ours, mut theirs) = full();
        assert_interruptible(|statement| statement.wait_writable(WaitMode::Interruptible, &ours));
        assert_interruptible(|statement| statement.wait_readable(WaitMode::Interruptible, &ours));
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let done = AtomicBool::new(false);
            theirs.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            scope(|scope| {
                // The interrupts did no harm to it, either way.
                scope.spawn(|| {
                    theirs.write_all(&[1]).unwrap();
                    while !done.load(Ordering::SeqCst) {
                        let _ = theirs.read(&mut [0; 65_536]);
                    }
                });
                let done = Raises(&done);
                let readable = || attached.wait_readable(WaitMode::Interruptible, &ours);
                until("there is a byte", readable).unwrap().unwrap();
                assert_eq!(ours.read(&mut [0; 2]).unwrap(), 1);
                let writable = || attached.wait_writable(WaitMode::Killable, &ours);
                until("there is room", writable).unwrap().unwrap();
                drop(done);
                assert!(ours.write(&[7]).is_ok());
            });
            while ours.write(&[7; 65_536]).is_ok() {}
        }
        drop(theirs);
        let Fixture { mut session, thread, .. } = Fixture::new(MODELS[0]);
        let attached = session.attach(&thread).unwrap();
        let readable = || attached.wait_readable(WaitMode::Interruptible, &ours);
        until("its peer has gone", readable).unwrap().unwrap();
        assert!(!matches!(ours.read(&mut [0; 2]), Ok(1..)), "the peer has gone");
    });
}

#[test]
fn a_cancel_does_not_interrupt_a_slow_write_but_a_kill_does() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let (ours, _theirs) = full();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            scope(|scope| {
                scope.spawn(|| {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    for _ in 0..3 {
                        manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                    }
                    assert!(manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap();
                });
                let writable = || statement.wait_writable(WaitMode::Killable, &ours);
                assert_terminated(&until("its killer ends it", writable).unwrap_err());
            });
        }
    });
}

/// Wakers of earlier waits may still come.
#[test]
fn no_byte_and_no_kill_is_lost_among_cancels() {
    supervised(|| {
        const BYTES: usize = 2_000;
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut ours = listener.accept().unwrap().0;
            ours.set_nonblocking(true).unwrap();
            let over = AtomicBool::new(false);
            scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let _ = manager.cancel(id, Cancel::running(admin("root")));
                    }
                    manager.terminate(id, kill_now()).unwrap();
                });
                scope.spawn(move || {
                    (0..BYTES).for_each(|_| theirs.write_all(&[1]).unwrap());
                    // Open until it is read.
                    while matches!(theirs.read(&mut [0]), Ok(1..)) {}
                });
                let over = Raises(&over);
                let mut attached = session.attach(&thread).unwrap();
                let mut read = 0;
                until("all bytes are read", || {
                    while read < BYTES {
                        let statement = attached.begin().unwrap();
                        if statement.wait_readable(WaitMode::Interruptible, &ours).is_ok()
                            && let Ok(length) = ours.read(&mut [0; 3])
                        {
                            read += length;
                        }
                    }
                });
                drop(over);
                let interrupt = until("its killer ends it", || {
                    loop {
                        match attached.begin() {
                            Ok(statement) => {
                                let ended = statement.wait_readable(WaitMode::Interruptible, &ours);
                                let interrupt = ended.unwrap_err();
                                if interrupt.is_terminate() {
                                    break interrupt;
                                }
                            }
                            Err(interrupt) => break interrupt,
                        }
                    }
                });
                assert_terminated(&interrupt);
                drop(ours);
            });
        }
    });
}

/// Each wait with each request: a killable wait is ended by a termination only.
#[test]
fn waits_that_only_a_termination_ends() {
    supervised(|| {
        for readable in [true, false] {
            for by in [WaitMode::Interruptible, WaitMode::Killable] {
                let (ours, _theirs) = full();
                each_model(|Fixture { manager, mut session, thread, id }| {
                    let mut attached = session.attach(&thread).unwrap();
                    let statement = attached.begin().unwrap();
                    let wait = |attached: &Attached<'_>| match readable {
                        true => attached.wait_readable(by, &ours),
                        false => attached.wait_writable(by, &ours),
                    };
                    scope(|scope| {
                        let manager = &manager;
                        scope.spawn(move || {
                            let waiting = || manager.session_info(id).unwrap().waiting;
                            wait_until("it waits", waiting);
                            let cancel = Cancel::running(admin("root"));
                            let mut cancelled = manager.cancel(id, cancel).unwrap();
                            if by == WaitMode::Interruptible {
                                return assert!(outcome(&mut cancelled).cancelled);
                            }
                            let why = cancelled.pending_reason();
                            assert!(
                                matches!(why, Some(PendingReason::UninterruptibleWait(_))),
                                "{why:?}"
                            );
                            manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
                            assert!(waiting(), "that is not due either");
                            manager.terminate(id, kill_now()).unwrap();
                        });
                        let ended = until("its killer ends it", || wait(&statement)).unwrap_err();
                        assert_eq!(ended.is_terminate(), by == WaitMode::Killable);
                        drop(statement);
                    });
                });
            }
        }
    });
}

/// What ended the wait before does not keep the next from its sleep.
#[test]
fn a_wait_blocks_until_the_socket_is_ready() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let readable = |attached: &Attached<'_>| {
                until("it ends", || attached.wait_readable(WaitMode::Interruptible, &ours))
            };
            let waiting = || manager.session_info(id).unwrap().waiting;
            let statement = attached.begin().unwrap();
            scope(|scope| {
                scope.spawn(|| {
                    wait_until("it waits", waiting);
                    manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                });
                readable(&statement).unwrap_err();
            });
            statement.finish().unwrap();
            scope(|scope| {
                scope.spawn(|| {
                    wait_until("it waits", waiting);
                    let sleeps = (0..20_000).all(|_| waiting());
                    theirs.write_all(b"x").unwrap();
                    assert!(sleeps, "it wakes again and again");
                });
                readable(&attached).unwrap().unwrap();
            });
        });
    });
}

/// There is nothing to read, and there never will be.
#[test]
fn a_pipe_whose_other_end_is_closed() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let attached = session.attach(&thread).unwrap();
            let (reads, writes) = std::io::pipe().unwrap();
            drop(writes);
            let readable = || attached.wait_readable(WaitMode::Interruptible, &reads);
            until("nobody writes any more", readable).unwrap().unwrap();
            let (reads, writes) = std::io::pipe().unwrap();
            drop(reads);
            let writable = || attached.wait_writable(WaitMode::Interruptible, &writes);
            until("nobody reads any more", writable).unwrap().unwrap();
        });
    });
}

/// Available input needs no wait, and a due interrupt prevents the wait.
#[test]
fn a_ready_socket_and_a_due_interrupt() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(b"x").unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let readable = |by| until("it does not wait", || statement.wait_readable(by, &ours));
            for by in [WaitMode::Interruptible, WaitMode::Killable] {
                readable(by).unwrap().unwrap();
            }
            manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            assert!(!readable(WaitMode::Interruptible).unwrap_err().is_terminate());
            readable(WaitMode::Killable).unwrap().unwrap();
            manager.terminate(id, kill_now()).unwrap();
            for by in [WaitMode::Interruptible, WaitMode::Killable] {
                assert_terminated(&readable(by).unwrap_err());
            }
        });
    });
}
