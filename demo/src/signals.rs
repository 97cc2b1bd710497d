//! What signals do to the server, as to PostgreSQL's postmaster: `TERM` is the smart shutdown, `INT`
//! the fast one, `QUIT` the immediate one, and `HUP` reads the settings again. A stronger shutdown
//! replaces a weaker one.

use crate::server::{Server, Shutdown};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How often a shutdown checks whether the sessions have ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// How long a fast shutdown waits for sessions that have an immediate request. On a busy machine they
/// may have to wait for a processor.
const FAST_LIMIT: Duration = Duration::from_secs(60);

/// How long an immediate shutdown lets clients receive its warning.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);

/// The signals that have arrived.
pub(crate) struct Arrived(Receiver<i32>);

impl Arrived {
    /// Installs the handlers. Called before the first thread starts, so that no signal is missed.
    pub(crate) fn install() -> Result<Arrived, String> {
        let mut signals =
            Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).map_err(|e| e.to_string())?;
        let (arrives, arrived) = channel();
        let forward = move || {
            for signal in signals.forever() {
                if arrives.send(signal).is_err() {
                    return;
                }
            }
        };
        Builder::new().name("signals".into()).spawn(forward).map_err(|e| e.to_string())?;
        Ok(Arrived(arrived))
    }

    /// Serves until a signal has ended the server. Returns how many sessions were left.
    pub(crate) fn serve(&self, server: &Server) -> usize {
        let mut stage: Option<Shutdown> = None;
        let mut deadline = None;
        loop {
            let signal = match stage {
                None => self.0.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => self.0.recv_timeout(CHECK_INTERVAL),
            };
            let asked = match signal {
                Ok(SIGHUP) => {
                    server.reload();
                    None
                }
                Ok(SIGTERM) => Some(Shutdown::Smart),
                Ok(SIGQUIT) => Some(Shutdown::Immediate),
                Ok(_) => Some(Shutdown::Fast),
                Err(RecvTimeoutError::Timeout) => None,
                // The thread that forwards signals cannot end, so this is a fast shutdown.
                Err(RecvTimeoutError::Disconnected) => {
                    Some(Shutdown::Fast).filter(|_| stage.is_none())
                }
            };
            if let Some(asked) = asked {
                let name = asked.name();
                match stage {
                    Some(now) if asked <= now => eprintln!(
                        "server: received {name} shutdown request during a {} shutdown, which goes \
                         on: {} sessions are left",
                        now.name(),
                        server.sessions()
                    ),
                    _ => {
                        eprintln!("server: received {name} shutdown request");
                        stage = Some(asked);
                        deadline = begin(server, asked);
                    }
                }
            }
            let Some(now) = stage else { continue };
            let left = server.sessions();
            if left == 0 {
                return 0;
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                match now {
                    Shutdown::Smart => {
                        eprintln!("server: the time of --grace is over: fast shutdown");
                        stage = Some(Shutdown::Fast);
                        deadline = begin(server, Shutdown::Fast);
                    }
                    Shutdown::Fast => return left,
                    // The process ends, and the sessions with it.
                    Shutdown::Immediate => return 0,
                }
            }
        }
    }
}

/// Begins a shutdown, and returns when it must be over.
fn begin(server: &Server, how: Shutdown) -> Option<Instant> {
    let limit = match how {
        Shutdown::Smart => server.grace(),
        Shutdown::Fast => Some(FAST_LIMIT),
        Shutdown::Immediate => Some(IMMEDIATE_LIMIT),
    };
    server.begin_shutdown(how);
    // A time that is too long for the clock means no limit.
    limit.and_then(|limit| Instant::now().checked_add(limit))
}
