//! The thread that accepts connections. It gives a connection a session or sends a refusal, and
//! ends sessions whose startup message is late.
//!
//! The thread never waits for a single client. A client that gets no session is a *guest* until it
//! leaves. It reads a refusal only after it has sent its startup message. If the server closes the
//! connection with unread input, the refusal may be lost.

use crate::admission::take_in;
use crate::refusal::{Refusal, TOO_MANY};
use crate::shared::Shared;
use crate::wire::{Incoming, Outgoing};
use crate::{Pool, connection};
use pgwire::messages::PgWireFrontendMessage as Message;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use safepoint::{Requester, SessionId, Terminate, TerminateMode};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time in which a guest must send its startup message, and leave after the refusal.
const GUEST_TIME: Duration = Duration::from_secs(3);

/// The same time for the guest that has the last descriptor.
const SHORT_GUEST_TIME: Duration = Duration::from_millis(500);

/// The maximum number of guests. If more come, the first guest gets its refusal and is dropped.
const MAX_GUESTS: usize = 64;

/// The number of connections accepted before anything else is checked.
const ACCEPTS: usize = 64;

/// The pause after the system could not accept a connection.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Door {
    shared: Arc<Shared>,
    pool: Option<Arc<Pool>>,
    listener: TcpListener,
    /// A reserved descriptor, closed to refuse a client when no other descriptor is left. While it
    /// is missing, no connection is accepted.
    spare: Option<File>,
    guests: VecDeque<Guest>,
    /// Sessions whose user may be unknown, and the deadline for each, earliest first.
    unauthenticated: VecDeque<(Instant, SessionId)>,
    paused_until: Option<Instant>,
}

impl Door {
    pub(crate) fn new(
        shared: Arc<Shared>,
        pool: Option<Arc<Pool>>,
        listener: TcpListener,
    ) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        let (guests, unauthenticated) = Default::default();
        let spare = Some(spare()?);
        Ok(Door { shared, pool, listener, spare, guests, unauthenticated, paused_until: None })
    }

    pub(crate) fn keep(mut self) {
        loop {
            self.wait();
            let shared = &self.shared;
            self.guests.retain_mut(|guest| !guest.has_left(shared));
            self.end_late_sessions();
            self.paused_until = self.paused_until.filter(|until| *until > Instant::now());
            if self.spare.is_none() {
                self.spare = spare().ok();
            }
            if self.paused_until.is_none() {
                self.accept();
            }
        }
    }

    /// Waits until a client connects, a guest sends bytes, or a deadline expires.
    fn wait(&self) {
        let mut watched: Vec<_> =
            self.guests.iter().map(|guest| PollFd::new(&guest.socket, PollFlags::IN)).collect();
        if self.spare.is_some() && self.paused_until.is_none() {
            watched.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let retry = self.spare.is_none().then(|| Instant::now() + PAUSE);
        let late = self.unauthenticated.front().map(|(until, _)| *until);
        let guests = self.guests.iter().map(|guest| guest.until).min();
        let until = [retry, late, guests, self.paused_until].into_iter().flatten().min();
        let limit = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A limit that is too long for the system means no limit.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut watched, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            if self.spare.is_none() {
                return;
            }
            match self.listener.accept() {
                Ok((socket, _)) => match take_in(&self.shared, self.pool.as_deref(), socket) {
                    Ok(Some(session)) => {
                        let limit = self.shared.authentication_timeout;
                        self.unauthenticated.push_back((Instant::now() + limit, session));
                    }
                    Ok(None) => {}
                    Err((socket, refusal)) => self.turn_away(socket, refusal, GUEST_TIME),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The client has disconnected already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if is_out_of_descriptors(&error) => return self.use_spare(),
                Err(_) => {
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }

    /// Refuses the next client, for which only the reserved descriptor is left. The client has it
    /// until it leaves.
    fn use_spare(&mut self) {
        self.spare = None;
        // If there is no client, or another thread took the descriptor, the reserve is opened again
        // later.
        if let Ok((socket, _)) = self.listener.accept() {
            self.turn_away(socket, TOO_MANY, SHORT_GUEST_TIME);
        }
    }

    fn turn_away(&mut self, socket: TcpStream, refusal: Refusal, time: Duration) {
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        if self.guests.len() == MAX_GUESTS
            && let Some(mut first) = self.guests.pop_front()
        {
            first.tell();
        }
        let until = Instant::now() + time;
        let incoming = Incoming::new();
        let mut guest = Guest { socket, incoming, refusal, told: false, until };
        // Most clients have sent their startup message already.
        if !guest.has_left(&self.shared) {
            self.guests.push_back(guest);
        }
    }

    fn end_late_sessions(&mut self) {
        let now = Instant::now();
        while let Some((until, session)) = self.unauthenticated.front().copied()
            && until <= now
        {
            self.unauthenticated.pop_front();
            let row = self.shared.manager.session_info(session);
            if row.is_some_and(|row| row.client.user().is_empty()) {
                let late = Terminate::new(TerminateMode::Immediate, Requester::system());
                // The session may have ended already.
                let _ = self.shared.manager.terminate(session, late.comment(connection::LATE));
            }
        }
    }
}

fn spare() -> io::Result<File> {
    File::open("/dev/null")
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// A client without a session, which gets a refusal.
struct Guest {
    socket: TcpStream,
    incoming: Incoming,
    refusal: Refusal,
    told: bool,
    until: Instant,
}

impl Guest {
    /// Handles what the guest has sent, without blocking. Returns whether the guest is finished.
    /// Its cancel requests are served, even if the server is full.
    fn has_left(&mut self, shared: &Shared) -> bool {
        let mut buffer = [0; 4096];
        // The number of reads is limited, so a client that never stops sending still reaches its
        // deadline.
        for _ in 0..16 {
            match self.socket.read(&mut buffer) {
                Ok(0) => return true,
                Ok(length) if !self.told => {
                    self.incoming.feed(&buffer[..length]);
                    if self.has_cancelled(shared) {
                        return true;
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return true,
            }
        }
        let is_late = self.until <= Instant::now();
        if is_late {
            self.tell();
        }
        is_late
    }

    /// Answers the guest's messages. Returns `true` after a cancel request.
    fn has_cancelled(&mut self, shared: &Shared) -> bool {
        while !self.told {
            match self.incoming.next() {
                Ok(None) => break,
                Ok(Some(Message::SslNegotiation(_))) => {
                    let mut outgoing = Outgoing::new();
                    outgoing.refuse_encryption();
                    self.send(&outgoing);
                }
                Ok(Some(Message::CancelRequest(request))) => {
                    let from = self.socket.peer_addr();
                    let from = from.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
                    shared.cancel(&request, from);
                    return true;
                }
                Ok(Some(_)) | Err(_) => self.tell(),
            }
        }
        false
    }

    fn tell(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            let mut outgoing = Outgoing::new();
            outgoing.error(&self.refusal.fields());
            self.send(&outgoing);
            // The guest reads the end of the input, and leaves.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// A refusal fits any socket's buffer, so this does not block. An error means that the guest
    /// has left.
    fn send(&mut self, outgoing: &Outgoing) {
        let _ = self.socket.write_all(&outgoing.buf);
    }
}
