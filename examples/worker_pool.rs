//! Many connections on two workers: `cargo run --example worker_pool`, then `nc 127.0.0.1 5435`
//! from any number of terminals. A line is a command: `who`, `count`, `kill ID`, `bye`. Two
//! sessions that count occupy both workers. `kill` still ends idle sessions, and the pool adds a
//! third worker. Ctrl-C notifies all clients before the server ends.

use safepoint::manager::DrainOptions;
use safepoint::pool;
use safepoint::pool::{Action, CloseReason, Pool, PoolBuilder};
use safepoint::session::WaitMode;
use safepoint::{
    Attached, ClientInfo, Interrupt, Requester, Session, SessionId, SessionManager, Terminate,
    TerminateMode, ThreadModel,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// The maximum length of a line, in bytes, exceeded by at most one read.
const MAX_LINE: usize = 64 * 1024;

struct Connection {
    socket: TcpStream,
    /// The bytes that have arrived and are not a whole line yet.
    buffer: Vec<u8>,
    manager: SessionManager,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl pool::Connection for Connection {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        let mut bytes = [0; 1024];
        match self.socket.read(&mut bytes) {
            Ok(0) => return Ok(Action::Close),
            Ok(length) => self.buffer.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Action::WaitReadable),
            Err(_) => return Ok(Action::Close),
        }
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let answer = match self.run(session, line.trim()) {
                Ok(None) => return Ok(Action::Close),
                Ok(Some(answer)) => answer,
                Err(interrupt) if interrupt.is_terminate() => return Err(interrupt),
                Err(interrupt) => format!("ERROR: {interrupt}"),
            };
            if self.write(session, format!("{answer}\n").as_bytes())?.is_err() {
                return Ok(Action::Close);
            }
        }
        if self.buffer.len() > MAX_LINE {
            let _ = self.write(session, b"FATAL: the line is too long\n")?;
            return Ok(Action::Close);
        }
        Ok(Action::WaitReadable)
    }

    /// Runs on the requester's thread if no worker runs the session.
    fn on_close(&mut self, _session: &Session, why: CloseReason) {
        if let CloseReason::Interrupted(interrupt) = why {
            // Unread input would reset the connection, and the message might be lost.
            let _ = self.socket.read(&mut [0; 65_536]);
            let _ = writeln!(self.socket, "FATAL: {interrupt}");
        }
    }
}

impl Connection {
    fn run(&self, session: &mut Attached<'_>, line: &str) -> Result<Option<String>, Interrupt> {
        let statement = session.begin()?.with_text(line);
        Ok(Some(match line.split_once(' ').unwrap_or((line, "")) {
            ("bye", _) => return Ok(None),
            ("who", _) => {
                let row = |row: safepoint::view::SessionInfo| {
                    format!("{} {}: {}", row.id, row.state, row.statement_text)
                };
                self.manager.sessions().map(row).collect::<Vec<_>>().join("\n")
            }
            ("count", _) => loop {
                statement.check()?; // The safe point.
            },
            ("kill", id) => {
                match id.parse::<u64>().ok().and_then(|id| SessionId::try_from(id).ok()) {
                    Some(id) => {
                        let author = statement.requester().with_admin(true);
                        let kill = Terminate::new(TerminateMode::Immediate, author);
                        match self.manager.terminate(id, kill) {
                            Ok(receipt) => format!("session {id} was {}", receipt.target().state),
                            Err(refused) => format!("ERROR: {refused}"),
                        }
                    }
                    None => "ERROR: expected a session's number, such as `who` shows".into(),
                }
            }
            (other, _) => format!("ERROR: no such command: {other}"),
        }))
    }

    /// Waits for a slow client, without a worker's permit. A termination ends the wait, a cancel
    /// does not.
    fn write(&self, session: &Attached<'_>, mut rest: &[u8]) -> Result<io::Result<()>, Interrupt> {
        while !rest.is_empty() {
            match (&self.socket).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let wait = || session.wait_writable(WaitMode::Killable, &self.socket);
                    if let Err(error) = session.block_in_place(wait)? {
                        return Ok(Err(error));
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = Arc::new(PoolBuilder::new(2).max_workers(8).start(manager.clone())?);
    let (stopped, mut signals) = (pool.clone(), Signals::new([SIGINT, SIGTERM])?);
    std::thread::spawn(move || {
        signals.forever().next();
        let request = Terminate::new(TerminateMode::AfterStatement, Requester::system())
            .comment("shutting down");
        let (grace, limit) = (Duration::from_secs(1), Duration::from_secs(60));
        let drained =
            stopped.shutdown(DrainOptions::new(request.clone()).grace(grace).timeout(limit));
        std::process::exit(i32::from(drained.remaining > 0));
    });
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5435".into());
    let listener = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        // The server continues after an error of one client, and when the manager rejects a new
        // one.
        if let Err(error) = socket.map_err(Into::into).and_then(|new| take_in(&pool, &manager, new))
        {
            eprintln!("refused: {error}");
            // The error may last, for example if no descriptor is left.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn take_in(
    pool: &Pool<Connection>,
    manager: &SessionManager,
    mut socket: TcpStream,
) -> Result<(), Box<dyn std::error::Error>> {
    socket.set_nonblocking(true)?;
    let client = socket.peer_addr()?.to_string();
    let about = ClientInfo::new("ann").with_address(client);
    let session = manager.open(about).inspect_err(|refused| {
        let _ = writeln!(socket, "FATAL: {refused}");
    })?;
    let manager = manager.clone();
    Ok(pool.serve(session, Connection { socket, buffer: Vec::new(), manager })?)
}
