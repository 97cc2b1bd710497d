//! Workers: the threads that run sessions.

use crate::core::record::request::FinishedCancel;
use crate::pool::connection::{Action, CloseReason, Connection, Priority};
use crate::pool::group::Group;
use crate::pool::group::slot::{ConnectionSlot, Entry, SlotState, arm, priority_of, socket_of};
use crate::pool::poller::{Event, Events, Interest};
use crate::pool::queue::{PollEnd, Wakeup, WorkerStep};
use crate::pool::status::WorkerState;
use crate::session::block_in_place::{BlockHooks, set_block_hooks};
use crate::session::current::complete;
use crate::session::session::Session;
use crate::session::thread::Thread;
use crate::sync::MutexGuard;
use crate::sync::catch::catch_panic;
use crate::types::error::StartError;
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::task::Waker;

/// A worker's entry in the list of its group, which dropping it removes.
pub(super) struct WorkerEntry<C: Connection> {
    state: Arc<WorkerState>,
    key: usize,
    group: Weak<Group<C>>,
}

impl<C: Connection> WorkerEntry<C> {
    pub(super) fn new(group: &Arc<Group<C>>, state: WorkerState) -> WorkerEntry<C> {
        let state = Arc::new(state);
        let key = group.workers.lock().insert(state.clone());
        WorkerEntry { state, key, group: Arc::downgrade(group) }
    }

    pub(super) fn state(&self) -> &WorkerState {
        &self.state
    }
}

impl<C: Connection> Drop for WorkerEntry<C> {
    fn drop(&mut self) {
        if let Some(group) = self.group.upgrade() {
            group.workers.lock().remove(self.key);
        }
    }
}

impl<C: Connection> BlockHooks for Arc<Group<C>> {
    fn before_block(&self) {
        let call = self.queue.release_permit();
        self.answer(call);
    }

    fn after_block(&self) {
        self.queue.reacquire_permit();
    }
}

/// A registered thread that runs sessions, and its entry in the list of workers.
pub(super) struct Worker<C: Connection> {
    thread: Thread,
    entry: WorkerEntry<C>,
    lane: bool,
}

impl<C: Connection> Worker<C> {
    pub(super) fn register(
        group: &Arc<Group<C>>,
        name: &str,
        lane: bool,
    ) -> Result<Worker<C>, StartError> {
        let thread = group.manager.register_worker(name)?;
        let entry = WorkerEntry::new(group, WorkerState::new(&thread, lane));
        Ok(Worker { thread, entry, lane })
    }
}

/// Starts a worker that is counted already.
pub(super) fn start<C: Connection>(group: &Arc<Group<C>>) -> Result<(), StartError> {
    let number = group.next_worker();
    let name = group.name(&format!("worker {number}"));
    Worker::register(group, &name, false)
        .and_then(|worker| group.spawn(&name, move |group| serve(group, &worker, number)))
        .inspect_err(|_| group.queue.worker_started(false))
}

fn serve<C: Connection>(group: &Arc<Group<C>>, worker: &Worker<C>, number: u64) {
    group.queue.worker_started(true);
    group.bind(number - 1);
    set_block_hooks(Arc::new(group.clone()));
    let mut events = Events::with_capacity(1);
    let mut waited = None;
    loop {
        match group.queue.next(waited.take()) {
            WorkerStep::Exit => break,
            WorkerStep::Park(call) => {
                group.answer(call);
                if !group.queue.wait_as_spare() {
                    break;
                }
            }
            WorkerStep::Run(slot, call) => {
                group.answer(call);
                if !run_slot(group, &slot, worker) {
                    group.queue.remove_stale();
                }
            }
            WorkerStep::Poll(limit) => {
                group.poller.wait(limit, &mut events);
                match events.iter().next() {
                    Some(Event::Ready(token)) => {
                        group.queue.takes_ready();
                        if let Some(slot) = group.slot(token)
                            && let Some(conn) = slot.take_ready()
                        {
                            run(group, &slot, conn, worker);
                        }
                    }
                    Some(Event::Woken) => waited = Some(PollEnd::Woken),
                    None => waited = Some(PollEnd::InVain),
                }
            }
        }
    }
    // One wake-up reaches one thread, and the other threads must exit too.
    if group.queue.is_closed() {
        group.poller.wake();
    }
}

impl<C: Connection> Group<C> {
    /// Carries out the wake-up after a change of the queue. If the system cannot start a thread,
    /// the session waits for another worker.
    pub(super) fn answer(self: &Arc<Self>, call: Wakeup) {
        match call {
            Wakeup::None => {}
            Wakeup::Idle => self.poller.wake(),
            Wakeup::Spawn(count) => (0..count).for_each(|_| {
                let _ = start(self);
            }),
        }
    }

    /// Queues a session. Closes it if the queue is closed.
    pub(super) fn enqueue(self: &Arc<Self>, slot: &Arc<ConnectionSlot<C>>, priority: Priority) {
        match self.queue.push(slot.clone(), priority) {
            Ok(call) => self.answer(call),
            Err(_) => slot.close(),
        }
    }
}

