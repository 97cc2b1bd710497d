//! A client of the PostgreSQL protocol that does what it is told, right or wrong.

use super::DEADLINE;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long all that belongs to one answer may take: each message has its own deadline, and an
/// answer without end has many.
const WHOLE: Duration = DEADLINE.saturating_mul(3);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// The fields of an error or a notice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<char, String>);

impl Fields {
    fn read(body: &[u8]) -> Fields {
        let parts = body.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).expect("messages are UTF-8");
        Fields(parts.map(|part| (part[0].into(), text(&part[1..]))).collect())
    }

    fn get(&self, field: char) -> &str {
        self.0.get(&field).map_or("", String::as_str)
    }

    pub(crate) fn severity(&self) -> &str {
        self.get('S')
    }

    pub(crate) fn code(&self) -> &str {
        self.get('C')
    }

    pub(crate) fn message(&self) -> &str {
        self.get('M')
    }

    pub(crate) fn detail(&self) -> &str {
        self.get('D')
    }

    pub(crate) fn hint(&self) -> &str {
        self.get('H')
    }

    #[track_caller]
    pub(crate) fn expect(&self, severity: &str, code: &str, message: &str) {
        assert_eq!((self.severity(), self.code()), (severity, code), "{self:?}");
        assert!(self.message().contains(message), "{message:?} is not in {self:?}");
    }
}

/// All that came back for one or several statements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Names and type oids of the last row description.
    pub(crate) columns: Vec<(String, u32)>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// The same, as they came.
    pub(crate) raw: Vec<Vec<Option<Vec<u8>>>>,
    pub(crate) tags: Vec<String>,
    pub(crate) notices: Vec<Fields>,
    pub(crate) errors: Vec<Fields>,
    /// The kinds of all messages, in order.
    pub(crate) kinds: String,
    /// Of the ReadyForQuery. `None` where the connection ended instead.
    pub(crate) status: Option<char>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn value(&self) -> &str {
        let [row] = self.rows.as_slice() else { panic!("not one row: {self:?}") };
        row[0].as_deref().unwrap_or("NULL")
    }

    #[track_caller]
    pub(crate) fn error(&self) -> &Fields {
        let [error] = self.errors.as_slice() else { panic!("not one error: {self:?}") };
        error
    }

    #[track_caller]
    pub(crate) fn notice(&self) -> &Fields {
        let [notice] = self.notices.as_slice() else { panic!("not one notice: {self:?}") };
        notice
    }

    /// It ended with the session, and the client was told so.
    #[track_caller]
    pub(crate) fn expect_killed(&self) {
        self.error().expect("FATAL", "57P01", super::TOLD);
        assert_eq!(self.status, None, "{self:?}");
    }
}

