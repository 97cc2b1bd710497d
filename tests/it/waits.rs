//! Interruptible waits of every kind.

use crate::common::{
    CountingWaker, ENDLESS, Fixture, MODELS, Raises, TEST_TIMEOUT, admin, assert_cancelled,
    assert_interruptible, assert_terminated, each_model, joined, kill, kill_now, locked, outcome,
    scope, supervised, until, wait_until,
};
use safepoint::diagnose::ProbeResult;
use safepoint::request::EndReason;
use safepoint::session::WaitMode;
use safepoint::{Cancel, TerminateMode};
use std::future::{pending, poll_fn, ready};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

#[test]
fn park() {
    supervised(|| {
        assert_interruptible(|statement| statement.park());
        assert_interruptible(|statement| statement.park_deadline(Instant::now() + ENDLESS));
    });
}

#[test]
fn park_is_ended_by_its_waker_and_by_its_deadline() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let unparker = attached.park_waker();
            let done = AtomicBool::new(false);
            scope(|scope| {
                scope.spawn(|| {
                    done.store(true, Ordering::SeqCst);
                    unparker.wake_by_ref();
                });
                until("its unparker ends it", || {
                    while !done.load(Ordering::SeqCst) {
                        attached.park().unwrap();
                    }
                });
            });
            // Woken before it parks, it does not park.
            attached.park_waker().wake();
            until("a wake-up from before it ends it", || attached.park()).unwrap();
            let deadline = Instant::now() + Duration::from_millis(5);
            until("its deadline ends it", || {
                while Instant::now() < deadline {
                    attached.park_deadline(deadline).unwrap();
                }
            });
        }
    });
}

#[test]
fn sleep() {
    supervised(|| {
        assert_interruptible(|statement| statement.sleep(ENDLESS));
        assert_interruptible(|statement| statement.sleep(Duration::MAX));
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let (time, start) = (Duration::from_millis(5), Instant::now());
            attached.park_waker().wake();
            until("its time is over", || attached.sleep(time)).unwrap();
            assert!(start.elapsed() >= time, "a stray wake-up does not cut a sleep short");
        }
    });
}

/// A future that is never ready, and reports its drop.
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
    supervised(|| {
        assert_interruptible(|statement| {
            let dropped = AtomicBool::new(false);
            let result = statement.block_on(never(&dropped));
            assert!(dropped.into_inner());
            result
        });
        assert_interruptible(|statement| {
            let dropped = AtomicBool::new(false);
            let result = statement.block_on_timeout(Duration::MAX, never(&dropped));
            assert!(dropped.into_inner());
            result
        });
    });
}

#[test]
fn block_on_timeout_ends_with_its_timeout_or_its_future() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let limit = Duration::from_millis(2);
            let none =
                until("its limit ends it", || attached.block_on_timeout(limit, pending::<()>()));
            assert_eq!(none, Ok(None));
            assert_eq!(attached.block_on_timeout(Duration::ZERO, ready(7)), Ok(Some(7)));
            let mut polls = 0;
            let self_waking = poll_fn(|context| {
                polls += 1;
                context.waker().wake_by_ref();
                if polls == 5 { Poll::Ready(polls) } else { Poll::Pending }
            });
            let output = until("its future is ready", || attached.block_on(self_waking));
            assert_eq!(output, Ok(5));
        }
    });
}

#[test]
fn recv() {
    supervised(|| {
        let (_sender, receiver) = crossbeam_channel::unbounded::<u32>();
        assert_interruptible(|statement| statement.recv(&receiver));
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let (sender, receiver) = crossbeam_channel::bounded(0);
            scope(|scope| {
                scope.spawn(|| sender.send(3));
                assert_eq!(until("a message comes", || attached.recv(&receiver)), Ok(Ok(3)));
            });
            drop(sender);
            let received = until("the last sender has gone", || attached.recv(&receiver));
            assert!(received.unwrap().is_err());
        }
    });
}

