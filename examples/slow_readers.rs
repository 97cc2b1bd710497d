//! Clients that read slowly, on two workers: `cargo run --example slow_readers`, then `nc 127.0.0.1 5439` from any
//! number of terminals. `rows N` sends N rows, which are computed as the client reads. While a client does not read,
//! its statement is suspended: it holds no thread, and can be seen (`who`), cancelled (`cancel ID`) and killed
//! (`kill ID`). Stop a terminal by Ctrl-S, and try these from another.

use safepoint::pool;
use safepoint::pool::{Action, CloseReason, Pool, PoolBuilder};
use safepoint::session::{SuspendedStatement, WaitMode};
use safepoint::{
    Attached, Cancel, ClientInfo, Interrupt, Session, SessionId, SessionManager, Statement,
    Terminate, TerminateMode, ThreadModel,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// How many rows are computed before they are sent.
const ROWS: usize = 256;

/// The maximum length of a line, in bytes, exceeded by at most one read.
const MAX_LINE: usize = 4096;

struct Connection {
    socket: TcpStream,
    manager: SessionManager,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The engine's state of the statement. It is `Send`, so that it can move from worker to worker.
    rows: Range<u64>,
    suspended: Option<SuspendedStatement>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether all output is sent.
enum Sent {
    All,
    Full,
    Gone,
}

impl pool::Connection for Connection {
    fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
        if let Some(suspended) = self.suspended.take() {
            let ran = session.resume(suspended).and_then(|statement| self.send_rows(statement));
            if let Some(action) = self.settle(ran)? {
                return Ok(action);
            }
        }
        loop {
            match self.send() {
                Sent::All => {}
                Sent::Full => return Ok(Action::WaitWritable),
                Sent::Gone => return Ok(Action::Close),
            }
            let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
                let mut bytes = [0; 1024];
                match self.socket.read(&mut bytes) {
                    Ok(0) => return Ok(Action::Close),
                    Ok(_) if self.input.len() > MAX_LINE => return Ok(Action::Close),
                    Ok(length) => self.input.extend_from_slice(&bytes[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        // No whole command has arrived.
                        session.discard_reserved();
                        return Ok(Action::WaitReadable);
                    }
                    Err(_) => return Ok(Action::Close),
                }
                continue;
            };
            let line: Vec<_> = self.input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            let ran = session.begin().map(|statement| statement.with_text(&line));
            let ran = ran.and_then(|statement| self.run(statement, &line));
            if let Some(action) = self.settle(ran)? {
                return Ok(action);
            }
        }
    }

    fn on_close(&mut self, _: &Session, why: CloseReason) {
        // A client that does not read misses it. A part of a row must not be followed by it.
        if let (CloseReason::Interrupted(interrupt), true) = (why, self.output.is_empty()) {
            let _ = writeln!(self.socket, "FATAL: {interrupt}");
        }
    }
}

impl Connection {
    fn run(&mut self, statement: Statement<'_>, line: &str) -> Result<Option<Action>, Interrupt> {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match (command, argument.parse::<u64>()) {
            ("rows", Ok(count)) => {
                self.rows = 0..count;
                return self.send_rows(statement);
            }
            ("who", _) => {
                let rows = self.manager.sessions();
                rows.map(|row| format!("{} {} {}\n", row.id, row.state, row.statement_text))
                    .collect()
            }
            ("cancel" | "kill", Ok(id)) => self.request(&statement, command == "kill", id),
            _ => "ERROR: expected rows N, who, cancel ID or kill ID\n".into(),
        };
        self.output.extend_from_slice(answer.as_bytes());
        statement.finish().map(|()| None)
    }

    fn request(&self, statement: &Statement<'_>, kills: bool, id: u64) -> String {
        let Ok(id) = SessionId::try_from(id) else {
            return "ERROR: there is no session 0\n".into();
        };
        let requester = statement.requester().with_admin(true);
        let accepted = if kills {
            let kill = Terminate::new(TerminateMode::Immediate, requester);
            self.manager.terminate(id, kill).map(drop)
        } else {
            self.manager.cancel(id, Cancel::running(requester)).map(drop)
        };
        accepted.map_or_else(|refused| format!("ERROR: {refused}\n"), |()| "done\n".into())
    }

    /// Computes and sends rows until the client has them all, or there is no room for more. Returns `None` if the
    /// statement has ended.
    fn send_rows(&mut self, statement: Statement<'_>) -> Result<Option<Action>, Interrupt> {
        loop {
            match self.send() {
                Sent::All => {}
                Sent::Full => {
                    self.suspended = Some(statement.suspend(WaitMode::Interruptible));
                    return Ok(Some(Action::WaitWritable));
                }
                Sent::Gone => return Ok(Some(Action::Close)),
            }
            if self.rows.is_empty() {
                self.output.extend_from_slice(b"done\n");
                return statement.finish().map(|()| None);
            }
            statement.check()?;
            for row in self.rows.by_ref().take(ROWS) {
                writeln!(self.output, "row {row}").expect("a vector takes all");
            }
        }
    }

    /// After a cancel the client gets an error after the rows that are computed already, and its session continues.
    fn settle(
        &mut self,
        ran: Result<Option<Action>, Interrupt>,
    ) -> Result<Option<Action>, Interrupt> {
        match ran {
            Err(interrupt) if !interrupt.is_terminate() => {
                self.rows = 0..0;
                writeln!(self.output, "ERROR: {interrupt}").expect("a vector takes all");
                Ok(None)
            }
            other => other,
        }
    }

    fn send(&mut self) -> Sent {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Sent::Full,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Sent::Gone,
            }
        }
        Sent::All
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = PoolBuilder::new(2).max_workers(2).start(manager.clone())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5439".into());
    let listener = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        // The server continues after an error of one client.
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
    socket: TcpStream,
) -> Result<(), Box<dyn std::error::Error>> {
    socket.set_nonblocking(true)?;
    let session = manager.open(ClientInfo::new("ann"))?;
    Ok(pool.serve(
        session,
        Connection {
            socket,
            manager: manager.clone(),
            input: Vec::new(),
            output: Vec::new(),
            rows: 0..0,
            suspended: None,
        },
    )?)
}
