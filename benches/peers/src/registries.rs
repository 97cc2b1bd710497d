//! Everything that keeps sessions, behind one trait: this library, the floor, and the peers.
//!
//! Each peer that keeps a record keeps an `Arc` of one [`Record`]: the user, the time and a flag.
//! This library's sessions are opened with the same data, and keep more.

use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use pgwire::api::{ConnectionGuard, ConnectionHandle, ConnectionManager};
use pgwire::messages::startup::SecretKey;
use safepoint::{ClientInfo, Requester, SessionManager, Terminate, TerminateMode, ThreadModel};
use slab::Slab;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

/// Returns the client of a thread's sessions. The strings are shared among sessions, so that they
/// do not count as memory of one session. They are not shared among threads, because threads would
/// contend for the reference counts, which clients in a server do not share either.
#[must_use]
pub fn about() -> ClientInfo {
    thread_local! {
        static ABOUT: ClientInfo = ClientInfo::new("ann");
    }
    ABOUT.with(ClientInfo::clone)
}

/// The record that a peer keeps of a session.
#[derive(Debug)]
pub struct Record {
    /// Set by who kills it.
    pub killed: AtomicBool,
    /// Who it is.
    pub description: ClientInfo,
    /// Since when.
    pub opened: SystemTime,
}

impl Record {
    fn new() -> Arc<Record> {
        let (killed, opened) = (AtomicBool::new(false), SystemTime::now());
        Arc::new(Record { killed, description: about(), opened })
    }

    fn kill(&self) -> bool {
        !self.killed.swap(true, Ordering::AcqRel)
    }
}

/// Who keeps sessions.
pub trait Registry: Default + Sync {
    /// The owner's handle of a session.
    type Session: Send;
    /// The id by which an operator names a session.
    type Id: Copy + Debug + Send;
    /// `role: name`.
    const LABEL: &'static str;

    /// Opens one.
    fn open(&self) -> Self::Session;
    /// Closes it.
    fn close(&self, session: Self::Session);
    /// Returns the id of the session.
    fn id(session: &Self::Session) -> Self::Id;
    /// Finds a session by its id, and requests its end. Returns whether it was found.
    fn kill(&self, id: Self::Id) -> bool;
    /// Makes a row of each session, as far as there is a way to, and counts them. `now` is true
    /// while it does, for as long as a lock of the whole is held.
    fn walk(&self, now: &AtomicBool) -> usize {
        now.store(false, Ordering::Release);
        0
    }
}

fn walking(now: &AtomicBool, walk: impl FnOnce() -> usize) -> usize {
    now.store(true, Ordering::Release);
    let count = walk();
    now.store(false, Ordering::Release);
    count
}

/// The data of a row for an operator; peers clone it for each session that they list.
fn row(id: u64, record: &Record) {
    let killed = record.killed.load(Ordering::Relaxed);
    black_box((id, record.description.clone(), record.opened, killed));
}

/// This library.
#[derive(Debug)]
pub struct Ours(pub SessionManager);

impl Default for Ours {
    fn default() -> Self {
        Ours(SessionManager::new(ThreadModel::Pool))
    }
}

impl Registry for Ours {
    type Session = safepoint::Session;
    type Id = safepoint::SessionId;
    const LABEL: &'static str = "ours: safepoint";

    fn open(&self) -> Self::Session {
        self.0.open(about()).expect("room")
    }

    fn close(&self, session: Self::Session) {
        session.close();
    }

    fn id(session: &Self::Session) -> Self::Id {
        session.id()
    }

    fn kill(&self, id: Self::Id) -> bool {
        self.0.terminate(id, Terminate::new(TerminateMode::Immediate, Requester::system())).is_ok()
    }

    fn walk(&self, now: &AtomicBool) -> usize {
        walking(now, || self.0.sessions().map(black_box).count())
    }
}

/// The floor of opening and closing: a slab behind one lock.
#[derive(Debug, Default)]
pub struct BareSlab(Mutex<Slab<Arc<Record>>>);

impl Registry for BareSlab {
    type Session = (usize, Arc<Record>);
    type Id = usize;
    const LABEL: &'static str = "floor: Mutex<Slab<Arc<_>>>";

    fn open(&self) -> Self::Session {
        let record = Record::new();
        (self.0.lock().insert(record.clone()), record)
    }

    fn close(&self, (key, _record): Self::Session) {
        let spent = self.0.lock().remove(key);
        drop(spent);
    }

    fn id(session: &Self::Session) -> usize {
        session.0
    }

    fn kill(&self, id: usize) -> bool {
        let found = self.0.lock().get(id).cloned();
        found.is_some_and(|record| record.kill())
    }
}

/// A map's sessions are named by numbers that count up.
#[derive(Debug, Default)]
pub struct Numbered<M> {
    /// The map.
    pub map: M,
    last: AtomicU64,
}

impl<M> Numbered<M> {
    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }
}

/// `DashMap`, with its own hasher, as are the others.
pub type Dash = Numbered<DashMap<u64, Arc<Record>>>;

impl Registry for Dash {
    type Session = (u64, Arc<Record>);
    type Id = u64;
    const LABEL: &'static str = "peer: DashMap";

    fn open(&self) -> Self::Session {
        let (id, record) = (self.next(), Record::new());
        self.map.insert(id, record.clone());
        (id, record)
    }

    fn close(&self, (id, _record): Self::Session) {
        self.map.remove(&id);
    }

    fn id(session: &Self::Session) -> u64 {
        session.0
    }

