//! `pg_stat_activity` and its like: views over `json_each`, SQLite's own virtual table, which reads a snapshot
//! of the manager. (A custom virtual table would need an `unsafe impl` with rusqlite.)

use crate::backends::{Backend, Owner, Wait, microseconds};
use crate::shared::Shared;
use jiff::Timestamp;
use safepoint::diagnose::CallSite;
use safepoint::pool::{GroupStatus, WorkerStatus};
use safepoint::view::{HelperInfo, SessionInfo, SessionState, ThreadInfo};
use safepoint::{Interrupt, Requester, SessionId};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

/// Creates the views, in their own schema, so that qualified names find them too. The functions give
/// the columns PostgreSQL's types, and a cast makes a text comparable with a number.
pub(crate) const VIEWS: &str = "
ATTACH ':memory:' AS pg_catalog;
CREATE VIEW pg_catalog.pg_stat_activity AS
SELECT safepoint_oid(value ->> 'datid') AS datid,
       safepoint_name(value ->> 'datname') AS datname,
       CAST(safepoint_int4(value ->> 'pid') AS INT) AS pid,
       CAST(safepoint_int4(NULL) AS INT) AS leader_pid,
       safepoint_oid(value ->> 'usesysid') AS usesysid,
       safepoint_name(value ->> 'usename') AS usename,
       CAST(value ->> 'application_name' AS TEXT) AS application_name,
       safepoint_inet(value ->> 'client_addr') AS client_addr,
       CAST(NULL AS TEXT) AS client_hostname,
       CAST(safepoint_int4(value ->> 'client_port') AS INT) AS client_port,
       safepoint_timestamptz(value ->> 'backend_start') AS backend_start,
       safepoint_timestamptz(value ->> 'xact_start') AS xact_start,
       safepoint_timestamptz(value ->> 'query_start') AS query_start,
       safepoint_timestamptz(value ->> 'state_change') AS state_change,
       CAST(value ->> 'wait_event_type' AS TEXT) AS wait_event_type,
       CAST(value ->> 'wait_event' AS TEXT) AS wait_event,
       CAST(value ->> 'state' AS TEXT) AS state,
       safepoint_xid(NULL) AS backend_xid,
       safepoint_xid(NULL) AS backend_xmin,
       CAST(value ->> 'query_id' AS BIGINT) AS query_id,
       CAST(value ->> 'query' AS TEXT) AS query,
       CAST(value ->> 'backend_type' AS TEXT) AS backend_type,
       CAST(value ->> 'sessionid' AS BIGINT) AS sessionid,
       CAST(value ->> 'threadid' AS BIGINT) AS threadid,
       CAST(safepoint_int4(value ->> 'blocked_by') AS INT) AS blocked_by,
       CAST(value ->> 'waiting' AS TEXT) AS waiting,
       CAST(value ->> 'interrupt' AS TEXT) AS interrupt,
       CAST(value ->> 'hold_off' AS TEXT) AS hold_off,
       CAST(value ->> 'safe_point' AS TEXT) AS safe_point
FROM json_each(safepoint_activity());
CREATE VIEW pg_catalog.pg_stat_activity_helpers AS
SELECT CAST(value ->> 'sessionid' AS BIGINT) AS sessionid,
       CAST(safepoint_int4(value ->> 'pid') AS INT) AS pid,
       CAST(value ->> 'name' AS TEXT) AS name,
       safepoint_timestamptz(value ->> 'known_since') AS known_since,
       CAST(value ->> 'at' AS TEXT) AS at,
       safepoint_bool(value ->> 'is_on_thread') AS is_on_thread,
       safepoint_bool(value ->> 'is_waiting') AS is_waiting,
       CAST(value ->> 'last_safe_point' AS TEXT) AS last_safe_point,
       CAST(value ->> 'hold_off' AS TEXT) AS hold_off
FROM json_each(safepoint_helpers());
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
       CAST(safepoint_int4(value ->> 'pid') AS INT) AS pid,
       CAST(value ->> 'role' AS TEXT) AS role,
       CAST(value ->> 'status' AS TEXT) AS status,
       CAST(value ->> 'sessionid' AS BIGINT) AS sessionid,
       safepoint_timestamptz(value ->> 'since') AS since,
       CAST(value ->> 'threadid' AS BIGINT) AS threadid
FROM json_each(safepoint_threadpool(), '$.workers');
";