/// Runs the session in a slot. Returns `false` if a requester took it first.
fn run_slot<C: Connection>(
    group: &Arc<Group<C>>,
    slot: &Arc<ConnectionSlot<C>>,
    worker: &Worker<C>,
) -> bool {
    let conn = slot.take();
    let there = conn.is_some();
    if let Some(conn) = conn {
        run(group, slot, conn, worker);
    }
    there
}

/// The thing that a session in its slot waits for.
#[derive(Clone, Copy)]
enum Next {
    /// Its socket.
    Socket(Interest),
    /// A worker. It has this priority in the queue.
    Queue(Priority),
}

/// The outcome of one turn of a session.
enum Outcome<'a, 'c, C> {
    /// The session is detached, and will be put back into its slot. The slot was locked before that
    /// transition.
    Back {
        slot: MutexGuard<'a, SlotState<C>>,
        /// The connection's socket, which must be armed again; `None` if `as_fd` panicked.
        socket: Option<BorrowedFd<'c>>,
        next: Next,
        over: FinishedCancel,
    },
    Over(CloseReason),
}

pub(super) fn run<C: Connection>(
    group: &Arc<Group<C>>,
    slot: &Arc<ConnectionSlot<C>>,
    mut conn: Entry<C>,
    worker: &Worker<C>,
) {
    worker.entry.state().runs(Some(conn.session.id()));
    let Entry { client, session } = &mut conn;
    // If a panic unwinds through the attachment, its destructor requests the end of the session,
    // with `InternalError` as the reason.
    let outcome = catch_panic(|| turn(slot, client, session, &worker.thread));
    worker.entry.state().runs(None);
    match outcome {
        Some(Outcome::Back { slot: mut state, socket, next: Next::Socket(interest), over }) => {
            // Armed while the slot is locked, so that no thread takes the session before it is in
            // its slot.
            let watched = socket.is_some_and(|socket| arm(group, socket, slot, interest));
            *state = SlotState::Idle(conn);
            drop(state);
            complete(over);
            if !watched || group.queue.is_closed() {
                slot.close();
            }
        }
        Some(Outcome::Back { slot: mut state, next: Next::Queue(priority), over, .. }) => {
            *state = SlotState::Queued(conn);
            drop(state);
            complete(over);
            if worker.lane {
                group.enqueue(slot, priority);
                return;
            }
            match group.queue.push_back(slot.clone(), priority) {
                Ok(call) => group.answer(call),
                Err(_) => slot.close(),
            }
        }
        Some(Outcome::Over(why)) => slot.end(conn, why),
        None => slot.end(conn, CloseReason::Panicked),
    }
}

fn turn<'a, 'c, C: Connection>(
    slot: &'a Arc<ConnectionSlot<C>>,
    client: &'c mut C,
    session: &mut Session,
    thread: &Thread,
) -> Outcome<'a, 'c, C> {
    // A pool's own threads can run its sessions, so this fails only if application code has leaked
    // an attachment on this thread.
    let Ok(mut attached) = session.attach(thread) else {
        return Outcome::Over(CloseReason::Closed);
    };
    // A termination that arrived in the queue: the command does not begin. A suspended statement ends by its resume.
    let begins = if attached.record.has_any_suspended() { Ok(()) } else { attached.check() };
    let next = match begins.and_then(|()| client.on_ready(&mut attached)) {
        Ok(Action::Close) => return Outcome::Over(CloseReason::Closed),
        Ok(Action::WaitReadable) => Next::Socket(Interest::Readable),
        Ok(Action::WaitWritable) => Next::Socket(Interest::Writable),
        Ok(Action::Yield) => Next::Queue(priority_of(client)),
        Err(interrupt) => return Outcome::Over(CloseReason::Interrupted(interrupt)),
    };
    // The connection's methods are called before the lock is taken.
    let suspended = attached.record.has_any_suspended().then(|| priority_of(client));
    let socket = socket_of(client);
    if let Some(priority) = suspended {
        let waker = Waker::from(slot.clone());
        let state = slot.lock();
        // A requester that came before has woken no thread.
        let due = attached.suspend(&waker, Location::caller());
        let next = if due { Next::Queue(priority) } else { next };
        return match session.check_unreported() {
            Ok(()) => Outcome::Back { slot: state, socket, next, over: FinishedCancel::NOTHING },
            Err(interrupt) => Outcome::Over(CloseReason::Interrupted(interrupt)),
        };
    }
    // The receipts of a leaked statement complete before the lock is taken.
    complete(attached.record.end_leaked_statement());
    let state = slot.lock();
    let (due, over) = attached.leave(matches!(next, Next::Queue(_))).into_due();
    match due {
        Ok(()) => Outcome::Back { slot: state, socket, next, over },
        Err(interrupt) => {
            drop(state);
            complete(over);
            Outcome::Over(CloseReason::Interrupted(interrupt))
        }
    }
}
