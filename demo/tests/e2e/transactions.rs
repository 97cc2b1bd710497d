//! Random messages in and out of transactions, against a sequential model of PostgreSQL's rules.
//!
//! `TRANSACTION_MESSAGES=100000` sends so many, and `SOAK_SEED` chooses them. With
//! `TRANSACTION_JUDGE=ADDRESS:PORT` the messages go to that server, such as a PostgreSQL with a user
//! `omm`, which shows that the model is right.

use crate::support::{Answer, MODELS, Server, Wire};
use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;

#[derive(Clone, Debug)]
enum Statement {
    Insert(i64),
    Delete(i64),
    List,
    Set(u64),
    Show,
    SyntaxError,
    MissingTable,
    Begin,
    Commit,
    Rollback,
    Savepoint(&'static str),
    Release(&'static str),
    RollbackTo(&'static str),
}

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn statement(&mut self) -> Statement {
        let name = NAMES[self.below(3) as usize];
        match self.below(26) {
            0..=5 => Statement::Insert(self.below(8) as i64),
            6..=7 => Statement::Delete(self.below(8) as i64),
            8..=9 => Statement::List,
            10 => Statement::Set(self.below(4) + 1),
            11 => Statement::Show,
            12 => Statement::SyntaxError,
            13 => Statement::MissingTable,
            14..=17 => Statement::Begin,
            18..=19 => Statement::Commit,
            20 => Statement::Rollback,
            21..=22 => Statement::Savepoint(name),
            23 => Statement::Release(name),
            _ => Statement::RollbackTo(name),
        }
    }
}

impl Statement {
    fn sql(&self) -> String {
        match self {
            Statement::Insert(key) => format!("insert into units values ({key})"),
            Statement::Delete(key) => format!("delete from units where k = {key}"),
            Statement::List => "select k from units order by k".into(),
            Statement::Set(seconds) => format!("set lock_timeout = '{seconds}s'"),
            Statement::Show => "show lock_timeout".into(),
            Statement::SyntaxError => "selec 1".into(),
            Statement::MissingTable => "select * from no_units".into(),
            Statement::Begin => "begin".into(),
            Statement::Commit => "commit".into(),
            Statement::Rollback => "rollback".into(),
            Statement::Savepoint(name) => format!("savepoint {name}"),
            Statement::Release(name) => format!("release {name}"),
            Statement::RollbackTo(name) => format!("rollback to {name}"),
        }
    }

    fn ends_failure(&self) -> bool {
        matches!(self, Statement::Commit | Statement::Rollback | Statement::RollbackTo(_))
    }
}

/// What the session sees: the rows, and the setting in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Values {
    rows: BTreeSet<i64>,
    seconds: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Block,
    Failed,
}

/// What a message is answered.
#[derive(Debug, Default, PartialEq)]
struct Said {
    tags: Vec<String>,
    rows: Vec<String>,
    warnings: Vec<String>,
    error: Option<String>,
    status: char,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Said {
        let code = |fields: &crate::support::Fields| fields.code().to_string();
        assert!(answer.errors.len() <= 1, "{answer:?}");
        Said {
            rows: answer.rows.into_iter().flatten().map(Option::unwrap_or_default).collect(),
            tags: answer.tags,
            warnings: answer.notices.iter().map(code).collect(),
            error: answer.errors.first().map(code),
            status: answer.status.expect("the session continues"),
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    state: State,
    committed: Values,
    now: Values,
    savepoints: Vec<(&'static str, Values)>,
}

type Refused = Result<(), &'static str>;

impl Model {
    fn simple(&mut self, statements: &[Statement]) -> Said {
        let mut said = Said::default();
        let result = if statements.iter().any(|one| matches!(one, Statement::SyntaxError)) {
            // The message is parsed as a whole, before anything runs.
            Err("42601")
        } else {
            statements.iter().try_for_each(|one| self.run(one, &mut said))
        };
        self.ends(result, said)
    }

    fn pipeline(&mut self, statements: &[Statement]) -> Said {
        let mut said = Said::default();
        let result = statements.iter().try_for_each(|one| match one {
            Statement::SyntaxError => Err("42601"),
            one => self.run(one, &mut said),
        });
        self.ends(result, said)
    }

    fn ends(&mut self, result: Refused, mut said: Said) -> Said {
        match (result, self.state) {
            (Ok(()), State::Idle) => self.committed = self.now.clone(),
            (Ok(()), _) => {}
            (Err(_), State::Idle) => self.now = self.committed.clone(),
            (Err(_), _) => self.state = State::Failed,
        }
        said.error = result.err().map(str::to_string);
        said.status = match self.state {
            State::Idle => 'I',
            State::Block => 'T',
            State::Failed => 'E',
        };
        said
    }

    fn run(&mut self, one: &Statement, said: &mut Said) -> Refused {
        if self.state == State::Failed && !one.ends_failure() {
            return Err("25P02");
        }
        let tag = match one {
            Statement::Insert(key) => {
                if !self.now.rows.insert(*key) {
                    return Err("23505");
                }
                "INSERT 0 1".into()
            }
            Statement::Delete(key) => format!("DELETE {}", u8::from(self.now.rows.remove(key))),
            Statement::List => {
                said.rows.extend(self.now.rows.iter().map(i64::to_string));
                format!("SELECT {}", self.now.rows.len())
            }
            Statement::Set(seconds) => {
                self.now.seconds = *seconds;
                "SET".into()
            }
            Statement::Show => {
                let seconds = self.now.seconds;
                said.rows.push(if seconds == 0 { "0".into() } else { format!("{seconds}s") });
                "SHOW".into()
            }
            Statement::SyntaxError => return Err("42601"),
            Statement::MissingTable => return Err("42P01"),
            Statement::Begin => {
                if self.state == State::Block {
                    said.warnings.push("25001".into());
                }
                self.state = State::Block;
                "BEGIN".into()
            }
            Statement::Commit | Statement::Rollback => {
                let commits = matches!(one, Statement::Commit) && self.state != State::Failed;
                if self.state == State::Idle {
                    said.warnings.push("25P01".into());
                }
                if commits {
                    self.committed = self.now.clone();
                } else {
                    self.now = self.committed.clone();
                }
                self.state = State::Idle;
                self.savepoints.clear();
                if commits { "COMMIT".into() } else { "ROLLBACK".into() }
            }
            Statement::Savepoint(name) => {
                self.in_block()?;
                self.savepoints.push((name, self.now.clone()));
                "SAVEPOINT".into()
            }
            Statement::Release(name) => {
                self.in_block()?;
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at);
                "RELEASE".into()
            }
            Statement::RollbackTo(name) => {
                self.in_block()?;
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at + 1);
                self.now = self.savepoints[at].1.clone();
                self.state = State::Block;
                "ROLLBACK".into()
            }
        };
        said.tags.push(tag);
        Ok(())
    }

    fn in_block(&self) -> Refused {
        if self.state == State::Idle { Err("25P01") } else { Ok(()) }
    }

    fn savepoint(&self, name: &str) -> Result<usize, &'static str> {
        self.savepoints.iter().rposition(|(other, _)| *other == name).ok_or("3B001")
    }
}

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
            (model.simple(&statements), wire.query(&sql.join("; ")))
        } else {
            for statement in &statements {
                wire.parse("", &statement.sql(), &[]);
                wire.bind("", "", &[], &[]);
                wire.execute("", 0);
            }
            wire.sync();
            (model.pipeline(&statements), wire.finish())
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
