//! The complaints about other systems' KILL that this library exists to end, each under its name.

mod common;

use common::{MODELS, Stage, admin, kill_now, of, supervised, thread_for};
use safepoint::{Cancel, Doing, HowEnded, Terminate, When};
use std::time::Duration;

#[test]
fn ok_although_nothing_happened() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            // It finishes without having looked.
            statement.finish().unwrap();
            assert!(!receipt.poll().unwrap().cancelled);
            drop(attached);
            let mut receipt = manager.terminate(id, kill_now()).unwrap();
            assert_eq!(receipt.wait(Duration::from_millis(1)), None, "nothing has happened yet");
            session.close();
            assert!(matches!(receipt.poll().unwrap().how, HowEnded::Killed(_)));
        }
    });
}

#[test]
fn a_killed_query_vanishes_from_the_list_while_it_still_runs() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("select pi()");
            manager.terminate(id, kill_now()).unwrap();
            let listed = || manager.sessions().find(|row| row.session == id);
            let row = listed().unwrap();
            assert_eq!((row.doing, row.told), (Doing::Running, Some(When::Immediate)));
            assert_eq!(row.text, "select pi()");
            assert!(statement.check().is_err());
            drop(statement);
            drop(attached);
            assert!(listed().is_some(), "until it has ended");
            session.close();
            assert!(listed().is_none());
        }
    });
}

#[test]
fn who_did_it_and_why() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, session, id, .. } = Stage::new(model);
            let mut killer = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &killer);
            let author = killer.attach(&thread).unwrap().author();
            let request =
                Terminate::new(When::Immediate, author.clone()).text("It blocks a vacuum.");
            manager.terminate(id, request).unwrap();
            let interrupt = session.due().unwrap_err();
            let detail = interrupt.detail(id).unwrap();
            let by = format!("Requested by user \"ann\" in session {} at 2", killer.id());
            assert!(detail.starts_with(&by), "{detail}");
            assert!(detail.ends_with(" UTC. It blocks a vacuum."), "{detail}");
            let HowEnded::Killed(request) = session.close().how else { panic!() };
            assert_eq!(request.author, author);
        }
    });
}
