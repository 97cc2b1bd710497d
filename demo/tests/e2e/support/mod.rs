//! What the end-to-end tests share: the example server as a child process, and a small client
//! that speaks the PostgreSQL protocol message by message.

// Each test binary uses a part of this.
#![allow(dead_code, unused_imports)]

mod binary;
// What the tests of the library's examples have as well.
#[path = "../../../../tests/examples/child.rs"]
mod child;
#[path = "../../../../tests/examples/example.rs"]
mod example;
#[cfg(unix)]
pub(crate) mod psql;
mod seen;
mod wire;

pub(crate) use binary::{binary, built};
pub(crate) use child::{
    DEADLINE, PROGRAM, Ran, Said, join, kill as kill_child, run, run_within, wait_for, wait_until,
    wait_within,
};
pub(crate) use example::Example;
pub(crate) use seen::{
    Seen, look, until_answer, until_gone, until_locked, until_runs, until_sending, until_state,
    until_value, until_waits, until_waits_at, until_waits_for_lock,
};
pub(crate) use wire::{Answer, Fields, Message, Wire, cancel, cstr, message};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The values of `--thread-pool`.
pub(crate) const MODELS: [&str; 2] = ["on", "off"];

/// A statement that ends only if it is made to.
pub(crate) const ENDLESS: &str =
    "with recursive c(x) as (select 1 union all select x+1 from c) select count(*) from c";

pub(crate) const TOLD: &str = "terminating connection due to administrator command";
pub(crate) const CANCELLED: &str = "canceling statement due to user request";

/// A statement that nobody can end, until [`Server::release`].
pub(crate) const STALL: &str = "select safepoint_test_stall()";

/// The server as a child process. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    output: Said,
    errors: Said,
    /// Where it has its temporary files, which it can't remove where it is killed.
    _folder: TempDir,
}

impl Server {
    /// In one of [`MODELS`], with further options. A test that says how many workers there are
    /// means that there are no more, unless it says that as well.
    #[track_caller]
    pub(crate) fn start(model: &str, options: &[&str]) -> Server {
        Server::start_by(Command::new(binary()), model, options)
    }

    /// The same after a few words of shell, such as `ulimit -n 64`.
    #[track_caller]
    pub(crate) fn start_after(shell: &str, model: &str, options: &[&str]) -> Server {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell} && exec \"$0\" \"$@\"")]).arg(binary());
        Server::start_by(command, model, options)
    }

    /// The same with this folder as its working directory.
    #[track_caller]
    pub(crate) fn start_in(folder: &std::path::Path, model: &str, options: &[&str]) -> Server {
        let mut command = Command::new(binary());
        command.current_dir(folder);
        Server::start_by(command, model, options)
    }

    #[track_caller]
    pub(crate) fn start_by(mut command: Command, model: &str, options: &[&str]) -> Server {
        let workers = options.windows(2).find(|pair| pair[0] == "--workers");
        let limit = workers.map(|pair| ["--max-workers", pair[1]]);
        let folder = TempDir::new().expect("a temporary folder");
        let mut child = command
            .env("TMPDIR", folder.path())
            .args(["--listen", "127.0.0.1:0", "--thread-pool", model])
            .args(limit.into_iter().flatten())
            // On a busy machine a kill may take that long.
            .args(["--overdue", "0"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let output = Said::on(child.stdout.take().expect("its standard output"));
        let errors = Said::on(child.stderr.take().expect("its standard error"));
        // From here on it is killed where something goes wrong.
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut server = Server { child, address: nowhere, output, errors, _folder: folder };
        let line = server.output.first_line();
        server.address = line.parse().unwrap_or_else(|_| panic!("its first line is {line:?}"));
        server
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// An administrator's connection.
    pub(crate) fn admin(&self) -> Wire {
        Wire::connect(self.address, "omm")
    }

    pub(crate) fn user(&self, name: &str) -> Wire {
        Wire::connect(self.address, name)
    }

    /// Sends it a signal such as `TERM`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = run(Command::new("kill").args(["-s", name, &id]));
        assert_eq!(sent.code, Some(0), "kill -s {name}: {}", sent.err);
    }

    /// Waits for its end. After that it has said all that it says.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for(&mut self.child);
        self.errors.all();
        status
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Waits until it has said so on its standard error.
    #[track_caller]
    pub(crate) fn until_says(&self, what: &str) {
        wait_until(&format!("the server says {what:?}"), || self.said().contains(what));
    }

    /// Waits until that session is within the function of [`STALL`], whatever its statement did
    /// before.
    #[track_caller]
    pub(crate) fn until_stalls(&self, session: i64) {
        self.until_says(&format!("session {session} has called safepoint_test_stall()\n"));
    }

    /// Ends all stalls that there are, and returns how many. The other function makes it a
    /// statement for the emergency lane, as there may be no worker left.
    #[track_caller]
    pub(crate) fn release(&self, admin: &mut Wire) -> usize {
        let release = "select safepoint_test_release() from (select pg_backend_pid())";
        admin.ok(release).value().parse().expect("a number")
    }

    /// The processor time it has used, in ticks of the system's clock (a hundredth of a second).
    pub(crate) fn processor_time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("its state");
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let field = |at: usize| fields.split_whitespace().nth(at).and_then(|f| f.parse().ok());
        field(11).unwrap_or(0) + field(12).unwrap_or(0)
    }

    /// For how long its threads have waited for a processor that others had, all together.
    pub(crate) fn starved(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let waited = tasks.expect("its threads").map(|task| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("schedstat")));
            let stat = stat.unwrap_or_default();
            stat.split(' ').nth(1).and_then(|waited| waited.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(waited.sum())
    }

    /// What it has said on its standard error so far.
    pub(crate) fn said(&self) -> String {
        self.errors.so_far()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        child::kill(&mut self.child);
        if std::thread::panicking() {
            eprintln!("the server's standard error:\n{}", self.errors.all());
        }
    }
}