/// Bytes with a zero at the end.
pub(crate) fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    buffer: BytesMut,
    /// Of the BackendKeyData: it is no number of SQL's.
    pub(crate) pid: i32,
    pub(crate) key: Vec<u8>,
    pub(crate) address: SocketAddr,
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Wire {
    /// A connection that has said nothing yet.
    pub(crate) fn open(address: SocketAddr) -> Wire {
        let socket = TcpStream::connect_timeout(&address, DEADLINE);
        let socket = socket.expect("the server accepts connections");
        socket.set_nodelay(true).expect("no delay");
        let wire = Wire {
            socket,
            buffer: BytesMut::new(),
            pid: 0,
            key: Vec::new(),
            address,
            parameters: BTreeMap::new(),
        };
        wire.patience(DEADLINE);
        wire
    }

    /// How long it waits for a message, or to be rid of one, in place of [`DEADLINE`].
    pub(crate) fn patience(&self, limit: Duration) {
        self.socket.set_read_timeout(Some(limit)).expect("a deadline");
        self.socket.set_write_timeout(Some(limit)).expect("a deadline");
    }

    pub(crate) fn connect(address: SocketAddr, user: &str) -> Wire {
        Wire::connect_as(address, &[("user", user), ("application_name", user)])
    }

    pub(crate) fn connect_as(address: SocketAddr, parameters: &[(&str, &str)]) -> Wire {
        let mut wire = Wire::open(address);
        wire.startup(3 << 16, parameters);
        wire.greeted();
        wire
    }

    pub(crate) fn startup(&mut self, version: u32, parameters: &[(&str, &str)]) {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend(cstr(name));
            body.extend(cstr(value));
        }
        body.push(0);
        self.packet(&body);
    }

    /// Reads up to the first ReadyForQuery.
    #[track_caller]
    pub(crate) fn greeted(&mut self) {
        let deadline = Instant::now() + WHOLE;
        loop {
            assert!(Instant::now() < deadline, "a greeting without end");
            let Message { kind, body } = self.next().expect("a greeting");
            match kind {
                b'K' => {
                    self.pid = i32::from_be_bytes(body[..4].try_into().expect("four bytes"));
                    self.key = body[4..].to_vec();
                }
                b'S' => {
                    let text = String::from_utf8(body).expect("UTF-8");
                    let (name, value) = text.split_once('\0').expect("two");
                    self.parameters.insert(name.into(), value.trim_end_matches('\0').into());
                }
                b'Z' => return,
                b'E' => panic!("refused: {:?}", Fields::read(&body)),
                _ => {}
            }
        }
    }

    /// Bytes as they are. The server may have closed the connection: that shows at the read.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// A message without a kind, as they are before the session starts.
    pub(crate) fn packet(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("small").to_be_bytes();
        self.raw(&[&length, body].concat());
    }

    pub(crate) fn send(&mut self, kind: u8, body: &[u8]) {
        self.raw(&message(kind, body));
    }

    /// Sends a simple query, and doesn't wait.
    pub(crate) fn start(&mut self, sql: &str) {
        self.send(b'Q', &cstr(sql));
    }

    /// The next message; `None` at the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(length) = self.buffer.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
                if self.buffer.len() > length {
                    let whole = self.buffer.split_to(length + 1);
                    return Some(Message { kind: whole[0], body: whole[5..].to_vec() });
                }
            }
            let mut scrap = [0; 64 * 1024];
            match self.socket.read(&mut scrap) {
                Ok(0) => return None,
                Ok(length) => self.buffer.extend_from_slice(&scrap[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no message came: {error}"),
            }
        }
    }

    /// All up to a message of which this is so, or to the end of the connection.
    #[track_caller]
    fn take(&mut self, what: &str, is_last: impl Fn(u8) -> bool) -> Answer {
        let mut answer = Answer::default();
        let deadline = Instant::now() + WHOLE;
        while let Some(Message { kind, body }) = self.next() {
            take(&mut answer, Message { kind, body });
            if is_last(kind) {
                break;
            }
            let count = answer.kinds.len();
            assert!(Instant::now() < deadline, "{count} messages came, and not {what}");
        }
        answer
    }

    /// All up to the next ReadyForQuery or the end of the connection.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Answer {
        self.take("ReadyForQuery", |kind| kind == b'Z')
    }

    /// All up to the first message of that kind.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: char) -> Answer {
        let answer = self.take(&format!("{kind}"), |other| char::from(other) == kind);
        assert!(answer.kinds.ends_with(kind), "no {kind} came: {answer:?}");
        answer
    }

    #[track_caller]
    pub(crate) fn query(&mut self, sql: &str) -> Answer {
        self.start(sql);
        self.finish()
    }

    /// A query that goes well.
    #[track_caller]
    pub(crate) fn ok(&mut self, sql: &str) -> Answer {
        let answer = self.query(sql);
        let head: String = sql.chars().take(200).collect();
        assert!(answer.errors.is_empty() && answer.status.is_some(), "{head}: {answer:?}");
        answer
    }

    /// A query that fails, after which the session goes on.
    #[track_caller]
    pub(crate) fn fails(&mut self, sql: &str) -> Fields {
        let answer = self.query(sql);
        let head: String = sql.chars().take(200).collect();
        assert!(answer.status.is_some(), "{head}: the connection ended: {answer:?}");
        answer.error().clone()
    }

    /// Waits for the end of the connection; what came before it.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Answer {
        let mut answer = self.take("the end of the connection", |_| false);
        answer.status = None;
        answer
    }

    /// The session is told to end, and the connection closes.
    #[track_caller]
    pub(crate) fn expect_killed(&mut self) -> Fields {
        let answer = self.rest();
        answer.expect_killed();
        answer.error().clone()
    }

    pub(crate) fn session(&mut self) -> i64 {
        self.ok("select pg_current_sessid()").value().parse().expect("a session id")
    }

    /// Sends a cancel request for this connection, and waits for it to be done with.
    pub(crate) fn cancel(&self) {
        cancel(self.address, self.pid, &self.key);
    }

    /// Whether nothing has come that was not read. What is on its way shows a moment later, so
    /// this says something of what would be here by now.
    pub(crate) fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        let silent = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).expect("a socket");
        self.buffer.is_empty() && silent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// No more is said; the answers can still be read.
    pub(crate) fn hang_up(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Parse, of the unnamed statement, with these types.
    pub(crate) fn parse(&mut self, name: &str, sql: &str, types: &[u32]) {
        let mut body = [cstr(name), cstr(sql)].concat();
        body.extend(u16::try_from(types.len()).expect("few").to_be_bytes());
        types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
        self.send(b'P', &body);
    }

    /// Bind: parameters with their formats, and the formats of the results.
    pub(crate) fn bind(
        &mut self,
        portal: &str,
        name: &str,
        parameters: &[(i16, Option<&[u8]>)],
        results: &[i16],
    ) {
        let mut body = [cstr(portal), cstr(name)].concat();
        let count = u16::try_from(parameters.len()).expect("few").to_be_bytes();
        body.extend(count);
        parameters.iter().for_each(|(format, _)| body.extend(format.to_be_bytes()));
        body.extend(count);
        for (_, value) in parameters {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).expect("short"));
            body.extend(length.to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body.extend(u16::try_from(results.len()).expect("few").to_be_bytes());
        results.iter().for_each(|format| body.extend(format.to_be_bytes()));
        self.send(b'B', &body);
    }

    /// Describe: `S` a statement or `P` a portal.
    pub(crate) fn describe(&mut self, kind: u8, name: &str) {
        self.send(b'D', &[&[kind], cstr(name).as_slice()].concat());
    }

    pub(crate) fn execute(&mut self, portal: &str, rows: i32) {
        self.send(b'E', &[cstr(portal).as_slice(), &rows.to_be_bytes()].concat());
    }

    pub(crate) fn sync(&mut self) {
        self.send(b'S', &[]);
    }
}

