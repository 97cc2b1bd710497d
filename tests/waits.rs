//! Interruptible waits of every kind.

mod common;

use common::{
    Count, LONG, MODELS, Stage, admin, assert_cancelled, assert_told, ended_by_both, eventually,
    kill, kill_now, locked,
};
use safepoint::{Cancel, EndedBy, HowEnded, When};
use std::future::{pending, poll_fn, ready};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

#[test]
fn park() {
    ended_by_both(|statement| statement.park(None));
    ended_by_both(|statement| statement.park(Some(Instant::now() + LONG)));
}

#[test]
fn park_is_ended_by_its_unparker_and_by_its_deadline() {
    for model in MODELS {
        let Stage { mut session, thread, .. } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let unparker = attached.unparker();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                done.store(true, Ordering::SeqCst);
                unparker.wake_by_ref();
            });
            while !done.load(Ordering::SeqCst) {
                attached.park(None).unwrap();
            }
        });
        // Woken before it parks, it does not park.
        attached.unparker().wake();
        attached.park(None).unwrap();
        let deadline = Instant::now() + Duration::from_millis(5);
        while Instant::now() < deadline {
            attached.park(Some(deadline)).unwrap();
        }
    }
}

#[test]
fn sleep() {
    ended_by_both(|statement| statement.sleep(LONG));
    ended_by_both(|statement| statement.sleep(Duration::MAX));
    for model in MODELS {
        let Stage { mut session, thread, .. } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let (time, start) = (Duration::from_millis(5), Instant::now());
        attached.unparker().wake();
        attached.sleep(time).unwrap();
        assert!(start.elapsed() >= time, "a stray wake-up does not cut a sleep short");
    }
}

/// Pending for ever; says when it is dropped.
async fn never(dropped: &AtomicBool) {
    struct Dropped<'a>(&'a AtomicBool);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let _dropped = Dropped(dropped);
    pending::<()>().await;
}

#[test]
fn block_on_drops_the_future_when_interrupted() {
    ended_by_both(|statement| {
        let dropped = AtomicBool::new(false);
        let result = statement.block_on(never(&dropped));
        assert!(dropped.into_inner());
        result
    });
    ended_by_both(|statement| {
        let dropped = AtomicBool::new(false);
        let result = statement.block_on_for(Duration::MAX, never(&dropped));
        assert!(dropped.into_inner());
        result
    });
}

#[test]
fn block_on_for_ends_with_its_limit_or_its_future() {
    for model in MODELS {
        let Stage { mut session, thread, .. } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let none = attached.block_on_for(Duration::from_millis(2), pending::<()>());
        assert_eq!(none, Ok(None));
        assert_eq!(attached.block_on_for(Duration::ZERO, ready(7)), Ok(Some(7)));
        let mut polls = 0;
        let self_waking = poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 5 { Poll::Ready(polls) } else { Poll::Pending }
        });
        assert_eq!(attached.block_on(self_waking), Ok(5));
    }
}

#[test]
fn recv() {
    let (_sender, receiver) = crossbeam_channel::unbounded::<u32>();
    ended_by_both(|statement| statement.recv(&receiver));
    for model in MODELS {
        let Stage { mut session, thread, .. } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let (sender, receiver) = crossbeam_channel::bounded(0);
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(3));
            assert_eq!(attached.recv(&receiver), Ok(Ok(3)));
        });
        drop(sender);
        assert!(attached.recv(&receiver).unwrap().is_err());
    }
}

/// A socket whose peer reads nothing, and which takes no more.
#[cfg(target_os = "linux")]
fn full() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[7; 65_536]).is_ok() {}
    (ours, theirs)
}

#[cfg(target_os = "linux")]
#[test]
fn wait_readable_and_wait_writable() {
    let (mut ours, mut theirs) = full();
    ended_by_both(|statement| statement.wait_writable(EndedBy::AnyInterrupt, &ours));
    ended_by_both(|statement| statement.wait_readable(EndedBy::AnyInterrupt, &ours));
    for model in MODELS {
        let Stage { mut session, thread, .. } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let done = AtomicBool::new(false);
        theirs.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        std::thread::scope(|scope| {
            // The interrupts did no harm to it, either way.
            scope.spawn(|| {
                theirs.write_all(&[1]).unwrap();
                while !done.load(Ordering::SeqCst) {
                    let _ = theirs.read(&mut [0; 65_536]);
                }
            });
            attached.wait_readable(EndedBy::AnyInterrupt, &ours).unwrap().unwrap();
            assert_eq!(ours.read(&mut [0; 2]).unwrap(), 1);
            attached.wait_writable(EndedBy::TerminateOnly, &ours).unwrap().unwrap();
            done.store(true, Ordering::SeqCst);
            assert!(ours.write(&[7]).is_ok());
        });
        while ours.write(&[7; 65_536]).is_ok() {}
    }
    drop(theirs);
    let Stage { mut session, thread, .. } = Stage::new(MODELS[0]);
    let attached = session.attach(&thread).unwrap();
    attached.wait_readable(EndedBy::AnyInterrupt, &ours).unwrap().unwrap();
    assert!(!matches!(ours.read(&mut [0; 2]), Ok(1..)), "the peer has gone");
}

