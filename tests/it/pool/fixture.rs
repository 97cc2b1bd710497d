//! A pool, its clients, and the log that the tests read.

use crate::common::{TEST_TIMEOUT, locked, of, wait_until};
use crossbeam_channel::{Receiver, Sender};
use safepoint::id::ThreadId;
use safepoint::pool::{Action, CloseReason, Connection, GroupStatus, Pool, PoolBuilder, Priority};
use safepoint::view::SessionState;
use safepoint::{Attached, Interrupt, Session, SessionId, SessionManager, ThreadModel};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The log of all connections together.
pub(crate) struct Log {
    pub(crate) threads: Mutex<HashSet<ThreadId>>,
    pub(crate) ends: Mutex<Vec<(SessionId, CloseReason)>>,
    pub(crate) ran: AtomicUsize,
    pub(crate) order: Mutex<Vec<SessionId>>,
    pub(crate) stuck: AtomicUsize,
    /// The sessions whose `is_emergency` was called, once for each call.
    pub(crate) asked: Mutex<Vec<SessionId>>,
    pub(crate) release: Receiver<()>,
}

/// A connection that answers each line with itself, and obeys a few commands.
pub(crate) struct Echo {
    id: SessionId,
    socket: TcpStream,
    buffer: Vec<u8>,
    log: Arc<Log>,
}

impl AsFd for Echo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Echo {
    /// Whether the input begins with this word, read or not.
    pub(crate) fn says(&self, word: &[u8; 4]) -> bool {
        let mut bytes = [0; 4];
        match self.buffer.is_empty() {
            true => matches!(self.socket.peek(&mut bytes), Ok(4)) && bytes == *word,
            false => self.buffer.starts_with(word),
        }
    }

    /// Reads the available input. Returns whether the peer is still connected.
    pub(crate) fn fill(&mut self) -> bool {
        let mut bytes = [0; 512];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let rest = self.buffer.split_off(end + 1);
        let line = std::mem::replace(&mut self.buffer, rest);
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    pub(crate) fn obey(&mut self, line: &str) {
        match line {
            "elsewhere" | "then elsewhere" => {
                self.log.stuck.fetch_add(1, Ordering::SeqCst);
                if line == "then elsewhere" {
                    let _ = self.log.release.recv();
                }
                let log = self.log.clone();
                safepoint::current::block_in_place(|| log.release.recv()).unwrap_err();
            }
            "stuck" | "panic" | "forgets" => {
                self.log.stuck.fetch_add(1, Ordering::SeqCst);
                // No safe point: until the test lets go of the other end.
                let _ = self.log.release.recv();
                assert_ne!(line, "panic", "as it was told");
            }
            _ => {}
        }
        let _ = writeln!(self.socket, "{line}");
    }
}

impl Connection for Echo {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        locked(&self.log.threads).insert(session.thread_id());
        let here = self.fill();
        while let Some(line) = self.line() {
            if line == "rounds" {
                // Runs until it is terminated or closed.
                self.buffer.splice(0..0, *b"rounds\n");
                return if here { Ok(Action::Yield) } else { Ok(Action::Close) };
            }
            if line == "help later" {
                self.log.stuck.fetch_add(1, Ordering::SeqCst);
                let _ = self.log.release.recv();
                self.buffer.splice(0..0, *b"later\n");
                return Ok(Action::Yield);
            }
            if line == "help again" {
                self.buffer.splice(0..0, *b"help after all\n");
                return Ok(Action::Yield);
            }
            self.log.ran.fetch_add(1, Ordering::SeqCst);
            locked(&self.log.order).push(session.id());
            let statement = session.begin()?;
            self.obey(&line);
            if line == "forgets" {
                std::mem::forget(statement);
                return Ok(Action::WaitReadable);
            }
            statement.finish()?;
        }
        Ok(if here { Action::WaitReadable } else { Action::Close })
    }

    fn on_close(&mut self, session: &Session, why: CloseReason) {
        if let CloseReason::Interrupted(interrupt) = &why {
            // Closing a socket with unread input would reset the connection, and the peer could
            // lose the message.
            self.fill();
            let _ = writeln!(self.socket, "FATAL {}", interrupt.sqlstate());
        }
        locked(&self.log.ends).push((session.id(), why));
    }

