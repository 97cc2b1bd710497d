//! Faults that the reference model and the mutants have found, each reduced to a minimum.

use crate::common::{Fixture, MODELS, admin, kill, of, supervised};
use safepoint::request::{EndReason, StatementEnd};
use safepoint::{Attached, Cancel, SessionManager, TerminateMode};
use std::mem::forget;

#[test]
fn a_dropped_statement_observes_nothing() {
    supervised(|| {
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let receipt = manager.terminate(id, kill(TerminateMode::AfterStatement)).unwrap();
            drop(statement);
            drop(attached);
            assert!(matches!(session.close().reason, EndReason::Terminated(_)));
            assert!(matches!(receipt.try_get().unwrap().reason, EndReason::Terminated(_)));
        }
    });
}

#[test]
fn a_leaked_statement_ends_with_the_next_and_at_the_detach() {
    supervised(|| {
        fn leak_a_statement(manager: &SessionManager, attached: &mut Attached<'_>) -> Told {
            forget(attached.begin().unwrap());
            manager.cancel(attached.id(), Cancel::running(admin("root"))).unwrap()
        }
        type Told = safepoint::Receipt<StatementEnd>;
        for model in MODELS {
            let Fixture { manager, mut session, thread, .. } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let first = leak_a_statement(&manager, &mut attached);
            let statement = attached.begin().unwrap();
            assert!(first.try_get().is_some_and(|end| !end.cancelled));
            assert_eq!(statement.check(), Ok(()), "the cancel was not meant for this one");
            statement.finish().unwrap();
            let second = leak_a_statement(&manager, &mut attached);
            attached.detach_to_queue().unwrap();
            assert!(second.try_get().is_some_and(|end| !end.cancelled));
        }
    });
}

/// The clock that it is read from is some milliseconds late.
#[test]
fn the_row_has_the_time_of_the_open() {
    supervised(|| {
        let second = std::time::Duration::from_secs(1);
        for model in MODELS {
            let manager = SessionManager::new(model);
            let before = std::time::SystemTime::now() - second;
            let session = manager.open(of("ann")).unwrap();
            let after = std::time::SystemTime::now();
            let row = manager.session_info(session.id()).unwrap();
            assert!((before..=after).contains(&row.opened_at), "{:?}", row.opened_at);
            assert_eq!(row.changed_at, row.opened_at, "it has done nothing since");
        }
    });
}

#[test]
fn the_row_has_the_time_of_the_last_change() {
    supervised(|| {
        let moment = std::time::Duration::from_millis(2);
        for model in MODELS {
            let Fixture { manager, mut session, thread, id } = Fixture::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("select pg_sleep(0.002)");
            statement.sleep(moment).unwrap();
            statement.finish().unwrap();
            let row = manager.session_info(id).unwrap();
            let ran =
                row.changed_at.duration_since(row.statement_started_at.unwrap_or(row.opened_at));
            assert_eq!(row.statement_text, "select pg_sleep(0.002)");
            assert!(ran.is_ok_and(|ran| ran >= moment));
        }
    });
}

#[test]
fn an_administrator_stays_one_after_an_update() {
    supervised(|| {
        for model in MODELS {
            let Fixture { session, manager, id, .. } = Fixture::new(model);
            for admin in [true, true, false, false, true] {
                session.update_client_info(|about| about.with_admin(admin));
                assert_eq!(manager.session_info(id).unwrap().client.is_admin(), admin);
            }
        }
    });
}
