//! What a look at a session shows: since when, how much of a text, and of several stretches of code
//! which; and that none of it claims more than is known.

mod common;

use common::{LONG, Stage, admin, each_model, eventually, kill, kill_now, locked, supervised};
use safepoint::{
    Author, Cancel, Description, EndedBy, Probe, Progress, STATEMENT_TEXT_BYTES, SessionManager,
    ThreadModel, When, WhyNotYet, session_local,
};
use std::cell::RefCell;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

/// Takes the time before and after something is done.
fn timed<T>(act: impl FnOnce() -> T) -> (T, std::ops::RangeInclusive<SystemTime>) {
    let before = SystemTime::now();
    let result = act();
    // What is shown is cut to microseconds.
    let before = before.checked_sub(Duration::from_micros(1)).unwrap();
    (result, before..=SystemTime::now())
}

/// So that what comes next can be told apart by its time.
fn later() {
    let now = SystemTime::now();
    eventually("the clock goes on", || {
        SystemTime::now().duration_since(now).is_ok_and(|past| past > Duration::from_millis(1))
    });
}

#[test]
fn when_a_session_was_opened() {
    supervised(|| {
        let (stage, range) = timed(|| Stage::new(common::MODELS[0]));
        let row = stage.manager.session(stage.id).unwrap();
        // That clock ticks a few hundred times a second.
        assert!(*range.start() <= row.opened + Duration::from_millis(100));
        assert!(row.opened <= *range.end());
        assert_eq!(row.changed, row.opened);
    });
}

#[test]
fn when_a_thread_was_registered() {
    supervised(|| {
        let manager = SessionManager::new(ThreadModel::Pool);
        let (worker, range) = timed(|| manager.register_worker("worker").unwrap());
        let (background, later) = timed(|| manager.register_background("writer").unwrap());
        let rows = manager.threads();
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.thread, &*row.name, row.runs_sessions, row.session))
            .collect();
        let expected =
            [(worker.id(), "worker", true, None), (background.id(), "writer", false, None)];
        assert_eq!(shown, expected);
        assert!(range.contains(&rows[0].since) && later.contains(&rows[1].since));
    });
}

#[test]
fn when_a_transaction_began() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let start = || manager.session(id).unwrap().transaction_start;
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(start(), None);
            let ((), first) = timed(|| attached.set_transaction(true));
            let began = start().unwrap();
            assert!(first.contains(&began));
            later();
            // Said once more, and statements within it.
            attached.set_transaction(true);
            attached.begin().unwrap().with_text("select 1").finish().unwrap();
            assert_eq!(start(), Some(began));
            attached.set_transaction(false);
            assert_eq!(start(), None);
            let ((), second) = timed(|| safepoint::set_transaction(true));
            assert!(second.contains(&start().unwrap()));
            attached.detach().unwrap();
            assert!(second.contains(&start().unwrap()), "idle in it");
        });
    });
}

#[test]
fn when_a_statement_began_and_what_it_was() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let row = || manager.session(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let (statement, range) = timed(|| attached.begin().unwrap().with_text("select 1"));
            let began = row().statement_start.unwrap();
            assert!(range.contains(&began));
            assert_eq!((row().changed, &*row().text), (began, "select 1"));
            later();
            let (finished, range) = timed(|| statement.finish());
            finished.unwrap();
            let ended = row().changed;
            assert!(range.contains(&ended));
            assert_eq!((row().statement_start, &*row().text), (Some(began), "select 1"));
            later();
            // One that says nothing of itself is not taken for the one before it.
            let statement = attached.begin().unwrap();
            assert_eq!((row().statement_start, &*row().text), (None, ""));
            statement.finish().unwrap();
            assert_eq!((row().changed, &*row().text), (ended, "select 1"));
            assert_eq!(row().statement_start, Some(began));
            later();
            // The next has its own.
            let statement = attached.begin().unwrap().with_text("");
            assert!(row().statement_start.unwrap() > began && row().text.is_empty());
            drop(statement);
            assert!(row().changed > ended);
        });
    });
}

