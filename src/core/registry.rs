//! Records by number, in several shards: slabs behind short locks.
//!
//! No code from outside this file runs under a shard's lock. Nothing is allocated there except when
//! the slab grows, and nothing is dropped.

use crate::sync::Mutex;
use crate::types::error::OpenError;
use crate::types::id::{MAX_KEYS, MAX_SERIAL, Parts};
use crossbeam_utils::CachePadded;
use slab::Slab;
use std::sync::Arc;

/// The number of keys of a shard that one batch covers under the lock.
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
pub(crate) const BATCH: usize = 64;

#[cfg(any(safepoint_loom, safepoint_shuttle))]
pub(crate) const BATCH: usize = 2;

/// The largest number of records in a batch. Counting a reference to a record that is not in the
/// cache waits for memory, under the lock; taking the lock again costs a tenth of that.
#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
const RECORDS: usize = 1;

#[cfg(any(safepoint_loom, safepoint_shuttle))]
const RECORDS: usize = 2;

/// A record with a number in a registry.
pub(crate) trait Keyed {
    fn number(&self) -> u64;
    /// Sets the number. Called once, before another thread can see the record.
    fn set_number(&mut self, parts: Parts);
}

#[derive(Debug)]
struct Shard<R> {
    records: Slab<Arc<R>>,
    /// The serials up to this one have been assigned, or are never assigned.
    last_serial: u64,
    /// One more than the largest key ever used, where an iteration over the shard ends.
    keys_used: usize,
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Registry<R> {
    first_shard: usize,
    first_serial: u64,
    shards: Box<[CachePadded<Mutex<Shard<R>>>]>,
}

/// The position of an iteration over the registry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    shard: usize,
    key: usize,
}

impl<R: Keyed> Registry<R> {
    /// Creates a registry. Its numbers have the shards `first_shard..first_shard + count`, and
    /// serials from `first_serial` on, which must be at least 1.
    pub(crate) fn new(first_shard: usize, count: usize, first_serial: u64) -> Registry<R> {
        let last_serial = first_serial - 1;
        let shard = || Shard { records: Slab::new(), last_serial, keys_used: 0, closed: false };
        let shards = (0..count).map(|_| CachePadded::new(Mutex::new(shard()))).collect();
        Registry { first_shard, first_serial, shards }
    }

