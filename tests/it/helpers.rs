//! Helpers: threads, jobs and tasks that work for a statement that another thread runs.

use crate::common::{
    CountingWaker, Fixture, MODELS, TEST_TIMEOUT, each_model, kill_now, of, scope, supervised,
    thread_for, until, wait_until,
};
use safepoint::diagnose::PendingReason;
use safepoint::id::StatementId;
use safepoint::request::{EndReason, InterruptReason, RequestError};
use safepoint::session::StatementHandle;
use safepoint::view::SessionState;
use safepoint::{Cancel, Interrupt, Requester, SessionId, SessionManager, ThreadModel, current};
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn reason(interrupt: &Interrupt) -> InterruptReason {
    interrupt.request().reason()
}

fn cancel(statement: StatementId) -> Cancel {
    Cancel::statement(statement, Requester::system())
}

/// Runs the scene in a statement, in each model. The scene ends it.
fn in_statement(scene: impl Fn(&SessionManager, safepoint::Statement<'_>) + Send + Sync + 'static) {
    supervised(move || {
        each_model(|mut fixture| {
            let mut attached = fixture.session.attach(&fixture.thread).unwrap();
            scene(&fixture.manager, attached.begin().unwrap());
        });
    });
}

/// Waits until the other threads are there.
fn meet(barrier: &Barrier) {
    until("the other threads are there", || barrier.wait());
}

/// Loops until a safe point reports something.
fn until_told(mut check: impl FnMut() -> Result<(), Interrupt>) -> Interrupt {
    loop {
        if let Err(interrupt) = check() {
            return interrupt;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_reaches_every_helper_and_every_kind_of_safe_point() {
    in_statement(|manager, statement| {
        let handle = statement.handle("scan");
        let ready = Barrier::new(5);
        scope(|s| {
            let ambient = s.spawn(|| {
                let _helper = handle.enter().unwrap();
                meet(&ready);
                until_told(safepoint::check)
            });
            let by_guard = s.spawn(|| {
                let helper = handle.enter().unwrap();
                meet(&ready);
                until_told(|| helper.check())
            });
            let by_handle = s.spawn(|| {
                meet(&ready);
                until_told(|| handle.check())
            });
            let asleep = s.spawn(|| {
                let _helper = handle.enter().unwrap();
                meet(&ready);
                current::sleep(Duration::MAX).unwrap_err()
            });
            meet(&ready);
            manager.cancel(statement.id(), cancel(statement.statement_id())).unwrap();
            for thread in [ambient, by_guard, by_handle, asleep] {
                assert_eq!(reason(&thread.join().unwrap()), InterruptReason::UserRequest);
            }
        });
        assert_eq!(reason(&statement.check().unwrap_err()), InterruptReason::UserRequest);
    });
}

#[test]
fn the_ambient_functions_find_the_statement() {
    in_statement(|_, statement| {
        let handle = statement.handle("scan");
        let (id, number) = (statement.id(), statement.statement_id());
        scope(|s| {
            s.spawn(|| {
                assert!(current::statement("none").is_none());
                let helper = handle.enter().unwrap();
                assert_eq!(current::session_id(), Some(id));
                assert_eq!(current::requester().unwrap().session(), Some(id));
                assert_eq!(current::client_info().unwrap().user(), "ann");
                assert_eq!(current::thread_id(), None, "it is no thread of the session's");
                assert!(current::update_client_info(|client| client).is_err());
                let inner = current::statement("inner").expect("it helps with one");
                assert_eq!((inner.session_id(), inner.statement_id()), (id, number));
                current::without_session(|| {
                    assert_eq!(current::session_id(), None);
                    assert!(current::statement("none").is_none());
                });
                assert_eq!(current::session_id(), Some(id));
                drop(helper);
                assert_eq!(current::session_id(), None);
            });
        });
        let own = current::statement("own").expect("this thread runs it");
        assert_eq!(own.statement_id(), number);
        statement.finish().unwrap();
        assert!(current::statement("none").is_none(), "no statement runs");
    });
}

#[test]
fn a_handle_of_a_statement_that_has_ended_reports_that() {
    in_statement(|_, statement| {
        let handle = statement.handle("scan");
        let (job, tracked) = (handle.wrap_fn(|| ()), handle.track_fn(|| 7));
        statement.finish().unwrap();
        for told in [handle.check(), handle.enter().map(drop), job(), handle.wrap_fn(|| ())()] {
            let told = told.unwrap_err();
            assert_eq!(reason(&told), InterruptReason::StatementEnded);
            assert_eq!((told.sqlstate(), told.severity()), ("57014", "ERROR"));
            assert_eq!(told.message(), "the statement has ended");
        }
        assert_eq!(tracked(), 7, "it always runs");
        assert_eq!(handle.helper_count(), 0);
    });
}

#[test]
fn a_tracked_job_of_a_statement_that_has_ended_hears_so() {
    in_statement(|_, statement| {
        let handle = statement.handle("scan");
        let before = handle.track_fn(safepoint::check);
        statement.finish().unwrap();
        let after = handle.track_fn(safepoint::check);
        scope(|s| {
            for job in [s.spawn(before), s.spawn(after)] {
                let told = job.join().unwrap().unwrap_err();
                assert_eq!(reason(&told), InterruptReason::StatementEnded);
            }
        });
    });
}

#[test]
fn guards_of_one_statement_nest() {
    in_statement(|manager, statement| {
        let handle = statement.handle("scan");
        let own = handle.enter().unwrap();
        own.check().unwrap();
        assert_eq!(handle.helper_count(), 0, "the runner is no helper");
        scope(|s| {
            s.spawn(|| {
                let outer = handle.enter().unwrap();
                let inner = handle.enter().unwrap();
                assert_eq!(handle.helper_count(), 1);
                inner.check().unwrap();
                drop(inner);
                assert_eq!(current::session_id(), Some(handle.session_id()));
                drop(outer);
                assert_eq!(current::session_id(), None);
            });
        });
        manager.cancel(statement.id(), cancel(statement.statement_id())).unwrap();
        own.check().unwrap_err();
        assert!(handle.enter().is_err());
    });
}

/// Tells which session the thread works for as this is dropped.
struct Tells(std::sync::mpsc::Sender<Option<SessionId>>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(current::session_id());
    }
}

#[test]
fn a_job_that_has_not_run_is_dropped_without_a_session() {
    in_statement(|_, statement| {
        let (tell, told) = std::sync::mpsc::channel();
        let tells = Tells(tell);
        let job = statement.handle("late").wrap_fn(move || drop(tells));
        assert_eq!(current::session_id(), Some(statement.id()));
        drop(job);
        assert_eq!(told.recv(), Ok(None));
    });
}

/// The work of a hook always runs. Its safe points report an interrupt that was due before.
#[test]
fn a_tracked_job_that_is_created_after_a_cancel() {
    in_statement(|manager, statement| {
        let handle = statement.handle("hook");
        manager.cancel(statement.id(), cancel(statement.statement_id())).unwrap();
        let job = handle.track_fn(|| safepoint::check().unwrap_err());
        let told = scope(|s| s.spawn(job).join().unwrap());
        assert_eq!(reason(&told), InterruptReason::UserRequest);
    });
}

#[test]
fn handles_of_one_name_have_their_own_locations() {
    in_statement(|manager, statement| {
        let first = statement.handle("scan").wrap_fn(|| ());
        let second = statement.handle("scan").wrap_fn(|| ());
        let rows = manager.helpers(statement.id());
        let [one, other] = &rows[..] else { panic!("{rows:?}") };
        assert_ne!(one.known_since.location, other.known_since.location);
        drop((first, second));
    });
}

/// All slots for threads are taken at first.
#[test]
fn a_helper_that_had_another_slot_before() {
    in_statement(|manager, statement| {
        const THREADS: usize = 150;
        let handle = statement.handle("scan");
        let [full, left, free] = [(); 3].map(|()| Barrier::new(THREADS + 1));
        scope(|s| {
            for _ in 0..THREADS {
                s.spawn(|| {
                    let helper = handle.enter().unwrap();
                    meet(&full);
                    meet(&left);
                    drop(helper);
                    meet(&free);
                });
            }
            s.spawn(|| {
                meet(&full);
                drop(handle.enter().unwrap());
                meet(&left);
                meet(&free);
                let _helper = handle.enter().unwrap();
                manager.cancel(handle.session_id(), cancel(handle.statement_id())).unwrap();
                safepoint::check().unwrap_err();
            });
        });
    });
}

/// Guards of two sessions' statements, dropped in the wrong order.
#[test]
fn guards_that_are_dropped_out_of_order() {
    in_statement(|manager, statement| {
        let mut other = manager.open(of("bob")).unwrap();
        let handle = statement.handle("first");
        let (ready, handles) = (Barrier::new(2), std::sync::Mutex::new(None));
        scope(|s| {
            s.spawn(|| {
                let thread = thread_for(manager, &other);
                let mut attached = other.attach(&thread).unwrap();
                let inner = attached.begin().unwrap();
                *handles.lock().unwrap() = Some(inner.handle("second"));
                meet(&ready);
                meet(&ready);
                inner.finish().unwrap();
            });
            meet(&ready);
            let second: StatementHandle = handles.lock().unwrap().take().unwrap();
            let (handle, ready) = (&handle, &ready);
            s.spawn(move || {
                let outer = handle.enter().unwrap();
                let inner = second.enter().unwrap();
                let other = Some(second.session_id());
                assert_eq!(current::session_id(), other);
                drop(outer);
                assert_eq!(current::session_id(), other);
                drop(inner);
                assert_eq!(current::session_id(), None, "the outer one has gone");
                meet(ready);
            });
        });
    });
}

#[test]
fn more_threads_than_slots_help() {
    in_statement(|manager, statement| {
        const THREADS: usize = 150;
        let handle = statement.handle("scan");
        let ready = Barrier::new(THREADS + 1);
        scope(|s| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    s.spawn(|| {
                        let helper = handle.enter().unwrap();
                        meet(&ready);
                        let told = until_told(|| helper.check());
                        assert_eq!(safepoint::check().unwrap_err(), told);
                        told
                    })
                })
                .collect();
            meet(&ready);
            assert_eq!(handle.helper_count(), THREADS);
            assert_eq!(manager.helpers(statement.id()).len(), THREADS);
            let receipt = manager.cancel(statement.id(), cancel(statement.statement_id())).unwrap();
            for thread in threads {
                assert_eq!(reason(&thread.join().unwrap()), InterruptReason::UserRequest);
            }
            assert!(receipt.try_get().is_none(), "the runner has not finished");
        });
        assert_eq!(handle.helper_count(), 0);
    });
}

