//! Checks the layout of a message body before pgwire decodes it. pgwire's decoder panics at the end
//! of a truncated body.

use super::WireError;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize, expected: &str) -> Result<&'a [u8], String> {
        match self.0.split_at_checked(n) {
            Some((head, rest)) => {
                self.0 = rest;
                Ok(head)
            }
            None => Err(expected.to_owned()),
        }
    }

    fn u8(&mut self, expected: &str) -> Result<u8, String> {
        Ok(self.bytes(1, expected)?[0])
    }

    fn u16(&mut self, expected: &str) -> Result<usize, String> {
        let b = self.bytes(2, expected)?;
        Ok(usize::from(u16::from_be_bytes([b[0], b[1]])))
    }

    fn i32(&mut self, expected: &str) -> Result<i32, String> {
        let b = self.bytes(4, expected)?;
        Ok(i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn string(&mut self, expected: &str) -> Result<&'a [u8], String> {
        let end = self.0.iter().position(|&b| b == 0);
        let end = end.ok_or_else(|| format!("{expected}, terminated by a zero byte"))?;
        let string = self.bytes(end, expected)?;
        self.bytes(1, expected)?;
        Ok(string)
    }

    fn end(&self) -> Result<(), String> {
        match self.0.len() {
            0 => Ok(()),
            n => Err(format!("its end, {n} bytes earlier")),
        }
    }
}

fn utf8(bytes: &[u8], extended: bool) -> Result<(), WireError> {
    let Err(e) = std::str::from_utf8(bytes) else {
        return Ok(());
    };
    let byte = bytes.get(e.valid_up_to()).copied().unwrap_or_default();
    Err(WireError {
        severity: "ERROR",
        sqlstate: "22021",
        message: format!("invalid byte sequence for encoding \"UTF8\": {byte:#04x}"),
        extended,
    })
}

/// Checks the body of the regular message of type `ty`.
pub(super) fn body(ty: u8, body: &[u8]) -> Result<(), WireError> {
    let texts = layout(ty, body).map_err(|expected| {
        WireError::fatal(format!(
            "invalid message format: '{}' message: expected {expected}",
            char::from(ty).escape_default()
        ))
    })?;
    let extended = !matches!(ty, b'Q' | b'f');
    texts.into_iter().try_for_each(|text| utf8(text, extended))
}

/// Returns the strings in a body, or the expected part that is missing.
fn layout(ty: u8, body: &[u8]) -> Result<[&[u8]; 2], String> {
    let mut r = Reader(body);
    let mut texts: [&[u8]; 2] = [&[]; 2];
    match ty {
        b'Q' => texts[0] = r.string("a query string")?,
        b'f' => texts[0] = r.string("a failure message")?,
        b'P' => {
            texts[0] = r.string("a statement name")?;
            texts[1] = r.string("a query string")?;
            let n = r.u16("the number of parameter types")?;
            r.bytes(4 * n, &format!("{n} parameter types"))?;
        }
        b'B' => {
            texts[0] = r.string("a portal name")?;
            texts[1] = r.string("a statement name")?;
            let n = r.u16("the number of parameter formats")?;
            r.bytes(2 * n, &format!("{n} parameter formats"))?;
            let n = r.u16("the number of parameters")?;
            for i in 1..=n {
                let length = r.i32(&format!("the length of parameter {i} of {n}"))?;
                match usize::try_from(length) {
                    Ok(length) => {
                        r.bytes(length, &format!("{length} bytes of parameter {i} of {n}"))?;
                    }
                    Err(_) if length == -1 => {}
                    Err(_) => return Err(format!("a length of parameter {i}, not {length}")),
                }
            }
            let n = r.u16("the number of result formats")?;
            r.bytes(2 * n, &format!("{n} result formats"))?;
        }
        b'C' | b'D' => {
            let target = r.u8("'S' or 'P'")?;
            if !matches!(target, b'S' | b'P') {
                return Err(format!("'S' or 'P', not {target:#04x}"));
            }
            texts[0] = r.string("a name")?;
        }
        b'E' => {
            texts[0] = r.string("a portal name")?;
            r.i32("a number of rows")?;
        }
        // Sync, Flush, Terminate and CopyDone have no body.
        b'S' | b'H' | b'X' | b'c' => {}
        // CopyData and passwords are all payload.
        _ => return Ok(texts),
    }
    r.end()?;
    Ok(texts)
}

/// Checks the part of a startup packet after the version.
pub(super) fn startup(parameters: &[u8]) -> Result<(), WireError> {
    let mut r = Reader(parameters);
    let mut walk = || {
        while !r.string("a parameter name")?.is_empty() {
            r.string("a parameter value")?;
        }
        r.end()
    };
    walk().map_err(|expected| {
        WireError::fatal(format!("invalid startup packet layout: expected {expected}"))
    })
}
