//! What `tracing` adds: each event by its level, its message and its fields, and no others.

use crate::common::{
    Desk, LONG, MODELS, Stage, admin, each_model, eventually, kill, kill_now, locked, of,
    supervised, thread_for, user,
};
use safepoint::{
    Author, Cancel, Description, EndedBy, Limits, Probe, SessionId, SessionManager, Target,
    Terminate, ThreadModel, Watchdog, When,
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
    /// Hears of all threads, the timer's and the watchdog's among them, for all of these tests.
    fn of_all() -> &'static Collector {
        static ALL: OnceLock<Collector> = OnceLock::new();
        ALL.get_or_init(|| {
            let all = Collector::default();
            tracing::subscriber::set_global_default(all.clone()).unwrap();
            all
        })
    }

    /// Takes what has been said of a session, or of a thread; of how long it took, only that it was
    /// said.
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

/// The one event that was said, field by field: `name=value`, separated by `|`.
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
    let session = manager
        .open(Description { client: "10.0.0.9".into(), database: "shop".into(), ..of("ann") })
        .unwrap();
    assert_said(
        session.id(),
        &["level=DEBUG safepoint|message=session opened|user=ann|address=10.0.0.9"],
    );
    session
}

#[test]
fn requests_and_what_they_come_to() {
    supervised(|| {
        Collector::of_all();
        for model in MODELS {
            let manager = SessionManager::new(model);
            let mut session = opened(&manager);
            let (id, thread) = (session.id(), thread_for(&manager, &session));
            let mut attached = session.attach(&thread).unwrap();
            let at = attached.thread();
            let author =
                Author { session: Some(id), address: Some("10.0.0.7".into()), ..admin("root") };
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(author.clone()).text("too slow")).unwrap();
            let by = format!("author.session={id}|author.user=root|author.address=10.0.0.7");
            assert_said(
                id,
                &[&format!(
                    "level=INFO safepoint|message=end requested|kind=cancel|reason=UserRequest|{by}\
                     |text=too slow|found=running|statement=1|thread={at}"
                )],
            );
            statement.check().unwrap_err();
            let seen = "level=DEBUG safepoint|message=request seen|seconds=some";
            assert_said(id, &[&format!("{seen}|kind=cancel|reason=UserRequest")]);
            drop(statement);
            let over =
                "level=INFO safepoint|message=statement over|reason=UserRequest|seconds=some";
            assert_said(id, &[&format!("{over}|cancelled=true")]);
            // One that is over before it has been seen; nobody in particular has asked.
            let statement = attached.begin().unwrap();
            manager.cancel(id, Cancel::running(Author::system())).unwrap();
            drop(statement);
            let requested = "level=INFO safepoint|message=end requested";
            assert_said(
                id,
                &[
                    &format!(
                        "{requested}|kind=cancel|reason=UserRequest|found=running|statement=2\
                         |thread={at}"
                    ),
                    &format!("{over}|cancelled=false"),
                ],
            );
            // A termination of each strength, in each state.
            attached.set_transaction(true);
            manager.terminate(id, Terminate::new(When::AfterTransaction, author)).unwrap();
            let asked = format!("{requested}|kind=terminate|reason=AdministratorCommand");
            assert_said(
                id,
                &[&format!(
                    "{asked}|when=AfterTransaction|{by}|found=idle in transaction|thread={at}"
                )],
            );
            let statement = attached.begin().unwrap();
            manager.terminate(id, kill(When::AfterStatement)).unwrap();
            let by = "author.user=root|text=because";
            assert_said(
                id,
                &[&format!(
                    "{asked}|when=AfterStatement|{by}|found=running|statement=3|thread={at}"
                )],
            );
            let wait = || manager.terminate(id, kill_now()).map(drop);
            statement.wait(EndedBy::AnyInterrupt, Waker::noop(), wait).unwrap().unwrap();
            assert_said(
                id,
                &[&format!("{asked}|when=Immediate|{by}|found=waiting|statement=3|thread={at}")],
            );
            statement.check().unwrap_err();
            assert_said(id, &[&format!("{seen}|kind=terminate|reason=AdministratorCommand")]);
            drop(statement);
            drop(attached);
            session.close();
            let ended = "level=INFO safepoint|message=session ended";
            assert_said(
                id,
                &[&format!("{ended}|how=killed|reason=AdministratorCommand|seconds=some")],
            );
        }
    });
}

#[test]
fn sessions_that_nobody_ends() {
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
            session.due().unwrap_err();
            let seen = "level=DEBUG safepoint|message=request seen|seconds=some";
            assert_said(id, &[&format!("{seen}|kind=terminate|reason=InternalError")]);
            session.close();
            assert_said(id, &[&format!("{ended}|how=panicked")]);
        }
    });
}