/// The statement ends at once for its client. The receipts wait, and say for whom.
#[test]
fn a_receipt_names_the_helpers_that_it_waits_for() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let (ready, goes) = (Barrier::new(2), AtomicBool::new(false));
            let (ready, goes) = (&ready, &goes);
            scope(|s| {
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let (handle, number) = (statement.handle("slow scan"), statement.statement_id());
                s.spawn(move || {
                    let _helper = handle.enter().unwrap();
                    meet(ready);
                    while !goes.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                });
                meet(ready);
                let mut cancelled = manager.cancel(id, cancel(number)).unwrap();
                statement.finish().unwrap();
                assert!(cancelled.try_get().is_none());
                let named = |reason: Option<PendingReason>| match reason {
                    Some(PendingReason::ActiveHelpers { count: 1, first, .. }) => {
                        assert_eq!((first.name, first.is_on_thread), ("slow scan", true));
                        assert!(first.known_since.location.file().ends_with("helpers.rs"));
                    }
                    other => panic!("{other:?}"),
                };
                named(cancelled.pending_reason());
                let row = manager.session_info(id).unwrap();
                assert_eq!((row.helper_count, row.state), (1, SessionState::BetweenStatements));
                // The next statement begins, and has nothing to do with it.
                let next = attached.begin().unwrap();
                next.check().unwrap();
                assert_eq!(next.handle("next").helper_count(), 0);
                next.finish().unwrap();

                let mut killed = manager.terminate(id, kill_now()).unwrap();
                attached.check().unwrap_err();
                drop(attached);
                let end = session.close();
                assert!(matches!(end.reason, EndReason::Terminated(_)));
                assert!(killed.try_get().is_none());
                named(killed.pending_reason());
                named(manager.pending_reason(id));
                let row = manager.session_info(id).expect("it stays until the helper has left");
                assert_eq!((row.helper_count, row.state), (1, SessionState::Ended));
                assert_eq!(manager.len(), 1);
                // For a second requester it has ended. The first receipt, and a shutdown, wait.
                let again = manager.terminate(id, kill_now()).unwrap_err();
                assert_eq!(again, RequestError::AlreadyEnded(id));
                goes.store(true, Ordering::SeqCst);
                assert_eq!(killed.wait_timeout(TEST_TIMEOUT), Some(end));
                assert!(cancelled.wait_timeout(TEST_TIMEOUT).is_some());
                assert!(manager.is_empty());
                assert_eq!((killed.pending_reason(), cancelled.pending_reason()), (None, None));
            });
        }
    });
}

