//! The rows of a statement's helpers, and the helpers that have not answered a probe.

use crate::core::record::helpers::set::HelperSet;
use crate::core::record::helpers::slot::{HelperSlot, SlotState};
use crate::types::helper::HelperInfo;
use crate::types::id::StatementId;
use crate::types::location::CallSite;
use std::time::{Instant, SystemTime};

/// A helper that has passed no safe point since a probe was set.
#[cfg_attr(
    any(safepoint_loom, safepoint_shuttle),
    allow(dead_code, reason = "no model has a watchdog")
)]
pub(crate) struct UnansweredHelper {
    pub(crate) info: HelperInfo,
    pub(crate) statement: StatementId,
    /// The time of the probe.
    pub(crate) asked: Instant,
    /// The address of the helper's slot. With `asked` it names this stall.
    pub(crate) slot: usize,
}

impl HelperSet {
    /// Returns the number of helpers.
    pub(crate) fn count(&self) -> usize {
        self.all_now().iter().filter(|slot| slot.load().active()).count()
    }

    pub(super) fn rows(&self, rows: &mut Vec<HelperInfo>) {
        rows.extend(self.all_now().iter().filter_map(|slot| self.row(slot)).map(|(_, row)| row));
    }

    /// Returns the row of the helper that has the slot, and the state of the slot.
    fn row(&self, slot: &HelperSlot) -> Option<(SlotState, HelperInfo)> {
        let mut cold = slot.cold.lock();
        let state = slot.load();
        if !state.active() {
            return None;
        }
        let turn = state.turn();
        let first_seen = match cold.first_seen {
            Some((of, time)) if of == turn => time,
            _ => cold.first_seen.insert((turn, SystemTime::now())).1,
        };
        let passed = cold.passed.filter(|(of, ..)| *of == turn);
        let hold_off = cold.hold_offs.iter().find(|(of, ..)| *of == turn).map(|(.., held)| *held);
        drop(cold);
        let (name, location) = self.names.lock().get(usize::from(state.name())).copied()?;
        let row = HelperInfo {
            name,
            known_since: CallSite { location, reached_at: first_seen },
            is_on_thread: state.flag().is_some(),
            is_waiting: state.asleep(),
            last_safe_point: passed
                .map(|(_, location, at)| CallSite { location, reached_at: at.time }),
            hold_off,
        };
        Some((state, row))
    }

    /// Sets a probe for each helper that must pass safe points. Adds the helpers that have not answered
    /// an earlier one.
    pub(super) fn probe(&self, unanswered: &mut Vec<UnansweredHelper>) {
        for slot in self.all_now().iter() {
            let Some((asked, before)) = slot.probe() else { continue };
            let Some((now, info)) = self.row(slot) else { continue };
            // By now it may have answered, or another helper may have the slot.
            if now.probed() && now.works() && now.turn() == before.turn() {
                let (statement, slot) = (self.statement_id(), std::ptr::from_ref(slot).addr());
                unanswered.push(UnansweredHelper { info, statement, asked, slot });
            }
        }
    }
}
