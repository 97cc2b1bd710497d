//! Statements that SQLite runs without a call of its progress handler.

use safepoint::session::WaitMode;
use safepoint::{Attached, Interrupt};

/// Returns whether SQLite may count the rows of a table in one step, in which it calls no progress handler. Without
/// such a step it costs something to ask SQLite for more.
pub(super) fn counts_rows(statement: &str) -> bool {
    statement.as_bytes().windows(6).any(|word| word.eq_ignore_ascii_case(b"count("))
}

/// Runs work of SQLite that an interrupt stops, although it calls no progress handler.
pub(super) fn stoppable<T>(
    session: &Attached<'_>,
    connection: &rusqlite::Connection,
    work: impl FnOnce() -> T,
) -> Result<T, Interrupt> {
    let sqlite = connection.get_interrupt_handle();
    session.with_interrupt_waker(WaitMode::Interruptible, move || sqlite.interrupt(), work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safepoint::{Cancel, ClientInfo, Requester, SessionManager, ThreadModel};
    use std::sync::mpsc::channel;

    /// SQLite counts the rows of this table page by page, and calls no progress handler. A cancel that is late meets
    /// no count, so it is tried again.
    #[test]
    fn a_count_is_stopped() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let rows = "with recursive r(n) as (select 1 union all select n + 1 from r where n < 20000) \
                    select zeroblob(4000) from r";
        connection.execute_batch(&format!("create table t (b); insert into t {rows}")).unwrap();
        let manager = SessionManager::new(ThreadModel::PerSession);
        let mut session = manager.open(ClientInfo::default()).unwrap();
        let (id, thread) = (session.id(), session.own_thread().unwrap());
        let mut attached = session.attach(&thread).unwrap();
        let (begun, begins) = channel();
        let canceller = std::thread::spawn(move || {
            for () in begins {
                let _ = manager.cancel(id, Cancel::running(Requester::system()));
            }
        });
        let statement = "select count(*) from t";
        assert!(counts_rows(statement) && counts_rows("SELECT COUNT(*) FROM t"));
        let stopped = (0..1000).any(|_| {
            let session = attached.begin().unwrap();
            let counted = stoppable(&session, &connection, || {
                begun.send(()).unwrap();
                connection.query_row(statement, [], |row| row.get::<_, i64>(0))
            });
            let interrupted = |error: &rusqlite::Error| {
                error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
            };
            matches!(counted, Ok(Err(error)) if interrupted(&error))
        });
        drop(begun);
        canceller.join().unwrap();
        assert!(stopped);
        // The flag of SQLite does not reach the next statement.
        let count = connection.query_row(statement, [], |row| row.get::<_, i64>(0));
        assert_eq!(count, Ok(20_000));
    }
}
