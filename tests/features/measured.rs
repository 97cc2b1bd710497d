//! The feature `metrics`: each metric by its name and its labels.

use crate::common::{
    Fixture, MODELS, ParkedSession, TEST_TIMEOUT, admin, each_model, kill_now, locked, of, scope,
    supervised, thread_for, until, user, wait_until,
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use safepoint::diagnose::{ProbeResult, Watchdog};
use safepoint::id::StatementId;
use safepoint::manager::BulkOptions;
use safepoint::request::Target;
use safepoint::session::{Timeouts, WaitMode};
use safepoint::{Cancel, SessionManager, Terminate, TerminateMode, ThreadModel};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Barrier, Mutex, PoisonError, mpsc};
use std::task::Waker;
use std::time::{Duration, Instant};

type Figures = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

struct Figure {
    name: String,
    figures: Figures,
}

impl Figure {
    fn push(&self, value: f64) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.entry(self.name.clone()).or_default().push(value);
    }
}

impl CounterFn for Figure {
    fn increment(&self, value: u64) {
        self.push(value as f64);
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Figure {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.push(value);
    }
}

impl HistogramFn for Figure {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

#[derive(Default)]
struct Books(Figures);

impl Books {
    fn figure(&self, key: &Key) -> Arc<Figure> {
        let mut name = key.name().to_string();
        for label in key.labels() {
            name += &format!(" {}={}", label.key(), label.value());
        }
        Arc::new(Figure { name, figures: self.0.clone() })
    }
}

impl Recorder for Books {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.figure(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.figure(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.figure(key))
    }
}

/// Counts what is done on the calling thread.
fn counted(act: impl FnOnce()) -> BTreeMap<String, Vec<f64>> {
    let books = Books::default();
    let figures = books.0.clone();
    metrics::with_local_recorder(&books, act);
    std::mem::take(&mut *figures.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The figures, and no others. `n` is a counter that has been counted up by one so often, `~n` so
/// many lengths of time.
#[track_caller]
fn assert_figures(figures: &BTreeMap<String, Vec<f64>>, expected: &[&str]) {
    let shown = |(name, values): (&String, &Vec<f64>)| {
        let times = name.contains("_seconds");
        let all = |fits: &dyn Fn(f64) -> bool| values.iter().all(|value| fits(*value));
        if times {
            assert!(all(&|value| (0.0..60.0).contains(&value)), "{name}: {values:?}");
        } else {
            assert!(all(&|value| value == 1.0), "{name}: {values:?}");
        }
        format!("{name}: {}{}", if times { "~" } else { "" }, values.len())
    };
    let found: Vec<_> = figures.iter().map(shown).collect();
    let mut expected: Vec<_> = expected.iter().map(|one| format!("safepoint_{one}")).collect();
    expected.sort();
    assert_eq!(found, expected);
}

/// A watchdog and the timer count events on their own threads, so the recorder is installed for all
/// threads.
#[test]
fn stalls_and_timeouts() {
    supervised(|| {
        let books = Books::default();
        let figures = books.0.clone();
        metrics::set_global_recorder(books).unwrap();
        let count = |name: &str| {
            let figures = figures.lock().unwrap_or_else(PoisonError::into_inner);
            figures.get(name).map_or(0, Vec::len)
        };
        each_model(|Fixture { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let before = count("safepoint_stalls_total");
            let (report, reports) = mpsc::channel();
            let watchdog = Watchdog::start(&manager, Duration::ZERO, move |stalled| {
                let _ = report.send(stalled.session);
            });
            assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(id), "the watchdog reports it");
            drop(watchdog);
            // Other tests may have stalls at the same time.
            assert!(count("safepoint_stalls_total") > before);
            let before = count("safepoint_overdue_total kind=terminate");
            let other = manager.open(of("bob")).unwrap();
            manager.terminate(other.id(), kill_now()).unwrap();
            let watchdog = Watchdog::builder().overdue(Duration::ZERO, |_| ()).start(&manager);
            drop(watchdog.unwrap());
            assert!(count("safepoint_overdue_total kind=terminate") > before);
            let before = count("safepoint_timeouts_total");
            attached.set_timeouts(Timeouts::new().with_idle(Duration::ZERO)).unwrap();
            wait_until("it is due", || attached.check().is_err());
            // The event is emitted after the transition. Other tests may have expired timeouts at
            // the same time.
            wait_until("it is counted", || count("safepoint_timeouts_total") > before);
        });
        let figures = figures.lock().unwrap();
        for name in ["safepoint_stalls_total", "safepoint_timeouts_total"] {
            assert!(figures[name].iter().all(|by| *by == 1.0), "{name}");
        }
    });
}

#[test]
fn rejections_by_reason() {
    supervised(|| {
        let figures = counted(|| {
            let manager = SessionManager::new(ThreadModel::Pool);
            let mut session = manager.open(of("ann")).unwrap();
            let id = session.id();
            let worker = manager.register_worker("worker").unwrap();
            let gone = manager.register_worker("gone").unwrap().id();
            let background = manager.register_background("writer").unwrap();
            for target in [
                Target::AttachedTo(worker.id()),
                Target::Pair(worker.id(), id),
                Target::AttachedTo(background.id()),
                Target::AttachedTo(gone),
            ] {
                manager.terminate(target, kill_now()).unwrap_err();
            }
            manager
                .terminate(id, Terminate::new(TerminateMode::Immediate, user("eve")))
                .unwrap_err();
            manager.cancel(id, Cancel::running(user("eve"))).unwrap_err();
            // No such statement, for each reason.
            manager.cancel(id, Cancel::running(admin("root"))).unwrap_err();
            let mut attached = session.attach(&worker).unwrap();
            let first = attached.begin().unwrap().statement_id();
            for named in [first, StatementId::try_from(first.get() + 1).unwrap()] {
                manager.cancel(id, Cancel::statement(named, admin("root"))).unwrap_err();
            }
            let rows: Vec<_> = manager.sessions().collect();
            attached.begin().unwrap().finish().unwrap();
            let unchanged = BulkOptions::new().only_if_unchanged();
            assert_eq!(manager.terminate_rows(&rows, kill_now(), unchanged).changed, 1);
            drop(attached);
            drop(session);
            manager.terminate(id, kill_now()).unwrap_err();
        });
        assert_figures(
            &figures,
            &[
                "kills_total kind=terminate outcome=thread idle: 1",
                "kills_total kind=terminate outcome=not attached: 1",
                "kills_total kind=terminate outcome=background thread: 1",
                "kills_total kind=terminate outcome=no such thread: 1",
                "kills_total kind=terminate outcome=permission denied: 1",
                "kills_total kind=terminate outcome=no such session: 1",
                "kills_total kind=terminate outcome=session changed: 1",
                "kills_total kind=cancel outcome=permission denied: 1",
                "kills_total kind=cancel outcome=no such statement: 3",
                "sessions_opened_total: 1",
                "sessions_ended_total reason=closed: 1",
            ],
        );
    });
}

#[test]
fn kills_and_their_outcomes() {
    supervised(|| {
        for model in MODELS {
            let figures = counted(|| {
                let manager = SessionManager::new(model);
                let mut session = manager.open(of("ann")).unwrap();
                let (id, thread) = (session.id(), thread_for(&manager, &session));
                let mut attached = session.attach(&thread).unwrap();
                // One observed cancel, reported twice, and one unobserved cancel.
                let statement = attached.begin().unwrap();
                manager.cancel(id, Cancel::running(user("ann"))).unwrap();
                manager.cancel(id, Cancel::running(user("ann"))).unwrap();
                statement.check().unwrap_err();
                statement.check().unwrap_err();
                drop(statement);
                let statement = attached.begin().unwrap();
                manager.cancel(id, Cancel::running(user("ann"))).unwrap();
                drop(statement);
                // Three sessions are terminated, one ends by a panic, and one is closed.
                manager.terminate(id, kill_now()).unwrap();
                attached.detach().unwrap_err();
                drop(session);
                let parked = ParkedSession::leave(manager.open(of("ann")).unwrap());
                let _ended = manager.terminate_user("ann", kill_now(), BulkOptions::new());
                assert_eq!(locked(&parked.interrupts).len(), 1);
                drop(manager.open(of("ann")).unwrap());
                let mut session = manager.open(of("ann")).unwrap();
                let thread = thread_for(&manager, &session);
                let attached = session.attach(&thread).unwrap();
                catch_unwind(AssertUnwindSafe(|| {
                    let _attached = attached;
                    resume_unwind(Box::new("on purpose"));
                }))
                .unwrap_err();
                session.check().unwrap_err();
            });
            assert_figures(
                &figures,
                &[
                    "kills_total kind=cancel outcome=accepted: 3",
                    "kills_total kind=cancel outcome=observed: 1",
                    "kill_to_end_seconds kind=cancel: ~1",
                    "kills_total kind=terminate outcome=accepted: 2",
                    "kills_total kind=terminate outcome=observed: 3",
                    "kill_to_end_seconds kind=terminate: ~2",
                    "sessions_opened_total: 4",
                    "sessions_ended_total reason=terminated: 2",
                    "sessions_ended_total reason=closed: 1",
                    "sessions_ended_total reason=panicked: 1",
                ],
            );
        }
    });
}

/// Each kind of safe point answers a probe.
#[test]
fn safe_point_gaps() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let figures = counted(|| {
                let mut attached = session.attach(&thread).unwrap();
                let asked =
                    || assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                asked();
                let statement = attached.begin().unwrap();
                statement.check().unwrap();
                asked();
                statement.check().unwrap();
                statement.check().unwrap();
                asked();
                safepoint::check().unwrap();
                asked();
                statement.sleep(Duration::ZERO).unwrap();
                asked();
                statement.finish().unwrap();
                attached.check().unwrap();
                // A safe point that reports an interrupt answers no probe unless one is set.
                manager.terminate(id, kill_now()).unwrap();
                attached.check().unwrap_err();
            });
            assert_figures(
                &figures,
                &[
                    "safe_point_gap_seconds: ~5",
                    "kills_total kind=terminate outcome=accepted: 1",
                    "kills_total kind=terminate outcome=observed: 1",
                ],
            );
        });
    });
}

