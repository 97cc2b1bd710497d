//! The timer's thread.

use crate::core::shared::Shared;
use crate::core::thread::ThreadRecord;
use crate::core::timer::{NEVER, Timer};
use crate::session::current::wake_all;
use crate::session::thread::{Kind, Thread};
use crate::sync::{Builder, Parker};
use crate::types::error::{OpenError, StartError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

const NAME: &str = "timer";

pub(super) fn start(shared: &Arc<Shared>) -> Result<(), StartError> {
    let mut parker = shared.timers.parker.lock();
    if parker.is_none() {
        return Ok(());
    }
    let record =
        ThreadRecord::new(Arc::from(NAME), shared.slots.clone(), false).ok_or(OpenError::Full)?;
    let record = shared.threads.insert(0, Arc::new(record))?;
    let registered = Thread::new(Kind::Registered { record, threads: shared.threads.clone() });
    let parker_slot = Arc::new(crate::sync::Mutex::new(parker.take()));
    let (weak, timer, mine) =
        (Arc::downgrade(shared), shared.timers.timer.clone(), parker_slot.clone());
    let body = move || {
        let _registered = registered;
        let parker = mine.lock().take();
        if let Some(parker) = parker {
            run(&weak, &timer, &parker);
        }
    };
    // If the thread does not start, the parker is put back for the next attempt.
    Builder::new()
        .name(NAME.into())
        .spawn(body)
        .inspect_err(|_| *parker = parker_slot.lock().take())?;
    Ok(())
}

fn run(shared: &Weak<Shared>, timer: &Timer, parker: &Parker) {
    let mut due = Vec::new();
    while let Some(taken) = timer.take(timer.now(), &mut due) {
        match taken {
            Err(NEVER) => parker.park(),
            Err(at) => parker.park_deadline(timer.instant(at)),
            Ok(()) => {
                let Some(shared) = shared.upgrade() else { return };
                for record in due.drain(..).filter_map(|session| shared.sessions.get(session)) {
                    // A panic in the application's code must not stop the timer of the other
                    // sessions.
                    let look = || wake_all(record.expire_timeouts(timer.now()));
                    let _ = catch_unwind(AssertUnwindSafe(look));
                }
            }
        }
    }
}
