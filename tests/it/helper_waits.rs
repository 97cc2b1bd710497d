//! Every wait of the library, on a thread that helps with a statement of another thread, and on a thread without a session.

use crate::common::{
    ENDLESS, Fixture, MODELS, admin, each_model, joined, kill_now, scope, supervised, until,
    wait_until,
};
use safepoint::request::InterruptReason;
use safepoint::session::{WaitMode, waker_fn};
use safepoint::{Cancel, Interrupt, SessionManager, current};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// How the wait of a helper is ended.
#[derive(Clone, Copy)]
enum End {
    Cancel,
    Terminate,
    Statement,
}

/// Runs `wait` on a helper, and ends it once the helper is seen to wait.
fn ended_by<T: Send>(end: End, wait: impl Fn() -> T + Sync) -> Vec<T> {
    let mut results = Vec::new();
    for model in MODELS {
        let Fixture { manager, mut session, thread, id } = Fixture::new(model);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let handle = statement.handle("wait");
        scope(|scope| {
            let waiter = scope.spawn(|| {
                let _helper = handle.enter().unwrap();
                until("its wait ends", &wait)
            });
            wait_until("it waits", || manager.helpers(id).iter().any(|row| row.is_waiting));
            match end {
                End::Cancel => drop(manager.cancel(id, Cancel::running(admin("root"))).unwrap()),
                End::Terminate => drop(manager.terminate(id, kill_now()).unwrap()),
                End::Statement => statement.finish().unwrap(),
            }
            results.push(joined("it", waiter));
        });
    }
    results
}

fn reason(interrupt: &Interrupt) -> InterruptReason {
    interrupt.request().reason()
}

/// Each kind of end ends this wait.
fn assert_interruptible<T: Send + std::fmt::Debug>(wait: impl Fn() -> Result<T, Interrupt> + Sync) {
    for told in ended_by(End::Cancel, &wait) {
        let told = told.unwrap_err();
        assert!(!told.is_terminate());
        assert_eq!(reason(&told), InterruptReason::UserRequest);
    }
    for told in ended_by(End::Terminate, &wait) {
        assert!(told.unwrap_err().is_terminate());
    }
    for told in ended_by(End::Statement, &wait) {
        assert_eq!(reason(&told.unwrap_err()), InterruptReason::StatementEnded);
    }
}

#[test]
fn park() {
    supervised(|| assert_interruptible(current::park));
}

#[test]
fn park_deadline() {
    supervised(|| assert_interruptible(|| current::park_deadline(Instant::now() + ENDLESS)));
}

#[test]
fn sleep() {
    supervised(|| assert_interruptible(|| current::sleep(ENDLESS)));
}

#[test]
fn block_on_timeout() {
    supervised(|| {
        assert_interruptible(|| current::block_on_timeout(ENDLESS, std::future::pending::<()>()));
    });
}

/// Blocks in its own way until its waker is woken, and then reports.
fn own_wait(mode: WaitMode) -> Result<(), Interrupt> {
    let parker = crossbeam_utils::sync::Parker::new();
    let unparker = parker.unparker().clone();
    let waker = waker_fn(move || unparker.unpark());
    current::wait(mode, &waker, || parker.park())?;
    safepoint::check()
}

#[test]
fn wait() {
    supervised(|| assert_interruptible(|| own_wait(WaitMode::Interruptible)));
}

#[test]
fn a_wait_returns_what_it_got() {
    supervised(|| {
        let late = ended_by(End::Cancel, || {
            let parker = crossbeam_utils::sync::Parker::new();
            let unparker = parker.unparker().clone();
            let waker = waker_fn(move || unparker.unpark());
            let got = current::wait(WaitMode::Interruptible, &waker, || {
                parker.park();
                42
            });
            (got, safepoint::check())
        });
        for (got, next) in late {
            assert_eq!(got, Ok(42), "it may be the result of a commit");
            assert!(next.is_err(), "and the next safe point reports");
        }
    });
}

