//! `pg_stat_activity`: a view over `json_each`, SQLite's own virtual table, which reads a snapshot
//! of the manager. (A custom virtual table would need an `unsafe impl` with rusqlite.)

use crate::shared::Shared;
use jiff::Timestamp;
use safepoint::pool::{GroupStatus, WorkerStatus};
use safepoint::view::{SessionInfo, SessionState, ThreadInfo};
use safepoint::{Interrupt, Requester, SessionId};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::SystemTime;

/// Creates the view, in its own schema, so that qualified names find it too.
pub(crate) const VIEWS: &str = "
ATTACH ':memory:' AS pg_catalog;
CREATE VIEW pg_catalog.pg_stat_activity AS
SELECT CAST(value ->> 'pid' AS BIGINT) AS pid,
       CAST(value ->> 'sessionid' AS BIGINT) AS sessionid,
       value ->> 'usename' AS usename,
       value ->> 'application_name' AS application_name,
       value ->> 'client_addr' AS client_addr,
       value ->> 'backend_start' AS backend_start,
       value ->> 'xact_start' AS xact_start,
       value ->> 'query_start' AS query_start,
       value ->> 'state_change' AS state_change,
       value ->> 'state' AS state,
       value ->> 'query' AS query,
       CAST(value ->> 'query_id' AS BIGINT) AS query_id,
       value ->> 'waiting' AS waiting,
       value ->> 'interrupt' AS interrupt,
       value ->> 'hold_off' AS hold_off,
       value ->> 'safe_point' AS safe_point
FROM json_each(safepoint_activity());
CREATE VIEW pg_catalog.threadpool_status AS
SELECT 'safepoint' AS node_name,
       CAST(value ->> 'group_id' AS INT) AS group_id,
       CAST(value ->> 'bind_numa_id' AS INT) AS bind_numa_id,
       CAST(value ->> 'bind_cpu_number' AS INT) AS bind_cpu_number,
       CAST(value ->> 'listener' AS INT) AS listener,
       value ->> 'worker_info' AS worker_info,
       value ->> 'session_info' AS session_info
FROM json_each(safepoint_threadpool(), '$.groups');
CREATE VIEW pg_catalog.threadpool_workers AS
SELECT CAST(value ->> 'group_id' AS INT) AS group_id,
       CAST(value ->> 'pid' AS BIGINT) AS pid,
       value ->> 'role' AS role,
       value ->> 'status' AS status,
       CAST(value ->> 'sessionid' AS BIGINT) AS sessionid,
       value ->> 'since' AS since
FROM json_each(safepoint_threadpool(), '$.workers');
";

/// Returns the pool's groups and workers as one JSON object, with the sessions that `author` may
/// see. Without a pool it is empty.
pub(crate) fn pool(shared: &Shared, author: &Requester) -> String {
    let shown: HashSet<_> = shared.manager.sessions_visible_to(author).map(|row| row.id).collect();
    let pool = shared.pool.get().and_then(std::sync::Weak::upgrade);
    let groups = pool.map(|pool| pool.status()).unwrap_or_default();
    let workers = groups.iter().flat_map(|group| {
        group.threads.iter().map(|worker| worker_row(group.group, worker, &shown))
    });
    json!({
        "groups": groups.iter().map(group_row).collect::<Vec<_>>(),
        "workers": workers.collect::<Vec<_>>(),
    })
    .to_string()
}

/// Returns a group as openGauss's view shows it; -1 means that its workers are not bound to a node.
fn group_row(group: &GroupStatus) -> Value {
    let GroupStatus {
        min_workers: default_workers,
        starting,
        active_limit: places,
        workers,
        idle,
        queued,
        ..
    } = *group;
    let (sessions, running) = (group.sessions, group.running);
    let session_idle = sessions.saturating_sub(queued + running);
    let bound = !group.cpus.is_empty();
    json!({
        "group_id": group.group,
        "bind_numa_id": if bound { group.group as i64 } else { -1 },
        "bind_cpu_number": group.cpus.len(),
        "listener": 1,
        "worker_info": format!(
            "default: {default_workers} new: {starting} expect: {places} actual: {workers} \
             idle: {idle} pending: {}",
            workers.saturating_sub(places)
        ),
        "session_info": format!(
            "total: {sessions} waiting: {queued} running:{running} idle: {session_idle}"
        ),
    })
}

