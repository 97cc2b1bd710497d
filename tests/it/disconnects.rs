//! Clients that leave in the middle of a statement.

use crate::common::{ENDLESS, Fixture, each_model, supervised, until, wait_until};
use safepoint::request::InterruptReason;
use safepoint::session::Timeouts;
use safepoint::{ClientInfo, Interrupt, Session, SessionManager};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn watch(session: &Session, limit: impl Into<Option<Duration>>) -> (UnixStream, UnixStream) {
    let (socket, client) = pair();
    session.watch_connection(&socket).unwrap();
    session.set_timeouts(Timeouts::new().with_client_disconnect(limit)).unwrap();
    (socket, client)
}

/// Waits until the thread has seen all clients that have left by now: it has ended another session, whose client
/// leaves later.
fn until_events_have_arrived(manager: &SessionManager) {
    let other = manager.open(ClientInfo::default()).unwrap();
    let (_socket, client) = watch(&other, Duration::ZERO);
    other.reserve_statement();
    drop(client);
    wait_until("the other session is told", || other.check().is_err());
}

#[track_caller]
fn assert_disconnected(interrupt: &Interrupt) {
    assert_eq!(interrupt.request().reason(), InterruptReason::ClientDisconnected);
    assert_eq!(interrupt.severity(), "FATAL");
    assert_eq!((interrupt.sqlstate(), interrupt.message()), ("08006", "connection to client lost"));
}

/// How a client leaves.
const WAYS: [fn(UnixStream, &mut UnixStream); 4] = [
    |client, _| drop(client),
    // With input that the server has not read.
    |mut client, _| client.write_all(b"terminate").unwrap(),
    |client, _| client.shutdown(Shutdown::Both).unwrap(),
    // It has not read what the server sent: a reset.
    |client, socket| {
        socket.write_all(b"row").unwrap();
        drop(client);
    },
];

#[test]
fn a_statement_ends_with_its_client() {
    supervised(|| {
        for way in WAYS {
            each_model(|Fixture { mut session, thread, .. }| {
                let (mut socket, client) = watch(&session, SHORT);
                let mut attached = session.attach(&thread).unwrap();
                let statement = attached.begin().unwrap();
                let before = Instant::now();
                way(client, &mut socket);
                let slept = until("its client has left", || statement.sleep(ENDLESS));
                assert_disconnected(&slept.unwrap_err());
                assert!(before.elapsed() >= SHORT, "early");
            });
        }
    });
}

#[test]
fn a_running_statement_and_a_queued_one() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let (_socket, client) = watch(&session, SHORT);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            drop(client);
            wait_until("a safe point reports it", || statement.check().is_err());
            assert_disconnected(&statement.check().unwrap_err());
        });
        each_model(|Fixture { session, .. }| {
            let (_socket, client) = watch(&session, SHORT);
            session.reserve_statement();
            drop(client);
            wait_until("the session is told", || session.check().is_err());
            assert_disconnected(&session.check().unwrap_err());
        });
    });
}

#[test]
fn an_idle_session_is_left_alone() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, .. }| {
            let (_socket, client) = watch(&session, Duration::ZERO);
            drop(client);
            until_events_have_arrived(&manager);
            session.check().unwrap();
            let attached = session.attach(&thread).unwrap();
            attached.check().unwrap();
            attached.detach().unwrap();
        });
    });
}

#[test]
fn a_later_statement_has_the_whole_time() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let (_socket, client) = watch(&session, SHORT * 5);
            drop(client);
            std::thread::sleep(SHORT * 6);
            let mut attached = session.attach(&thread).unwrap();
            let before = Instant::now();
            let statement = attached.begin().unwrap();
            let slept = until("its time has passed", || statement.sleep(ENDLESS));
            assert_disconnected(&slept.unwrap_err());
            assert!(before.elapsed() >= SHORT * 5, "early");
        });
    });
}

#[test]
fn without_a_limit_nothing_ends() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let (_socket, client) = watch(&session, None);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            drop(client);
            statement.sleep(SHORT).unwrap();
            // The limit may come later.
            statement.set_timeouts(Timeouts::new().with_client_disconnect(Duration::ZERO)).unwrap();
            let slept = until("its time has passed", || statement.sleep(ENDLESS));
            assert_disconnected(&slept.unwrap_err());
        });
    });
}

#[test]
fn a_client_that_left_before() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let (socket, client) = pair();
            drop(client);
            session.watch_connection(&socket).unwrap();
            session.set_timeouts(Timeouts::new().with_client_disconnect(SHORT)).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let slept = until("its time has passed", || statement.sleep(ENDLESS));
            assert_disconnected(&slept.unwrap_err());
        });
    });
}

/// The client asks for the timeout by a statement.
#[test]
fn a_connection_that_is_watched_from_a_statement_on() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let (socket, client) = pair();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            statement.watch_connection(&socket).unwrap();
            statement.set_timeouts(Timeouts::new().with_client_disconnect(SHORT)).unwrap();
            statement.check().unwrap();
            drop(client);
            let slept = until("its time has passed", || statement.sleep(ENDLESS));
            assert_disconnected(&slept.unwrap_err());
        });
    });
}

#[test]
fn an_earlier_connection_does_not_count() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, .. }| {
            let (_first_socket, first) = watch(&session, Duration::ZERO);
            let (_second_socket, second) = pair();
            session.watch_connection(&_second_socket).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            drop(first);
            until_events_have_arrived(&manager);
            statement.check().unwrap();
            drop(second);
            let slept = until("its client has left", || statement.sleep(ENDLESS));
            assert_disconnected(&slept.unwrap_err());
        });
    });
}

#[test]
fn a_new_connection_is_open() {
    supervised(|| {
        each_model(|Fixture { manager, mut session, thread, .. }| {
            let (_first_socket, first) = watch(&session, Duration::ZERO);
            drop(first);
            until_events_have_arrived(&manager);
            let (second_socket, _second) = pair();
            session.watch_connection(&second_socket).unwrap();
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            statement.sleep(SHORT).unwrap();
            statement.finish().unwrap();
        });
    });
}

/// A client that only stops sending looks as if it had left, as in PostgreSQL.
#[test]
fn a_client_that_sends_no_more() {
    supervised(|| {
        each_model(|Fixture { mut session, thread, .. }| {
            let (_socket, client) = watch(&session, SHORT);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let slept = until("its time has passed", || statement.sleep(ENDLESS));
            assert_disconnected(&slept.unwrap_err());
        });
    });
}

#[test]
fn a_file_cannot_be_watched() {
    each_model(|Fixture { session, .. }| {
        let file = std::fs::File::open("Cargo.toml").unwrap();
        session.watch_connection(&file).unwrap_err();
        session.check().unwrap();
    });
}
