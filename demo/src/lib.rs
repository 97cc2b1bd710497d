//! SQLite behind the PostgreSQL protocol, with sessions that can be killed: `psql`, `pgbench`
//! and drivers connect as they are.
//!
//! It embeds the library through its public API only. The programs are in `src/bin/`.

#![forbid(unsafe_code)]

mod activity;
mod admission;
mod args;
mod authorizer;
mod backends;
mod checkpointer;
mod compat;
mod connection;
mod cursors;
mod describe;
mod door;
mod emergency;
mod engine;
mod functions;
#[cfg(test)]
mod fuzz_messages;
mod keepalive;
mod keys;
mod limits;
mod plan;
mod refusal;
mod run;
mod server;
mod settings;
mod shared;
mod signals;
mod split;
mod spool;
mod sqlite_error;
mod stream;
mod suspended;
mod test_functions;
mod times;
mod transaction;
mod transcript;
mod types;
mod wire;

use std::io::Write;
use std::process::ExitCode;

type Pool = safepoint::pool::Pool<connection::Connection>;

/// Runs the server with the arguments of the process, until a signal stops it.
#[must_use]
pub fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("server: {wrong}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = if args.transcript { transcript::play(&args) } else { serve(&args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("server: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &args::Args) -> Result<(), String> {
    let signals = signals::Arrived::install()?;
    let server = server::Server::start(args)?;
    // Another program may wait for this line. An error does not matter to the server.
    let _ = writeln!(std::io::stdout(), "{}", server.address());
    let _ = std::io::stdout().flush();
    match signals.serve(&server) {
        0 => Ok(()),
        left => Err(format!("{left} sessions did not end in time")),
    }
}