/// A gap is as long as the probe was unanswered, and a kill takes from the request to the end.
#[test]
fn durations() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let long = Duration::from_millis(20);
            let before = Instant::now();
            let figures = counted(|| {
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                manager.cancel(id, Cancel::running(user("ann"))).unwrap();
                std::thread::sleep(long);
                statement.check().unwrap_err();
                drop(statement);
                manager.terminate(id, kill_now()).unwrap();
                std::thread::sleep(long);
                attached.check().unwrap_err();
                drop(attached);
                drop(session);
            });
            let most = before.elapsed().as_secs_f64();
            for name in [
                "safe_point_gap_seconds",
                "kill_to_end_seconds kind=cancel",
                "kill_to_end_seconds kind=terminate",
            ] {
                let [length] = figures[&format!("safepoint_{name}")][..] else { panic!("{name}") };
                assert!((long.as_secs_f64()..most).contains(&length), "{name}: {length}");
            }
        });
    });
}

#[test]
fn sessions_by_state() {
    fn running(manager: &SessionManager, hold: &Barrier) {
        let mut session = manager.open(of("ann")).unwrap();
        let thread = thread_for(manager, &session);
        let mut attached = session.attach(&thread).unwrap();
        let _statement = attached.begin().unwrap();
        hold.wait();
        hold.wait();
    }
    fn waiting(manager: &SessionManager, hold: &Barrier) {
        let mut session = manager.open(of("ann")).unwrap();
        let thread = thread_for(manager, &session);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let wait = || {
            hold.wait();
            hold.wait();
        };
        statement.wait(WaitMode::Interruptible, Waker::noop(), wait).unwrap();
    }
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::new(model);
            let open = || manager.open(of("ann")).unwrap();
            let mut sessions: Vec<_> = (0..9).map(|_| open()).collect();
            // Two idle, three in a transaction, four queued.
            for session in &mut sessions[2..5] {
                let thread = thread_for(&manager, session);
                let attached = session.attach(&thread).unwrap();
                attached.set_in_transaction(true);
                attached.detach().unwrap();
            }
            assert!(sessions[5..].iter().all(|session| session.reserve_statement().is_some()));
            // One has ended, and a job still works for its statement.
            let mut ended = open();
            let thread = thread_for(&manager, &ended);
            let mut attached = ended.attach(&thread).unwrap();
            let job = attached.begin().unwrap().handle("job").wrap_fn(|| ());
            drop(attached);
            ended.close();
            let mut between = open();
            let thread = thread_for(&manager, &between);
            let _attached = between.attach(&thread).unwrap();
            // Five running, six waiting.
            let hold = Barrier::new(12);
            let figures = scope(|scope| {
                (0..5).for_each(|_| drop(scope.spawn(|| running(&manager, &hold))));
                (0..6).for_each(|_| drop(scope.spawn(|| waiting(&manager, &hold))));
                until("all are there", || hold.wait());
                let figures = counted(|| manager.record_metrics());
                until("all have been counted", || hold.wait());
                figures
            });
            let expected = [
                ("between statements", 1.0),
                ("ended", 1.0),
                ("idle", 2.0),
                ("idle in transaction", 3.0),
                ("queued", 4.0),
                ("running", 5.0),
                ("waiting", 6.0),
            ];
            let found: Vec<_> = figures.iter().map(|(name, set)| (&**name, &**set)).collect();
            let expected = expected
                .map(|(state, count)| (format!("safepoint_sessions state={state}"), [count]));
            let expected: Vec<_> = expected.iter().map(|(name, set)| (&**name, &set[..])).collect();
            assert_eq!(found, expected);
            drop(job);
        }
    });
}

