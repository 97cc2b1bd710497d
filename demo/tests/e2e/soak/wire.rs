//! The client's side of the PostgreSQL protocol, as little of it as is needed.

use bytes::BytesMut;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as stuck.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

const PROTOCOL_3_0: u32 = 3 << 16;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What names a connection in a cancel request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) pid: [u8; 4],
    pub(crate) secret: [u8; 4],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlError {
    pub(crate) severity: String,
    pub(crate) sqlstate: String,
    pub(crate) message: String,
}

/// All that came before ReadyForQuery, or before the end of the connection.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Vec<Option<String>>>,
    pub(crate) errors: Vec<SqlError>,
    pub(crate) tags: Vec<String>,
    /// The transaction's status, where the server is ready for more.
    pub(crate) ready: Option<u8>,
}

impl Answer {
    pub(crate) fn cell(&self) -> Option<&str> {
        match (self.rows.as_slice(), self.errors.as_slice()) {
            ([row], []) => row.first()?.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn state(&self) -> Option<&str> {
        self.errors.first().map(|error| error.sqlstate.as_str())
    }
}

pub(crate) struct Wire {
    socket: TcpStream,
    buffer: BytesMut,
    pub(crate) key: Key,
}

impl Wire {
    /// Connects, and says who it is.
    pub(crate) fn open(server: SocketAddr, user: &str) -> io::Result<Wire> {
        let socket = TcpStream::connect_timeout(&server, LIMIT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        let key = Key { pid: [0; 4], secret: [0; 4] };
        let mut wire = Wire { socket, buffer: BytesMut::new(), key };
        let parameters = format!("user\0{user}\0\0");
        let length = 8 + parameters.len() as u32;
        let head = [length.to_be_bytes(), PROTOCOL_3_0.to_be_bytes()].concat();
        wire.socket.write_all(&[&head, parameters.as_bytes()].concat())?;
        let answer = wire.answer()?;
        assert_eq!(answer.ready, Some(b'I'), "{answer:?}");
        Ok(wire)
    }

    pub(crate) fn send(&mut self, query: &str) -> io::Result<()> {
        let length = 5 + query.len() as u32;
        let message = [b"Q", &length.to_be_bytes()[..], query.as_bytes(), b"\0"].concat();
        self.socket.write_all(&message)
    }

    pub(crate) fn query(&mut self, query: &str) -> io::Result<Answer> {
        self.send(query)?;
        self.answer()
    }

    /// A query that has to be answered with one value.
    pub(crate) fn value(&mut self, query: &str) -> String {
        let answer = self.query(query).expect("a connection that nobody kills");
        answer.cell().unwrap_or_else(|| panic!("{query}: {answer:?}")).to_string()
    }

    /// Reads up to ReadyForQuery, or to the end of the connection, which is no error.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        let start = Instant::now();
        while answer.ready.is_none() {
            // Each message has its time, and here all of them have.
            if start.elapsed() > LIMIT {
                return Err(ErrorKind::TimedOut.into());
            }
            let Some((kind, body)) = self.message()? else { break };
            match kind {
                b'D' => answer.rows.push(row(&body)),
                b'E' => answer.errors.push(error(&body)),
                b'C' => answer.tags.push(text(&body).to_string()),
                b'K' => {
                    let (pid, secret) = body.split_at(4);
                    self.key = Key { pid: four(pid), secret: four(secret) };
                }
                b'Z' => answer.ready = body.first().copied(),
                _ => {}
            }
        }
        Ok(answer)
    }

    /// `None` at the end of the connection.
    fn message(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some(head) = self.buffer.get(..5) {
                let length = u32::from_be_bytes(four(&head[1..])) as usize;
                if self.buffer.len() > length {
                    let whole = self.buffer.split_to(length + 1);
                    return Ok(Some((whole[0], whole[5..].to_vec())));
                }
            }
            let mut more = [0; 4096];
            let length = match self.socket.read(&mut more) {
                // It was closed before what we sent last had arrived.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                read => read?,
            };
            if length == 0 {
                assert!(self.buffer.is_empty(), "it ended within a message");
                return Ok(None);
            }
            self.buffer.extend_from_slice(&more[..length]);
        }
    }

    pub(crate) fn leave(mut self) {
        let _ = self.socket.write_all(b"X\0\0\0\x04");
    }
}

/// Sends a cancel request, and waits until the server has dealt with it.
pub(crate) fn cancel(server: SocketAddr, key: Key) -> io::Result<()> {
    let mut socket = TcpStream::connect_timeout(&server, LIMIT)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    let head = [16_u32.to_be_bytes(), CANCEL_REQUEST.to_be_bytes()];
    socket.write_all(&[head[0], head[1], key.pid, key.secret].concat())?;
    let answered = socket.read(&mut [0])?;
    assert_eq!(answered, 0, "a cancel request has no answer");
    Ok(())
}

fn four(bytes: &[u8]) -> [u8; 4] {
    bytes.try_into().expect("four bytes")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8").trim_end_matches('\0')
}

fn row(mut body: &[u8]) -> Vec<Option<String>> {
    let columns = u16::from_be_bytes([body[0], body[1]]);
    body = &body[2..];
    let mut column = || {
        let length = i32::from_be_bytes(four(&body[..4]));
        body = &body[4..];
        let length = usize::try_from(length).ok()?;
        let value = text(&body[..length]).to_string();
        body = &body[length..];
        Some(value)
    };
    (0..columns).map(|_| column()).collect()
}

fn error(body: &[u8]) -> SqlError {
    let field = |kind: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&kind));
        found.map_or(String::new(), |field| text(&field[1..]).to_string())
    };
    SqlError { severity: field(b'S'), sqlstate: field(b'C'), message: field(b'M') }
}
