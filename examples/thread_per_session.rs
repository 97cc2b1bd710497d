//! One thread for each connection: `cargo run --example thread_per_session`, then from two
//! terminals `nc 127.0.0.1 5434`. A line is a command: `who`, `count`, `kill ID`, `bye`.

use safepoint::session::WaitMode;
use safepoint::{
    Attached, ClientInfo, Interrupt, Session, SessionId, SessionManager, Terminate, TerminateMode,
    Thread, ThreadModel,
};
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Builder;
use std::time::Duration;

/// Ends a read or a write that may block forever. If only the reading side is shut down, the client
/// can still be notified.
struct Stop(TcpStream, Shutdown);

impl Wake for Stop {
    fn wake(self: Arc<Self>) {
        let _ = self.0.shutdown(self.1);
    }
}

fn main() -> Result<()> {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5434".into());
    let listener =
        TcpListener::bind(&address).map_err(|error| Error::other(format!("{address}: {error}")))?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        // An error of one client does not end the other clients.
        if let Err(error) = socket.and_then(|socket| take_in(&manager, socket)) {
            eprintln!("refused: {error}");
            // The error may last, for example if no descriptor is left.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn take_in(manager: &SessionManager, socket: TcpStream) -> Result<()> {
    let manager = manager.clone();
    let client = socket.peer_addr()?.to_string();
    let about = ClientInfo::new("ann").with_address(client);
    let session = manager.open(about).map_err(Error::other)?;
    let thread = session.own_thread().expect("each session has one");
    Builder::new().spawn(move || serve(&manager, session, &thread, &socket)).map(drop)
}

fn serve(manager: &SessionManager, mut session: Session, thread: &Thread, socket: &TcpStream) {
    let Ok(attached) = session.attach(thread) else { return };
    if let Ok(Err(interrupt)) = talk(manager, attached, socket) {
        // Limits the write to a client that does not read.
        let _ = socket.set_write_timeout(Some(Duration::from_secs(1)));
        let _ = writeln!(&*socket, "FATAL: {interrupt}");
    }
    // The session is dropped last, so a completed receipt implies that the client was notified.
}

fn talk(
    manager: &SessionManager,
    mut session: Attached<'_>,
    mut socket: &TcpStream,
) -> Result<std::result::Result<(), Interrupt>> {
    let stop = |what| Ok::<_, Error>(Waker::from(Arc::new(Stop(socket.try_clone()?, what))));
    let (stop_reading, stop_all) = (stop(Shutdown::Read)?, stop(Shutdown::Both)?);
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    loop {
        let read = session.wait(WaitMode::Interruptible, &stop_reading, || lines.next());
        let line = match read.and_then(|line| session.check().map(|()| line)) {
            Ok(line) => line.transpose()?,
            Err(interrupt) => return Ok(Err(interrupt)),
        };
        let Some(line) = line.filter(|line| line != "bye") else { return Ok(Ok(())) };
        let answer = match run(manager, &mut session, &line) {
            Ok(answer) => answer,
            Err(interrupt) if interrupt.is_terminate() => return Ok(Err(interrupt)),
            Err(interrupt) => format!("ERROR: {interrupt}"),
        };
        // A termination gives up a client that does not read: its connection is shut down.
        let write = || writeln!(socket, "{answer}");
        let written = session.wait(WaitMode::Killable, &stop_all, write);
        match written.and_then(|written| session.check().map(|()| written)) {
            Ok(written) => written?,
            Err(interrupt) => return Ok(Err(interrupt)),
        }
    }
}

fn run(
    manager: &SessionManager,
    session: &mut Attached<'_>,
    line: &str,
) -> std::result::Result<String, Interrupt> {
    let statement = session.begin()?.with_text(line);
    Ok(match line.split_once(' ').unwrap_or((line, "")) {
        ("who", _) => {
            let row = |row: safepoint::view::SessionInfo| {
                format!("{} {}: {}", row.id, row.state, row.statement_text)
            };
            manager.sessions().map(row).collect::<Vec<_>>().join("\n")
        }
        ("count", _) => loop {
            statement.check()?; // The safe point.
        },
        ("kill", id) => match id.parse::<u64>().ok().and_then(|id| SessionId::try_from(id).ok()) {
            Some(id) => {
                let author = statement.requester().with_admin(true);
                match manager.terminate(id, Terminate::new(TerminateMode::Immediate, author)) {
                    Ok(receipt) => format!("session {id} was {}", receipt.target().state),
                    Err(refused) => format!("ERROR: {refused}"),
                }
            }
            None => "ERROR: expected the number of a session, such as `who` shows".into(),
        },
        (other, _) => format!("ERROR: no such command: {other}"),
    })
}
