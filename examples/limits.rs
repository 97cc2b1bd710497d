//! Timeouts, changed while the session runs. `cargo run --example limits`

use safepoint::session::Timeouts;
use safepoint::{Attached, ClientInfo, SessionManager, ThreadModel};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::new("ann"))?;
    let thread = session.own_thread().ok_or("a pool")?;
    let mut attached = session.attach(&thread)?;

    let set = |attached: &Attached<'_>, milliseconds: u64| {
        let statement = Some(Duration::from_millis(milliseconds));
        attached.set_timeouts(attached.timeouts().with_statement(statement))
    };
    for milliseconds in [10, 50] {
        set(&attached, milliseconds)?;
        let start = Instant::now();
        // The safe points of a statement, and its waits, end the statement. The session continues.
        let statement = attached.begin()?.with_text("select pg_sleep(3600)");
        let interrupt = statement.sleep(Duration::from_secs(3600)).expect_err("a limit");
        assert_eq!(interrupt.sqlstate(), "57014");
        println!("{milliseconds} ms: {interrupt}, after {:?}", start.elapsed());
    }

    // A timeout for idleness ends the session, attached or not.
    attached.set_timeouts(Timeouts::new().with_idle(Duration::from_millis(10)))?;
    let waits = attached.sleep(Duration::from_secs(3600)).expect_err("a limit");
    println!("idle: {waits} ({})", waits.sqlstate());
    Ok(())
}
