//! The part of an answer that the client's socket has not taken: in memory up to a bound, and then in an unnamed
//! temporary file, so that a client that reads slowly holds neither a thread nor a snapshot of the database.

use crate::types::SqlError;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The number of bytes that are kept in memory before a file is used, and that are read back at once.
const MEMORY: usize = 64 * 1024;

/// Where temporary files are, and how large the one of a session may become.
pub(crate) struct SpoolLimits {
    /// `None` means the system's folder for temporary files.
    pub(crate) folder: Option<PathBuf>,
    /// In bytes; `None` means no limit.
    pub(crate) bytes: Option<u64>,
}

/// Bytes that wait for the client, first in, first out.
#[derive(Default)]
pub(crate) struct Spool {
    /// Sent first.
    front: Vec<u8>,
    /// How much of `front` has been sent.
    sent: usize,
    /// Sent next. It is deleted when all of it has been read back.
    file: Option<Overflow>,
    /// Sent last. Only used after the file could not be written: the end of the last message that was begun, and
    /// the error.
    tail: Vec<u8>,
}

struct Overflow {
    file: File,
    read: u64,
    written: u64,
}

impl Spool {
    pub(crate) fn is_empty(&self) -> bool {
        self.front.len() == self.sent && self.file.is_none() && self.tail.is_empty()
    }

    /// Adds bytes. `limits` is called if a file is needed.
    ///
    /// # Errors
    /// Returns the error for the client if the file is too large or cannot be written. The bytes are added all the
    /// same, in memory, since they may end a message that was begun. The statement must end then.
    pub(crate) fn add(
        &mut self,
        bytes: &[u8],
        limits: impl FnOnce() -> SpoolLimits,
    ) -> Result<(), SqlError> {
        if !self.tail.is_empty() {
            self.tail.extend_from_slice(bytes);
            return Ok(());
        }
        if self.file.is_none() && self.front.len() - self.sent + bytes.len() <= MEMORY {
            self.front.drain(..std::mem::take(&mut self.sent));
            self.front.extend_from_slice(bytes);
            return Ok(());
        }
        self.overflow(bytes, &limits()).inspect_err(|_| self.tail.extend_from_slice(bytes))
    }

    fn overflow(&mut self, bytes: &[u8], limits: &SpoolLimits) -> Result<(), SqlError> {
        let written = self.file.as_ref().map_or(0, |overflow| overflow.written);
        let after = written + bytes.len() as u64;
        if let Some(limit) = limits.bytes.filter(|limit| after > *limit) {
            let limit = limit / 1024;
            let text = format!("temporary file size exceeds temp_file_limit ({limit}kB)");
            return Err(SqlError::new("53400", text));
        }
        let overflow = match &mut self.file {
            Some(overflow) => overflow,
            none => {
                let file = match &limits.folder {
                    Some(folder) => tempfile::tempfile_in(folder),
                    None => tempfile::tempfile(),
                };
                let file = file.map_err(|error| refused("create", &error))?;
                none.insert(Overflow { file, read: 0, written: 0 })
            }
        };
        let end = overflow.written;
        let result = overflow.file.write_all_at(bytes, end);
        if end == 0 && result.is_err() {
            self.file = None;
        }
        result.map_err(|error| refused("write to", &error))?;
        if let Some(overflow) = &mut self.file {
            overflow.written = after;
        }
        Ok(())
    }

    /// Sends by `write`, which returns how many bytes it has sent, until all is sent or `write` fails.
    pub(crate) fn send(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            while self.sent < self.front.len() {
                self.sent += write(&self.front[self.sent..])?;
            }
            self.front.clear();
            self.sent = 0;
            if !self.read_back()? {
                return Ok(());
            }
        }
    }

    /// Reads the next bytes back to `front`. Returns `false` if there are none.
    fn read_back(&mut self) -> io::Result<bool> {
        if let Some(overflow) = &mut self.file {
            let left = overflow.written - overflow.read;
            let length = usize::try_from(left).unwrap_or(MEMORY).min(MEMORY);
            self.front.resize(length, 0);
            if let Err(error) = overflow.file.read_exact_at(&mut self.front, overflow.read) {
                self.front.clear();
                return Err(error);
            }
            overflow.read += length as u64;
            if overflow.read == overflow.written {
                self.file = None;
            }
            return Ok(true);
        }
        std::mem::swap(&mut self.front, &mut self.tail);
        // A large answer leaves no large buffer behind.
        self.tail = Vec::new();
        Ok(!self.front.is_empty())
    }
}

fn refused(what: &str, error: &io::Error) -> SqlError {
    // PostgreSQL's codes: disk_full, and io_error.
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    SqlError::new(
        if full { "53100" } else { "58030" },
        format!("could not {what} a temporary file: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(bytes: Option<u64>) -> SpoolLimits {
        SpoolLimits { folder: None, bytes }
    }

    /// Sends at most so many bytes.
    fn take(spool: &mut Spool, mut most: usize, sent: &mut Vec<u8>) {
        let _ = spool.send(|bytes| {
            let count = bytes.len().min(most);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            most -= count;
            sent.extend_from_slice(&bytes[..count]);
            Ok(count)
        });
    }

    proptest! {
        /// All bytes come out in their order, whatever part of them was in a file.
        #[test]
        fn bytes_come_out_in_order(steps in prop::collection::vec((0usize..150_000, 0usize..150_000), 1..20)) {
            let (mut spool, mut added, mut sent) = (Spool::default(), Vec::new(), Vec::new());
            for (add, most) in steps {
                let first = added.len();
                added.extend((first..first + add).map(|at| (at % 251) as u8));
                spool.add(&added[first..], || limits(None)).unwrap();
                take(&mut spool, most, &mut sent);
                prop_assert_eq!(spool.is_empty(), sent.len() == added.len());
            }
            take(&mut spool, usize::MAX, &mut sent);
            prop_assert!(spool.is_empty() && sent == added);
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error_and_loses_nothing() {
        let (mut spool, mut sent) = (Spool::default(), Vec::new());
        let rows = vec![7; 100_000];
        let limit = || limits(Some(250 * 1024));
        spool.add(&rows, limit).unwrap();
        spool.add(&rows, limit).unwrap();
        let error = spool.add(&rows, limit).unwrap_err();
        assert_eq!(error.sqlstate, "53400");
        assert_eq!(error.message, "temporary file size exceeds temp_file_limit (250kB)");
        spool.add(b"and why", limit).unwrap();
        take(&mut spool, usize::MAX, &mut sent);
        assert_eq!(sent.len(), 300_007);
        assert!(spool.is_empty() && sent.ends_with(b"and why"));
        // The next answer may be as large again.
        spool.add(&rows, limit).unwrap();
    }

    #[test]
    fn a_folder_that_does_not_exist_is_an_error() {
        let mut spool = Spool::default();
        let nowhere = || SpoolLimits { folder: Some("/nowhere/at/all".into()), bytes: None };
        let error = spool.add(&vec![0; MEMORY + 1], nowhere).unwrap_err();
        assert_eq!(error.sqlstate, "58030");
        assert!(error.message.starts_with("could not create a temporary file: "), "{error:?}");
    }
}
