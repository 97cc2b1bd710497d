//! Ids of sessions and threads, which share one range of numbers.
//!
//! An id is the number `serial ⧺ shard ⧺ key`. The key is the index of the record in the slab of
//! its shard, so a lookup is one index. The serial is different for each record that has used that
//! index, so an id is never used twice. Sessions and threads are in different shards, so their ids
//! differ.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

const KEY_BITS: u32 = 20;

const SHARD_BITS: u32 = 5;

const SERIAL_BITS: u32 = 63 - SHARD_BITS - KEY_BITS;

/// The maximum number of records in one shard.
pub(crate) const MAX_KEYS: usize = 1 << KEY_BITS;

/// The largest serial of a shard. After it, the shard assigns no more ids.
pub(crate) const MAX_SERIAL: u64 = (1 << SERIAL_BITS) - 1;

/// The number of the only shard of threads. Lower numbers are shards of sessions.
pub(crate) const THREAD_SHARD: usize = 16;

/// The parts of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) serial: u64,
    pub(crate) shard: usize,
    pub(crate) key: usize,
}

impl Parts {
    /// Packs the parts into a number. `serial` is at least 1, so the number is not zero.
    pub(crate) fn pack(self) -> NonZeroU64 {
        debug_assert!((1..=MAX_SERIAL).contains(&self.serial) && self.key < MAX_KEYS);
        let raw = self.serial << (SHARD_BITS + KEY_BITS)
            | (self.shard as u64) << KEY_BITS
            | self.key as u64;
        NonZeroU64::new(raw).unwrap_or(NonZeroU64::MIN)
    }

    pub(crate) fn unpack(raw: u64) -> Parts {
        Parts {
            serial: raw >> (SHARD_BITS + KEY_BITS),
            shard: (raw >> KEY_BITS) as usize & ((1 << SHARD_BITS) - 1),
            key: raw as usize & (MAX_KEYS - 1),
        }
    }
}

/// The error for a number or a text that is not an id. An id is a whole number from 1 to
/// 2<sup>63</sup> - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIdError;

impl fmt::Display for InvalidIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an id is a whole number from 1 to {}", i64::MAX)
    }
}

impl std::error::Error for InvalidIdError {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        pub struct $name(NonZeroU64);

        impl $name {
            /// Returns the number. It is positive and fits into an SQL `bigint`.
            #[must_use]
            pub fn get(self) -> u64 {
                self.0.get()
            }

            pub(crate) fn from_raw(raw: u64) -> Option<$name> {
                NonZeroU64::new(raw).filter(|n| n.get() <= i64::MAX as u64).map($name)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = InvalidIdError;

            /// # Errors
            /// Returns [`InvalidIdError`] for zero and for numbers of 2<sup>63</sup> and above.
            /// Success does not imply that the id is in use.
            fn try_from(raw: u64) -> Result<Self, InvalidIdError> {
                Self::from_raw(raw).ok_or(InvalidIdError)
            }
        }

        impl FromStr for $name {
            type Err = InvalidIdError;

