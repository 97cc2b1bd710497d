//! As much of mio as safepoint's pool uses, over shuttle: descriptors that turn readable when
//! the scene says so, and a poller that waits for that, edge-triggered.

#![cfg(unix)]
#![forbid(unsafe_code)]

use shuttle::sync::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// What a descriptor was registered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub usize);

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Interest;

impl Interest {
    /// Something to read.
    pub const READABLE: Interest = Interest;
}

/// That of Unix.
pub mod unix {
    /// A descriptor to be registered.
    #[derive(Debug)]
    pub struct SourceFd<'a>(pub &'a std::os::fd::RawFd);
}
use unix::SourceFd;

/// A descriptor that turns readable when it is told to.
#[derive(Debug)]
pub struct Descriptor {
    // It only lends its number, which is one of its own while it is open.
    file: File,
    source: Arc<Source>,
}

#[derive(Debug, Default)]
struct Source {
    state: std::sync::Mutex<SourceState>,
}

#[derive(Debug, Default)]
struct SourceState {
    readable: bool,
    watched: Option<(Arc<Inbox>, Token)>,
}

// These two are never held where shuttle may change threads.
static SOURCES: std::sync::Mutex<BTreeMap<RawFd, Arc<Source>>> =
    std::sync::Mutex::new(BTreeMap::new());

fn source(descriptor: RawFd) -> io::Result<Arc<Source>> {
    let sources = SOURCES.lock().unwrap();
    sources.get(&descriptor).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl Descriptor {
    /// A new one, which is not readable.
    pub fn new() -> io::Result<Arc<Descriptor>> {
        let descriptor = Descriptor { file: File::open("/dev/null")?, source: Arc::default() };
        let number = descriptor.file.as_raw_fd();
        SOURCES.lock().unwrap().insert(number, descriptor.source.clone());
        Ok(Arc::new(descriptor))
    }

    /// Something has arrived.
    pub fn turn_readable(&self) {
        let watched = {
            let mut state = self.source.state.lock().unwrap();
            state.readable = true;
            state.watched.clone()
        };
        if let Some((inbox, token)) = watched {
            inbox.put(token);
        }
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

#[derive(Debug, Default)]
struct Inbox {
    tokens: Mutex<Vec<Token>>,
    some: Condvar,
}

impl Inbox {
    fn put(&self, token: Token) {
        self.tokens.lock().unwrap().push(token);
        self.some.notify_one();
    }
}

/// Waits for descriptors.
#[derive(Debug)]
pub struct Poll(Registry);

/// Where they are registered.
#[derive(Debug)]
pub struct Registry(Arc<Inbox>);

/// What a poller has seen.
#[derive(Debug)]
pub struct Events(Vec<Event>);

/// A descriptor has turned readable.
#[derive(Debug)]
pub struct Event(Token);

/// Wakes a poller.
#[derive(Debug)]
pub struct Waker(Arc<Inbox>, Token);

impl Poll {
    /// A new one.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll(Registry(Arc::default())))
    }

    /// Its registry.
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// Waits, without a limit, until something is readable.
    pub fn poll(&mut self, events: &mut Events, _limit: Option<Duration>) -> io::Result<()> {
        let inbox = &self.0.0;
        let mut tokens = inbox.tokens.lock().unwrap();
        while tokens.is_empty() {
            tokens = inbox.some.wait(tokens).unwrap();
        }
        events.0 = tokens.drain(..).map(Event).collect();
        Ok(())
    }
}

impl Registry {
    /// The same one again.
    pub fn try_clone(&self) -> io::Result<Registry> {
        Ok(Registry(self.0.clone()))
    }

    /// Watches a descriptor; one that is readable already is seen at once.
    pub fn register(&self, fd: &mut SourceFd<'_>, token: Token, _: Interest) -> io::Result<()> {
        let readable = {
            let source = source(*fd.0)?;
            let mut state = source.state.lock().unwrap();
            state.watched = Some((self.0.clone(), token));
            state.readable
        };
        if readable {
            self.0.put(token);
        }
        Ok(())
    }

    /// Watches it no longer. What was seen already may still be reported.
    pub fn deregister(&self, fd: &mut SourceFd<'_>) -> io::Result<()> {
        source(*fd.0)?.state.lock().unwrap().watched = None;
        Ok(())
    }
}

impl Waker {
    /// Wakes the poller of this registry.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        Ok(Waker(registry.0.clone(), token))
    }

    /// Now.
    pub fn wake(&self) -> io::Result<()> {
        self.0.put(self.1);
        Ok(())
    }
}

impl Events {
    /// None yet.
    pub fn with_capacity(capacity: usize) -> Events {
        Events(Vec::with_capacity(capacity))
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a Event;
    type IntoIter = std::slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Event {
    /// Which one.
    pub fn token(&self) -> Token {
        self.0
    }
}
