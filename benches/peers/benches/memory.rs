//! The memory of an idle session: the bytes that were allocated for it and the owner's handle,
//! without strings. Also the memory of the whole process with 1,000,000 sessions. Each registry is
//! measured in a separate process. `cargo bench --manifest-path benches/peers/Cargo.toml --bench memory`

use safepoint_benches::figures::{self, Figure};
use safepoint_benches::registries::{BareSlab, Dash, Ours, Registry, TokensById, about};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::fs::read_to_string;
use std::process::Command;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SESSIONS: usize = 1_000_000;
const EACH: &str = "bytes each";
const WHOLE: &str = "whole process, 1,000,000";
/// The variable with the registry that the process measures.
const WHOSE: &str = "SAFEPOINT_BENCH_WHOSE";

/// Resident memory in bytes.
fn resident() -> f64 {
    let status = read_to_string("/proc/self/status").expect("Linux's /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    let kib = line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
    kib.expect("a number") * 1024.0
}

fn measure<R: Registry>() -> [(&'static str, f64); 2] {
    let _shared = about();
    let registry = R::default();
    // The holder's handles are counted with the rest.
    let region = Region::new(ALLOCATOR);
    let mut sessions: Vec<R::Session> = Vec::with_capacity(SESSIONS);
    sessions.extend((0..SESSIONS).map(|_| registry.open()));
    let now = region.change();
    // A reallocation counts in both sums, with the bytes that it adds.
    let kept = now.bytes_allocated as f64 - now.bytes_deallocated as f64;
    let figures = [(EACH, kept / SESSIONS as f64), (WHOLE, resident())];
    drop(sessions);
    figures
}

fn in_a_process<R: Registry>() -> Vec<Figure> {
    let program = std::env::current_exe().expect("its path");
    let out = Command::new(program).env(WHOSE, R::LABEL).output().expect("it starts");
    let said = String::from_utf8(out.stdout).expect("text");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let figure = |line: &str| {
        let (at, value) = line.split_once('=')?;
        Figure::new(R::LABEL, at, value.parse().ok()?)
    };
    let found: Vec<Figure> = said.lines().filter_map(figure).collect();
    assert_eq!(found.len(), 2, "{said}");
    found
}

fn asked<R: Registry>(whose: &str) {
    if whose == R::LABEL {
        for (at, value) in measure::<R>() {
            println!("{at}={value}");
        }
    }
}

fn main() {
    if let Ok(whose) = std::env::var(WHOSE) {
        asked::<Ours>(&whose);
        asked::<BareSlab>(&whose);
        asked::<Dash>(&whose);
        asked::<TokensById>(&whose);
        return;
    }
    let mut all = in_a_process::<Ours>();
    all.extend(in_a_process::<TokensById>());
    all.extend(in_a_process::<Dash>());
    all.extend(in_a_process::<BareSlab>());
    #[cfg(target_os = "linux")]
    all.extend(Figure::new("ours: a seat in a pool, strings included", EACH, in_a_pool()));
    figures::save("memory", &all);
}

/// The library's part of a pool's connection, without its socket.
#[cfg(target_os = "linux")]
fn in_a_pool() -> f64 {
    use safepoint::pool::{Action, CloseReason, Connection, PoolBuilder};
    use safepoint::{Attached, ClientInfo, Interrupt, Session, SessionManager, ThreadModel};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;

    /// Fewer than the descriptors that a process has by default.
    const CLIENTS: usize = 400;

    struct Silent(UnixStream);

    impl AsFd for Silent {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Connection for Silent {
        fn on_ready(&mut self, _: &mut Attached<'_>) -> Result<Action, Interrupt> {
            Ok(Action::WaitReadable)
        }

        fn on_close(&mut self, _: &Session, _: CloseReason) {}
    }

    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = PoolBuilder::new(4).start(manager.clone()).expect("a pool");
    let mut peers = Vec::with_capacity(CLIENTS);
    let region = Region::new(ALLOCATOR);
    for _ in 0..CLIENTS {
        let (ours, theirs) = UnixStream::pair().expect("descriptors");
        let session = manager.open(ClientInfo::default()).expect("room");
        pool.serve(session, Silent(ours)).expect("a seat");
        peers.push(theirs);
    }
    let now = region.change();
    (now.bytes_allocated as f64 - now.bytes_deallocated as f64) / CLIENTS as f64
}
