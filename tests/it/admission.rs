//! The limit on sessions, and the slots that are reserved for administrators.

use crate::common::{
    MODELS, ParkedSession, TEST_TIMEOUT, kill_now, locked, rounds, supervised, thread_for,
    wait_until,
};
use safepoint::manager::OpenError;
use safepoint::{ClientInfo, Session, SessionManager, Thread, ThreadModel};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

fn limited(model: ThreadModel, max: usize, reserved: usize) -> SessionManager {
    SessionManager::builder(model).max_sessions(max).reserved_for_admins(reserved).build()
}

/// Opens a session as a server does, whose user is not known yet.
fn new_session(manager: &SessionManager) -> Result<Session, OpenError> {
    manager.open(ClientInfo::default())
}

/// The user is known now. A task requests admission while it is detached.
fn log_in(session: &mut Session, thread: &Thread, admin: bool) -> Result<(), OpenError> {
    if session.id().get().is_multiple_of(2) {
        session.update_client_info(|about| about.with_admin(admin));
        return session.admit();
    }
    let attached = session.attach(thread).unwrap();
    attached.update_client_info(|about| about.with_admin(admin));
    attached.admit()
}

/// A session that got in, or what kept it out.
fn enter(manager: &SessionManager, admin: bool) -> Result<Session, OpenError> {
    let mut session = new_session(manager)?;
    let thread = thread_for(manager, &session);
    log_in(&mut session, &thread, admin)?;
    Ok(session)
}

#[test]
fn the_limit_holds_and_slots_are_reused() {
    supervised(|| {
        for model in MODELS {
            let manager = limited(model, 3, 0);
            let mut open: Vec<_> = (0..3).map(|_| enter(&manager, false).unwrap()).collect();
            assert_eq!(new_session(&manager).unwrap_err(), OpenError::Full);
            // Each way in which a session ends releases one slot, and only one.
            for route in 0..4 {
                let mut session = open.remove(0);
                match route {
                    0 => drop(session.close()),
                    1 => drop(session),
                    2 => {
                        let id = session.id();
                        let parked = ParkedSession::leave(session);
                        let mut receipt = manager.terminate(id, kill_now()).unwrap();
                        assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
                        assert!(locked(&parked.session).is_none());
                    }
                    _ => {
                        let thread = thread_for(&manager, &session);
                        let attached = session.attach(&thread).unwrap();
                        manager.terminate(attached.id(), kill_now()).unwrap();
                        assert!(attached.detach().is_err());
                        assert_eq!(
                            new_session(&manager).unwrap_err(),
                            OpenError::Full,
                            "not ended yet"
                        );
                        drop(session);
                    }
                }
                open.push(enter(&manager, false).unwrap());
                assert_eq!(new_session(&manager).unwrap_err(), OpenError::Full, "way {route}");
            }
        }
    });
}

#[test]
fn a_slot_is_released_before_the_receipt_completes() {
    supervised(|| {
        for model in MODELS {
            let manager = limited(model, 1, 0);
            for _ in rounds(200) {
                let session = new_session(&manager).unwrap();
                let mut receipt = manager.terminate(session.id(), kill_now()).unwrap();
                let ender = std::thread::spawn(move || drop(session));
                assert!(receipt.wait_timeout(TEST_TIMEOUT).is_some());
                drop(new_session(&manager).expect("its place is free"));
                ender.join().unwrap();
            }
        }
    });
}

#[test]
fn reserved_slots_are_for_administrators() {
    supervised(|| {
        for model in MODELS {
            let manager = limited(model, 5, 2);
            let ordinary: Vec<_> = (0..3).map(|_| enter(&manager, false).unwrap()).collect();
            assert_eq!(enter(&manager, false).unwrap_err(), OpenError::Full);
            let admins = [enter(&manager, true).unwrap(), enter(&manager, true).unwrap()];
            assert_eq!(enter(&manager, true).unwrap_err(), OpenError::Full, "all five are taken");
            drop(admins);
            assert_eq!(enter(&manager, false).unwrap_err(), OpenError::Full);
            drop(ordinary);
            // As in PostgreSQL: the reserved slots must be free, for any users of the other slots.
            let admins: Vec<_> = (0..3).map(|_| enter(&manager, true).unwrap()).collect();
            assert_eq!(enter(&manager, false).unwrap_err(), OpenError::Full);
            drop(admins);
            let _ = enter(&manager, false).unwrap();
            assert!(manager.is_empty());
        }
    });
}

#[test]
fn unadmitted_sessions_do_not_block_admission() {
    supervised(|| {
        let manager = limited(ThreadModel::PerSession, 5, 2);
        let mut newcomers: Vec<_> = (0..5).map(|_| new_session(&manager).unwrap()).collect();
        assert_eq!(new_session(&manager).unwrap_err(), OpenError::Full);
        let mut outcomes = Vec::new();
        for session in &mut newcomers {
            let thread = session.own_thread().unwrap();
            outcomes.push(log_in(session, &thread, false));
        }
        let full = Err(OpenError::Full);
        assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), full, full]);
        // A rejected session may turn out to be an administrator's, or may request admission again.
        let (left, refused) = newcomers.split_at_mut(3);
        let thread = refused[0].own_thread().unwrap();
        assert_eq!(log_in(&mut refused[0], &thread, true), Ok(()));
        assert_eq!(left.len(), 3);
    });
}

