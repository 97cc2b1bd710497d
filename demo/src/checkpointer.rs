//! Moves committed pages from SQLite's log into its database, on a separate thread.
//!
//! Without it, the session that commits would move them when the log is long. This has no safe
//! point, so the client's statement would take as long as the disk does.

use crate::backends::{Wait, waits};
use rusqlite::{Connection, OpenFlags};
use safepoint::SessionManager;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// The number of pages in the log at which they are moved, the same as SQLite's own.
const PAGES: i32 = 1000;

/// The number of pages at which writers must wait for the checkpointer, or the log would grow
/// without limit. They wait for its next round, and for the lock that it holds then. Both waits
/// have safe points.
const TOO_MANY: i32 = 16 * PAGES;

/// How long the checkpointer waits for readers, while writers wait for it.
const READER_WAIT: Duration = Duration::from_millis(100);

/// How long a writer waits for the next round if the machine is busy, and how often it checks.
const WRITER_WAIT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(5));

/// Wakes the checkpointer's thread, which ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Checkpointer {
    wake: SyncSender<()>,
    /// The number of finished rounds. Relaxed: the database has its own locks.
    rounds: Arc<AtomicU64>,
    /// Whether the thread works, and does not wait. Relaxed: it is only shown.
    works: Arc<AtomicBool>,
}

impl Checkpointer {
    pub(crate) fn start(manager: &SessionManager, database: &Path) -> Result<Checkpointer, String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags).map_err(|e| e.to_string())?;
        connection.busy_timeout(READER_WAIT).map_err(|e| e.to_string())?;
        let registered = manager.register_background("checkpointer").map_err(|e| e.to_string())?;
        let (wake, woken) = sync_channel(1);
        let rounds = Arc::<AtomicU64>::default();
        let done = rounds.clone();
        let works = Arc::<AtomicBool>::default();
        let is_working = works.clone();
        let work = move || {
            let _registered = registered;
            while let Ok(()) = woken.recv() {
                is_working.store(true, Ordering::Relaxed);
                // Pages that another connection blocks are moved in the next round.
                let pages = connection
                    .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i32>(1));
                if pages.is_ok_and(|pages| pages >= TOO_MANY) {
                    let _ = connection.execute_batch("PRAGMA wal_checkpoint(RESTART)");
                }
                done.fetch_add(1, Ordering::Relaxed);
                is_working.store(false, Ordering::Relaxed);
            }
        };
        Builder::new().name("checkpointer".into()).spawn(work).map_err(|e| e.to_string())?;
        Ok(Checkpointer { wake, rounds, works })
    }

    /// Returns whether the thread waits for pages to move.
    pub(crate) fn is_idle(&self) -> bool {
        !self.works.load(Ordering::Relaxed)
    }

    /// Reports the number of pages in the log, after a commit that has released its lock.
    pub(crate) fn committed(&self, pages: i32) {
        if pages < PAGES {
            return;
        }
        let rounds = self.rounds.load(Ordering::Relaxed);
        match self.wake.try_send(()) {
            // The thread has been woken already, and will move all pages.
            Ok(()) | Err(TrySendError::Full(())) => {}
            // The thread has panicked, or could not be started: the log grows.
            Err(TrySendError::Disconnected(())) => return,
        }
        // A writer that never pauses would always hold the lock when the checkpointer needs it.
        let (longest, pause) = WRITER_WAIT;
        let until = Instant::now() + longest;
        let _shown = (pages >= TOO_MANY).then(|| waits(Wait::Checkpoint));
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

    /// Without the wait, on a busy machine the lock may never be free, and the log would grow
    /// without limit.
    #[test]
    fn a_writer_far_ahead_waits_for_the_checkpointer() {
        let (wake, woken) = sync_channel(1);
        let checkpointer = Checkpointer { wake, rounds: Arc::default(), works: Arc::default() };
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
        assert!(is_done.recv_timeout(20 * WRITER_WAIT.1).is_err(), "it waits");
        checkpointer.rounds.fetch_add(1, Ordering::Relaxed);
        is_done.recv_timeout(limit).expect("it goes on");
        writes.join().unwrap();
        // No thread is left to wait for.
        drop(woken);
        checkpointer.committed(TOO_MANY);
    }
}
