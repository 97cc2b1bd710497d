//! Each timeout in both thread models, during changes, and expired timeouts against the next
//! statement. `timeouts_in_combination` of `loom-tests` has all combinations; these tests use the
//! real thread of the timer.

use crate::common::{
    Fixture, MODELS, ParkedSession, TEST_TIMEOUT, each_model, kill, locked, rounds, supervised,
    wait_until,
};
use safepoint::request::InterruptReason;
use safepoint::session::Timeouts;
use safepoint::view::SessionState;
use safepoint::{Interrupt, SessionManager, Statement, TerminateMode, ThreadModel};
use std::task::Wake;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

fn statement(limit: Duration) -> Timeouts {
    Timeouts::new().with_statement(limit)
}

#[track_caller]
fn assert_ran_out(
    interrupt: &Interrupt,
    reason: InterruptReason,
    severity: &str,
    code: &str,
    text: &str,
) {
    assert_eq!(interrupt.request().reason(), reason);
    assert_eq!(interrupt.severity(), severity);
    assert_eq!(interrupt.sqlstate(), code);
    assert_eq!(interrupt.message(), text);
}

#[track_caller]
fn assert_statement_timeout(interrupt: &Interrupt) {
    let text = "canceling statement due to statement timeout";
    assert_ran_out(interrupt, InterruptReason::StatementTimeout, "ERROR", "57014", text);
}

#[test]
fn each_timeout_is_returned_as_it_was_set() {
    let millis = Duration::from_millis;
    let none = Timeouts::new();
    let all = none
        .with_statement(millis(1))
        .with_transaction(millis(2))
        .with_lock(millis(3))
        .with_idle(millis(4))
        .with_idle_in_transaction(millis(5))
        .with_client_disconnect(millis(6));
    let read = |timeouts: Timeouts| {
        [
            timeouts.statement(),
            timeouts.transaction(),
            timeouts.lock(),
            timeouts.idle(),
            timeouts.idle_in_transaction(),
            timeouts.client_disconnect(),
        ]
    };
    assert_eq!(read(none), [None; 6]);
    assert_eq!(read(all), [1, 2, 3, 4, 5, 6].map(|time| Some(millis(time))));
}

/// Safe points, until one reports something.
#[track_caller]
fn run_on(statement: &Statement<'_>) -> Interrupt {
    let mut seen = None;
    wait_until("a safe point reports something", || {
        seen = statement.check().err();
        seen.is_some()
    });
    seen.unwrap()
}

#[test]
fn a_statement_timeout_cancels_only_the_statement() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            session.set_timeouts(statement(SHORT)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            for _ in 0..3 {
                let before = Instant::now();
                let waits = attached.begin().unwrap();
                assert_statement_timeout(&waits.sleep(TEST_TIMEOUT).unwrap_err());
                assert!(before.elapsed() >= SHORT, "early");
                waits.finish().unwrap();
                let before = Instant::now();
                let runs = attached.begin().unwrap();
                assert_statement_timeout(&run_on(&runs));
                assert!(before.elapsed() >= SHORT, "early");
                runs.finish().unwrap();
            }
            attached.set_timeouts(Timeouts::default()).unwrap();
            let next = attached.begin().unwrap();
            next.sleep(SHORT * 2).unwrap();
            next.finish().unwrap();
        }
    });
}

#[test]
fn timeouts_change_while_a_statement_runs() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let runs = attached.begin().unwrap();
            for limits in [statement(TEST_TIMEOUT), statement(SHORT)] {
                runs.set_timeouts(limits).unwrap();
                assert_eq!(runs.timeouts(), limits);
            }
            assert_statement_timeout(&runs.sleep(TEST_TIMEOUT).unwrap_err());
            runs.finish().unwrap();
        }
    });
}

