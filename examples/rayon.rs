//! Statements on a shared rayon pool: `cargo run --example rayon`, then `nc 127.0.0.1 5438` from several
//! terminals. A line is a command: `sum N` adds the numbers below N on all threads of the pool, `who`
//! shows the sessions and their helpers, and `kill ID` and `cancel ID` end a session or its statement.
//! The answer to a kill says when the last thread of the pool has left the job.

use rayon::ThreadPool;
use safepoint::session::StatementHandle;
use safepoint::{
    Attached, Cancel, ClientInfo, Interrupt, Requester, SessionId, SessionManager, Statement,
    Terminate, TerminateMode, ThreadModel,
};
use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The numbers of one chunk, after which a thread of the pool takes the next one.
const CHUNK: u64 = 1 << 16;

/// The maximum length of a line, in bytes.
const MAX_LINE: u64 = 64 * 1024;

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5438".into());
    let listener = TcpListener::bind(&address)
        .map_err(|error| Error::new(error.kind(), format!("{address}: {error}")))?;
    let manager = SessionManager::new(ThreadModel::PerSession);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().build().map_err(Error::other)?);
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, address) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("not accepted: {error}");
                // The error may last, for example if no descriptor is left.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        let (manager, pool) = (manager.clone(), pool.clone());
        std::thread::spawn(move || {
            let client = ClientInfo::new("ann").with_address(address.to_string());
            if let Err(error) = serve(&socket, &manager, &pool, client) {
                eprintln!("{address}: {error}");
            }
        });
    }
}

fn serve(
    socket: &TcpStream,
    manager: &SessionManager,
    pool: &ThreadPool,
    client: ClientInfo,
) -> Result<()> {
    let mut session = manager.open(client).map_err(Error::other)?;
    let thread = session.own_thread().expect("each session has its own");
    let mut attached = session.attach(&thread).map_err(Error::other)?;
    let (mut lines, mut line) = (BufReader::new(socket), String::new());
    loop {
        line.clear();
        if (&mut lines).take(MAX_LINE).read_line(&mut line)? == 0 || line.trim() == "bye" {
            return Ok(());
        }
        match answer(&mut attached, manager, pool, line.trim()) {
            Ok(answer) => writeln!(&mut &*socket, "{answer}")?,
            Err(cancel) if !cancel.is_terminate() => writeln!(&mut &*socket, "ERROR: {cancel}")?,
            Err(interrupt) => return writeln!(&mut &*socket, "FATAL: {interrupt}"),
        }
    }
}

/// Runs one command as a statement of the session.
fn answer(
    session: &mut Attached<'_>,
    manager: &SessionManager,
    pool: &ThreadPool,
    command: &str,
) -> std::result::Result<String, Interrupt> {
    let statement = session.begin()?.with_text(command);
    let answer = match command.split_once(' ').unwrap_or((command, "")) {
        ("sum", below) => match below.parse() {
            Ok(below) => sum(&statement, pool, below)?.to_string(),
            Err(_) => "ERROR: expected a number".into(),
        },
        ("who", _) => who(manager),
        (verb @ ("kill" | "cancel"), id) => match id.parse::<u64>().map(SessionId::try_from) {
            Ok(Ok(id)) => end(manager, verb, id),
            _ => "ERROR: expected a session's number, such as `who` shows".into(),
        },
        (other, _) => format!("ERROR: no such command: {other}"),
    };
    statement.finish()?;
    Ok(answer)
}

/// Adds the numbers on all threads of the pool. This thread is none of them: it waits.
fn sum(
    statement: &Statement<'_>,
    pool: &ThreadPool,
    below: u64,
) -> std::result::Result<u64, Interrupt> {
    let (handle, total, next) = (statement.handle("sum"), AtomicU64::new(0), AtomicU64::new(0));
    pool.scope(|scope| {
        for _ in 0..pool.current_num_threads() {
            scope.spawn(|_| {
                // An interrupt ends this thread's part. The statement's own check has the reason.
                let _ = part(&handle, below, &next, &total);
            });
        }
    });
    statement.check()?;
    Ok(total.into_inner())
}

fn part(
    handle: &StatementHandle,
    below: u64,
    next: &AtomicU64,
    total: &AtomicU64,
) -> std::result::Result<(), Interrupt> {
    loop {
        // One entry for each chunk. Between two chunks the thread works for no statement.
        let helper = handle.enter()?;
        let first = next.fetch_add(CHUNK, Ordering::Relaxed);
        if first >= below {
            return Ok(());
        }
        let mut sum = 0_u64;
        for number in first..below.min(first.saturating_add(CHUNK)) {
            helper.check()?;
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
        // Only of whole chunks.
        total.fetch_add(sum, Ordering::Relaxed);
    }
}

fn who(manager: &SessionManager) -> String {
    let rows = manager.sessions().map(|row| {
        let helpers = row.helper_count;
        format!("{} {} with {helpers} helpers: {}", row.id, row.state, row.statement_text)
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn end(manager: &SessionManager, verb: &str, id: SessionId) -> String {
    let (requester, asked) = (Requester::system(), Instant::now());
    let limit = Duration::from_secs(10);
    let ended = match verb {
        "kill" => manager
            .terminate(id, Terminate::new(TerminateMode::Immediate, requester))
            .map(|mut receipt| receipt.wait_timeout(limit).is_some()),
        _ => manager
            .cancel(id, Cancel::running(requester))
            .map(|mut receipt| receipt.wait_timeout(limit).is_some()),
    };
    match ended {
        Ok(true) => format!("session {id}: ended in {:.1?}", asked.elapsed()),
        Ok(false) => format!("session {id}: {:?}", manager.pending_reason(id)),
        Err(error) => format!("ERROR: {error}"),
    }
}
