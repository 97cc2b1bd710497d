//! A request reaches its own session, and no other session of the worker or of the slot.
//!
//! At the same time: a termination and the worker's next session, or the next session in the same
//! slot; requests by thread, also by the SQL function, and moves between threads.

use crate::common::{immediate, killed, model, spawn};
use safepoint_under_loom::id::ThreadId;
use safepoint_under_loom::request::{Target, TargetSnapshot};
use safepoint_under_loom::{
    Cancel, ClientInfo, Requester, SessionId, SessionManager, ThreadModel, current, sql,
};

/// openGauss, hole 2: "die" is a flag of the thread, and its next session dies.
#[test]
fn next_session_dies_instead() {
    model("no_other_session_is_hit::next_session_dies_instead", false, kill_against_hand_over);
}

fn kill_against_hand_over() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").unwrap();
    let mut victim = manager.open(ClientInfo::default()).unwrap();
    let mut bystander = manager.open(ClientInfo::default()).unwrap();
    let (id, other) = (victim.id(), bystander.id());
    let attached = victim.attach(&worker).unwrap();
    let killer = {
        let manager = manager.clone();
        spawn(move || manager.terminate(id, immediate()).unwrap())
    };
    let interrupted = attached.detach().is_err();
    let next = bystander.attach(&worker).unwrap();
    next.check().expect("the worker's next session");
    next.detach().expect("the worker's next session");

    let receipt = killer.join().unwrap();
    assert_eq!(receipt.session(), id);
    bystander.check().expect("the worker's next session");
    assert!(interrupted || victim.check().is_err(), "the interrupt was lost");
    assert!(manager.session_info(other).is_some());
    victim.close();
    assert!(killed(&receipt));
}

/// PostgreSQL reuses process ids, openGauss slots: a stranger is killed.
#[test]
fn wrong_session_through_a_reused_id() {
    let name = "no_other_session_is_hit::wrong_session_through_a_reused_id";
    model(name, false, kill_against_reuse);
}

fn kill_against_reuse() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let first = manager.open(ClientInfo::default()).unwrap();
    let id = first.id();
    let killer = {
        let manager = manager.clone();
        spawn(move || manager.terminate(id, immediate()))
    };
    drop(first);
    let successor = manager.open(ClientInfo::default()).unwrap();
    assert_ne!(successor.id(), id);
    if let Ok(receipt) = killer.join().unwrap() {
        assert_eq!(receipt.session(), id);
        assert!(receipt.try_get().is_some(), "it has ended, so the receipt is complete");
    }
    successor.check().expect("the next session in the same slot");
}

/// Sends a request, and returns the state of its target if it was accepted.
type SendRequest = fn(&SessionManager, Target) -> Option<TargetSnapshot>;

fn terminate(manager: &SessionManager, target: Target) -> Option<TargetSnapshot> {
    manager.terminate(target, immediate()).ok().map(|receipt| receipt.target())
}

fn cancel(manager: &SessionManager, target: Target) -> Option<TargetSnapshot> {
    let request = Cancel::running(Requester::system());
    manager.cancel(target, request).ok().map(|receipt| receipt.target())
}

/// Cancels by the SQL function, which names a thread by one number twice.
fn cancel_by_sql(manager: &SessionManager, target: Target) -> Option<TargetSnapshot> {
    let Target::AttachedTo(thread) = target else { panic!("{target:?} is not a thread") };
    let address = sql::SessionAddress::try_from((thread.into(), thread.into())).unwrap();
    let receipt = sql::cancel_session(manager, address, Requester::system(), None);
    receipt.ok().map(|receipt| receipt.target())
}

type Names = fn(ThreadId, SessionId) -> Target;

fn its_thread(thread: ThreadId, _: SessionId) -> Target {
    Target::AttachedTo(thread)
}

/// Whoever names the thread on which it saw a session hits it there or not at all, and not on the
/// thread to which it has gone. Its second statement is queued in between, and so all that is found
/// after the first thread has let go of it has that number.
fn request_by_thread_against_move(names: Names, send: SendRequest) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let [one, two] = ["one", "two"].map(|name| manager.register_worker(name).unwrap());
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let target = names(one.id(), session.id());
    let mut attached = session.attach(&one).unwrap();
    let first = attached.begin().unwrap();
    let number = first.statement_id();
    let killer = {
        let manager = manager.clone();
        spawn(move || send(&manager, target))
    };
    drop(first);
    drop(attached);
    session.reserve_statement().unwrap();
    let mut attached = session.attach(&two).unwrap();
    let second = attached.begin();
    let found = killer.join().unwrap();
    if let Some(statement) = found.and_then(|found| found.statement_id) {
        assert_eq!(statement, number, "hit on another thread than the one that was named");
    }
    drop(second);
}

