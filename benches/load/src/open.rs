//! Opens connections, many at a time.

use crate::args::Args;
use crate::client::Client;
use crate::dialect::{Dialect, Victim};
use crate::measure::{Errors, Latencies};
use indicatif::ProgressBar;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// A connection, and how to kill it.
pub(crate) struct Opened {
    pub(crate) client: Client,
    pub(crate) victim: Victim,
}

pub(crate) struct Opening {
    pub(crate) opened: Vec<Opened>,
    /// From the first packet to the server's leave to send statements.
    pub(crate) latencies: Latencies,
    pub(crate) errors: Errors,
}

pub(crate) fn open(args: &Args, dialect: Dialect, count: usize, bar: &ProgressBar) -> Opening {
    let left = AtomicUsize::new(count);
    let all = Mutex::new(Opening {
        opened: Vec::with_capacity(count),
        latencies: Latencies::new(),
        errors: Errors::default(),
    });
    let opener = || {
        let one_less = |left: usize| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let start = Instant::now();
            let connected = Client::connect(args).map(|client| (client, start.elapsed()));
            let named = connected.and_then(|(mut client, time)| {
                let victim = dialect.victim(&mut client)?;
                Ok((Opened { client, victim }, time))
            });
            bar.inc(1);
            let mut all = all.lock().expect("no opener panics");
            match named {
                Ok((opened, time)) => {
                    all.latencies.record(time);
                    all.opened.push(opened);
                }
                Err(failure) => all.errors.add("open", failure),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..args.openers {
            scope.spawn(opener);
        }
    });
    all.into_inner().expect("no opener panics")
}
