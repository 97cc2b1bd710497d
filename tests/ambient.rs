//! Safe points and waits in code that was handed no session.

mod common;

use common::{LONG, MODELS, Stage, assert_told, ended_by_both, kill_now};
use std::future::{pending, ready};
use std::time::Duration;

#[test]
fn ambient_safe_points_and_waits_with_a_session() {
    ended_by_both(|_| safepoint::sleep(LONG));
    ended_by_both(|_| safepoint::block_on(pending::<()>()));
    ended_by_both(|_| {
        loop {
            safepoint::check()?;
            safepoint::sleep(Duration::from_millis(1))?;
        }
        #[expect(unreachable_code, reason = "names the type")]
        Ok(())
    });
}

#[test]
fn ambient_safe_points_and_waits_without_a_session() {
    assert_eq!(safepoint::current_session(), None);
    assert_eq!(safepoint::check(), Ok(()));
    assert_eq!(safepoint::sleep(Duration::from_millis(1)), Ok(()));
    assert_eq!(safepoint::block_on(ready(1)), Ok(1));
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        drop(session.attach(&thread).unwrap());
        manager.terminate(id, kill_now()).unwrap();
        assert_eq!(safepoint::check(), Ok(()), "the thread has left that session");
        assert_eq!(safepoint::current_thread(), None);
        let attached = session.attach(&thread).unwrap();
        assert_eq!(safepoint::current_session(), Some(id));
        assert_eq!(safepoint::current_thread(), Some(thread.id()));
        assert_eq!(safepoint::current_author(), Some(attached.author()));
        assert_told(&safepoint::check().unwrap_err());
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(safepoint::check);
            assert_eq!(elsewhere.join().unwrap(), Ok(()));
        });
        drop(attached);
        assert_eq!(safepoint::check(), Ok(()));
    }
}