#[test]
fn killed_by_thread_after_it_has_moved() {
    let scene = || request_by_thread_against_move(its_thread, terminate);
    model("no_other_session_is_hit::killed_by_thread_after_it_has_moved", true, scene);
}

#[test]
fn killed_by_thread_and_id_after_it_has_moved() {
    let scene = || request_by_thread_against_move(Target::Pair, terminate);
    model("no_other_session_is_hit::killed_by_thread_and_id_after_it_has_moved", true, scene);
}

#[test]
fn cancelled_by_thread_after_it_has_moved() {
    let scene = || request_by_thread_against_move(its_thread, cancel);
    model("no_other_session_is_hit::cancelled_by_thread_after_it_has_moved", true, scene);
}

#[test]
fn cancelled_by_thread_and_id_after_it_has_moved() {
    let scene = || request_by_thread_against_move(Target::Pair, cancel);
    model("no_other_session_is_hit::cancelled_by_thread_and_id_after_it_has_moved", true, scene);
}

#[test]
fn cancelled_by_sql_after_it_has_moved() {
    let scene = || request_by_thread_against_move(its_thread, cancel_by_sql);
    model("no_other_session_is_hit::cancelled_by_sql_after_it_has_moved", true, scene);
}

/// The same where the first thread has gone, and the second has come since: it has not the place of
/// the first as long as someone may name that.
fn request_by_thread_against_its_successor(names: Names, send: SendRequest) {
    let manager = SessionManager::new(ThreadModel::Pool);
    let one = manager.register_worker("one").unwrap();
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let target = names(one.id(), session.id());
    let mut attached = session.attach(&one).unwrap();
    let first = attached.begin().unwrap();
    let number = first.statement_id();
    let killer = {
        let manager = manager.clone();
        spawn(move || send(&manager, target))
    };
    drop(first);
    drop(attached);
    drop(one);
    session.reserve_statement().unwrap();
    let two = manager.register_worker("two").unwrap();
    let mut attached = session.attach(&two).unwrap();
    let second = attached.begin();
    let found = killer.join().unwrap();
    if let Some(statement) = found.and_then(|found| found.statement_id) {
        assert_eq!(statement, number, "hit on another thread than the one that was named");
    }
    drop(second);
}

#[test]
fn killed_by_a_thread_whose_slot_is_reused() {
    let scene = || request_by_thread_against_its_successor(its_thread, terminate);
    model("no_other_session_is_hit::killed_by_a_thread_whose_slot_is_reused", true, scene);
}

#[test]
fn cancelled_by_a_thread_whose_slot_is_reused() {
    let scene = || request_by_thread_against_its_successor(Target::Pair, cancel);
    model("no_other_session_is_hit::cancelled_by_a_thread_whose_slot_is_reused", true, scene);
}

/// Where each session has a thread of its own, that is named only while it runs the session.
fn request_by_own_thread_against_detach(send: SendRequest) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let target = Target::AttachedTo(thread.id());
    let mut attached = session.attach(&thread).unwrap();
    let first = attached.begin().unwrap();
    let number = first.statement_id();
    let killer = {
        let manager = manager.clone();
        spawn(move || send(&manager, target))
    };
    drop(first);
    drop(attached);
    session.reserve_statement().unwrap();
    let found = killer.join().unwrap();
    if let Some(statement) = found.and_then(|found| found.statement_id) {
        assert_eq!(statement, number, "hit after it had left its thread");
    }
}

#[test]
fn killed_by_its_own_thread_after_it_has_left_it() {
    let scene = || request_by_own_thread_against_detach(terminate);
    model("no_other_session_is_hit::killed_by_its_own_thread_after_it_has_left_it", false, scene);
}

/// A thread with a leaked attachment does not use the session once it has
/// left it, not even as it goes to another.
#[test]
fn a_leaked_attachment_comes_back() {
    model(
        "no_other_session_is_hit::a_leaked_attachment_comes_back",
        false,
        ambient_code_against_attach,
    );
}

fn ambient_code_against_attach() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    std::mem::forget(session.attach(&thread).unwrap());
    let (left, leaves) = loom::sync::mpsc::channel();
    let other = spawn(move || {
        // Whoever asks has the session in hand: the attachment is over.
        session.check().unwrap();
        left.send(()).unwrap();
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        assert_eq!(current::session_id(), Some(attached.id()));
    });
    leaves.recv().unwrap();
    assert_eq!(current::session_id(), None, "it runs elsewhere, or nowhere");
    other.join().unwrap();
}
