//! Bulk requests: to all sessions whose rows satisfy a predicate.

use crate::manager::info::SessionInfo;
use crate::manager::manager::SessionManager;
use crate::session::receipt::Receipt;
use crate::session::wait::{self, ambient};
use crate::sync::now;
use crate::types::error::RequestError;
use crate::types::id::SessionId;
use crate::types::interrupt::Interrupt;
use crate::types::outcome::{SessionEnd, StatementEnd};
use crate::types::request::{Cancel, Requester, Terminate};
use std::pin::pin;
use std::time::Duration;

/// The maximum number of attempts to send a request to a session that changes before it.
const TRIES: usize = 8;

/// Options of a bulk request. By default it skips the requester's own session, makes no pauses, and
/// checks each target by the predicate alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOptions {
    batch: Option<(usize, Duration)>,
    include_self: bool,
    only_if_unchanged: bool,
}

impl BulkOptions {
    /// Returns the default options.
    #[must_use]
    pub fn new() -> BulkOptions {
        BulkOptions::default()
    }

    /// Sends the requests in batches, to limit the rate. After each `targets` accepted requests
    /// there is a pause of `pause`; zero `targets` count as one. In a session the pause is an
    /// interruptible wait, and an interrupt stops the bulk request.
    #[must_use]
    pub fn batch(self, targets: usize, pause: Duration) -> BulkOptions {
        BulkOptions { batch: Some((targets.max(1), pause)), ..self }
    }

    /// Includes the requester's own session among the targets.
    #[must_use]
    pub fn include_self(self) -> BulkOptions {
        BulkOptions { include_self: true, ..self }
    }

    /// Accepts a request only if the target has not changed since its row was read. This is checked
    /// in the transition of the request. A target has changed if a statement was queued, began or
    /// ended, or if a transaction began or ended. Then its row is read again, and the predicate
    /// decides again. After eight attempts the target is skipped.
    ///
    /// Without this option a target may begin another statement between the row and the request.
    /// That is right for "all sessions of bob", and wrong for "the sessions that run this
    /// statement". The user, the application and the address in the row are not compared.
    ///
    /// A cancel always names the statement of the row.
    #[must_use]
    pub fn only_if_unchanged(self) -> BulkOptions {
        BulkOptions { only_if_unchanged: true, ..self }
    }
}

/// The result of a bulk request: a receipt for each accepted request, in the order of the requests,
/// and the outcome of the other requests.
///
/// Inside a session wait for all targets with [`ended`](Self::ended) and
/// [`Attached::block_on`](crate::Attached::block_on).
#[must_use = "it carries the rejections, and the interrupt that stopped it"]
#[derive(Debug)]
#[non_exhaustive]
pub struct BulkResult<T> {
    /// The receipts of the accepted requests.
    pub receipts: Vec<Receipt<T>>,
    /// The sessions whose requests were rejected, for example by the policy, with the errors.
    pub rejected: Vec<(SessionId, RequestError)>,
    /// The number of sessions that had ended before their request.
    pub already_ended: usize,
    /// The number of sessions that were skipped because they had changed before their request: see
    /// [`BulkOptions::only_if_unchanged`]. For a cancel it includes the sessions that run no
    /// statement.
    pub changed: usize,
    /// Whether the requester's own session was skipped.
    pub skipped_self: bool,
    /// The interrupt of the requester's own session that stopped the bulk request, if one did.
    /// Propagate it to the caller.
    pub interrupted: Option<Interrupt>,
    /// The number of receipts, from the first, that are complete.
    complete: usize,
}

impl<T> Default for BulkResult<T> {
    fn default() -> Self {
        BulkResult {
            receipts: Vec::new(),
            rejected: Vec::new(),
            already_ended: 0,
            changed: 0,
            skipped_self: false,
            interrupted: None,
            complete: 0,
        }
    }
}

