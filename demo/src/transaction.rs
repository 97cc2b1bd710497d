//! The transaction of one session, by PostgreSQL's rules: the unit of one message, a block, or a
//! block that has failed.
//!
//! The statements of one simple query, and those of the extended protocol up to `Sync`, are one unit:
//! all of them take effect, or none. `BEGIN` makes the unit a block, which lasts until `COMMIT` or
//! `ROLLBACK`. After an error, the unit is rolled back; a block is rolled back, and has failed: it
//! accepts only its end.
//!
//! SQLite's own transaction begins with the first statement that writes. Until then each statement reads
//! what is committed when it begins, as PostgreSQL's READ COMMITTED has it, and no lock is held. From
//! then on this session is the only one that writes. A block of the level REPEATABLE READ or
//! SERIALIZABLE reads one snapshot, so SQLite's transaction begins with its first statement.
//!
//! | step | unit | block | failed block |
//! |---|---|---|---|
//! | a statement reads | nothing | nothing; `BEGIN` for a snapshot | rejected |
//! | a statement writes | `BEGIN` | `BEGIN` | rejected |
//! | end of the message, `Sync` | `COMMIT` | nothing | nothing |
//! | `COMMIT` | `COMMIT`, with a warning | `COMMIT` | `ROLLBACK` |
//! | `ROLLBACK` | `ROLLBACK`, with a warning | `ROLLBACK` | `ROLLBACK` |
//! | an error | `ROLLBACK` | `ROLLBACK`, unless there are savepoints | nothing |
//!
//! What the table says is run only if SQLite's transaction is open.

use crate::engine::Engine;
use crate::run::{Failure, Runner};
use crate::settings::{Modes, SETTINGS, Settings, Unit};
use crate::split::folded;
use crate::wire::Fields;
use safepoint::Attached;
use std::sync::Arc;

