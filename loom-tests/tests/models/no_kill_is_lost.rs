//! An accepted termination stays pending until the session has ended.
//!
//! At the same time: a termination and a detach, an attach, or another termination.

use crate::common::{ParkedSession, killed, killer, model, spawn};
use safepoint_under_loom::mutation::{Mutation, on};
use safepoint_under_loom::{
    Attached, ClientInfo, Interrupt, Requester, Session, SessionManager, Terminate, TerminateMode,
    Thread, ThreadModel,
};

fn pool() -> (SessionManager, Session, Thread) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let session = manager.open(ClientInfo::default()).unwrap();
    let worker = manager.register_worker("worker").unwrap();
    (manager, session, worker)
}

/// openGauss, hole 1: a kill that arrives while the worker puts the session down is dropped.
#[test]
fn kill_dropped_while_changing_threads() {
    let scene = || kill_against_detach(|attached| attached.detach());
    model("no_kill_is_lost::kill_dropped_while_changing_threads", true, scene);
}

/// The same where the session goes back to the queue, with a command that has not begun.
#[test]
fn kill_dropped_while_going_back_to_the_queue() {
    let scene = || kill_against_detach(|attached| attached.detach_to_queue());
    model("no_kill_is_lost::kill_dropped_while_going_back_to_the_queue", true, scene);
}

fn kill_against_detach(detach: fn(Attached<'_>) -> Result<(), Interrupt>) {
    let (manager, session, worker) = pool();
    let id = session.id();
    let parked = ParkedSession::new(session);
    let mut session = parked.take().unwrap();
    let attached = session.attach(&worker).unwrap();
    let killers = [killer(&manager, id), killer(&manager, id)];

    let locked = (!on(Mutation::SeatedAfterDetach)).then(|| parked.session.lock().unwrap());
    match detach(attached) {
        Ok(()) => *locked.unwrap_or_else(|| parked.session.lock().unwrap()) = Some(session),
        Err(_) => {
            drop(locked);
            parked.end(session);
        }
    }

    let receipts: Vec<_> = killers.into_iter().filter_map(|k| k.join().unwrap()).collect();
    assert!(!receipts.is_empty(), "the session is alive until it is killed");
    assert!(receipts.iter().all(killed), "an accepted kill was lost");
    assert_eq!(parked.closed(), 1, "the session is closed once");
    assert!(manager.is_empty());
}

/// openGauss, hole 5: attach overwrites "closing".
#[test]
fn attach_overwrites_closing() {
    model("no_kill_is_lost::attach_overwrites_closing", false, kill_against_attach);
}

fn kill_against_attach() {
    let (manager, session, worker) = pool();
    let id = session.id();
    let parked = ParkedSession::new(session);
    let killer = killer(&manager, id);

    if let Some(mut session) = parked.take() {
        let attached = session.attach(&worker).unwrap();
        let due = attached.check();
        let mut slot = parked.session.lock().unwrap();
        match (due, attached.detach()) {
            (Ok(()), Ok(())) => *slot = Some(session),
            _ => {
                drop(slot);
                parked.end(session);
            }
        }
    }

    let receipt = killer.join().unwrap().expect("the session is alive until it is killed");
    assert!(killed(&receipt), "an accepted kill was lost");
    assert_eq!(parked.closed(), 1, "the session is closed once");
}

/// openGauss, hole 3: two kills of one thread's sessions merge, and both are lost.
#[test]
fn two_kills_merge_and_both_are_lost() {
    model("no_kill_is_lost::two_kills_merge_and_both_are_lost", true, kill_against_kill);
}

fn kill_against_kill() {
    let (manager, mut session, worker) = pool();
    let id = session.id();
    let attached = session.attach(&worker).unwrap();
    let killers = [killer(&manager, id), killer(&manager, id)];
    let receipts = killers.map(|killer| killer.join().unwrap().expect("it is alive"));
    attached.check().expect_err("the kill stays due");
    drop(attached);
    session.close();
    assert!(receipts.iter().all(killed), "an accepted kill was lost");
}

/// A flag that is set again between being read and being cleared. Here the attention flag
/// is still raised, for a probe that is answered already, as the kill arrives.
#[test]
fn flag_cleared_as_a_kill_raises_it() {
    let name = "no_kill_is_lost::flag_cleared_as_a_kill_raises_it";
    model(name, false, kill_against_a_raised_flag);
}

fn kill_against_a_raised_flag() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    manager.probe(id).unwrap();
    safepoint_under_loom::check().expect("a probe ends nothing");
    let killer = killer(&manager, id);
    let _ = safepoint_under_loom::check();
    killer.join().unwrap().expect("it was there");
    safepoint_under_loom::check().expect_err("the kill was missed, or is seen once only");
    drop(attached);
}

/// A kill that arrives as the session moves to another thread raises the flag there, or is observed
/// there.
#[test]
fn flag_of_another_thread() {
    model("no_kill_is_lost::flag_of_another_thread", true, kill_against_another_flag);
}

fn kill_against_another_flag() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let killer = killer(&manager, session.id());
    let workers = ["one", "two"].map(|name| manager.register_worker(name).unwrap());
    let [one, two] = workers;
    let mut session = spawn(move || {
        drop(session.attach(&one).unwrap());
        session
    })
    .join()
    .unwrap();
    let attached = session.attach(&two).unwrap();
    let _ = safepoint_under_loom::check();
    killer.join().unwrap().expect("it was there");
    safepoint_under_loom::check().expect_err("the kill was missed, or is seen once only");
    drop(attached);
}

/// The same where the session's own threads are two of the system's: its word is the same on both.
#[test]
fn flag_of_the_same_state() {
    model("no_kill_is_lost::flag_of_the_same_state", true, kill_against_the_same_state);
}

fn kill_against_the_same_state() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let killer = killer(&manager, session.id());
    let mut session = spawn(move || {
        let thread = session.own_thread().unwrap();
        drop(session.attach(&thread).unwrap());
        session
    })
    .join()
    .unwrap();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    let _ = safepoint_under_loom::check();
    killer.join().unwrap().expect("it was there");
    safepoint_under_loom::check().expect_err("the kill was missed, or is seen once only");
    drop(attached);
}

/// A kill that becomes due by a transition of its target raises the flag for it.
#[test]
fn flag_of_a_deferred_kill() {
    model("no_kill_is_lost::flag_of_a_deferred_kill", true, deferred_kill_against_finish);
}

fn deferred_kill_against_finish() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    let statement = attached.begin().unwrap();
    // The flag of a new session is raised. This safe point clears it.
    safepoint_under_loom::check().expect("nothing is due");
    let killer = {
        let manager = manager.clone();
        let later = Terminate::new(TerminateMode::AfterStatement, Requester::system());
        spawn(move || manager.terminate(id, later).unwrap())
    };
    drop(statement);
    let _ = safepoint_under_loom::check();
    killer.join().unwrap();
    safepoint_under_loom::check().expect_err("the kill was missed, or is seen once only");
}