impl<T: Clone> BulkResult<T> {
    /// Returns the number of accepted requests.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.receipts.len()
    }

    /// Blocks until all targets of accepted requests have ended, for at most `timeout`. Returns the
    /// number of targets that have not ended; their requests stay pending.
    ///
    /// The wait cannot be interrupted.
    #[must_use = "it returns the number of targets that have not ended"]
    pub fn wait_timeout(&mut self, timeout: Duration) -> usize {
        // A timeout too long for the clock is no timeout.
        let _ = wait::block_on_uninterruptibly(pin!(self.ended()), now().checked_add(timeout));
        self.receipts.iter().filter(|receipt| receipt.try_get().is_none()).count()
    }

    /// Waits until all targets of accepted requests have ended. If the future is dropped, the requests
    /// stay pending.
    pub async fn ended(&mut self) {
        // All targets must end, so the order does not matter.
        while let Some(receipt) = self.receipts.get_mut(self.complete) {
            receipt.await;
            self.complete += 1;
        }
    }
}

impl SessionManager {
    /// Returns the sessions that a bulk request would target now, without sending a request.
    /// Sessions that the policy does not let `requester` end are left out.
    ///
    /// Pass the rows to [`terminate_rows`](Self::terminate_rows) to end just these.
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let session = manager.open(ClientInfo::default())?;
    /// use safepoint::{Requester, manager::BulkOptions, view::SessionState};
    ///
    /// let idle = |row: &safepoint::view::SessionInfo| row.state == SessionState::Idle;
    /// let would_end = manager.dry_run(idle, &Requester::system(), BulkOptions::new());
    /// assert_eq!(would_end[0].id, session.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn dry_run(
        &self,
        mut predicate: impl FnMut(&SessionInfo) -> bool,
        requester: &Requester,
        options: BulkOptions,
    ) -> Vec<SessionInfo> {
        let skipped = requester.session.filter(|_| !options.include_self);
        self.sessions_visible_to(requester)
            .filter(|row| Some(row.id) != skipped && predicate(row))
            .filter(|row| self.may_end(requester, row))
            .collect()
    }

    /// Requests the termination of each session for which `predicate` returns `true`.
    ///
    /// Each row is read, and the predicate called, immediately before the request. The request
    /// covers every session that is open during the whole call, and may cover a session that opens
    /// during the call. It reaches no session that opens after the session of the row has ended.
    /// The predicate is called without locks held. The rejections of the policy are in
    /// [`BulkResult::rejected`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use safepoint::{ClientInfo, SessionManager, ThreadModel};
    /// # let manager = SessionManager::new(ThreadModel::PerSession);
    /// # let session = manager.open(ClientInfo::default())?;
    /// use safepoint::{Requester, Terminate, TerminateMode, manager::BulkOptions, view::SessionState};
    ///
    /// let idle = |row: &safepoint::view::SessionInfo| row.state == SessionState::Idle;
    /// let request = Terminate::new(TerminateMode::Immediate, Requester::system());
    /// let result = manager.terminate_where(idle, request, BulkOptions::new());
    /// assert_eq!(result.accepted(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn terminate_where(
        &self,
        predicate: impl FnMut(&SessionInfo) -> bool,
        request: Terminate,
        options: BulkOptions,
    ) -> BulkResult<SessionEnd> {
        let requester = request.requester().clone();
        self.request_each(predicate, &requester, options, |row| {
            let expected = options.only_if_unchanged.then_some(row.word);
            self.terminate_if_unchanged(row.id.into(), request.clone(), expected)
        })
    }

    /// Requests a cancel of the statement of each session for which `predicate` returns `true`, as
    /// [`terminate_where`](Self::terminate_where) does. Each request names the statement of its
    /// row; a statement that `request` names is ignored.
    pub fn cancel_where(
        &self,
        predicate: impl FnMut(&SessionInfo) -> bool,
        request: Cancel,
        options: BulkOptions,
    ) -> BulkResult<StatementEnd> {
        let requester = request.requester().clone();
        self.request_each(predicate, &requester, options, |row| match row.statement_id {
            Some(statement) => self.cancel(row.id, request.clone().naming(statement)),
            None => Err(RequestError::NoActiveStatement(row.id)),
        })
    }

    /// Requests the termination of the sessions in these rows and of no others. The rows may come
    /// from a [`dry_run`](Self::dry_run). With [`BulkOptions::only_if_unchanged`] a session is
    /// skipped if it has changed since its row was read.
    pub fn terminate_rows(
        &self,
        rows: &[SessionInfo],
        request: Terminate,
        options: BulkOptions,
    ) -> BulkResult<SessionEnd> {
        let mut run = BulkRun::new(options, request.requester());
        for row in rows {
            if run.skips(row.id) {
                continue;
            }
            if let Some(Pause::Stopped) = run.pause_if_full() {
                break;
            }
            let expected = options.only_if_unchanged.then_some(row.word);
            let outcome = self.terminate_if_unchanged(row.id.into(), request.clone(), expected);
            run.record(row.id, outcome, true);
        }
        run.result
    }

    /// Requests the termination of all sessions of this user.
    pub fn terminate_user(
        &self,
        user: &str,
        request: Terminate,
        options: BulkOptions,
    ) -> BulkResult<SessionEnd> {
        self.terminate_where(|row| *row.client.user == *user, request, options)
    }

    /// Requests a cancel of the statements that run in the sessions of this user, or are queued.
    pub fn cancel_user(
        &self,
        user: &str,
        request: Cancel,
        options: BulkOptions,
    ) -> BulkResult<StatementEnd> {
        self.cancel_where(|row| *row.client.user == *user, request, options)
    }

    fn request_each<T>(
        &self,
        mut predicate: impl FnMut(&SessionInfo) -> bool,
        requester: &Requester,
        options: BulkOptions,
        send: impl Fn(&SessionInfo) -> Result<Receipt<T>, RequestError>,
    ) -> BulkResult<T> {
        let mut run = BulkRun::new(options, requester);
        'rows: for mut row in self.sessions_visible_to(requester) {
            let mut tries = 0;
            while predicate(&row) && !run.skips(row.id) {
                let again = match run.pause_if_full() {
                    Some(Pause::Stopped) => break 'rows,
                    Some(Pause::Over) => true,
                    None => {
                        tries += 1;
                        !run.record(row.id, send(&row), tries == TRIES)
                    }
                };
                if !again {
                    break;
                }
                let Some(now) = self.session_info(row.id) else {
                    run.result.already_ended += 1;
                    break;
                };
                row = self.disclose(requester, now);
            }
        }
        run.result
    }
}