/// A statement that begins, ends or divides a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// A writer takes SQLite's lock at once, by `BEGIN IMMEDIATE`.
    Begin {
        modes: Modes,
        writer: bool,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    /// The names are as they were written.
    Savepoint(String),
    Release(String),
    RollbackTo(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No statement of a unit has run.
    #[default]
    Idle,
    Unit,
    Block,
    Failed,
}

#[derive(Debug)]
pub(crate) struct Transaction {
    state: State,
    /// Whether all statements of the block read one snapshot.
    snapshot: bool,
    /// Whether a statement of SQLite has run in the block.
    has_run: bool,
    /// Whether the unit is a message of several statements.
    several: bool,
    /// The savepoints of the block, the outermost first.
    savepoints: Vec<String>,
    /// What the settings know of the transaction.
    unit: Arc<Unit>,
}

impl Control {
    /// Returns whether a failed block accepts this.
    pub(crate) fn ends_failure(&self) -> bool {
        matches!(self, Control::Commit { .. } | Control::Rollback { .. } | Control::RollbackTo(_))
    }
}

impl Transaction {
    /// Creates the transaction of a session with these settings' unit.
    pub(crate) fn new(unit: Arc<Unit>) -> Transaction {
        Transaction {
            state: State::Idle,
            snapshot: false,
            has_run: false,
            several: false,
            savepoints: Vec::new(),
            unit,
        }
    }

    /// Forgets a transaction that has ended.
    fn forget(&mut self) {
        self.state = State::Idle;
        self.snapshot = false;
        self.has_run = false;
        self.savepoints.clear();
    }

    /// Returns whether a setting may have changed since the client was told of the settings.
    pub(crate) fn has_changed_settings(&self) -> bool {
        self.unit.has_changed()
    }

    /// Returns the status for ReadyForQuery.
    pub(crate) fn status(&self) -> u8 {
        match self.state {
            State::Idle | State::Unit => b'I',
            State::Block => b'T',
            State::Failed => b'E',
        }
    }

    /// Returns whether there is a block, failed or not.
    pub(crate) fn is_block(&self) -> bool {
        matches!(self.state, State::Block | State::Failed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Rejects a statement in a failed block, except those that end it.
    pub(crate) fn accepts(&self, ends_failure: bool) -> Result<(), Fields> {
        if self.has_failed() && !ends_failure { Err(aborted()) } else { Ok(()) }
    }

    /// Notes that a statement runs.
    pub(crate) fn statement_begins(&mut self) {
        if self.state == State::Idle {
            self.state = State::Unit;
            self.unit.begins();
        }
    }

    /// Notes how many statements the message of the unit has.
    pub(crate) fn message_begins(&mut self, statements: usize) {
        self.several = statements > 1;
    }

    /// Returns whether a statement shares its transaction with others.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_block() || self.several
    }

    /// Notes that SQLite runs a statement.
    pub(crate) fn runs(&mut self) {
        self.has_run = true;
    }

    /// Returns the number of savepoints.
    pub(crate) fn depth(&self) -> usize {
        self.savepoints.len()
    }

    /// Returns whether also a statement that only reads needs SQLite's transaction.
    pub(crate) fn is_snapshot(&self) -> bool {
        self.snapshot
    }

    /// Returns the error of a statement that SQLite runs outside of transactions only.
    pub(crate) fn runs_alone(&self, verb: &str) -> Result<(), Fields> {
        if self.is_shared() {
            let message = format!("{verb} cannot run inside a transaction block");
            return Err(Fields::new("ERROR", "25001", message));
        }
        Ok(())
    }

    /// Runs a statement that begins, ends or divides a transaction. Returns its command tag, and a
    /// warning.
    pub(crate) fn control(
        &mut self,
        runner: &Runner,
        session: &Attached<'_>,
        control: &Control,
    ) -> Result<(&'static str, Option<Fields>), Failure> {
        let warn = |sqlstate, message| Some(Fields::new("WARNING", sqlstate, message));
        match control {
            Control::Begin { .. } if self.state == State::Block => {
                Ok(("BEGIN", warn("25001", "there is already a transaction in progress")))
            }
            Control::Begin { modes, writer } => {
                if *writer && !runner.engine.in_transaction() {
                    runner.backend.wants_lock();
                    runner.execute(session, "BEGIN IMMEDIATE")?;
                }
                self.state = State::Block;
                self.has_run = false;
                self.set_modes(*modes)?;
                Ok(("BEGIN", None))
            }
            Control::Commit { chain } | Control::Rollback { chain } => {
                let commits = matches!(control, Control::Commit { .. }) && !self.has_failed();
                let tag = if commits { "COMMIT" } else { "ROLLBACK" };
                let in_block = self.is_block();
                if *chain && !in_block {
                    let message = format!("{tag} AND CHAIN can only be used in transaction blocks");
                    return Err(Fields::new("ERROR", "25P01", message).into());
                }
                let modes = SETTINGS.with_borrow(Settings::modes);
                if commits {
                    self.commit(runner, session)?;
                } else {
                    self.roll_back(runner, session)?;
                }
                if *chain {
                    self.unit.begins();
                    self.state = State::Block;
                    self.set_modes(modes)?;
                }
                let none = || warn("25P01", "there is no transaction in progress");
                Ok((tag, if in_block { None } else { none() }))
            }
            Control::Savepoint(name) => {
                self.in_block("SAVEPOINT")?;
                // Without a transaction SQLite's savepoint would be one, and its release a commit.
                if !runner.engine.in_transaction() {
                    runner.execute(session, "BEGIN")?;
                }
                let index = self.savepoints.len();
                runner.execute(session, &format!("SAVEPOINT {POINT}{index}"))?;
                self.savepoints.push(folded(name));
                SETTINGS.with_borrow_mut(Settings::savepoint);
                Ok(("SAVEPOINT", None))
            }
            Control::Release(name) => {
                self.in_block("RELEASE SAVEPOINT")?;
                let at = self.savepoint(name)?;
                runner.execute(session, &format!("RELEASE {POINT}{at}"))?;
                self.savepoints.truncate(at);
                SETTINGS.with_borrow_mut(|settings| settings.release(at));
                Ok(("RELEASE", None))
            }
            Control::RollbackTo(name) => {
                self.in_block("ROLLBACK TO SAVEPOINT")?;
                let at = self.savepoint(name)?;
                let _rollback = session.begin_rollback();
                runner.execute(session, &format!("ROLLBACK TO {POINT}{at}"))?;
                self.savepoints.truncate(at + 1);
                SETTINGS.with_borrow_mut(|settings| settings.roll_back_to(at));
                self.state = State::Block;
                Ok(("ROLLBACK", None))
            }
        }
    }

    /// Sets the modes of the block, as `SET TRANSACTION` does.
    pub(crate) fn set_modes(&mut self, modes: Modes) -> Result<(), Fields> {
        let late = |what: &str| {
            let message = format!("{what} must be set before any query");
            Err(Fields::new("ERROR", "25001", message))
        };
        SETTINGS.with_borrow_mut(|settings| {
            if let Some(level) = modes.isolation {
                if self.has_run && settings.get("transaction_isolation") != Ok(level) {
                    return late("transaction isolation level");
                }
                settings.set("transaction_isolation", Some(level), true)?;
            }
            if let Some(read_only) = modes.read_only {
                if self.has_run && !read_only && settings.is_on("transaction_read_only") {
                    return late("transaction read-write mode");
                }
                let value = if read_only { "on" } else { "off" };
                settings.set("transaction_read_only", Some(value), true)?;
            }
            let level = settings.get("transaction_isolation")?;
            self.snapshot = matches!(level, "serializable" | "repeatable read");
            Ok(())
        })
    }

    /// Commits, whatever the end is: after an error nothing is left of the transaction.
    fn commit(&mut self, runner: &Runner, session: &Attached<'_>) -> Result<(), Failure> {
        let is_unit = self.state == State::Unit;
        self.forget();
        if !runner.engine.in_transaction() {
            // The client has been told of the changes in a block, but they end only here.
            if !is_unit || self.unit.has_changed() {
                SETTINGS.with_borrow_mut(|settings| settings.ends(true));
            }
            return Ok(());
        }
        // A commit that has been written cannot be undone.
        let _held = session.hold_off("commit");
        let committed = runner.execute(session, "COMMIT");
        if committed.is_err() {
            undo(&runner.engine, session);
        }
        SETTINGS.with_borrow_mut(|settings| settings.ends(committed.is_ok()));
        committed
    }

    /// Makes the error that follows end the transaction: it comes instead of a commit.
    pub(crate) fn commit_failed(&mut self) {
        self.state = State::Unit;
    }

    fn roll_back(&mut self, runner: &Runner, session: &Attached<'_>) -> Result<(), Failure> {
        self.forget();
        undo(&runner.engine, session);
        SETTINGS.with_borrow_mut(|settings| settings.ends(false));
        Ok(())
    }

    /// Commits the unit, at the end of its message. In a block there is nothing to do.
    pub(crate) fn unit_ends(
        &mut self,
        runner: Option<&Runner>,
        session: &Attached<'_>,
    ) -> Result<(), Failure> {
        match (self.state, runner) {
            (State::Unit, Some(runner)) => self.commit(runner, session),
            (State::Unit, None) => {
                self.forget();
                self.several = false;
                SETTINGS.with_borrow_mut(|settings| settings.ends(true));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends what an error leaves of the transaction. Called for each error that the client sees.
    pub(crate) fn fail(&mut self, engine: Option<&Engine>, session: &Attached<'_>) {
        match self.state {
            State::Idle | State::Unit => {
                self.forget();
                self.several = false;
                SETTINGS.with_borrow_mut(|settings| settings.ends(false));
            }
            State::Block | State::Failed => {
                if self.state == State::Block {
                    SETTINGS.with_borrow_mut(Settings::undo);
                }
                self.state = State::Failed;
                if engine.is_some_and(|engine| !engine.in_transaction()) {
                    // SQLite rolls all of it back if it interrupts a statement that writes.
                    self.savepoints.clear();
                }
                // The client may still go back to a savepoint.
                if !self.savepoints.is_empty() {
                    return;
                }
            }
        }
        if let Some(engine) = engine {
            undo(engine, session);
        }
    }

    fn in_block(&self, what: &str) -> Result<(), Fields> {
        if self.is_block() {
            return Ok(());
        }
        let message = format!("{what} can only be used in transaction blocks");
        Err(Fields::new("ERROR", "25P01", message))
    }

    /// Returns the index of the innermost savepoint with this name.
    fn savepoint(&self, name: &str) -> Result<usize, Fields> {
        let name = folded(name);
        let found = self.savepoints.iter().rposition(|other| *other == name);
        found.ok_or_else(|| {
            Fields::new("ERROR", "3B001", format!("savepoint \"{name}\" does not exist"))
        })
    }
}

/// SQLite's savepoints have numbers after this, since its names are not folded as PostgreSQL's are.
const POINT: &str = "savepoint_";

/// Rolls SQLite's transaction back, if there is one.
fn undo(engine: &Engine, session: &Attached<'_>) {
    if engine.in_transaction() {
        let _rollback = session.begin_rollback();
        // The rollback must not be interrupted.
        let _held = session.hold_off("rollback");
        // It fails only if SQLite has rolled back already.
        let _ = engine.connection.execute_batch("ROLLBACK");
    }
}

fn aborted() -> Fields {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Fields::new("ERROR", "25P02", message)
}