/// A limit on sessions counts those whose helpers work.
#[test]
fn a_session_with_helpers_keeps_its_admission() {
    supervised(|| {
        let manager = SessionManager::builder(ThreadModel::PerSession).max_sessions(1).build();
        let mut session = manager.open(of("ann")).unwrap();
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let job = attached.begin().unwrap().handle("job").wrap_fn(|| ());
        drop(attached);
        session.close();
        assert!(manager.open(of("bob")).is_err(), "what burns the processor counts");
        drop(job);
        drop(manager.open(of("bob")).unwrap());
    });
}

#[test]
fn shutdown_waits_for_helpers() {
    in_statement(|manager, statement| {
        let job = statement.handle("job").wrap_fn(|| ());
        let mut receipts = manager.shutdown(kill_now());
        assert_eq!(receipts.len(), 1);
        drop(statement);
        assert!(receipts[0].wait_timeout(Duration::from_millis(1)).is_none());
        drop(job);
    });
}

#[test]
fn the_next_helper_of_a_slot_is_a_new_one() {
    in_statement(|manager, statement| {
        let handle = statement.handle("scan");
        let (ready, id) = (Barrier::new(2), statement.id());
        scope(|s| {
            s.spawn(|| {
                for _ in 0..2 {
                    let _helper = handle.enter().unwrap();
                    meet(&ready);
                    meet(&ready);
                }
            });
            meet(&ready);
            let first = manager.helpers(id)[0];
            assert_eq!(manager.helpers(id), [first], "known since the same time");
            // The next helper is known since later, on any clock.
            wait_until("the clock goes on", || {
                std::time::SystemTime::now() > first.known_since.reached_at
            });
            meet(&ready);
            meet(&ready);
            let second = manager.helpers(id)[0];
            assert_eq!((first.name, second.name), ("scan", "scan"));
            assert!(second.known_since.reached_at > first.known_since.reached_at);
            meet(&ready);
        });
    });
}

