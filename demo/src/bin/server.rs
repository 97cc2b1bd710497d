//! The server: `cargo run --release -p safepoint-demo -- --transcript`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    safepoint_demo::main()
}
