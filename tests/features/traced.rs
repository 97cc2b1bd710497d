//! The feature `tracing`: each event by its level, its message and its fields, and no others.

use crate::common::{
    Fixture, MODELS, ParkedSession, TEST_TIMEOUT, admin, each_model, kill, kill_now, locked, of,
    scope, supervised, thread_for, user, wait_until,
};
use safepoint::diagnose::{ProbeResult, Watchdog};
use safepoint::request::Target;
use safepoint::session::{Timeouts, WaitMode};
use safepoint::{
    Cancel, Requester, SessionId, SessionManager, Terminate, TerminateMode, ThreadModel,
};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::Waker;
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<&'static str, String>;

/// Keeps the fields of each event, its level among them; spans it knows not.
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
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut visitor = Visitor(Fields::new());
        event.record(&mut visitor);
        let metadata = event.metadata();
        let level = format!("{} {}", metadata.level(), metadata.target());
        visitor.0.insert("level", level);
        locked(&self.0).push(visitor.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Collector {
    /// Receives the events of all threads, including the timer's and the watchdog's, for all tests
    /// here.
    fn of_all() -> &'static Collector {
        static ALL: OnceLock<Collector> = OnceLock::new();
        ALL.get_or_init(|| {
            let all = Collector::default();
            tracing::subscriber::set_global_default(all.clone()).unwrap();
            all
        })
    }

    /// Takes the events of a session or of a thread. Durations are replaced by a marker.
    #[track_caller]
    fn take(&self, field: &str, number: u64) -> Vec<Fields> {
        let number = number.to_string();
        let of_it = |event: &mut Fields| event.get(field) == Some(&number);
        let mut taken: Vec<_> = locked(&self.0).extract_if(.., of_it).collect();
        for event in &mut taken {
            if let Some(seconds) = event.get_mut("seconds") {
                let length: f64 = seconds.parse().unwrap();
                assert!((0.0..60.0).contains(&length), "{length}");
                *seconds = "some".into();
            }
        }
        taken
    }
}

/// Returns the only event, field by field: `name=value`, separated by `|`.
#[track_caller]
fn assert_said(session: SessionId, expected: &[&str]) {
    let said = Collector::of_all().take("session", session.get());
    let said: Vec<String> = said.into_iter().map(shown).collect();
    let mut wanted = Vec::new();
    for one in expected {
        let one = format!("{one}|session={session}");
        let fields = one.split('|').map(|field| field.split_once('=').expect("name=value"));
        wanted.push(shown(fields.map(|(name, value)| (name, value.to_string())).collect()));
    }
    assert_eq!(said, wanted);
}

fn shown(fields: BTreeMap<&str, String>) -> String {
    fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("|")
}

fn opened(manager: &SessionManager) -> safepoint::Session {
    let session = manager.open(of("ann").with_address("10.0.0.9").with_database("shop")).unwrap();
    assert_said(
        session.id(),
        &["level=DEBUG safepoint|message=session opened|user=ann|address=10.0.0.9"],
    );
    session
}

#[test]
fn requests_and_their_outcomes() {
    supervised(|| {
        Collector::of_all();
        for model in MODELS {
            let manager = SessionManager::new(model);
            let mut session = opened(&manager);
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            let mut attached = session.attach(&thread).unwrap();
            let at = attached.thread_id();
            let requester = admin("root").with_session(id).with_address("10.0.0.7");
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(requester.clone()).comment("too slow")).unwrap();
            let by =
                format!("requester.session={id}|requester.user=root|requester.address=10.0.0.7");
            assert_said(
                id,
                &[&format!(
                    "level=INFO safepoint|message=interrupt requested|kind=cancel|reason=UserRequest|{by}\
                     |comment=too slow|state=running|statement=1|thread={at}"
                )],
            );
            statement.check().unwrap_err();
            let seen = "level=DEBUG safepoint|message=interrupt observed|seconds=some";
            assert_said(id, &[&format!("{seen}|kind=cancel|reason=UserRequest")]);
            drop(statement);
            let over =
                "level=INFO safepoint|message=statement ended|reason=UserRequest|seconds=some";
            assert_said(id, &[&format!("{over}|cancelled=true")]);
            // A statement that ends before its cancel is observed. The requester has neither a user
            // nor a session.
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(Requester::system())).unwrap();
            drop(statement);
            let requested = "level=INFO safepoint|message=interrupt requested";
            assert_said(
                id,
                &[
                    &format!(
                        "{requested}|kind=cancel|reason=UserRequest|state=running|statement=2\
                         |thread={at}"
                    ),
                    &format!("{over}|cancelled=false"),
                ],
            );
            // A termination of each strength, in each state.
            attached.set_in_transaction(true);
            manager
                .terminate(id, Terminate::new(TerminateMode::AfterTransaction, requester))
                .unwrap();
            let asked = format!("{requested}|kind=terminate|reason=AdministratorCommand");
            assert_said(
                id,
                &[&format!(
                    "{asked}|mode=AfterTransaction|{by}|state=idle in transaction|thread={at}"
                )],
            );
            let statement = attached.begin().unwrap();
            manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            let by = "requester.user=root|comment=because";
            assert_said(
                id,
                &[&format!(
                    "{asked}|mode=AfterStatement|{by}|state=running|statement=3|thread={at}"
                )],
            );
            let wait = || manager.terminate(id, kill_now()).map(drop);
            statement.wait(WaitMode::Interruptible, Waker::noop(), wait).unwrap().unwrap();
            assert_said(
                id,
                &[&format!("{asked}|mode=Immediate|{by}|state=waiting|statement=3|thread={at}")],
            );
            statement.check().unwrap_err();
            assert_said(id, &[&format!("{seen}|kind=terminate|reason=AdministratorCommand")]);
            drop(statement);
            drop(attached);
            session.close();
            let ended = "level=INFO safepoint|message=session ended";
            assert_said(
                id,
                &[&format!("{ended}|how=terminated|reason=AdministratorCommand|seconds=some")],
            );
        }
    });
}

