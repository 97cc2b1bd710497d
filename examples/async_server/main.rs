//! A PostgreSQL server on tokio and pgwire, with SQLite behind it, whose sessions are tasks:
//! `cargo run --example async_server`, then `psql -h 127.0.0.1 -p 5436 -U ann`. Idle clients are
//! killed and told, as are those that wait or run: `show sessions`, `select pg_sleep(60)`,
//! `alter system kill session '0, ID' immediate`, Ctrl-C.
//!
//! pgwire's own loop awaits the next message and nothing else, so nobody can tell an idle client
//! anything; this one is the same loop with [`Session::interrupted`] beside it, and each message
//! runs within [`Session::run`] before pgwire is asked to answer it.

mod backend;
mod engine;
mod told;

/// What is not about sessions is the same in `examples/server`.
#[allow(dead_code, unused_imports)]
#[path = "../server"]
mod server {
    pub(crate) mod compat;
    pub(crate) mod describe;
    pub(crate) mod split;
    pub(crate) mod sqlite_error;
    pub(crate) mod types;
}

use backend::{Asked, Backend, Server};
use engine::Prepared;
use futures::{SinkExt, StreamExt};
use pgwire::api::{ClientInfo, METADATA_USER, PgWireConnectionState};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec, negotiate_tls, process_error};
use safepoint::{Description, Interrupt, RunError, Session, SessionId};
use server::{compat, describe, split, sqlite_error, types};
use std::io::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::codec::Framed;
use told::{interrupted, report};

type Client = Framed<MaybeTls, PgWireMessageServerCodec<Arc<Prepared>>>;

/// For whoever connects and says nothing.
const STARTUP: Duration = Duration::from_secs(60);
/// For whoever does not read what they are told last.
const FAREWELL: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::new(directory.path().join("database")).map_err(Error::other)?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5436".into());
    let listener = TcpListener::bind(&address).await;
    let listener = listener.map_err(|error| Error::other(format!("{address}: {error}")))?;
    let server = Arc::new(server);
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, client) = listener.accept().await?;
        let server = server.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(socket, &server).await {
                eprintln!("{client}: {error}");
            }
        });
    }
}

async fn serve(socket: TcpStream, server: &Arc<Server>) -> Result<()> {
    let address = socket.peer_addr()?.to_string();
    let about = Description { client: address.into(), ..Description::default() };
    let mut session = server.manager.open(about).map_err(Error::other)?;
    let negotiated = tokio::select! {
        // Nobody has said who is there to be told.
        _ = session.interrupted() => return Ok(()),
        negotiated = timeout(STARTUP, negotiate_tls(socket, None)) => negotiated??,
    };
    let Some(mut client) = negotiated else { return Ok(()) };
    let backend = Arc::new(Backend::new(server.clone(), session.id()).map_err(Error::other)?);
    let goes_on = tokio::select! {
        interrupt = session.interrupted() => return farewell(session.id(), &mut client, &interrupt).await,
        goes_on = timeout(STARTUP, startup(&mut client, &backend)) => goes_on??,
    };
    if !goes_on {
        return Ok(());
    }
    let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
    session.describe(|about| {
        // Nobody asked for a password, so this is a name and no more.
        about.admin = user == "omm";
        about.user = user.into();
    });
    talk(&mut session, &mut client, &backend).await
    // The session is dropped last: who killed it then knows that its client has been told.
}

/// Whether there is a client to talk to.
async fn startup(client: &mut Client, backend: &Arc<Backend>) -> Result<bool> {
    while !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
        let Some(message) = client.next().await.transpose()? else { return Ok(false) };
        let is_cancel = matches!(message, PgWireFrontendMessage::CancelRequest(_));
        backend.process(message, client).await?;
        if is_cancel {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn talk(session: &mut Session, client: &mut Client, backend: &Arc<Backend>) -> Result<()> {
    loop {
        let message = tokio::select! {
            interrupt = session.interrupted() => return farewell(session.id(), client, &interrupt).await,
            message = client.next() => message.transpose()?,
        };
        let Some(message) = message else { return Ok(()) };
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        if let Some(asked) = Asked::of(&message, client) {
            let ran = match session.run(backend.run(&asked)).with_text(asked.text()).await {
                Ok(ran) => ran,
                Err(RunError::Interrupted(interrupt)) if interrupt.is_terminate() => {
                    return farewell(session.id(), client, &interrupt).await;
                }
                Err(RunError::Interrupted(interrupt)) => Err(interrupted(session.id(), &interrupt)),
                Err(other) => return Err(Error::other(other)),
            };
            backend.leave_answer(ran);
        }
        // The statement is over, so that no cancel gets into its answer.
        let goes_on = tokio::select! {
            biased;
            goes_on = answer(message, client, backend) => goes_on?,
            interrupt = session.interrupted() => return farewell(session.id(), client, &interrupt).await,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// Whether the client may go on.
async fn answer(
    message: PgWireFrontendMessage,
    client: &mut Client,
    backend: &Arc<Backend>,
) -> Result<bool> {
    let extended = message.is_extended_query();
    let Err(error) = backend.process(message, client).await else { return Ok(true) };
    let goes_on = !error.is_fatal();
    process_error(client, error, extended).await?;
    Ok(goes_on)
}

/// The client is told, and the session ends.
async fn farewell(id: SessionId, client: &mut Client, interrupt: &Interrupt) -> Result<()> {
    let error = PgWireBackendMessage::ErrorResponse(report(id, interrupt).into());
    timeout(FAREWELL, client.send(error)).await??;
    timeout(FAREWELL, client.close()).await?
}
