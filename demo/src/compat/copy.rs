use bytes::{Buf, BytesMut};

use crate::types::{SqlError, Steps};

const MAX_LINE: usize = crate::types::MAX_VALUE as usize;

/// More than the maximum number of columns of SQLite.
const MAX_COLUMNS: usize = 1 << 15;

/// Decodes COPY's text format from chunks that may be split anywhere.
#[derive(Debug, Default)]
pub(crate) struct CopyDecoder {
    buf: BytesMut,
    /// The number of bytes of `buf` that are known to contain no end of line.
    scanned: usize,
    /// The client sent CopyDone, so the last line need not be terminated.
    finished: bool,
    /// The `\.` line was read, and the rest is ignored.
    ended: bool,
    line: u64,
}

pub(crate) type CopyRow = Vec<Option<String>>;

impl CopyDecoder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        if !self.ended {
            self.buf.extend_from_slice(chunk);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Returns the number of the line that `next_row` has read last, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Returns the next row, or `None` until more bytes are fed.
    pub(crate) fn next_row(&mut self) -> Result<Option<CopyRow>, SqlError> {
        if self.ended {
            return Ok(None);
        }
        let Some(end) = self.end_of_line()? else {
            if self.buf.len() > MAX_LINE {
                return Err(SqlError::new(
                    "54000",
                    format!("a line of COPY data is longer than {MAX_LINE} bytes"),
                ));
            }
            if !self.finished || self.buf.is_empty() {
                return Ok(None);
            }
            let rest = self.buf.split();
            self.scanned = 0;
            return self.decode(&rest);
        };
        let line = self.buf.split_to(end);
        self.buf.advance(1);
        self.scanned = 0;
        self.decode(&line)
    }

    /// Returns the position of the first newline that is not escaped by a backslash.
    fn end_of_line(&mut self) -> Result<Option<usize>, SqlError> {
        let mut steps = Steps::default();
        while let Some(&b) = self.buf.get(self.scanned) {
            steps.step()?;
            match b {
                b'\n' => return Ok(Some(self.scanned)),
                // The escaped byte may be in the next chunk.
                b'\\' if self.scanned + 1 >= self.buf.len() => return Ok(None),
                b'\\' => self.scanned += 2,
                _ => self.scanned += 1,
            }
        }
        Ok(None)
    }

    fn decode(&mut self, line: &[u8]) -> Result<Option<CopyRow>, SqlError> {
        self.line += 1;
        let line = match line.strip_suffix(b"\r") {
            Some(bare) if trailing_backslashes(bare).is_multiple_of(2) => bare,
            _ => line,
        };
        if line == b"\\." {
            self.ended = true;
            self.buf.clear();
            return Ok(None);
        }
        let mut row = Vec::new();
        let mut start = 0;
        let mut at = 0;
        let mut steps = Steps::default();
        loop {
            steps.step()?;
            if row.len() > MAX_COLUMNS {
                let line = self.line;
                let message = format!("line {line} of COPY has more than {MAX_COLUMNS} columns");
                return Err(SqlError::new("54011", message));
            }
            match line.get(at) {
                Some(b'\\') => at += 2,
                Some(b'\t') => {
                    row.push(field(&line[start..at])?);
                    at += 1;
                    start = at;
                }
                Some(_) => at += 1,
                None => {
                    row.push(field(&line[start..])?);
                    return Ok(Some(row));
                }
            }
        }
    }
}

fn trailing_backslashes(line: &[u8]) -> usize {
    line.iter().rev().take_while(|&&b| b == b'\\').count()
}

fn field(raw: &[u8]) -> Result<Option<String>, SqlError> {
    if raw == b"\\N" {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    let mut steps = Steps::default();
    while let Some((&b, tail)) = rest.split_first() {
        steps.step()?;
        rest = tail;
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let Some((&escaped, tail)) = rest.split_first() else {
            out.push(b'\\');
            break;
        };
        rest = match escaped {
            b'0'..=b'7' => take_number(rest, 8, 3, &mut out),
            b'x' if tail.first().is_some_and(u8::is_ascii_hexdigit) => {
                take_number(tail, 16, 2, &mut out)
            }
            _ => {
                out.push(match escaped {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    other => other,
                });
                tail
            }
        };
    }
    let bad = || SqlError::new("22021", "invalid byte sequence for encoding \"UTF8\"");
    if out.contains(&0) {
        return Err(bad());
    }
    String::from_utf8(out).map(Some).map_err(|_| bad())
}

/// Reads up to `most` digits as one byte, of which PostgreSQL keeps the low eight bits.
fn take_number<'a>(from: &'a [u8], radix: u32, most: usize, out: &mut Vec<u8>) -> &'a [u8] {
    let mut value = 0u32;
    let mut used = 0;
    for digit in from.iter().take(most) {
        let Some(digit) = char::from(*digit).to_digit(radix) else {
            break;
        };
        value = value * radix + digit;
        used += 1;
    }
    out.push((value & 0xff) as u8);
    &from[used..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Result<Vec<CopyRow>, &'static str> {
        let mut decoder = CopyDecoder::new();
        let mut rows = Vec::new();
        for i in 0..=chunks.len() {
            match chunks.get(i) {
                Some(chunk) => decoder.feed(chunk),
                None => decoder.finish(),
            }
            while let Some(row) = decoder.next_row().map_err(|e| e.sqlstate)? {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn row(fields: &[Option<&str>]) -> CopyRow {
        fields.iter().map(|f| f.map(str::to_owned)).collect()
    }

    #[test]
    fn a_split_anywhere_makes_no_difference() {
        let data =
            b"1\t\\N\ta\\tb\\\\\n2\t\t\\x41\\101\\q\r\n\\\nx\t\\\\N\t\xc3\xa9\n\\.\nignored\n";
        let expected = vec![
            row(&[Some("1"), None, Some("a\tb\\")]),
            row(&[Some("2"), Some(""), Some("AAq")]),
            row(&[Some("\nx"), Some("\\N"), Some("\u{e9}")]),
        ];
        assert_eq!(decode(&[data]).unwrap(), expected);
        for i in 0..data.len() {
            let (a, b) = data.split_at(i);
            assert_eq!(decode(&[a, b]).unwrap(), expected, "split at {i}");
        }
        let bytes: Vec<&[u8]> = data.chunks(1).collect();
        assert_eq!(decode(&bytes).unwrap(), expected);
    }

    #[test]
    fn the_last_line_needs_no_newline() {
        assert_eq!(decode(&[b"a\nb"]).unwrap(), [row(&[Some("a")]), row(&[Some("b")])]);
        assert_eq!(decode(&[b"a\\"]).unwrap(), [row(&[Some("a\\")])]);
        assert_eq!(decode(&[b""]).unwrap(), Vec::<CopyRow>::new());
        assert_eq!(decode(&[b"\n"]).unwrap(), [row(&[Some("")])]);
    }

    #[test]
    fn text_must_be_utf8_without_nul() {
        assert_eq!(decode(&[b"\xff\n"]), Err("22021"));
        assert_eq!(decode(&[b"\\000\n"]), Err("22021"));
        assert_eq!(decode(&[b"\\xc3\\xa9\n"]).unwrap(), [row(&[Some("\u{e9}")])]);
    }
}
