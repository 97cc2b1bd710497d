//! Evaluates queries and updates. The calling thread helps with the statement of a session, and an
//! interrupt sets Oxigraph's cancellation token.

use crate::session::Part;
use oxigraph::io::{RdfFormat, RdfSerializer};
use oxigraph::sparql::results::{QueryResultsFormat, QueryResultsSerializer};
use oxigraph::sparql::{CancellationToken, QueryResults, SparqlEvaluator};
use oxigraph::store::Store;
use safepoint::session::WaitMode;
use safepoint::{check, current};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;
/// The rest of an answer at its end: the bytes, with the media type if nothing was sent before.
pub(crate) type Rest = (Option<&'static str>, Vec<u8>);

/// Evaluates a query. Sends its results, and returns the rest. `accept` is a list of media types, of
/// which the first that is known is used. Blocks while the client does not read.
pub(crate) fn query(store: &Store, text: &str, accept: &str, parts: Sender<Part>) -> Result<Rest> {
    let token = CancellationToken::new();
    let evaluator = SparqlEvaluator::new().with_cancellation_token(token.clone());
    let query = evaluator.parse_query(text)?;
    interruptible(token, || send(query.on_store(store).execute()?, accept, parts))
}

/// Evaluates an update. If it returns an error, the store is unchanged. No other update must run.
pub(crate) fn update(store: &Store, text: &str) -> Result<()> {
    let token = CancellationToken::new();
    let evaluator = SparqlEvaluator::new().with_cancellation_token(token.clone());
    let update = evaluator.parse_update(text)?;
    let mut transaction = store.start_transaction()?;
    interruptible(token, || Ok(update.on_transaction(&mut transaction).execute()?))?;
    check()?;
    let _held = current::hold_off("commit");
    Ok(transaction.commit()?)
}

/// Runs work of the engine. If it fails because an interrupt has set its token, returns the interrupt.
fn interruptible<T>(token: CancellationToken, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = move || token.cancel();
    let result = current::with_interrupt_waker(WaitMode::Interruptible, stop, work)?;
    result.map_err(|error| check().err().map_or(error, Into::into))
}

/// Sends results as the engine finds them. Each is preceded by a safe point: the engine looks at its
/// token as it reads the store, but not while it sorts what it has read.
fn send(results: QueryResults<'_>, accept: &str, parts: Sender<Part>) -> Result<Rest> {
    let mut accepted = accept.split(',').map(str::trim);
    let mut rows = Rows { parts, media_type: None, bytes: Vec::new(), sent_at: Instant::now() };
    let rows = if let QueryResults::Graph(triples) = results {
        let format = accepted.find_map(RdfFormat::from_media_type).unwrap_or(RdfFormat::NTriples);
        rows.media_type = Some(format.media_type());
        let mut serializer = RdfSerializer::from_format(format).for_writer(rows);
        for triple in triples {
            check()?;
            serializer.serialize_triple(&triple?)?;
        }
        serializer.finish()?
    } else {
        let format = accepted.find_map(QueryResultsFormat::from_media_type);
        let format = format.unwrap_or(QueryResultsFormat::Json);
        rows.media_type = Some(format.media_type());
        let serializer = QueryResultsSerializer::from_format(format);
        match results {
            QueryResults::Solutions(solutions) => {
                let names = solutions.variables().to_vec();
                let mut serializer = serializer.serialize_solutions_to_writer(rows, names)?;
                for solution in solutions {
                    check()?;
                    serializer.serialize(&solution?)?;
                }
                serializer.finish()?
            }
            QueryResults::Boolean(value) => serializer.serialize_boolean_to_writer(rows, value)?,
            QueryResults::Graph(_) => unreachable!("sent above"),
        }
    };
    check()?;
    Ok((rows.media_type, rows.bytes))
}

/// A writer that sends parts of an answer. While the channel is full it blocks, until an interrupt.
struct Rows {
    parts: Sender<Part>,
    media_type: Option<&'static str>,
    bytes: Vec<u8>,
    sent_at: Instant,
}

impl Rows {
    fn send(&self, part: Part) -> io::Result<()> {
        let sent = current::block_on(self.parts.send(part)).map_err(io::Error::other)?;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Rows {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        // Most rows end with a brace or a line: the clock is not read for each piece.
        let ends = matches!(bytes.last(), Some(b'}' | b'\n'));
        if self.bytes.len() >= 16_384 || ends && self.sent_at.elapsed() > Duration::from_millis(100)
        {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(media_type) = self.media_type.take() {
            self.send(Part::Begin(media_type))?;
        }
        self.sent_at = Instant::now();
        let bytes = std::mem::take(&mut self.bytes);
        self.send(Part::Bytes(bytes))
    }
}
