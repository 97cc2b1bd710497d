//! One connection to the server, with which statements are run, or its end is seen.

use crate::args::{Args, Protocol};
use crate::mysql;
use crate::postgres;
use crate::wire::{Failure, Message, ServerError};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

enum Wire {
    Postgres,
    Mysql(mysql::Answer),
}

pub(crate) struct Client {
    socket: TcpStream,
    wire: Wire,
    /// What came and is not understood yet, from `at` on.
    input: Vec<u8>,
    at: usize,
    /// The error in the answer that is being read.
    error: Option<ServerError>,
    /// The server's number for the connection: a pid, in PostgreSQL.
    pub(crate) id: u64,
}

/// How a connection ended, as its client saw it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) at: Instant,
    /// The last message of the server.
    pub(crate) told: Option<ServerError>,
    /// The socket showed an error in place of its end.
    pub(crate) reset: bool,
}

/// The result of a read from a non-blocking socket.
pub(crate) enum Progress {
    Nothing,
    Answered,
    SessionEnd(End),
}

impl Client {
    pub(crate) fn connect(args: &Args) -> Result<Client, Failure> {
        let mut socket = TcpStream::connect_timeout(&args.address, args.timeout)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(args.timeout))?;
        let database = args.database.as_deref();
        let (wire, id) = match args.protocol {
            Protocol::Mysql => {
                let id = mysql::login(&mut socket, &args.user, database)?;
                (Wire::Mysql(mysql::Answer::default()), id)
            }
            Protocol::Postgres => {
                socket.write_all(&postgres::startup(&args.user, database))?;
                (Wire::Postgres, 0)
            }
        };
        let mut client = Client { socket, wire, input: Vec::new(), at: 0, error: None, id };
        if args.protocol == Protocol::Postgres {
            client.answer()?;
        }
        Ok(client)
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Failure> {
        Ok(self.socket.set_nonblocking(nonblocking)?)
    }

    pub(crate) fn set_timeout(&self, limit: Option<Duration>) -> Result<(), Failure> {
        Ok(self.socket.set_read_timeout(limit)?)
    }

    pub(crate) fn send(&mut self, statement: &str) -> Result<(), Failure> {
        self.send_all([statement])
    }

    /// All statements at once; each is answered.
    pub(crate) fn send_all<'a>(
        &mut self,
        statements: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        for statement in statements {
            match self.wire {
                Wire::Postgres => postgres::query(statement, &mut out),
                Wire::Mysql(_) => mysql::query(statement, &mut out),
            }
        }
        Ok(self.socket.write_all(&out)?)
    }

    /// Waits for one complete result, and returns the first column of its rows.
    pub(crate) fn answer(&mut self) -> Result<Vec<String>, Failure> {
        let mut values = Vec::new();
        loop {
            while let Some(message) = self.next()? {
                values.extend(message.value);
                if message.done {
                    return self.error.take().map_or(Ok(values), |e| Err(Failure::Server(e)));
                }
            }
            if self.fill()? == 0 {
                return Err(Failure::SessionEnd(self.error.take()));
            }
        }
    }

    pub(crate) fn query(&mut self, statement: &str) -> Result<Vec<String>, Failure> {
        self.send(statement)?;
        self.answer()
    }

    /// The first column of the first row, as a number.
    pub(crate) fn number(&mut self, statement: &str) -> Result<u64, Failure> {
        let values = self.query(statement)?;
        let number = values.first().and_then(|value| value.parse().ok());
        number.ok_or_else(|| Failure::Protocol(format!("{statement}: {values:?} is no number")))
    }

    /// Runs the statement over and over until the server ends the connection. `each` is called
    /// after each answer.
    pub(crate) fn run_until_end(
        &mut self,
        statement: &str,
        mut each: impl FnMut(),
    ) -> Result<End, Failure> {
        loop {
            match self.query(statement) {
                Ok(_) => each(),
                Err(Failure::SessionEnd(told)) => {
                    return Ok(End { at: Instant::now(), told, reset: false });
                }
                Err(Failure::Io(error)) if is_reset(&error) => return self.wait_end(),
                // In MySQL's protocol it can be the last word, or the last but one.
                Err(Failure::Server(error)) => {
                    let end = self.wait_end()?;
                    return Ok(End { told: end.told.or(Some(error)), ..end });
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Waits for the connection's end.
    pub(crate) fn wait_end(&mut self) -> Result<End, Failure> {
        match self.read_to_end()? {
            Progress::SessionEnd(end) => Ok(end),
            _ => Err(Failure::TimedOut),
        }
    }

    /// Reads until the end, or as long as there is something.
    pub(crate) fn read_to_end(&mut self) -> Result<Progress, Failure> {
        loop {
            match self.fill() {
                Ok(0) => return Ok(self.ended(false)),
                Ok(_) => while self.next()?.is_some() {},
                Err(error) if is_reset(&error) => return Ok(self.ended(true)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Nothing);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads until an answer is complete, or as long as there is something. Nothing is read
    /// after the answer: an end that has come already shows after the next statement.
    pub(crate) fn read_answer(&mut self) -> Result<Progress, Failure> {
        loop {
            while let Some(message) = self.next()? {
                if message.done {
                    let error = self.error.take();
                    return error.map_or(Ok(Progress::Answered), |e| Err(Failure::Server(e)));
                }
            }
            match self.fill() {
                Ok(0) => return Ok(self.ended(false)),
                Ok(_) => {}
                Err(error) if is_reset(&error) => return Ok(self.ended(true)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Nothing);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&mut self, reset: bool) -> Progress {
        Progress::SessionEnd(End { at: Instant::now(), told: self.error.take(), reset })
    }

    /// Reads once; 0 is the end.
    fn fill(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(length) => {
                    self.input.extend_from_slice(&chunk[..length]);
                    return Ok(length);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message that is there as a whole; it is noted if it is an error.
    fn next(&mut self) -> Result<Option<Message>, Failure> {
        let input = &self.input[self.at..];
        let message = match &mut self.wire {
            Wire::Postgres => postgres::parse(input)?,
            Wire::Mysql(answer) => answer.parse(input)?,
        };
        let Some(mut message) = message else {
            self.input.drain(..self.at);
            self.at = 0;
            return Ok(None);
        };
        self.at += message.length;
        if let Some(error) = message.error.take() {
            self.error = Some(error);
        }
        if let Some(id) = message.id {
            self.id = id;
        }
        Ok(Some(message))
    }
}

fn is_reset(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