/// A client that keeps its worker until it is let go.
#[cfg(target_os = "linux")]
struct Stuck {
    socket: std::os::unix::net::UnixStream,
    release: crossbeam_channel::Receiver<()>,
}

#[cfg(target_os = "linux")]
impl std::os::fd::AsFd for Stuck {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(target_os = "linux")]
impl safepoint::pool::Connection for Stuck {
    fn on_ready(
        &mut self,
        _: &mut safepoint::Attached<'_>,
    ) -> Result<safepoint::pool::Action, safepoint::Interrupt> {
        let _ = self.release.recv();
        Ok(safepoint::pool::Action::Close)
    }

    fn on_close(&mut self, _: &safepoint::Session, _: safepoint::pool::CloseReason) {}
}

#[cfg(target_os = "linux")]
#[test]
fn sessions_in_the_queue() {
    supervised(|| {
        use safepoint::pool::PoolBuilder;
        let manager = SessionManager::new(safepoint::ThreadModel::Pool);
        let pool = PoolBuilder::new(1).max_workers(1).start(manager.clone()).unwrap();
        let (let_go, release) = crossbeam_channel::bounded::<()>(0);
        let far_ends = [(); 3].map(|()| {
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            std::io::Write::write_all(&mut far, b"!").unwrap();
            let client = Stuck { socket: near, release: release.clone() };
            pool.serve(manager.open(of("ann")).unwrap(), client).unwrap();
            far
        });
        wait_until("two wait", || pool.status()[0].queued == 2);
        let books = Books::default();
        let figures = books.0.clone();
        metrics::with_local_recorder(&books, || pool.record_metrics());
        let figures = std::mem::take(&mut *figures.lock().unwrap());
        assert_eq!(figures["safepoint_queue_length group=0"], [2.0]);
        assert_eq!(figures["safepoint_workers group=0"], [1.0]);
        drop((let_go, far_ends));
    });
}
