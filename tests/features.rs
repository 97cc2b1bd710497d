//! What the features `serde`, `tracing` and `metrics` add.

#![cfg(any(feature = "serde", feature = "tracing", feature = "metrics"))]

mod common;

#[cfg(feature = "serde")]
mod serialized {
    use crate::common::{Desk, admin, kill_now, locked, of, supervised, user};
    use safepoint::{Refused, SessionManager, StatementId, Sweep, ThreadModel};
    use serde_json::json;

    #[test]
    fn ids_are_numbers_and_rows_are_objects() {
        supervised(|| {
            let manager = SessionManager::new(ThreadModel::PerSession);
            let session = manager.open(of("ann")).unwrap();
            let id = session.id();
            assert_eq!(serde_json::to_value(id).unwrap(), json!(id.get()));
            assert_eq!(serde_json::to_value(StatementId::from(7)).unwrap(), json!(7));
            let row = serde_json::to_value(manager.session(id).unwrap()).unwrap();
            assert_eq!(row["session"], json!(id.get()));
            assert_eq!(row["thread"], json!(id.get()));
            assert_eq!(row["description"]["user"], json!("ann"));
            assert_eq!((&row["doing"], &row["told"]), (&json!("Idle"), &json!(null)));
            assert!(row.get("word").is_none(), "{row}");
            let thread = manager.register_background("listener").unwrap();
            let row = serde_json::to_value(manager.threads()).unwrap();
            assert_eq!(row[0]["name"], json!("listener"));
            drop(thread);
        });
    }

    #[test]
    fn requests_and_outcomes() {
        supervised(|| {
            let manager = SessionManager::new(ThreadModel::Pool);
            let desk = Desk::leave(manager.open(of("ann")).unwrap());
            let swept = manager.terminate_user("ann", kill_now(), Sweep::new());
            let receipt = &swept.receipts[0];
            let found = serde_json::to_value(receipt.found()).unwrap();
            assert_eq!(found["doing"], json!("Idle"));
            let ended = serde_json::to_value(receipt.poll().unwrap()).unwrap();
            let request = &ended["how"]["Killed"];
            assert_eq!(request["author"]["user"], json!("root"));
            assert_eq!(
                (&request["text"], &request["names_author"]),
                (&json!("because"), &json!(true))
            );
            assert!(request["at"]["secs_since_epoch"].as_u64().unwrap() > 1_700_000_000);
            assert_eq!(locked(&desk.told).len(), 1);
            assert_eq!(serde_json::to_value(user("ann")).unwrap()["admin"], json!(false));
            assert_eq!(serde_json::to_value(admin("ann")).unwrap()["address"], json!(null));
            let refused = Refused::NoSuchSession(receipt.session());
            let refused = serde_json::to_value(refused).unwrap();
            assert_eq!(refused["NoSuchSession"], json!(receipt.session().get()));
        });
    }
}

#[cfg(feature = "tracing")]
mod traced {
    use crate::common::{Desk, LONG, MODELS, kill_now, locked, of, supervised, thread_for, user};
    use safepoint::{Author, Probe, SessionManager, Terminate, Watchdog, When};
    use std::collections::BTreeMap;
    use std::fmt::Debug;
    use std::sync::{Arc, Mutex, mpsc};
    use std::time::Duration;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    type Fields = BTreeMap<&'static str, String>;

    /// Keeps the fields of each event; spans it knows not.
    #[derive(Clone, Default)]
    struct Collector(Arc<Mutex<Vec<Fields>>>);

    struct Visitor(Fields);

