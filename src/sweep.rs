//! Ending many at once: whatever a predicate over activity rows says.

use crate::activity::SessionRow;
use crate::ambient;
use crate::id::SessionId;
use crate::interrupt::{Author, Interrupt};
use crate::kill::{Receipt, Refused};
use crate::manager::{Cancel, SessionManager, Terminate};
use crate::outcome::{Ended, StatementOver};
use crate::sync::now;
use crate::wait;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How often one that moves on as it is about to be told is looked at again.
const TRIES: usize = 8;

/// How a sweep goes about it. By default it spares its author's own session, tells all
/// without a pause, and holds nobody to what their row says but the predicate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweep {
    batch: Option<(usize, Duration)>,
    own_too: bool,
    same_statement: bool,
}

impl Sweep {
    /// The default.
    #[must_use]
    pub fn new() -> Sweep {
        Sweep::default()
    }

    /// A rate: a pause after each `targets` (at least one) that have been told. In a session
    /// the pause is a wait that an interrupt ends, and the sweep with it.
    #[must_use]
    pub fn batch(self, targets: usize, pause: Duration) -> Sweep {
        Sweep { batch: Some((targets.max(1), pause)), ..self }
    }

    /// The author's own session is a target as any other.
    #[must_use]
    pub fn own_too(self) -> Sweep {
        Sweep { own_too: true, ..self }
    }

    /// Ties each request to the row that the predicate has seen. The target is told only if
    /// the same statement runs (or is queued, or was its last one and none has run since), and
    /// a transaction is open, or not, as the row says; this is compared in the very step that
    /// tells it. One that has moved on is looked at again, up to eight times, and is told only
    /// if the predicate holds for what it does by then.
    ///
    /// Without this a target may begin another statement between the look and the request:
    /// right for "all sessions of bob", wrong for "whoever runs this statement". What a row
    /// says of the user, the application and the address is not compared.
    ///
    /// A cancel always names the statement of the row.
    #[must_use]
    pub fn same_statement(self) -> Sweep {
        Sweep { same_statement: true, ..self }
    }
}

/// What a sweep came to: a receipt for each target that was told, in the order in which they
/// were, and what became of the others.
///
/// It is a future as well, of the end of them all: inside a session wait for it with
/// [`Attached::block_on`](crate::Attached::block_on).
#[derive(Debug)]
#[non_exhaustive]
pub struct Swept<T> {
    /// The targets that were told.
    pub receipts: Vec<Receipt<T>>,
    /// Those that were refused, and why: the policy does not permit it.
    pub refused: Vec<(SessionId, Refused)>,
    /// Those that had ended when they were to be told.
    pub gone: usize,
    /// Those that did something else by then, and were left alone: see
    /// [`Sweep::same_statement`]. For a cancel, those that run no statement too.
    pub moved_on: usize,
    /// Whether the author's own session was spared.
    pub spared_own: bool,
    /// What ended the sweep before it was through: its own session was told to stop. Return
    /// it outwards.
    pub stopped: Option<Interrupt>,
    /// How many of the receipts, from the first, are known to be complete.
    complete: usize,
}

impl<T> Default for Swept<T> {
    fn default() -> Self {
        Swept {
            receipts: Vec::new(),
            refused: Vec::new(),
            gone: 0,
            moved_on: 0,
            spared_own: false,
            stopped: None,
            complete: 0,
        }
    }
}

impl<T: Clone> Swept<T> {
    /// How many were told.
    #[must_use]
    pub fn count(&self) -> usize {
        self.receipts.len()
    }

    /// Waits, without polling, until all that were told have ended, for at most `limit`.
    /// Returns how many have not; their requests stand.
    ///
    /// The wait can't be interrupted.
    pub fn wait(&mut self, limit: Duration) -> usize {
        // A limit too long for the clock is no limit.
        let _ = wait::block_on_deaf(&mut *self, now().checked_add(limit));
        self.receipts.iter().filter(|receipt| receipt.poll().is_none()).count()
    }
}

impl<T: Clone> Future for Swept<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let swept = &mut *self;
        // All have to end, so it does not matter which is waited for first.
        while let Some(receipt) = swept.receipts.get_mut(swept.complete) {
            ready!(Pin::new(receipt).poll(context));
            swept.complete += 1;
        }
        Poll::Ready(())
    }
}

impl SessionManager {
    /// The sessions that a sweep would tell, as they are now: a dry run. Those that the policy
    /// does not let `author` end are not among them.
    ///
    /// Pass the rows to [`terminate_rows`](Self::terminate_rows) to end just these.
    pub fn dry_run(
        &self,
        mut predicate: impl FnMut(&SessionRow) -> bool,
        author: &Author,
        sweep: Sweep,
    ) -> Vec<SessionRow> {
        let spared = author.session.filter(|_| !sweep.own_too);
        self.sessions_shown_to(author)
            .filter(|row| Some(row.session) != spared && predicate(row))
            .filter(|row| self.may_end(author, row))
            .collect()
    }