    fn kill(&self, id: u64) -> bool {
        let found = self.map.get(&id).map(|found| found.clone());
        found.is_some_and(|record| record.kill())
    }

    fn walk(&self, now: &AtomicBool) -> usize {
        walking(now, || self.map.iter().inspect(|entry| row(*entry.key(), entry.value())).count())
    }
}

/// `papaya`, which is read without a lock.
pub type Papaya = Numbered<papaya::HashMap<u64, Arc<Record>>>;

impl Registry for Papaya {
    type Session = (u64, Arc<Record>);
    type Id = u64;
    const LABEL: &'static str = "peer: papaya";

    fn open(&self) -> Self::Session {
        let (id, record) = (self.next(), Record::new());
        self.map.pin().insert(id, record.clone());
        (id, record)
    }

    fn close(&self, (id, _record): Self::Session) {
        self.map.pin().remove(&id);
    }

    fn id(session: &Self::Session) -> u64 {
        session.0
    }

    fn kill(&self, id: u64) -> bool {
        self.map.pin().get(&id).is_some_and(|record| record.kill())
    }

    fn walk(&self, now: &AtomicBool) -> usize {
        walking(now, || self.map.pin().iter().inspect(|(id, record)| row(**id, record)).count())
    }
}

/// A `HashMap` behind one lock.
pub type Locked = Numbered<RwLock<HashMap<u64, Arc<Record>>>>;

impl Registry for Locked {
    type Session = (u64, Arc<Record>);
    type Id = u64;
    const LABEL: &'static str = "peer: RwLock<HashMap>";

    fn open(&self) -> Self::Session {
        let (id, record) = (self.next(), Record::new());
        self.map.write().insert(id, record.clone());
        (id, record)
    }

    fn close(&self, (id, _record): Self::Session) {
        let spent = self.map.write().remove(&id);
        drop(spent);
    }

    fn id(session: &Self::Session) -> u64 {
        session.0
    }

    fn kill(&self, id: u64) -> bool {
        let found = self.map.read().get(&id).cloned();
        found.is_some_and(|record| record.kill())
    }

    fn walk(&self, now: &AtomicBool) -> usize {
        let map = self.map.read();
        walking(now, || map.iter().inspect(|(id, record)| row(**id, record)).count())
    }
}

/// `sharded-slab`, which gives out keys itself.
#[derive(Debug, Default)]
pub struct Sharded(sharded_slab::Slab<Arc<Record>>);

impl Registry for Sharded {
    type Session = (usize, Arc<Record>);
    type Id = usize;
    const LABEL: &'static str = "peer: sharded-slab";

    fn open(&self) -> Self::Session {
        let record = Record::new();
        (self.0.insert(record.clone()).expect("room"), record)
    }

    fn close(&self, (key, _record): Self::Session) {
        self.0.remove(key);
    }

    fn id(session: &Self::Session) -> usize {
        session.0
    }

    fn kill(&self, id: usize) -> bool {
        self.0.get(id).is_some_and(|record| record.kill())
    }
}

/// A tree of tokens. It keeps no records, and cannot find a session by its id.
#[derive(Debug, Default)]
pub struct ChildTokens(CancellationToken);

impl Registry for ChildTokens {
    type Session = CancellationToken;
    type Id = ();
    const LABEL: &'static str = "peer: child_token (no record)";

    fn open(&self) -> Self::Session {
        self.0.child_token()
    }

    fn close(&self, _token: Self::Session) {}

    fn id(_: &Self::Session) {}

    fn kill(&self, (): ()) -> bool {
        false
    }
}

/// Tokens as above, which can be found by an id.
#[derive(Debug, Default)]
pub struct TokensById {
    root: CancellationToken,
    by_id: Numbered<DashMap<u64, CancellationToken>>,
}

impl Registry for TokensById {
    type Session = (u64, CancellationToken);
    type Id = u64;
    const LABEL: &'static str = "peer: child_token in a DashMap (no record)";

    fn open(&self) -> Self::Session {
        let (id, token) = (self.by_id.next(), self.root.child_token());
        self.by_id.map.insert(id, token.clone());
        (id, token)
    }

    fn close(&self, (id, _token): Self::Session) {
        self.by_id.map.remove(&id);
    }

    fn id(session: &Self::Session) -> u64 {
        session.0
    }

    fn kill(&self, id: u64) -> bool {
        let found = self.by_id.map.get(&id).map(|found| found.clone());
        found.map(|token| token.cancel()).is_some()
    }
}

/// pgwire's connection manager: a cancel handle by process id and secret, no description.
#[derive(Debug, Default)]
pub struct Pgwire {
    manager: Arc<ConnectionManager>,
    last: AtomicU64,
}

impl Registry for Pgwire {
    type Session = (i32, Arc<ConnectionHandle>, ConnectionGuard);
    type Id = i32;
    const LABEL: &'static str = "peer: pgwire's manager (handle only)";

    fn open(&self) -> Self::Session {
        let pid = self.last.fetch_add(1, Ordering::Relaxed) as i32;
        let (handle, guard) = self.manager.register(pid, SecretKey::I32(!pid));
        (pid, handle, guard)
    }

    fn close(&self, _session: Self::Session) {}

    fn id(session: &Self::Session) -> i32 {
        session.0
    }

    /// No query runs, so it finds the handle and nothing to do.
    fn kill(&self, id: i32) -> bool {
        pollster::block_on(self.manager.cancel(id, &SecretKey::I32(!id)))
    }
}
