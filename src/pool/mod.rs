//! A thread pool for sessions: many sessions share a few worker threads, and an idle session
//! occupies none.
//!
//! An idle worker waits for all idle sessions of its group at once, and runs the first session
//! whose socket is readable. It attaches the session, calls the [`Connection`] for the input that
//! has arrived, detaches the session, and watches its socket again. While no worker is idle, the
//! *listener* moves readable sessions into the *queue*.
//!
//! **Order of service.** Ending an idle or queued session needs no worker (below). Sessions with
//! [`Priority::High`] are served first: new connections and administrators. The others follow, in
//! the order in which their sockets became readable. After at most [`HIGH_PRIORITY_BURST`] sessions
//! with high priority in a row, one of the others is served. A connection that returns
//! [`Action::Yield`] goes to the end of its queue. So no session waits forever. This order holds
//! within the queue. A worker that finds the queue empty takes the session whose socket became
//! readable first. While no worker is idle, a readable session is in the queue within 2 ms, or is
//! served earlier.
//!
//! **Ending an idle or queued session.** While no worker runs a session, it is in its *slot*. The requester's
//! thread takes the session out of the slot, notifies the client, and closes the connection. A worker puts a
//! session back, and takes the transition to detached, under the lock of the slot. So the worker sees a request
//! that came before that transition, and a later one finds the session in its slot.
//!
//! **Growth.** If sessions wait and no worker has taken one for 10 ms, workers are added, up to
//! [`PoolBuilder::max_workers`]: one for each waiting session, at most as many as there are. An
//! added worker ends when it has been idle for 10 s.
//! During [`block_in_place`](crate::current::block_in_place) another worker takes over at once.
//!
//! **The emergency lane.** If all workers are stuck and the maximum is reached, a separate thread
//! serves sessions at the head of the queue, after they have waited for [`EMERGENCY_DELAY`]. It
//! serves only sessions for which [`Connection::is_emergency`] returns `true`: new connections, and
//! an administrator's KILL. If the threads of the lane are busy, more are added,
//! up to [`EMERGENCY_THREADS`] in each group at once. Further threads are added while no thread of the
//! lane has taken a session for 10 ms, one for each session that waits. So a session that stays in the
//! lane keeps no other session out.
//!
//! **Groups.** Each group has a share of the sessions, and its own workers, queue, listener and
//! lane. A new session goes to a group that serves: its queue is not full, and its workers are not all
//! stuck. A group is stuck if it may add no worker, and all its workers have run the same session
//! for 2 ms. On a busy machine a group that serves slowly may seem stuck. So if all groups are stuck,
//! a group counts as stuck once its workers have run the same session for 1 s. Of the groups that serve,
//! the group with the fewest sessions gets the session.
//! [`ThreadPoolAttr`] sets the number of groups, and the CPUs that their workers run on.
//!
//! Available on Linux only.
//!
//! # Example
//!
//! ```
//! use safepoint::pool::{Action, CloseReason, Connection, Pool, PoolBuilder};
//! use safepoint::{Attached, Interrupt, Session, SessionManager, ThreadModel};
//! use std::io::{ErrorKind::WouldBlock, Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::os::fd::{AsFd, BorrowedFd};
//!
//! struct Echo(TcpStream);
//!
//! impl AsFd for Echo {
//!     fn as_fd(&self) -> BorrowedFd<'_> {
//!         self.0.as_fd()
//!     }
//! }
//!
//! impl Connection for Echo {
//!     fn on_ready(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
//!         let mut buffer = [0; 1024];
//!         let length = match self.0.read(&mut buffer) {
//!             Err(error) if error.kind() == WouldBlock => return Ok(Action::WaitReadable),
//!             Ok(0) | Err(_) => return Ok(Action::Close),
//!             Ok(length) => length,
//!         };
//!         let written = match session.begin() {
//!             Ok(_statement) => self.0.write_all(&buffer[..length]),
//!             // Cancelled while it was queued.
//!             Err(cancel) if !cancel.is_terminate() => writeln!(self.0, "ERROR: {cancel}"),
//!             Err(kill) => return Err(kill),
//!         };
//!         Ok(if written.is_ok() { Action::Yield } else { Action::Close })
//!     }
//!
//!     fn on_close(&mut self, _session: &Session, reason: CloseReason) {
//!         if let CloseReason::Interrupted(interrupt) = reason {
//!             // Unread input would reset the connection, and the client would lose the message.
//!             let _ = self.0.read(&mut [0; 65_536]);
//!             let _ = writeln!(self.0, "FATAL: {interrupt}");
//!         }
//!     }
//! }
//!
//! pub fn serve(listener: TcpListener) -> Result<(), Box<dyn std::error::Error>> {
//!     let manager = SessionManager::new(ThreadModel::Pool);
//!     let pool = PoolBuilder::new(4).max_workers(64).start(manager.clone())?;
//!     let accept = |socket: TcpStream| -> Result<(), Box<dyn std::error::Error>> {
//!         socket.set_nonblocking(true)?;
//!         Ok(pool.serve(manager.open(Default::default())?, Echo(socket))?)
//!     };
//!     for socket in listener.incoming() {
//!         // An error of one client must not end the others.
//!         if let Err(error) = socket.map_err(Into::into).and_then(accept) {
//!             eprintln!("not accepted: {error}");
//!             std::thread::sleep(std::time::Duration::from_millis(10)); // such as: no descriptors are left
//!         }
//!     }
//!     Ok(())
//! }
//! ```

#[cfg(not(safepoint_shuttle))]
mod attr;
mod builder;
mod connection;
mod group;
mod lane;
#[cfg(not(safepoint_shuttle))]
mod layout;
mod listener;
mod poller;
#[allow(clippy::module_inception, reason = "the pool of the pool's folder")]
mod pool;
mod queue;
mod status;
mod worker;

#[cfg(not(safepoint_shuttle))]
pub use attr::{CpuBinding, InvalidAttrError, MAX_GROUPS, MAX_THREADS, ThreadPoolAttr};
pub use builder::PoolBuilder;
pub use connection::{Action, CloseReason, Connection, Priority};
pub use lane::EMERGENCY_THREADS;
#[cfg(not(safepoint_shuttle))]
pub use layout::{GroupLayout, ThreadLayout};
#[cfg(safepoint_shuttle)]
pub use poller::Descriptor;
pub use pool::{Pool, ServeError, ServeErrorKind};
pub use queue::{EMERGENCY_DELAY, HIGH_PRIORITY_BURST};
pub use status::{GroupStatus, WorkerStatus};
