//! Random messages in and out of transactions, against a sequential model of PostgreSQL's rules.
//!
//! `TRANSACTION_MESSAGES=100000` sends so many, and `SOAK_SEED` chooses them. With
//! `TRANSACTION_JUDGE=ADDRESS:PORT` the messages go to that server, such as a PostgreSQL with a user
//! `omm`, which shows that the model is right.

mod interrupted;
mod model;

use crate::support::{MODELS, Server, Wire};
use model::{Model, Random, Said, Statement};
use std::env;
use std::net::SocketAddr;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn play(address: SocketAddr, messages: u64, seed: u64) {
    let parameters = [("user", "omm"), ("database", "postgres")];
    let connect = || Wire::connect_as(address, &parameters);
    let (mut wire, mut other) = (connect(), connect());
    wire.ok("drop table if exists units");
    wire.ok("create table units (k integer primary key)");
    let (mut model, mut random) = (Model::default(), Random(seed | 1));
    let mut trace = Vec::new();
    for message in 0..messages {
        let count = [1, 1, 1, 2, 3, 4][random.below(6) as usize];
        let statements: Vec<_> = (0..count).map(|_| random.statement()).collect();
        let simple = random.below(2) == 0;
        trace.push((simple, statements.clone()));
        if trace.len() > 12 {
            trace.remove(0);
        }
        let (expected, answer) = if simple {
            let sql: Vec<_> = statements.iter().map(Statement::sql).collect();
            (model.simple(&statements, None), wire.query(&sql.join("; ")))
        } else {
            for statement in &statements {
                wire.parse("", &statement.sql(), &[]);
                wire.bind("", "", &[], &[]);
                wire.execute("", 0);
            }
            wire.sync();
            (model.pipeline(&statements, None), wire.finish())
        };
        assert_eq!(Said::from(answer), expected, "message {message}, after {trace:#?}");
        // Others see what is committed, and nothing else. A session that has failed holds no lock.
        if random.below(4) == 0 {
            let seen = Said::from(other.ok("select k from units order by k")).rows;
            let committed: Vec<_> = model.committed.rows.iter().map(i64::to_string).collect();
            assert_eq!(seen, committed, "message {message}, after {trace:#?}");
        }
    }
    wire.query("rollback");
    wire.ok("drop table units");
}

#[test]
fn random_messages() {
    let (messages, seed) = (number("TRANSACTION_MESSAGES", 1_000), number("SOAK_SEED", 1));
    if let Ok(judge) = env::var("TRANSACTION_JUDGE") {
        return play(judge.parse().expect("an address"), messages, seed);
    }
    for (model, seed) in MODELS.into_iter().zip(seed..) {
        let server = Server::start(model, &["--workers", "2"]);
        play(server.address, messages, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}
