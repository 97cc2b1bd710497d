//! The emergency lane: threads for sessions that may end other sessions.

use crate::pool::connection::Connection;
use crate::pool::group::Group;
use crate::pool::worker::{Worker, run};
use crate::types::error::StartError;
use std::sync::Arc;

/// Starts a lane thread if none is idle, unless there are [`EMERGENCY_THREADS`].
pub(super) fn start<C: Connection>(group: &Arc<Group<C>>) -> Result<(), StartError> {
    if group.queue.wants_lane(EMERGENCY_THREADS) { start_counted(group) } else { Ok(()) }
}

/// Starts a lane thread that is counted already.
pub(super) fn start_counted<C: Connection>(group: &Arc<Group<C>>) -> Result<(), StartError> {
    let name = group.name("emergency lane");
    let started = Worker::register(group, &name, true);
    started
        .and_then(|worker| group.spawn(&name, move |group| serve(group, &worker)))
        .inspect_err(|_| group.queue.lane_failed())
}

fn serve<C: Connection>(group: &Arc<Group<C>>, worker: &Worker<C>) {
    while let Some(job) = group.queue.pop_for_lane() {
        match job.entry.take_for_lane() {
            Ok(conn) => {
                // If this session takes long, the next emergency needs another thread. If none can
                // be started, the next emergency waits.
                let _ = start(group);
                run(group, &job.entry, conn, worker);
            }
            Err(true) => {
                let slot = job.entry.clone();
                let call = group.queue.push_back_from_lane(job);
                group.answer(call);
                // A shutdown that came while the session was out of its slot did not find it.
                if group.queue.is_closed() {
                    slot.close();
                }
            }
            Err(false) => group.queue.remove_stale(),
        }
    }
}

/// The number of lane threads of a group that are added at once. More are added if all of them are
/// busy and take no session for 10 ms.
pub const EMERGENCY_THREADS: usize = 8;
