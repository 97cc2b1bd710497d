//! Shared code of the pool's unit tests, and the tests of connection slots.

use super::*;
use crate::pool::connection::{Action, CloseReason, Priority};
use crate::pool::group::key_of;
use crate::session::attached::Attached;
use crate::session::session::Session;
use crate::types::interrupt::Interrupt;
use std::os::fd::{AsFd, BorrowedFd};

/// A connection that the pool never serves.
pub(super) struct Unserved;

impl AsFd for Unserved {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("no pool serves it")
    }
}

impl Connection for Unserved {
    fn on_ready(&mut self, _: &mut Attached<'_>) -> Result<Action, Interrupt> {
        unreachable!("no pool serves it")
    }

    fn on_close(&mut self, _: &Session, _: CloseReason) {}
}

#[test]
fn the_defaults_are_normal_priority_and_no_emergency() {
    assert_eq!(Unserved.priority(), Priority::Normal);
    assert!(!Unserved.is_emergency());
}

#[test]
fn serve_errors_name_their_cause() {
    use std::error::Error;
    let overloaded = ServeError { connection: (), kind: ServeErrorKind::Overloaded };
    assert_eq!(overloaded.to_string(), "too many sessions wait for a worker already");
    assert!(overloaded.source().is_none());
    let kind = ServeErrorKind::Io(io::Error::other("no epoll"));
    let failed = ServeError { connection: (), kind };
    assert_eq!(failed.to_string(), "the connection cannot be watched");
    assert_eq!(failed.source().expect("its cause").to_string(), "no epoll");
}

/// A slot has a key, which is free for another slot after the first is removed, and a token, which
/// no other slot has.
#[test]
fn a_reused_slot_has_another_token() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = Pool::<Unserved>::start(manager, &PoolBuilder::new(1)).unwrap();
    let group = &pool.groups[0];
    let mut removed: Vec<Arc<ConnectionSlot<Unserved>>> = Vec::new();
    for _ in 0..3 {
        let slots: [_; 2] = std::array::from_fn(|_| group.new_slot(ConnectionSlot::empty));
        assert_eq!(group.sessions(), 2);
        for slot in &slots {
            let found = group.slot(slot.token()).expect("it is there");
            assert!(Arc::ptr_eq(&found, slot));
        }
        // An old token finds no new slot, even one with the same key.
        for old in &removed {
            assert!(slots.iter().any(|slot| key_of(slot.token()) == key_of(old.token())));
            assert!(slots.iter().all(|slot| slot.token() != old.token()));
            assert!(group.slot(old.token()).is_none());
            assert!(group.forget(old).is_none());
        }
        assert_eq!(group.sessions(), 2);
        for slot in slots {
            assert!(Arc::ptr_eq(&group.forget(&slot).expect("it was there"), &slot));
            assert!(group.slot(slot.token()).is_none());
            removed.push(slot);
        }
        assert_eq!(group.sessions(), 0);
    }
}
