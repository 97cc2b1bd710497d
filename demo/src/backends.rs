//! The data of PostgreSQL's activity view that the library's rows lack: process ids, wait events, and
//! the owner of SQLite's write lock.
//!
//! A process id is a number for one client or one thread of the server. It has at most 22 bits, as in
//! PostgreSQL on Linux. The library's ids are larger than that, so no number is both.

use safepoint::id::ThreadId;
use safepoint::sql::{SessionAddress, SqlError};
use safepoint::view::ThreadInfo;
use safepoint::{SessionId, ThreadModel, session_local};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Process ids are from here on, and below [`END`]. The system's own processes have lower numbers.
const FIRST: i32 = 100_001;
const END: i32 = 1 << 22;

/// PostgreSQL's number of its first superuser, and of its first other role.
const FIRST_SUPERUSER: u32 = 10;
const FIRST_NUMBER: u32 = 16_384;

/// The maximum number of names of users or of databases that have a number. Others have none.
const MAX_NAMES: usize = 65_536;

session_local! {
    /// The backend of the session that the calling thread runs, if the user is known.
    static BACKEND: RefCell<Option<Registered>> = RefCell::new(None);
}

/// The clients and the threads with their process ids.
#[derive(Default)]
pub(crate) struct Backends {
    table: Mutex<Table>,
    /// The process id of the session that has SQLite's write lock, or 0. It is stored by the session
    /// itself, after SQLite has given it the lock.
    writer: AtomicI32,
}

#[derive(Default)]
struct Table {
    last: i32,
    by_pid: HashMap<i32, Owner>,
    sessions: HashMap<SessionId, Arc<Backend>>,
    threads: HashMap<ThreadId, i32>,
    users: HashMap<String, u32>,
    databases: HashMap<String, u32>,
}

/// The owner of a process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(SessionId),
    Thread(ThreadId),
}

/// One client, as the other sessions see it.
pub(crate) struct Backend {
    pub(crate) pid: i32,
    pub(crate) port: Option<u16>,
    session: SessionId,
    home: Arc<Backends>,
    wait: AtomicU8,
    lock: AtomicU8,
    failed: AtomicBool,
    sending: AtomicBool,
}

/// Removes the process id when the session ends.
struct Registered(Arc<Backend>);

impl Drop for Registered {
    fn drop(&mut self) {
        let Backend { pid, session, home, .. } = &*self.0;
        self.0.set_lock(Lock::None);
        let mut table = home.lock();
        table.by_pid.remove(pid);
        table.sessions.remove(session);
    }
}

/// The cause of a wait, by PostgreSQL's name if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    None,
    ClientRead,
    ClientWrite,
    Lock,
    Sleep,
    Termination,
    Checkpoint,
}

const WAITS: [Wait; 7] = [
    Wait::None,
    Wait::ClientRead,
    Wait::ClientWrite,
    Wait::Lock,
    Wait::Sleep,
    Wait::Termination,
    Wait::Checkpoint,
];

impl Wait {
    /// Returns the type and the name of the wait event.
    pub(crate) fn event(self) -> Option<(&'static str, &'static str)> {
        match self {
            Wait::None => None,
            Wait::ClientRead => Some(("Client", "ClientRead")),
            Wait::ClientWrite => Some(("Client", "ClientWrite")),
            // SQLite's only write lock is free when the transaction of its owner ends.
            Wait::Lock => Some(("Lock", "transactionid")),
            Wait::Sleep => Some(("Timeout", "PgSleep")),
            Wait::Termination => Some(("IPC", "BackendTermination")),
            Wait::Checkpoint => Some(("IPC", "CheckpointDone")),
        }
    }
}

/// How far a session is with SQLite's write lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Lock {
    None,
    /// A statement that needs the lock has begun.
    Wanted,
    /// Another session has it.
    Waits,
    Held,
}

const LOCKS: [Lock; 4] = [Lock::None, Lock::Wanted, Lock::Waits, Lock::Held];

impl Backend {
    pub(crate) fn set_failed(&self, failed: bool) {
        // Relaxed, here and below: each value is alone, and a view shows the values of some moment.
        self.failed.store(failed, Ordering::Relaxed);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notes whether the client has not read all of its answer yet.
    pub(crate) fn set_sending(&self, sending: bool) {
        self.sending.store(sending, Ordering::Relaxed);
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed)
    }

