//! SPARQL 1.1 over HTTP on Oxigraph. Each request is a session of `safepoint`. Operators see it and end it. A
//! timeout ends it without a thread for each, and the session ends if its client has gone.

mod evaluate;
mod http;
mod session;

use axum::serve::ListenerExt;
use clap::Parser;
use oxigraph::io::RdfFormat;
use oxigraph::store::Store;
use safepoint::{Requester, Terminate, TerminateMode};
use session::Service;
use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// SPARQL 1.1 over HTTP, with sessions that can be seen, timed out and killed
#[derive(Parser)]
struct Arguments {
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:7878")]
    bind: SocketAddr,
    /// Where operators connect, who need no password
    #[arg(long, default_value = "127.0.0.1:7879")]
    operators: SocketAddr,
    /// The longest time of a query or an update, in seconds; 0 for no limit
    #[arg(long, default_value = "60")]
    timeout_s: u64,
    /// How many are evaluated at a time [default: twice the cores, less one]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Files to load: .nt, .ttl, .nq, .trig or .rdf
    files: Vec<PathBuf>,
}

fn main() {
    if let Err(error) = run(Arguments::parse()) {
        eprintln!("safepoint-oxigraph: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: Arguments) -> evaluate::Result<()> {
    let store = Store::new()?;
    for path in &arguments.files {
        let name = path.display();
        let format = path.extension().and_then(|end| RdfFormat::from_extension(end.to_str()?));
        let format =
            format.ok_or_else(|| format!("{name}: expected .nt, .ttl, .nq, .trig or .rdf"))?;
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        let loaded = store.load_from_reader(format, BufReader::new(file));
        loaded.map_err(|error| format!("{name}: {error}"))?;
    }
    let cores = std::thread::available_parallelism()?.get();
    let threads = arguments.threads.map_or(cores * 2 - 1, NonZeroUsize::get);
    let timeout = (arguments.timeout_s > 0).then(|| Duration::from_secs(arguments.timeout_s));
    let service = Arc::new(Service::new(store, threads, timeout));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.max_blocking_threads(threads).enable_all().build()?.block_on(serve(arguments, service))
}

/// Serves until a signal. Then each session ends, and its client gets the error.
async fn serve(arguments: Arguments, service: Arc<Service>) -> evaluate::Result<()> {
    // Else the end of a short answer waits for the acknowledgement of its beginning, for 40 ms.
    let no_delay = |socket: &mut TcpStream| drop(socket.set_nodelay(true));
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))
    };
    let (clients, operators) = (bind(arguments.bind).await?, bind(arguments.operators).await?);
    println!("SPARQL: http://{}/query and /update", clients.local_addr()?);
    println!("operators: http://{}/activity and /sessions/ID", operators.local_addr()?);
    let routes =
        http::operators(service.clone()).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(operators, routes).into_future());
    let routes = http::clients(service.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        service.manager.shutdown(Terminate::new(TerminateMode::Immediate, Requester::system()));
    };
    Ok(axum::serve(clients.tap_io(no_delay), routes).with_graceful_shutdown(end).await?)
}