#[test]
fn names_describe_the_helpers() {
    in_statement(|manager, statement| {
        let handle = statement.handle("scan");
        let jobs = (handle.named("sort").wrap_fn(|| ()), handle.named("sort").wrap_fn(|| ()));
        let other = handle.wrap_fn(|| ());
        let rows = manager.helpers(statement.id());
        let names: Vec<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names, ["sort", "sort", "scan"]);
        assert!(rows.iter().all(|row| !row.is_on_thread && row.hold_off.is_none()));
        assert_ne!(rows[0].known_since.location, rows[1].known_since.location);
        assert!(rows[2].to_string().starts_with("scan of tests/it/helpers.rs:"), "{}", rows[2]);
        drop((jobs, other));
        assert_eq!(manager.helpers(statement.id()), []);
    });
}

#[test]
fn a_probe_is_answered_by_helpers() {
    in_statement(|manager, statement| {
        let (handle, id) = (statement.handle("scan"), statement.id());
        let (ready, goes) = (Barrier::new(2), AtomicBool::new(false));
        scope(|s| {
            s.spawn(|| {
                let _helper = handle.enter().unwrap();
                meet(&ready);
                while !goes.load(Ordering::SeqCst) {
                    safepoint::check().unwrap();
                }
            });
            meet(&ready);
            let _ = manager.probe(id);
            wait_until("the helper has answered", || {
                manager.helpers(id)[0]
                    .last_safe_point
                    .is_some_and(|at| at.location.file().ends_with("helpers.rs"))
            });
            goes.store(true, Ordering::SeqCst);
        });
        let _ = statement.check();
    });
}

