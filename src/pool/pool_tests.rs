//! What the pool's unit tests share, and those of its seats.

use super::*;
use crate::pool::connection::{Action, CloseReason, Priority};
use crate::pool::group::place_of;
use crate::session::attached::Attached;
use crate::session::session::Session;
use crate::types::interrupt::Interrupt;
use std::os::fd::{AsFd, BorrowedFd};

/// Who is never there.
pub(super) struct Nobody;

impl AsFd for Nobody {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("it is in no seat")
    }
}

impl Connection for Nobody {
    fn on_readable(&mut self, _: &mut Attached<'_>) -> Result<Action, Interrupt> {
        unreachable!("it is in no seat")
    }

    fn on_close(&mut self, _: &Session, _: CloseReason) {}
}

#[test]
fn a_client_that_says_nothing_of_it_is_served_in_order_and_not_in_the_lane() {
    assert_eq!(Nobody.priority(), Priority::Normal);
    assert!(!Nobody.is_emergency());
}

#[test]
fn what_was_not_served_is_an_error_with_its_cause() {
    use std::error::Error;
    let overloaded = ServeError { connection: (), kind: ServeErrorKind::Overloaded };
    assert_eq!(overloaded.to_string(), "too many sessions wait for a worker already");
    assert!(overloaded.source().is_none());
    let kind = ServeErrorKind::Io(io::Error::other("no epoll"));
    let failed = ServeError { connection: (), kind };
    assert_eq!(failed.to_string(), "the connection cannot be watched");
    assert_eq!(failed.source().expect("its cause").to_string(), "no epoll");
}

/// A seat has a place in its group, which is free for another once it is forgotten, and a token, which
/// no other has.
#[test]
fn the_next_in_a_place_has_another_token() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let pool = Pool::<Nobody>::start(manager, &PoolBuilder::new(1)).unwrap();
    let group = &pool.groups[0];
    let mut gone: Vec<Arc<ConnectionSlot<Nobody>>> = Vec::new();
    for _ in 0..3 {
        let seats: [_; 2] = std::array::from_fn(|_| group.new_seat(ConnectionSlot::empty));
        assert_eq!(group.sessions(), 2);
        for seat in &seats {
            let found = group.seat(seat.token()).expect("it is there");
            assert!(Arc::ptr_eq(&found, seat));
        }
        // Whoever had one of the two places has nothing to do with those who have them now.
        for old in &gone {
            assert!(seats.iter().any(|seat| place_of(seat.token()) == place_of(old.token())));
            assert!(seats.iter().all(|seat| seat.token() != old.token()));
            assert!(group.seat(old.token()).is_none());
            assert!(group.forget(old).is_none());
        }
        assert_eq!(group.sessions(), 2);
        for seat in seats {
            assert!(Arc::ptr_eq(&group.forget(&seat).expect("it was there"), &seat));
            assert!(group.seat(seat.token()).is_none());
            gone.push(seat);
        }
        assert_eq!(group.sessions(), 0);
    }
}
