//! What the reference model has found, each cut down to what matters.

mod common;

use common::{MODELS, Stage, kill};
use safepoint::{HowEnded, When};

#[test]
fn a_dropped_statement_has_seen_nothing() {
    for model in MODELS {
        let Stage { manager, mut session, thread, id } = Stage::new(model);
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let receipt = manager.terminate(id, kill(When::AfterStatement)).unwrap();
        drop(statement);
        drop(attached);
        assert_eq!(session.close().how, HowEnded::Closed);
        assert_eq!(receipt.poll().unwrap().how, HowEnded::Closed);
    }
}