/// Statements that end about when their time does, in turns with some that have all the time.
#[test]
fn a_late_timer_does_not_reach_the_next_statement() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            session.set_timeouts(statement(Duration::from_millis(1))).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let mut hits = 0;
            for round in rounds(1000) {
                let begun = Instant::now();
                let short = attached.begin().unwrap();
                while begun.elapsed() < Duration::from_micros(900 + round as u64 % 200) {
                    if short.check().is_err() {
                        hits += 1;
                        break;
                    }
                }
                // The present timeouts are the session's own.
                drop(short);
                let begun = Instant::now();
                let next = attached.begin().unwrap();
                if let Err(interrupt) = next.check() {
                    assert_statement_timeout(&interrupt);
                    assert!(begun.elapsed() >= Duration::from_millis(1), "hit by another's limit");
                }
                next.set_timeouts(statement(TEST_TIMEOUT)).unwrap();
                drop(next);
                let free = attached.begin().unwrap();
                free.check().expect("a statement with all the time it needs");
                drop(free);
                attached.set_timeouts(statement(Duration::from_millis(1))).unwrap();
            }
            eprintln!("{model:?}: {hits} of 1000 limits found their statement running");
        }
    });
}

#[test]
fn the_time_in_the_queue_counts() {
    supervised(|| {
        let Fixture { manager, mut session, thread, id } = Fixture::new(ThreadModel::Pool);
        session.set_timeouts(statement(SHORT)).unwrap();
        let queued = session.reserve_statement().unwrap();
        // Its time runs out before a thread has it.
        let row = || manager.session_info(id).unwrap();
        wait_until("its limit has run out", || row().pending.is_some());
        assert_eq!((row().state, row().statement_id), (SessionState::Queued, Some(queued)));
        let mut attached = session.attach(&thread).unwrap();
        assert_statement_timeout(&attached.begin().unwrap_err());
    });
}

#[test]
fn a_restarted_timeout_counts_anew() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            session.set_timeouts(statement(SHORT)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            // A part that was slow on a busy machine says nothing, so all is tried again.
            wait_until("four parts are each shorter than the limit", || {
                let begun = Instant::now();
                let parts = attached.begin().unwrap();
                let in_time = (0..4).all(|_| {
                    let part = Instant::now();
                    parts.restart_timeout();
                    while part.elapsed() < SHORT / 2 {
                        std::thread::sleep(SHORT / 20);
                    }
                    let due = parts.check();
                    let in_time = part.elapsed() < SHORT;
                    assert!(due.is_ok() || !in_time, "early");
                    in_time
                });
                if !in_time {
                    return false;
                }
                assert!(begun.elapsed() > SHORT);
                // The last part has the limit too.
                assert_statement_timeout(&run_on(&parts));
                true
            });
        }
    });
}

#[test]
fn a_timeout_counts_from_an_earlier_start() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            session.set_timeouts(statement(TEST_TIMEOUT)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let started = Instant::now();
            let free = attached.begin().unwrap();
            // A later time has no effect.
            free.count_timeout_from(started + TEST_TIMEOUT);
            free.count_timeout_from(started);
            free.sleep(SHORT).unwrap();
            free.finish().unwrap();
            let limit = 10 * SHORT;
            attached.set_timeouts(statement(limit)).unwrap();
            // On a busy machine the statement may run into its own limit, and then all is tried again.
            wait_until("the timeout comes before the statement's own", || {
                let started = Instant::now();
                std::thread::sleep(limit);
                let begun = Instant::now();
                let late = attached.begin().unwrap();
                late.count_timeout_from(started);
                assert_statement_timeout(&run_on(&late));
                begun.elapsed() < limit
            });
            attached.set_timeouts(statement(TEST_TIMEOUT)).unwrap();
            let next = attached.begin().unwrap();
            next.sleep(SHORT).unwrap();
            next.finish().unwrap();
        }
    });
}