    impl Visit for Visitor {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.into());
        }
    }

    impl Subscriber for Collector {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "safepoint"
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut visitor = Visitor(Fields::new());
            event.record(&mut visitor);
            locked(&self.0).push(visitor.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    /// A watchdog reports on a thread of its own, and so to whoever hears of all threads.
    #[test]
    fn a_stall_is_a_warning_with_its_place() {
        supervised(|| {
            let collector = Collector::default();
            let events = collector.0.clone();
            tracing::subscriber::set_global_default(collector).unwrap();
            for model in MODELS {
                let manager = SessionManager::new(model);
                let mut session = manager.open(of("ann")).unwrap();
                let (id, thread) = (session.id(), thread_for(&manager, &session));
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap().with_text("select endless");
                assert!(matches!(manager.probe(id), Some(Probe::Asked { .. })));
                statement.check().unwrap();
                let _held = statement.hold_off("commit");
                let (report, reports) = mpsc::channel();
                let watchdog =
                    Watchdog::start(&manager, Duration::from_millis(10), move |stalled| {
                        let _ = report.send(stalled.session);
                    });
                assert_eq!(reports.recv_timeout(LONG), Ok(id), "the watchdog reports it");
                drop(watchdog);
                let events = std::mem::take(&mut *locked(&events));
                let stalls: Vec<_> = events
                    .iter()
                    .filter(|event| event["message"] == "no safe point")
                    .filter(|event| event["text"] == "select endless")
                    .collect();
                let [stall] = stalls.as_slice() else { panic!("{stalls:?}") };
                assert!(stall["seconds"].parse::<f64>().unwrap() >= 0.01, "{stall:?}");
                assert!(stall["last"].contains("features.rs"), "{stall:?}");
                assert!(stall["hold_off"].starts_with("commit at "), "{stall:?}");
                assert_eq!(stall["session"], id.to_string());
                assert!(!stall.contains_key("wait"), "there is none");
            }
        });
    }

    #[test]
    fn targets_and_authors_are_fields() {
        supervised(|| {
            for model in MODELS {
                let collector = Collector::default();
                let events = collector.0.clone();
                let (id, killer) = tracing::subscriber::with_default(collector, || {
                    let manager = SessionManager::new(model);
                    let desk = Desk::leave(manager.open(of("ann")).unwrap());
                    let id = locked(&desk.session).as_ref().unwrap().id();
                    let killer = manager.open(of("root")).unwrap();
                    let author = Author {
                        session: Some(killer.id()),
                        address: Some("10.0.0.7".into()),
                        ..user("bob")
                    };
                    let request = Terminate::new(When::Immediate, author);
                    manager.terminate(id, request).unwrap_err();
                    manager.terminate(id, kill_now()).unwrap();
                    (id, killer.id())
                });
                let events = std::mem::take(&mut *locked(&events));
                let of_it: Vec<_> =
                    events.iter().filter(|event| event["session"] == id.to_string()).collect();
                let said: Vec<_> = of_it.iter().map(|event| event["message"].as_str()).collect();
                assert_eq!(
                    said,
                    [
                        "session opened",
                        "permission refused",
                        "end requested",
                        "request seen",
                        "session ended"
                    ]
                );
                assert_eq!(of_it[0]["user"], "ann");
                assert_eq!(of_it[1]["author.user"], "bob");
                assert_eq!(of_it[1]["author.session"], killer.to_string());
                assert_eq!(of_it[1]["author.address"], "10.0.0.7");
                assert_eq!((&*of_it[1]["sqlstate"], &*of_it[1]["kind"]), ("42501", "terminate"));
                assert_eq!((&*of_it[2]["author.user"], &*of_it[2]["text"]), ("root", "because"));
                assert_eq!((&*of_it[2]["found"], &*of_it[2]["when"]), ("idle", "Immediate"));
                assert!(!of_it[2].contains_key("author.session"), "there is none");
                assert_eq!(of_it[4]["how"], "killed");
                assert!(of_it[4]["seconds"].parse::<f64>().unwrap() >= 0.0);
            }
        });
    }
}

#[cfg(feature = "metrics")]
mod measured {
    use crate::common::{
        Desk, LONG, MODELS, eventually, kill_now, of, supervised, thread_for, user,
    };
    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
        Recorder, SharedString, Unit,
    };
    use safepoint::{
        Cancel, Probe, SessionManager, Sweep, Target, Terminate, ThreadModel, Watchdog, When,
    };
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError, mpsc};
    use std::time::Duration;

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

    /// A watchdog counts on a thread of its own, and so for whoever counts on all threads.
    #[test]
    fn stalls() {
        supervised(|| {
            let books = Books::default();
            let figures = books.0.clone();
            metrics::set_global_recorder(books).unwrap();
            let manager = SessionManager::new(MODELS[0]);
            let mut session = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &session);
            let (id, _attached) = (session.id(), session.attach(&thread).unwrap());
            let (report, reports) = mpsc::channel();
            let watchdog = Watchdog::start(&manager, Duration::from_millis(10), move |stalled| {
                let _ = report.send(stalled.session);
            });
            assert_eq!(reports.recv_timeout(LONG), Ok(id), "the watchdog reports it");
            drop(watchdog);
            let figures = figures.lock().unwrap();
            assert_eq!(figures["safepoint_stalls_total"][0], 1.0);
        });
    }

    #[test]
    fn refusals_by_their_reason() {
        supervised(|| {
            let books = Books::default();
            let figures = books.0.clone();
            metrics::with_local_recorder(&books, || {
                let manager = SessionManager::new(ThreadModel::Pool);
                let session = manager.open(of("ann")).unwrap();
                let worker = manager.register_worker("worker").unwrap();
                let background = manager.register_background("writer").unwrap();
                for target in [
                    Target::AttachedTo(worker.id()),
                    Target::Pair(worker.id(), session.id()),
                    Target::AttachedTo(background.id()),
                ] {
                    manager.terminate(target, kill_now()).unwrap_err();
                }
            });
            let figures = std::mem::take(&mut *figures.lock().unwrap());
            for reason in ["nothing attached", "not attached", "background thread"] {
                let name = format!("safepoint_kills_total kind=terminate outcome={reason}");
                assert_eq!(figures.get(&name).map(Vec::len), Some(1), "{reason}: {figures:?}");
            }
        });
    }

    #[test]
    fn cancels_and_gaps() {
        supervised(|| {
            for model in MODELS {
                let books = Books::default();
                let figures = books.0.clone();
                metrics::with_local_recorder(&books, || {
                    let manager = SessionManager::new(model);
                    let mut session = manager.open(of("ann")).unwrap();
                    let (id, thread) = (session.id(), thread_for(&manager, &session));
                    let mut attached = session.attach(&thread).unwrap();
                    let statement = attached.begin().unwrap();
                    assert!(matches!(manager.probe(id), Some(Probe::Asked { .. })));
                    statement.check().unwrap();
                    statement.check().unwrap();
                    // A wait is a safe point as well.
                    assert!(matches!(manager.probe(id), Some(Probe::Asked { .. })));
                    statement.sleep(Duration::ZERO).unwrap();
                    manager.cancel(id, Cancel::running(user("ann"))).unwrap();
                    statement.check().unwrap_err();
                    drop(statement);
                    let statement = attached.begin().unwrap();
                    manager.cancel(id, Cancel::running(user("ann"))).unwrap();
                    drop(statement);
                });
                let figures = std::mem::take(&mut *figures.lock().unwrap());
                let of = |name: &str| figures.get(name).map(Vec::as_slice).unwrap_or_default();
                let in_order = |times: &[f64]| times.iter().all(|time| (0.0..30.0).contains(time));
                let gaps = of("safepoint_gap_seconds");
                assert!(gaps.len() == 2 && in_order(gaps), "{gaps:?}");
                // One that finished first was not killed.
                let times = of("safepoint_kill_to_end_seconds kind=cancel");
                assert!(times.len() == 1 && in_order(times), "{times:?}");
            }
        });
    }

    #[test]
    fn sessions_kills_and_times() {
        supervised(|| {
            for model in MODELS {
                let books = Books::default();
                let figures = books.0.clone();
                metrics::with_local_recorder(&books, || {
                    let manager = SessionManager::new(model);
                    let _desks = ["ann", "ann", "bob"]
                        .map(|user| Desk::leave(manager.open(of(user)).unwrap()));
                    manager.record_sessions();
                    let id = manager.sessions().next().unwrap().session;
                    let eve = Terminate::new(When::Immediate, user("eve"));
                    manager.terminate(id, eve).unwrap_err();
                    manager.terminate_user("ann", kill_now(), Sweep::new());
                    manager.record_sessions();
                });
                let figures = std::mem::take(&mut *figures.lock().unwrap());
                let of = |name: &str| figures.get(name).map(Vec::as_slice).unwrap_or_default();
                assert_eq!(of("safepoint_sessions state=idle"), [3.0, 1.0]);
                assert_eq!(of("safepoint_sessions state=running"), [0.0, 0.0]);
                assert_eq!(of("safepoint_sessions_opened_total").len(), 3);
                assert_eq!(of("safepoint_kills_total kind=terminate outcome=accepted"), [1.0, 1.0]);
                assert_eq!(of("safepoint_kills_total kind=terminate outcome=seen"), [1.0, 1.0]);
                assert_eq!(of("safepoint_kills_total kind=terminate outcome=not permitted"), [1.0]);
                assert_eq!(of("safepoint_sessions_ended_total how=killed"), [1.0, 1.0]);
                let times = of("safepoint_kill_to_end_seconds kind=terminate");
                assert!(times.len() == 2 && times.iter().all(|time| (0.0..30.0).contains(time)));
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
    impl safepoint::pool::Client for Stuck {
        fn ready(
            &mut self,
            _: &mut safepoint::Attached<'_>,
        ) -> Result<safepoint::pool::Next, safepoint::Interrupt> {
            let _ = self.release.recv();
            Ok(safepoint::pool::Next::Close)
        }

        fn end(&mut self, _: &safepoint::Session, _: safepoint::pool::End) {}
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sessions_in_the_queue() {
        supervised(|| {
            use safepoint::pool::{Config, Pool};
            let manager = SessionManager::new(safepoint::ThreadModel::Pool);
            let pool = Pool::start(manager.clone(), &Config::new(1).max_workers(1)).unwrap();
            let (let_go, release) = crossbeam_channel::bounded::<()>(0);
            let far_ends = [(); 3].map(|()| {
                let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
                std::io::Write::write_all(&mut far, b"!").unwrap();
                let client = Stuck { socket: near, release: release.clone() };
                pool.serve(manager.open(of("ann")).unwrap(), client).unwrap();
                far
            });
            eventually("two wait", || pool.status()[0].queued == 2);
            let books = Books::default();
            let figures = books.0.clone();
            metrics::with_local_recorder(&books, || pool.record_queues());
            let figures = std::mem::take(&mut *figures.lock().unwrap());
            assert_eq!(figures["safepoint_queue_length group=0"], [2.0]);
            assert_eq!(figures["safepoint_workers group=0"], [1.0]);
            drop((let_go, far_ends));
        });
    }
}