#[test]
fn how_much_of_a_text() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            assert_eq!(STATEMENT_TEXT_BYTES, 1024);
            for (ascii, wide, kept) in [
                (0, "", 0),
                (1023, "", 1023),
                (1024, "", 1024),
                (1025, "", 1024),
                (100_000, "", 1024),
                // No character is cut in two.
                (1022, "\u{e9}", 1024),
                (1023, "\u{e9}", 1023),
                (1020, "\u{1f600}", 1024),
                (1021, "\u{1f600}", 1021),
                (1023, "\u{1f600}", 1023),
            ] {
                let text = "x".repeat(ascii) + wide;
                let _statement = attached.begin().unwrap().with_text(&text);
                assert_eq!(manager.session(id).unwrap().text, text[..kept], "{ascii} and {wide}");
            }
        });
    });
}

#[test]
fn who_it_is() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let all = Description {
                user: "bob".into(),
                admin: true,
                database: "shop".into(),
                application: "psql".into(),
                client: "10.0.0.9".into(),
            };
            session.describe(|about| *about = all.clone());
            assert_eq!(manager.session(id).unwrap().description, all);
            let copy = session.describe(|about| about.clone());
            assert_eq!(copy, all);
            // One field is changed, and the others are not.
            session.describe(|about| about.admin = false);
            let changed = Description { admin: false, ..all };
            assert_eq!(manager.session(id).unwrap().description, changed);
            // As the author of a request it is the same.
            for (admin, client) in [(false, "10.0.0.9"), (true, "10.0.0.9"), (false, "")] {
                session.describe(|about| (about.admin, about.client) = (admin, client.into()));
                let address = Some(client.into()).filter(|_| !client.is_empty());
                let author = Author { session: Some(id), user: Some("bob".into()), admin, address };
                let attached = session.attach(&thread).unwrap();
                assert_eq!(attached.author(), author);
                assert_eq!(safepoint::current_author(), Some(author));
            }
        });
    });
}

/// Where several are in force, the outermost is the one that lasts.
#[test]
fn which_of_several_stretches() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            let receipt = manager.terminate(id, kill_now()).unwrap();
            let row = || manager.session(id).unwrap();
            let at = |location: &Location<'_>| (location.file().to_owned(), location.line());
            let line = line!() + 1;
            let (outer, waits) = attached.blocking(|| {
                let inner = attached.blocking(row).wait.unwrap();
                (inner, row().wait.unwrap())
            });
            assert_eq!(at(outer.at), (file!().into(), line));
            assert_eq!((outer.at, outer.since), (waits.at, waits.since));
            let line = line!() + 1;
            let why = attached.unwinding(|rollback| {
                rollback.progress(Progress { done: 1, total: None });
                attached.unwinding(|inner| {
                    inner.progress(Progress { done: 2, total: Some(3) });
                    receipt.why_not_yet()
                })
            });
            let Some(WhyNotYet::Unwinding { spot, progress }) = why else { panic!("{why:?}") };
            assert_eq!(at(spot.at), (file!().into(), line));
            assert_eq!(progress, Some(Progress { done: 1, total: None }));
            // The inner one is over before the outer one, and takes nothing else along.
            let held = attached.hold_off("outer");
            drop(attached.hold_off("inner"));
            attached.blocking(|| {
                attached.unwinding(|_| ());
                assert_eq!(row().hold_off.unwrap().name, "outer");
                assert!(row().wait.is_some());
            });
            attached.check().unwrap();
            drop(held);
            attached.check().unwrap_err();
        });
    });
}

/// Only a wait that not every interrupt ends is shown as one: a cancel is for a statement.
#[test]
fn which_waits() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let row = || manager.session(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            for by in [EndedBy::AnyInterrupt, EndedBy::TerminateOnly] {
                let between = attached.wait(by, Waker::noop(), row).unwrap();
                assert!(between.waiting && between.wait.is_none());
                let statement = attached.begin().unwrap();
                let (within, line) = (statement.wait(by, Waker::noop(), row), line!());
                let within = within.unwrap();
                assert!(within.waiting);
                let expected = (by == EndedBy::TerminateOnly).then_some(line);
                assert_eq!(within.wait.map(|spot| spot.at.line()), expected);
                drop(statement);
            }
        });
    });
}

