//! The scenarios that are run against the server.

use crate::args::{Args, Scenario};
use crate::busy::{Busy, wait_until_active, wait_until_busy};
use crate::client::{Client, End};
use crate::dialect::{Dialect, Victim};
use crate::drive::{Ends, Until, closed_loop};
use crate::measure::{Errors, Latencies};
use crate::memory::{self, Memory};
use crate::open::{Opened, open};
use crate::report::{Report, Row};
use crate::wire::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn run(args: &Args) -> Report {
    let mut run = Run { args, rows: Vec::new(), errors: Errors::default() };
    if let Err((what, failure)) = run.all() {
        run.errors.add(what, failure);
    }
    Report { rows: run.rows, errors: run.errors }
}

struct Run<'a> {
    args: &'a Args,
    rows: Vec<Row>,
    errors: Errors,
}

/// The operation that failed, and the reason.
type Stopped = (&'static str, Failure);

fn at(what: &'static str) -> impl Fn(Failure) -> Stopped {
    move |failure| (what, failure)
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Stopped> {
        let args = self.args;
        let mut admin = Client::connect(args).map_err(at("open"))?;
        let dialect = Dialect::of(args, &mut admin).map_err(at("what server is it"))?;
        let busy = self.open(dialect, args.busy, "open, busy")?;
        let before = self.memory();
        let idle = self.open(dialect, args.idle, "open, idle")?;
        self.note_memory(before);
        match args.scenario {
            Scenario::Throughput => self.throughput(busy),
            Scenario::KillOneByOne => self.kill_one_by_one(dialect, admin, idle, busy)?,
            Scenario::KillAll => self.kill_all(dialect, admin, idle, busy)?,
            Scenario::Stall => self.stall(dialect, admin, idle, busy)?,
        }
        Ok(())
    }

    fn open(
        &mut self,
        dialect: Dialect,
        count: usize,
        measure: &str,
    ) -> Result<Vec<Opened>, Stopped> {
        let bar = bar(count, measure);
        let opening = open(self.args, dialect, count, &bar);
        bar.finish_and_clear();
        if count > 0 {
            self.rows.push(Row::new(measure, opening.latencies));
        }
        self.errors.merge(opening.errors);
        // Errors of the other connections are not the result of the scenario.
        let missing = count - opening.opened.len();
        match missing {
            0 => Ok(opening.opened),
            _ => Err((
                "open",
                Failure::Protocol(format!("{missing} of {count} connections are missing")),
            )),
        }
    }

    fn memory(&mut self) -> Option<Memory> {
        let of = memory::of(self.args.server_pid?);
        of.map_err(|error| self.errors.add("memory", error)).ok()
    }

    fn note_memory(&mut self, before: Option<Memory>) {
        let (Some(before), Some(after)) = (before, self.memory()) else { return };
        let Some(row) = self.rows.last_mut().filter(|_| self.args.idle > 0) else { return };
        let each =
            |before: u64, after: u64| json!((after as f64 - before as f64) / self.args.idle as f64);
        row.notes.extend([
            ("VmRSS_before_KiB", json!(before.resident)),
            ("VmRSS_after_KiB", json!(after.resident)),
            ("VmRSS_each_KiB", each(before.resident, after.resident)),
            ("PSS_each_KiB", each(before.proportional, after.proportional)),
        ]);
    }

    fn throughput(&mut self, busy: Vec<Opened>) {
        let args = self.args;
        let mut clients: Vec<_> = busy.into_iter().map(|opened| opened.client).collect();
        let start = Instant::now();
        let until = Until::At(start + Duration::from_secs(args.seconds));
        let ticking = Ticking::start(args.seconds);
        let driven = closed_loop(&mut clients, args.drivers, &args.statement, until, args.timeout);
        let elapsed = start.elapsed();
        ticking.stop();
        let measure = format!("{}, {} clients", args.statement, args.busy);
        let mut row = Row::new(measure, driven.latencies);
        row.per_second = Some(row.latencies.count() as f64 / elapsed.as_secs_f64());
        self.rows.push(row);
        self.errors.merge(driven.errors);
    }

    fn kill_one_by_one(
        &mut self,
        dialect: Dialect,
        mut admin: Client,
        mut idle: Vec<Opened>,
        busy: Vec<Opened>,
    ) -> Result<(), Stopped> {
        let args = self.args;
        let busy = self.start_busy(dialect, &mut admin, busy)?;
        if args.kill_idle {
            let bar = bar(idle.len(), "kill, idle");
            let mut kills = Kills::new();
            let done = idle.iter_mut().try_for_each(|Opened { client, victim }| {
                bar.inc(1);
                let wait = || client.wait_end();
                kills.kill(dialect, *victim, &mut admin, wait, &mut self.errors)
            });
            bar.finish_and_clear();
            self.rows.push(kills.row("kill, idle"));
            done?;
        }
        if args.kill_busy && !busy.is_empty() {
            let mut kills = Kills::new();
            let done = busy.iter().try_for_each(|busy| {
                let wait = || busy.wait_end(args.timeout);
                kills.kill(dialect, busy.victim(), &mut admin, wait, &mut self.errors)
            });
            let mut row = kills.row("kill, busy");
            let answers: u64 = busy.iter().map(Busy::answers).sum();
            row.notes.push(("statements_before", json!(answers)));
            self.rows.push(row);
            done?;
        }
        Ok(())
    }

    fn start_busy(
        &self,
        dialect: Dialect,
        admin: &mut Client,
        opened: Vec<Opened>,
    ) -> Result<Vec<Busy>, Stopped> {
        let statement = self.args.busy_statement.as_deref().unwrap_or(dialect.endless());
        let start = |opened| Busy::start(opened, statement).map_err(Failure::from);
        let busy: Result<Vec<_>, _> = opened.into_iter().map(start).collect();
        let busy = busy.map_err(at("busy"))?;
        wait_until_busy(&busy, admin, dialect, self.args.timeout).map_err(at("busy"))?;
        Ok(busy)
    }

    fn kill_all(
        &mut self,
        dialect: Dialect,
        mut admin: Client,
        idle: Vec<Opened>,
        busy: Vec<Opened>,
    ) -> Result<(), Stopped> {
        let args = self.args;
        let busy = self.start_busy(dialect, &mut admin, busy)?;
        let (mut clients, mut victims): (Vec<Client>, Vec<Victim>) =
            idle.into_iter().map(|opened| (opened.client, opened.victim)).unzip();
        victims.extend(busy.iter().map(Busy::victim));
        let statements: Vec<String> = match dialect.kill_all() {
            Some(one) => vec![one],
            None => victims.iter().map(|victim| dialect.kill(*victim)).collect(),
        };
        let mut ends = Ends::watch(&mut clients).map_err(at("kill all"))?;
        let bar = bar(args.idle, "kill all");
        let sent = Instant::now();
        // Answers are read as they come, so that the server is not held up by its own.
        let (answered, seen, kills_busy) = thread::scope(|scope| {
            let admin = scope.spawn(|| -> Result<(u64, Duration), Failure> {
                admin.send_all(statements.iter().map(String::as_str))?;
                let mut denied = 0;
                for _ in &statements {
                    denied += admin.answer()?.iter().filter(|value| *value == "f").count() as u64;
                }
                Ok((denied, sent.elapsed()))
            });
            let mut kills = Kills::new();
            let watched = ends.all(args.timeout, |end| {
                kills.add(sent, &end);
                bar.inc(1);
            });
            let mut kills_busy = Kills::new();
            let waited = busy.iter().try_for_each(|busy| {
                kills_busy.add(sent, &busy.wait_end(args.timeout)?);
                Ok(())
            });
            let answered = admin.join().expect("the administrator does not panic");
            (answered, watched.map(|()| kills), waited.map(|()| kills_busy))
        });
        bar.finish_and_clear();
        let (denied, time) = answered.map_err(at("kill all, the answer"))?;
        if denied > 0 {
            self.errors.add("kill all", format!("{denied} sessions were not killed"));
        }
        let mut row = seen.map_err(at("kill all, idle"))?.row("kill all, idle");
        row.notes.push(("answered_after_ms", json!(time.as_secs_f64() * 1000.0)));
        self.rows.push(row);
        if !busy.is_empty() {
            self.rows.push(kills_busy.map_err(at("kill all, busy"))?.row("kill all, busy"));
        }
        Ok(())
    }

    fn stall(
        &mut self,
        dialect: Dialect,
        mut admin: Client,
        idle: Vec<Opened>,
        busy: Vec<Opened>,
    ) -> Result<(), Stopped> {
        let args = self.args;
        let mut stalled: Vec<_> = busy.into_iter().map(|opened| opened.client).collect();
        let mut waiting: Vec<_> = idle.into_iter().map(|opened| opened.client).collect();
        let start = Instant::now();
        for client in &mut stalled {
            client.send(&args.stall_statement).map_err(at("stall"))?;
        }
        wait_until_active(stalled.len(), &mut admin, dialect, args.timeout, || false)
            .map_err(at("stall"))?;
        let driven =
            closed_loop(&mut waiting, args.drivers, &args.statement, Until::Answered, args.timeout);
        self.errors.merge(driven.errors);
        self.rows.push(Row::new(format!("{}, during a stall", args.statement), driven.latencies));
        let mut latencies = Latencies::new();
        for client in &mut stalled {
            match client.answer() {
                Ok(_) => latencies.record(start.elapsed()),
                Err(failure) => self.errors.add("stall", failure),
            }
        }
        self.rows.push(Row::new("the stalling statement", latencies));
        Ok(())
    }
}

/// The ends of the killed sessions.
struct Kills {
    latencies: Latencies,
    /// The number of connections for each message.
    told: BTreeMap<String, u64>,
    resets: u64,
}

impl Kills {
    fn new() -> Kills {
        Kills { latencies: Latencies::new(), told: BTreeMap::new(), resets: 0 }
    }

    fn add(&mut self, sent: Instant, end: &End) {
        self.latencies.record(end.at.saturating_duration_since(sent));
        let told = end.told.as_ref().map_or("nothing", |error| &error.code);
        *self.told.entry(told.to_string()).or_default() += 1;
        self.resets += u64::from(end.reset);
    }

    /// An error response is counted, and the run continues. If a session does not end in time, the
    /// run stops.
    fn kill(
        &mut self,
        dialect: Dialect,
        victim: Victim,
        admin: &mut Client,
        wait: impl FnOnce() -> Result<End, Failure>,
        errors: &mut Errors,
    ) -> Result<(), Stopped> {
        let sent = Instant::now();
        admin.send(&dialect.kill(victim)).map_err(at("kill"))?;
        let end = wait().map_err(at("the victim's end"))?;
        self.add(sent, &end);
        match admin.answer().and_then(refused) {
            Err(failure @ (Failure::Server(_) | Failure::Protocol(_))) => {
                errors.add("kill", failure);
                Ok(())
            }
            done => done.map_err(at("the kill's answer")),
        }
    }

    fn row(self, measure: &str) -> Row {
        let mut row = Row::new(measure, self.latencies);
        row.notes.push(("told", json!(self.told)));
        if self.resets > 0 {
            row.notes.push(("reset", Value::from(self.resets)));
        }
        row
    }
}

/// PostgreSQL's functions return `f` if no session was killed.
fn refused(answer: Vec<String>) -> Result<(), Failure> {
    match answer.first().map(String::as_str) {
        Some("f") => Err(Failure::Protocol("the server says that it killed nobody".into())),
        _ => Ok(()),
    }
}

fn bar(length: usize, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:16} {bar:40} {pos}/{len} {eta}");
    let bar = ProgressBar::new(length as u64).with_message(what.to_string());
    bar.with_style(style.expect("a template without mistakes"))
}

/// A bar that counts seconds.
struct Ticking {
    bar: ProgressBar,
    stop: std::sync::mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Ticking {
    fn start(seconds: u64) -> Ticking {
        let bar = bar(seconds as usize, "seconds");
        let (stop, stopped) = std::sync::mpsc::channel();
        let ticked = bar.clone();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_secs(1)).is_err() {
                ticked.inc(1);
            }
        });
        Ticking { bar, stop, thread }
    }

    fn stop(self) {
        // It waits for nothing else.
        let _ = self.stop.send(());
        let _ = self.thread.join();
        self.bar.finish_and_clear();
    }
}
