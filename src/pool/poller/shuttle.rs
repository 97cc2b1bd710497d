//! Replaces `epoll.rs` in the scenes of `shuttle-tests`: a scene makes its descriptors readable and writable. An
//! event may reach any waiting thread, while Linux wakes the last thread that began to wait.

use crate::pool::poller::Interest;
use crate::sync::{Condvar, Mutex, now};
use shuttle::rand::Rng as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

#[derive(Debug, Default)]
pub(in crate::pool) struct Poller(Arc<Inbox>);

#[derive(Debug)]
struct Inbox {
    events: Mutex<Vec<Event>>,
    some: Condvar,
}

impl Default for Inbox {
    fn default() -> Self {
        Inbox { events: Mutex::default(), some: Condvar::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Event {
    Ready(u64),
    Woken,
}

pub(in crate::pool) struct Events {
    capacity: usize,
    events: Vec<Event>,
}

/// A descriptor that a scene makes readable, and that stays readable until all is read. It is writable until
/// the scene fills it.
#[derive(Debug)]
pub struct Descriptor {
    // The file provides a descriptor number that is unique while the file is open.
    file: File,
    source: Arc<Source>,
}

#[derive(Debug, Default)]
struct Source(std::sync::Mutex<SourceState>);

#[derive(Debug, Default)]
struct SourceState {
    readable: bool,
    full: bool,
    armed: Option<(Weak<Inbox>, u64, Interest)>,
}

impl SourceState {
    fn is_ready(&self) -> bool {
        match self.armed {
            Some((_, _, Interest::Readable)) => self.readable,
            Some((_, _, Interest::Writable)) => !self.full,
            None => false,
        }
    }
}

// The locks of `SOURCES` and of a `Source` are never held when shuttle may switch threads.
static SOURCES: std::sync::Mutex<BTreeMap<RawFd, Arc<Source>>> =
    std::sync::Mutex::new(BTreeMap::new());

fn source(socket: BorrowedFd<'_>) -> io::Result<Arc<Source>> {
    let sources = SOURCES.lock().unwrap();
    sources.get(&socket.as_raw_fd()).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl Source {
    /// Sends the event to the poller, if the descriptor is ready for what it is armed for.
    fn notify(&self) {
        let armed = {
            let mut state = self.0.lock().unwrap();
            if state.is_ready() { state.armed.take() } else { None }
        };
        if let Some((inbox, token)) =
            armed.and_then(|(inbox, token, _)| Some((inbox.upgrade()?, token)))
        {
            inbox.put(Event::Ready(token));
        }
    }
}

impl Descriptor {
    /// Creates a descriptor that is not readable.
    ///
    /// # Errors
    /// Returns an error if the system has no more descriptors.
    pub fn new() -> io::Result<Arc<Descriptor>> {
        let descriptor = Descriptor { file: File::open("/dev/null")?, source: Arc::default() };
        let number = descriptor.file.as_raw_fd();
        SOURCES.lock().unwrap().insert(number, descriptor.source.clone());
        Ok(Arc::new(descriptor))
    }

    /// Makes the descriptor readable.
    pub fn turn_readable(&self) {
        self.source.0.lock().unwrap().readable = true;
        self.source.notify();
    }

    /// Makes the descriptor unwritable.
    pub fn fill(&self) {
        self.source.0.lock().unwrap().full = true;
    }

    /// Makes the descriptor writable.
    pub fn turn_writable(&self) {
        self.source.0.lock().unwrap().full = false;
        self.source.notify();
    }

    /// Returns whether the descriptor is unwritable.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.source.0.lock().unwrap().full
    }

    /// Makes the descriptor unreadable, and returns whether it was readable.
    pub fn drained(&self) -> bool {
        std::mem::take(&mut self.source.0.lock().unwrap().readable)
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        SOURCES.lock().unwrap().remove(&self.file.as_raw_fd());
    }
}

impl Inbox {
    fn put(&self, event: Event) {
        let mut events = self.events.lock();
        // Wake-ups that no thread has received are merged.
        if event != Event::Woken || !events.contains(&event) {
            events.push(event);
        }
        self.some.notify_one();
    }
}

impl Events {
    pub(in crate::pool) fn with_capacity(capacity: usize) -> Events {
        Events { capacity, events: Vec::new() }
    }

    pub(in crate::pool) fn iter(&self) -> impl Iterator<Item = Event> {
        self.events.iter().copied()
    }
}

impl Poller {
    pub(in crate::pool) fn new() -> io::Result<Poller> {
        Ok(Poller::default())
    }

    pub(in crate::pool) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.arm(socket, token, Interest::Readable)
    }

    pub(in crate::pool) fn arm(
        &self,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let source = source(socket)?;
        source.0.lock().unwrap().armed = Some((Arc::downgrade(&self.0), token, interest));
        source.notify();
        Ok(())
    }

    pub(in crate::pool) fn remove(&self, socket: BorrowedFd<'_>) {
        if let Ok(source) = source(socket) {
            source.0.lock().unwrap().armed = None;
        }
    }

    pub(in crate::pool) fn wake(&self) {
        self.0.put(Event::Woken);
    }

    pub(in crate::pool) fn wait(&self, limit: Option<Duration>, events: &mut Events) {
        events.events.clear();
        let deadline = limit.map(|limit| now() + limit);
        let mut inbox = self.0.events.lock();
        while inbox.is_empty() {
            match deadline {
                None => self.0.some.wait(&mut inbox),
                Some(deadline) => {
                    if self.0.some.wait_until(&mut inbox, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        while events.events.len() < events.capacity && !inbox.is_empty() {
            let next = shuttle::rand::thread_rng().gen_range(0..inbox.len());
            events.events.push(inbox.swap_remove(next));
        }
        if !inbox.is_empty() {
            self.0.some.notify_one();
        }
    }
}

/// No peer of a scene closes its connection: the listener would end its session as any requester
/// does.
#[derive(Debug)]
pub(in crate::pool) struct HangUps;

impl HangUps {
    pub(in crate::pool) fn new() -> io::Result<HangUps> {
        Ok(HangUps)
    }

    pub(in crate::pool) fn add(&self, _: BorrowedFd<'_>, _: u64) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::pool) fn remove(&self, _: BorrowedFd<'_>) {}

    pub(in crate::pool) fn now(&self, events: &mut Events) {
        events.events.clear();
    }
}