#[test]
fn recv_loses_no_message_when_it_is_interrupted() {
    supervised(|| {
        const MESSAGES: u32 = 3_000;
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let (sender, receiver) = crossbeam_channel::bounded(0);
            let over = AtomicBool::new(false);
            scope(|scope| {
                scope.spawn(move || (0..MESSAGES).for_each(|n| sender.send(n).unwrap()));
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let _ = manager.cancel(id, Cancel::running(admin("root")));
                    }
                });
                let over = Raises(&over);
                let mut attached = session.attach(&thread).unwrap();
                let mut received = Vec::new();
                let mut interrupted = 0;
                until("the last message has come", || {
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
                });
                drop(over);
                assert_eq!(received, (0..MESSAGES).collect::<Vec<_>>());
                assert!(interrupted > 0);
            });
        }
    });
}

/// The wait is a safe point first: the message stays in the channel.
#[test]
fn recv_with_an_interrupt_and_a_message() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (sender, receiver) = crossbeam_channel::bounded(1);
            sender.send(3).unwrap();
            manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let received = until("it does not wait", || statement.recv(&receiver));
            assert_cancelled(&received.unwrap_err());
            assert_eq!(receiver.len(), 1);
            drop(sender);
            statement.finish().unwrap();
            let receive = || until("it does not wait", || attached.recv(&receiver));
            assert_eq!(receive(), Ok(Ok(3)));
            assert!(receive().unwrap().is_err());
        });
    });
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
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let (mut ours, mut client) = sockets();
            let waker = Waker::from(Arc::new(ShutDownRead(ours.try_clone().unwrap())));
            client.write_all(b"x").unwrap();
            let mut byte = [0];
            let read = attached.wait(WaitMode::Interruptible, &waker, || (&ours).read(&mut byte));
            assert_eq!((read.unwrap().unwrap(), byte), (1, *b"x"));
            scope(|scope| {
                scope.spawn(|| {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap();
                });
                let read = until("its killer shuts the socket", || {
                    attached.wait(WaitMode::Interruptible, &waker, || (&ours).read(&mut byte))
                });
                assert_eq!(read.unwrap().unwrap(), 0, "it was shut down");
                let interrupt = attached.check().unwrap_err();
                assert_terminated(&interrupt);
                // The write half is open: the client gets the message.
                ours.write_all(interrupt.message().as_bytes()).unwrap();
            });
            // The waker holds the socket too, and the session the waker.
            drop((waker, ours));
            attached.detach().unwrap_err();
            drop(session);
            let mut received = String::new();
            until("its connection is closed", || client.read_to_string(&mut received)).unwrap();
            assert_eq!(received, "terminating connection due to administrator command");
        }
    });
}

struct Flag(AtomicBool, std::thread::Thread);

impl Flag {
    fn here() -> Arc<Flag> {
        Arc::new(Flag(AtomicBool::new(false), std::thread::current()))
    }

    /// Parks the thread that made it.
    fn park_until_raised(&self, what: &str) {
        until(what, || {
            while !self.0.load(Ordering::SeqCst) {
                std::thread::park();
            }
        });
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        self.1.unpark();
    }
}

#[test]
fn a_cancel_does_not_end_a_wait_that_only_a_termination_ends() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let flag = Flag::here();
            let waker = Waker::from(flag.clone());
            let mut receipt = None;
            let written = statement.wait(WaitMode::Killable, &waker, || {
                receipt = Some(manager.cancel(id, Cancel::running(admin("root"))).unwrap());
                5
            });
            assert!(!flag.0.load(Ordering::SeqCst), "it was not woken");
            assert_eq!(written, Ok(5), "what it did is not lost");
            // The same where the cancel was there before.
            assert_eq!(statement.wait(WaitMode::Killable, &waker, || 6), Ok(6));
            let receipt = receipt.unwrap();
            assert!(receipt.try_get().is_none());
            assert_cancelled(&statement.check().unwrap_err());

            scope(|scope| {
                scope.spawn(|| {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap();
                });
                let ended = statement.wait(WaitMode::Killable, &waker, || {
                    flag.park_until_raised("its killer wakes it");
                });
                assert_eq!(ended, Ok(()), "what it did is not lost");
                assert_terminated(&statement.check().unwrap_err());
            });
        }
    });
}

