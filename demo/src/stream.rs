//! The client's socket, and interruptible waits for it.

use crate::backends::{Wait, waits};
use crate::limits;
use crate::settings::SETTINGS;
use crate::spool::{Spool, SpoolLimits};
use crate::types::SqlError;
use safepoint::session::WaitMode;
use safepoint::{Attached, Interrupt};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// How long the FATAL message waits for a client that does not read.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) struct Stream {
    socket: Arc<TcpStream>,
    /// What the socket has not taken.
    unsent: RefCell<Spool>,
    folder: Option<PathBuf>,
    /// Whether the library watches it for the client's end.
    watched: Cell<bool>,
    /// Whether the session is in a pool, where the socket is nonblocking except during a wait.
    pooled: bool,
    read_waker: Waker,
    write_waker: Waker,
}

/// Why bytes were not sent, and are not kept either.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The client has disconnected.
    Gone,
    /// There is no space for the rest of the answer. The client gets this error after what was kept.
    NotKept(SqlError),
}

/// Makes a blocked read or write return.
struct ShutDown(Arc<TcpStream>, Shutdown);

impl Wake for ShutDown {
    fn wake(self: Arc<Self>) {
        // It fails only if the peer has disconnected, and then nothing blocks.
        let _ = self.0.shutdown(self.1);
    }
}