/// A waker may close a connection, so a cancel must not wake it. A termination does.
#[test]
fn a_cancel_leaves_a_killable_wait_alone() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let handle = statement.handle("write");
            let woken = AtomicUsize::new(0);
            scope(|scope| {
                let waiter = scope.spawn(|| {
                    let _helper = handle.enter().unwrap();
                    until("its wait ends", || {
                        let parker = crossbeam_utils::sync::Parker::new();
                        let unparker = parker.unparker().clone();
                        let waker = waker_fn(move || unparker.unpark());
                        current::wait(WaitMode::Killable, &waker, || {
                            parker.park();
                            woken.fetch_add(1, Ordering::SeqCst);
                        })
                    })
                });
                wait_until("it waits", || manager.helpers(id).iter().any(|row| row.is_waiting));
                drop(manager.cancel(id, Cancel::running(admin("root"))).unwrap());
                drop(manager.cancel(id, Cancel::running(admin("root"))));
                assert!(statement.check().is_err(), "the cancel is due");
                // Its wake-up would have been made by now, on this thread.
                std::thread::yield_now();
                assert!(manager.helpers(id)[0].is_waiting);
                assert_eq!(woken.load(Ordering::SeqCst), 0);
                drop(manager.terminate(id, kill_now()).unwrap());
                joined("it", waiter).unwrap();
            });
        });
    });
}

#[test]
fn a_killable_wait_begins_after_a_cancel_and_not_after_a_kill() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let handle = statement.handle("write");
            let (entered, asked) = (Barrier::new(2), Barrier::new(2));
            let begun = AtomicBool::new(false);
            scope(|scope| {
                let waiter = scope.spawn(|| {
                    let _helper = handle.enter().unwrap();
                    until("the other is there", || entered.wait());
                    until("the other has asked", || asked.wait());
                    let waker = waker_fn(|| ());
                    let first = current::wait(WaitMode::Killable, &waker, || {
                        begun.store(true, Ordering::SeqCst);
                    });
                    drop(manager.terminate(id, kill_now()).unwrap());
                    (first, current::wait(WaitMode::Killable, &waker, || ()))
                });
                until("the other is there", || entered.wait());
                drop(manager.cancel(id, Cancel::running(admin("root"))).unwrap());
                until("the other waits for it", || asked.wait());
                let (first, second) = joined("it", waiter);
                first.unwrap();
                assert!(begun.load(Ordering::SeqCst));
                assert!(second.unwrap_err().is_terminate());
            });
        });
    });
}

/// A helper may outlive its statement.
#[test]
fn a_killable_wait_does_not_begin_after_the_statement() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let handle = statement.handle("write");
            let (entered, ended) = (Barrier::new(2), Barrier::new(2));
            scope(|scope| {
                let waiter = scope.spawn(|| {
                    let _helper = handle.enter().unwrap();
                    until("the other is there", || entered.wait());
                    until("the statement has ended", || ended.wait());
                    let begun = || -> () { panic!("it has begun") };
                    current::wait(WaitMode::Killable, &waker_fn(|| ()), begun)
                });
                until("the other is there", || entered.wait());
                statement.finish().unwrap();
                until("the other waits for it", || ended.wait());
                let told = joined("it", waiter).unwrap_err();
                assert_eq!(reason(&told), InterruptReason::StatementEnded);
            });
        });
    });
}

