//! Opens connections to a server of PostgreSQL's or MySQL's protocol, keeps some busy, and kills
//! sessions. Measures throughput, latency, and the time from a kill to the end of its target.

#![forbid(unsafe_code)]

mod args;
mod busy;
mod client;
mod dialect;
mod drive;
mod measure;
mod memory;
mod mysql;
mod open;
mod postgres;
mod report;
mod scenarios;
mod wire;

use std::process::ExitCode;

/// Standard streams, and a few more.
const SPARE_FILES: u64 = 64;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("load: {wrong}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let needed = (args.idle + args.busy) as u64 + SPARE_FILES;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => eprintln!("load: only {limit} files may be open, and {needed} are needed"),
        Err(error) => eprintln!("load: the limit of open files stays as it is: {error}"),
    }

    let report = scenarios::run(&args);
    println!("{}", report.markdown(&args));
    let mut failed = report.errors.count > 0;
    if let Some(first) = &report.errors.first {
        eprintln!("load: {} errors, the first: {first}", report.errors.count);
    }
    if let Some(file) = &args.json
        && let Err(error) = std::fs::write(file, format!("{:#}\n", report.json(&args)))
    {
        eprintln!("load: {}: {error}", file.display());
        failed = true;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