/// Whether a client is there to test with. Where it is not, this says so, and is a failure in CI.
pub(crate) fn is_installed(test: &str, program: &str) -> bool {
    runs(Command::new(program).arg("--version")) || skipped(test, program)
}

/// A Python that has psycopg2.
pub(crate) fn python_with_psycopg2(test: &str) -> Option<&'static str> {
    let has = |python: &&str| runs(Command::new(python).args(["-c", "import psycopg2"]));
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has);
    if python.is_none() {
        skipped(test, "psycopg2 (or python3)");
    }
    python
}

/// A Python that has these modules: the one of the folder that `.ci/run` makes, or the system's. Without
/// PyPI there is none, which is no failure in CI either: `.ci/run` has said so.
pub(crate) fn python_with(test: &str, modules: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers/bin/python");
    let has = |python: &PathBuf| {
        let import = format!("import {modules}");
        runs(Command::new(python).args(["-c", &import]))
    };
    let python = [own, "python3".into()].into_iter().find(has);
    if python.is_none() {
        let make = "python3 -m venv target/drivers && \
                    target/drivers/bin/pip install -r demo/tests/drivers/requirements.txt";
        announce(&format!(
            "SKIPPED: {test}: {modules} (try: {make}), or python3, is not installed"
        ));
    }
    python
}

/// Whether there is such a program, and it is content.
fn runs(command: &mut Command) -> bool {
    let there = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    there.is_ok_and(|mut child| wait_within(PROGRAM, &mut child).success())
}

fn skipped(test: &str, what: &str) -> bool {
    let said = format!("SKIPPED: {test}: {what} is not installed");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{said}");
    announce(&said);
    false
}

/// Writes past the test harness, which keeps what a test that passes has printed.
fn announce(said: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{said}\n").as_bytes());
}

/// A pair for KILL SESSION that is right in both models, wherever the session is.
pub(crate) fn pair(model: &str, session: i64) -> String {
    let thread = if model == "on" { 0 } else { session };
    format!("{thread}, {session}")
}

pub(crate) fn kill(model: &str, session: i64) -> String {
    format!("ALTER SYSTEM KILL SESSION '{}'", pair(model, session))
}

pub(crate) fn kill_now(model: &str, session: i64) -> String {
    format!("ALTER SYSTEM KILL SESSION '{}' IMMEDIATE", pair(model, session))
}
