//! The session-local values of a session are dropped once, before its receipts complete.
//!
//! At the same time: a receipt and destructors; the first use and the end.

use crate::common::{ParkedSession, immediate, model, spawn};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use safepoint_under_loom::{ClientInfo, SessionManager, ThreadModel, current, session_local};
use std::cell::RefCell;
use std::time::Duration;

/// A value that counts its drops. Relaxed: that they are seen is for the receipt to see to.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        assert_eq!(current::session_id(), None, "a destructor runs without a session");
        assert!(COUNTED.try_with(|_| ()).is_err());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

session_local! {
    static COUNTED: RefCell<Option<Counted>> = RefCell::new(None);
}

/// An idle session that two kill, one of whom runs a session of its own.
#[test]
fn a_receipt_completes_before_the_destructors() {
    let name = "session_local_destructors_against_kill::a_receipt_completes_before_the_destructors";
    model(name, true, kill_against_kill);
}

fn kill_against_kill() {
    let drops = Arc::new(AtomicUsize::new(0));
    let manager = SessionManager::new(ThreadModel::Pool);
    let workers = ["victim's", "killer's"].map(|name| manager.register_worker(name).unwrap());
    let [victims, killers] = workers;
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let attached = session.attach(&victims).unwrap();
    COUNTED.with_borrow_mut(|value| *value = Some(Counted(drops.clone())));
    drop(attached);
    let parked = ParkedSession::new(session);

    let other = {
        let (manager, drops) = (manager.clone(), drops.clone());
        spawn(move || {
            let Ok(mut receipt) = manager.terminate(id, immediate()) else { return };
            assert!(receipt.wait_timeout(Duration::from_secs(1)).is_some());
            assert_eq!(
                drops.load(Ordering::Relaxed),
                1,
                "the receipt is complete, and a value exists"
            );
        })
    };
    let mut killer = manager.open(ClientInfo::default()).unwrap();
    let attached = killer.attach(&killers).unwrap();
    if let Ok(mut receipt) = manager.terminate(id, immediate()) {
        assert!(receipt.wait_timeout(Duration::from_secs(1)).is_some());
        assert_eq!(drops.load(Ordering::Relaxed), 1, "the receipt is complete, and a value exists");
    }
    assert_eq!(current::session_id(), Some(attached.id()), "the killer's session is back");
    drop(attached);
    other.join().unwrap();
    assert_eq!(parked.closed(), 1);
    assert_eq!(drops.load(Ordering::Relaxed), 1, "dropped once");
}

/// A session that is killed as it closes of its own accord.
#[test]
fn a_receipt_completes_during_the_destructors() {
    let name = "session_local_destructors_against_kill::a_receipt_completes_during_the_destructors";
    model(name, true, kill_against_close);
}

fn kill_against_close() {
    let drops = Arc::new(AtomicUsize::new(0));
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let id = session.id();
    let waiter = {
        let (manager, drops) = (manager.clone(), drops.clone());
        spawn(move || {
            let Ok(mut receipt) = manager.terminate(id, immediate()) else { return };
            assert!(receipt.wait_timeout(Duration::from_secs(1)).is_some());
            let dropped = drops.load(Ordering::Relaxed);
            assert!(
                dropped == MADE.load(Ordering::Relaxed),
                "the receipt is complete, and a value exists"
            );
        })
    };
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    if attached.check().is_ok() {
        MADE.fetch_add(1, Ordering::Relaxed);
        COUNTED.with_borrow_mut(|value| *value = Some(Counted(drops.clone())));
    }
    drop(attached);
    session.close();
    let made = MADE.load(Ordering::Relaxed);
    assert_eq!(drops.load(Ordering::Relaxed), made, "dropped once");
    waiter.join().unwrap();
}

loom::lazy_static! {
    static ref MADE: AtomicUsize = AtomicUsize::new(0);
    static ref DROPPED: AtomicUsize = AtomicUsize::new(0);
}

struct Made;

impl Made {
    fn new() -> Made {
        MADE.fetch_add(1, Ordering::Relaxed);
        Made
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

session_local! {
    static LATE: Made = Made::new();
}

/// A thread with a leaked guard asks for a value while another thread ends the session.
#[test]
fn a_value_is_created_as_its_session_ends() {
    let name = "session_local_destructors_against_kill::a_value_is_created_as_its_session_ends";
    model(name, false, first_use_against_end);
}

fn first_use_against_end() {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    // What looks at a session lives on with whoever waits for it, and its values do not.
    let _receipt = manager.terminate(session.id(), immediate()).unwrap();
    std::mem::forget(session.attach(&thread).unwrap());
    let ender = spawn(move || session.close());
    let _ = LATE.try_with(|_| ());
    ender.join().unwrap();
    let made = MADE.load(Ordering::Relaxed);
    assert!(made <= 1);
    assert_eq!(DROPPED.load(Ordering::Relaxed), made, "each is dropped once");
    assert!(LATE.try_with(|_| ()).is_err(), "no new life after the end");
}
