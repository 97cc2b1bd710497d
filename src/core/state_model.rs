//! What a session is, as plain data: the table of what a kill does, with no word in sight.

use crate::types::request::TerminateMode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Detached,
    /// On no thread, in the middle of what a task runs, which waits.
    Suspended,
    Attached {
        thread: usize,
        rest: Rest,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rest {
    Awake,
    Asleep,
    /// Asleep in a wait that only a termination ends.
    Deaf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    None,
    Queued { number: u64, cancelled: bool },
    Running { number: u64, cancelled: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Model {
    pub(super) place: Place,
    pub(super) command: Command,
    pub(super) transaction: bool,
    pub(super) told: Option<TerminateMode>,
    /// How many statement numbers have been given out.
    pub(super) given: u64,
    pub(super) ended: bool,
    /// A watcher waits for the next safe point.
    pub(super) probed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Attach(usize),
    Suspend,
    Detach,
    DetachQueued,
    Queue,
    VoidQueued,
    /// In a hold-off, or not.
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
    /// Whether the types let this come about. A killer's may at any time. A guard may be
    /// forgotten, so that a session is attached again, queues or ends where it was; but a
    /// sleep always returns before that.
    pub(super) fn possible(&self, event: Event) -> bool {
        use Event::*;
        match (event, self.place) {
            (Terminate { .. } | Cancel { .. } | Probe { .. }, _) => true,
            _ if self.ended => false,
            (Attach(_) | Queue | End, Place::Detached) => true,
            // The task goes on, or is given up.
            (Attach(_) | Detach | End, Place::Suspended) => true,
            (_, Place::Detached | Place::Suspended) => false,
            (Begin { .. }, Place::Attached { rest: Rest::Awake, .. }) => !self.running(),
            (Finish | Suspend, Place::Attached { rest: Rest::Awake, .. }) => self.running(),
            (Wake, Place::Attached { rest, .. }) => rest != Rest::Awake,
            (_, Place::Attached { rest: Rest::Awake, .. }) => true,
            (Sleep { .. } | Transaction(_) | Passed, Place::Attached { .. }) => true,
            (_, Place::Attached { .. }) => false,
        }
    }

    fn running(&self) -> bool {
        matches!(self.command, Command::Running { .. })
    }

    pub(super) fn terminate_due(&self) -> bool {
        let Some(when) = self.told else { return false };
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
        let killable = matches!(self.place, Place::Attached { rest: Rest::Deaf, .. });
        matches!(self.command, Command::Running { cancelled: true, .. }) && !killable
    }

    /// The statement that runs, or the queued command's.
    pub(super) fn statement(&self) -> Option<u64> {
        match self.command {
            Command::None => None,
            Command::Queued { number, .. } | Command::Running { number, .. } => Some(number),
        }
    }

    /// What a request that is tied to what the session does compares: which statement runs, is
    /// queued or was the last, and whether a transaction is open.
    pub(super) fn does(&self) -> (u64, bool, bool, bool, bool) {
        let queued = matches!(self.command, Command::Queued { .. });
        (self.given, self.running(), queued, self.transaction, self.ended)
    }

    /// Whether whoever asked last has to wake the session.
    pub(super) fn needs_wake(&self) -> bool {
        let waits = !matches!(self.place, Place::Attached { rest: Rest::Awake, .. });
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
        matches!(self.place, Place::Attached { thread: here, .. } if here == thread)
    }

    /// Whether an event, if it comes about, tells a watcher that the session does not run on and
    /// on: it is a safe point, or one that sleeps or that no thread runs needs none.
    fn passes(&self, event: Event) -> bool {
        use Event::*;
        matches!(
            event,
            Passed | Begin { .. } | Sleep { .. } | Suspend | Detach | DetachQueued | End
        )
    }

    /// Whom a killer may not hit, wherever its request comes from.
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
        if let Place::Attached { rest, .. } = &mut self.place {
            // Within a deaf wait a cancel ends no other wait either.
            *rest = if next == Rest::Asleep { (*rest).max(next) } else { next };
        }
    }

    /// `last` is the last statement number there is.
    pub(super) fn step(mut self, event: Event, last: u64) -> Result<Model, No> {
        if self.passes(event) {
            self.probed = false;
        }
        match event {
            Event::Attach(thread) => self.place = Place::Attached { thread, rest: Rest::Awake },
            Event::Suspend => self.place = Place::Suspended,
            Event::Detach => {
                self.place = Place::Detached;
                self.command = Command::None;
            }
            Event::DetachQueued => {
                self.place = Place::Detached;
                if self.running() {
                    self.command = Command::None;
                }
                self.queue(last);
            }
            Event::Queue => self.queue(last),
            Event::VoidQueued => {
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
            Event::Sleep { killable: true } => self.rest(Rest::Deaf),
            Event::Sleep { killable: false } => self.rest(Rest::Asleep),
            Event::Wake => {
                self.rest(Rest::Awake);
                self.probed = false;
            }
            Event::End => {
                self.place = Place::Detached;
                self.command = Command::None;
                self.ended = true;
            }
            Event::Terminate { when, only } => {
                self.hit(only)?;
                self.told = self.told.max(Some(when));
            }
            Event::Cancel { named, only } => {
                self.hit(only)?;
                self.cancel(named)?;
            }
            Event::Probe { held } => match self.place {
                _ if self.ended => return Err(No::NotRunning),
                Place::Attached { rest, .. } if rest == Rest::Awake || held => self.probed = true,
                _ => return Err(No::NotRunning),
            },
            Event::Passed => {}
        }
        Ok(self)
    }
}
