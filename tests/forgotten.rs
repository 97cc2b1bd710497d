//! Attachments that were forgotten on a thread that has ended.

mod common;

use common::{Desk, Stage, each_model, kill_now, thread_for};
use safepoint::{HowEnded, Refused, SessionManager, Target, ThreadModel};

fn forget(stage: Stage) -> Stage {
    let Stage { manager, mut session, thread, id } = stage;
    let thread = std::thread::scope(|scope| {
        let session = &mut session;
        let forgets = scope.spawn(move || {
            let mut attached = session.attach(&thread).unwrap();
            std::mem::forget(attached.begin().unwrap());
            std::mem::forget(attached);
            thread
        });
        forgets.join().unwrap()
    });
    Stage { manager, session, thread, id }
}

#[test]
fn whoever_has_the_session_finds_it_idle() {
    each_model(|stage| {
        let Stage { manager, session, id, .. } = forget(stage);
        session.due().unwrap();
        assert_eq!(manager.session(id).unwrap().statement, None);
        let desk = Desk::leave(session);
        let receipt = manager.terminate(id, kill_now()).unwrap();
        assert!(matches!(receipt.poll().unwrap().how, HowEnded::Killed(_)));
        assert_eq!(common::locked(&desk.told).len(), 1);
    });
}

#[test]
fn it_can_be_attached_elsewhere() {
    each_model(|stage| {
        let Stage { manager, mut session, id, thread } = forget(stage);
        let mut attached = session.attach(&thread).unwrap();
        assert_eq!(manager.session(id).unwrap().statement, None);
        assert_eq!(attached.begin().unwrap().statement().get(), 2);
    });
}

/// The place of its thread may be given to another.
#[test]
fn who_names_another_thread_does_not_hit_it() {
    let manager = SessionManager::new(ThreadModel::Pool);
    let session = manager.open(common::of("ann")).unwrap();
    let thread = thread_for(&manager, &session);
    let id = session.id();
    let Stage { session, thread, .. } =
        forget(Stage { manager: manager.clone(), session, thread, id });
    drop(thread);
    let second = manager.register_worker("two").unwrap();
    let refused = manager.terminate(Target::Pair(second.id(), id), kill_now());
    assert_eq!(refused.unwrap_err(), Refused::NotAttached(second.id(), id));
    session.due().unwrap();
}
