use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use pgwire::messages::startup::Startup;
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};

use super::{WireError, check};

const MAX_STARTUP: usize = 10_000;
const MAX_SMALL: usize = 10_000;
const MAX_LARGE: usize = 32 << 20;

/// The maximum length of a command's text, in bytes. SQLite compiles a text without a safe point.
const MAX_TEXT: usize = 1 << 20;
/// The maximum length of a text that is skipped, so that the client can continue.
const MAX_SKIPPED: usize = 1 << 30;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// The length of a cancel request: length, code and process id, then a key of 4 to 256 bytes.
const CANCEL_LENGTH: std::ops::RangeInclusive<usize> = 16..=268;

const VERSION_3_0: u32 = 3 << 16;
const VERSION_3_2: u32 = 3 << 16 | 2;

/// Decodes the bytes that a client sends into messages.
#[derive(Debug)]
pub(crate) struct Incoming {
    buf: BytesMut,
    /// The number of bytes still to skip of a message that is too long.
    skip: usize,
    ctx: DecodeContext,
    ssl_asked: bool,
    gss_asked: bool,
    failed: Option<WireError>,
}

/// The content of NegotiateProtocolVersion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Negotiation {
    /// The version to use, as one number.
    pub(crate) version: u32,
    pub(crate) unsupported_options: Vec<String>,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        Self {
            buf: BytesMut::new(),
            skip: 0,
            ctx: DecodeContext::new(ProtocolVersion::PROTOCOL3_2),
            ssl_asked: false,
            gss_asked: false,
            failed: None,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            self.buf.extend_from_slice(&bytes[skipped..]);
        }
    }

    /// Returns whether all received bytes were taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Returns whether the client has not sent its startup message yet.
    pub(crate) fn in_startup(&self) -> bool {
        self.ctx.awaiting_frontend_startup
    }

    /// Returns the next message, or `None` until more bytes are fed. After a fatal error it returns
    /// only that error.
    ///
    /// A `SslNegotiation` needs a single byte as an answer, `N` to refuse. The client continues
    /// with another request or its startup message.
    pub(crate) fn next(&mut self) -> Result<Option<PgWireFrontendMessage>, WireError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        let next = if self.in_startup() { self.next_startup() } else { self.next_regular() };
        if let Err(e) = &next
            && e.is_fatal()
        {
            self.failed = Some(e.clone());
            self.buf = BytesMut::new();
        }
        next
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let bytes = self.buf.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    }

    fn next_startup(&mut self) -> Result<Option<PgWireFrontendMessage>, WireError> {
        let Some(length) = self.u32_at(0) else {
            return Ok(None);
        };
        let length = length as usize;
        if !(8..=MAX_STARTUP).contains(&length) {
            return Err(WireError::fatal(format!(
                "invalid length of startup packet: {length}, expected 8 to {MAX_STARTUP}"
            )));
        }
        let Some(code) = self.u32_at(4) else {
            return Ok(None);
        };
        if self.buf.len() < length {
            return Ok(None);
        }
        match code {
            SSL_REQUEST | GSSENC_REQUEST => {
                let asked =
                    if code == SSL_REQUEST { &mut self.ssl_asked } else { &mut self.gss_asked };
                if std::mem::replace(asked, true) {
                    return Err(unsupported_version(code));
                }
                if length != 8 {
                    return Err(WireError::fatal(format!(
                        "invalid length of encryption request: {length}, expected 8"
                    )));
                }
                self.ctx.awaiting_frontend_ssl = true;
            }
            CANCEL_REQUEST => {
                if !CANCEL_LENGTH.contains(&length) {
                    return Err(WireError::fatal(format!(
                        "invalid length of cancel request: {length}, expected {} to {}",
                        CANCEL_LENGTH.start(),
                        CANCEL_LENGTH.end()
                    )));
                }
                self.ctx.awaiting_frontend_ssl = false;
            }
            version if version >> 16 == 3 => {
                check::startup(&self.buf[8..length])?;
                self.ctx.awaiting_frontend_ssl = false;
            }
            version => return Err(unsupported_version(version)),
        }
        let message = self.decode(length)?;
        if matches!(message, PgWireFrontendMessage::Startup(_)) {
            self.ctx.awaiting_frontend_startup = false;
        }
        Ok(Some(message))
    }

    fn next_regular(&mut self) -> Result<Option<PgWireFrontendMessage>, WireError> {
        let Some(&ty) = self.buf.first() else {
            return Ok(None);
        };
        let most = match ty {
            b'Q' | b'P' => MAX_SKIPPED,
            b'B' | b'd' => MAX_LARGE,
            b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' | b'p' => MAX_SMALL,
            _ => {
                return Err(WireError::fatal(format!("invalid frontend message type {ty}")));
            }
        };
        let Some(length) = self.u32_at(1) else {
            return Ok(None);
        };
        let length = length as usize;
        if !(4..=most).contains(&length) {
            return Err(WireError::fatal(format!(
                "invalid message length: {length} for '{}', expected 4 to {most}",
                char::from(ty)
            )));
        }
        // In addition to the text, such a message has names and types.
        if matches!(ty, b'Q' | b'P') && length > MAX_TEXT + MAX_SMALL {
            let here = self.buf.len().min(length + 1);
            drop(self.buf.split_to(here));
            self.skip = length + 1 - here;
            return Err(WireError {
                severity: "ERROR",
                sqlstate: "54000",
                message: format!(
                    "a command of {length} bytes is too long, expected at most {MAX_TEXT}: send \
                     values as parameters, or rows by COPY"
                ),
                extended: ty == b'P',
            });
        }
        let Some(body) = self.buf.get(5..length + 1) else {
            return Ok(None);
        };
        if let Err(e) = check::body(ty, body) {
            drop(self.buf.split_to(length + 1));
            return Err(e);
        }
        self.decode(length + 1).map(Some)
    }

    /// Decodes the frame in the first `length` bytes, which must have been checked. A panic is
    /// caught, so that an oversight in these checks does not end the process.
    fn decode(&mut self, length: usize) -> Result<PgWireFrontendMessage, WireError> {
        let mut frame = self.buf.split_to(length);
        let ctx = &self.ctx;
        let decoded =
            catch_unwind(AssertUnwindSafe(|| PgWireFrontendMessage::decode(&mut frame, ctx)));
        match decoded {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) | Err(_) => Err(WireError::fatal("invalid message format")),
            Ok(Err(e)) => Err(WireError::fatal(format!("invalid message format: {e}"))),
        }
    }
}

fn unsupported_version(version: u32) -> WireError {
    WireError::fatal_as(
        "0A000",
        format!(
            "unsupported frontend protocol {}.{}: server supports 3.0 to 3.2",
            version >> 16,
            version & 0xffff
        ),
    )
}

impl Negotiation {
    /// Returns the content of a negotiation, if this startup message needs one. It does for a minor
    /// version other than 0 and 2, or for protocol options, since there are none yet.
    pub(crate) fn of(startup: &Startup) -> Option<Self> {
        let version = match startup.protocol_number_minor {
            0 | 1 => VERSION_3_0,
            _ => VERSION_3_2,
        };
        let unsupported_options: Vec<String> =
            startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
        let agreed = matches!(startup.protocol_number_minor, 0 | 2);
        (!agreed || !unsupported_options.is_empty())
            .then_some(Self { version, unsupported_options })
    }
}

#[cfg(test)]
mod tests;
