//! Identities: one space of numbers for sessions and threads.
//!
//! A number is `serial ⧺ shard ⧺ key`. The key says where in its shard's slab
//! the record stands, so that finding it is one index; the serial says which
//! of the many tenants of that place is meant, so that a number is never given
//! out twice. Sessions and threads live in different shards, which is what
//! keeps the two kinds of number apart.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

const KEY_BITS: u32 = 20;
const SHARD_BITS: u32 = 5;
const SERIAL_BITS: u32 = 63 - SHARD_BITS - KEY_BITS;

/// How many records one shard can hold.
pub(crate) const MAX_KEYS: usize = 1 << KEY_BITS;
/// The largest serial of a shard; after it, the shard gives out no more numbers.
pub(crate) const MAX_SERIAL: u64 = (1 << SERIAL_BITS) - 1;
/// The shard number of the first (and only) shard of threads. Those below it are of sessions.
pub(crate) const THREAD_SHARD: usize = 16;

/// A number taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) serial: u64,
    pub(crate) shard: usize,
    pub(crate) key: usize,
}

impl Parts {
    /// `serial` is at least 1, so no number is zero.
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

/// What a number is not: positive and below 2<sup>63</sup>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an id is a whole number from 1 to {}", i64::MAX)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The number: positive, and small enough for an SQL `bigint`.
            #[must_use]
            pub fn get(self) -> u64 {
                self.0.get()
            }

            /// What a record has before it is registered.
            pub(crate) const PLACEHOLDER: $name = $name(NonZeroU64::MIN);

            pub(crate) fn from_raw(raw: u64) -> Option<$name> {
                NonZeroU64::new(raw).filter(|n| n.get() <= i64::MAX as u64).map($name)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = InvalidId;

            /// # Errors
            /// [`InvalidId`] for zero and for numbers of 2<sup>63</sup> and above. A number
            /// that passes need not have been given out to anyone.
            fn try_from(raw: u64) -> Result<Self, InvalidId> {
                Self::from_raw(raw).ok_or(InvalidId)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// # Errors
            /// [`InvalidId`] for anything but a decimal number in range.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // `parse` takes a sign.
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse().ok().filter(|_| digits);
                number.and_then(Self::from_raw).ok_or(InvalidId)
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
    /// Names one session for ever: a client's logical connection.
    ///
    /// No number is given out twice in the life of a manager, to a session or to a thread.
    SessionId
}

id! {
    /// Names one thread of the server for ever.
    ///
    /// Without a pool a session's thread has the session's own number; with one, a number
    /// is a thread's or a session's, never both.
    ThreadId
}

impl SessionId {
    pub(crate) fn from_parts(parts: Parts) -> SessionId {
        SessionId(parts.pack())
    }

    /// The id of the thread that runs this session and no other.
    pub(crate) fn own_thread(self) -> ThreadId {
        ThreadId(self.0)
    }
}

impl ThreadId {
    pub(crate) fn from_parts(parts: Parts) -> ThreadId {
        ThreadId(parts.pack())
    }

    /// The session that this thread belongs to where each session has a thread of its own.
    pub(crate) fn own_session(self) -> SessionId {
        SessionId(self.0)
    }
}

/// Names one statement of one session: the first is 1, and none is named twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StatementId(pub(crate) u64);

impl StatementId {
    /// The number within its session, from 1 up.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for StatementId {
    /// Any number will do: one that no statement has yet is refused where it is used.
    fn from(number: u64) -> Self {
        StatementId(number)
    }
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
    fn parts_keep_to_their_bits() {
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
    fn ids_refuse_what_no_bigint_holds() {
        let largest = i64::MAX as u64;
        for raw in [0, 1 << 63, (1 << 63) + 1, u64::MAX] {
            assert_eq!(SessionId::try_from(raw), Err(InvalidId));
            assert_eq!(ThreadId::try_from(raw), Err(InvalidId));
        }
        for raw in [1, 2, largest - 1, largest] {
            assert_eq!(SessionId::try_from(raw).map(SessionId::get), Ok(raw));
            assert_eq!(ThreadId::try_from(raw).map(ThreadId::get), Ok(raw));
        }
    }

    #[test]
    fn ids_are_read_from_digits_alone() {
        let wrong = "| |0|00|-0|-1|+0|+1| 1|1 |1\n|1.0|1e1|0x1|1_0|1,0|1\0|\u{661}|\u{ff11}\
            |9223372036854775808|18446744073709551615|18446744073709551616|18446744073709551617";
        for text in wrong.split('|') {
            assert_eq!(text.parse::<SessionId>(), Err(InvalidId), "{text:?}");
            assert_eq!(text.parse::<ThreadId>(), Err(InvalidId), "{text:?}");
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
        assert_eq!(InvalidId.to_string(), "an id is a whole number from 1 to 9223372036854775807");
    }
}
