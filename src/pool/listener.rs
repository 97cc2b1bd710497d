//! The thread that waits for all idle sessions at once.

use super::{Client, Shared};
use crate::sync::{Builder, JoinHandle};
use mio::{Events, Poll, Token};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The token of the wake-up that ends the listener.
pub(super) const WAKE: Token = Token(usize::MAX);

/// How many events are taken at once.
const EVENTS: usize = 256;

/// How long the listener pauses where the system refuses to say what is ready.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) fn start<C: Client>(shared: Arc<Shared<C>>, poll: Poll) -> io::Result<JoinHandle<()>> {
    let thread = shared.manager.register_background("session listener")?;
    Builder::new().name("session listener".into()).spawn(move || {
        let _registered = thread;
        listen(&shared, poll);
    })
}

fn listen<C: Client>(shared: &Arc<Shared<C>>, mut poll: Poll) {
    let mut events = Events::with_capacity(EVENTS);
    loop {
        match poll.poll(&mut events, None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => std::thread::sleep(PAUSE),
        }
        for event in &events {
            if event.token() == WAKE {
                return;
            }
            // Edge-triggered: an event comes once for what has arrived. One that comes while
            // a worker has the session is remembered in the seat.
            let seat = shared.seats.lock().get(event.token().0).cloned();
            let Some(seat) = seat else { continue };
            if let Some(priority) = seat.turns_ready() {
                shared.enqueue(&seat, priority);
            }
        }
    }
}