impl Stream {
    /// `folder` is for the rest of answers; `None` means the system's folder for temporary files.
    pub(crate) fn new(
        socket: TcpStream,
        pooled: bool,
        folder: Option<PathBuf>,
    ) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        // Otherwise a session would stay after its client has vanished.
        rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
        socket.set_nonblocking(pooled)?;
        let socket = Arc::new(socket);
        let waker = |how| Waker::from(Arc::new(ShutDown(socket.clone(), how)));
        Ok(Stream {
            read_waker: waker(Shutdown::Read),
            write_waker: waker(Shutdown::Both),
            socket,
            unsent: RefCell::default(),
            folder,
            watched: Cell::new(false),
            pooled,
        })
    }

    /// Lets the session's statement end if the client leaves, from the first call on, after the time that its
    /// timeouts say.
    pub(crate) fn watch(&self, session: &Attached<'_>) -> io::Result<()> {
        if !self.watched.get() {
            session.watch_connection(&self.socket)?;
            self.watched.set(true);
        }
        Ok(())
    }

    /// Reads the bytes that have arrived. Only called in a pool.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| (&*self.socket).read(buffer))
    }

    /// Reads, and waits for bytes if there are none. A termination ends the wait, and shuts down
    /// the reading side of the connection. The FATAL message still goes out on the writing side. A
    /// client that does not send holds no permit of the pool.
    pub(crate) fn read(
        &self,
        session: &Attached<'_>,
        buffer: &mut [u8],
    ) -> Result<io::Result<usize>, Interrupt> {
        if self.pooled {
            match self.read_now(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Ok(done),
            }
        }
        let _shown = waits(Wait::ClientRead);
        let mut wait = || {
            self.blocking(|| {
                let read = session.wait(WaitMode::Killable, &self.read_waker, || {
                    retry(|| (&*self.socket).read(buffer))
                })?;
                // Nothing was read: the waker may have shut the socket down.
                if !matches!(read, Ok(1..)) {
                    session.check()?;
                }
                Ok(read)
            })
        };
        if self.pooled { session.block_in_place(wait) } else { wait() }
    }

    /// Sends what the socket takes, and keeps the rest. A client that does not read holds nothing else.
    pub(crate) fn send(&self, mut bytes: &[u8]) -> Result<(), SendError> {
        match self.at_once(|| self.send_unsent().and_then(|()| self.write_now(&mut bytes))) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(SendError::Gone),
        }
        let limits = || SpoolLimits {
            folder: self.folder.clone(),
            bytes: SETTINGS.with_borrow(limits::temporary_file),
        };
        self.unsent.borrow_mut().add(bytes, limits).map_err(SendError::NotKept)
    }

    /// Sends what the socket takes of the rest. Returns whether it has taken all.
    pub(crate) fn send_more(&self) -> Result<bool, SendError> {
        match self.at_once(|| self.send_unsent()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(SendError::Gone),
        }
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.borrow().is_empty()
    }

    fn send_unsent(&self) -> io::Result<()> {
        self.unsent.borrow_mut().send(|bytes| self.write_once(bytes))
    }

    /// Sends the rest, and waits for a slow client, on a thread that the session keeps. A cancel does not end
    /// the wait, since half a message cannot be taken back. A termination ends it, and gives the client up. If
    /// the bytes fit the socket's buffer there is no wait, so a client that reads still receives the FATAL
    /// message.
    pub(crate) fn send_all(&self, session: &Attached<'_>) -> Result<io::Result<()>, Interrupt> {
        match self.at_once(|| self.send_unsent()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return Ok(done),
        }
        let _shown = waits(Wait::ClientWrite);
        // A client that does not read holds no permit of the pool.
        session.block_in_place(|| {
            self.blocking(|| {
                let written =
                    session.wait(WaitMode::Killable, &self.write_waker, || self.send_unsent())?;
                // The waker may have shut the socket down.
                if written.is_err() {
                    session.check()?;
                }
                Ok(written)
            })
        })
    }

    /// Calls `run` with a nonblocking socket.
    fn at_once(&self, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.pooled {
            return run();
        }
        self.socket.set_nonblocking(true)?;
        let result = run();
        self.socket.set_nonblocking(false).and(result)
    }

    fn write_now(&self, bytes: &mut &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            *bytes = &bytes[self.write_once(bytes)?..];
        }
        Ok(())
    }

    fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        match retry(|| (&*self.socket).write(bytes))? {
            0 => Err(ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn blocking<T>(
        &self,
        run: impl FnOnce() -> Result<io::Result<T>, Interrupt>,
    ) -> Result<io::Result<T>, Interrupt> {
        if !self.pooled {
            return run();
        }
        if let Err(error) = self.socket.set_nonblocking(false) {
            return Ok(Err(error));
        }
        let result = run();
        match self.socket.set_nonblocking(true) {
            Ok(()) => result,
            Err(error) => result.and(Ok(Err(error))),
        }
    }

    /// Sends the FATAL message, from the thread that ran the session. Waits a moment for a slow
    /// client.
    pub(crate) fn send_last(&self, bytes: &[u8]) {
        self.send_last_until(bytes, Instant::now() + CLOSE_TIMEOUT);
    }

    fn send_last_until(&self, mut bytes: &[u8], until: Instant) {
        // The socket's buffer is filled first without a time limit: on a busy machine the time may
        // be over already.
        let _ = self.socket.set_nonblocking(true);
        let sent = self.send_unsent().and_then(|()| self.write_now(&mut bytes));
        let _ = self.socket.set_nonblocking(false);
        if sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            // It holds no worker meanwhile.
            safepoint::current::block_in_place(|| self.write_until(bytes, until));
        }
        let _ = self.socket.set_nonblocking(self.pooled);
    }

    /// A client that does not read in time misses the rest.
    fn write_until(&self, mut bytes: &[u8], until: Instant) {
        let in_time = |bytes: &[u8]| {
            let left = until.saturating_duration_since(Instant::now());
            // It fails if no time is left.
            self.socket.set_write_timeout(Some(left))?;
            self.write_once(bytes)
        };
        if self.unsent.borrow_mut().send(in_time).is_err() {
            return;
        }
        while !bytes.is_empty() {
            match in_time(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(_) => break,
            }
        }
    }

    /// Sends the FATAL message from another thread, as far as the socket accepts it without
    /// blocking. If the client has not read its answer, half a message may be on its way, which it must not
    /// follow.
    pub(crate) fn send_last_now(&self, mut bytes: &[u8]) {
        self.never_block();
        if self.send_unsent().is_ok() {
            let _ = self.write_now(&mut bytes);
        }
    }

    /// Makes the socket nonblocking. In a pool it is already, except during a wait.
    fn never_block(&self) {
        if !self.pooled {
            let _ = self.socket.set_nonblocking(true);
        }
    }

    /// Returns another handle of the socket, through which another thread can send a message.
    pub(crate) fn socket(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    /// Closes the connection. Unread input is read first: closing with unread input would reset the
    /// connection, and the FATAL message might be lost.
    pub(crate) fn close(&self) {
        self.never_block();
        let mut scrap = [0; 4096];
        for _ in 0..64 {
            if !matches!(self.read_now(&mut scrap), Ok(1..)) {
                break;
            }
        }
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use safepoint::{ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel};
    use std::net::TcpListener;

    /// Otherwise the termination shuts the socket down during the answer, and the client gets no
    /// FATAL message.
    #[test]
    fn the_fatal_message_follows_an_answer_during_a_kill() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let stream = Stream::new(listener.accept().unwrap().0, false, None).unwrap();
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let id = session.id();
        let thread = session.own_thread().unwrap();
        let _attached = session.attach(&thread).unwrap();
        manager
            .terminate(id, Terminate::new(TerminateMode::Immediate, Requester::system()))
            .unwrap();
        stream.send(b"an answer, ").unwrap();
        stream.send_last(b"and a message");
        stream.close();
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert_eq!(received, "an answer, and a message");
    }

    #[test]
    fn a_late_fatal_message_is_sent_if_it_fits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let stream = Stream::new(listener.accept().unwrap().0, false, None).unwrap();
        stream.send_last_until(b"late message", Instant::now());
        stream.close();
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert_eq!(received, "late message");
    }
}
