//! Why a session that was told to end has not ended: what it says of itself off the fast path,
//! and the answers.

use crate::id::{SessionId, ThreadId};
use crate::interrupt::{InterruptKind, Request, When};
use crate::sync::{Mutex, now};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A place in the source.
pub(crate) type Place = &'static Location<'static>;

/// A time to measure from, and the same to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) time: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Moment {
        Moment { at: now(), time: SystemTime::now() }
    }

    pub(crate) fn elapsed(self) -> Duration {
        now().saturating_duration_since(self.at)
    }
}

/// As `file:line:column`.
#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(at: &Place, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

/// A place in running code, and the time at which the session came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Spot {
    /// The place in the source.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
    pub at: &'static Location<'static>,
    /// The time.
    pub since: SystemTime,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

/// A hold-off in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HeldOff {
    /// The name that the code gave it.
    pub name: &'static str,
    /// Where it began, and when.
    pub spot: Spot,
}

impl fmt::Display for HeldOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.spot)
    }
}

/// How far a rollback has come, in whatever the embedder counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// All that there is to do, if that is known.
    pub total: Option<u64>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total {
            Some(total) => write!(f, "{} of {total}", self.done),
            None => write!(f, "{}", self.done),
        }
    }
}

/// Why a session, or a statement, that was told to end has not ended yet, as far as could be
/// seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum WhyNotYet {
    /// The request is a deferred one: the statement, or the transaction, goes on.
    NotDue {
        /// What it waits for.
        when: When,
    },
    /// Its command waits for a thread.
    Queued,
    /// No thread runs it. Its holder has been woken, and has not ended it yet.
    Detached,
    /// It runs, and has passed no safe point since the request fell due.
    NoSafePoint {
        /// It has passed none for so long at least. Zero where that is not known: a deferred
        /// request has fallen due, and nobody noted when.
        at_least: Duration,
        /// The last one that was noted. One is noted when it answers a [probe](crate::Probe), and
        /// no other time; so there may have been later ones before the request fell due.
        last: Option<Spot>,
    },
    /// A hold-off is in force: the outermost one.
    HeldOff(HeldOff),
    /// It is in a wait that the request does not end. See [`SessionRow::wait`].
    ///
    /// [`SessionRow::wait`]: crate::SessionRow::wait
    Waiting(Spot),
    /// A safe point has reported the interrupt, or the code says that it
    /// [rolls back](crate::Attached::unwinding).
    Unwinding {
        /// Since then. The place is that of the safe point, or of the rollback.
        spot: Spot,
        /// How far the rollback has come, if the code says that.
        progress: Option<Progress>,
    },
}

impl fmt::Display for WhyNotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyNotYet::NotDue { when: When::AfterTransaction } => {
                f.write_str("it may finish its transaction")
            }
            WhyNotYet::NotDue { .. } => f.write_str("it may finish its statement"),
            WhyNotYet::Queued => f.write_str("queued for a worker"),
            WhyNotYet::Detached => f.write_str("its holder has not ended it yet"),
            WhyNotYet::NoSafePoint { at_least, last } => {
                write!(f, "no safe point for at least {} ms", at_least.as_millis())?;
                last.map_or(Ok(()), |last| write!(f, ", the last one known at {last}"))
            }
            WhyNotYet::HeldOff(held) => write!(f, "held off by {held}"),
            WhyNotYet::Waiting(spot) => {
                write!(f, "in a wait that can't be interrupted, at {spot}")
            }
            WhyNotYet::Unwinding { spot, progress } => {
                write!(f, "unwinding since the safe point at {spot}")?;
                progress.map_or(Ok(()), |progress| write!(f, ", {progress} rolled back"))
            }
        }
    }
}

/// What a session has been told and has not obeyed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PendingInterrupt {
    /// What is to end.
    pub kind: InterruptKind,
    /// When a termination falls due; `None` for a cancel.
    pub when: Option<When>,
    /// Who asked, why, and what they had to say.
    pub request: Arc<Request>,
    /// When they asked.
    pub since: SystemTime,
    /// The safe point that reported it, if one has.
    pub seen: Option<Spot>,
}

/// In the words of `pg_stat_activity`, without the time: `terminate (immediate) by omm`.
impl fmt::Display for PendingInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.when {
            None => "cancel",
            Some(When::Immediate) => "terminate (immediate)",
            Some(When::AfterStatement) => "terminate (after statement)",
            Some(When::AfterTransaction) => "terminate (after transaction)",
        })?;
        let author = &self.request.author;
        match (&author.user, author.session) {
            (Some(user), _) => write!(f, " by {user}"),
            (None, Some(session)) => write!(f, " by session {session}"),
            (None, None) => Ok(()),
        }
    }
}