/// Its slot is free, and the statement is cancelled already.
#[test]
fn a_helper_that_is_refused_counts_no_more() {
    in_statement(|manager, statement| {
        let handle = statement.handle("scan");
        current::without_session(|| drop(handle.enter().unwrap()));
        let request = cancel(statement.statement_id());
        let receipt = manager.cancel(statement.id(), request).unwrap();
        let told = current::without_session(|| handle.enter().map(drop)).unwrap_err();
        assert_eq!(reason(&told), InterruptReason::UserRequest);
        assert_eq!(handle.helper_count(), 0);
        assert!(statement.check().is_err());
        statement.finish().unwrap();
        assert!(receipt.try_get().expect("there is no helper").cancelled);
    });
}

#[test]
fn a_panic_in_a_helper_ends_the_session() {
    in_statement(|_, statement| {
        let handle = statement.handle("scan");
        scope(|s| {
            let helper = s.spawn(|| {
                catch_unwind(AssertUnwindSafe(|| {
                    let _helper = handle.enter().unwrap();
                    panic!("as it was told");
                }))
            });
            helper.join().unwrap().unwrap_err();
        });
        let told = statement.check().unwrap_err();
        assert_eq!(reason(&told), InterruptReason::InternalError);
        assert!(told.is_terminate());
    });
}

#[test]
fn a_panic_in_a_job_ends_the_session() {
    in_statement(|_, statement| {
        let job = statement.handle("scan").wrap_fn(|| panic!("as it was told"));
        scope(|s| {
            let helper = s.spawn(|| catch_unwind(AssertUnwindSafe(|| drop(job()))));
            helper.join().unwrap().unwrap_err();
        });
        assert_eq!(reason(&statement.check().unwrap_err()), InterruptReason::InternalError);
    });
}

/// A panic that the code within catches is nobody else's.
#[test]
fn a_panic_that_is_caught_within_ends_nothing() {
    in_statement(|_, statement| {
        let job = statement.handle("scan").wrap_fn(|| {
            catch_unwind(|| panic!("as it was told")).unwrap_err();
            7
        });
        assert_eq!(job().unwrap(), 7);
        statement.finish().unwrap();
    });
}

#[test]
fn a_panic_in_a_helper_wakes_its_runner() {
    in_statement(|_, statement| {
        let job = statement.handle("scan").wrap_fn(|| panic!("as it was told"));
        scope(|s| {
            s.spawn(|| catch_unwind(AssertUnwindSafe(|| drop(job()))).unwrap_err());
            let told = until("it is woken", || statement.sleep(Duration::MAX)).unwrap_err();
            assert_eq!(reason(&told), InterruptReason::InternalError);
        });
    });
}

