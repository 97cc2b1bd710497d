//! A model of a session as plain data, without a state word, and the effect of each event on it.

use crate::types::request::TerminateMode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Placement {
    Detached,
    /// No thread runs the session, but a task does, which waits in its statement.
    Suspended,
    Attached {
        thread: usize,
        rest: Rest,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rest {
    Awake,
    Waiting,
    /// In a killable wait, which only a termination ends.
    Killable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    None,
    Queued { number: u64, cancelled: bool },
    Running { number: u64, cancelled: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Model {
    pub(super) placement: Placement,
    pub(super) command: Command,
    pub(super) transaction: bool,
    pub(super) pending: Option<TerminateMode>,
    /// The number of statement ids assigned until now.
    pub(super) given: u64,
    pub(super) ended: bool,
    /// A probe waits for the next safe point.
    pub(super) probed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Attach(usize),
    Suspend,
    Detach,
    DetachToQueue,
    Queue,
    DiscardReserved,
    /// Whether the session is in a hold-off.
    Begin {
        held: bool,
    },
    Finish,
    Transaction(bool),
    Sleep {
        killable: bool,
    },
    Wake,
    End,
    Terminate {
        when: TerminateMode,
        only: Option<usize>,
    },
    Cancel {
        named: Option<u64>,
        only: Option<usize>,
    },
    Probe {
        held: bool,
    },
    Passed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum No {
    Ended,
    NotThere,
    Stale,
    NotYet,
    NothingRuns,
    TerminationFirst,
    Exhausted,
    NotRunning,
}

impl Model {
    /// Returns whether the types allow the event now. A requester's event is always possible. A
    /// guard may be leaked, so a session may be attached again, queued or ended while it is
    /// attached or in a statement. A wait always returns before that.
    pub(super) fn possible(&self, event: Event) -> bool {
        use Event::*;
        match (event, self.placement) {
            (Terminate { .. } | Cancel { .. } | Probe { .. }, _) => true,
            _ if self.ended => false,
            (Attach(_) | Queue | End, Placement::Detached) => true,
            // The task continues, or is dropped.
            (Attach(_) | Detach | End, Placement::Suspended) => true,
            (_, Placement::Detached | Placement::Suspended) => false,
            (Begin { .. }, Placement::Attached { rest: Rest::Awake, .. }) => !self.running(),
            (Finish | Suspend, Placement::Attached { rest: Rest::Awake, .. }) => self.running(),
            (Wake, Placement::Attached { rest, .. }) => rest != Rest::Awake,
            (_, Placement::Attached { rest: Rest::Awake, .. }) => true,
            (Sleep { .. } | Transaction(_) | Passed, Placement::Attached { .. }) => true,
            (_, Placement::Attached { .. }) => false,
        }
    }

    fn running(&self) -> bool {
        matches!(self.command, Command::Running { .. })
    }

    pub(super) fn terminate_due(&self) -> bool {
        let Some(when) = self.pending else { return false };
        if self.ended {
            return false;
        }
        match when {
            TerminateMode::Immediate => true,
            TerminateMode::AfterStatement => !self.running(),
            TerminateMode::AfterTransaction => !self.running() && !self.transaction,
        }
    }

    pub(super) fn cancel_due(&self) -> bool {
        let killable = matches!(self.placement, Placement::Attached { rest: Rest::Killable, .. });
        matches!(self.command, Command::Running { cancelled: true, .. }) && !killable
    }

    /// Returns whether the helpers of the running statement must stop. A wait of the runner, or a probe
    /// of it, is nothing to them.
    pub(super) fn stops_helpers(&self) -> bool {
        let Command::Running { cancelled, .. } = self.command else { return false };
        !self.ended && (cancelled || self.pending == Some(TerminateMode::Immediate))
    }

    /// Returns the statement that runs or is queued.
    pub(super) fn statement(&self) -> Option<u64> {
        match self.command {
            Command::None => None,
            Command::Queued { number, .. } | Command::Running { number, .. } => Some(number),
        }
    }

    /// Returns the activity that `same_activity` compares: the statement that runs, is queued or
    /// ran last, and whether a transaction is open.
    pub(super) fn does(&self) -> (u64, bool, bool, bool, bool) {
        let queued = matches!(self.command, Command::Queued { .. });
        (self.given, self.running(), queued, self.transaction, self.ended)
    }

    /// Returns whether the last requester must wake the session.
    pub(super) fn needs_wake(&self) -> bool {
        let waits = !matches!(self.placement, Placement::Attached { rest: Rest::Awake, .. });
        waits && (self.terminate_due() || self.cancel_due())
    }

    fn next_number(&mut self, last: u64) -> Option<u64> {
        if self.given == last {
            return None;
        }
        self.given += 1;
        Some(self.given)
    }

    fn queue(&mut self, last: u64) {
        if self.command == Command::None
            && let Some(number) = self.next_number(last)
        {
            self.command = Command::Queued { number, cancelled: false };
        }
    }

    fn is_on(&self, thread: usize) -> bool {
        matches!(self.placement, Placement::Attached { thread: here, .. } if here == thread)
    }

    /// Returns whether the event answers a probe: it is a safe point, or it begins a wait or leaves
    /// the thread, so that no answer is needed.
    fn passes(&self, event: Event) -> bool {
        use Event::*;
        matches!(
            event,
            Passed | Begin { .. } | Sleep { .. } | Suspend | Detach | DetachToQueue | End
        )
    }

    /// Rejects a request for another thread than the session's, or for a session that has ended.
    fn hit(&self, only: Option<usize>) -> Result<(), No> {
        match only {
            _ if self.ended => Err(No::Ended),
            Some(thread) if !self.is_on(thread) => Err(No::NotThere),
            _ => Ok(()),
        }
    }

    fn cancel(&mut self, named: Option<u64>) -> Result<(), No> {
        match (&mut self.command, named) {
            (Command::Running { cancelled, .. }, None) => *cancelled = true,
            (_, None) => return Err(No::NothingRuns),
            (
                Command::Running { number, cancelled } | Command::Queued { number, cancelled },
                Some(named),
            ) if *number == named => *cancelled = true,
            (_, Some(named)) if (1..=self.given).contains(&named) => return Err(No::Stale),
            _ => return Err(No::NotYet),
        }
        Ok(())
    }

    fn rest(&mut self, next: Rest) {
        if let Placement::Attached { rest, .. } = &mut self.placement {
            // A cancel does not end a wait inside a killable wait either.
            *rest = if next == Rest::Waiting { (*rest).max(next) } else { next };
        }
    }

    /// Applies an event. `last` is the last statement id that exists.
    pub(super) fn transition(mut self, event: Event, last: u64) -> Result<Model, No> {
        if self.passes(event) {
            self.probed = false;
        }
        match event {
            Event::Attach(thread) => {
                self.placement = Placement::Attached { thread, rest: Rest::Awake }
            }
            Event::Suspend => self.placement = Placement::Suspended,
            Event::Detach => {
                self.placement = Placement::Detached;
                self.command = Command::None;
            }
            Event::DetachToQueue => {
                self.placement = Placement::Detached;
                if self.running() {
                    self.command = Command::None;
                }
                self.queue(last);
            }
            Event::Queue => self.queue(last),
            Event::DiscardReserved => {
                if matches!(self.command, Command::Queued { .. }) {
                    self.command = Command::None;
                }
            }
            Event::Begin { held: false } if self.terminate_due() => {
                return Err(No::TerminationFirst);
            }
            Event::Begin { .. } => {
                self.command = match self.command {
                    Command::Queued { number, cancelled } => Command::Running { number, cancelled },
                    _ => {
                        let number = self.next_number(last).ok_or(No::Exhausted)?;
                        Command::Running { number, cancelled: false }
                    }
                }
            }
            Event::Finish => self.command = Command::None,
            Event::Transaction(open) => self.transaction = open,
            Event::Sleep { killable: true } => self.rest(Rest::Killable),
            Event::Sleep { killable: false } => self.rest(Rest::Waiting),
            Event::Wake => {
                self.rest(Rest::Awake);
                self.probed = false;
            }
            Event::End => {
                self.placement = Placement::Detached;
                self.command = Command::None;
                self.ended = true;
            }
            Event::Terminate { when, only } => {
                self.hit(only)?;
                self.pending = self.pending.max(Some(when));
            }
            Event::Cancel { named, only } => {
                self.hit(only)?;
                self.cancel(named)?;
            }
            Event::Probe { held } => match self.placement {
                _ if self.ended => return Err(No::NotRunning),
                Placement::Attached { rest, .. } if rest == Rest::Awake || held => {
                    self.probed = true
                }
                _ => return Err(No::NotRunning),
            },
            Event::Passed => {}
        }
        Ok(self)
    }
}