#[test]
fn a_wait_for_a_lock_has_its_own_timeout() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let lock_wait = |length| statement(TEST_TIMEOUT).with_lock(length);
            session.set_timeouts(lock_wait(TEST_TIMEOUT)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let waits = attached.begin().unwrap();
            waits.with_lock_timeout(Instant::now(), || ());
            waits.set_timeouts(lock_wait(SHORT)).unwrap();
            waits.sleep(SHORT * 2).expect("this is no wait for a lock, and that one is over");
            let ended =
                waits.with_lock_timeout(Instant::now(), || waits.sleep(TEST_TIMEOUT)).unwrap_err();
            let text = "canceling statement due to lock timeout";
            assert_ran_out(&ended, InterruptReason::LockTimeout, "ERROR", "55P03", text);
            waits.finish().unwrap();

            // In pieces, by code that was handed no session.
            let waits = attached.begin().unwrap();
            let since = Instant::now();
            let piece = || {
                safepoint::current::with_lock_timeout(since, || {
                    safepoint::current::sleep(SHORT / 10)
                })
            };
            let mut ended = Ok(());
            wait_until("the pieces are too long together", || {
                ended = piece();
                ended.is_err()
            });
            assert!(since.elapsed() >= SHORT, "early");
            assert_eq!(ended.unwrap_err().request().reason(), InterruptReason::LockTimeout);
            waits.finish().unwrap();
            attached.begin().unwrap().sleep(SHORT * 2).expect("the next statement");
        }
    });
}

#[test]
fn an_idle_session_ends() {
    supervised(|| {
        for model in MODELS {
            for (in_transaction, reason, code, text) in [
                (
                    false,
                    InterruptReason::IdleSessionTimeout,
                    "57P05",
                    "terminating connection due to idle-session timeout",
                ),
                (
                    true,
                    InterruptReason::IdleInTransactionTimeout,
                    "25P03",
                    "terminating connection due to idle-in-transaction timeout",
                ),
            ] {
                let Fixture { manager, mut session, thread, id } = Fixture::new(model);
                let mut attached = session.attach(&thread).unwrap();
                let limits = if in_transaction {
                    Timeouts::new().with_idle_in_transaction(SHORT)
                } else {
                    Timeouts::new().with_idle(SHORT)
                };
                let busy = attached.begin().unwrap();
                busy.set_timeouts(limits).unwrap();
                busy.set_in_transaction(!in_transaction);
                busy.sleep(SHORT * 2).expect("it is not idle");
                drop(busy);
                attached.sleep(SHORT * 2).expect("it is idle in the other way");
                let busy = attached.begin().unwrap();
                busy.set_in_transaction(in_transaction);
                drop(busy);
                // The timeout may expire before a waker is set.
                drop(attached);
                let parked = ParkedSession::leave(session);
                parked.clone().wake();
                wait_until("it has ended", || manager.session_info(id).is_none());
                assert_ran_out(&locked(&parked.interrupts)[0], reason, "FATAL", code, text);
            }
        }
    });
}

#[test]
fn a_session_with_a_command_in_time_is_not_idle() {
    supervised(|| {
        for model in MODELS {
            let Fixture { mut session, thread, .. } = Fixture::new(model);
            let mut idle_since = Instant::now();
            session.set_timeouts(Timeouts::new().with_idle(SHORT * 5)).unwrap();
            for _ in 0..4 {
                let mut attached = session.attach(&thread).unwrap();
                match attached.begin() {
                    Ok(statement) => {
                        statement.sleep(SHORT * 6).expect("it is busy");
                        idle_since = Instant::now();
                    }
                    // The machine was busy elsewhere.
                    Err(_) => {
                        assert!(idle_since.elapsed() >= SHORT * 5, "it was not idle for so long");
                        return;
                    }
                }
                drop(attached);
            }
        }
    });
}

