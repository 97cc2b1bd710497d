//! What the reference model and the mutants have found, each cut down to what matters.

mod common;

use common::{MODELS, Stage, admin, kill, of, supervised};
use safepoint::{Attached, Cancel, HowEnded, SessionManager, StatementOver, When};
use std::mem::forget;

#[test]
fn a_dropped_statement_has_seen_nothing_and_its_session_ends_by_what_was_due() {
    supervised(|| {
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap();
            let receipt = manager.terminate(id, kill(When::AfterStatement)).unwrap();
            drop(statement);
            drop(attached);
            assert!(matches!(session.close().how, HowEnded::Killed(_)));
            assert!(matches!(receipt.poll().unwrap().how, HowEnded::Killed(_)));
        }
    });
}

#[test]
fn a_forgotten_statement_is_over_with_the_next_and_at_the_detach() {
    supervised(|| {
        fn forgotten(manager: &SessionManager, attached: &mut Attached<'_>) -> Told {
            forget(attached.begin().unwrap());
            manager.cancel(attached.id(), Cancel::running(admin("root"))).unwrap()
        }
        type Told = safepoint::Receipt<StatementOver>;
        for model in MODELS {
            let Stage { manager, mut session, thread, .. } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let first = forgotten(&manager, &mut attached);
            let statement = attached.begin().unwrap();
            assert_eq!(first.poll(), Some(StatementOver { cancelled: false }));
            assert_eq!(statement.check(), Ok(()), "the cancel was not meant for this one");
            statement.finish().unwrap();
            let second = forgotten(&manager, &mut attached);
            attached.detach_queued().unwrap();
            assert_eq!(second.poll(), Some(StatementOver { cancelled: false }));
        }
    });
}

/// The clock that it is read from is some milliseconds late.
#[test]
fn a_session_says_when_it_was_opened() {
    supervised(|| {
        let second = std::time::Duration::from_secs(1);
        for model in MODELS {
            let manager = SessionManager::new(model);
            let before = std::time::SystemTime::now() - second;
            let session = manager.open(of("ann")).unwrap();
            let after = std::time::SystemTime::now();
            let row = manager.session(session.id()).unwrap();
            assert!((before..=after).contains(&row.opened), "{:?}", row.opened);
            assert_eq!(row.changed, row.opened, "it has done nothing since");
        }
    });
}

#[test]
fn a_session_says_when_its_last_statement_ended() {
    supervised(|| {
        let moment = std::time::Duration::from_millis(2);
        for model in MODELS {
            let Stage { manager, mut session, thread, id } = Stage::new(model);
            let mut attached = session.attach(&thread).unwrap();
            let statement = attached.begin().unwrap().with_text("select pg_sleep(0.002)");
            statement.sleep(moment).unwrap();
            statement.finish().unwrap();
            let row = manager.session(id).unwrap();
            let ran = row.changed.duration_since(row.statement_start.unwrap_or(row.opened));
            assert_eq!(row.text, "select pg_sleep(0.002)");
            assert!(ran.is_ok_and(|ran| ran >= moment));
        }
    });
}

#[test]
fn an_administrator_who_says_so_again_is_one_still() {
    supervised(|| {
        for model in MODELS {
            let Stage { session, manager, id, .. } = Stage::new(model);
            for admin in [true, true, false, false, true] {
                session.describe(|about| about.admin = admin);
                assert_eq!(manager.session(id).unwrap().description.admin, admin);
            }
        }
    });
}
