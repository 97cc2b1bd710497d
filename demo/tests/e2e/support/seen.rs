//! Sessions as another session sees them, and waits for what it sees.

use super::{Answer, DEADLINE, Wire};
use std::time::{Duration, Instant};

/// One session as `pg_stat_activity` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The thread, or 0.
    pub(crate) pid: i64,
    pub(crate) session: i64,
    pub(crate) state: String,
    pub(crate) query: String,
    pub(crate) query_id: i64,
    /// Where it waits, if it does.
    pub(crate) waiting: String,
}

/// Looks at one session through another. `None` where it is gone.
#[track_caller]
pub(crate) fn look(through: &mut Wire, session: i64) -> Option<Seen> {
    let answer = through.ok(&format!(
        "select threadid, sessionid, state, query, query_id, waiting from pg_stat_activity \
         where sessionid = {session}"
    ));
    let row = answer.rows.first()?;
    let text = |at: usize| row[at].clone().unwrap_or_default();
    Some(Seen {
        pid: text(0).parse().expect("a pid"),
        session: text(1).parse().expect("a session id"),
        state: text(2),
        query: text(3),
        query_id: text(4).parse().expect("a query id"),
        waiting: text(5),
    })
}

/// Looks at it again and again until it is there, and so.
#[track_caller]
fn until(through: &mut Wire, session: i64, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = look(through, session);
        match seen {
            Some(seen) if is_so(&seen) => return seen,
            seen => assert!(Instant::now() < deadline, "session {session} {what}: {seen:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until that session runs a statement with this in it. How far it has come is not said.
#[track_caller]
pub(crate) fn until_runs(through: &mut Wire, session: i64, part: &str) -> Seen {
    until(through, session, &format!("runs no {part}"), |seen| {
        seen.state == "active" && seen.pid != 0 && seen.query.contains(part)
    })
}

/// It is in a wait that an interrupt ends, not just about to be.
#[track_caller]
pub(crate) fn until_waits(through: &mut Wire, session: i64) -> Seen {
    until(through, session, "does not wait", |seen| seen.waiting == "interruptible")
}

/// Its answer is complete, and its client has not read all of it.
#[track_caller]
pub(crate) fn until_sending(through: &mut Wire, session: i64) {
    let waits = format!(
        "select state, wait_event, thread_count from (select state, wait_event, \
         threadid <> 0 and threadid <> sessionid as thread_count from pg_stat_activity where sessionid = {session})"
    );
    until_answer(through, &waits, |answer| {
        let row: Vec<_> = answer.rows[0].iter().map(|cell| cell.as_deref()).collect();
        row == [Some("active"), Some("ClientWrite"), Some("0")]
    });
}

/// Its statement is in a wait that begins in that file of the example server. In `stream.rs` it
/// waits for its client to send more, in a COPY.
#[track_caller]
pub(crate) fn until_waits_at(through: &mut Wire, session: i64, file: &str) -> Seen {
    let start = format!("demo/src/{file}:");
    until(through, session, &format!("does not wait in {file}"), |seen| {
        seen.state == "active" && seen.waiting.starts_with(&start)
    })
}

/// It has tried to get a lock that another session holds, and goes on trying.
#[track_caller]
pub(crate) fn until_waits_for_lock(through: &mut Wire, session: i64) -> Seen {
    until_waits_at(through, session, "limits.rs")
}

/// Waits until that session is in that state.
#[track_caller]
pub(crate) fn until_state(through: &mut Wire, session: i64, state: &str) -> Seen {
    until(through, session, &format!("is not {state}"), |seen| seen.state == state)
}

/// Waits until that session is not there any more.
#[track_caller]
pub(crate) fn until_gone(through: &mut Wire, session: i64) {
    let deadline = Instant::now() + DEADLINE;
    while let Some(seen) = look(through, session) {
        assert!(Instant::now() < deadline, "session {session} is not gone: {seen:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks again and again until the answer is so.
#[track_caller]
pub(crate) fn until_answer(
    through: &mut Wire,
    sql: &str,
    is_so: impl Fn(&Answer) -> bool,
) -> Answer {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = through.ok(sql);
        if is_so(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{sql}: {:?}", answer.rows);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same for an answer of one value.
#[track_caller]
pub(crate) fn until_value(through: &mut Wire, sql: &str, value: &str) {
    until_answer(through, sql, |answer| answer.value() == value);
}

/// Waits until that statement, of a session that would wait for the lock only shortly, is refused
/// since another session has the lock. Until then the statement is executed, again and again.
#[track_caller]
pub(crate) fn until_locked(through: &mut Wire, statement: &str) {
    through.ok("set lock_timeout = 50");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = through.query(statement);
        if let Some(error) = answer.errors.first() {
            assert_eq!(error.code(), "55P03", "{answer:?}");
            return;
        }
        assert!(Instant::now() < deadline, "{statement}: {answer:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
