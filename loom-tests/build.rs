//! Sets the cfg that swaps `sync/mod.rs` over to loom, and makes the copy of the library's sources that
//! has the mistakes of `mutation-tests/table.rs` built in.

#[path = "../mutation-tests/apply.rs"]
mod apply;

// What a model sees of statements whose numbers are used up: nobody can begin so many.
const USE_UP_WORD: &str = "impl State {
    pub(crate) fn use_up_statements(&self) {
        self.transition(|word| word.with_statement(snapshot::LAST_STATEMENT));
    }
}";
const USE_UP_RECORD: &str = "impl Record {
    pub(crate) fn use_up_statements(&self) {
        self.word.use_up_statements();
    }
}";
const USE_UP_SESSION: &str = "impl Session {
    /// As if it had run as many statements as there are numbers.
    pub fn use_up_statements(&self) {
        self.record.use_up_statements();
    }
}";
// What a watchdog sees of helpers, since no model has a watchdog.
const PROBE_HELPERS: &str = "impl SessionManager {
    /// Probes the helpers of a session. Returns for how long each has not answered an earlier probe.
    pub fn probe_helpers(&self, id: SessionId) -> Vec<std::time::Duration> {
        let record = self.0.shared.sessions.get(id.get()).expect(\"it has not ended\");
        let unanswered = record.probe_helpers();
        unanswered.iter().map(|one| crate::sync::now() - one.asked).collect()
    }
}";

fn main() {
    println!("cargo:rustc-cfg=safepoint_loom");
    apply::apply(|file, text| {
        // The word's own models are part of its module, as the word is nobody else's to see.
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/state_models.rs");
        match file {
            "core/state/mod.rs" => {
                let models = format!("#[cfg(test)]\n#[path = {models:?}]\nmod models;");
                format!("{text}\n{USE_UP_WORD}\n{models}\n")
            }
            "core/record/mod.rs" => format!("{text}\n{USE_UP_RECORD}\n"),
            "manager/manager.rs" => format!("{text}\n{PROBE_HELPERS}\n"),
            "session/session.rs" => format!("{text}\n{USE_UP_SESSION}\n"),
            _ => text,
        }
    });
}
