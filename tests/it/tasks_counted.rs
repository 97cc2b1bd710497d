//! A receipt of a task's session completes only when nothing works for its statement any more.

use crate::common::{kill_now, locked, of, rounds, scope, supervised, until, wait_until};
use safepoint::audit::Event;
use safepoint::request::EndReason;
use safepoint::session::StatementHandle;
use safepoint::task::RunError;
use safepoint::{SessionManager, ThreadModel, current};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

const ROUNDS: usize = 50;

/// The tasks, and the jobs, that a statement spawns.
const SPAWNED: usize = 3;

/// What has begun, and what works now.
#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    working: AtomicUsize,
    /// Kills the session when this many have begun.
    kills_at: usize,
    kills: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Counts {
    fn kill(&self) {
        self.kills.get().expect("it is set")();
    }
}

/// Counts as working until it is dropped.
struct Works(Arc<Counts>);

impl Works {
    fn begin(counts: &Arc<Counts>) -> Works {
        counts.working.fetch_add(1, Ordering::SeqCst);
        if counts.begun.fetch_add(1, Ordering::SeqCst) + 1 == counts.kills_at {
            counts.kill();
        }
        Works(counts.clone())
    }
}

impl Drop for Works {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Spawns helpers that work until the statement must stop, and waits for them.
async fn spawns(handle: StatementHandle, counts: Arc<Counts>) {
    let _works = Works::begin(&counts);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..SPAWNED {
        let counts = counts.clone();
        let (task, job) = (handle.named("a task"), handle.named("a job"));
        let (mine, its) = (counts.clone(), counts);
        let task = task.wrap_future(async move {
            let _works = Works::begin(&mine);
            loop {
                yield_now().await;
            }
        });
        tasks.spawn(async move { drop(task.await) });
        yield_now().await;
        let job = job.wrap_fn(move || {
            let _works = Works::begin(&its);
            while safepoint::check().is_ok() {
                std::thread::yield_now();
            }
        });
        tasks.spawn_blocking(move || drop(job()));
        yield_now().await;
    }
    while tasks.join_next().await.is_some() {}
}

fn counts_to_zero(runtime: &Runtime, with: bool) {
    let all = 1 + 2 * SPAWNED;
    for round in rounds(ROUNDS) {
        // Before the statement, as each of them begins, and when all work.
        let kills_at = round % (all + 2);
        let counts = Arc::new(Counts { kills_at, ..Counts::default() });
        // The receipts complete right after this event.
        let at_the_end = Arc::new(Mutex::new(None));
        let audit = {
            let (counts, at_the_end) = (counts.clone(), at_the_end.clone());
            move |event: &Event<'_>| {
                if matches!(event, Event::SessionEnded { .. }) {
                    let now = [&counts.begun, &counts.working];
                    *locked(&at_the_end) = Some(now.map(|count| count.load(Ordering::SeqCst)));
                }
            }
        };
        let manager = SessionManager::builder(ThreadModel::Pool).audit(audit).build();
        let mut session = manager.open(of("ann")).unwrap();
        let (id, receipt) = (session.id(), Arc::new(Mutex::new(None)));
        let kill = {
            let receipt = receipt.clone();
            move || *locked(&receipt) = Some(manager.terminate(id, kill_now()).unwrap())
        };
        assert!(counts.kills.set(Box::new(kill)).is_ok());
        if kills_at == 0 {
            counts.kill();
        }
        let its = counts.clone();
        let task = runtime.spawn(async move {
            let ran = if with {
                let run = session.run_with(async |handle| spawns(handle, its).await);
                let ran = run.with_grace(Duration::MAX).await;
                ran.map(|ran| assert!(ran.interrupt.is_some(), "nothing else ends it"))
            } else {
                let work = async { spawns(current::statement("spawns").unwrap(), its).await };
                session.run(work).await
            };
            session.close();
            ran
        });
        let late = kills_at > all;
        let ran = scope(|scope| {
            if late {
                scope.spawn(|| {
                    wait_until("all work", || counts.working.load(Ordering::SeqCst) == all);
                    counts.kill();
                });
            }
            until("the task ends", || runtime.block_on(task)).unwrap()
        });
        // The helper that kills may still be at it.
        wait_until("it was killed", || locked(&receipt).is_some());
        let receipt = locked(&receipt).take().expect("it is there");
        // A waker that the system holds back may hand a task to the runtime only now. One of one thread runs it
        // while something waits in it.
        let ended = until("its receipt is complete", || runtime.block_on(receipt));
        assert!(matches!(ended.reason, EndReason::Terminated(_)));
        let [begun, working] = locked(&at_the_end).take().expect("the session has ended");
        assert_eq!(working, 0, "round {round}: the receipt is complete");
        if let Err(error) = ran {
            assert!(matches!(error, RunError::Interrupted(_)), "{error:?}");
            assert!(!with || kills_at == 0, "it is notified, and returns");
        }
        until("the runtime has no task left", || {
            runtime.block_on(async {
                while runtime.metrics().num_alive_tasks() > 0 {
                    yield_now().await;
                }
            });
        });
        let now = [&counts.begun, &counts.working].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(now, [begun, 0], "nothing runs afterwards");
    }
}

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).build().unwrap()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

#[test]
fn a_run_on_threads() {
    supervised(|| counts_to_zero(&threads(), false));
}

#[test]
fn a_run_on_one_thread() {
    supervised(|| counts_to_zero(&one_thread(), false));
}

#[test]
fn a_run_that_is_notified_on_threads() {
    supervised(|| counts_to_zero(&threads(), true));
}

#[test]
fn a_run_that_is_notified_on_one_thread() {
    supervised(|| counts_to_zero(&one_thread(), true));
}
