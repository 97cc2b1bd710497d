//! Gives a client that has connected a session, in one of the two thread models.

use crate::Pool;
use crate::connection::Connection;
use crate::refusal::{Refusal, TOO_MANY};
use crate::shared::Shared;
use safepoint::pool::Connection as _;
use safepoint::pool::{CloseReason, ServeError, ServeErrorKind};
use safepoint::{ClientInfo, Session, SessionId, Thread};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

/// Opens a session for a client, and returns its id, or `None` if the client has disconnected. The
/// error is the socket of a client that gets no session, with the reason.
pub(crate) fn take_in(
    shared: &Arc<Shared>,
    pool: Option<&Pool>,
    socket: TcpStream,
) -> Result<Option<SessionId>, (TcpStream, Refusal)> {
    let client = socket.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
    let about = ClientInfo::default().with_address(client);
    let session = match shared.manager.open(about) {
        Ok(session) => session,
        Err(error) => return Err((socket, error.into())),
    };
    let id = session.id();
    match (pool, session.own_thread()) {
        (Some(pool), _) => {
            // If this fails, the client has disconnected.
            let Ok(connection) = Connection::new(shared.clone(), socket) else { return Ok(None) };
            match pool.serve(session, connection) {
                Ok(()) => Ok(Some(id)),
                Err(ServeError { connection, kind: ServeErrorKind::Overloaded, .. }) => {
                    match connection.socket() {
                        Ok(socket) => Err((socket, TOO_MANY)),
                        Err(_) => Ok(None),
                    }
                }
                Err(_) => Ok(None),
            }
        }
        (None, Some(thread)) => match serve_alone(shared.clone(), session, thread, socket) {
            Ok(()) => Ok(Some(id)),
            Err(socket) => Err((socket, TOO_MANY)),
        },
        (None, None) => Ok(None),
    }
}

/// Starts the thread of one session. Returns the socket if the system cannot start a thread.
fn serve_alone(
    shared: Arc<Shared>,
    session: Session,
    thread: Thread,
    socket: TcpStream,
) -> Result<(), TcpStream> {
    let name = format!("session {}", session.id());
    // A thread that fails to start would drop its closure, so the session and socket are taken from
    // here.
    let handover = Arc::new(Mutex::new(Some((session, socket))));
    let take = |handover: &Mutex<Option<_>>| {
        handover.lock().unwrap_or_else(PoisonError::into_inner).take()
    };
    let mine = handover.clone();
    let serve = move || {
        let Some((session, socket)) = take(&mine) else { return };
        // If this fails, the client has disconnected.
        if let Ok(connection) = Connection::new(shared, socket) {
            serve_on(&thread, session, connection);
        }
    };
    match Builder::new().name(name).spawn(serve) {
        Ok(_) => Ok(()),
        Err(_) => take(&handover).map_or(Ok(()), |(_, socket)| Err(socket)),
    }
}

fn serve_on(thread: &Thread, mut session: Session, mut connection: Connection) {
    let result = catch_unwind(AssertUnwindSafe(|| match session.attach(thread) {
        Ok(mut attached) => connection.serve(&mut attached).map_err(CloseReason::Interrupted),
        Err(_) => Ok(()),
    }));
    let why = match result {
        Ok(Ok(())) => CloseReason::Closed,
        Ok(Err(end)) => end,
        Err(_) => CloseReason::Panicked,
    };
    connection.on_close(&session, why);
    // The connection is closed before the session ends, so a completed receipt implies a closed
    // connection.
    drop(connection);
    drop(session);
}
