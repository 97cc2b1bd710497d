//! A pool: many sessions share a few worker threads, and idle ones hold none.
//!
//! A worker with nothing to run waits for all idle sessions of its group at once, and runs the
//! first whose socket has something to read: it attaches the session, lets the [`Connection`] run
//! what has arrived, detaches it, and has its socket watched again. While no worker is free, the
//! *listener* moves what turns ready into the *queue*.
//!
//! **Who is served first.** Sessions that are told to end need no worker at all, as the killer
//! itself ends them (below). Then come those whose client says [`Priority::High`], newcomers and
//! administrators; then the rest, in the order in which they turned ready. Of [`HIGH_PRIORITY_BURST`]
//! and one taken, at least one is of the rest, and a client that has more to do already
//! ([`Action::Yield`]) goes to the end of its queue: nobody waits for ever. This order holds among
//! those in the queue. What turns ready while workers come and go gets there within 2 ms, or is
//! served before that.
//!
//! **An idle or queued victim is ended by its killer.** While no worker runs a session it
//! lies in its *seat*. The killer takes it from there, has the client told, and closes the
//! connection, on its own thread and without a worker. A worker puts a session back into its
//! seat, and takes the step to "detached", under the seat's lock: a kill that came before that
//! step is seen by the worker, one that came after finds the session in the seat.
//!
//! **Workers are added** where sessions wait and no worker has taken one for 10 ms: as many as
//! there are, up to [`PoolBuilder::max_workers`], and so again. They end when they have had nothing to
//! do for 10 s. A worker that says that it blocks ([`blocking`](crate::current::block_in_place)) gives its place
//! to another at once.
//!
//! **The emergency lane.** With every worker stuck and the maximum reached, a thread apart serves
//! those at the head of the queue who say, after a look at what has arrived, that it is for the
//! lane ([`Connection::is_emergency`]): new connections, and an administrator's KILL. It steps in once
//! such a session has waited for [`EMERGENCY_DELAY`]. While lane threads are busy themselves more
//! are added, up to [`MAX_EMERGENCY_THREADS`] in each group.
//!
//! **Groups.** Each has its share of the sessions, and workers, a queue, a listener and a lane of
//! its own. A session belongs to one group, that with the fewest as it came. [`ThreadPoolAttr`] says
//! how many there are, and on which CPUs their workers run.
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
//!     fn on_readable(&mut self, session: &mut Attached<'_>) -> Result<Action, Interrupt> {
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
//!     fn on_close(&mut self, _session: &Session, why: CloseReason) {
//!         if let CloseReason::Interrupted(interrupt) = why {
//!             // Unread input would reset the connection, and take the last words along.
//!             let _ = self.0.read(&mut [0; 65_536]);
//!             let _ = writeln!(self.0, "FATAL: {interrupt}");
//!         }
//!     }
//! }
//!
//! pub fn serve(listener: TcpListener) -> Result<(), Box<dyn std::error::Error>> {
//!     let manager = SessionManager::new(ThreadModel::Pool);
//!     let pool = PoolBuilder::new(4).max_workers(64).start(manager.clone())?;
//!     let take_in = |socket: TcpStream| -> Result<(), Box<dyn std::error::Error>> {
//!         socket.set_nonblocking(true)?;
//!         Ok(pool.serve(manager.open(Default::default())?, Echo(socket))?)
//!     };
//!     for socket in listener.incoming() {
//!         // One client's trouble ends no other.
//!         if let Err(error) = socket.map_err(Into::into).and_then(take_in) {
//!             eprintln!("refused: {error}");
//!             std::thread::sleep(std::time::Duration::from_millis(10)); // it may last
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
pub use lane::MAX_EMERGENCY_THREADS;
#[cfg(not(safepoint_shuttle))]
pub use layout::ThreadLayout;
#[cfg(safepoint_shuttle)]
pub use poller::Descriptor;
pub use pool::{Pool, ServeError};
pub use queue::{EMERGENCY_DELAY, HIGH_PRIORITY_BURST};
pub use status::{GroupStatus, WorkerStatus};
