//! A session's timeouts, from its settings, and its waits for locks.

use crate::backends;
use crate::settings::{Settings, kilobytes, milliseconds};
use safepoint::session::Timeouts;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Returns the timeouts of a session's settings. The value 0 means no timeout.
pub(crate) fn of(settings: &Settings) -> Timeouts {
    let limit = |name: &str| {
        let value = settings.get(name).unwrap_or("0");
        let ms = milliseconds(name, value).unwrap_or(0);
        (ms > 0).then(|| Duration::from_millis(ms))
    };
    Timeouts::new()
        .with_statement(limit("statement_timeout"))
        .with_transaction(limit("transaction_timeout"))
        .with_lock(limit("lock_timeout"))
        .with_idle(limit("idle_session_timeout"))
        .with_idle_in_transaction(limit("idle_in_transaction_session_timeout"))
        .with_client_disconnect(limit("client_connection_check_interval"))
}

/// How long a lock wait sleeps between two attempts, at first and at most.
const LOCK_WAIT: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(10));

/// Returns the timeouts while an answer is being sent, which is no idleness.
pub(crate) fn while_sending(settings: &Settings) -> Timeouts {
    of(settings).with_idle(None).with_idle_in_transaction(None)
}

/// Returns the size in bytes that the temporary file of the session may have, or `None` for no limit.
pub(crate) fn temporary_file(settings: &Settings) -> Option<u64> {
    let name = "temp_file_limit";
    let kilobytes = kilobytes(name, settings.get(name).unwrap_or("-1")).unwrap_or(-1);
    u64::try_from(kilobytes).ok().map(|kilobytes| kilobytes * 1024)
}

std::thread_local! {
    static WAITS_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Handles a lock of another session, for SQLite: waits and tries again, unless an interrupt is
/// due. The session with the lock may need a worker to continue, so this one blocks in place.
pub(crate) fn lock_wait(tries: i32) -> bool {
    let (first, most) = LOCK_WAIT;
    let time = first.saturating_mul(1 << tries.clamp(0, 10)).min(most);
    // All attempts together are one wait.
    let before = WAITS_SINCE.get().filter(|_| tries > 0);
    let since = before.unwrap_or_else(Instant::now);
    WAITS_SINCE.set(Some(since));
    let _shown = backends::waits_for_lock();
    safepoint::current::with_lock_timeout(since, || {
        safepoint::current::block_in_place(|| safepoint::current::sleep(time))
    })
    .is_ok()
}
