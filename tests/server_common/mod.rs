//! What the end-to-end tests share: the example server as a child process, and a small client
//! that speaks the PostgreSQL protocol message by message.

// Each test binary uses a part of this.
#![allow(dead_code, unused_imports)]

mod binary;
mod example;
#[cfg(unix)]
pub(crate) mod psql;
mod wire;

pub(crate) use binary::{binary, built};
pub(crate) use example::Example;
pub(crate) use wire::{Answer, Fields, Message, Wire, cancel, cstr, message};

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine; to wait so long is to have failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The values of `--thread-pool`.
pub(crate) const MODELS: [&str; 2] = ["on", "off"];

/// A statement that ends only if it is made to.
pub(crate) const ENDLESS: &str =
    "with recursive c(x) as (select 1 union all select x+1 from c) select count(*) from c";

pub(crate) const TOLD: &str = "terminating connection due to administrator command";
pub(crate) const CANCELLED: &str = "canceling statement due to user request";

/// The server as a child process. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
    /// Where it has its temporary files, which it can't remove where it is killed.
    _folder: TempDir,
}

impl Server {
    /// In one of [`MODELS`], with further options. A test that says how many workers there are
    /// means that there are no more, unless it says that as well.
    pub(crate) fn start(model: &str, options: &[&str]) -> Server {
        Server::start_by(Command::new(binary()), model, options)
    }

    /// The same after a few words of shell, such as `ulimit -n 64`.
    pub(crate) fn start_after(shell: &str, model: &str, options: &[&str]) -> Server {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell} && exec \"$0\" \"$@\"")]).arg(binary());
        Server::start_by(command, model, options)
    }

    fn start_by(mut command: Command, model: &str, options: &[&str]) -> Server {
        let workers = options.windows(2).find(|pair| pair[0] == "--workers");
        let limit = workers.map(|pair| ["--max-workers", pair[1]]);
        let folder = TempDir::new().expect("a temporary folder");
        let mut child = command
            .env("TMPDIR", folder.path())
            .args(["--listen", "127.0.0.1:0", "--thread-pool", model])
            .args(limit.into_iter().flatten())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (heard, errors) = (said.clone(), child.stderr.take().expect("its standard error"));
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let mut heard = heard.lock().expect("nobody panics with it");
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("its standard output");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        let address = line.trim_end().parse();
        let Ok(address) = address else {
            let _ = child.kill();
            panic!("the server's first line is {line:?}; {:?}", said.lock());
        };
        Server { child, address, said, listener: Some(listener), _folder: folder }
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
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill runs").success(), "kill -s {name}");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for(&mut self.child)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// The processor time it has used, in ticks of the system's clock (a hundredth of a second).
    pub(crate) fn processor_time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("its state");
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let field = |at: usize| fields.split_whitespace().nth(at).and_then(|f| f.parse().ok());
        field(11).unwrap_or(0) + field(12).unwrap_or(0)
    }

    /// What it has said on its standard error so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        if std::thread::panicking() {
            eprintln!("the server's standard error:\n{}", self.said());
        }
    }
}

fn wait_for(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the process ends", || {
        status = child.try_wait().expect("its state");
        status.is_some()
    });
    status.expect("it has ended")
}

/// Looks again and again until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a command left.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end, within [`DEADLINE`].
pub(crate) fn run(command: &mut Command) -> Ran {
    fn all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let out = all(child.stdout.take().expect("its output"));
    let err = all(child.stderr.take().expect("its errors"));
    let deadline = Instant::now() + DEADLINE;
    let code = loop {
        if let Some(status) = child.try_wait().expect("its state") {
            break status.code();
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} did not end; {:?} {:?}", out.join(), err.join());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ran { code, out: out.join().expect("read"), err: err.join().expect("read") }
}

/// Whether a client is there to test with. Where it is not, this says so, and is a failure in CI.
pub(crate) fn is_installed(test: &str, program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|output| output.status.success()) || skipped(test, program)
}

/// A Python that has psycopg2.
pub(crate) fn python_with_psycopg2(test: &str) -> Option<&'static str> {
    let has = |python: &&str| {
        let output = Command::new(python).args(["-c", "import psycopg2"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has);
    if python.is_none() {
        skipped(test, "psycopg2 (or python3)");
    }
    python
}

fn skipped(test: &str, what: &str) -> bool {
    let said = format!("SKIPPED: {test}: {what} is not installed");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{said}");
    // Past the test harness, which keeps what a test that passes has printed.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{said}\n").as_bytes());
    false
}

/// One session as `pg_stat_activity` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pid: i64,
    pub(crate) session: i64,
    pub(crate) state: String,
    pub(crate) query: String,
    pub(crate) query_id: i64,
}

/// Looks at one session through another. `None` where it is gone.
pub(crate) fn look(through: &mut Wire, session: i64) -> Option<Seen> {
    let answer = through.ok(&format!(
        "select pid, sessionid, state, query, query_id from pg_stat_activity \
         where sessionid = {session}"
    ));
    let row = answer.rows.first()?;
    let text = |at: usize| row[at].clone().unwrap_or_default();
    Some(Seen {
        pid: text(0).parse().expect("a pid"),
        session: text(1).parse().expect("a session id"),
        state: text(2),
        query: text(3),
        query_id: text(4).parse().expect("a query id"),
    })
}

/// Waits until that session runs a statement with this in it.
pub(crate) fn until_runs(through: &mut Wire, session: i64, part: &str) -> Seen {
    let mut seen = None;
    wait_until(&format!("session {session} runs {part}"), || {
        seen = look(through, session);
        seen.as_ref().is_some_and(|seen| {
            seen.state == "active" && seen.pid != 0 && seen.query.contains(part)
        })
    });
    seen.expect("it was seen")
}

/// It is in a wait that an interrupt ends, not just about to be.
pub(crate) fn until_waits(admin: &mut Wire, session: i64) {
    let waiting = format!("select waiting from pg_stat_activity where sessionid = {session}");
    wait_until("it waits", || admin.ok(&waiting).value() == "interruptible");
}

/// Waits until that session runs nothing.
pub(crate) fn until_state(through: &mut Wire, session: i64, state: &str) -> Seen {
    let mut seen = None;
    wait_until(&format!("session {session} is {state}"), || {
        seen = look(through, session);
        seen.as_ref().is_some_and(|seen| seen.state == state)
    });
    seen.expect("it was seen")
}

pub(crate) fn until_gone(through: &mut Wire, session: i64) {
    wait_until(&format!("session {session} is gone"), || look(through, session).is_none());
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