#[test]
fn each_wait_is_ended_by_its_own_waker() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let (before, spent) = CountingWaker::waker();
            let (now, waker) = CountingWaker::waker();
            assert_eq!(attached.wait(WaitMode::Interruptible, &spent, || 1), Ok(1));
            let ended = attached.wait(WaitMode::Interruptible, &waker, || {
                manager.terminate(id, kill_now()).unwrap();
            });
            assert_eq!(ended, Ok(()));
            assert_terminated(&attached.check().unwrap_err());
            assert_eq!((before.get(), now.get()), (0, 1));
        }
    });
}

#[test]
fn an_unobserved_cancel_cancels_nothing() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let _ = statement.wait(WaitMode::Killable, Waker::noop(), || ());
            statement.finish().unwrap();
            assert!(!receipt.try_get().unwrap().cancelled);
        }
    });
}

#[test]
fn a_due_interrupt_prevents_the_wait() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            manager.terminate(id, kill_now()).unwrap();
            let what = "an interrupt that is due keeps it awake";
            assert_terminated(&until(what, || attached.sleep(Duration::MAX)).unwrap_err());
            assert_terminated(&until(what, || attached.park()).unwrap_err());
            assert_terminated(&until(what, || attached.block_on(pending::<()>())).unwrap_err());
            for by in [WaitMode::Interruptible, WaitMode::Killable] {
                let slept = attached.wait(by, Waker::noop(), || panic!("it must not sleep"));
                assert_terminated(&slept.unwrap_err());
            }
        }
    });
}

#[test]
fn a_wait_inside_a_waits_future() {
    supervised(|| {
        assert_interruptible(|statement| {
            statement.block_on(async {
                statement.sleep(Duration::from_millis(1))?;
                safepoint::current::block_on(pending::<()>())
            })?
        });
        // The outer wait is still woken by its own waker after the inner one has ended.
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let outer: Arc<Mutex<Option<Waker>>> = Arc::default();
            let done = AtomicBool::new(false);
            scope(|scope| {
                scope.spawn(|| {
                    wait_until("the waker is there", || locked(&outer).is_some());
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
                let output = until("its own waker is woken", || attached.block_on(future));
                assert_eq!(output, Ok(1));
            });
        }
    });
}

#[test]
fn a_wait_that_panics_ends() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let attached = session.attach(&thread).unwrap();
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _ =
                    attached.wait(WaitMode::Interruptible, Waker::noop(), || panic!("in a wait"));
            }));
            assert!(caught.is_err());
            assert!(!manager.session_info(id).unwrap().waiting);
            assert_eq!(attached.check(), Ok(()), "caught inside, it ends nothing");
        }
    });
}

#[test]
fn a_park_waker_outlives_a_wait_that_panics() {
    supervised(|| {
        let Fixture { mut session, thread, .. } = Fixture::new(MODELS[0]);
        let attached = session.attach(&thread).unwrap();
        let unparker = attached.park_waker();
        let panics = std::future::poll_fn(|_| -> std::task::Poll<()> { panic!("on purpose") });
        let waits = std::panic::AssertUnwindSafe(|| attached.block_on(panics));
        assert!(std::panic::catch_unwind(waits).is_err());
        let began = Instant::now();
        unparker.wake();
        attached.park_deadline(began + TEST_TIMEOUT).unwrap();
        assert!(began.elapsed() < TEST_TIMEOUT, "it is another place's");
    });
}

#[test]
fn a_wait_for_a_receipt_can_be_interrupted() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let target = manager.open(crate::common::of("ann")).unwrap();
            let victim_id = target.id();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let mut receipt = manager.terminate(victim_id, kill(TerminateMode::Immediate)).unwrap();
            let own = scope(|scope| {
                let requester = scope.spawn(|| {
                    wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                    manager.terminate(id, kill_now()).unwrap()
                });
                let blocked = until("its killer wakes it", || statement.block_on(&mut receipt));
                assert_terminated(&blocked.unwrap_err());
                joined("its killer has its receipt", requester)
            });
            drop(statement);
            drop(attached);
            assert!(target.check().is_err());
            drop(session);
            assert!(own.try_get().is_some());
            // The receipt without a waiter still has the right outcome.
            drop(target);
            assert!(matches!(outcome(&mut receipt).reason, EndReason::Terminated(_)));
        }
    });
}

