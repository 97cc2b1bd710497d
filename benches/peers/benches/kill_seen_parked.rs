//! From a kill to the return of a victim that was parked.
//! `cargo bench --manifest-path benches/peers/Cargo.toml --bench kill_seen_parked`

use crossbeam_utils::sync::{Parker, Unparker};
use parking_lot::Mutex;
use safepoint::{Requester, SessionId, SessionManager, Terminate, TerminateMode, ThreadModel};
use safepoint_benches::duel::{Contestant, Terms, fight};
use safepoint_benches::registries::about;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A flag, and the standard library's unpark.
#[derive(Default)]
struct Unpark {
    killed: AtomicBool,
    victim: Mutex<Option<Thread>>,
}

impl Contestant for Unpark {
    fn label(&self) -> &'static str {
        "floor: a bare unpark"
    }

    fn suffer(&self, ready: &dyn Fn()) -> Instant {
        self.killed.store(false, Ordering::Relaxed);
        *self.victim.lock() = Some(thread::current());
        ready();
        while !self.killed.load(Ordering::Acquire) {
            thread::park();
        }
        Instant::now()
    }

    fn kill(&self) -> Instant {
        let victim = self.victim.lock().take().expect("a victim");
        let start = Instant::now();
        self.killed.store(true, Ordering::Release);
        victim.unpark();
        start
    }
}

struct Ours {
    manager: SessionManager,
    victim: Mutex<Option<SessionId>>,
}

impl Contestant for Ours {
    fn label(&self) -> &'static str {
        "ours: terminate, park"
    }

    fn suffer(&self, ready: &dyn Fn()) -> Instant {
        let mut session = self.manager.open(about()).expect("room");
        let thread = session.own_thread().expect("no pool");
        let mut attached = session.attach(&thread).expect("its own thread");
        let statement = attached.begin().expect("nothing is due");
        *self.victim.lock() = Some(statement.id());
        ready();
        while statement.park().is_ok() {}
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
        "peer: CancellationToken and pollster::block_on"
    }

    fn suffer(&self, ready: &dyn Fn()) -> Instant {
        let token = CancellationToken::new();
        *self.0.lock() = token.clone();
        ready();
        pollster::block_on(token.cancelled());
        Instant::now()
    }

    fn kill(&self) -> Instant {
        let token = self.0.lock().clone();
        let start = Instant::now();
        token.cancel();
        start
    }
}

/// The parker that this library uses.
#[derive(Default)]
struct Crossbeam(Mutex<Option<Unparker>>);

impl Contestant for Crossbeam {
    fn label(&self) -> &'static str {
        "peer: crossbeam's Parker, bare"
    }

    fn suffer(&self, ready: &dyn Fn()) -> Instant {
        let parker = Parker::new();
        *self.0.lock() = Some(parker.unparker().clone());
        ready();
        parker.park();
        Instant::now()
    }

    fn kill(&self) -> Instant {
        let unparker = self.0.lock().take().expect("a victim");
        let start = Instant::now();
        unparker.unpark();
        start
    }
}

fn main() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let ours = Ours { manager, victim: Mutex::default() };
    // Time for the target to park, and for its processor to become idle.
    let terms = Terms { lead: Duration::from_micros(60), rounds: 200, stretches: 30 };
    let (floor, token, crossbeam) = (Unpark::default(), Token::default(), Crossbeam::default());
    fight("kill_seen_parked", &[&floor, &ours, &token, &crossbeam], terms);
}
