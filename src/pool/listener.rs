//! The listener thread: polls while no worker is idle, and adds workers if the queue stalls.

use crate::pool::connection::Connection;
use crate::pool::group::Group;
use crate::pool::poller::{Event, Events};
use crate::pool::queue::{ListenerStep, StallDetector};
use crate::types::error::StartError;
use std::sync::Arc;

/// The number of events taken at once.
const EVENTS: usize = 256;

pub(super) fn start<C: Connection>(group: &Arc<Group<C>>) -> Result<(), StartError> {
    let name = group.name("listener");
    let thread = group.manager.register_background(&name)?;
    group.queue.thread_starts();
    group
        .spawn(&name, move |group| {
            let _registered = thread;
            listen(group);
        })
        .inspect_err(|_| group.queue.thread_ends())
}

fn listen<C: Connection>(group: &Arc<Group<C>>) {
    let mut events = Events::with_capacity(EVENTS);
    let mut watch = StallDetector::new();
    while let ListenerStep::Poll(limit, call) = group.queue.watch(&mut watch) {
        group.answer(call);
        group.poller.wait(Some(limit), &mut events);
        for event in events.iter() {
            match event {
                Event::Woken if group.queue.passes_on() => group.poller.wake(),
                Event::Woken => {}
                Event::Ready(token) => {
                    let Some(seat) = group.seat(token) else { continue };
                    if let Some(priority) = seat.mark_readable() {
                        group.enqueue(&seat, priority);
                    }
                }
            }
        }
    }
    // The wake-up for the end may have reached the listener, and the workers need it.
    group.poller.wake();
}