#[test]
fn a_receipt_wakes_all_its_waiters() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            let waiting = AtomicUsize::new(0);
            let wait = |is_known_to_wait: bool| {
                let mut receipt = manager.terminate(id, kill_now()).unwrap();
                assert_eq!(receipt.wait_timeout(Duration::from_millis(1)), None);
                if !is_known_to_wait {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    return receipt.wait_timeout(Duration::MAX);
                }
                let mut polls = 0;
                let future = poll_fn(|context| {
                    let polled = Pin::new(&mut receipt).poll(context);
                    polls += 1;
                    if polls == 1 {
                        assert!(polled.is_pending());
                        waiting.fetch_add(1, Ordering::SeqCst);
                    }
                    polled
                });
                safepoint::current::block_on(future).ok()
            };
            scope(|scope| {
                for number in 0..8 {
                    let wait = &wait;
                    scope.spawn(move || {
                        let ended = until("the session's end wakes it", || wait(number % 2 == 0));
                        assert!(ended.is_some());
                    });
                }
                wait_until("all wait", || waiting.load(Ordering::SeqCst) == 8);
                session.close();
            });
        }
    });
}

/// If a wait ends by itself when an interrupt falls due, its value is returned, because it may be
/// the result of a committed statement. The next safe point reports the interrupt.
#[test]
fn the_value_of_a_wait_survives_an_interrupt() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let asks: [&dyn Fn(); 2] =
                [&|| drop(manager.cancel(id, Cancel::running(admin("root"))).unwrap()), &|| {
                    drop(manager.terminate(id, kill_now()).unwrap())
                }];
            for ask in asks {
                for by in [WaitMode::Interruptible, WaitMode::Killable] {
                    let statement = attached.begin().unwrap();
                    let committed = statement.wait(by, Waker::noop(), || {
                        ask();
                        "committed"
                    });
                    assert_eq!(committed, Ok("committed"));
                    statement.check().unwrap_err();
                    if statement.finish().is_err() {
                        return;
                    }
                }
            }
        });
    });
}

/// The same for a future that is ready by the time that the interrupt has it polled again.
#[test]
fn the_output_of_a_ready_future_survives_an_interrupt() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            for limit in [None, Some(ENDLESS)] {
                let statement = attached.begin().unwrap();
                let committed = AtomicBool::new(false);
                let engine = || {
                    poll_fn(|_| match committed.load(Ordering::SeqCst) {
                        true => Poll::Ready("committed"),
                        false => Poll::Pending,
                    })
                };
                scope(|scope| {
                    scope.spawn(|| {
                        wait_until("it waits", || manager.session_info(id).unwrap().waiting);
                        committed.store(true, Ordering::SeqCst);
                        manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                    });
                    let outcome = until("the cancel has it polled again", || match limit {
                        Some(limit) => {
                            statement.block_on_timeout(limit, engine()).map(Option::unwrap)
                        }
                        None => statement.block_on(engine()),
                    });
                    assert_eq!(outcome, Ok("committed"));
                });
                assert_cancelled(&statement.check().unwrap_err());
            }
        });
    });
}

/// A session whose wait was rejected because of a due interrupt is not shown as waiting, and
/// answers a probe.
#[test]
fn a_rejected_wait_is_not_recorded() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            for by in [WaitMode::Interruptible, WaitMode::Killable] {
                let refused = statement.wait(by, Waker::noop(), || ());
                assert_eq!(refused.is_err(), by == WaitMode::Interruptible);
                assert!(!manager.session_info(id).unwrap().waiting);
                assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                statement.check().unwrap_err();
            }
            statement.sleep(ENDLESS).unwrap_err();
            assert!(!manager.session_info(id).unwrap().waiting);
        });
    });
}
