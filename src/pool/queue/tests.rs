use super::*;
use crate::attached::Attached;
use crate::interrupt::Interrupt;
use crate::pool::{End, Next};
use crate::session::Session;
use std::os::fd::{AsFd, BorrowedFd};

/// Who is never there.
struct Nobody;

impl AsFd for Nobody {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("it is in no seat")
    }
}

impl Client for Nobody {
    fn ready(&mut self, _: &mut Attached<'_>) -> Result<Next, Interrupt> {
        unreachable!("it is in no seat")
    }

    fn end(&mut self, _: &Session, _: End) {}
}

fn started(call: Call) -> usize {
    match call {
        Call::Start(count) => count,
        Call::Nobody | Call::Idle => 0,
    }
}

/// Both workers block elsewhere, so there are two places; someone comes, and the one worker that
/// is started for that is on its way for so long that the listener thinks of adding places.
#[test]
fn every_worker_that_counts_is_started() {
    let queue = Queue::<Nobody>::new(Size { least: 2, most: 4, queue: 9 });
    queue.first_workers();
    for _ in 0..2 {
        queue.worker_started(true);
        assert!(matches!(queue.next(None), Turn::Wait(_)));
    }
    for _ in 0..2 {
        queue.takes_ready();
        assert_eq!(queue.leave_place(), Call::Nobody);
    }
    let mut watch = Watch::new();
    let mut look = || match queue.watch(&mut watch) {
        Look::Poll(_, call) => started(call),
        Look::Stop => unreachable!("it goes on"),
    };
    assert_eq!(look(), 0);
    let pushed = queue.push(Seat::empty(), Priority::InOrder);
    let mut starting = pushed.map(started).expect("it is open");
    assert_eq!(starting, 1);
    for _ in 0..4 {
        std::thread::sleep(STALL);
        starting += look();
        let counts = queue.counts();
        assert_eq!((counts.starting, counts.workers), (starting, 2 + starting));
        assert_eq!(counts.active, starting);
    }
    assert_eq!(queue.counts().places, 4, "it adds places where none is free");
}