/// A session that has gone longer than the limit without a safe point.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stalled {
    /// The session.
    pub session: SessionId,
    /// The thread that runs it; `None` where it has left that by now.
    pub thread: Option<ThreadId>,
    /// It has passed no safe point for so long at least.
    pub at_least: Duration,
    /// The last safe point that was noted. One is noted for each time that the watchdog asks, so
    /// it may have passed later ones.
    pub last: Option<Spot>,
    /// The hold-off that is in force.
    pub hold_off: Option<HeldOff>,
    /// The wait that it is in, if that can't be interrupted.
    pub wait: Option<Spot>,
    /// The text of the statement that runs, or ran last.
    pub text: String,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stalled { session, at_least, last, .. } = self;
        write!(f, "session {session} passed no safe point for {} ms", at_least.as_millis())?;
        if let Some(last) = last {
            write!(f, ", the last one known at {last}")?;
        }
        if let Some(held) = &self.hold_off {
            write!(f, ", held off by {held}")?;
        }
        if let Some(wait) = &self.wait {
            write!(f, ", in a wait at {wait}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// What a stretch of code is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stretch {
    HoldOff(&'static str),
    /// Nothing interrupts it.
    Wait,
    Rollback(Option<Progress>),
}

/// What a session notes about itself.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Noted>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    /// When the probe was set, if the word says that it is.
    pub(crate) asked: Option<Moment>,
    /// The last safe point that was noted.
    pub(crate) passed: Option<(Place, Moment)>,
    /// When the last hold-off ended.
    pub(crate) released: Option<Instant>,
    stretches: Vec<Noting>,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Noting {
    number: u64,
    what: Stretch,
    spot: Spot,
}

impl Notes {
    /// Nothing but the steps of the session's word may be taken in `change`.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Noted) -> T) -> T {
        change(&mut self.0.lock())
    }

    pub(crate) fn copy(&self) -> Noted {
        self.0.lock().clone()
    }

    pub(crate) fn enter(&self, what: Stretch, at: Place) -> Within<'_> {
        let spot = Spot { at, since: SystemTime::now() };
        let number = self.change(|noted| noted.enter(what, spot));
        Within { notes: self, number }
    }
}

impl Noted {
    pub(crate) fn enter(&mut self, what: Stretch, spot: Spot) -> u64 {
        self.last += 1;
        self.stretches.push(Noting { number: self.last, what, spot });
        self.last
    }

    /// Whether it was still there.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        let before = self.stretches.len();
        self.stretches.retain(|other| other.number != number);
        self.stretches.len() < before
    }

    pub(crate) fn forget(&mut self) {
        self.stretches.clear();
    }

    pub(crate) fn last_safe_point(&self) -> Option<Spot> {
        self.passed.map(|(at, moment)| Spot { at, since: moment.time })
    }

    pub(crate) fn hold_off(&self) -> Option<HeldOff> {
        self.stretches.iter().find_map(|stretch| match stretch.what {
            Stretch::HoldOff(name) => Some(HeldOff { name, spot: stretch.spot }),
            _ => None,
        })
    }

    pub(crate) fn wait(&self) -> Option<Spot> {
        let is_wait = |stretch: &&Noting| matches!(stretch.what, Stretch::Wait);
        self.stretches.iter().find(is_wait).map(|stretch| stretch.spot)
    }

    pub(crate) fn rollback(&self) -> Option<(Spot, Option<Progress>)> {
        self.stretches.iter().find_map(|stretch| match stretch.what {
            Stretch::Rollback(progress) => Some((stretch.spot, progress)),
            _ => None,
        })
    }
}

/// While it lives, the session says that it is in a stretch of code.
#[derive(Debug)]
pub(crate) struct Within<'a> {
    notes: &'a Notes,
    number: u64,
}

impl Within<'_> {
    pub(crate) fn progress(&self, progress: Progress) {
        self.notes.change(|noted| {
            let own = noted.stretches.iter_mut().find(|stretch| stretch.number == self.number);
            if let Some(own) = own {
                own.what = Stretch::Rollback(Some(progress));
            }
        });
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.notes.change(|noted| noted.leave(self.number));
    }
}
