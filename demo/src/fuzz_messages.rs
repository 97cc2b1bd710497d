//! Passes the bytes of a client through the server, up to the execution of statements. This is the
//! body of the fuzz target `server_messages`, and a test replays the target's corpus.

use crate::compat::{CopyDecoder, rewrite};
use crate::split::{command_tag, split, starts_with};
use crate::types::{Format, PgType, SqlError, decode_param, encode};
use crate::wire::{Incoming, Negotiation, Outgoing, WireError};
use bytes::BytesMut;
use pgwire::messages::PgWireFrontendMessage as Message;
use rusqlite::types::ValueRef;

const STARTED: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";

const OIDS: [u32; 21] = [
    0,
    16,
    17,
    19,
    20,
    21,
    23,
    25,
    26,
    114,
    700,
    701,
    705,
    1042,
    1043,
    1082,
    1114,
    1184,
    1700,
    2950,
    u32::MAX,
];

/// The first byte selects the chunks of the rest, and whether a startup message comes first.
pub(crate) fn run(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let stream = if first & 1 == 0 { bytes.to_vec() } else { [STARTED, bytes].concat() };
    let whole = receive(&[&stream]);
    let cut = receive(&chunks(&stream, first));
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"), "chunks make no difference");
    for message in &whole {
        look_at(message, first);
    }
    texts(&String::from_utf8_lossy(bytes));
    parameters(bytes);
    copied(bytes, first);
}

fn chunks(bytes: &[u8], mut seed: u8) -> Vec<&[u8]> {
    let (mut rest, mut chunks) = (bytes, Vec::new());
    while !rest.is_empty() {
        seed = seed.wrapping_mul(37).wrapping_add(11);
        let (chunk, later) = rest.split_at(rest.len().min(usize::from(seed >> 3)));
        chunks.push(chunk);
        rest = later;
    }
    chunks
}

fn receive(chunks: &[&[u8]]) -> Vec<Result<Message, WireError>> {
    let mut incoming = Incoming::new();
    let mut received = Vec::new();
    for chunk in chunks {
        incoming.feed(chunk);
        while let Some(next) = incoming.next().transpose() {
            let over = next.as_ref().is_err_and(WireError::is_fatal);
            received.push(next);
            if over {
                let again = incoming.next().expect_err("nothing follows a fatal error");
                assert_eq!(Some(&again), received.last().and_then(|last| last.as_ref().err()));
                return received;
            }
        }
    }
    received
}

fn look_at(message: &Result<Message, WireError>, seed: u8) {
    match message {
        Ok(Message::Query(query)) => texts(&query.query),
        Ok(Message::Parse(parse)) => texts(&parse.query),
        Ok(Message::Bind(bind)) => bind.parameters.iter().flatten().for_each(|p| parameters(p)),
        Ok(Message::CopyData(data)) => copied(&data.data, seed),
        Ok(Message::Startup(startup)) => {
            if let Some(negotiation) = Negotiation::of(startup) {
                Outgoing::new().negotiate_protocol(&negotiation);
            }
        }
        Ok(_) => {}
        Err(error) => Outgoing::new().error(&error.fields()),
    }
}

fn texts(sql: &str) {
    let mut rest = sql;
    for statement in split(sql) {
        assert!(!statement.is_empty());
        let at = rest.find(statement).expect("statements come in order");
        rest = &rest[at + statement.len()..];
        assert_eq!(split(statement), [statement], "a statement is one statement");
        command_tag(statement, 1);
        starts_with(statement, &["SELECT"]);
        rewrite(statement);
    }
}

/// Checks that a decoded parameter, encoded again, decodes to the same value.
fn parameters(bytes: &[u8]) {
    for oid in OIDS {
        for format in [Format::Text, Format::Binary] {
            let Ok(value) = decode_param(Some(bytes), oid, format, "UTC") else { continue };
            let ty = PgType::from_oid(oid);
            let Some(once) = written(ValueRef::from(&value), ty, format) else { continue };
            let exact = [
                PgType::Bool,
                PgType::Bytea,
                PgType::Int8,
                PgType::Float8,
                PgType::Numeric,
                PgType::Date,
                PgType::Timestamp,
                PgType::Timestamptz,
            ];
            if exact.contains(&ty) {
                let again = decode_param(Some(&once), oid, format, "UTC").expect("what we wrote");
                assert_eq!(written(ValueRef::from(&again), ty, format), Some(once), "{value:?}");
            }
        }
    }
}

fn written(value: ValueRef<'_>, ty: PgType, format: Format) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    encode(value, ty, format, &mut out).ok()?;
    // The bytes after the length, which is negative for NULL.
    out.get(4..).map(<[u8]>::to_vec)
}

fn copied(bytes: &[u8], seed: u8) {
    let (whole, cut) = (rows(&[bytes]), rows(&chunks(bytes, seed)));
    assert_eq!(whole, cut, "chunks make no difference");
}

fn rows(chunks: &[&[u8]]) -> Result<Vec<Vec<Option<String>>>, SqlError> {
    let mut decoder = CopyDecoder::new();
    let mut rows = Vec::new();
    for chunk in chunks {
        decoder.feed(chunk);
        while let Some(row) = decoder.next_row()? {
            rows.push(row);
        }
    }
    decoder.finish();
    while let Some(row) = decoder.next_row()? {
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
#[test]
fn the_corpus_of_server_messages() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/server_messages");
    if !std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz")).exists() {
        // The published package does not contain the corpus.
        return eprintln!("NOT CHECKED: there is no {folder}");
    }
    let files = std::fs::read_dir(folder).expect("a corpus");
    let ran = files.map(|file| run(&std::fs::read(file.unwrap().path()).unwrap())).count();
    assert!(ran > 10, "{ran} files in {folder}");
}