#[cfg(target_os = "linux")]
#[test]
fn a_slow_client_is_not_cut_by_a_cancel_and_holds_no_kill_up() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let (ours, _theirs) = full();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("it waits", || manager.session(id).unwrap().waiting);
                for _ in 0..3 {
                    manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                }
                assert!(manager.session(id).unwrap().waiting);
                manager.terminate(id, kill_now()).unwrap();
            });
            let waited = statement.wait_writable(EndedBy::TerminateOnly, &ours);
            assert_told(&waited.unwrap_err());
        });
    }
}

/// Wakers of earlier waits may still come.
#[cfg(target_os = "linux")]
#[test]
fn no_byte_is_missed_and_no_kill_while_cancels_fly() {
    const BYTES: usize = 2_000;
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ours = listener.accept().unwrap().0;
        ours.set_nonblocking(true).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
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
            let mut attached = session.attach(&thread).unwrap();
            let mut read = 0;
            while read < BYTES {
                let statement = attached.begin().unwrap();
                if statement.wait_readable(EndedBy::AnyInterrupt, &ours).is_ok()
                    && let Ok(length) = ours.read(&mut [0; 3])
                {
                    read += length;
                }
            }
            over.store(true, Ordering::SeqCst);
            let told = loop {
                match attached.begin() {
                    Ok(statement) => {
                        let ended = statement.wait_readable(EndedBy::AnyInterrupt, &ours);
                        let interrupt = ended.unwrap_err();
                        if interrupt.is_terminate() {
                            break interrupt;
                        }
                    }
                    Err(interrupt) => break interrupt,
                }
            };
            assert_told(&told);
            drop(ours);
        });
    }
}

#[test]
fn recv_loses_no_message_when_it_is_interrupted() {
    const MESSAGES: u32 = 3_000;
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let (sender, receiver) = crossbeam_channel::bounded(0);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..MESSAGES).for_each(|n| sender.send(n).unwrap()));
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let _ = manager.cancel(id, Cancel::running(admin("root")));
                }
            });
            let mut attached = session.attach(&thread).unwrap();
            let mut received = Vec::new();
            let mut interrupted = 0;
            'statements: loop {
                let statement = attached.begin().unwrap();
                loop {
                    match statement.recv(&receiver) {
                        Ok(Ok(message)) => received.push(message),
                        Ok(Err(_)) => break 'statements,
                        Err(interrupt) => {
                            assert_cancelled(&interrupt);
                            interrupted += 1;
                            break;
                        }
                    }
                }
            }
            over.store(true, Ordering::SeqCst);
            assert_eq!(received, (0..MESSAGES).collect::<Vec<_>>());
            assert!(interrupted > 0);
        });
    }
}

/// A connected pair of sockets: ours, and the client's.
fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

struct ShutDownRead(TcpStream);

impl Wake for ShutDownRead {
    fn wake(self: Arc<Self>) {
        let _ = self.0.shutdown(Shutdown::Read);
    }
}

#[test]
fn a_blocked_read_is_ended_by_shutting_down_the_read_half() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let (mut ours, mut client) = sockets();
        let waker = Waker::from(Arc::new(ShutDownRead(ours.try_clone().unwrap())));
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        let read = attached.wait(EndedBy::AnyInterrupt, &waker, || (&ours).read(&mut byte));
        assert_eq!((read.unwrap().unwrap(), byte), (1, *b"x"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("it waits", || manager.session(id).unwrap().waiting);
                manager.terminate(id, kill_now()).unwrap();
            });
            let read = attached.wait(EndedBy::AnyInterrupt, &waker, || (&ours).read(&mut byte));
            let interrupt = read.unwrap_err();
            assert_told(&interrupt);
            // The write half is open: the client is told.
            ours.write_all(interrupt.message().as_bytes()).unwrap();
        });
        // The waker holds the socket too, and the session the waker.
        drop((waker, ours));
        attached.detach().unwrap_err();
        drop(session);
        let mut told = String::new();
        client.read_to_string(&mut told).unwrap();
        assert_eq!(told, "terminating connection due to administrator command");
    }
}

struct Flag(AtomicBool, std::thread::Thread);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        self.1.unpark();
    }
}

#[test]
fn a_cancel_does_not_end_a_wait_that_only_a_termination_ends() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let flag = Arc::new(Flag(AtomicBool::new(false), std::thread::current()));
        let waker = Waker::from(flag.clone());
        let mut receipt = None;
        let written = statement.wait(EndedBy::TerminateOnly, &waker, || {
            receipt = Some(manager.cancel(id, Cancel::running(admin("root"))).unwrap());
            5
        });
        assert!(!flag.0.load(Ordering::SeqCst), "it was not woken");
        assert_eq!(written, Ok(5), "what it did is not lost");
        // The same where the cancel was there before.
        assert_eq!(statement.wait(EndedBy::TerminateOnly, &waker, || 6), Ok(6));
        let receipt = receipt.unwrap();
        assert!(receipt.poll().is_none());
        assert_cancelled(&statement.check().unwrap_err());

        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("it waits", || manager.session(id).unwrap().waiting);
                manager.terminate(id, kill_now()).unwrap();
            });
            let ended = statement.wait(EndedBy::TerminateOnly, &waker, || {
                while !flag.0.load(Ordering::SeqCst) {
                    std::thread::park();
                }
            });
            assert_told(&ended.unwrap_err());
        });
    }
}