/// Returns the pool's groups and workers as one JSON object, with the sessions that `author` may
/// see. Without a pool it is empty.
pub(crate) fn pool(shared: &Shared, author: &Requester) -> String {
    let shown: HashSet<_> = shared.manager.sessions_visible_to(author).map(|row| row.id).collect();
    let pool = shared.pool.get().and_then(std::sync::Weak::upgrade);
    let groups = pool.map(|pool| pool.status()).unwrap_or_default();
    let threads = shared.manager.threads();
    let pids = shared.backends.of_threads(&threads);
    let pids: HashMap<_, _> = threads.iter().map(|row| row.id).zip(pids).collect();
    let workers = groups.iter().flat_map(|group| {
        let row = |worker: &WorkerStatus| {
            worker_row(group.group, worker, pids.get(&worker.thread_id).copied(), &shown)
        };
        group.threads.iter().map(row).collect::<Vec<_>>()
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

fn worker_row(
    group: usize,
    worker: &WorkerStatus,
    pid: Option<i32>,
    shown: &HashSet<SessionId>,
) -> Value {
    let coupled = worker.session_id.is_some();
    json!({
        "group_id": group,
        "pid": pid,
        "threadid": worker.thread_id.get(),
        "role": if worker.is_emergency { "emergency lane" } else { "worker" },
        "status": if coupled { "coupled to session" } else { "decoupled from session" },
        "sessionid": worker.session_id.filter(|id| shown.contains(id)).map(SessionId::get),
        "since": microseconds(worker.since),
    })
}

/// The text in place of a statement that the requester may not see, as in PostgreSQL.
const HIDDEN: &str = "<insufficient privilege>";

/// Returns all rows that `author` may see, as one JSON array.
///
/// # Errors Returns a due interrupt: there may be many rows, and a join reads them again and again.
pub(crate) fn snapshot(shared: &Shared, author: &Requester) -> Result<String, Interrupt> {
    let threads = shared.manager.threads();
    let pids = shared.backends.of_threads(&threads);
    let sessions = shared.manager.sessions_visible_to(author);
    let mut rows = Vec::new();
    for row in sessions {
        safepoint::check()?;
        // A client without a user name has no session in SQL. A session that has ended has no row.
        if let Some(backend) = shared.backends.of(row.id) {
            rows.push(session_row(shared, author, &row, &backend));
        }
    }
    rows.extend(threads.iter().zip(pids).map(|(row, pid)| thread_row(shared, row, pid)));
    Ok(Value::Array(rows).to_string())
}

/// Returns the helpers of all sessions whose activity `author` may know, as one JSON array. A session that has
/// ended and left helpers has no `pid` any more.
///
/// # Errors Returns a due interrupt, as [`snapshot`] does.
pub(crate) fn helpers(shared: &Shared, author: &Requester) -> Result<String, Interrupt> {
    let mut rows = Vec::new();
    for row in shared.manager.sessions_visible_to(author) {
        safepoint::check()?;
        // A row that is not disclosed has no helpers.
        if row.helper_count > 0 {
            let pid = shared.backends.of(row.id).map(|backend| backend.pid);
            let helpers = shared.manager.helpers(row.id);
            rows.extend(helpers.iter().map(|helper| helper_row(row.id, pid, helper)));
        }
    }
    Ok(Value::Array(rows).to_string())
}

fn helper_row(session: SessionId, pid: Option<i32>, helper: &HelperInfo) -> Value {
    json!({
        "sessionid": session.get(),
        "pid": pid,
        "name": helper.name,
        "known_since": microseconds(helper.known_since.reached_at),
        "at": helper.known_since.to_string(),
        "is_on_thread": helper.is_on_thread,
        "is_waiting": helper.is_waiting,
        "last_safe_point": helper.last_safe_point.map(safe_point),
        "hold_off": helper.hold_off.map(|held| held.to_string()),
    })
}

/// Formats a safe point, with its time.
fn safe_point(call_site: CallSite) -> String {
    format!("{call_site} at {}", time(Some(call_site.reached_at)).unwrap_or_default())
}

fn is_visible(shared: &Shared, author: &Requester, session: SessionId) -> bool {
    shared.manager.session_info_visible_to(session, author).is_some()
}

/// Returns the process id of the session that has SQLite's write lock, if the session `pid` waits for
/// it. The result is 0 if the author may not know it.
pub(crate) fn blocker(shared: &Shared, pid: i64, author: &Requester) -> Option<i32> {
    let session = match shared.backends.owner(pid) {
        Some(Owner::Session(session)) => session,
        Some(Owner::Thread(_)) => return None,
        // Without a pool, a thread has the number of its session.
        None => SessionId::try_from(u64::try_from(pid).ok()?).ok()?,
    };
    let backend = shared.backends.of(session)?;
    let visible = |id| is_visible(shared, author, id);
    visible(session).then(|| shared.backends.blocker(&backend, visible)).flatten()
}

fn session_row(shared: &Shared, author: &Requester, row: &SessionInfo, backend: &Backend) -> Value {
    let client = &row.client;
    let [user, database] =
        shared.backends.numbers(client.user(), client.database(), shared.owner());
    let mut value = json!({
        "datid": database,
        "datname": client.database(),
        "pid": backend.pid,
        "usesysid": user,
        "usename": client.user(),
        "application_name": client.application(),
        "query": HIDDEN,
        "sessionid": row.id.get(),
        "threadid": row.thread_id.map_or(0, safepoint::id::ThreadId::get),
    });
    if let (true, Some(known)) = (row.is_disclosed, value.as_object_mut()) {
        let blocker = shared.backends.blocker(backend, |id| is_visible(shared, author, id));
        known.append(&mut activity(row, backend, blocker));
    }
    value
}

/// Returns the columns that only some requesters may see.
fn activity(row: &SessionInfo, backend: &Backend, blocker: Option<i32>) -> Map<String, Value> {
    let running = matches!(row.state, SessionState::Running | SessionState::Waiting);
    let transaction_start =
        row.transaction_started_at.or(row.statement_started_at.filter(|_| running));
    let event = wait_event(row.state, backend);
    let known = json!({
        "client_addr": Some(row.client.address()).filter(|address| !address.is_empty()),
        "client_port": backend.port,
        "backend_start": microseconds(row.opened_at),
        "xact_start": transaction_start.map(microseconds),
        "query_start": row.statement_started_at.map(microseconds),
        "state_change": microseconds(row.changed_at),
        "wait_event_type": event.map(|(kind, _)| kind),
        "wait_event": event.map(|(_, name)| name),
        "state": state(row.state, backend),
        "query": row.statement_text,
        "query_id": row.statement_id.map_or(0, safepoint::id::StatementId::get),
        "backend_type": "client backend",
        "blocked_by": blocker,
        "waiting": waiting(row),
        "interrupt": row.pending.as_ref().map(|pending| {
            let since = time(Some(pending.requested_at)).unwrap_or_default();
            format!("pending {pending} since {since}")
        }),
        "hold_off": row.hold_off.map(|held| held.to_string()),
        "safe_point": row.last_safe_point.map(safe_point),
    });
    match known {
        Value::Object(known) => known,
        _ => Map::new(),
    }
}

fn wait_event(state: SessionState, backend: &Backend) -> Option<(&'static str, &'static str)> {
    match state {
        _ if backend.is_sending() => backend.wait().event(),
        SessionState::Running | SessionState::Waiting => backend.wait().event(),
        // For a worker: PostgreSQL has no pool.
        SessionState::Queued => Some(("Extension", "ThreadPool")),
        _ => Wait::ClientRead.event(),
    }
}

/// Returns the row of one of the server's own threads: pid and sessionid are equal, and there is no
/// client.
fn thread_row(shared: &Shared, row: &ThreadInfo, pid: i32) -> Value {
    let name = &*row.name;
    let kind = if name.starts_with("worker") { "thread pool worker" } else { name };
    let idle = name == "checkpointer" && shared.checkpointer.is_idle();
    json!({
        "pid": pid,
        "sessionid": pid,
        "threadid": row.id.get(),
        "usename": shared.owner(),
        "application_name": name,
        "backend_start": microseconds(row.registered_at),
        "wait_event_type": idle.then_some("Activity"),
        "wait_event": idle.then_some("CheckpointerMain"),
        "query": "",
        "query_id": 0,
        "backend_type": kind,
    })
}

/// Returns the location of an uninterruptible wait, or `interruptible` for another wait in a
/// statement.
fn waiting(row: &SessionInfo) -> Option<String> {
    let known = row.uninterruptible_wait.map(|call_site| call_site.to_string());
    known.or_else(|| (row.state == SessionState::Waiting).then(|| "interruptible".to_string()))
}

fn state(doing: SessionState, backend: &Backend) -> &'static str {
    match doing {
        _ if backend.is_sending() => "active",
        SessionState::Running | SessionState::Waiting => "active",
        SessionState::Queued => "queued",
        SessionState::IdleInTransaction if backend.has_failed() => "idle in transaction (aborted)",
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