/// A bulk request in progress.
struct BulkRun<T> {
    options: BulkOptions,
    requester_session: Option<SessionId>,
    in_batch: usize,
    result: BulkResult<T>,
}

enum Pause {
    Over,
    Stopped,
}

impl<T> BulkRun<T> {
    fn new(options: BulkOptions, requester: &Requester) -> BulkRun<T> {
        BulkRun {
            options,
            requester_session: requester.session,
            in_batch: 0,
            result: BulkResult::default(),
        }
    }

    fn skips(&mut self, session: SessionId) -> bool {
        let skipped = self.requester_session == Some(session) && !self.options.include_self;
        self.result.skipped_self |= skipped;
        skipped
    }

    /// Makes the pause between batches, if a batch is full.
    fn pause_if_full(&mut self) -> Option<Pause> {
        let (_, pause) = self.options.batch.filter(|(size, _)| *size == self.in_batch)?;
        self.in_batch = 0;
        match ambient::sleep(pause) {
            Ok(()) => Some(Pause::Over),
            Err(interrupt) => {
                self.result.interrupted = Some(interrupt);
                Some(Pause::Stopped)
            }
        }
    }

    /// Stores the outcome of a request. Returns `false` if the target has changed, so that its row
    /// must be read again.
    fn record(
        &mut self,
        session: SessionId,
        outcome: Result<Receipt<T>, RequestError>,
        last: bool,
    ) -> bool {
        let result = &mut self.result;
        match outcome {
            Ok(receipt) => {
                result.receipts.push(receipt);
                self.in_batch += 1;
            }
            Err(RequestError::NoSuchSession(_) | RequestError::AlreadyEnded(_)) => {
                result.already_ended += 1
            }
            Err(RequestError::StatementEnded { .. } | RequestError::SessionChanged(_)) if !last => {
                return false;
            }
            Err(
                RequestError::StatementEnded { .. }
                | RequestError::SessionChanged(_)
                | RequestError::NoActiveStatement(_),
            ) => result.changed += 1,
            Err(error) => result.rejected.push((session, error)),
        }
        true
    }
}