    pub(crate) fn wait(&self) -> Wait {
        if self.is_sending() {
            return Wait::ClientWrite;
        }
        let wait = WAITS[usize::from(self.wait.load(Ordering::Relaxed))];
        if self.lock_state() == Lock::Waits && wait == Wait::None { Wait::Lock } else { wait }
    }

    fn lock_state(&self) -> Lock {
        LOCKS[usize::from(self.lock.load(Ordering::Relaxed))]
    }

    fn set_lock(&self, lock: Lock) {
        let before = self.lock.swap(lock as u8, Ordering::Relaxed);
        if lock == Lock::Held {
            self.home.writer.store(self.pid, Ordering::Relaxed);
        } else if before == Lock::Held as u8 {
            // The next session may have the lock already.
            let writer = &self.home.writer;
            let _ = writer.compare_exchange(self.pid, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Notes that a statement needs the write lock.
    pub(crate) fn wants_lock(&self) {
        if self.lock_state() == Lock::None {
            self.set_lock(Lock::Wanted);
        }
    }

    pub(crate) fn has_lock(&self) -> bool {
        self.lock_state() == Lock::Held
    }

    /// Notes at the end of a statement whether the session has the lock.
    pub(crate) fn settle_lock(&self, holds: impl FnOnce() -> bool) {
        if self.lock_state() != Lock::None {
            self.set_lock(if holds() { Lock::Held } else { Lock::None });
        }
    }

    /// Notes that the statement runs. SQLite takes its locks before that.
    fn runs(&self) {
        if matches!(self.lock_state(), Lock::Wanted | Lock::Waits) {
            self.set_lock(Lock::Held);
        }
    }

    fn waits_for_lock(&self) -> bool {
        self.lock_state() == Lock::Waits
    }

    /// Returns the process id of the lock's owner, or 0 if it is not known. Returns `None` if this
    /// session does not wait.
    fn blocker(&self) -> Option<i32> {
        let writer = self.home.writer.load(Ordering::Relaxed);
        self.waits_for_lock().then_some(writer).filter(|pid| *pid != self.pid)
    }
}

/// Resets what the session waits for.
pub(crate) struct Waiting(Option<(Arc<Backend>, u8)>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((backend, before)) = &self.0 {
            backend.wait.store(*before, Ordering::Relaxed);
        }
    }
}

/// Shows the session of this thread as waiting, until the result is dropped.
pub(crate) fn waits(wait: Wait) -> Waiting {
    Waiting(own().map(|backend| {
        let before = backend.wait.swap(wait as u8, Ordering::Relaxed);
        (backend, before)
    }))
}

/// Shows the session of this thread as waiting for the write lock. This holds until its statement
/// runs, since SQLite tries again and again.
pub(crate) fn waits_for_lock() -> Waiting {
    if let Some(backend) = own()
        && backend.lock_state() == Lock::Wanted
    {
        backend.set_lock(Lock::Waits);
    }
    // A statement that only reads waits for other locks.
    waits(Wait::Lock)
}

/// Notes that the statement of this thread's session runs.
pub(crate) fn statement_runs() {
    let _ = BACKEND.try_with(|backend| {
        if let Some(Registered(backend)) = &*backend.borrow() {
            backend.runs();
        }
    });
}

/// Returns the backend of the session that the calling thread runs.
pub(crate) fn own() -> Option<Arc<Backend>> {
    let own = BACKEND.try_with(|own| own.borrow().as_ref().map(|Registered(own)| own.clone()));
    own.ok().flatten()
}

pub(crate) fn microseconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Table {
    /// Reserves a process id.
    fn next(&mut self, owner: Owner) -> i32 {
        // There are fewer sessions and threads than numbers.
        loop {
            self.last = if (FIRST..END - 1).contains(&self.last) { self.last + 1 } else { FIRST };
            if let std::collections::hash_map::Entry::Vacant(free) = self.by_pid.entry(self.last) {
                free.insert(owner);
                return self.last;
            }
        }
    }
}

/// Returns the number of a thread with which the session has an address.
fn own_thread(model: ThreadModel, session: i64) -> i64 {
    match model {
        ThreadModel::PerSession => session,
        _ => 0,
    }
}

fn number(names: &mut HashMap<String, u32>, name: &str) -> Option<u32> {
    if let Some(number) = names.get(name) {
        return Some(*number);
    }
    let next = FIRST_NUMBER + u32::try_from(names.len()).ok()?;
    (names.len() < MAX_NAMES).then(|| *names.entry(name.to_string()).or_insert(next))
}

impl Backends {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the session of this thread a process id, until it ends.
    pub(crate) fn register(
        self: &Arc<Backends>,
        session: SessionId,
        port: Option<u16>,
    ) -> Arc<Backend> {
        let mut table = self.lock();
        let pid = table.next(Owner::Session(session));
        let backend = Arc::new(Backend {
            pid,
            port,
            session,
            home: self.clone(),
            wait: AtomicU8::new(Wait::None as u8),
            lock: AtomicU8::new(Lock::None as u8),
            failed: AtomicBool::new(false),
            sending: AtomicBool::new(false),
        });
        table.sessions.insert(session, backend.clone());
        drop(table);
        BACKEND.replace(Some(Registered(backend.clone())));
        backend
    }

    pub(crate) fn of(&self, session: SessionId) -> Option<Arc<Backend>> {
        self.lock().sessions.get(&session).cloned()
    }

    /// Returns the process ids of these threads, which are all threads that there are.
    pub(crate) fn of_threads(&self, threads: &[ThreadInfo]) -> Vec<i32> {
        let mut table = self.lock();
        let table = &mut *table;
        let pids = threads.iter().map(|row| match table.threads.get(&row.id) {
            Some(pid) => *pid,
            None => {
                let pid = table.next(Owner::Thread(row.id));
                table.threads.insert(row.id, pid);
                pid
            }
        });
        let pids = pids.collect();
        if table.threads.len() > threads.len() {
            let live: HashSet<_> = threads.iter().map(|row| row.id).collect();
            table.threads.retain(|id, _| live.contains(id));
            let gone = |owner: &Owner| matches!(owner, Owner::Thread(id) if !live.contains(id));
            table.by_pid.retain(|_, owner| !gone(owner));
        }
        pids
    }

    /// Returns the owner of a process id.
    pub(crate) fn owner(&self, pid: i64) -> Option<Owner> {
        let pid = i32::try_from(pid).ok()?;
        self.lock().by_pid.get(&pid).copied()
    }

    /// Returns the numbers of a user and of a database.
    pub(crate) fn numbers(&self, user: &str, database: &str, owner: &str) -> [Option<u32>; 2] {
        let mut table = self.lock();
        let user =
            if user == owner { Some(FIRST_SUPERUSER) } else { number(&mut table.users, user) };
        [user, number(&mut table.databases, database)]
    }

    /// Returns the process id of the lock's owner, or 0 if it is not known or must stay hidden.
    /// Returns `None` if `backend` does not wait for the write lock.
    pub(crate) fn blocker(
        &self,
        backend: &Backend,
        is_visible: impl Fn(SessionId) -> bool,
    ) -> Option<i32> {
        let pid = backend.blocker()?;
        match self.owner(pid.into()) {
            Some(Owner::Session(id)) if is_visible(id) => Some(pid),
            _ => Some(0),
        }
    }

    /// Replaces process ids by the library's ids. So a session has the address `pid, sessionid`, and
    /// also `threadid, sessionid`.
    pub(crate) fn address(
        &self,
        model: ThreadModel,
        thread: i64,
        session: i64,
    ) -> Result<SessionAddress, SqlError> {
        let raw = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
        let session = match self.owner(session) {
            Some(Owner::Session(id)) => raw(id.get()),
            Some(Owner::Thread(id)) => raw(id.get()),
            None => session,
        };
        let has_ended = || {
            let id = u64::try_from(session).ok().and_then(|id| SessionId::try_from(id).ok());
            id.is_none_or(|id| self.of(id).is_none())
        };
        let is_pid = (i64::from(FIRST)..i64::from(END)).contains(&thread);
        let thread = match self.owner(thread) {
            Some(Owner::Thread(id)) => raw(id.get()),
            Some(Owner::Session(id)) if raw(id.get()) == session => own_thread(model, session),
            // The process id went with its session, which the library reports.
            None if is_pid && has_ended() => own_thread(model, session),
            // It belongs to another session, so the two don't belong together.
            _ => thread,
        };
        SessionAddress::try_from((thread, session))
    }
}