    /// Adds a record and sets its number. `near` spreads callers over the shards; if that shard is
    /// full, another one takes the record.
    pub(crate) fn insert(&self, near: usize, mut record: Arc<R>) -> Result<Arc<R>, OpenError> {
        let mut refusal = OpenError::Full;
        for index in (0..self.shards.len()).map(|next| near.wrapping_add(next)) {
            match self.insert_into(index % self.shards.len(), &mut record) {
                Ok(()) => return Ok(record),
                Err(OpenError::Closed) => return Err(OpenError::Closed),
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }

    fn insert_into(&self, index: usize, record: &mut Arc<R>) -> Result<(), OpenError> {
        let mut shard = self.shards[index].lock();
        if shard.closed {
            return Err(OpenError::Closed);
        }
        if shard.last_serial == MAX_SERIAL {
            return Err(OpenError::IdsExhausted);
        }
        if shard.records.len() == MAX_KEYS {
            return Err(OpenError::Full);
        }
        shard.last_serial += 1;
        let serial = shard.last_serial;
        let entry = shard.records.vacant_entry();
        let key = entry.key();
        if let Some(fresh) = Arc::get_mut(record) {
            fresh.set_number(Parts { serial, shard: self.first_shard + index, key });
        }
        entry.insert(record.clone());
        shard.keys_used = shard.keys_used.max(key + 1);
        Ok(())
    }

    fn locate(&self, number: u64) -> Option<(&Mutex<Shard<R>>, usize)> {
        let parts = Parts::unpack(number);
        let index = parts.shard.checked_sub(self.first_shard)?;
        Some((self.shards.get(index)?, parts.key))
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<R>> {
        let (shard, key) = self.locate(number)?;
        let shard = shard.lock();
        let record = shard.records.get(key)?;
        (record.number() == number).then(|| record.clone())
    }

    pub(crate) fn remove(&self, number: u64) -> Option<Arc<R>> {
        let (shard, key) = self.locate(number)?;
        let mut shard = shard.lock();
        match shard.records.get(key) {
            Some(record) if record.number() == number => Some(shard.records.remove(key)),
            _ => None,
        }
    }

    /// Returns whether `number` is, or may have been, the number of a record.
    pub(crate) fn was_given_out(&self, number: u64) -> bool {
        self.locate(number).is_some_and(|(shard, key)| {
            let shard = shard.lock();
            let serial = Parts::unpack(number).serial;
            (self.first_serial..=shard.last_serial).contains(&serial) && key < shard.keys_used
        })
    }

    /// Appends the next records to `batch`. Returns `false` at the end. It holds one lock for at
    /// most [`BATCH`] keys and [`RECORDS`] records, which bounds how long an open or a close waits
    /// for it.
    pub(crate) fn next_batch(&self, cursor: &mut Cursor, batch: &mut Vec<Arc<R>>) -> bool {
        let Some(shard) = self.shards.get(cursor.shard) else { return false };
        let shard = shard.lock();
        let mut key = cursor.key;
        let end = (key + BATCH).min(shard.keys_used);
        let room = batch.len() + RECORDS;
        while key < end && batch.len() < room {
            batch.extend(shard.records.get(key).cloned());
            key += 1;
        }
        *cursor = if key == shard.keys_used {
            Cursor { shard: cursor.shard + 1, key: 0 }
        } else {
            Cursor { key, ..*cursor }
        };
        true
    }

    /// Rejects further records. The record of a concurrent `insert` is in the registry when this
    /// returns, since the flag is set and read under each shard's lock.
    pub(crate) fn close(&self) {
        for shard in &self.shards {
            shard.lock().closed = true;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().records.len()).sum()
    }
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
mod tests {
    use super::*;

    const FIRST: u64 = 7;

    #[derive(Debug)]
    struct Numbers(u64);

    impl Keyed for Numbers {
        fn number(&self) -> u64 {
            self.0
        }

        fn set_number(&mut self, parts: Parts) {
            self.0 = parts.pack().get();
        }
    }

    #[test]
    fn ids_are_not_reused_and_find_no_later_record() {
        let registry = Registry::new(0, 1, FIRST);
        let first = registry.insert(0, Arc::new(Numbers(0))).unwrap().number();
        assert!(registry.get(first).is_some());
        assert!(registry.remove(first).is_some());
        let second = registry.insert(0, Arc::new(Numbers(0))).unwrap().number();
        assert_eq!(Parts::unpack(first).key, Parts::unpack(second).key, "the place is used again");
        assert_ne!(first, second);
        assert!(registry.get(first).is_none());
        assert!(registry.remove(first).is_none());
        assert!(registry.get(second).is_some());
        assert!(registry.was_given_out(first) && !registry.was_given_out(second + (1 << 40)));
        let next_key = Parts { key: 1, ..Parts::unpack(first) };
        assert!(!registry.was_given_out(next_key.pack().get()));
        let serial = Parts::unpack(first).serial;
        assert_eq!(serial, FIRST);
        let earlier = Parts { serial: serial - 1, ..Parts::unpack(first) };
        assert!(!registry.was_given_out(earlier.pack().get()), "it was another run's");
    }

    #[test]
    fn a_batch_is_bounded_in_records() {
        let registry = Registry::new(0, 1, FIRST);
        for _ in 0..=RECORDS {
            registry.insert(0, Arc::new(Numbers(0))).unwrap();
        }
        let (mut cursor, mut batch) = (Cursor::default(), Vec::new());
        assert!(registry.next_batch(&mut cursor, &mut batch));
        assert_eq!(batch.len(), RECORDS);
    }

    /// A number finds and removes its own record only, and no similar number does. The serials
    /// overflow 16 or 32 bits, or are the last that exists.
    #[test]
    fn all_bits_of_an_id_are_compared() {
        for serial in [1, 1 << 16, (1 << 16) + 1, 1 << 32, MAX_SERIAL] {
            let registry = Registry::new(0, 2, 1);
            registry.shards[0].lock().last_serial = serial - 1;
            let number = registry.insert(0, Arc::new(Numbers(0))).unwrap().number();
            assert_eq!(Parts::unpack(number), Parts { serial, shard: 0, key: 0 });
            for alike in (0..64).map(|bit| number ^ 1 << bit) {
                assert!(registry.get(alike).is_none(), "{alike:#x} finds {number:#x}");
                assert!(registry.remove(alike).is_none(), "{alike:#x} takes {number:#x} out");
            }
            assert!(registry.get(number).is_some());
            // The serials assigned to a key are those up to its last one.
            let with = |serial| Parts { serial, ..Parts::unpack(number) }.pack().get();
            assert!(registry.was_given_out(number) && registry.was_given_out(with(1)));
            for bit in (0..38).filter(|bit| serial < MAX_SERIAL && serial & 1 << bit == 0) {
                assert!(!registry.was_given_out(with(serial | 1 << bit)), "{serial} and bit {bit}");
            }
            assert!(registry.remove(number).is_some());
        }
    }

    /// A shard has as many records as there are keys, and the next record goes to another shard.
    #[test]
    fn a_shard_is_full_when_its_keys_are_used() {
        let registry = Registry::new(0, 2, 1);
        let first = registry.insert(0, Arc::new(Numbers(0))).unwrap();
        // All records have one number, which is faster.
        let fill = |_| registry.shards[0].lock().records.insert(first.clone());
        assert_eq!((2..MAX_KEYS).map(fill).last(), Some(MAX_KEYS - 2));
        let insert = |near| {
            let number = registry.insert(near, Arc::new(Numbers(0)));
            number.map(|record| Parts::unpack(record.number()))
        };
        assert_eq!(insert(0), Ok(Parts { serial: 2, shard: 0, key: MAX_KEYS - 1 }), "the last key");
        assert_eq!(insert(0), Ok(Parts { serial: 1, shard: 1, key: 0 }), "another shard's");
        registry.shards[1].lock().last_serial = MAX_SERIAL;
        assert_eq!(insert(1).unwrap_err(), OpenError::Full);
        assert_eq!(insert(0).unwrap_err(), OpenError::IdsExhausted, "the reason of the last shard");
        registry.remove(first.number()).expect("it is there");
        assert_eq!(insert(0), Ok(Parts { serial: 3, shard: 0, key: 0 }));
    }

    #[test]
    fn a_full_shard_falls_back_to_the_next() {
        let registry = Registry::new(3, 2, FIRST);
        registry.shards[0].lock().last_serial = MAX_SERIAL;
        let taken_in = registry.insert(0, Arc::new(Numbers(0))).unwrap();
        assert_eq!(Parts::unpack(taken_in.number()).shard, 4);
        registry.shards[1].lock().last_serial = MAX_SERIAL;
        assert_eq!(registry.insert(0, Arc::new(Numbers(0))).unwrap_err(), OpenError::IdsExhausted);
        assert_eq!(registry.len(), 1);
        registry.close();
        assert_eq!(registry.insert(1, Arc::new(Numbers(0))).unwrap_err(), OpenError::Closed);
    }

    #[test]
    fn an_iteration_finds_each_record_once_in_bounded_batches() {
        let registry = Registry::new(0, 3, FIRST);
        let mut numbers: Vec<_> = (0..1000)
            .map(|near| registry.insert(near, Arc::new(Numbers(0))).unwrap().number())
            .collect();
        for number in numbers.iter().step_by(3) {
            registry.remove(*number);
        }
        numbers =
            numbers.into_iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, n)| n).collect();
        let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
        loop {
            let mut batch = Vec::new();
            if !registry.next_batch(&mut cursor, &mut batch) {
                break;
            }
            assert!(batch.len() <= BATCH);
            seen.extend(batch.iter().map(|record| record.number()));
        }
        seen.sort_unstable();
        numbers.sort_unstable();
        assert_eq!(seen, numbers);
    }
}
