//! Each transition of a session's state is one read-modify-write.
//!
//! At the same time: a termination, a cancel, a probe or the timer, and each transition of the
//! session.
//!
//! For each transition the table of mistakes has one that splits it into a load and a store.

use crate::common::{JoinHandle, ParkedSession, immediate, killer, model, spawn};
use safepoint_under_loom::diagnose::ProbeResult;
use safepoint_under_loom::id::StatementId;
use safepoint_under_loom::model::set_clock;
use safepoint_under_loom::request::StatementEnd;
use safepoint_under_loom::session::{Timeouts, WaitMode};
use safepoint_under_loom::{
    Attached, Cancel, ClientInfo, Receipt, Requester, Session, SessionId, SessionManager,
    Terminate, TerminateMode, ThreadModel, session_local,
};
use std::cell::Cell;
use std::task::Waker;
use std::time::Duration;

const TEN: Duration = Duration::from_secs(10);

fn one() -> (SessionManager, Session) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    (manager, session)
}

/// Kills a session while its thread runs `step`. The next safe point must report the kill.
fn kill_against(step: impl FnOnce(&mut Attached<'_>)) {
    let (manager, mut session) = one();
    let killer = killer(&manager, session.id());
    let thread = session.own_thread().unwrap();
    let mut attached = session.attach(&thread).unwrap();
    step(&mut attached);
    killer.join().unwrap().expect("it is alive");
    attached.check().expect_err("the kill was lost");
}

#[test]
fn kill_against_begin() {
    model("each_transition_is_atomic::kill_against_begin", false, || {
        kill_against(|attached| drop(attached.begin()))
    });
}

#[test]
fn kill_against_transaction() {
    let scene = || {
        kill_against(|attached| {
            attached.set_in_transaction(true);
            attached.set_in_transaction(false);
        });
    };
    model("each_transition_is_atomic::kill_against_transaction", false, scene);
}

/// The wait ends by itself. Its begin and its end are transitions.
#[test]
fn kill_against_a_short_wait() {
    let scene = || {
        kill_against(|attached| {
            let _ = attached.wait(WaitMode::Interruptible, Waker::noop(), || ());
        });
    };
    model("each_transition_is_atomic::kill_against_a_short_wait", false, scene);
}

#[test]
fn kill_against_the_end_of_a_hold_off() {
    let scene = || kill_against(|attached| drop(attached.hold_off("a test")));
    model("each_transition_is_atomic::kill_against_the_end_of_a_hold_off", false, scene);
}

session_local! {
    static NUMBER: Cell<u32> = Cell::new(0);
}

#[test]
fn kill_against_the_first_value() {
    model("each_transition_is_atomic::kill_against_the_first_value", false, || {
        kill_against(|_| NUMBER.set(1))
    });
}

/// As the limits are set, the timer's entry is put where it belongs.
#[test]
fn kill_against_set_timeouts() {
    let scene = || {
        set_clock(Duration::ZERO);
        kill_against(|attached| {
            let limits = Timeouts::new().with_idle(TEN);
            attached.set_timeouts(limits).unwrap();
        });
    };
    model("each_transition_is_atomic::kill_against_set_timeouts", false, scene);
}

/// A detached session reserves the id of its next statement.
#[test]
fn kill_against_reserve_statement() {
    let scene = || {
        let (manager, session) = one();
        let killer = killer(&manager, session.id());
        session.reserve_statement();
        killer.join().unwrap().expect("it is alive");
        session.check().expect_err("the kill was lost");
    };
    model("each_transition_is_atomic::kill_against_reserve_statement", false, scene);
}

#[test]
fn kill_against_discard_reserved() {
    let scene = || {
        let (manager, mut session) = one();
        session.reserve_statement().unwrap();
        let killer = killer(&manager, session.id());
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        attached.discard_reserved();
        killer.join().unwrap().expect("it is alive");
        attached.check().expect_err("the kill was lost");
    };
    model("each_transition_is_atomic::kill_against_discard_reserved", false, scene);
}

/// Cancels a command that is queued, on a thread of its own.
fn canceller(
    manager: &SessionManager,
    id: SessionId,
    number: StatementId,
) -> JoinHandle<Option<Receipt<StatementEnd>>> {
    let manager = manager.clone();
    let request = Cancel::statement(number, Requester::system());
    spawn(move || manager.cancel(id, request).ok())
}

/// A reserved statement that never ran: a cancel is rejected, or its receipt reports the end.
#[test]
fn cancel_against_discard_reserved() {
    let scene = || {
        let (manager, mut session) = one();
        let number = session.reserve_statement().unwrap();
        let canceller = canceller(&manager, session.id(), number);
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        attached.discard_reserved();
        if let Some(receipt) = canceller.join().unwrap() {
            let over = receipt.try_get().expect("it is over, so the receipt is complete");
            assert!(!over.cancelled, "nothing has run");
        }
        attached.check().expect("nothing is to end any more");
    };
    model("each_transition_is_atomic::cancel_against_discard_reserved", false, scene);
}

/// A queued command begins as it is cancelled: it sees that, or was refused.
#[test]
fn cancel_against_begin() {
    let scene = || {
        let (manager, mut session) = one();
        let id = session.id();
        let number = session.reserve_statement().unwrap();
        let canceller = canceller(&manager, id, number);
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        match attached.begin() {
            Ok(statement) => {
                let receipt = canceller.join().unwrap().expect("it runs, or is about to");
                assert_eq!(statement.statement_id(), number);
                statement.check().expect_err("the cancel was lost");
                statement.finish().unwrap();
                assert!(receipt.try_get().expect("it is over").cancelled);
            }
            Err(interrupt) => {
                assert!(!interrupt.is_terminate());
                let receipt = canceller.join().unwrap().expect("it has seen that");
                assert!(receipt.try_get().expect("it is over").cancelled);
                assert_eq!(manager.session_info(id).unwrap().statement_id, None);
            }
        }
    };
    model("each_transition_is_atomic::cancel_against_begin", false, scene);
}

/// A session ends with a command that has not begun, as that is cancelled.
#[test]
fn cancel_against_end() {
    let scene = || {
        let (manager, session) = one();
        let number = session.reserve_statement().unwrap();
        let canceller = canceller(&manager, session.id(), number);
        session.close();
        if let Some(receipt) = canceller.join().unwrap() {
            let over = receipt.try_get().expect("it is over, so the receipt is complete");
            assert!(!over.cancelled, "it has never begun");
        }
    };
    model("each_transition_is_atomic::cancel_against_end", false, scene);
}

/// Asks on a thread of its own for the next safe point.
fn prober(manager: &SessionManager, id: SessionId) -> JoinHandle<Option<ProbeResult>> {
    let manager = manager.clone();
    spawn(move || manager.probe(id))
}

/// The next safe point answers a probe that was accepted.
fn is_answered(manager: &SessionManager, id: SessionId, probed: Option<ProbeResult>) {
    let is_requested = matches!(probed, Some(ProbeResult::Requested { last_safe_point: None, .. }));
    assert!(is_requested, "its thread has it all the while");
    assert!(manager.session_info(id).unwrap().last_safe_point.is_some(), "the probe was lost");
}

/// A probe and a termination at the same time.
#[test]
fn probe_against_kill() {
    let scene = || {
        let (manager, mut session) = one();
        let id = session.id();
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        let prober = prober(&manager, id);
        manager.terminate(id, immediate()).expect("it is alive");
        let probed = prober.join().unwrap();
        attached.check().expect_err("the kill was lost");
        is_answered(&manager, id, probed);
    };
    model("each_transition_is_atomic::probe_against_kill", false, scene);
}

/// A session with limits says under the record's lock that a transaction is open. That keeps the
/// killers away, and the watchers not.
#[test]
fn probe_against_transaction() {
    let scene = || {
        set_clock(Duration::ZERO);
        let (manager, mut session) = one();
        let id = session.id();
        session.set_timeouts(Timeouts::new().with_statement(TEN)).unwrap();
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        let prober = prober(&manager, id);
        attached.set_in_transaction(true);
        let probed = prober.join().unwrap();
        attached.check().expect("nothing is due");
        is_answered(&manager, id, probed);
    };
    model("each_transition_is_atomic::probe_against_transaction", false, scene);
}

/// So does one whose numbers of statements are used up, and that has to end for it.
#[test]
fn probe_against_the_last_statement() {
    let scene = || {
        let (manager, mut session) = one();
        let id = session.id();
        session.use_up_statements();
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let prober = prober(&manager, id);
        attached.begin().expect_err("there is no number for it");
        let probed = prober.join().unwrap();
        attached.check().expect_err("it can't go on");
        is_answered(&manager, id, probed);
    };
    model("each_transition_is_atomic::probe_against_the_last_statement", false, scene);
}

/// What runs out as the session goes off its thread: the timer's step takes nothing of that back, or
/// nobody would tell the session.
fn timer_against_detach(ends: impl FnOnce(&SessionManager, &Session), open: bool) {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::Pool);
    let worker = manager.register_worker("worker").unwrap();
    let mut session = manager.open(ClientInfo::default()).unwrap();
    // What the record needs for this is made here: loom knows nothing of `OnceLock`.
    session.set_timeouts(Timeouts::new().with_statement(TEN * 9)).unwrap();
    session.attach(&worker).unwrap().set_in_transaction(open);
    ends(&manager, &session);
    let parked = ParkedSession::new(session);
    let mut session = parked.take().unwrap();
    let attached = session.attach(&worker).unwrap();
    let timer = {
        let manager = manager.clone();
        spawn(move || manager.expire_timeouts(TEN))
    };
    let mut slot = parked.session.lock().unwrap();
    let due = attached.detach();
    if due.is_ok() {
        *slot = Some(session);
        drop(slot);
    } else {
        drop(slot);
        parked.end(session);
    }
    timer.join().unwrap();
    assert_eq!(parked.closed(), 1, "the timeout has expired, and the session was not closed");
    assert!(manager.is_empty());
}

#[test]
fn grace_against_detach() {
    let scene = || {
        let ends = |manager: &SessionManager, session: &Session| {
            let later =
                Terminate::new(TerminateMode::AfterTransaction, Requester::system()).grace(TEN);
            manager.terminate(session.id(), later).unwrap();
        };
        timer_against_detach(ends, true);
    };
    model("each_transition_is_atomic::grace_against_detach", false, scene);
}

#[test]
fn idle_timeout_against_detach() {
    let scene = || {
        let ends = |_: &SessionManager, session: &Session| {
            session.set_timeouts(Timeouts::new().with_idle(TEN)).unwrap();
        };
        timer_against_detach(ends, false);
    };
    model("each_transition_is_atomic::idle_timeout_against_detach", false, scene);
}
