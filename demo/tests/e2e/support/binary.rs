//! The programs under test.

use std::path::PathBuf;

/// The demo server.
pub(crate) fn binary() -> PathBuf {
    built("server")
}

/// The program of that name, which cargo has built before these tests.
pub(crate) fn built(program: &str) -> PathBuf {
    let path = match program {
        "server" => env!("CARGO_BIN_EXE_server"),
        "top" => env!("CARGO_BIN_EXE_top"),
        other => panic!("there is no program {other}"),
    };
    PathBuf::from(path)
}