            /// # Errors
            /// Returns [`InvalidIdError`] unless the text is a decimal number in range, without a
            /// sign.
            fn from_str(text: &str) -> Result<Self, InvalidIdError> {
                // `parse` accepts a sign, which an id does not have.
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse().ok().filter(|_| digits);
                number.and_then(Self::from_raw).ok_or(InvalidIdError)
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> u64 {
                id.get()
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> i64 {
                // At most `i64::MAX`: see `from_raw`.
                id.get() as i64
            }
        }

        impl From<$name> for NonZeroU64 {
            fn from(id: $name) -> NonZeroU64 {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// The id of a session, which is a client's logical connection.
    ///
    /// A manager never reuses an id.
    SessionId
}

id! {
    /// The id of a thread of the server.
    ///
    /// If each session has its own thread, the thread has the id of its session. In a pool no
    /// thread has the id of a session.
    ThreadId
}

impl SessionId {
    /// The id of a record that is not registered yet.
    pub(crate) const PLACEHOLDER: SessionId = SessionId(NonZeroU64::MIN);

    pub(crate) fn from_parts(parts: Parts) -> SessionId {
        SessionId(parts.pack())
    }

    /// Returns the id of the thread that runs this session and no other.
    pub(crate) fn own_thread(self) -> ThreadId {
        ThreadId(self.0)
    }
}

impl ThreadId {
    /// The id of a record that is not registered yet.
    pub(crate) const PLACEHOLDER: ThreadId = ThreadId(NonZeroU64::MIN);

    pub(crate) fn from_parts(parts: Parts) -> ThreadId {
        ThreadId(parts.pack())
    }

    /// Returns the session of this thread, if each session has its own thread.
    pub(crate) fn own_session(self) -> SessionId {
        SessionId(self.0)
    }
}

id! {
    /// The id of a statement, unique within its session. The first statement has the id 1.
    StatementId
}

impl StatementId {
    /// Returns the id with this number, which must not be 0.
    pub(crate) fn of(number: u64) -> StatementId {
        StatementId(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_trip_at_the_edges() {
        for serial in [1, 2, MAX_SERIAL] {
            for shard in [0, 15, THREAD_SHARD] {
                for key in [0, 1, MAX_KEYS - 1] {
                    let parts = Parts { serial, shard, key };
                    let raw = parts.pack().get();
                    assert!(raw <= i64::MAX as u64);
                    assert_eq!(Parts::unpack(raw), parts);
                }
            }
        }
    }

    /// A number that differs in one bit differs in one part, and in no other.
    #[test]
    fn each_bit_belongs_to_one_part() {
        let (serial, shard, key) = (1 << 16, 7, 1 << 15);
        let raw = Parts { serial, shard, key }.pack().get();
        for bit in 0..63 {
            let other = Parts::unpack(raw ^ 1 << bit);
            let differ = [other.serial != serial, other.shard != shard, other.key != key];
            let expected = match bit {
                ..KEY_BITS => [false, false, true],
                bit if bit < KEY_BITS + SHARD_BITS => [false, true, false],
                _ => [true, false, false],
            };
            assert_eq!(differ, expected, "bit {bit}");
        }
    }

    #[test]
    fn ids_fit_into_a_bigint() {
        let largest = i64::MAX as u64;
        for raw in [0, 1 << 63, (1 << 63) + 1, u64::MAX] {
            assert_eq!(SessionId::try_from(raw), Err(InvalidIdError));
            assert_eq!(ThreadId::try_from(raw), Err(InvalidIdError));
        }
        for raw in [1, 2, largest - 1, largest] {
            assert_eq!(SessionId::try_from(raw).map(SessionId::get), Ok(raw));
            assert_eq!(ThreadId::try_from(raw).map(ThreadId::get), Ok(raw));
        }
    }

    #[test]
    fn ids_are_parsed_from_digits_only() {
        let wrong = "| |0|00|-0|-1|+0|+1| 1|1 |1\n|1.0|1e1|0x1|1_0|1,0|1\0|\u{661}|\u{ff11}\
            |9223372036854775808|18446744073709551615|18446744073709551616|18446744073709551617";
        for text in wrong.split('|') {
            assert_eq!(text.parse::<SessionId>(), Err(InvalidIdError), "{text:?}");
            assert_eq!(text.parse::<ThreadId>(), Err(InvalidIdError), "{text:?}");
        }
        for (text, raw) in [
            ("1", 1),
            ("01", 1),
            ("000000000000000000000000000001", 1),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(text.parse().map(SessionId::get), Ok(raw));
            assert_eq!(text.parse().map(ThreadId::get), Ok(raw));
            let id = SessionId::try_from(raw).unwrap();
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(
            InvalidIdError.to_string(),
            "an id is a whole number from 1 to 9223372036854775807"
        );
    }
}
