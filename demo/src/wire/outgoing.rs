use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::copy::CopyInResponse;
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

use super::{Fields, Negotiation, WireError};
use crate::describe::Column;
use crate::types::{Format, SqlError};

/// Keeps every message below the length limits of pgwire's encoder.
const MAX_TEXT: usize = 8_000;

/// Collects the messages to send to a client.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) buf: BytesMut,
}

/// Converts `s` to a protocol string: without zero bytes, and cut at the end of a character if it
/// is too long.
fn text(s: &str) -> String {
    let mut end = s.len().min(MAX_TEXT);
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    s[..end].replace('\0', "?")
}

fn count(n: usize) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, message: &impl Message) -> Result<(), WireError> {
        let start = self.buf.len();
        message.encode(&mut self.buf).map_err(|e| {
            self.buf.truncate(start);
            WireError::fatal(format!("cannot encode a message: {e}"))
        })
    }

    /// Appends a message whose encoding cannot fail, since its texts have passed `text`.
    fn put(&mut self, message: &impl Message) {
        let pushed = self.push(message);
        debug_assert_eq!(pushed, Ok(()));
    }

    pub(crate) fn refuse_encryption(&mut self) {
        self.buf.put_u8(b'N');
    }

    pub(crate) fn auth_ok(&mut self) {
        self.put(&Authentication::Ok);
    }

    pub(crate) fn parameter_status(&mut self, name: &str, value: &str) {
        self.put(&ParameterStatus::new(text(name), text(value)));
    }

    /// Appends the key, which must have 4 bytes for protocol 3.0, and 4 to 256 bytes for 3.2.
    pub(crate) fn backend_key_data(&mut self, pid: i32, key: &[u8]) -> Result<(), WireError> {
        let key = SecretKey::Bytes(Bytes::copy_from_slice(key));
        self.push(&BackendKeyData::new(pid, key))
    }

    pub(crate) fn negotiate_protocol(&mut self, negotiation: &Negotiation) {
        self.put(&NegotiateProtocolVersion::new(
            negotiation.version as i32,
            negotiation.unsupported_options.clone(),
        ));
    }

    /// Appends ReadyForQuery. `status` is `I` outside of a transaction, `T` in one, and `E` in a
    /// failed one.
    pub(crate) fn ready(&mut self, status: u8) {
        let status = TransactionStatus::try_from(status).unwrap_or(TransactionStatus::Idle);
        self.put(&ReadyForQuery::new(status));
    }

    pub(crate) fn row_description(&mut self, columns: &[Column], formats: &[Format]) {
        let fields = columns
            .iter()
            .take(i16::MAX as usize)
            .enumerate()
            .map(|(i, column)| {
                FieldDescription::new(
                    text(&column.name),
                    0,
                    0,
                    column.ty.oid(),
                    column.ty.len(),
                    -1,
                    Format::pick(formats, i).code(),
                )
            })
            .collect();
        self.put(&RowDescription::new(fields));
    }

    /// Appends a DataRow of `columns` fields, which `fields` appends. Nothing is appended on an
    /// error.
    pub(crate) fn data_row(
        &mut self,
        columns: usize,
        fields: impl FnOnce(&mut BytesMut) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let start = self.buf.len();
        self.buf.put_u8(b'D');
        self.buf.put_i32(0);
        self.buf.put_i16(count(columns));
        let length = fields(&mut self.buf).and_then(|()| {
            i32::try_from(self.buf.len() - start - 1)
                .map_err(|_| SqlError::new("54000", "a row is longer than a message can be"))
        });
        match length {
            Ok(length) => {
                self.buf[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            Err(e) => {
                self.buf.truncate(start);
                Err(e)
            }
        }
    }

    pub(crate) fn command_complete(&mut self, tag: &str) {
        self.put(&CommandComplete::new(text(tag)));
    }

    pub(crate) fn empty_query(&mut self) {
        self.put(&EmptyQueryResponse::new());
    }

    pub(crate) fn error(&mut self, fields: &Fields) {
        self.put(&ErrorResponse::new(list(fields)));
    }

    pub(crate) fn notice(&mut self, fields: &Fields) {
        self.put(&NoticeResponse::new(list(fields)));
    }

    pub(crate) fn parse_complete(&mut self) {
        self.put(&ParseComplete::new());
    }

    pub(crate) fn bind_complete(&mut self) {
        self.put(&BindComplete::new());
    }

    pub(crate) fn close_complete(&mut self) {
        self.put(&CloseComplete::new());
    }

    pub(crate) fn portal_suspended(&mut self) {
        self.put(&PortalSuspended::new());
    }

    pub(crate) fn no_data(&mut self) {
        self.put(&NoData::new());
    }

    pub(crate) fn parameter_description(&mut self, oids: &[u32]) {
        let most = oids.len().min(u16::MAX.into());
        self.put(&ParameterDescription::new(oids[..most].to_vec()));
    }

    /// Appends a CopyInResponse in text format for the whole and for each column.
    pub(crate) fn copy_in_response(&mut self, columns: usize) {
        let columns = count(columns).min(2_000);
        let formats = vec![0; columns as usize];
        self.put(&CopyInResponse::new(0, columns, formats));
    }
}

fn list(fields: &Fields) -> Vec<(u8, String)> {
    let mut list = vec![
        (b'S', text(fields.severity)),
        (b'V', text(fields.severity)),
        (b'C', text(fields.sqlstate)),
        (b'M', text(&fields.message)),
    ];
    list.extend(fields.detail.iter().map(|v| (b'D', text(v))));
    list.extend(fields.hint.iter().map(|v| (b'H', text(v))));
    list.extend(fields.position.iter().map(|v| (b'P', v.to_string())));
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PgType;

    fn sent(write: impl FnOnce(&mut Outgoing)) -> Vec<u8> {
        let mut out = Outgoing::new();
        write(&mut out);
        let length = u32::from_be_bytes(out.buf[1..5].try_into().unwrap());
        assert_eq!(length as usize + 1, out.buf.len());
        out.buf.to_vec()
    }

    #[test]
    fn messages_have_their_bytes() {
        assert_eq!(sent(Outgoing::auth_ok), b"R\0\0\0\x08\0\0\0\0");
        assert_eq!(sent(|o| o.parameter_status("a", "b")), b"S\0\0\0\x08a\0b\0");
        assert_eq!(sent(|o| o.ready(b'T')), b"Z\0\0\0\x05T");
        assert_eq!(sent(|o| o.command_complete("SELECT 1")), b"C\0\0\0\x0dSELECT 1\0");
        assert_eq!(sent(Outgoing::empty_query), b"I\0\0\0\x04");
        assert_eq!(sent(Outgoing::parse_complete), b"1\0\0\0\x04");
        assert_eq!(sent(Outgoing::bind_complete), b"2\0\0\0\x04");
        assert_eq!(sent(Outgoing::close_complete), b"3\0\0\0\x04");
        assert_eq!(sent(Outgoing::portal_suspended), b"s\0\0\0\x04");
        assert_eq!(sent(Outgoing::no_data), b"n\0\0\0\x04");
        assert_eq!(sent(|o| o.parameter_description(&[23])), b"t\0\0\0\x0a\0\x01\0\0\0\x17");
        assert_eq!(sent(|o| o.copy_in_response(2)), b"G\0\0\0\x0b\0\0\x02\0\0\0\0");
        let negotiation =
            Negotiation { version: 196_610, unsupported_options: vec!["_pq_.x".into()] };
        assert_eq!(
            sent(|o| o.negotiate_protocol(&negotiation)),
            b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0"
        );
        let column = Column { name: "n".into(), ty: PgType::Int8 };
        assert_eq!(
            sent(|o| o.row_description(&[column], &[Format::Binary])),
            b"T\0\0\0\x1a\0\x01n\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\x01"
        );
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        let mut out = Outgoing::new();
        assert!(out.backend_key_data(1, b"abc").is_err());
        assert!(out.backend_key_data(1, &[0; 257]).is_err());
        assert!(out.buf.is_empty());
        assert_eq!(sent(|o| o.backend_key_data(1, b"key!").unwrap()), b"K\0\0\0\x0c\0\0\0\x01key!");
    }

    #[test]
    fn rows_are_whole_or_absent() {
        assert_eq!(
            sent(|o| {
                o.data_row(1, |buf| {
                    buf.put_slice(b"\0\0\0\x01x");
                    Ok(())
                })
                .unwrap();
            }),
            b"D\0\0\0\x0b\0\x01\0\0\0\x01x"
        );
        let mut out = Outgoing::new();
        out.no_data();
        let failed = out.data_row(1, |buf| {
            buf.put_slice(b"part");
            Err(SqlError::new("22P02", "x"))
        });
        assert!(failed.is_err());
        assert_eq!(&out.buf[..], b"n\0\0\0\x04");
    }

    #[test]
    fn errors_carry_their_fields() {
        let mut fields = Fields::new("ERROR", "42601", "m");
        fields.hint = Some("h".into());
        fields.position = Some(8);
        assert_eq!(
            sent(|o| o.error(&fields)),
            b"E\0\0\0\x23SERROR\0VERROR\0C42601\0Mm\0Hh\0P8\0\0"
        );
        assert_eq!(sent(|o| o.notice(&fields))[0], b'N');
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "\u{e9}\0".repeat(MAX_TEXT);
        let mut fields = Fields::new("ERROR", "XX000", &long[2..]);
        fields.detail = Some(long.clone());
        let bytes = sent(|o| {
            o.error(&fields);
        });
        assert!(bytes.len() < 4 * MAX_TEXT);
        assert!(std::str::from_utf8(&bytes[5..]).is_ok());
        sent(|o| o.parameter_status(&long, &long));
        sent(|o| o.command_complete(&long));
    }
}
