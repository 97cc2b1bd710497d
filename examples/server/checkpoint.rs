//! Checkpoints, apart from those who commit.
//!
//! SQLite has whoever commits copy the log into the database once the log is long, and passes no
//! safe point meanwhile. Here a thread does that which runs no session. It keeps its connection,
//! so that no session closes the last one either, which would do the same.

use crate::shared::Shared;
use rusqlite::Connection;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

/// From how many pages on the log is copied: as many as SQLite says itself.
const PAGES: i32 = 1000;

/// From how many pages on writers wait, and those who read the log for [`PATIENCE`], so that the
/// log begins anew. It would never where someone writes all the time.
const MANY_PAGES: i64 = 16 * PAGES as i64;

const PATIENCE: Duration = Duration::from_millis(100);

/// For those who commit.
pub(crate) struct Checkpoints(SyncSender<()>);

impl Checkpoints {
    pub(crate) fn new() -> (Checkpoints, Receiver<()>) {
        let (wanted, wishes) = sync_channel(1);
        (Checkpoints(wanted), wishes)
    }

    /// What a connection does as it has committed.
    pub(crate) fn hook(&self) -> impl FnMut(i32) + Send + 'static {
        let wanted = self.0.clone();
        move |pages| {
            if pages >= PAGES {
                // One that is wanted already serves for both.
                let _ = wanted.try_send(());
            }
        }
    }
}

/// Starts the thread. It lasts for as long as anyone may commit.
pub(crate) fn start(shared: &Shared, wishes: Receiver<()>) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("no checkpoints: {e}");
    let connection = open(&shared.database).map_err(|e| failed(&e))?;
    let registered = shared.manager.register_background("checkpointer");
    let registered = registered.map_err(|e| failed(&e))?;
    let keep = move || {
        let _registered = registered;
        for () in wishes {
            // Where it fails the next to commit asks again.
            if let Ok(pages) = checkpoint(&connection, "PASSIVE")
                && pages >= MANY_PAGES
            {
                let _ = checkpoint(&connection, "RESTART");
            }
        }
    };
    let started = Builder::new().name("checkpointer".into()).spawn(keep);
    started.map(drop).map_err(|e: io::Error| failed(&e))
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Returns how many pages the log has.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It begins anew however much is written.
    #[test]
    fn the_log_stays_short() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("database.sqlite");
        crate::engine::prepare(&file).unwrap();
        let (ours, theirs) = (open(&file).unwrap(), open(&file).unwrap());
        theirs.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        theirs.execute_batch("create table t (v)").unwrap();
        let write = || theirs.execute("insert into t values (zeroblob(40000))", []).unwrap();
        let mut longest = 0;
        for _ in 0..40 {
            write();
            longest = longest.max(checkpoint(&ours, "PASSIVE").unwrap());
            write();
            checkpoint(&ours, "RESTART").unwrap();
        }
        assert!((1..100).contains(&longest), "{longest}");
    }
}
