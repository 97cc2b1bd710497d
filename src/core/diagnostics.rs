//! Data for diagnosis only: the sections that a session is in, and probes.

use crate::sync::Mutex;
use crate::types::hold_off::ActiveHoldOff;
use crate::types::location::{CallSite, CallerLocation};
use crate::types::pending::Progress;
use crate::types::time::Timestamp;
use std::time::{Instant, SystemTime};

/// The kind of a section.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    HoldOff(&'static str),
    /// A wait that not every interrupt ends.
    Wait,
    Rollback(Option<Progress>),
}

/// The diagnostic data of a session.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(Mutex<DiagnosticsState>);

#[derive(Clone, Debug, Default)]
pub(crate) struct DiagnosticsState {
    /// The time of the probe, if the word has `PROBE`.
    pub(crate) asked: Option<Timestamp>,
    /// The last safe point that answered a probe.
    pub(crate) passed: Option<(CallerLocation, Timestamp)>,
    /// When the last hold-off ended.
    pub(crate) released: Option<Instant>,
    sections: Vec<SectionEntry>,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct SectionEntry {
    number: u64,
    what: Section,
    call_site: CallSite,
}

impl Diagnostics {
    /// `change` runs under the lock, so it must take no other lock. It may take transitions of the
    /// word.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut DiagnosticsState) -> T) -> T {
        change(&mut self.0.lock())
    }

    pub(crate) fn copy(&self) -> DiagnosticsState {
        self.0.lock().clone()
    }

    pub(crate) fn enter(&self, what: Section, at: CallerLocation) -> SectionGuard<'_> {
        let call_site = CallSite { location: at, reached_at: SystemTime::now() };
        let number = self.change(|diagnostics| diagnostics.enter(what, call_site));
        SectionGuard { diagnostics: self, number }
    }
}

impl DiagnosticsState {
    pub(crate) fn enter(&mut self, what: Section, call_site: CallSite) -> u64 {
        self.last += 1;
        self.sections.push(SectionEntry { number: self.last, what, call_site });
        self.last
    }

    /// Removes a section. Returns whether it was there.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        let before = self.sections.len();
        self.sections.retain(|other| other.number != number);
        self.sections.len() < before
    }

    pub(crate) fn forget(&mut self) {
        self.sections.clear();
    }

    pub(crate) fn last_safe_point(&self) -> Option<CallSite> {
        self.passed.map(|(at, moment)| CallSite { location: at, reached_at: moment.time })
    }

    pub(crate) fn hold_off(&self) -> Option<ActiveHoldOff> {
        self.sections.iter().find_map(|section| match section.what {
            Section::HoldOff(name) => Some(ActiveHoldOff { name, call_site: section.call_site }),
            _ => None,
        })
    }

    pub(crate) fn wait(&self) -> Option<CallSite> {
        let is_wait = |section: &&SectionEntry| matches!(section.what, Section::Wait);
        self.sections.iter().find(is_wait).map(|section| section.call_site)
    }

    pub(crate) fn rollback(&self) -> Option<(CallSite, Option<Progress>)> {
        self.sections.iter().find_map(|section| match section.what {
            Section::Rollback(progress) => Some((section.call_site, progress)),
            _ => None,
        })
    }
}

/// A guard for a section, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct SectionGuard<'a> {
    diagnostics: &'a Diagnostics,
    number: u64,
}

impl SectionGuard<'_> {
    pub(crate) fn progress(&self, progress: Progress) {
        self.diagnostics.change(|diagnostics| {
            let own = diagnostics.sections.iter_mut().find(|section| section.number == self.number);
            if let Some(own) = own {
                own.what = Section::Rollback(Some(progress));
            }
        });
    }
}

impl Drop for SectionGuard<'_> {
    fn drop(&mut self) {
        self.diagnostics.change(|diagnostics| diagnostics.leave(self.number));
    }
}