/// A cancel request; returns when the server has closed its connection, which it does once it
/// has dealt with it.
pub(crate) fn cancel(address: SocketAddr, pid: i32, key: &[u8]) {
    let mut wire = Wire::open(address);
    wire.packet(&[&80_877_102_u32.to_be_bytes()[..], &pid.to_be_bytes(), key].concat());
    assert!(wire.next().is_none(), "a cancel request has no answer");
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("small enough").to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn take(answer: &mut Answer, Message { kind, body }: Message) {
    answer.kinds.push(kind.into());
    match kind {
        b'T' => answer.columns = columns(&body),
        b'D' => {
            let row = values(&body);
            let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
            answer.rows.push(row.iter().map(|value| value.as_ref().map(text)).collect());
            answer.raw.push(row);
        }
        b'C' => {
            let tag = body.strip_suffix(&[0]).expect("a tag ends with a zero");
            answer.tags.push(String::from_utf8(tag.to_vec()).expect("UTF-8"));
        }
        b'E' => answer.errors.push(Fields::read(&body)),
        b'N' => answer.notices.push(Fields::read(&body)),
        b'Z' => answer.status = Some(body[0].into()),
        _ => {}
    }
}

fn columns(mut body: &[u8]) -> Vec<(String, u32)> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    body = &body[2..];
    let mut columns = Vec::new();
    for _ in 0..count {
        let end = body.iter().position(|byte| *byte == 0).expect("a name");
        let name = String::from_utf8(body[..end].to_vec()).expect("UTF-8");
        let oid = body[end + 7..end + 11].try_into().expect("four bytes");
        columns.push((name, u32::from_be_bytes(oid)));
        body = &body[end + 19..];
    }
    assert!(body.is_empty(), "a row description with more than its columns");
    columns
}

fn values(mut body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    body = &body[2..];
    let mut values = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(body[..4].try_into().expect("four bytes"));
        body = &body[4..];
        let value = usize::try_from(length).ok().map(|length| body[..length].to_vec());
        body = &body[value.as_ref().map_or(0, Vec::len)..];
        values.push(value);
    }
    assert!(body.is_empty(), "a row with more than its values");
    values
}