#[test]
fn each_wait_is_ended_by_its_own_waker() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let (before, spent) = Count::waker();
        let (now, waker) = Count::waker();
        assert_eq!(attached.wait(EndedBy::AnyInterrupt, &spent, || 1), Ok(1));
        let ended = attached.wait(EndedBy::AnyInterrupt, &waker, || {
            manager.terminate(id, kill_now()).unwrap();
        });
        assert_told(&ended.unwrap_err());
        assert_eq!((before.get(), now.get()), (0, 1));
    }
}

#[test]
fn a_cancel_that_no_safe_point_saw_cancelled_nothing() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
        let _ = statement.wait(EndedBy::TerminateOnly, Waker::noop(), || ());
        statement.finish().unwrap();
        assert!(!receipt.poll().unwrap().cancelled);
    }
}

#[test]
fn an_interrupt_that_was_there_before_does_not_let_it_sleep() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        manager.terminate(id, kill_now()).unwrap();
        assert_told(&attached.sleep(Duration::MAX).unwrap_err());
        assert_told(&attached.park(None).unwrap_err());
        assert_told(&attached.block_on(pending::<()>()).unwrap_err());
        for by in [EndedBy::AnyInterrupt, EndedBy::TerminateOnly] {
            let slept = attached.wait(by, Waker::noop(), || panic!("it must not sleep"));
            assert_told(&slept.unwrap_err());
        }
    }
}

#[test]
fn a_wait_inside_a_waits_future() {
    ended_by_both(|statement| {
        statement.block_on(async {
            statement.sleep(Duration::from_millis(1))?;
            safepoint::block_on(pending::<()>())
        })?
    });
    // The outer wait still hears its own waker after the inner one is over.
    for model in MODELS {
        let Stage { mut session, thread, .. } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let outer: Arc<Mutex<Option<Waker>>> = Arc::default();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("the waker is there", || locked(&outer).is_some());
                done.store(true, Ordering::SeqCst);
                locked(&outer).take().unwrap().wake();
            });
            let future = poll_fn(|context| {
                attached.sleep(Duration::from_millis(1)).unwrap();
                if done.load(Ordering::SeqCst) {
                    return Poll::Ready(1);
                }
                *locked(&outer) = Some(context.waker().clone());
                Poll::Pending
            });
            assert_eq!(attached.block_on(future), Ok(1));
        });
    }
}

#[test]
fn a_wait_that_panics_is_over() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let attached = session.attach(&thread).unwrap();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = attached.wait(EndedBy::AnyInterrupt, Waker::noop(), || panic!("in a wait"));
        }));
        assert!(caught.is_err());
        assert!(!manager.session(id).unwrap().waiting);
        assert_eq!(attached.check(), Ok(()), "caught inside, it ends nothing");
    }
}

#[test]
fn an_unparker_outlives_a_wait_that_panics() {
    let Stage { mut session, thread, .. } = Stage::new(MODELS[0]);
    let attached = session.attach(&thread).unwrap();
    let unparker = attached.unparker();
    let panics = std::future::poll_fn(|_| -> std::task::Poll<()> { panic!("on purpose") });
    let waits = std::panic::AssertUnwindSafe(|| attached.block_on(panics));
    assert!(std::panic::catch_unwind(waits).is_err());
    let began = Instant::now();
    unparker.wake();
    attached.park(began.checked_add(LONG)).unwrap();
    assert!(began.elapsed() < LONG, "it is another place's");
}

#[test]
fn whoever_waits_for_a_receipt_can_be_killed_too() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let victim = manager.open(common::of("ann")).unwrap();
        let victim_id = victim.id();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let mut receipt = manager.terminate(victim_id, kill(When::Immediate)).unwrap();
        let own = std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                eventually("it waits", || manager.session(id).unwrap().waiting);
                manager.terminate(id, kill_now()).unwrap()
            });
            assert_told(&statement.block_on(&mut receipt).unwrap_err());
            killer.join().unwrap()
        });
        drop(statement);
        drop(attached);
        assert!(victim.due().is_err());
        drop(session);
        assert!(own.poll().is_some());
        // The receipt that nobody waited for any more still tells the truth.
        drop(victim);
        assert!(matches!(receipt.wait(LONG).unwrap().how, HowEnded::Killed(_)));
    }
}

#[test]
fn a_receipt_wakes_everyone_who_waits_for_it() {
    for model in MODELS {
        let Stage { manager, session, id, .. } = Stage::new(model);
        let ready = std::sync::Barrier::new(9);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut receipt = manager.terminate(id, kill_now()).unwrap();
                    assert_eq!(receipt.wait(Duration::from_millis(1)), None);
                    ready.wait();
                    assert!(receipt.wait(Duration::MAX).is_some());
                });
            }
            ready.wait();
            session.close();
        });
    }
}