#[test]
fn only_the_first_admission_counts() {
    supervised(|| {
        let manager = limited(ThreadModel::PerSession, 3, 1);
        let mut session = enter(&manager, false).unwrap();
        let thread = session.own_thread().unwrap();
        for admin in [false, true, false] {
            assert_eq!(log_in(&mut session, &thread, admin), Ok(()));
        }
        let other = enter(&manager, false).expect("one place is left to ordinary users");
        drop((session, other));
        let all: Vec<_> = (0..3).map(|_| new_session(&manager).unwrap()).collect();
        assert_eq!(all.len(), manager.len());
    });
}

#[test]
fn all_or_no_slots_reserved() {
    supervised(|| {
        let manager = limited(ThreadModel::Pool, 2, 2);
        assert_eq!(enter(&manager, false).unwrap_err(), OpenError::Full);
        let _ = enter(&manager, true).unwrap();
        let manager = limited(ThreadModel::Pool, 1, usize::MAX);
        assert_eq!(enter(&manager, false).unwrap_err(), OpenError::Full);
        let _ = enter(&manager, true).unwrap();
        let manager = limited(ThreadModel::Pool, 0, 0);
        assert_eq!(enter(&manager, true).unwrap_err(), OpenError::Full);
        let _ = manager.register_worker("threads are not sessions").unwrap();
    });
}

#[test]
fn a_rejected_open_takes_no_slot() {
    supervised(|| {
        let manager = limited(ThreadModel::Pool, 1, 0);
        let session = new_session(&manager).unwrap();
        for _ in 0..3 {
            assert_eq!(new_session(&manager).unwrap_err(), OpenError::Full);
        }
        drop(session);
        drop(new_session(&manager).unwrap());
        manager.close();
        assert_eq!(new_session(&manager).unwrap_err(), OpenError::Closed);
        assert_eq!(new_session(&manager).unwrap_err(), OpenError::Closed, "the place came back");
    });
}

#[test]
fn without_a_limit_every_session_is_admitted() {
    supervised(|| {
        for model in MODELS {
            let manager = SessionManager::builder(model).reserved_for_admins(3).build();
            let sessions: Vec<_> = (0..100).map(|_| enter(&manager, false).unwrap()).collect();
            assert_eq!(manager.len(), sessions.len());
        }
    });
}

/// Threads open and end sessions at random, and some are terminated. The limit is never exceeded,
/// ordinary users never get reserved slots, and no slot is lost.
#[test]
fn races_neither_exceed_the_limit_nor_lose_slots() {
    supervised(|| {
        const MAX: usize = 4;
        const RESERVED: usize = 2;
        for model in MODELS {
            let manager = limited(model, MAX, RESERVED);
            let (open, ordinary) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let (refused, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let start = Barrier::new(8);
            std::thread::scope(|scope| {
                for number in 0..8 {
                    let (manager, start) = (&manager, &start);
                    let (open, ordinary, refused, entered) = (&open, &ordinary, &refused, &entered);
                    scope.spawn(move || {
                        let worker = manager.register_worker("worker").unwrap();
                        start.wait();
                        for turn in rounds(2000) {
                            let Ok(mut session) = new_session(manager) else {
                                refused.fetch_add(1, Ordering::Relaxed);
                                std::thread::yield_now();
                                continue;
                            };
                            assert!(open.fetch_add(1, Ordering::SeqCst) < MAX);
                            let own = session.own_thread();
                            let thread = own.as_ref().unwrap_or(&worker);
                            let admin = (number + turn) % 3 == 0;
                            match log_in(&mut session, thread, admin) {
                                Ok(()) if !admin => {
                                    let others = ordinary.fetch_add(1, Ordering::SeqCst);
                                    assert!(others < MAX - RESERVED);
                                    entered.fetch_add(1, Ordering::Relaxed);
                                    std::thread::yield_now();
                                    ordinary.fetch_sub(1, Ordering::SeqCst);
                                }
                                Ok(()) => {}
                                Err(full) => {
                                    assert!(!admin && full == OpenError::Full);
                                    refused.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            if turn % 5 == 0 {
                                manager.terminate(session.id(), kill_now()).unwrap();
                            }
                            open.fetch_sub(1, Ordering::SeqCst);
                            drop(session);
                        }
                    });
                }
            });
            assert!(refused.into_inner() > 0 && entered.into_inner() > 0, "they met");
            assert!(manager.is_empty());
            let ordinary: Vec<_> =
                (0..MAX - RESERVED).map(|_| enter(&manager, false).unwrap()).collect();
            let admins: Vec<_> = (0..RESERVED).map(|_| enter(&manager, true).unwrap()).collect();
            assert_eq!(new_session(&manager).unwrap_err(), OpenError::Full);
            drop((ordinary, admins));
        }
    });
}

/// Of two concurrent admissions one gets the last ordinary slot.
#[test]
fn two_concurrent_admissions() {
    supervised(|| {
        let manager = limited(ThreadModel::PerSession, 3, 2);
        for _ in rounds(500) {
            let both = Barrier::new(2);
            let admitted = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let mut session = new_session(&manager).unwrap();
                        let thread = session.own_thread().unwrap();
                        both.wait();
                        if log_in(&mut session, &thread, false).is_ok() {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                        // The admitted session keeps its slot until the other one has requested
                        // admission.
                        both.wait();
                    });
                }
            });
            assert_eq!(admitted.into_inner(), 1);
            wait_until("both are gone", || manager.is_empty());
        }
    });
}
