//! Waits for a channel's messages.

use crate::core::record::waits::Waits;
use crate::session::wait::ambient::as_current;
use crate::session::wait::{Attached, Interrupt, run_wait};
use crate::types::location::CallerLocation;
use crossbeam_channel::{Receiver, RecvError, Sender, bounded, select};
use std::panic::Location;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// Wakes a thread that waits in `select!`.
struct Signal(Sender<()>);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        // If the channel is full, the thread is woken already.
        let _ = self.0.try_send(());
    }
}

impl Attached<'_> {
    /// Receives a message from a channel. Blocks until there is a message or an interrupt is due.
    /// An interrupt loses no message.
    ///
    /// # Errors
    /// The outer error is the [`Interrupt`] that is due and not held off. The inner error means
    /// that the channel is empty and has no sender.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let mut session = manager.open(ClientInfo::default())?;
    /// # let thread = session.own_thread().expect("each session has its own");
    /// # let mut attached = session.attach(&thread)?;
    /// let (sender, receiver) = crossbeam_channel::bounded(1);
    /// sender.send("a row")?;
    /// // The outer error is the interrupt, the inner one a closed channel.
    /// assert_eq!(attached.recv(&receiver)??, "a row");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn recv<T>(&self, receiver: &Receiver<T>) -> Result<Result<T, RecvError>, Interrupt> {
        recv_by(self.record, receiver, Location::caller())
    }
}

/// Receives a message from a channel, as [`Attached::recv`](crate::Attached::recv) does, for code that has no
/// reference to the session.
///
/// # Errors
/// The outer error is the [`Interrupt`] that is due and not held off. The inner error means
/// that the channel is empty and has no sender.
#[track_caller]
pub fn recv<T>(receiver: &Receiver<T>) -> Result<Result<T, RecvError>, Interrupt> {
    let at = Location::caller();
    as_current(|waits| recv_by(waits, receiver, at))
}

fn recv_by<T>(
    waits: &(impl Waits + ?Sized),
    receiver: &Receiver<T>,
    at: CallerLocation,
) -> Result<Result<T, RecvError>, Interrupt> {
    waits.check_at(at)?;
    if let Ok(message) = receiver.try_recv() {
        return Ok(Ok(message));
    }
    let (signal, signalled) = bounded(1);
    let waker = Waker::from(Arc::new(Signal(signal)));
    let mut message = None;
    loop {
        run_wait(waits, &waker, false, at, || {
            select! {
                recv(receiver) -> received => message = Some(received),
                recv(signalled) -> _ => {}
            }
        })?;
        // A received message is returned. The next safe point reports a due interrupt.
        if let Some(received) = message.take() {
            return Ok(received);
        }
        waits.check_at(at)?;
    }
}
