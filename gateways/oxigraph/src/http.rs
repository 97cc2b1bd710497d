//! The routes: queries and updates of clients, and requests of operators.

use crate::evaluate::Error;
use crate::session::{Operation, Part, Service};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures_util::stream;
use oxigraph::sparql::SparqlSyntaxError;
use safepoint::manager::OpenError;
use safepoint::request::InterruptReason;
use safepoint::{ClientInfo, Interrupt, Requester, SessionId, Terminate, TerminateMode};
use serde_json::{Value, json};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) fn clients(service: Arc<Service>) -> Router {
    let routes =
        Router::new().route("/query", get(serve).post(serve)).route("/update", post(serve));
    routes.layer(DefaultBodyLimit::max(128 << 20)).with_state(service)
}

pub(crate) fn operators(service: Arc<Service>) -> Router {
    let routes = Router::new().route("/activity", get(activity));
    routes.route("/sessions/{id}", delete(kill)).with_state(service)
}

async fn serve(
    State(service): State<Arc<Service>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Result<Response, Failure> {
    let operation = operation(&uri, &headers, &body)?;
    let client = ClientInfo::default().with_address(address.to_string());
    let client = client.with_application(header(&headers, USER_AGENT));
    let (sender, mut parts) = mpsc::channel(4);
    let mut run = Box::pin(service.run(client, operation, sender.clone()));
    let mut result = None;
    let begun = tokio::select! {
        biased;
        begun = parts.recv() => begun,
        rest = &mut run => {
            result = Some(rest);
            parts.try_recv().ok()
        }
    };
    let Some(Part::Begin(media_type)) = begun else {
        return match result.unwrap_or_else(|| Err("no answer".into())).map_err(failure)? {
            (Some(media_type), bytes) => Ok(([(CONTENT_TYPE, media_type)], bytes).into_response()),
            (None, _) => Ok(StatusCode::NO_CONTENT.into_response()),
        };
    };
    // The session runs on while the answer is sent. It ends as hyper drops the body, if the client has gone.
    let mut session = JoinSet::new();
    session.spawn(async move {
        let rest = if let Some(rest) = result { rest } else { run.await };
        match rest {
            Ok((_, bytes)) => {
                let _ = sender.send(Part::Bytes(bytes)).await;
                let _ = sender.send(Part::End).await;
            }
            Err(error) => eprintln!("{address}: the answer breaks off: {error}"),
        }
    });
    let body = stream::unfold((parts, session), async |(mut parts, session)| {
        match parts.recv().await {
            Some(Part::Bytes(bytes)) => Some((Ok(Bytes::from(bytes)), (parts, session))),
            Some(Part::End) => None,
            // The connection breaks: the client must not take this for the end.
            _ => Some((Err("the answer is not complete"), (parts, session))),
        }
    });
    Ok(([(CONTENT_TYPE, media_type)], Body::from_stream(body)).into_response())
}

/// Reads a request of the SPARQL protocol: the text is the body, or a parameter of the URL or a form.
fn operation(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Operation, Failure> {
    let name = uri.path().trim_start_matches('/');
    let (mut text, mut timeout) = (None, None);
    let mut form: &[u8] = b"";
    match header(headers, CONTENT_TYPE).split(';').next().unwrap_or_default().trim() {
        "application/x-www-form-urlencoded" => form = body,
        direct if direct.strip_prefix("application/sparql-") == Some(name) => {
            text = Some(String::from_utf8(body.to_vec()).map_err(bad_request)?);
        }
        _ if body.is_empty() => {}
        other => {
            let expected = format!("expected application/sparql-{name} or a form, got '{other}'");
            return Err(bad_request(expected));
        }
    }
    let url = uri.query().unwrap_or_default().as_bytes();
    for (key, value) in form_urlencoded::parse(url).chain(form_urlencoded::parse(form)) {
        if key == "timeout" && timeout.is_none() {
            let seconds = value.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
            let wrong = || bad_request(format!("timeout: expected seconds, got '{value}'"));
            timeout = Some(seconds.ok_or_else(wrong)?);
        } else if key == name && text.is_none() {
            text = Some(value.into_owned());
        } else {
            return Err(bad_request(format!("expected one '{name}' and 'timeout', got '{key}'")));
        }
    }
    let text = text.ok_or_else(|| bad_request(format!("expected the parameter '{name}'")))?;
    let accept = (name == "query").then(|| header(headers, ACCEPT).to_owned());
    Ok(Operation { text, accept, timeout })
}

fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Returns a row for each session, with the threads and tasks that help with its statement.
async fn activity(State(service): State<Arc<Service>>) -> Json<Vec<Value>> {
    let rows = service.manager.sessions().map(|row| {
        let helpers = service.manager.helpers(row.id).into_iter();
        let waits = |is_waiting| if is_waiting { ", waiting" } else { "" };
        json!({
            // A number of 64 bits is not exact in every reader of JSON.
            "session": row.id.to_string(),
            "state": row.state,
            "client": row.client.address(),
            "application": row.client.application(),
            "seconds": row.opened_at.elapsed().unwrap_or_default().as_secs_f64(),
            "helpers": helpers
                .map(|helper| format!("{}{}", helper.name, waits(helper.is_waiting)))
                .collect::<Vec<_>>(),
            "pending": row.pending.map(|request| request.to_string()),
            "text": row.statement_text,
        })
    });
    Json(rows.collect())
}

/// Ends a session, and waits up to 5 seconds for its receipt: until no thread works for it any more.
async fn kill(
    State(service): State<Arc<Service>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Path(id): Path<u64>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let session = SessionId::try_from(id).map_err(bad_request)?;
    let operator = Requester::new("operator").with_admin(true).with_address(address.to_string());
    let (request, asked_at) = (Terminate::new(TerminateMode::Immediate, operator), Instant::now());
    let receipt = service.manager.terminate(session, request);
    let mut receipt = receipt.map_err(|error| (StatusCode::NOT_FOUND, format!("{error}\n")))?;
    let end = tokio::time::timeout(Duration::from_secs(5), &mut receipt).await.ok();
    let status = if end.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let receipt = json!({
        "session": id.to_string(),
        "found": receipt.target().state,
        "ended": end.is_some(),
        "pending": receipt.pending_reason().map(|reason| reason.to_string()),
        "seconds": asked_at.elapsed().as_secs_f64(),
    });
    Ok((status, Json(receipt)))
}

type Failure = (StatusCode, String);

fn bad_request(expected: impl Display) -> Failure {
    (StatusCode::BAD_REQUEST, format!("{expected}\n"))
}

fn failure(error: Error) -> Failure {
    let interrupt = error.downcast_ref::<Interrupt>().map(|interrupt| interrupt.request().reason());
    let status = match interrupt {
        Some(InterruptReason::StatementTimeout) => StatusCode::GATEWAY_TIMEOUT,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None if error.is::<SparqlSyntaxError>() => StatusCode::BAD_REQUEST,
        None if error.is::<OpenError>() => StatusCode::SERVICE_UNAVAILABLE,
        None => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n"))
}
