// The module `mutation` of the copies, in which the build scripts put the table's names and rows.

/// One mistake of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::doc_markdown)]
pub enum Mutation {
// NAMES
}

/// Each with its name, the models and the scenes that refute it.
const ROWS: &[(Mutation, &str, &[&str], &[&str])] = &[
// ROWS
];

impl Mutation {
    /// The mistake of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Mutation> {
        ROWS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Returns the mistakes that the model `module::test` must refute.
    pub fn of_model(test: &str) -> impl Iterator<Item = Mutation> + '_ {
        ROWS.iter().filter(move |row| row.2.contains(&test)).map(|row| row.0)
    }

    /// Returns the mistakes that the scene `module::test` must refute.
    pub fn of_scene(test: &str) -> impl Iterator<Item = Mutation> + '_ {
        ROWS.iter().filter(move |row| row.3.contains(&test)).map(|row| row.0)
    }
}

#[cfg(any(safepoint_loom, safepoint_shuttle))]
mod switch {
    use super::Mutation;
    use std::cell::Cell;

    std::thread_local! {
        // A model's or a scene's threads all run on the thread that explores it.
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
        static TEARING: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether this mistake is switched on.
    #[must_use]
    pub fn on(mutation: Mutation) -> bool {
        ON.get() == Some(mutation)
    }

    impl Mutation {
        /// Runs `model` with this mistake switched on.
        pub fn during(self, model: impl FnOnce()) {
            struct Off;
            impl Drop for Off {
                fn drop(&mut self) {
                    ON.set(None);
                }
            }
            let _off = Off;
            ON.set(Some(self));
            model();
        }
    }

    /// Called where the next word of a step is worked out: this step is to be torn, which loads
    /// the word and then stores what it has worked out. No other thread has a turn between that
    /// and the question.
    pub fn tear() {
        TEARING.set(true);
    }

    /// Whether the step that is being taken is to be torn.
    #[must_use]
    pub fn torn() -> bool {
        TEARING.replace(false)
    }
}

#[cfg(not(any(safepoint_loom, safepoint_shuttle)))]
mod switch {
    use super::Mutation;
    use std::sync::OnceLock;

    /// Whether the environment variable `SAFEPOINT_MUTATION` names this mistake.
    #[must_use]
    pub fn on(mutation: Mutation) -> bool {
        static ON: OnceLock<Option<Mutation>> = OnceLock::new();
        let wanted = ON.get_or_init(|| {
            let name = std::env::var("SAFEPOINT_MUTATION").ok()?;
            Some(Mutation::named(&name).unwrap_or_else(|| panic!("no mutation {name:?}")))
        });
        *wanted == Some(mutation)
    }

    /// Only models tear steps.
    pub fn tear() {}

    /// Only models tear steps.
    #[must_use]
    pub fn torn() -> bool {
        false
    }
}

pub use switch::{on, tear, torn};
