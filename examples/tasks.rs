//! Sessions as tokio tasks: `cargo run --example tasks`, then `nc 127.0.0.1 5437` from several
//! terminals. A line is a command: `who`, `count`, `primes N`, `kill ID`, `cancel ID`, `bye`. If the
//! session of an idle client is killed, the client is notified at once. A session that counts ends at
//! its next `await`. `primes` has helpers on the runtime's threads for blocking work, and answers how far
//! they came if it is interrupted.

use safepoint::session::StatementHandle;
use safepoint::task::{Returned, RunError};
use safepoint::{
    Cancel, ClientInfo, Interrupt, Session, SessionId, SessionManager, Terminate, TerminateMode,
    ThreadModel, check, current,
};
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The maximum length of a line, in bytes.
const MAX_LINE: u64 = 64 * 1024;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5437".into());
    let manager = SessionManager::new(ThreadModel::Pool);
    let bound = TcpListener::bind(&address).await;
    let listener =
        bound.map_err(|error| Error::new(error.kind(), format!("{address}: {error}")))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                let client = ClientInfo::new("ann").with_address(address.to_string());
                let manager = manager.clone();
                tokio::spawn(async move {
                    // An error of one client does not end the other clients.
                    if let Err(error) = serve(socket, &manager, client).await {
                        eprintln!("{address}: {error}");
                    }
                });
            }
            Err(error) => {
                eprintln!("not accepted: {error}");
                // The error may last, for example if no descriptor is left.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, manager: &SessionManager, client: ClientInfo) -> Result<()> {
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    let mut session = manager.open(client).map_err(Error::other)?;
    let mut line = Vec::new();
    loop {
        // An idle client is notified at once. The part of a line that was read is lost with the
        // connection.
        let mut limited = (&mut read).take(MAX_LINE);
        let length = tokio::select! {
            length = limited.read_until(b'\n', &mut line) => length?,
            interrupt = session.interrupted() => {
                return write.write_all(format!("FATAL: {interrupt}\n").as_bytes()).await;
            }
        };
        if length == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") {
            return write.write_all(b"FATAL: the line is too long\n").await;
        }
        let command = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        let answer = match answer(&mut session, manager, &command).await {
            Ok(None) => return Ok(()),
            Ok(Some(answer)) => format!("{answer}\n"),
            Err(RunError::Interrupted(cancel)) if !cancel.is_terminate() => {
                format!("ERROR: {cancel}\n")
            }
            Err(error) => return write.write_all(format!("FATAL: {error}\n").as_bytes()).await,
        };
        tokio::select! {
            // An answer that fits the socket is sent first, also by a session that is to end.
            biased;
            written = write.write_all(answer.as_bytes()) => written?,
            // A client that does not read cannot be notified.
            _ = session.interrupted() => return Err(ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Runs one command as a statement of the session. Returns `None` if the command is `bye`.
async fn answer(
    session: &mut Session,
    manager: &SessionManager,
    command: &str,
) -> std::result::Result<Option<String>, RunError> {
    if let Some(limit) = command.strip_prefix("primes ").and_then(|limit| limit.parse().ok()) {
        let work = async |handle| primes(handle, limit).await;
        let Returned { output, interrupt, .. } = session.run_with(work).with_text(command).await?;
        let found = output.iter().sum::<u64>();
        let chunks = output.len();
        return Ok(Some(match interrupt {
            Some(interrupt) => format!("ERROR: {interrupt}, after {chunks} chunks"),
            None => format!("{found} primes below {limit}"),
        }));
    }
    let work = async {
        Some(match command.split_once(' ').unwrap_or((command, "")) {
            ("bye", _) => return None,
            ("who", _) => {
                let rows = manager.sessions();
                let rows =
                    rows.map(|row| format!("{} {}: {}", row.id, row.state, row.statement_text));
                rows.collect::<Vec<_>>().join("\n")
            }
            ("count", _) => loop {
                // Each `await` is a safe point.
                tokio::task::yield_now().await;
            },
            (verb @ ("kill" | "cancel"), id) => {
                match id.parse::<u64>().ok().and_then(|id| SessionId::try_from(id).ok()) {
                    Some(id) => end(manager, verb, id),
                    None => "ERROR: expected a session's number, such as `who` shows".into(),
                }
            }
            (other, _) => format!("ERROR: no such command: {other}"),
        })
    };
    session.run(work).with_text(command).await
}

/// The numbers of one chunk.
const CHUNK: u64 = 10_000;

/// The maximum number of chunks that are computed at the same time.
const HELPERS: usize = 2;

/// Counts the primes below `limit`, in chunks on other threads. Returns the results of the chunks that
/// were finished.
async fn primes(handle: StatementHandle, limit: u64) -> Vec<u64> {
    let chunk = handle.named("count primes");
    let mut starts = (0..limit).step_by(CHUNK as usize);
    let (mut running, mut found) = (JoinSet::new(), Vec::new());
    loop {
        while running.len() < HELPERS
            && let Some(start) = starts.next()
        {
            let numbers = start..limit.min(start.saturating_add(CHUNK));
            running.spawn_blocking(chunk.wrap_fn(move || primes_in(numbers)));
        }
        tokio::select! {
            finished = running.join_next() => match finished {
                None => return found,
                Some(finished) => found.extend(finished.ok().and_then(|found| found.ok()?.ok())),
            },
            // `run_with` continues this after an interrupt, so the chunks are not lost.
            _ = handle.interrupted() => break,
        }
    }
    // The helpers end at their next safe points.
    while let Some(finished) = running.join_next().await {
        found.extend(finished.ok().and_then(|found| found.ok()?.ok()));
    }
    found
}

fn primes_in(numbers: Range<u64>) -> std::result::Result<u64, Interrupt> {
    let mut found = 0;
    for number in numbers.filter(|number| *number > 1) {
        check()?;
        let mut divisors = (2..number).take_while(|divisor| divisor * divisor <= number);
        found += u64::from(!divisors.any(|divisor| number % divisor == 0));
    }
    Ok(found)
}

fn end(manager: &SessionManager, verb: &str, id: SessionId) -> String {
    let requester = current::requester().unwrap_or_default().with_admin(true);
    let target = match verb {
        "kill" => {
            let request = Terminate::new(TerminateMode::Immediate, requester);
            manager.terminate(id, request).map(|receipt| receipt.target())
        }
        _ => manager.cancel(id, Cancel::running(requester)).map(|receipt| receipt.target()),
    };
    match target {
        Ok(target) => format!("session {id} was {}", target.state),
        Err(error) => format!("ERROR: {error}"),
    }
}
