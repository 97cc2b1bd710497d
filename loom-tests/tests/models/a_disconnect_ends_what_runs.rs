//! A client that has left ends the statement that runs, after its time. A later statement has the whole time.
//!
//! At the same time: the end of the connection or the timer, and a statement that begins or ends.

use crate::common::{model, spawn};
use safepoint_under_loom::model::set_clock;
use safepoint_under_loom::request::InterruptReason;
use safepoint_under_loom::session::Timeouts;
use safepoint_under_loom::{ClientInfo, Session, SessionManager, ThreadModel};
use std::time::Duration;

const TEN: Duration = Duration::from_secs(10);

fn watched() -> (SessionManager, Session) {
    set_clock(Duration::ZERO);
    let manager = SessionManager::new(ThreadModel::PerSession);
    let session = manager.open(ClientInfo::default()).unwrap();
    session.set_timeouts(Timeouts::new().with_client_disconnect(TEN)).unwrap();
    manager.connection_watched(session.id(), 1);
    (manager, session)
}

/// The statement begins as the connection ends. The timer has an entry for it.
#[test]
fn a_statement_begins() {
    model("a_disconnect_ends_what_runs::a_statement_begins", true, || {
        let (manager, mut session) = watched();
        let id = session.id();
        let connection = {
            let manager = manager.clone();
            spawn(move || manager.connection_closed(id, 1))
        };
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        connection.join().unwrap();
        assert_eq!(manager.timed(), 1, "the timer would not check it in time");
        manager.expire_timeouts(TEN);
        let told = statement.check().expect_err("its time has passed");
        assert_eq!(told.request().reason(), InterruptReason::ClientDisconnected);
    });
}

/// The time of the first statement has passed as the timer checks it, and that of the second has not.
#[test]
fn the_next_statement_begins() {
    model("a_disconnect_ends_what_runs::the_next_statement_begins", true, || {
        let (manager, mut session) = watched();
        let id = session.id();
        let thread = session.own_thread().unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let first = attached.begin().unwrap();
        manager.connection_closed(id, 1);
        let timer = {
            let manager = manager.clone();
            spawn(move || manager.expire_timeouts(TEN))
        };
        let ended = first.finish().is_err();
        set_clock(TEN);
        match attached.begin() {
            Ok(second) => {
                assert!(!ended);
                second.check().expect("its own time has not passed");
                timer.join().unwrap();
                second.check().expect("its own time has not passed");
                assert_eq!(manager.timed(), 1, "the timer would not check it in time");
                second.finish().unwrap();
            }
            Err(told) => {
                assert_eq!(told.request().reason(), InterruptReason::ClientDisconnected);
                timer.join().unwrap();
            }
        }
    });
}

/// The session gets another connection as the end of the first one arrives.
#[test]
fn another_connection() {
    model("a_disconnect_ends_what_runs::another_connection", true, || {
        let (manager, session) = watched();
        let id = session.id();
        let connection = {
            let manager = manager.clone();
            spawn(move || manager.connection_closed(id, 1))
        };
        manager.connection_watched(id, 2);
        connection.join().unwrap();
        // A statement in the queue. No thread takes it, so that a failure leaves no thread-local of the library.
        session.reserve_statement();
        manager.expire_timeouts(TEN);
        session.check().expect("its client is there");
    });
}
