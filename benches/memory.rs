//! The library's part of an idle session's memory: what the process has grown by, divided by the
//! number of sessions. `cargo bench --bench memory`

use safepoint::{Description, Session, SessionManager, ThreadModel};
use std::fs::read_to_string;

const SESSIONS: usize = 1_000_000;

/// Resident memory in bytes.
fn resident() -> usize {
    let status = read_to_string("/proc/self/status").expect("Linux's /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    let kib = line.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    kib.expect("a number") * 1024
}

fn main() {
    let about = Description { user: "ann".into(), ..Description::default() };
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut sessions: Vec<Session> = Vec::with_capacity(SESSIONS);
    let before = resident();
    for _ in 0..SESSIONS {
        // The strings are shared; they are not the library's part.
        sessions.push(manager.open(about.clone()).expect("room"));
    }
    let each = (resident() - before) / SESSIONS;
    println!("{SESSIONS} idle sessions: {each} bytes each, strings apart");
    println!("the whole process: {} MiB", resident() >> 20);

    #[cfg(target_os = "linux")]
    in_a_pool();
}

#[cfg(target_os = "linux")]
fn in_a_pool() {
    use safepoint::pool::{Client, Config, End, Next, Pool};
    use safepoint::{Attached, Interrupt};
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

    impl Client for Silent {
        fn ready(&mut self, _: &mut Attached<'_>) -> Result<Next, Interrupt> {
            Ok(Next::Wait)
        }

        fn end(&mut self, _: &Session, _: End) {}
    }

    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = Pool::start(manager.clone(), &Config::new(4)).expect("a pool");
    let mut peers = Vec::with_capacity(CLIENTS);
    let before = resident();
    for _ in 0..CLIENTS {
        let (ours, theirs) = UnixStream::pair().expect("descriptors");
        let session = manager.open(Description::default()).expect("room");
        pool.serve(session, Silent(ours)).expect("a seat");
        peers.push(theirs);
    }
    let each = (resident() - before) / CLIENTS;
    println!("{CLIENTS} idle clients of a pool: {each} bytes each, strings included");
}
