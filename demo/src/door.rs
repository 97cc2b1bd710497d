//! Where connections come in: who gets a session, who is turned away and told why, and who has
//! not said in time who they are.
//!
//! One thread does all of this and waits for nobody: whoever is turned away is a *guest*
//! meanwhile. A client listens to a refusal only once it has sent its startup message, and it
//! may lose what it was told where the server closes over something it has not read.

use crate::server::{Refusal, TOO_MANY, take_in};
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

/// How long a client that is turned away has to say who it is, and to leave once it is told.
const GUEST_TIME: Duration = Duration::from_secs(3);

/// The same where the guest has the last descriptor.
const SHORT_GUEST_TIME: Duration = Duration::from_millis(500);

/// How many guests there are at once. If more come, the first goes as it is.
const MAX_GUESTS: usize = 64;

/// How many connections are accepted before anything else is looked at.
const ACCEPTS: usize = 64;

/// How long nobody is accepted where the system has nothing to accept them with.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Door {
    shared: Arc<Shared>,
    pool: Option<Arc<Pool>>,
    listener: TcpListener,
    /// A descriptor kept back, to be closed for a client that is to be told that there are
    /// none. Without it nobody is accepted.
    spare: Option<File>,
    guests: VecDeque<Guest>,
    /// Sessions whose user may be unknown, and until when that is tolerated; the first is due
    /// first.
    newcomers: VecDeque<(Instant, SessionId)>,
    paused_until: Option<Instant>,
}

impl Door {
    pub(crate) fn new(
        shared: Arc<Shared>,
        pool: Option<Arc<Pool>>,
        listener: TcpListener,
    ) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        let (guests, newcomers) = Default::default();
        let spare = Some(spare()?);
        Ok(Door { shared, pool, listener, spare, guests, newcomers, paused_until: None })
    }

    pub(crate) fn keep(mut self) {
        loop {
            self.wait();
            let shared = &self.shared;
            self.guests.retain_mut(|guest| !guest.has_left(shared));
            self.end_those_who_are_late();
            self.paused_until = self.paused_until.filter(|until| *until > Instant::now());
            if self.spare.is_none() {
                self.spare = spare().ok();
            }
            if self.paused_until.is_none() {
                self.accept();
            }
        }
    }

    /// Until a client knocks, a guest does something, or it is time for something.
    fn wait(&self) {
        let mut watched: Vec<_> =
            self.guests.iter().map(|guest| PollFd::new(&guest.socket, PollFlags::IN)).collect();
        if self.spare.is_some() && self.paused_until.is_none() {
            watched.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let retry = self.spare.is_none().then(|| Instant::now() + PAUSE);
        let late = self.newcomers.front().map(|(until, _)| *until);
        let guests = self.guests.iter().map(|guest| guest.until).min();
        let until = [retry, late, guests, self.paused_until].into_iter().flatten().min();
        let limit = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A limit too long for the system is no limit.
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
                        self.newcomers.push_back((Instant::now() + limit, session));
                    }
                    Ok(None) => {}
                    Err((socket, refusal)) => self.turn_away(socket, refusal, GUEST_TIME),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // It has hung up already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if is_out_of_descriptors(&error) => return self.use_spare(),
                Err(_) => {
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }

    /// There is no descriptor for the next client but the spare one: it is lent to the client
    /// for as long as it takes to say so.
    fn use_spare(&mut self) {
        self.spare = None;
        // Where nobody has knocked, or another thread was faster, the spare one comes back later.
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
        // Most have said who they are by now.
        if !guest.has_left(&self.shared) {
            self.guests.push_back(guest);
        }
    }

    fn end_those_who_are_late(&mut self) {
        let now = Instant::now();
        while let Some((until, session)) = self.newcomers.front().copied()
            && until <= now
        {
            self.newcomers.pop_front();
            let row = self.shared.manager.session_info(session);
            if row.is_some_and(|row| row.client.user().is_empty()) {
                let late = Terminate::new(TerminateMode::Immediate, Requester::system());
                // It may be gone by now.
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

/// A client that has no session and is told why.
struct Guest {
    socket: TcpStream,
    incoming: Incoming,
    refusal: Refusal,
    told: bool,
    until: Instant,
}

impl Guest {
    /// Does what can be done at once. Whoever cancels a statement is no less welcome for the
    /// server being full.
    fn has_left(&mut self, shared: &Shared) -> bool {
        let mut buffer = [0; 4096];
        // One that never stops sending has its time, too.
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

    /// Answers what it has said; `true` where that was a cancel request.
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
            // It sees the end of what there is to read, and leaves.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// So little fits into any socket's buffer; whoever has gone is not told.
    fn send(&mut self, outgoing: &Outgoing) {
        let _ = self.socket.write_all(&outgoing.buf);
    }
}
