//! Who hears of what happens: the embedder's audit, and the `tracing` and `metrics` features.

use crate::about::Description;
use crate::contain::contain;
use crate::id::SessionId;
use crate::interrupt::{Author, InterruptKind, Reason, Request, When};
use crate::kill::{Found, Refused, Target};
use crate::outcome::{Ended, StatementOver};
use crate::why::Stalled;
use std::fmt;

/// Something that happened to a session, or did not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A session was opened. Most have not said who they are by then.
    Opened {
        /// Which.
        session: SessionId,
        /// What is known of it.
        description: &'a Description,
    },
    /// A request was accepted.
    Requested {
        /// The target.
        session: SessionId,
        /// Whether it ends the statement or the session.
        kind: InterruptKind,
        /// When a termination falls due; `None` for a cancel.
        when: Option<When>,
        /// Who asked, when, and what they had to say.
        request: &'a Request,
        /// Where it found its target.
        found: Found,
    },
    /// A request was refused: for want of permission, or of a target. What can't be a target's
    /// number is an error of whoever wrote it, and no request.
    Refused {
        /// What it named.
        target: Target,
        /// Whether it was to end the statement or the session.
        kind: InterruptKind,
        /// Who asked.
        author: &'a Author,
        /// Why not.
        refused: &'a Refused,
    },
    /// A safe point has reported a request, for the first time.
    Seen {
        /// The session that saw it.
        session: SessionId,
        /// Whether it ends the statement or the session.
        kind: InterruptKind,
        /// The request.
        request: &'a Request,
    },
    /// A statement that was told to end is over. Its receipts are complete a moment later.
    StatementOver {
        /// The session that ran it.
        session: SessionId,
        /// The request.
        request: &'a Request,
        /// Whether it ended because of it.
        over: StatementOver,
    },
    /// A session has used up one of its time limits.
    LimitHit {
        /// Which session.
        session: SessionId,
        /// Which limit.
        reason: Reason,
    },
    /// A session has gone for longer than a [watchdog](crate::Watchdog)'s limit without a safe
    /// point.
    Stalled {
        /// Which, for how long, and where it was last.
        stalled: &'a Stalled,
    },
    /// A session has ended. Its receipts are complete a moment later.
    Ended {
        /// Which.
        session: SessionId,
        /// How.
        ended: &'a Ended,
    },
}

/// Hears of what happens, to keep a record of it.
///
/// It is called on whichever thread it happens, with no lock of this library held, so it may
/// look at sessions and even end them; but whoever waits for that thread waits for it. What it
/// panics of is lost, and nothing else is. Events of one session come in order, except that other
/// threads are not waited for: it may be asked to end before the thread that opened it has come to
/// say so, and may see a request, and end, before its author's thread has.
pub trait Audit: Send + Sync {
    /// Something has happened.
    fn event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Audit for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Those who hear of what happens to the sessions of one manager.
#[derive(Default)]
pub(crate) struct Hooks(pub(crate) Option<Box<dyn Audit>>);

impl Hooks {
    /// Whether anyone hears of what happens.
    pub(crate) fn hear(&self) -> bool {
        cfg!(any(feature = "tracing", feature = "metrics")) || self.0.is_some()
    }

    /// To be called with no lock held: an audit is the embedder's code.
    pub(crate) fn emit(&self, event: &Event<'_>) {
        #[cfg(feature = "tracing")]
        let _ = contain(|| crate::telemetry::trace(event));
        #[cfg(feature = "metrics")]
        let _ = contain(|| crate::telemetry::count(event));
        if let Some(audit) = &self.0 {
            let _ = contain(|| audit.event(event));
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hooks(audit)" } else { "Hooks" })
    }
}
