//! Moves what has been committed from SQLite's log into its database, on a thread of its own.
//!
//! SQLite would have whoever commits do that once the log is long, with no safe point in it: a
//! client's statement then goes on for as long as the disk takes.

use rusqlite::{Connection, OpenFlags};
use safepoint::SessionManager;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How many pages lie in the log before they are moved: as many as SQLite itself would have.
const PAGES: i32 = 1000;

/// How many there are before those who write have to wait for it: they would be ahead of it for
/// ever. Their waits, for it to come and for the lock that it has then, have safe points.
const TOO_MANY: i32 = 16 * PAGES;

/// How long it keeps them waiting for those who read.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long they wait for it to come, where the machine has no time for it, and how often they look.
const THEIR_PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(5));

/// Calls the thread, which ends with the last of these.
#[derive(Clone)]
pub(crate) struct Checkpointer {
    wake: SyncSender<()>,
    /// How often it has moved what there was. Relaxed: the database has its own locks.
    rounds: Arc<AtomicU64>,
}

impl Checkpointer {
    pub(crate) fn start(manager: &SessionManager, database: &Path) -> Result<Checkpointer, String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags).map_err(|e| e.to_string())?;
        connection.busy_timeout(PATIENCE).map_err(|e| e.to_string())?;
        let registered = manager.register_background("checkpointer").map_err(|e| e.to_string())?;
        let (wake, woken) = sync_channel(1);
        let rounds = Arc::<AtomicU64>::default();
        let done = rounds.clone();
        let work = move || {
            let _registered = registered;
            while let Ok(()) = woken.recv() {
                // What others are in the way of is moved the next time.
                let pages = connection
                    .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i32>(1));
                if pages.is_ok_and(|pages| pages >= TOO_MANY) {
                    let _ = connection.execute_batch("PRAGMA wal_checkpoint(RESTART)");
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        Builder::new().name("checkpointer".into()).spawn(work).map_err(|e| e.to_string())?;
        Ok(Checkpointer { wake, rounds })
    }

    /// So many pages lie in the log, after a commit that has given its lock back.
    pub(crate) fn committed(&self, pages: i32) {
        if pages < PAGES {
            return;
        }
        let rounds = self.rounds.load(Ordering::Relaxed);
        match self.wake.try_send(()) {
            // It has been called already, and looks at all that there is.
            Ok(()) | Err(TrySendError::Full(())) => {}
            // Its thread has panicked, or could not be started: the log grows.
            Err(TrySendError::Disconnected(())) => return,
        }
        // Who writes on and on would have the lock whenever it looks.
        let (patience, pause) = THEIR_PATIENCE;
        let until = Instant::now() + patience;
        while pages >= TOO_MANY
            && self.rounds.load(Ordering::Relaxed) == rounds
            && Instant::now() < until
            && safepoint::current::block_in_place(|| safepoint::current::sleep(pause)).is_ok()
        {
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// On a busy machine it may never find the lock free, and the log would have no bound.
    #[test]
    fn whoever_is_far_ahead_of_it_waits_for_it() {
        let (wake, woken) = sync_channel(1);
        let checkpointer = Checkpointer { wake, rounds: Arc::default() };
        checkpointer.committed(PAGES - 1);
        assert!(woken.try_recv().is_err());
        checkpointer.committed(TOO_MANY - 1);
        assert!(woken.try_recv().is_ok(), "called, and not waited for");
        let (writer, (done, is_done)) = (checkpointer.clone(), channel());
        let writes = std::thread::spawn(move || {
            writer.committed(TOO_MANY);
            done.send(()).unwrap();
        });
        let limit = Duration::from_secs(30);
        woken.recv_timeout(limit).expect("it is called");
        assert!(is_done.recv_timeout(20 * THEIR_PATIENCE.1).is_err(), "it waits");
        checkpointer.rounds.fetch_add(1, Ordering::Relaxed);
        is_done.recv_timeout(limit).expect("it goes on");
        writes.join().unwrap();
        // There is nobody to wait for.
        drop(woken);
        checkpointer.committed(TOO_MANY);
    }
}
