//! The threads that run sessions.

use super::poller::{Event, Events};
use super::queue::{Call, Turn, Waited};
use super::seat::{Conn, Seat, State, arm, priority_of, socket_of};
use super::status::{Watched, WorkerState};
use super::{Client, End, Group, Next, Priority};
use crate::blocking::{Place, has_place};
use crate::contain::contain;
use crate::record::Over;
use crate::session::Session;
use crate::sync::MutexGuard;
use crate::thread::Thread;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

impl<C: Client> Place for Arc<Group<C>> {
    fn leave(&self) {
        let call = self.queue.leave_place();
        self.answer(call);
    }

    fn take(&self) {
        self.queue.take_place();
    }
}

/// A thread that runs sessions, and can be seen doing so.
pub(super) struct Worker<C: Client> {
    thread: Thread,
    watched: Watched<C>,
    lane: bool,
}

impl<C: Client> Worker<C> {
    pub(super) fn register(group: &Arc<Group<C>>, name: &str, lane: bool) -> io::Result<Worker<C>> {
        let thread = group.manager.register_worker(name)?;
        let watched = Watched::new(group, WorkerState::new(&thread, lane));
        Ok(Worker { thread, watched, lane })
    }
}

/// Starts a worker that counts already.
pub(super) fn start<C: Client>(group: &Arc<Group<C>>) -> io::Result<()> {
    let number = group.next_worker();
    let name = group.name(&format!("worker {number}"));
    Worker::register(group, &name, false)
        .and_then(|worker| group.spawn(&name, move |group| serve(group, &worker, number)))
        .inspect_err(|_| group.queue.worker_started(false))
}

fn serve<C: Client>(group: &Arc<Group<C>>, worker: &Worker<C>, number: u64) {
    group.queue.worker_started(true);
    group.bind(number - 1);
    has_place(Arc::new(group.clone()));
    let mut events = Events::with_capacity(1);
    let mut waited = None;
    loop {
        match group.queue.next(waited.take()) {
            Turn::Stop => break,
            Turn::Spare(call) => {
                group.answer(call);
                if !group.queue.wait_as_spare() {
                    break;
                }
            }
            Turn::Run(seat, call) => {
                group.answer(call);
                if !run_seat(group, &seat, worker) {
                    group.queue.one_was_gone();
                }
            }
            Turn::Wait(limit) => {
                group.poller.wait(limit, &mut events);
                match events.iter().next() {
                    Some(Event::Ready(token)) => {
                        group.queue.takes_ready();
                        if let Some(seat) = group.seat(token) {
                            run_seat(group, &seat, worker);
                        }
                    }
                    Some(Event::Woken) => waited = Some(Waited::Woken),
                    None => waited = Some(Waited::InVain),
                }
            }
        }
    }
    // The call may have been one for all.
    if group.queue.is_closed() {
        group.poller.wake();
    }
}

impl<C: Client> Group<C> {
    /// Does what a change of the queue calls for. Where the system gives no thread, the session
    /// waits for another.
    pub(super) fn answer(self: &Arc<Self>, call: Call) {
        match call {
            Call::Nobody => {}
            Call::Idle => self.poller.wake(),
            Call::Start(count) => (0..count).for_each(|_| {
                let _ = start(self);
            }),
        }
    }

    /// Queues a session. Where that is too late it is closed.
    pub(super) fn enqueue(self: &Arc<Self>, seat: &Arc<Seat<C>>, priority: Priority) {
        match self.queue.push(seat.clone(), priority) {
            Ok(call) => self.answer(call),
            Err(_) => seat.close(),
        }
    }
}

/// `false` where its killer has been faster.
fn run_seat<C: Client>(group: &Arc<Group<C>>, seat: &Arc<Seat<C>>, worker: &Worker<C>) -> bool {
    let conn = seat.take();
    let there = conn.is_some();
    if let Some(conn) = conn {
        run(group, seat, conn, worker);
    }
    there
}

/// What one turn of a session came to.
enum Outcome<'a, 'c, C> {
    /// It is detached, and goes back into its seat, which is locked since before that step.
    Back {
        seat: MutexGuard<'a, State<C>>,
        /// Its client's, to be watched again; `None` where it would not say.
        socket: Option<BorrowedFd<'c>>,
        /// Whether, and how, it is to be queued.
        again: Option<Priority>,
        over: Over,
    },
    Over(End),
}

pub(super) fn run<C: Client>(
    group: &Arc<Group<C>>,
    seat: &Arc<Seat<C>>,
    mut conn: Conn<C>,
    worker: &Worker<C>,
) {
    worker.watched.state().runs(Some(conn.session.id()));
    let Conn { client, session } = &mut conn;
    // If a panic unwinds through the attachment, the session learns of it there.
    let outcome = contain(|| turn(seat, client, session, &worker.thread));
    worker.watched.state().runs(None);
    match outcome {
        Some(Outcome::Back { seat: mut place, socket, again: None, over }) => {
            // Armed under the lock: nobody gets at it before it lies in its seat.
            let watched = socket.is_some_and(|socket| arm(group, socket, seat));
            *place = State::Idle(conn);
            drop(place);
            over.complete();
            if !watched || group.queue.is_closed() {
                seat.close();
            }
        }
        Some(Outcome::Back { seat: mut place, again: Some(priority), over, .. }) => {
            *place = State::Queued(conn);
            drop(place);
            over.complete();
            if worker.lane {
                group.enqueue(seat, priority);
                return;
            }
            match group.queue.push_back(seat.clone(), priority) {
                Ok(call) => group.answer(call),
                Err(_) => seat.close(),
            }
        }
        Some(Outcome::Over(why)) => seat.end(conn, why),
        None => seat.end(conn, End::Panicked),
    }
}

fn turn<'a, 'c, C: Client>(
    seat: &'a Seat<C>,
    client: &'c mut C,
    session: &mut Session,
    thread: &Thread,
) -> Outcome<'a, 'c, C> {
    // A pool's own threads can run its sessions.
    let Ok(mut attached) = session.attach(thread) else { return Outcome::Over(End::Closed) };
    // Told to end while it was queued: the command does not begin.
    let next = match attached.check().and_then(|()| client.ready(&mut attached)) {
        Ok(Next::Close) => return Outcome::Over(End::Closed),
        Ok(next) => next,
        Err(interrupt) => return Outcome::Over(End::Interrupted(interrupt)),
    };
    let again = (next == Next::Again).then(|| priority_of(client));
    // What the client says is asked for before the lock is taken.
    let socket = socket_of(client);
    // What is over by that is the embedder's to hear of, and not under the lock.
    attached.record.finish_forgotten();
    let place = seat.lock();
    let (due, over) = attached.leave(again.is_some()).ask();
    match due {
        Ok(()) => Outcome::Back { seat: place, socket, again, over },
        Err(interrupt) => {
            drop(place);
            over.complete();
            Outcome::Over(End::Interrupted(interrupt))
        }
    }
}