#[test]
fn since_when() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let row = || manager.session(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let (held, range) = timed(|| statement.hold_off("commit"));
            assert!(range.contains(&row().hold_off.unwrap().spot.since));
            drop(held);
            let (waits, range) = timed(|| statement.blocking(|| row().wait.unwrap()));
            assert!(range.contains(&waits.since));
            manager.probe(id).unwrap();
            let (checked, range) = timed(|| statement.check());
            checked.unwrap();
            assert!(range.contains(&row().safe_point.unwrap().since));
            let (receipt, range) = timed(|| manager.terminate(id, kill_now()).unwrap());
            later();
            assert!(range.contains(&row().interrupt.unwrap().since));
            let (seen, range) = timed(|| statement.check());
            seen.unwrap_err();
            later();
            // The first safe point that has seen it.
            statement.check().unwrap_err();
            assert!(range.contains(&row().interrupt.unwrap().seen.unwrap().since));
            let Some(WhyNotYet::Unwinding { spot, .. }) = receipt.why_not_yet() else { panic!() };
            assert!(range.contains(&spot.since));
        });
    });
}

/// How long it has passed no safe point: not since a probe that was answered long ago.
#[test]
fn for_how_long_at_least() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let probe = || manager.probe(id).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            assert_eq!(probe(), Probe::Asked { last: None });
            eventually(
                "that was long",
                || matches!(probe(), Probe::Unanswered { since, .. } if since > Duration::from_millis(50)),
            );
            let (checked, line) = (statement.check(), line!());
            checked.unwrap();
            let before = Instant::now();
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let why = |most: Duration| match receipt.why_not_yet() {
                Some(WhyNotYet::NoSafePoint { at_least, last: Some(last) }) => {
                    assert!(at_least <= most, "{at_least:?}");
                    assert_eq!((last.at.file(), last.at.line()), (file!(), line));
                }
                other => panic!("{other:?}"),
            };
            why(LONG);
            let most = || before.elapsed();
            let Some(WhyNotYet::NoSafePoint { at_least, .. }) = receipt.why_not_yet() else {
                panic!()
            };
            assert!(at_least <= most(), "{at_least:?}");
            // A probe that is older than the request counts, where nobody has answered it.
            drop(statement);
            let statement = attached.begin().unwrap();
            let Probe::Asked { last: Some(last) } = probe() else { panic!() };
            assert_eq!(last.at.line(), line);
            let long = Duration::from_millis(30);
            eventually(
                "that was long",
                || matches!(probe(), Probe::Unanswered { since, .. } if since > long),
            );
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let Some(WhyNotYet::NoSafePoint { at_least, .. }) = receipt.why_not_yet() else {
                panic!()
            };
            assert!(at_least > long);
            drop(statement);
        });
    });
}

/// A safe point is noted where it answers a probe, and not where it reports an interrupt.
#[test]
fn which_safe_point() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let last = || manager.session(id).unwrap().safe_point.map(|spot| spot.at.line());
            let attached = session.attach(&thread).unwrap();
            attached.check().unwrap();
            assert_eq!(last(), None, "nobody has asked");
            manager.probe(id).unwrap();
            let (checked, line) = (attached.check(), line!());
            checked.unwrap();
            attached.check().unwrap();
            assert_eq!(last(), Some(line));
            manager.terminate(id, kill_now()).unwrap();
            attached.check().unwrap_err();
            assert_eq!(last(), Some(line));
        });
    });
}

