//! What a mistake on purpose looks like in the table.

/// One mistake, such as a tired engineer makes, and the tests that must fail with it.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "each of those who include this needs a part")]
pub(crate) struct Mutation {
    /// Its name, in the form of a variant of an enum.
    pub(crate) name: &'static str,
    /// What is wrong, in a sentence.
    pub(crate) about: &'static str,
    pub(crate) edits: &'static [Edit],
    /// Models of `loom-tests` that refute it: `module::test`.
    pub(crate) loom: &'static [&'static str],
    /// Scenes of `shuttle-tests` that refute it: `module::test`.
    pub(crate) shuttle: &'static [&'static str],
    /// Tests of the library that fail with it: `program::test`, where the program `lib` is the
    /// library's unit tests.
    pub(crate) tests: &'static [&'static str],
}

/// One place of the sources that is changed.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the edits are for the build scripts")]
pub(crate) struct Edit {
    /// The file, from `src/` on.
    pub(crate) file: &'static str,
    /// The item in which the place is, by the text that it starts with, such as `fn suspend`.
    /// Items within items are separated by ` => `: `impl Drop for Session => fn drop`. Empty for
    /// the whole file.
    pub(crate) within: &'static str,
    /// What stands there: one whole expression, or whole statements from which no binding
    /// escapes. Blanks and line breaks make no difference. It must be found exactly once.
    pub(crate) find: &'static str,
    /// What stands there instead; for statements it may be empty.
    pub(crate) replace: &'static str,
}
