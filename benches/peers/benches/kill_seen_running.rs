//! From a kill to a safe point that sees it, in a victim that runs on another processor.
//! `cargo bench --manifest-path benches/peers/Cargo.toml --bench kill_seen_running`

use parking_lot::Mutex;
use safepoint::{Requester, SessionId, SessionManager, Terminate, TerminateMode, ThreadModel};
use safepoint_benches::duel::{Contestant, Terms, fight};
use safepoint_benches::registries::about;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The target's work, the same for all contestants.
#[inline(always)]
fn run_until(stop: impl Fn() -> bool) {
    for round in 0_u64.. {
        if stop() {
            return;
        }
        black_box(round);
    }
}

/// A flag between two threads.
#[derive(Default)]
struct Flag(AtomicBool);

impl Contestant for Flag {
    fn label(&self) -> &'static str {
        "floor: a bare flag"
    }

    fn suffer(&self, ready: &dyn Fn()) -> Instant {
        self.0.store(false, Ordering::Release);
        ready();
        run_until(|| self.0.load(Ordering::Relaxed));
        Instant::now()
    }

    fn kill(&self) -> Instant {
        let start = Instant::now();
        self.0.store(true, Ordering::Release);
        start
    }
}

struct Ours {
    manager: SessionManager,
    victim: Mutex<Option<SessionId>>,
}

impl Contestant for Ours {
    fn label(&self) -> &'static str {
        "ours: terminate, check"
    }

    fn suffer(&self, ready: &dyn Fn()) -> Instant {
        let mut session = self.manager.open(about()).expect("room");
        let thread = session.own_thread().expect("no pool");
        let mut attached = session.attach(&thread).expect("its own thread");
        let statement = attached.begin().expect("nothing is due");
        *self.victim.lock() = Some(statement.id());
        ready();
        run_until(|| statement.check().is_err());
        Instant::now()
    }

    fn kill(&self) -> Instant {
        let victim = self.victim.lock().take().expect("a victim");
        let request = Terminate::new(TerminateMode::Immediate, Requester::system());
        let start = Instant::now();
        let receipt = self.manager.terminate(victim, request);
        drop(receipt.expect("it runs"));
        start
    }
}

#[derive(Default)]
struct Token(Mutex<CancellationToken>);

impl Contestant for Token {
    fn label(&self) -> &'static str {
        "peer: CancellationToken"
    }

    fn suffer(&self, ready: &dyn Fn()) -> Instant {
        let token = CancellationToken::new();
        *self.0.lock() = token.clone();
        ready();
        run_until(|| token.is_cancelled());
        Instant::now()
    }

    fn kill(&self) -> Instant {
        let token = self.0.lock().clone();
        let start = Instant::now();
        token.cancel();
        start
    }
}

fn main() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let ours = Ours { manager, victim: Mutex::default() };
    let terms = Terms { lead: Duration::from_micros(2), rounds: 5000, stretches: 20 };
    fight("kill_seen_running", &[&Flag::default(), &ours, &Token::default()], terms);
}
