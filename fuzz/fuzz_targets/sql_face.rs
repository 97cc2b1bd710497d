//! What it checks, and the test that replays the corpus, stand in `tests/sql_face.rs`.

#![no_main]

#[path = "../../tests/sql_face.rs"]
mod sql_face;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sql_face::run(data));
