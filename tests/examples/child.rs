//! Child processes. Nothing here waits for one without a deadline.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The timeout of every wait here. At `nice -n 19` a program may take half a minute to start.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The same for a program that is started and run to its end.
pub(crate) const PROGRAM: Duration = DEADLINE.saturating_mul(5);

const PAUSE: Duration = Duration::from_millis(5);

/// Looks again and again until it is so, or until the time is over.
fn comes_true(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

/// Looks again and again until it is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_true(DEADLINE, is_so), "waited in vain: {what}");
}

/// Joins a thread that is about to end.
#[track_caller]
pub(crate) fn join<T>(what: &str, thread: JoinHandle<T>) -> T {
    wait_until(what, || thread.is_finished());
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The output of a child on one of its pipes, read as it arrives.
pub(crate) struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    pub(crate) fn on(pipe: impl Read + Send + 'static) -> Said {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let heard = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                heard.lock().expect("nobody panics with it").append(&mut line);
            }
        });
        Said { bytes, reader }
    }

    pub(crate) fn so_far(&self) -> String {
        let bytes = self.bytes.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for the first line. Returns the output until now if it ends without a line.
    #[track_caller]
    pub(crate) fn first_line(&self) -> String {
        wait_until("a first line", || self.reader.is_finished() || self.so_far().contains('\n'));
        self.so_far().lines().next().unwrap_or_default().to_string()
    }

    /// Returns the whole output. The child has ended, so no more follows.
    pub(crate) fn all(&self) -> String {
        if !comes_true(DEADLINE, || self.reader.is_finished()) {
            eprintln!("someone else has what a process that has ended was to say something on");
        }
        self.so_far()
    }
}

/// Waits for a process that is about to end.
#[track_caller]
pub(crate) fn wait_for(child: &mut Child) -> ExitStatus {
    wait_within(DEADLINE, child)
}

/// Waits for a process to end.
#[track_caller]
pub(crate) fn wait_within(limit: Duration, child: &mut Child) -> ExitStatus {
    let mut status = None;
    let ended = comes_true(limit, || {
        status = child.try_wait().expect("its state");
        status.is_some()
    });
    assert!(ended, "waited in vain: process {} ends", child.id());
    status.expect("it has ended")
}

/// Ends a process that may have ended. Also where a test has failed, so it does not panic.
pub(crate) fn kill(child: &mut Child) {
    let _ = child.kill();
    if !comes_true(DEADLINE, || !matches!(child.try_wait(), Ok(None))) {
        eprintln!("process {} does not end, though it was killed", child.id());
    }
}

/// The output of a command.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end, within the time for a [`PROGRAM`].
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ran {
    run_within(PROGRAM, command)
}

/// The same within that time.
#[track_caller]
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let out = Said::on(child.stdout.take().expect("its output"));
    let err = Said::on(child.stderr.take().expect("its errors"));
    let mut status = None;
    let ended = comes_true(limit, || {
        status = child.try_wait().expect("its state");
        status.is_some()
    });
    if !ended {
        kill(&mut child);
        let (out, err) = (out.so_far(), err.so_far());
        panic!("{command:?} did not end within {limit:?}; it has said {out:?} {err:?}");
    }
    Ran { code: status.and_then(|status| status.code()), out: out.all(), err: err.all() }
}
