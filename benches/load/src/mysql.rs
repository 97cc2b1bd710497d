//! The MySQL protocol, version 10 of its handshake: login without a password, and text queries.

use crate::wire::{Bytes, Failure, Message, ServerError};
use std::io::{Read, Write};

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

const MAX_PACKET: u32 = 1 << 24;
const UTF8: u8 = 33;
const COM_QUERY: u8 = 3;

const OK: u8 = 0x00;
const NULL: u8 = 0xfb;
/// The end of columns or rows, and in a login the wish for another method.
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;

/// Length and sequence number come before each packet.
const HEAD: usize = 4;

/// Returns the number by which the server knows the connection.
pub(crate) fn login(
    socket: &mut (impl Read + Write),
    user: &str,
    database: Option<&str>,
) -> Result<u64, Failure> {
    let (number, greeting) = read_packet(socket)?;
    let id = greeted(&greeting)?;
    socket.write_all(&packet(number.wrapping_add(1), &response(user, database)))?;
    loop {
        let (number, answer) = read_packet(socket)?;
        match answer.first() {
            Some(&OK) => return Ok(id),
            // No password has the same proof in any method: none.
            Some(&EOF) => socket.write_all(&packet(number.wrapping_add(1), &[]))?,
            Some(&ERR) => return Err(Failure::Server(error(Bytes(&answer[1..]))?)),
            _ => return Err(Failure::Protocol("the login's answer is not understood".into())),
        }
    }
}

fn read_packet(socket: &mut impl Read) -> Result<(u8, Vec<u8>), Failure> {
    let mut head = [0; HEAD];
    socket.read_exact(&mut head)?;
    let mut body = vec![0; length(head)];
    socket.read_exact(&mut body)?;
    Ok((head[3], body))
}

fn length([a, b, c, _]: [u8; HEAD]) -> usize {
    u32::from_le_bytes([a, b, c, 0]) as usize
}

fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (body.len() as u32).to_le_bytes();
    [&[a, b, c, number], body].concat()
}

fn greeted(greeting: &[u8]) -> Result<u64, Failure> {
    let mut greeting = Bytes(greeting);
    match greeting.array()? {
        [10] => {}
        [ERR] => return Err(Failure::Server(error(greeting)?)),
        [other] => return Err(Failure::Protocol(format!("handshake of version {other}"))),
    }
    let _version = greeting.string()?;
    Ok(u32::from_le_bytes(greeting.array()?).into())
}

fn response(user: &str, database: Option<&str>) -> Vec<u8> {
    let mut able = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    if database.is_some() {
        able |= CONNECT_WITH_DB;
    }
    let mut body = able.to_le_bytes().to_vec();
    body.extend_from_slice(&MAX_PACKET.to_le_bytes());
    body.push(UTF8);
    body.extend_from_slice(&[0; 23]);
    body.extend_from_slice(user.as_bytes());
    // The name's end, and the length of the proof.
    body.extend_from_slice(&[0, 0]);
    for word in database.into_iter().chain(["mysql_native_password"]) {
        body.extend_from_slice(word.as_bytes());
        body.push(0);
    }
    body
}

pub(crate) fn query(statement: &str, out: &mut Vec<u8>) {
    let [a, b, c, _] = (statement.len() as u32 + 1).to_le_bytes();
    out.extend_from_slice(&[a, b, c, 0, COM_QUERY]);
    out.extend_from_slice(statement.as_bytes());
}

/// Where in an answer the connection is.
#[derive(Debug, Default)]
pub(crate) enum Answer {
    #[default]
    Start,
    /// This number of column definitions, and an EOF, follow.
    Columns(u64),
    Rows,
}

impl Answer {
    /// `None` where the packet is not there as a whole.
    pub(crate) fn parse(&mut self, input: &[u8]) -> Result<Option<Message>, Failure> {
        let Some((head, rest)) = input.split_first_chunk::<HEAD>() else { return Ok(None) };
        let Some(body) = rest.get(..length(*head)) else { return Ok(None) };
        let mut message = Message { length: HEAD + body.len(), ..Message::default() };
        let mut bytes = Bytes(body);
        let end = body.first() == Some(&EOF) && body.len() < 9;
        match (&mut *self, body.first()) {
            (_, None) => return Err(Failure::Protocol("an empty packet".into())),
            (Answer::Start | Answer::Rows, Some(&ERR)) => {
                message.error = Some(error(Bytes(&body[1..]))?);
                message.done = true;
                *self = Answer::Start;
            }
            (Answer::Start, Some(&OK)) => message.done = true,
            (Answer::Start, Some(_)) => match number(&mut bytes)? {
                Some(columns) => *self = Answer::Columns(columns),
                None => return Err(Failure::Protocol("the server asks for a file".into())),
            },
            (Answer::Columns(0), Some(_)) if end => *self = Answer::Rows,
            (Answer::Columns(left), Some(_)) => {
                let none_left = || Failure::Protocol("a column too many".into());
                *left = left.checked_sub(1).ok_or_else(none_left)?;
            }
            (Answer::Rows, Some(_)) if end => {
                message.done = true;
                *self = Answer::Start;
            }
            (Answer::Rows, Some(_)) => {
                if let Some(length) = number(&mut bytes)? {
                    let value = bytes.take(length as usize)?;
                    message.value = Some(String::from_utf8_lossy(value).into_owned());
                }
            }
        }
        Ok(Some(message))
    }
}

