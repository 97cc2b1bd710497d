//! No helper of a statement or of a session is active once the receipt of its cancel or its termination is complete.
//!
//! At the same time: sessions with statements, threads of a pool that help with them by jobs and by handles, requesters,
//! and a drain.

use crate::common::explore;
use safepoint_under_shuttle::id::StatementId;
use safepoint_under_shuttle::manager::DrainOptions;
use safepoint_under_shuttle::request::{EndReason, InterruptReason};
use safepoint_under_shuttle::session::StatementHandle;
use safepoint_under_shuttle::{
    Cancel, ClientInfo, Interrupt, Requester, SessionId, SessionManager, Terminate, TerminateMode,
    ThreadModel, check, current,
};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::mpsc::{Sender, channel};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;
use std::collections::BTreeMap;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SESSIONS: usize = 2;
const STATEMENTS: u64 = 2;
const THREADS: usize = 2;
const REQUESTS: usize = 4;

#[test]
fn receipts_wait_for_helpers() {
    explore("helpers::receipts_wait_for_helpers", 3000, scene);
    let met = [0, 1, 2].map(|at: usize| MET[at].load(Ordering::Relaxed));
    let [helped, told, asked] = met;
    println!("met: {helped} helpers, of which {told} were told to stop; {asked} receipts");
}

/// How much of what happened in all schedules together.
static MET: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

fn met(at: usize) {
    MET[at].fetch_add(1, Ordering::Relaxed);
}

fn below(limit: usize) -> usize {
    thread_rng().gen_range(0..limit)
}

/// How many helpers each statement has at work. The lock is never held where threads may change.
#[derive(Default)]
struct Books(StdMutex<BTreeMap<(SessionId, StatementId), usize>>);

impl Books {
    fn change(&self, of: (SessionId, StatementId), change: impl FnOnce(&mut usize)) {
        change(self.0.lock().unwrap().entry(of).or_default());
    }

    fn at_work(&self, session: SessionId, statement: Option<StatementId>) -> usize {
        let books = self.0.lock().unwrap();
        let wanted = |(of, number): &(SessionId, StatementId)| {
            *of == session && statement.is_none_or(|statement| statement == *number)
        };
        books.iter().filter(|(of, _)| wanted(of)).map(|(_, count)| count).sum()
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Works for a while, or until it is told to stop.
fn work(books: &Books, of: (SessionId, StatementId), number: u64) -> Result<(), Interrupt> {
    books.change(of, |count| *count += 1);
    met(0);
    let mut worked = Ok(());
    for _ in 0..below(4) {
        thread::yield_now();
        worked = if below(3) == 0 { current::sleep(Duration::from_secs(1)) } else { check() };
        if worked.is_err() {
            break;
        }
    }
    books.change(of, |count| *count -= 1);
    if let Err(told) = &worked {
        met(1);
        // Never another statement's request.
        let comment = told.request().comment().map(str::to_owned);
        let own = told.request().reason() == InterruptReason::StatementEnded
            || told.is_terminate()
            || comment == Some(number.to_string());
        assert!(own, "{number} is told of {comment:?}");
    }
    worked
}

/// A job of the statement, which counts as a helper from now on, or when it runs.
fn job(books: &Arc<Books>, handle: &StatementHandle) -> Job {
    let (of, books) = ((handle.session_id(), handle.statement_id()), books.clone());
    let number = handle.statement_id().get();
    if below(2) == 0 {
        let job = handle.wrap_fn(move || drop(work(&books, of, number)));
        return Box::new(move || drop(job()));
    }
    let handle = handle.clone();
    Box::new(move || {
        if let Ok(_helper) = handle.enter() {
            drop(work(&books, of, number));
        }
    })
}

fn serve(manager: &SessionManager, books: &Arc<Books>, pool: &Sender<Job>) {
    let Ok(mut session) = manager.open(ClientInfo::default()) else { return };
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    for _ in 0..STATEMENTS {
        let Ok(statement) = attached.begin() else { return };
        let handle = statement.handle("work");
        for _ in 0..below(4) {
            // It fails where the pool is over.
            let _ = pool.send(job(books, &handle));
        }
        let told = statement.check().is_err()
            || below(2) == 0 && statement.wait_for_helpers(Duration::from_secs(1)).is_err();
        if statement.finish().is_err() && !told {
            return;
        }
    }
}

fn request(manager: &SessionManager, books: &Books) {
    for _ in 0..REQUESTS {
        let rows: Vec<_> = manager.sessions().map(|row| (row.id, row.statement_id)).collect();
        if rows.is_empty() {
            thread::yield_now();
            continue;
        }
        let (id, statement) = rows[below(rows.len())];
        match (below(3), statement) {
            (0, Some(statement)) => {
                let cancel = Cancel::statement(statement, Requester::system());
                let cancel = cancel.comment(statement.get().to_string());
                if let Ok(mut receipt) = manager.cancel(id, cancel) {
                    receipt.wait_timeout(Duration::MAX).expect("every receipt completes");
                    assert_eq!(books.at_work(id, Some(statement)), 0, "of {statement}");
                    met(2);
                }
            }
            (1, _) => {
                let kill = Terminate::new(TerminateMode::Immediate, Requester::system());
                if let Ok(mut receipt) = manager.terminate(id, kill) {
                    let ended = receipt.wait_timeout(Duration::MAX);
                    let ended = ended.expect("every receipt completes");
                    assert!(matches!(ended.reason, EndReason::Terminated(_) | EndReason::Closed));
                    assert_eq!(books.at_work(id, None), 0, "of session {id}");
                    assert!(manager.session_info(id).is_none());
                    met(2);
                }
            }
            _ => thread::yield_now(),
        }
    }
}

fn scene() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let books = Arc::<Books>::default();
    let (jobs, taken) = channel::<Job>();
    let taken = Arc::new(Mutex::new(taken));
    let pool: Vec<_> = (0..THREADS)
        .map(|_| {
            let taken = taken.clone();
            thread::spawn(move || {
                loop {
                    let next = taken.lock().unwrap().recv();
                    let Ok(job) = next else { return };
                    job();
                }
            })
        })
        .collect();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (manager, books, jobs) = (manager.clone(), books.clone(), jobs.clone());
            thread::spawn(move || serve(&manager, &books, &jobs))
        })
        .collect();
    drop(jobs);
    let requester = {
        let (manager, books) = (manager.clone(), books.clone());
        thread::spawn(move || request(&manager, &books))
    };
    if below(2) == 0 {
        let end = Terminate::new(TerminateMode::Immediate, Requester::system());
        assert_eq!(manager.drain(DrainOptions::new(end)).remaining, 0);
        let at_work: usize = books.0.lock().unwrap().values().sum();
        assert_eq!(at_work, 0, "after the drain");
    }
    for thread in sessions.into_iter().chain([requester]).chain(pool) {
        thread.join().unwrap();
    }
    assert!(manager.is_empty(), "all sessions and their helpers have left");
}