    fn priority(&self) -> Priority {
        if self.says(b"help") || self.says(b"soon") { Priority::High } else { Priority::Normal }
    }

    fn is_emergency(&mut self) -> bool {
        locked(&self.log.asked).push(self.id);
        self.says(b"help")
    }
}

pub(crate) struct PoolFixture {
    pub(crate) manager: SessionManager,
    pub(crate) pool: Pool<Echo>,
    pub(crate) log: Arc<Log>,
    pub(crate) listener: TcpListener,
    pub(crate) release: Sender<()>,
}

/// The test's end of a connection.
pub(crate) struct Peer {
    pub(crate) id: SessionId,
    pub(crate) socket: TcpStream,
    pub(crate) lines: BufReader<TcpStream>,
}

impl PoolFixture {
    pub(crate) fn new(workers: usize) -> PoolFixture {
        PoolFixture::with(&PoolBuilder::new(workers))
    }

    pub(crate) fn with(config: &PoolBuilder) -> PoolFixture {
        let manager = SessionManager::new(ThreadModel::Pool);
        let (release, wait) = crossbeam_channel::bounded(0);
        let log = Arc::new(Log {
            threads: Mutex::default(),
            ends: Mutex::default(),
            ran: AtomicUsize::new(0),
            order: Mutex::default(),
            stuck: AtomicUsize::new(0),
            asked: Mutex::default(),
            release: wait,
        });
        let pool = config.start(manager.clone()).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        PoolFixture { manager, pool, log, listener, release }
    }

    pub(crate) fn connected(&self) -> (TcpStream, Session, Echo) {
        let socket = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        socket.set_nodelay(true).unwrap();
        let ours = self.listener.accept().unwrap().0;
        ours.set_nonblocking(true).unwrap();
        let session = self.manager.open(of("ann")).unwrap();
        let (id, log) = (session.id(), self.log.clone());
        (socket, session, Echo { id, socket: ours, buffer: Vec::new(), log })
    }

    pub(crate) fn connect(&self) -> Peer {
        let (socket, session, client) = self.connected();
        let id = session.id();
        self.pool.serve(session, client).unwrap();
        Peer { id, lines: BufReader::new(socket.try_clone().unwrap()), socket }
    }

    pub(crate) fn stick_all(&self, workers: usize) -> Vec<Peer> {
        let peers: Vec<_> = (0..workers).map(|_| self.connect()).collect();
        peers.iter().for_each(|peer| peer.say("stuck\n"));
        wait_until("all are stuck", || self.log.stuck.load(Ordering::SeqCst) == workers);
        peers
    }

    /// A peer whose command waits to be released.
    pub(crate) fn stick_another(&self, command: &str) -> Peer {
        let peer = self.connect();
        let stuck = self.log.stuck.load(Ordering::SeqCst);
        peer.say(&format!("{command}\n"));
        wait_until("it runs", || self.log.stuck.load(Ordering::SeqCst) > stuck);
        peer
    }

    /// Lets one of those go that are stuck.
    pub(crate) fn let_one_go(&self) {
        self.release.send_timeout((), TEST_TIMEOUT).expect("one is stuck");
    }

    /// How many times it has been asked whether it is an emergency.
    pub(crate) fn asked(&self, id: SessionId) -> usize {
        locked(&self.log.asked).iter().filter(|asked| **asked == id).count()
    }

    /// How its only group is doing.
    pub(crate) fn status(&self) -> GroupStatus {
        let [status] = <[_; 1]>::try_from(self.pool.status()).expect("one group");
        status
    }

    pub(crate) fn doing(&self, id: SessionId) -> Option<SessionState> {
        self.manager.session_info(id).map(|row| row.state)
    }

    pub(crate) fn close_count(&self, id: SessionId) -> usize {
        locked(&self.log.ends).iter().filter(|(ended, _)| *ended == id).count()
    }
}

impl Peer {
    pub(crate) fn say(&self, text: &str) {
        (&self.socket).write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn ask(&mut self, line: &str) {
        self.say(&format!("{line}\n"));
        assert_eq!(self.hear(), line);
    }

    pub(crate) fn expects_fatal_and_eof(mut self) {
        assert_eq!(self.hear(), "FATAL 57P01");
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}
