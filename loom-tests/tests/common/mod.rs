//! What the models share: explore a scene, and see that its broken twin is refuted.

#![allow(dead_code, unreachable_pub)]

use loom::sync::{Arc, Mutex};
use safepoint_under_loom::{
    Author, Ended, HowEnded, Receipt, Session, SessionId, SessionManager, Terminate, Twin, When,
};
use std::cell::Cell;
use std::process::Command;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// How many times a model may preempt a thread where it can't afford to try everything.
const PREEMPTIONS: usize = 3;

/// Which twin a child process is to run.
const TWIN: &str = "SAFEPOINT_TWIN";

/// Explores the scene of the test called `test`, all of it or up to [`PREEMPTIONS`], and then
/// with each of the mistakes built in, which have to show.
///
/// A twin runs in a process of its own: a model that fails leaves threads that can't be
/// unwound.
pub fn model(test: &str, bounded: bool, scene: fn(), twins: &[Twin]) {
    if let Ok(wanted) = std::env::var(TWIN) {
        let twin = twins.iter().find(|twin| format!("{twin:?}") == wanted);
        report_the_way();
        return twin.expect("a twin of this test").during(|| explore(true, scene));
    }
    explore(bounded, scene);
    let ways = WAYS.get();
    println!("{test}: holds in {ways} ways{}", if bounded { " (bounded)" } else { "" });
    for twin in twins {
        let child = Command::new(std::env::current_exe().expect("the test's own program"))
            .args(["--exact", test, "--nocapture"])
            .env(TWIN, format!("{twin:?}"))
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("the test's own program runs");
        let said = String::from_utf8_lossy(&child.stderr);
        let way = said.lines().find_map(|line| line.strip_prefix(FAILED));
        match way {
            Some(way) if !child.status.success() => println!("{test}: {twin:?} refuted, way {way}"),
            _ => panic!("{test}: {twin:?} passes, so the model proves nothing\n{said}"),
        }
    }
}

std::thread_local! {
    /// How many ways have been begun. A model runs on the thread of its test.
    static WAYS: Cell<usize> = const { Cell::new(0) };
}

/// What a process says when a scene fails.
const FAILED: &str = "failed, way ";

fn report_the_way() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // loom's coroutines end by a panic of their own, which carries no text.
        let payload = info.payload();
        if payload.is::<&str>() || payload.is::<String>() {
            eprintln!("{FAILED}{}", WAYS.get());
            report(info);
        }
    }));
}

fn explore(bounded: bool, scene: fn()) {
    WAYS.set(0);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bounded.then_some(PREEMPTIONS);
    model.check(move || {
        WAYS.set(WAYS.get() + 1);
        scene();
    });
}

pub fn immediate() -> Terminate {
    Terminate::new(When::Immediate, Author::system())
}

pub fn killed(receipt: &Receipt<Ended>) -> bool {
    matches!(receipt.poll(), Some(Ended { how: HowEnded::Killed(_) }))
}

/// Where a session lies while no thread runs it; its killer ends it there. The pool's seat,
/// reduced to what matters.
pub struct Seat {
    pub session: Mutex<Option<Session>>,
    /// How many times the client was told.
    pub told: AtomicUsize,
}

impl Seat {
    pub fn new(session: Session) -> Arc<Seat> {
        let seat = Arc::new(Seat { session: Mutex::new(None), told: AtomicUsize::new(0) });
        session.set_detached_waker(Some(Waker::from(StdArc::new(EndIfDue(seat.clone())))));
        *seat.session.lock().unwrap() = Some(session);
        seat
    }

    pub fn take(&self) -> Option<Session> {
        self.session.lock().unwrap().take()
    }

    pub fn end(&self, session: Session) {
        self.told.fetch_add(1, Ordering::Relaxed);
        session.close();
    }

    pub fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }
}

struct EndIfDue(Arc<Seat>);

impl Wake for EndIfDue {
    fn wake(self: StdArc<Self>) {
        let due = {
            let mut place = self.0.session.lock().unwrap();
            if place.as_ref().is_some_and(|session| session.due().is_err()) {
                place.take()
            } else {
                None
            }
        };
        if let Some(session) = due {
            self.0.end(session);
        }
    }
}

/// Kills by id on a thread of its own; `None` where the session had ended.
pub fn killer(
    manager: &SessionManager,
    id: SessionId,
) -> loom::thread::JoinHandle<Option<Receipt<Ended>>> {
    let manager = manager.clone();
    loom::thread::spawn(move || manager.terminate(id, immediate()).ok())
}
