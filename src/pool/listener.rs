//! The listener thread: polls while no worker is idle, and adds workers if the queue stalls.

use crate::pool::connection::Connection;
use crate::pool::group::Group;
use crate::pool::lane;
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
    while let ListenerStep::Poll(limit, call, lanes) = group.queue.watch(&mut watch) {
        group.answer(call);
        // If no thread can be started, the session waits for a lane that becomes idle.
        (0..lanes).for_each(|_| {
            let _ = lane::start_counted(group);
        });
        close_abandoned(group, &watch, &mut events);
        group.poller.wait(Some(limit), &mut events);
        for event in events.iter() {
            match event {
                Event::Woken if group.queue.passes_on() => group.poller.wake(),
                Event::Woken => {}
                Event::Ready(token) => {
                    let Some(slot) = group.slot(token) else { continue };
                    if let Some(priority) = slot.mark_readable() {
                        group.enqueue(&slot, priority);
                    }
                }
            }
        }
    }
    // The wake-up for the end may have reached the listener, and the workers need it.
    group.poller.wake();
}

/// Closes queued sessions whose peers have closed the connection, if no worker has taken a session
/// for the time of the builder.
fn close_abandoned<C: Connection>(
    group: &Arc<Group<C>>,
    watch: &StallDetector,
    events: &mut Events,
) {
    let Some((hang_ups, after)) = &group.hang_ups else { return };
    if watch.stalled_for() < *after {
        return;
    }
    hang_ups.now(events);
    for event in events.iter() {
        if let Event::Ready(token) = event
            && let Some(slot) = group.slot(token)
        {
            slot.close_abandoned();
        }
    }
}