/// A number of variable length; `None` means NULL.
fn number(bytes: &mut Bytes<'_>) -> Result<Option<u64>, Failure> {
    let length = match bytes.array()? {
        [NULL] => return Ok(None),
        [0xfc] => 2,
        [0xfd] => 3,
        [0xfe] => 8,
        [short] => return Ok(Some(short.into())),
    };
    let mut whole = [0; 8];
    whole[..length].copy_from_slice(bytes.take(length)?);
    Ok(Some(u64::from_le_bytes(whole)))
}

/// After the first byte: the code, and since 4.1 a `#` and the SQLSTATE.
fn error(mut rest: Bytes<'_>) -> Result<ServerError, Failure> {
    let code = u16::from_le_bytes(rest.array()?).to_string();
    if rest.0.first() == Some(&b'#') {
        rest.take(6)?;
    }
    Ok(ServerError { code, text: String::from_utf8_lossy(rest.0).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Cursor};

    /// Reads what is prepared, and keeps what is written.
    struct Script(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged_in(answers: &[&[u8]]) -> (Result<u64, Failure>, Vec<u8>) {
        let packets = answers.iter().enumerate().map(|(n, body)| packet(2 * n as u8, body));
        let mut script = Script(Cursor::new(packets.collect::<Vec<_>>().concat()), Vec::new());
        (login(&mut script, "root", Some("test")), script.1)
    }

    const GREETING: &[u8] = b"\x0a10.11\0\x07\x01\0\0and so on";

    #[test]
    fn a_login_without_a_password() {
        let (id, written) = logged_in(&[GREETING, b"\0\0\0\x02\0\0\0"]);
        assert_eq!(id.unwrap(), 0x107);
        assert_eq!(written[3], 1, "the sequence number goes on");
        assert!(written.ends_with(b"root\0\0test\0mysql_native_password\0"));

        let (id, written) = logged_in(&[GREETING, b"\xfemysql_native_password\0salt", b"\0"]);
        assert!(id.is_ok());
        assert!(written.ends_with(&[0, 0, 0, 3]), "an empty proof");

        let (id, _) = logged_in(&[GREETING, b"\xff\x15\x04#28000no"]);
        assert_eq!(id.unwrap_err().to_string(), "1045: no");
        let (id, _) = logged_in(&[b"\xff\x10\x04Too many connections"]);
        assert_eq!(id.unwrap_err().to_string(), "1040: Too many connections");
        let (id, _) = logged_in(&[b"\x09"]);
        assert!(id.is_err());
    }

    #[test]
    fn a_query_is_one_packet() {
        let mut out = Vec::new();
        query("select 1", &mut out);
        assert_eq!(out, b"\x09\0\0\0\x03select 1");
    }

    #[test]
    fn an_answer_with_rows() {
        let mut answer = Answer::default();
        let bodies: [&[u8]; 7] =
            [b"\x02", b"a", b"b", b"\xfe\0\0\0\0", b"\x017\x018", b"\xfb", b"\xfe\0\0\0\0"];
        let mut values = Vec::new();
        for (at, body) in bodies.iter().enumerate() {
            let whole = packet(at as u8, body);
            assert_eq!(answer.parse(&whole[..whole.len() - 1]).unwrap(), None);
            let message = answer.parse(&whole).unwrap().unwrap();
            assert_eq!(message.done, at == 6);
            values.extend(message.value);
        }
        assert_eq!(values, ["7"]);
    }

    #[test]
    fn answers_without_rows() {
        let mut answer = Answer::default();
        for _ in 0..2 {
            assert!(answer.parse(&packet(1, b"\0\0\0\x02\0\0\0")).unwrap().unwrap().done);
        }
        let killed = answer.parse(&packet(1, b"\xff\x87\x07#70100Connection was killed"));
        let killed = killed.unwrap().unwrap();
        assert!(killed.done);
        assert_eq!(killed.error.unwrap().to_string(), "1927: Connection was killed");
        assert!(answer.parse(&packet(1, b"")).is_err());
        assert!(answer.parse(&packet(1, b"\xfbfile")).is_err());
    }

    #[test]
    fn numbers_of_all_lengths() {
        for (bytes, expected) in [
            (&b"\x05"[..], Some(5)),
            (b"\xfc\x01\x02", Some(0x201)),
            (b"\xfd\x01\x02\x03", Some(0x30201)),
            (b"\xfe\x01\0\0\0\0\0\0\0", Some(1)),
            (b"\xfb", None),
        ] {
            assert_eq!(number(&mut Bytes(bytes)).unwrap(), expected);
        }
        assert!(number(&mut Bytes(b"\xfc\x01")).is_err());
    }
}
