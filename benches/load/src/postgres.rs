//! PostgreSQL's protocol, version 3.0: login without a password, and simple queries.

use crate::wire::{Bytes, Failure, Message, ServerError};

const VERSION: u32 = 3 << 16;

/// By this name the sessions of one run are found in `pg_stat_activity`.
pub(crate) const APPLICATION: &str = "load";

pub(crate) fn startup(user: &str, database: Option<&str>) -> Vec<u8> {
    let mut body = VERSION.to_be_bytes().to_vec();
    let database = database.unwrap_or(user);
    for word in ["user", user, "database", database, "application_name", APPLICATION] {
        body.extend_from_slice(word.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = (body.len() + 4) as u32;
    [&length.to_be_bytes(), body.as_slice()].concat()
}

pub(crate) fn query(statement: &str, out: &mut Vec<u8>) {
    out.push(b'Q');
    out.extend_from_slice(&(statement.len() as u32 + 5).to_be_bytes());
    out.extend_from_slice(statement.as_bytes());
    out.push(0);
}

/// `None` where the message is not there as a whole.
pub(crate) fn parse(input: &[u8]) -> Result<Option<Message>, Failure> {
    let Some((head, rest)) = input.split_first_chunk::<5>() else { return Ok(None) };
    let [kind, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    let Some(body) = length.checked_sub(4) else {
        return Err(Failure::Protocol(format!("a message of {length} bytes")));
    };
    let Some(body) = rest.get(..body) else { return Ok(None) };
    let mut body = Bytes(body);
    let mut message = Message { length: length + 1, ..Message::default() };
    match kind {
        b'R' => {
            let method = u32::from_be_bytes(body.array()?);
            if method != 0 {
                return Err(Failure::Protocol(format!("login needs method {method}")));
            }
        }
        b'K' => message.id = Some(u32::from_be_bytes(body.array()?).into()),
        b'D' => message.value = first_column(body)?,
        b'E' => message.error = Some(error(body)?),
        b'Z' => message.done = true,
        _ => {}
    }
    Ok(Some(message))
}

fn first_column(mut row: Bytes<'_>) -> Result<Option<String>, Failure> {
    if u16::from_be_bytes(row.array()?) == 0 {
        return Ok(None);
    }
    // -1 means NULL.
    let Ok(length) = usize::try_from(i32::from_be_bytes(row.array()?)) else { return Ok(None) };
    Ok(Some(String::from_utf8_lossy(row.take(length)?).into_owned()))
}

fn error(mut fields: Bytes<'_>) -> Result<ServerError, Failure> {
    let (mut severity, mut code, mut text) = (String::new(), String::new(), String::new());
    loop {
        match fields.array::<1>()? {
            [0] => break,
            [b'S'] => severity = fields.string()?,
            [b'C'] => code = fields.string()?,
            [b'M'] => text = fields.string()?,
            _ => drop(fields.string()?),
        }
    }
    Ok(ServerError { code: format!("{severity} {code}"), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() + 4) as u32;
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn a_startup_says_its_length() {
        let startup = startup("omm", None);
        assert_eq!(startup[..4], (startup.len() as u32).to_be_bytes());
        assert_eq!(startup[4..8], [0, 3, 0, 0]);
        let expected = b"user\0omm\0database\0omm\0application_name\0load\0\0";
        assert_eq!(startup[8..], expected[..]);
    }

    #[test]
    fn a_query_ends_in_zero() {
        let mut out = Vec::new();
        query("select 1", &mut out);
        assert_eq!(out, b"Q\0\0\0\x0dselect 1\0");
    }

    #[test]
    fn what_is_incomplete_waits() {
        let row = message(b'D', b"\0\x01\0\0\0\x01" as &[u8]);
        let whole = message(b'D', b"\0\x01\0\0\0\x017");
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]).unwrap(), None);
        }
        let parsed = parse(&whole).unwrap().unwrap();
        assert_eq!((parsed.length, parsed.value.as_deref()), (whole.len(), Some("7")));
        assert!(parse(&row).is_err(), "a column longer than its row");
    }

    #[test]
    fn messages_are_understood() {
        let parsed = |kind, body: &[u8]| parse(&message(kind, body)).map(Option::unwrap);
        assert_eq!(parsed(b'D', b"\0\x01\xff\xff\xff\xff").unwrap().value, None);
        assert_eq!(parsed(b'K', b"\0\0\x01\x02\0\0\0\0").unwrap().id, Some(0x102));
        assert!(parsed(b'Z', b"I").unwrap().done);
        assert!(parsed(b'R', &[0; 4]).is_ok());
        assert!(parsed(b'R', &[0, 0, 0, 3]).is_err());
        let error = parsed(b'E', b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0").unwrap().error.unwrap();
        assert_eq!(error.to_string(), "FATAL 57P01: gone");
        assert!(parse(b"Z\0\0\0\x03").is_err());
    }
}