#[test]
fn a_hold_off_of_a_helper_is_its_own() {
    in_statement(|manager, statement| {
        let (handle, id) = (statement.handle("scan"), statement.id());
        let (ready, goes) = (Barrier::new(2), Barrier::new(2));
        scope(|s| {
            s.spawn(|| {
                let helper = handle.enter().unwrap();
                let (outer, inner) = (helper.hold_off("page"), current::hold_off("inner"));
                meet(&ready);
                meet(&goes);
                safepoint::check().unwrap();
                helper.check().unwrap();
                current::sleep(Duration::ZERO).unwrap();
                drop(inner);
                safepoint::check().unwrap();
                drop(outer);
                safepoint::check().unwrap_err();
                helper.check().unwrap_err();
            });
            meet(&ready);
            assert_eq!(manager.helpers(id)[0].hold_off.unwrap().name, "page");
            assert_eq!(manager.session_info(id).unwrap().hold_off, None);
            manager.cancel(id, cancel(statement.statement_id())).unwrap();
            statement.check().unwrap_err();
            meet(&goes);
        });
    });
}

#[test]
fn a_hold_off_of_a_helper_that_another_thread_ends() {
    in_statement(|manager, statement| {
        let (handle, id) = (statement.handle("scan"), statement.id());
        let (held, hold_offs) = std::sync::mpsc::channel();
        scope(|s| {
            s.spawn(move || {
                let _helper = handle.enter().unwrap();
                held.send(current::hold_off("page")).unwrap();
                current::sleep(Duration::MAX).unwrap_err();
            });
            let hold_off = until("there is a hold-off", || hold_offs.recv()).unwrap();
            manager.cancel(id, cancel(statement.statement_id())).unwrap();
            drop(hold_off);
        });
    });
}

/// Its thread helps again, in the same slot, with a hold-off of its own.
#[test]
fn a_hold_off_that_outlives_its_helper() {
    in_statement(|manager, statement| {
        let handle = statement.handle("scan");
        scope(|s| {
            s.spawn(|| {
                let first = handle.enter().unwrap();
                let outlives = current::hold_off("first");
                drop(first);
                let second = handle.enter().unwrap();
                let held = second.hold_off("second");
                manager.cancel(handle.session_id(), cancel(handle.statement_id())).unwrap();
                drop(outlives);
                safepoint::check().expect("its own hold-off is in force");
                drop(held);
                safepoint::check().unwrap_err();
            });
        });
    });
}

#[test]
fn the_runner_waits_for_its_helpers() {
    in_statement(|manager, statement| {
        assert!(statement.wait_for_helpers(Duration::MAX).unwrap(), "it has none");
        let job = statement.handle("scan").wrap_fn(|| ());
        assert!(!statement.wait_for_helpers(Duration::from_millis(1)).unwrap());
        scope(|s| {
            s.spawn(job);
            let none = until("they leave", || statement.wait_for_helpers(Duration::MAX)).unwrap();
            assert!(none);
        });
        let _job = statement.handle("scan").wrap_fn(|| ());
        manager.cancel(statement.id(), cancel(statement.statement_id())).unwrap();
        statement.wait_for_helpers(Duration::MAX).unwrap_err();
    });
}

/// Polls a task, and returns whether it was woken meanwhile.
fn poll<F: Future + Unpin>(task: &mut F) -> (Poll<F::Output>, usize) {
    let (count, waker) = CountingWaker::waker();
    let polled = std::pin::Pin::new(task).poll(&mut Context::from_waker(&waker));
    (polled, count.get())
}