#[test]
fn sessions_closed_by_their_owner() {
    supervised(|| {
        Collector::of_all();
        for model in MODELS {
            let manager = SessionManager::new(model);
            let ended = "level=INFO safepoint|message=session ended";
            let session = opened(&manager);
            let id = session.id();
            drop(session);
            assert_said(id, &[&format!("{ended}|how=closed")]);

            let mut session = opened(&manager);
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            let attached = session.attach(&thread).unwrap();
            catch_unwind(AssertUnwindSafe(|| {
                let _attached = attached;
                resume_unwind(Box::new("on purpose"));
            }))
            .unwrap_err();
            session.check().unwrap_err();
            let seen = "level=DEBUG safepoint|message=interrupt observed|seconds=some";
            assert_said(id, &[&format!("{seen}|kind=terminate|reason=InternalError")]);
            session.close();
            assert_said(id, &[&format!("{ended}|how=panicked")]);
        }
    });
}

#[test]
fn rejections_with_their_targets() {
    supervised(|| {
        Collector::of_all();
        let manager = SessionManager::new(ThreadModel::Pool);
        let session = opened(&manager);
        let id = session.id();
        let worker = manager.register_worker("worker").unwrap();
        let at = worker.id();
        let eve = user("eve").with_address("10.0.0.7");
        manager.terminate(id, Terminate::new(TerminateMode::Immediate, eve.clone())).unwrap_err();
        manager.cancel(id, Cancel::running(eve)).unwrap_err();
        let denied = format!(
            "message=permission denied|requester.user=eve|requester.address=10.0.0.7|sqlstate=42501\
             |error=permission denied to end session {id} or its statement"
        );
        assert_said(
            id,
            &[
                &format!("level=WARN safepoint|{denied}|kind=terminate"),
                &format!("level=WARN safepoint|{denied}|kind=cancel"),
            ],
        );
        let refused = "level=INFO safepoint|message=request rejected";
        manager.cancel(id, Cancel::running(admin("root"))).unwrap_err();
        manager.terminate(Target::Pair(at, id), kill_now()).unwrap_err();
        assert_said(
            id,
            &[
                &format!(
                    "{refused}|kind=cancel|requester.user=root|sqlstate=55000\
                     |error=session {id} runs no statement"
                ),
                &format!(
                    "{refused}|thread={at}|kind=terminate|requester.user=root|sqlstate=22023\
                     |error=thread {at} and session {id} don't belong together"
                ),
            ],
        );
        let by = admin("root").with_session(id);
        let request = Terminate::new(TerminateMode::Immediate, by);
        manager.terminate(Target::AttachedTo(at), request).unwrap_err();
        let said: Vec<_> =
            Collector::of_all().take("thread", at.get()).into_iter().map(shown).collect();
        let fields = format!(
            "error=thread {at} runs no session now|kind=terminate|level=INFO safepoint\
             |message=request rejected|requester.session={id}|requester.user=root|sqlstate=42704\
             |thread={at}"
        );
        assert_eq!(said, [fields]);
    });
}

/// A requester that ends an idle session emits these events in this order.
#[test]
fn the_end_of_an_idle_session() {
    supervised(|| {
        Collector::of_all();
        for model in MODELS {
            let manager = SessionManager::new(model);
            let session = opened(&manager);
            let id = session.id();
            let parked = ParkedSession::leave(session);
            manager.terminate(id, kill_now()).unwrap();
            assert_eq!(locked(&parked.interrupts).len(), 1);
            let own_thread = model == ThreadModel::PerSession;
            let thread = if own_thread { format!("|thread={id}") } else { String::new() };
            let said: Vec<_> = Collector::of_all()
                .take("session", id.get())
                .into_iter()
                .map(|event| (event["message"].clone(), event.get("thread").cloned()))
                .collect();
            assert_eq!(said[0].0, "interrupt requested");
            assert!(said[0].1.is_none() || !thread.is_empty());
            assert_eq!((&*said[1].0, &*said[2].0), ("interrupt observed", "session ended"));
            assert_eq!(said.len(), 3);
        }
    });
}

