//! The client's socket, and waits on it that a kill can end.

use safepoint::session::WaitMode;
use safepoint::{Attached, Interrupt};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// How long a farewell may wait for a client that does not read.
const PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct Stream {
    socket: Arc<TcpStream>,
    /// In a pool the socket does not block, save while a worker has nothing else to do.
    pooled: bool,
    read_waker: Waker,
    write_waker: Waker,
}

/// Makes a blocked read, or write, return.
struct ShutDown(Arc<TcpStream>, Shutdown);

impl Wake for ShutDown {
    fn wake(self: Arc<Self>) {
        // It fails only where the peer has gone, and then nothing blocks.
        let _ = self.0.shutdown(self.1);
    }
}

impl Stream {
    pub(crate) fn new(socket: TcpStream, pooled: bool) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(pooled)?;
        let socket = Arc::new(socket);
        let waker = |how| Waker::from(Arc::new(ShutDown(socket.clone(), how)));
        Ok(Stream {
            read_waker: waker(Shutdown::Read),
            write_waker: waker(Shutdown::Both),
            socket,
            pooled,
        })
    }

    /// Reads what is there. Only in a pool.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| (&*self.socket).read(buffer))
    }

    /// Reads, and waits for something to read. A termination ends the wait, and the read half
    /// of the connection with it; the FATAL still goes out on the other.
    pub(crate) fn read(
        &self,
        session: &Attached<'_>,
        buffer: &mut [u8],
    ) -> Result<io::Result<usize>, Interrupt> {
        self.blocking(|| {
            let read = session.wait(WaitMode::Killable, &self.read_waker, || {
                retry(|| (&*self.socket).read(buffer))
            })?;
            // Nothing was read: it may be the waker that has shut the socket down.
            if !matches!(read, Ok(1..)) {
                session.check()?;
            }
            Ok(read)
        })
    }

    /// Writes all of it, and waits for a client that is slow. A cancel does not end the wait,
    /// since half a message can't be taken back; a termination does, and gives the client up.
    /// So nothing waits that need not: whoever has read all there is can still be told.
    pub(crate) fn write(
        &self,
        session: &Attached<'_>,
        mut bytes: &[u8],
    ) -> Result<io::Result<()>, Interrupt> {
        match self.at_once(|| self.write_now(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return Ok(done),
        }
        // A client that does not read holds no place of the pool.
        session.block_in_place(|| {
            self.blocking(|| {
                let written = session.wait(WaitMode::Killable, &self.write_waker, || {
                    (&*self.socket).write_all(bytes)
                })?;
                // It may be the waker that has shut the socket down.
                if written.is_err() {
                    session.check()?;
                }
                Ok(written)
            })
        })
    }

    /// Does what may not block.
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
            match retry(|| (&*self.socket).write(bytes))? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => *bytes = &bytes[written..],
            }
        }
        Ok(())
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

    /// The last words, from the thread that ran the session: it waits a moment for a client
    /// that is slow to read.
    pub(crate) fn say_last(&self, bytes: &[u8]) {
        self.say_last_until(bytes, Instant::now() + PATIENCE);
    }

    fn say_last_until(&self, mut bytes: &[u8], until: Instant) {
        // What the socket takes at once is said in any case: on a busy machine the time may be over
        // by now.
        let _ = self.socket.set_nonblocking(true);
        let _ = self.write_now(&mut bytes);
        let _ = self.socket.set_nonblocking(false);
        // Whoever does not read is not told.
        while !bytes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            // None is left, or it can't be set.
            if self.socket.set_write_timeout(Some(left)).is_err() {
                break;
            }
            match retry(|| (&*self.socket).write(bytes)) {
                Ok(written @ 1..) => bytes = &bytes[written..],
                _ => break,
            }
        }
        let _ = self.socket.set_nonblocking(self.pooled);
    }

    /// The last words, from whichever thread: what the socket takes at once.
    pub(crate) fn say_last_now(&self, mut bytes: &[u8]) {
        self.never_block();
        let _ = self.write_now(&mut bytes);
    }

    /// From here on. In a pool a socket that nobody reads from does not block anyway.
    fn never_block(&self) {
        if !self.pooled {
            let _ = self.socket.set_nonblocking(true);
        }
    }

    /// The socket once more, for someone else to say the last words.
    pub(crate) fn socket(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    /// Closes the connection. What the client has sent and nobody read is read first, for to
    /// close over it would be to reset the connection, and the last words might be lost.
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

    /// Else the kill shuts the socket down under the answer, and the client is not told why.
    #[test]
    fn a_kill_during_an_answer_leaves_the_connection_to_be_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let stream = Stream::new(listener.accept().unwrap().0, false).unwrap();
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let id = session.id();
        let thread = session.own_thread().unwrap();
        let attached = session.attach(&thread).unwrap();
        manager
            .terminate(id, Terminate::new(TerminateMode::Immediate, Requester::system()))
            .unwrap();
        stream.write(&attached, b"an answer, ").unwrap().unwrap();
        stream.say_last(b"and last words");
        stream.close();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "an answer, and last words");
    }

    #[test]
    fn last_words_that_come_late_are_said_if_there_is_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let stream = Stream::new(listener.accept().unwrap().0, false).unwrap();
        stream.say_last_until(b"last words", Instant::now());
        stream.close();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "last words");
    }
}