#[test]
fn a_wrapped_task_ends_with_its_interrupt() {
    in_statement(|manager, statement| {
        struct Owned<'a>(&'a Cell<bool>);
        impl Drop for Owned<'_> {
            fn drop(&mut self) {
                assert!(current::session_id().is_some(), "dropped by its helper");
                self.0.set(true);
            }
        }
        let (dropped, handle) = (Cell::new(false), statement.handle("task"));
        let owned = Owned(&dropped);
        let mut task = Box::pin(handle.wrap_future(async {
            let _owned = owned;
            assert_eq!(current::session_id(), Some(handle.session_id()));
            pending::<()>().await;
        }));
        let (count, waker) = CountingWaker::waker();
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((handle.helper_count(), count.get()), (1, 0));
        assert!(!manager.helpers(statement.id())[0].is_on_thread);
        manager.cancel(statement.id(), cancel(statement.statement_id())).unwrap();
        assert_eq!(count.get(), 1, "it is woken");
        let Poll::Ready(Err(told)) = task.as_mut().poll(&mut Context::from_waker(&waker)) else {
            panic!("it is to end");
        };
        assert_eq!(reason(&told), InterruptReason::UserRequest);
        assert!(dropped.get());
        assert_eq!(handle.helper_count(), 0);
        let mut ready = Box::pin(statement.handle("x").wrap_future(async { 7 }));
        assert!(matches!(poll(&mut ready), (Poll::Ready(Err(_)), _)), "nothing begins any more");
    });
}

#[test]
fn a_task_that_is_ready_returns_its_output() {
    in_statement(|_, statement| {
        let mut task = Box::pin(statement.handle("task").wrap_future(async { 7 }));
        assert!(matches!(poll(&mut task), (Poll::Ready(Ok(7)), 0)));
        let mut tracked = Box::pin(statement.handle("task").track_future(async { 8 }));
        assert!(matches!(poll(&mut tracked), (Poll::Ready(8), 0)));
        assert_eq!(statement.handle("task").helper_count(), 0);
    });
}

/// The code in it decides. It is polled once more, and then only if somebody wakes it.
#[test]
fn a_tracked_task_is_polled_once_more() {
    in_statement(|manager, statement| {
        let told = AtomicUsize::new(0);
        let (id, number) = (statement.id(), statement.statement_id());
        let mut first = true;
        let mut task = Box::pin(statement.handle("task").track_future(poll_fn(|_| {
            if std::mem::take(&mut first) {
                manager.cancel(id, cancel(number)).unwrap();
            }
            told.fetch_add(usize::from(safepoint::check().is_err()), Ordering::SeqCst);
            Poll::<()>::Pending
        })));
        assert!(matches!(poll(&mut task), (Poll::Pending, 1)), "it was due during the poll");
        assert!(matches!(poll(&mut task), (Poll::Pending, 0)));
        assert_eq!(told.load(Ordering::SeqCst), 2);
        drop(task);
        assert_eq!(statement.handle("task").helper_count(), 0);
    });
}

/// A thread attaches no session while it helps, so that it hits no other one.
#[test]
fn a_helper_attaches_no_session() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let (one, two) =
            (manager.register_worker("one").unwrap(), manager.register_worker("two").unwrap());
        let mut session = manager.open(of("ann")).unwrap();
        let mut attached = session.attach(&one).unwrap();
        let statement = attached.begin().unwrap();
        let handle = statement.handle("scan");
        let (manager, handle) = (&manager, &handle);
        scope(|s| {
            s.spawn(move || {
                let mut other = manager.open(of("bob")).unwrap();
                let helper = handle.enter().unwrap();
                assert!(other.attach(&two).is_err());
                current::without_session(|| {
                    let attached = other.attach(&two).unwrap();
                    attached.check().unwrap();
                });
                drop(helper);
                other.attach(&two).unwrap().check().unwrap();
            });
        });
    });
}

#[test]
fn a_waker_of_a_task_is_dropped_with_it() {
    in_statement(|_, statement| {
        let (count, waker) = CountingWaker::waker();
        let mut task = Box::pin(statement.handle("task").wrap_future(pending::<()>()));
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&count), 3);
        drop(task);
        assert_eq!(Arc::strong_count(&count), 2);
        drop::<Waker>(waker);
    });
}