/// The end of the hold-off wakes it for the end of the statement, and not for a cancel.
#[test]
fn a_hold_off_ends_during_a_killable_wait() {
    supervised(|| {
        for cancels in [true, false] {
            each_model(|Fixture { manager, mut session, thread, id }| {
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let handle = statement.handle("write");
                let (held, hold_offs) = std::sync::mpsc::channel();
                let woken = Arc::new(AtomicUsize::new(0));
                scope(|scope| {
                    let wakes = woken.clone();
                    let waiter = scope.spawn(move || {
                        let _helper = handle.enter().unwrap();
                        held.send(current::hold_off("page")).unwrap();
                        let parker = crossbeam_utils::sync::Parker::new();
                        let unparker = parker.unparker().clone();
                        let waker = waker_fn(move || {
                            wakes.fetch_add(1, Ordering::SeqCst);
                            unparker.unpark();
                        });
                        let wait = || current::wait(WaitMode::Killable, &waker, || parker.park());
                        until("its wait ends", wait)
                    });
                    let hold_off = until("there is a hold-off", || hold_offs.recv()).unwrap();
                    wait_until("it waits", || manager.helpers(id).iter().any(|row| row.is_waiting));
                    if cancels {
                        drop(manager.cancel(id, Cancel::running(admin("root"))).unwrap());
                        drop(hold_off);
                        // It would have been woken on this thread.
                        assert_eq!(woken.load(Ordering::SeqCst), 0);
                        drop(manager.terminate(id, kill_now()).unwrap());
                    } else {
                        statement.finish().unwrap();
                        drop(hold_off);
                    }
                    joined("it", waiter).unwrap();
                });
            });
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket() {
    supervised(|| {
        let (socket, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_interruptible(|| current::wait_readable(WaitMode::Interruptible, &socket));
        socket.set_nonblocking(true).unwrap();
        while (&socket).write(&[0; 4096]).is_ok() {}
        assert_interruptible(|| current::wait_writable(WaitMode::Interruptible, &socket));
        let mut row = [0; 4096];
        other.set_nonblocking(true).unwrap();
        while std::io::Read::read(&mut other, &mut row).is_ok() {}
        until("there is room", || current::wait_writable(WaitMode::Killable, &socket))
            .unwrap()
            .unwrap();
        // Without a session too.
        other.write_all(b"row").unwrap();
        until("it is readable", || current::wait_readable(WaitMode::Killable, &socket))
            .unwrap()
            .unwrap();
    });
}

#[test]
fn recv() {
    supervised(|| {
        let (sender, receiver) = crossbeam_channel::bounded::<u8>(1);
        assert_interruptible(|| current::recv(&receiver));
        sender.send(7).unwrap();
        let got = until("there is a message", || current::recv(&receiver));
        assert_eq!(got.unwrap(), Ok(7));
        drop(sender);
        assert!(until("it is closed", || current::recv(&receiver)).unwrap().is_err());
    });
}

/// On a thread that works for no session.
#[test]
fn without_a_session() {
    supervised(|| {
        current::park_waker().wake();
        until("it was woken before", current::park).unwrap();
        until("its deadline is now", || current::park_deadline(Instant::now())).unwrap();
        assert_eq!(current::wait(WaitMode::Interruptible, &waker_fn(|| ()), || 3), Ok(3));
    });
}

#[test]
fn a_check_that_needs_a_session() {
    supervised(|| {
        current::try_check().unwrap_err();
        each_model(|Fixture { manager, mut session, thread, id }| {
            current::try_check().unwrap_err();
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(current::try_check(), Ok(Ok(())));
            let statement = attached.begin().unwrap();
            let handle = statement.handle("help");
            let tried = |_: &SessionManager| {
                until("it has tried", || {
                    let not_yet = current::try_check();
                    let helper = handle.enter();
                    let entered = current::try_check();
                    let hidden = current::without_session(current::try_check);
                    drop(helper);
                    (not_yet.is_err(), entered, hidden.is_err())
                })
            };
            let on_another = scope(|scope| joined("it", scope.spawn(|| tried(&manager))));
            assert_eq!(on_another, (true, Ok(Ok(())), true));
            drop(manager.cancel(id, Cancel::running(admin("root"))).unwrap());
            assert!(current::try_check().unwrap().is_err());
            let told = Arc::new(AtomicBool::new(false));
            let mut job = Some(handle.track_fn({
                let told = told.clone();
                move || told.store(current::try_check().unwrap().is_err(), Ordering::SeqCst)
            }));
            scope(|scope| joined("it", scope.spawn(move || job.take().unwrap()())));
            assert!(told.load(Ordering::SeqCst));
        });
    });
}
