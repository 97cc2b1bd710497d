//! What it checks, and the test that replays the corpus, stand in
//! `demo/src/fuzz_messages.rs`.

#![no_main]
#![allow(dead_code, unused_imports)]

/// The server's modules, found where they would be if this were its crate.
#[path = "../../demo/src"]
mod server {
    pub(crate) mod compat;
    pub(crate) mod fuzz_messages;
    pub(crate) mod split;
    pub(crate) mod types;
    pub(crate) mod wire;
}

/// All that the messages need of the server's module.
mod describe {
    pub(crate) struct Column {
        pub(crate) name: String,
        pub(crate) ty: crate::types::PgType,
    }
}

use server::{compat, fuzz_messages, split, types, wire};

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_messages::run(data));