fn worker_row(group: usize, worker: &WorkerStatus, shown: &HashSet<SessionId>) -> Value {
    let coupled = worker.session_id.is_some();
    json!({
        "group_id": group,
        "pid": worker.thread_id.get(),
        "role": if worker.is_emergency { "emergency lane" } else { "worker" },
        "status": if coupled { "coupled to session" } else { "decoupled from session" },
        "sessionid": worker.session_id.filter(|id| shown.contains(id)).map(SessionId::get),
        "since": time(Some(worker.since)),
    })
}

/// Returns all rows that `author` may see, as one JSON array.
///
/// # Errors Returns a due interrupt: there may be many rows, and a join reads them again and again.
pub(crate) fn snapshot(shared: &Shared, author: &Requester) -> Result<String, Interrupt> {
    let threads = shared.manager.threads();
    let threads = threads.iter().map(|row| thread_row(row, shared.owner()));
    // A client that has not sent its user name has no session in SQL.
    let sessions = shared.manager.sessions_visible_to(author);
    let sessions = sessions.filter(|row| !row.client.user().is_empty());
    let mut rows = Vec::new();
    for row in sessions {
        safepoint::check()?;
        rows.push(session_row(&row));
    }
    rows.extend(threads);
    Ok(Value::Array(rows).to_string())
}

fn session_row(row: &SessionInfo) -> Value {
    let running = matches!(row.state, SessionState::Running | SessionState::Waiting);
    let transaction_start =
        row.transaction_started_at.or(row.statement_started_at.filter(|_| running));
    json!({
        "pid": row.thread_id.map_or(0, safepoint::id::ThreadId::get),
        "sessionid": row.id.get(),
        "usename": row.client.user(),
        "application_name": row.client.application(),
        "client_addr": row.client.address(),
        "backend_start": time(Some(row.opened_at)),
        "xact_start": time(transaction_start),
        "query_start": time(row.statement_started_at),
        "state_change": time(Some(row.changed_at)),
        "state": state(row.state),
        "query": row.statement_text,
        "query_id": row.statement_id.map_or(0, safepoint::id::StatementId::get),
        "waiting": waiting(row),
        "interrupt": row.pending.as_ref().map(|pending| {
            let since = time(Some(pending.requested_at)).unwrap_or_default();
            format!("pending {pending} since {since}")
        }),
        "hold_off": row.hold_off.map(|held| held.to_string()),
        "safe_point": row.last_safe_point.map(|spot| {
            format!("{spot} at {}", time(Some(spot.reached_at)).unwrap_or_default())
        }),
    })
}

/// Returns the row of one of the server's own threads: pid and sessionid are equal, and there is no
/// client.
fn thread_row(row: &ThreadInfo, owner: &str) -> Value {
    json!({
        "pid": row.id.get(),
        "sessionid": row.id.get(),
        "usename": owner,
        "application_name": &*row.name,
        "backend_start": time(Some(row.registered_at)),
        "query": "",
        "query_id": 0,
    })
}

/// Returns the location of an uninterruptible wait, or `interruptible` for another wait in a
/// statement.
fn waiting(row: &SessionInfo) -> Option<String> {
    let known = row.uninterruptible_wait.map(|spot| spot.to_string());
    known.or_else(|| (row.state == SessionState::Waiting).then(|| "interruptible".to_string()))
}

fn state(doing: SessionState) -> &'static str {
    match doing {
        SessionState::Running | SessionState::Waiting => "active",
        SessionState::Queued => "queued",
        SessionState::IdleInTransaction => "idle in transaction",
        _ => "idle",
    }
}

/// Formats a time as PostgreSQL prints a `timestamptz` in UTC.
fn time(at: Option<SystemTime>) -> Option<String> {
    let at = Timestamp::try_from(at?).ok()?;
    Some(at.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_look_as_postgresql_prints_them() {
        let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042);
        assert_eq!(time(Some(at)).as_deref(), Some("2023-11-14 22:13:20.000042+00"));
        assert_eq!(time(None), None);
    }
}