    /// Asks for the end of each session for which `predicate` holds.
    ///
    /// Each row is made, and the predicate asked, just before its session is told. Sessions
    /// come and go meanwhile: one that is open all the while is looked at, one that opens
    /// during the sweep may be, and a request never hits the successor of a session that has
    /// ended. The predicate is called with no lock held. What the policy refuses is in
    /// [`Swept::refused`].
    pub fn terminate_where(
        &self,
        predicate: impl FnMut(&SessionRow) -> bool,
        request: Terminate,
        sweep: Sweep,
    ) -> Swept<Ended> {
        let author = request.author().clone();
        self.sweep(predicate, &author, sweep, |row| {
            let seen = sweep.same_statement.then_some(row.word);
            self.terminate_as_seen(row.session.into(), request.clone(), seen)
        })
    }

    /// Asks for the end of the statement of each session for which `predicate` holds, as
    /// [`terminate_where`](Self::terminate_where) does. Each request names the statement of
    /// its row, whatever `request` names.
    pub fn cancel_where(
        &self,
        predicate: impl FnMut(&SessionRow) -> bool,
        request: Cancel,
        sweep: Sweep,
    ) -> Swept<StatementOver> {
        let author = request.author().clone();
        self.sweep(predicate, &author, sweep, |row| match row.statement {
            Some(statement) => self.cancel(row.session, request.clone().naming(statement)),
            None => Err(Refused::NothingRuns(row.session)),
        })
    }

    /// Asks for the end of the sessions in these rows, such as a [`dry_run`](Self::dry_run) has
    /// returned; of no others. With [`Sweep::same_statement`] each is told only if it still
    /// does what its row says.
    pub fn terminate_rows(
        &self,
        rows: &[SessionRow],
        request: Terminate,
        sweep: Sweep,
    ) -> Swept<Ended> {
        let mut broom = Broom::new(sweep, request.author());
        for row in rows {
            if broom.spares(row.session) {
                continue;
            }
            if let Some(Pause::Stopped) = broom.pauses() {
                break;
            }
            let seen = sweep.same_statement.then_some(row.word);
            let told = self.terminate_as_seen(row.session.into(), request.clone(), seen);
            broom.keep(row.session, told, true);
        }
        broom.swept
    }

    /// Asks for the end of all sessions of that user.
    pub fn terminate_user(&self, user: &str, request: Terminate, sweep: Sweep) -> Swept<Ended> {
        self.terminate_where(|row| *row.description.user == *user, request, sweep)
    }

    /// Asks for the end of whatever statements run in the sessions of that user.
    pub fn cancel_user(&self, user: &str, request: Cancel, sweep: Sweep) -> Swept<StatementOver> {
        self.cancel_where(|row| *row.description.user == *user, request, sweep)
    }

    fn sweep<T>(
        &self,
        mut predicate: impl FnMut(&SessionRow) -> bool,
        author: &Author,
        sweep: Sweep,
        tell: impl Fn(&SessionRow) -> Result<Receipt<T>, Refused>,
    ) -> Swept<T> {
        let mut broom = Broom::new(sweep, author);
        'rows: for mut row in self.sessions_shown_to(author) {
            let mut tries = 0;
            while predicate(&row) && !broom.spares(row.session) {
                let again = match broom.pauses() {
                    Some(Pause::Stopped) => break 'rows,
                    Some(Pause::Over) => true,
                    None => {
                        tries += 1;
                        !broom.keep(row.session, tell(&row), tries == TRIES)
                    }
                };
                if !again {
                    break;
                }
                let Some(now) = self.session(row.session) else {
                    broom.swept.gone += 1;
                    break;
                };
                row = now;
            }
        }
        broom.swept
    }
}

/// A sweep on its way.
struct Broom<T> {
    sweep: Sweep,
    own: Option<SessionId>,
    in_batch: usize,
    swept: Swept<T>,
}

enum Pause {
    Over,
    Stopped,
}

impl<T> Broom<T> {
    fn new(sweep: Sweep, author: &Author) -> Broom<T> {
        Broom { sweep, own: author.session, in_batch: 0, swept: Swept::default() }
    }

    fn spares(&mut self, session: SessionId) -> bool {
        let spared = self.own == Some(session) && !self.sweep.own_too;
        self.swept.spared_own |= spared;
        spared
    }

    /// The pause between batches, where it is time for one.
    fn pauses(&mut self) -> Option<Pause> {
        let (_, pause) = self.sweep.batch.filter(|(size, _)| *size == self.in_batch)?;
        self.in_batch = 0;
        match ambient::sleep(pause) {
            Ok(()) => Some(Pause::Over),
            Err(interrupt) => {
                self.swept.stopped = Some(interrupt);
                Some(Pause::Stopped)
            }
        }
    }

    /// Keeps what came of telling it; `false` where it has moved on and is to be looked at
    /// again.
    fn keep(&mut self, session: SessionId, told: Result<Receipt<T>, Refused>, last: bool) -> bool {
        let swept = &mut self.swept;
        match told {
            Ok(receipt) => {
                swept.receipts.push(receipt);
                self.in_batch += 1;
            }
            Err(Refused::NoSuchSession(_) | Refused::AlreadyEnded(_)) => swept.gone += 1,
            Err(Refused::Stale(..)) if !last => return false,
            Err(Refused::Stale(..) | Refused::NothingRuns(_)) => swept.moved_on += 1,
            Err(refused) => swept.refused.push((session, refused)),
        }
        true
    }
}