#[test]
fn a_transaction_ends_with_its_session() {
    supervised(|| {
        for model in MODELS {
            for open in [true, false] {
                let Fixture { mut session, thread, .. } = Fixture::new(model);
                let limits = |length| Timeouts::new().with_transaction(length);
                session.set_timeouts(limits(TEST_TIMEOUT)).unwrap();
                let mut attached = session.attach(&thread).unwrap();
                attached.set_in_transaction(true);
                attached.set_in_transaction(false);
                attached.set_timeouts(limits(SHORT)).unwrap();
                attached.sleep(SHORT * 2).expect("that transaction is over");
                let begun = Instant::now();
                let statement = attached.begin().unwrap();
                statement.set_in_transaction(open);
                let interrupt = statement.sleep(TEST_TIMEOUT).unwrap_err();
                assert!(begun.elapsed() >= SHORT, "early");
                let text = "terminating connection due to transaction timeout";
                assert_ran_out(
                    &interrupt,
                    InterruptReason::TransactionTimeout,
                    "FATAL",
                    "25P04",
                    text,
                );
            }
        }
    });
}

#[test]
fn the_timers_thread_starts_with_the_first_timeout() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let timers = |manager: &SessionManager| {
            manager.threads().iter().filter(|thread| &*thread.name == "timer").count()
        };
        let sessions = [(); 2].map(|()| manager.open(crate::common::of("ann")).unwrap());
        sessions[0].set_timeouts(Timeouts::default()).unwrap();
        assert_eq!(timers(&manager), 0);
        for session in &sessions {
            session.set_timeouts(statement(TEST_TIMEOUT)).unwrap();
            assert_eq!(timers(&manager), 1);
        }
        assert!(!manager.threads()[0].is_worker);
    });
}

/// Code that was handed no session starts the timer of the manager that the session is of, however
/// many managers there are.
#[test]
fn ambient_timeouts_use_the_sessions_own_manager() {
    supervised(|| {
        let has_timer = |fixture: &Fixture| {
            fixture.manager.threads().iter().any(|thread| &*thread.name == "timer")
        };
        for model in MODELS {
            let mut stages = [(); 3].map(|()| Fixture::new(model));
            // A session that has ended is no longer among them.
            drop(SessionManager::new(model));
            for at in 0..stages.len() {
                let Fixture { session, thread, .. } = &mut stages[at];
                let mut attached = session.attach(thread).unwrap();
                safepoint::current::set_timeouts(statement(SHORT)).unwrap().unwrap();
                assert_statement_timeout(&run_on(&attached.begin().unwrap()));
                drop(attached);
                let timers: Vec<_> = stages.iter().map(has_timer).collect();
                assert_eq!(timers.iter().filter(|has| **has).count(), at + 1);
                assert!(timers[at], "it is the session's own that has one");
            }
        }
    });
}

#[test]
fn a_timeout_too_long_for_the_clock_is_none() {
    supervised(|| {
        /// 2^64 nanoseconds: after an overflow this would expire at once.
        const WRAPS: Duration = Duration::new(18_446_744_073, 709_551_616);
        let longest = Duration::from_nanos(u64::MAX - 1);
        let all = |length: Option<Duration>| {
            Timeouts::new()
                .with_statement(length)
                .with_transaction(length)
                .with_lock(length)
                .with_idle(length)
                .with_idle_in_transaction(length)
        };
        for (length, kept) in [
            (longest, Some(longest)),
            (Duration::from_nanos(u64::MAX), None),
            (WRAPS, None),
            (Duration::MAX, None),
        ] {
            each_model(|Fixture { manager, mut session, thread, id }| {
                session.set_timeouts(all(Some(length))).unwrap();
                assert_eq!(session.timeouts(), all(kept));
                let mut attached = session.attach(&thread).unwrap();
                attached.sleep(SHORT).unwrap();
                attached.set_in_transaction(true);
                attached.sleep(SHORT).unwrap();
                let statement = attached.begin().unwrap();
                let request = kill(TerminateMode::AfterTransaction).grace(length);
                manager.terminate(id, request).unwrap();
                statement.with_lock_timeout(Instant::now(), || statement.sleep(SHORT)).unwrap();
            });
        }
    });
}