#[test]
fn refusals_with_what_they_named() {
    supervised(|| {
        Collector::of_all();
        let manager = SessionManager::new(ThreadModel::Pool);
        let session = opened(&manager);
        let id = session.id();
        let worker = manager.register_worker("worker").unwrap();
        let at = worker.id();
        let eve = Author { address: Some("10.0.0.7".into()), ..user("eve") };
        manager.terminate(id, Terminate::new(When::Immediate, eve.clone())).unwrap_err();
        manager.cancel(id, Cancel::running(eve)).unwrap_err();
        let denied = format!(
            "message=permission refused|author.user=eve|author.address=10.0.0.7|sqlstate=42501\
             |refused=permission denied to end session {id} or its statement"
        );
        assert_said(
            id,
            &[
                &format!("level=WARN safepoint|{denied}|kind=terminate"),
                &format!("level=WARN safepoint|{denied}|kind=cancel"),
            ],
        );
        let refused = "level=INFO safepoint|message=request refused";
        manager.cancel(id, Cancel::running(admin("root"))).unwrap_err();
        manager.terminate(Target::Pair(at, id), kill_now()).unwrap_err();
        assert_said(
            id,
            &[
                &format!(
                    "{refused}|kind=cancel|author.user=root|sqlstate=55000\
                     |refused=session {id} runs no statement"
                ),
                &format!(
                    "{refused}|thread={at}|kind=terminate|author.user=root|sqlstate=22023\
                     |refused=thread {at} and session {id} don't belong together"
                ),
            ],
        );
        let by = Author { session: Some(id), ..admin("root") };
        let request = Terminate::new(When::Immediate, by);
        manager.terminate(Target::AttachedTo(at), request).unwrap_err();
        let said: Vec<_> =
            Collector::of_all().take("thread", at.get()).into_iter().map(shown).collect();
        let fields = format!(
            "author.session={id}|author.user=root|kind=terminate|level=INFO safepoint\
             |message=request refused|refused=thread {at} runs no session now|sqlstate=42704\
             |thread={at}"
        );
        assert_eq!(said, [fields]);
    });
}

/// A killer that ends an idle session says so as well, in this order.
#[test]
fn an_idle_session_is_seen_to_end() {
    supervised(|| {
        Collector::of_all();
        for model in MODELS {
            let manager = SessionManager::new(model);
            let session = opened(&manager);
            let id = session.id();
            let desk = Desk::leave(session);
            manager.terminate(id, kill_now()).unwrap();
            assert_eq!(locked(&desk.told).len(), 1);
            let thread = match model {
                ThreadModel::PerSession => format!("|thread={id}"),
                ThreadModel::Pool => String::new(),
            };
            let said: Vec<_> = Collector::of_all()
                .take("session", id.get())
                .into_iter()
                .map(|event| (event["message"].clone(), event.get("thread").cloned()))
                .collect();
            assert_eq!(said[0].0, "end requested");
            assert!(said[0].1.is_none() || !thread.is_empty());
            assert_eq!((&*said[1].0, &*said[2].0), ("request seen", "session ended"));
            assert_eq!(said.len(), 3);
        }
    });
}

#[test]
fn limits_that_run_out() {
    supervised(|| {
        Collector::of_all();
        each_model(|Stage { manager, session, id, .. }| {
            Collector::of_all().take("session", id.get());
            let limits = Limits { idle: Some(Duration::ZERO), ..Limits::default() };
            session.set_limits(limits).unwrap();
            let hit = |said: &mut Vec<Fields>| {
                said.extend(Collector::of_all().take("session", id.get()));
                !said.is_empty()
            };
            let mut said = Vec::new();
            eventually("the limit is hit", || hit(&mut said));
            let said: Vec<_> = said.into_iter().map(shown).collect();
            let expected = format!(
                "level=INFO safepoint|message=limit hit|reason=IdleSessionTimeout|session={id}"
            );
            assert_eq!(said, [expected]);
            drop((session, manager));
        });
    });
}

/// With where it was and what it said of itself, where it did.
#[test]
fn a_stall_is_a_warning_with_its_place() {
    supervised(|| {
        Collector::of_all();
        for says in [false, true] {
            each_model(|Stage { manager, mut session, thread, id }| {
                Collector::of_all().take("session", id.get());
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let statement =
                    if says { statement.with_text("select endless") } else { statement };
                let at = statement.thread();
                let mut last = String::new();
                if says {
                    assert!(matches!(manager.probe(id), Some(Probe::Asked { .. })));
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
                    assert_eq!(reports.recv_timeout(LONG), Ok(id), "the watchdog reports it");
                    drop(watchdog);
                };
                if says {
                    statement.blocking(stall)
                } else {
                    stall()
                }
                let mut said = Collector::of_all().take("session", id.get());
                let [stalled] = &mut *said else { panic!("{said:?}") };
                for (field, start) in [
                    ("last", &*last),
                    ("hold_off", &format!("commit at {}:", file!())),
                    ("wait", &format!("{}:", file!())),
                ] {
                    let found = stalled.remove(field).unwrap_or_default();
                    assert_eq!(found.is_empty(), !says, "{field}: {found}");
                    assert!(!says || found.starts_with(start), "{field}: {found}");
                }
                let text = if says { "select endless" } else { "" };
                let expected = format!(
                    "level=WARN safepoint|message=no safe point|seconds=some|session={id}\
                     |text={text}|thread={at}"
                );
                assert_eq!(shown(std::mem::take(stalled)), expected);
            });
        }
    });
}
