//! A sequential model of PostgreSQL's rules for transactions, and random statements for it.

use crate::support::Answer;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub(super) enum Statement {
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

const CANCELLED: &str = "57014";

const NAMES: [&str; 3] = ["a", "b", "c"];

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub(super) fn statement(&mut self) -> Statement {
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
    pub(super) fn sql(&self) -> String {
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

    fn is_syntax_error(&self) -> bool {
        matches!(self, Statement::SyntaxError)
    }

    fn ends_transaction(&self) -> bool {
        matches!(self, Statement::Commit | Statement::Rollback)
    }

    fn ends_failure(&self) -> bool {
        matches!(self, Statement::Commit | Statement::Rollback | Statement::RollbackTo(_))
    }
}

/// What the session sees: the rows, and the setting in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    pub(super) rows: BTreeSet<i64>,
    seconds: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Idle,
    Block,
    Failed,
}

/// What a message is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    tags: Vec<String>,
    pub(super) rows: Vec<String>,
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

impl Said {
    /// Whether this is such an answer. A statement that is cut off may have sent rows and warnings.
    pub(super) fn is(&self, expected: &Said, cut: bool) -> bool {
        let same = |own: &[String], of: &[String]| own == of || (cut && own.starts_with(of));
        self.tags == expected.tags
            && same(&self.rows, &expected.rows)
            && same(&self.warnings, &expected.warnings)
            && self.error == expected.error
            && self.status == expected.status
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) state: State,
    pub(super) committed: Values,
    pub(super) now: Values,
    pub(super) savepoints: Vec<(&'static str, Values)>,
}

type Refused = Result<(), &'static str>;

impl Model {
    pub(super) fn simple(&mut self, statements: &[Statement], cut: Option<usize>) -> Said {
        let mut said = Said::default();
        let result = if cut.is_none() && statements.iter().any(Statement::is_syntax_error) {
            // The message is parsed as a whole, before anything runs.
            Err("42601")
        } else {
            self.run_all(statements, cut, &mut said)
        };
        self.ends(result, said)
    }

    pub(super) fn pipeline(&mut self, statements: &[Statement], cut: Option<usize>) -> Said {
        let mut said = Said::default();
        let result = self.run_all(statements, cut, &mut said);
        self.ends(result, said)
    }

    /// Runs the statements. A cancel comes before the end of the statement with that index, or, after
    /// the last one, before the commit.
    fn run_all(
        &mut self,
        statements: &[Statement],
        cut: Option<usize>,
        said: &mut Said,
    ) -> Refused {
        for (at, one) in statements.iter().enumerate() {
            match one {
                _ if cut == Some(at) => return Err(CANCELLED),
                Statement::SyntaxError => return Err("42601"),
                one => self.run(one, said)?,
            }
        }
        if cut == Some(statements.len()) {
            said.tags.pop();
            return Err(CANCELLED);
        }
        Ok(())
    }

    /// Returns what may become of a message if a request comes at any moment, and whether it cuts
    /// the message off.
    pub(super) fn outcomes(
        &self,
        simple: bool,
        statements: &[Statement],
    ) -> Vec<(Model, Said, bool)> {
        let mut all = Vec::new();
        // In a pipeline the end of the last statement is the last that a cancel can hit. What has
        // committed by itself cannot be cancelled any more.
        let ends_itself = statements.last().is_some_and(Statement::ends_transaction);
        let last = statements.len() + usize::from(simple && !ends_itself);
        let is_known = statements.iter().position(Statement::is_syntax_error).is_none();
        let last = if simple && !is_known { 1 } else { last };
        for cut in [None].into_iter().chain((0..last).map(Some)) {
            let mut model = self.clone();
            let said = match simple {
                true => model.simple(statements, cut),
                false => model.pipeline(statements, cut),
            };
            if said.error.as_deref() == Some(CANCELLED) && model.state == State::Failed {
                // SQLite rolls back all of a transaction whose write is interrupted.
                let mut without = model.clone();
                without.savepoints.clear();
                without.now = without.committed.clone();
                all.push((without, said.clone(), true));
            }
            all.push((model, said, cut.is_some()));
        }
        all
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
