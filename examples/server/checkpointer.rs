//! Moves what has been committed from SQLite's log into its database, on a thread of its own.
//!
//! SQLite would have whoever commits do that once the log is long, with no safe point in it: a
//! client's statement then goes on for as long as the disk takes.

use rusqlite::{Connection, OpenFlags};
use safepoint::SessionManager;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

/// How many pages lie in the log before they are moved: as many as SQLite itself would have.
const PAGES: i32 = 1000;

/// How many there are before those who write have to wait for it: they would be ahead of it for
/// ever. Their wait is one for a lock, and has safe points.
const TOO_MANY: i32 = 16 * PAGES;

/// How long it keeps them waiting for those who read.
const PATIENCE: Duration = Duration::from_millis(100);

/// Calls the thread, which ends with the last of these.
#[derive(Clone)]
pub(crate) struct Checkpointer(SyncSender<()>);

impl Checkpointer {
    pub(crate) fn start(manager: &SessionManager, database: &Path) -> Result<Checkpointer, String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags).map_err(|e| e.to_string())?;
        connection.busy_timeout(PATIENCE).map_err(|e| e.to_string())?;
        let registered = manager.register_background("checkpointer").map_err(|e| e.to_string())?;
        let (wake, woken) = sync_channel(1);
        let work = move || {
            let _registered = registered;
            while let Ok(()) = woken.recv() {
                // What others are in the way of is moved the next time.
                let pages = connection
                    .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i32>(1));
                if pages.is_ok_and(|pages| pages >= TOO_MANY) {
                    let _ = connection.execute_batch("PRAGMA wal_checkpoint(RESTART)");
                }
            }
        };
        Builder::new().name("checkpointer".into()).spawn(work).map_err(|e| e.to_string())?;
        Ok(Checkpointer(wake))
    }

    /// So many pages lie in the log, after a commit.
    pub(crate) fn committed(&self, pages: i32) {
        if pages >= PAGES {
            match self.0.try_send(()) {
                // It has been called already, and looks at all that there is.
                Ok(()) | Err(TrySendError::Full(())) => {}
                // Its thread has panicked, or could not be started: the log grows.
                Err(TrySendError::Disconnected(())) => {}
            }
        }
    }
}
