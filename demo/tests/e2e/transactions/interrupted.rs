//! Messages into which cancels, kills and hang-ups come at random moments.

use super::model::{Model, Random, Said, Statement};
use super::number;
use crate::support::{Answer, MODELS, Server, Wire, cancel, until_gone};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread::scope;
use std::time::Duration;

/// What comes at some moment while a message is on its way or runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    Nothing,
    Cancel,
    Kill,
    HangUp,
}

/// Sends a message, and what comes between. Returns the answer, which has no status if the session has
/// ended.
fn send(
    wire: &mut Wire,
    other: &mut Wire,
    simple: bool,
    statements: &[Statement],
    between: Between,
    pause: Duration,
) -> Answer {
    let (address, pid, key) = (wire.address, wire.pid, wire.key.clone());
    scope(|scope| {
        let come = scope.spawn(move || {
            // No condition: any moment will do.
            std::thread::sleep(pause);
            match between {
                Between::Cancel => cancel(address, pid, &key),
                Between::Kill => {
                    other.query(&format!("select pg_terminate_backend({pid})"));
                }
                Between::Nothing | Between::HangUp => {}
            }
        });
        if simple {
            let sql: Vec<_> = statements.iter().map(Statement::sql).collect();
            wire.start(&sql.join("; "));
        } else {
            for statement in statements {
                wire.parse("", &statement.sql(), &[]);
                wire.bind("", "", &[], &[]);
                wire.execute("", 0);
            }
            wire.sync();
        }
        if between == Between::HangUp {
            std::thread::sleep(pause);
            wire.hang_up();
        }
        let answer = match between {
            Between::Nothing | Between::Cancel => wire.finish(),
            Between::Kill | Between::HangUp => wire.rest(),
        };
        come.join().expect("it has come");
        answer
    })
}

/// Plays messages into which cancels, kills and hang-ups come at random moments. After each message the
/// server must be in a state of the model that the answer allows.
fn play_with_interruptions(address: SocketAddr, messages: u64, seed: u64) {
    let connect = || Wire::connect_as(address, &[("user", "omm"), ("database", "postgres")]);
    let (mut wire, mut other) = (connect(), connect());
    wire.ok("create table units (k integer primary key)");
    let mut session = wire.session();
    let (mut models, mut random) = (vec![Model::default()], Random(seed | 1));
    let mut trace = Vec::new();
    for message in 0..messages {
        let count = [1, 1, 1, 2, 3, 4][random.below(6) as usize];
        let statements: Vec<_> = (0..count).map(|_| random.statement()).collect();
        let simple = random.below(2) == 0;
        let between = match random.below(12) {
            0..=5 => Between::Cancel,
            6 => Between::Kill,
            7 => Between::HangUp,
            _ => Between::Nothing,
        };
        let pause = Duration::from_micros(random.below(400));
        trace.push((simple, statements.clone(), between));
        if trace.len() > 12 {
            trace.remove(0);
        }
        let answer = send(&mut wire, &mut other, simple, &statements, between, pause);
        let outcomes: Vec<_> = match between {
            Between::Nothing => {
                let all = models.into_iter().map(|mut model| {
                    let said = match simple {
                        true => model.simple(&statements, None),
                        false => model.pipeline(&statements, None),
                    };
                    (model, said, false)
                });
                all.collect()
            }
            _ => models.iter().flat_map(|model| model.outcomes(simple, &statements)).collect(),
        };
        let mut seen = |what: &str| {
            let rows = Said::from(other.ok("select k from units order by k")).rows;
            let keys = rows.iter().map(|key| key.parse().expect("a number"));
            (keys.collect::<BTreeSet<i64>>(), format!("{what} {message}, after {trace:#?}"))
        };
        if matches!(between, Between::Kill | Between::HangUp) {
            // The statements before the end may have committed, each for itself or all of them.
            let before = models_before(&outcomes);
            until_gone(&mut connect(), session);
            let (rows, trace) = seen("the end in message");
            let mut model = Model::default();
            assert!(before.contains(&rows), "{rows:?} is none of {before:?}: {trace}");
            model.committed.rows = rows;
            model.now = model.committed.clone();
            models = vec![model];
            wire = connect();
            session = wire.session();
            continue;
        }
        let said = Said::from(answer);
        let possible: Vec<_> = outcomes
            .iter()
            .filter(|(_, expected, cut)| said.is(expected, *cut))
            .map(|(model, ..)| model.clone())
            .collect();
        assert!(
            !possible.is_empty(),
            "message {message}: {said:#?} is none of {outcomes:#?}, after {trace:#?}"
        );
        models = possible;
        // Others see what is committed, and nothing else.
        let (rows, trace) = seen("message");
        models.retain(|model| model.committed.rows == rows);
        assert!(!models.is_empty(), "others see {rows:?}: {trace}");
        models
            .dedup_by(|a, b| (a.state, &a.now, &a.savepoints) == (b.state, &b.now, &b.savepoints));
    }
}

/// Returns the rows that may be committed when a session ends in a message.
fn models_before(outcomes: &[(Model, Said, bool)]) -> Vec<BTreeSet<i64>> {
    outcomes.iter().map(|(model, ..)| model.committed.rows.clone()).collect()
}

#[test]
fn random_messages_with_cancels_kills_and_hang_ups() {
    let (messages, seed) = (number("TRANSACTION_MESSAGES", 300), number("SOAK_SEED", 1));
    for (model, seed) in MODELS.into_iter().zip(seed..) {
        let server = Server::start(model, &["--workers", "2"]);
        play_with_interruptions(server.address, messages, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}