#[test]
fn expired_timeouts() {
    supervised(|| {
        Collector::of_all();
        each_model(|Fixture { manager, session, id, .. }| {
            Collector::of_all().take("session", id.get());
            let limits = Timeouts::new().with_idle(Duration::ZERO);
            session.set_timeouts(limits).unwrap();
            let hit = |said: &mut Vec<Fields>| {
                said.extend(Collector::of_all().take("session", id.get()));
                !said.is_empty()
            };
            let mut said = Vec::new();
            wait_until("the limit is hit", || hit(&mut said));
            let said: Vec<_> = said.into_iter().map(shown).collect();
            let expected = format!(
                "level=INFO safepoint|message=timeout expired|reason=IdleSessionTimeout|session={id}"
            );
            assert_eq!(said, [expected]);
            drop((session, manager));
        });
    });
}

/// With the locations and names from the diagnostics.
#[test]
fn a_stall_is_a_warning_with_its_location() {
    supervised(|| {
        Collector::of_all();
        for says in [false, true] {
            each_model(|Fixture { manager, mut session, thread, id }| {
                Collector::of_all().take("session", id.get());
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let statement =
                    if says { statement.with_text("select endless") } else { statement };
                let at = statement.thread_id();
                let mut last = String::new();
                if says {
                    assert!(matches!(manager.probe(id), Some(ProbeResult::Requested { .. })));
                    let (checked, line) = (statement.check(), line!());
                    checked.unwrap();
                    last = format!("{}:{line}:", file!());
                }
                let _held = says.then(|| statement.hold_off("commit"));
                let stall = || {
                    let (report, reports) = mpsc::channel();
                    let watchdog = Watchdog::start(&manager, Duration::ZERO, move |stalled| {
                        let _ = report.send(stalled.session);
                    });
                    assert_eq!(
                        reports.recv_timeout(TEST_TIMEOUT),
                        Ok(id),
                        "the watchdog reports it"
                    );
                    drop(watchdog);
                };
                if says {
                    statement.block_in_place(stall)
                } else {
                    stall()
                }
                let mut said = Collector::of_all().take("session", id.get());
                let [stalled] = &mut *said else { panic!("{said:?}") };
                for (field, start) in [
                    ("last_safe_point", &*last),
                    ("hold_off", &format!("commit at {}:", file!())),
                    ("wait", &format!("{}:", file!())),
                ] {
                    let found = stalled.remove(field).unwrap_or_default();
                    assert_eq!(found.is_empty(), !says, "{field}: {found}");
                    assert!(!says || found.starts_with(start), "{field}: {found}");
                }
                let text = if says { "select endless" } else { "" };
                let expected = format!(
                    "level=WARN safepoint|message=session stalled|seconds=some|session={id}\
                     |text={text}|thread={at}"
                );
                assert_eq!(shown(std::mem::take(stalled)), expected);
            });
        }
    });
}

#[test]
fn a_stall_of_a_helper_names_the_helper() {
    supervised(|| {
        Collector::of_all();
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let job = statement.handle("sort").wrap_fn(|| {
                let (report, reports) = mpsc::channel();
                let watchdog = Watchdog::start(&manager, Duration::ZERO, move |stalled| {
                    let _ = report.send(stalled.helper);
                });
                while reports.recv_timeout(TEST_TIMEOUT).unwrap().is_none() {}
                drop(watchdog);
            });
            scope(|s| s.spawn(job).join().unwrap().unwrap());
            let said = Collector::of_all().take("session", id.get());
            let helpers: Vec<_> = said.iter().filter_map(|event| event.get("helper")).collect();
            assert!(!helpers.is_empty(), "{said:?}");
            let start = format!("sort of {}:", file!());
            assert!(helpers.iter().all(|helper| helper.starts_with(&start)), "{helpers:?}");
        });
    });
}

#[test]
fn an_overdue_request_is_a_warning() {
    supervised(|| {
        Collector::of_all();
        each_model(|Fixture { manager, session, id, .. }| {
            manager.terminate(id, kill_now()).unwrap();
            let thread = session.own_thread().map(|_| format!("|thread={id}")).unwrap_or_default();
            Collector::of_all().take("session", id.get());
            let (report, reports) = mpsc::channel();
            let watchdog = Watchdog::builder()
                .overdue(Duration::ZERO, move |overdue| report.send(overdue.session).unwrap())
                .start(&manager);
            assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok(id));
            drop(watchdog.unwrap());
            assert_said(
                id,
                &[&format!(
                    "level=WARN safepoint|message=interrupt overdue|kind=terminate|mode=Immediate\
                     |reason=AdministratorCommand|requester.user=root|comment=because\
                     |pending=its holder has not ended it yet|state=idle|seconds=some|text={thread}"
                )],
            );
        });
    });
}