/// The reasons that are told apart by what else the session is doing.
#[test]
fn why_not_yet_in_each_state() {
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let number = session.queue().unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let named = Cancel::statement(number, admin("root"));
            let cancelled = manager.cancel(id, named).unwrap();
            assert_eq!(cancelled.why_not_yet(), Some(WhyNotYet::Queued), "it has not begun");
            assert!(!attached.begin().unwrap_err().is_terminate());
            assert_eq!(cancelled.why_not_yet(), None);
            drop(attached);
            session.queue().unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let terminated = manager.terminate(id, kill(When::AfterStatement)).unwrap();
            let why = terminated.why_not_yet();
            assert!(
                matches!(why, Some(WhyNotYet::NoSafePoint { .. })),
                "it has its thread: {why:?}"
            );
            let held = safepoint::hold_off("so that it begins");
            let statement = attached.begin().unwrap();
            drop(held);
            let cancelled = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            let both = || (cancelled.why_not_yet(), terminated.why_not_yet());
            let (cancel, terminate) = both();
            assert!(matches!(cancel, Some(WhyNotYet::NoSafePoint { .. })), "{cancel:?}");
            assert_eq!(terminate, Some(WhyNotYet::NotDue { when: When::AfterStatement }));
            // A wait within code that blocks is ended by both; one that only a termination ends
            // is not ended by the cancel.
            manager.terminate(id, kill_now()).unwrap();
            let wait = |by| {
                let mut found = None;
                statement.blocking(|| {
                    statement.wait(by, Waker::noop(), || found = Some(both())).unwrap_err()
                });
                found
            };
            assert_eq!(wait(EndedBy::AnyInterrupt), None, "it does not even begin");
            drop(statement);
        });
        for by in [EndedBy::AnyInterrupt, EndedBy::TerminateOnly] {
            each_model(|Stage { manager, mut session, thread, id }| {
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let mut found = None;
                statement
                    .blocking(|| {
                        statement.wait(by, Waker::noop(), || {
                            let cancelled =
                                manager.cancel(id, Cancel::running(admin("root"))).unwrap();
                            let terminated = manager.terminate(id, kill_now()).unwrap();
                            found = Some((cancelled.why_not_yet(), terminated.why_not_yet()));
                        })
                    })
                    .ok();
                let (cancel, terminate) = found.unwrap();
                let waits = matches!(cancel, Some(WhyNotYet::Waiting(_)));
                assert_eq!(waits, by == EndedBy::TerminateOnly, "{cancel:?}");
                assert!(matches!(terminate, Some(WhyNotYet::NoSafePoint { .. })), "{terminate:?}");
                drop(statement);
            });
        }
    });
}

/// It has no transaction any more that it may finish.
#[test]
fn why_not_yet_as_it_ends() {
    type Ask = Mutex<Option<Box<dyn Fn() + Send>>>;
    struct Asks(Arc<Ask>);
    impl Drop for Asks {
        fn drop(&mut self) {
            if let Some(ask) = locked(&self.0).take() {
                ask();
            }
        }
    }
    session_local! {
        static ASKS: RefCell<Option<Asks>> = RefCell::new(None);
    }
    supervised(|| {
        each_model(|Stage { manager, mut session, thread, id }| {
            let attached = session.attach(&thread).unwrap();
            attached.set_transaction(true);
            let receipt = Arc::new(manager.terminate(id, kill(When::AfterTransaction)).unwrap());
            let when = When::AfterTransaction;
            assert_eq!(receipt.why_not_yet(), Some(WhyNotYet::NotDue { when }));
            let ask = Arc::<Ask>::default();
            ASKS.with_borrow_mut(|asks| *asks = Some(Asks(ask.clone())));
            let why = Arc::new(Mutex::new(None));
            let (asked, answer) = (receipt.clone(), why.clone());
            *locked(&ask) = Some(Box::new(move || *locked(&answer) = Some(asked.why_not_yet())));
            attached.detach().unwrap();
            session.close();
            assert_eq!(*locked(&why), Some(Some(WhyNotYet::Detached)));
            assert_eq!(receipt.why_not_yet(), None);
        });
    });
}

/// A session that no thread runs has its own thread's id where each has one, and none in a pool: in the
/// list as in the look at one.
#[test]
fn the_thread_of_a_session_that_nobody_runs() {
    supervised(|| {
        each_model(|Stage { manager, session, id, .. }| {
            let own = session.own_thread().map(|thread| thread.id());
            assert_eq!(own.is_some(), manager.model() == ThreadModel::PerSession);
            assert_eq!(manager.session(id).unwrap().thread, own);
            let listed: Vec<_> = manager.sessions().map(|row| row.thread).collect();
            assert_eq!(listed, [own]);
        });
    });
}
