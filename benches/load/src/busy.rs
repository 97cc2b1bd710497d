//! Sessions that run statements until they are killed, a thread for each.

use crate::client::{Client, End};
use crate::dialect::{Dialect, Victim};
use crate::open::Opened;
use crate::wire::Failure;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Between two looks at what the server does.
const PAUSE: Duration = Duration::from_millis(10);
const STACK: usize = 256 * 1024;

pub(crate) struct Busy {
    victim: Victim,
    answers: Arc<AtomicU64>,
    end: Receiver<Result<End, Failure>>,
}

impl Busy {
    pub(crate) fn start(opened: Opened, statement: &str) -> io::Result<Busy> {
        let Opened { mut client, victim } = opened;
        let answers = Arc::new(AtomicU64::new(0));
        let (ended, end) = channel();
        let (counted, statement) = (answers.clone(), statement.to_string());
        let run = move || {
            let run = client.set_timeout(None).and_then(|()| {
                client.run_until_end(&statement, || {
                    counted.fetch_add(1, Ordering::Relaxed);
                })
            });
            // Where the receiver is gone, the run is over.
            let _ = ended.send(run);
        };
        Builder::new().name("busy".into()).stack_size(STACK).spawn(run)?;
        Ok(Busy { victim, answers, end })
    }

    pub(crate) fn victim(&self) -> Victim {
        self.victim
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(crate) fn wait_end(&self, timeout: Duration) -> Result<End, Failure> {
        match self.end.recv_timeout(timeout) {
            Ok(end) => end,
            Err(RecvTimeoutError::Timeout) => Err(Failure::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::SessionEnd(None)),
        }
    }
}

/// Waits until each has had an answer, or so many run as the server sees it.
pub(crate) fn wait_until_busy(
    busy: &[Busy],
    admin: &mut Client,
    dialect: Dialect,
    timeout: Duration,
) -> Result<(), Failure> {
    wait_until_active(busy.len(), admin, dialect, timeout, || {
        busy.iter().all(|busy| busy.answers() > 0)
    })
}

pub(crate) fn wait_until_active(
    count: usize,
    admin: &mut Client,
    dialect: Dialect,
    timeout: Duration,
    or: impl Fn() -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    while !or() {
        // The administrator's own is one of them.
        if admin.number(dialect.active())? > count as u64 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::TimedOut);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
