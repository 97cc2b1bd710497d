//! The complaints about other systems' KILL that this library exists to end, each under its name.

use crate::common::{Fixture, MODELS, admin, kill_now, of, supervised, thread_for};
use safepoint::request::EndReason;
use safepoint::view::SessionState;
use safepoint::{Cancel, Terminate, TerminateMode};
use std::time::Duration;

#[test]
fn ok_although_nothing_happened() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let receipt = manager.cancel(id, Cancel::running(admin("root"))).unwrap();
            // It finishes without having looked.
            statement.finish().unwrap();
            assert!(!receipt.try_get().unwrap().cancelled);
            drop(attached);
            let mut receipt = manager.terminate(id, kill_now()).unwrap();
            assert_eq!(
                receipt.wait_timeout(Duration::from_millis(1)),
                None,
                "nothing has happened yet"
            );
            session.close();
            assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        }
    });
}

#[test]
fn a_killed_query_vanishes_from_the_list_while_it_still_runs() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("select pi()");
            manager.terminate(id, kill_now()).unwrap();
            let listed = || manager.sessions().find(|row| row.id == id);
            let row = listed().unwrap();
            assert_eq!(
                (row.state, row.pending_mode),
                (SessionState::Running, Some(TerminateMode::Immediate))
            );
            assert_eq!(row.statement_text, "select pi()");
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
fn the_error_names_the_requester_and_the_reason() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, session, id, .. } = Fixture::new(model);
            let mut requesting = manager.open(of("ann")).unwrap();
            let thread = thread_for(&manager, &requesting);
            let requester = requesting.attach(&thread).unwrap().requester();
            let request = Terminate::new(TerminateMode::Immediate, requester.clone())
                .comment("It blocks a vacuum.");
            manager.terminate(id, request).unwrap();
            let interrupt = session.check().unwrap_err();
            let detail = interrupt.detail(id).unwrap();
            let by = format!("Requested by user \"ann\" in session {} at 2", requesting.id());
            assert!(detail.starts_with(&by), "{detail}");
            assert!(detail.ends_with(" UTC. It blocks a vacuum."), "{detail}");
            let EndReason::Terminated(request) = session.close().reason else { panic!() };
            assert_eq!(*request.requester(), requester);
        }
    });
}
