//! What both protocols have in common: messages of the server, and what can go wrong.

use std::fmt;
use std::io;

/// One message of the server, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Bytes that it took.
    pub(crate) length: usize,
    /// The first column, where it is a row.
    pub(crate) value: Option<String>,
    pub(crate) error: Option<ServerError>,
    /// The answer to the statement is complete.
    pub(crate) done: bool,
    /// The number by which the server knows the connection.
    pub(crate) id: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// The severity, where the protocol has one, and the code: `FATAL 57P01`, or `1927`.
    pub(crate) code: String,
    pub(crate) text: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    /// The statement, or the login, was answered with an error.
    Server(ServerError),
    /// The server closed the connection, with a last word or without.
    SessionEnd(Option<ServerError>),
    TimedOut,
    /// The server sent a message that this client does not support.
    Protocol(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Io(error) => write!(f, "{error}"),
            Failure::Server(error) => write!(f, "{error}"),
            Failure::SessionEnd(None) => write!(f, "the server closed the connection"),
            Failure::SessionEnd(Some(word)) => {
                write!(f, "the server closed the connection: {word}")
            }
            Failure::TimedOut => write!(f, "nothing came in time"),
            Failure::Protocol(what) => write!(f, "{what}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::TimedOut,
            io::ErrorKind::UnexpectedEof => Failure::SessionEnd(None),
            _ => Failure::Io(error),
        }
    }
}

/// Takes bytes from the front, and complains where there are too few.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (front, rest) = self.0.split_at_checked(length).ok_or_else(truncated)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        self.take(N)?.try_into().map_err(|_| truncated())
    }

    /// Up to a zero byte, which is taken too.
    pub(crate) fn string(&mut self) -> Result<String, Failure> {
        let length = self.0.iter().position(|byte| *byte == 0).ok_or_else(truncated)?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

fn truncated() -> Failure {
    Failure::Protocol("a message of the server is too short".into())
}
