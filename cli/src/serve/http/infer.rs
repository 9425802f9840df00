//! `POST …/infer`: outputs for inputs.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use super::apart::apart;
use super::body;
use super::model_path::{Asking, find};
use super::observe::Told;
use super::respond;
use super::state::{Memory, State};
use crate::serve::protocol::{self, Answered, Asked};
use crate::serve::refusal::Refusal;

/// Bytes of the JSON before binary tensors.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// `POST …/infer`
pub(super) async fn infer(
    Shared(state): Shared<Arc<State>>,
    which: Asking,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let mut told = Told { endpoint: "infer", ..Told::default() };
    let outcome = infer_told(&state, which, &headers, &mut body, &mut told).await;
    if outcome.is_err() {
        body::drain(&headers, &mut body).await;
    }
    respond::outcome(outcome, told)
}

async fn infer_told(
    state: &Arc<State>,
    which: Asking,
    headers: &HeaderMap,
    body: &mut Body,
    told: &mut Told,
) -> Result<Response, Refusal> {
    let deadline = Instant::now() + state.limits.timeout;
    let model = find(state, which, told)?;
    let header = header_length(headers)?;
    let whole = body::read(state, headers, body, deadline).await?;
    let asked = Arc::clone(state);
    let parse = move || {
        let most = asked.limits.body;
        protocol::parse(&asked.models[model], &whole.bytes, header, most)
    };
    let Asked { id, rows, outputs: wanted } = apart(state, deadline, parse).await??;
    told.id.clone_from(&id);
    let (outputs, memory) = state.run(model, rows, deadline).await?;
    told.queued = Some(outputs.queued);
    let answering = Arc::clone(state);
    let answer =
        move || protocol::answer(&answering.models[model], id.as_deref(), &outputs, &wanted);
    let answered = apart(state, deadline, answer).await?.map_err(|_| Refusal::internal())?;
    Ok(response(answered, memory))
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| {
        Refusal::bad(format!("Inference-Header-Content-Length is no number of bytes: {value:?}"))
    })
}

/// Memory is charged for until the client has read it.
fn response(Answered { body, header }: Answered, memory: Arc<Memory>) -> Response {
    let mut response = Response::new(Body::from(memory.keep(body)));
    let (headers, kind) = (response.headers_mut(), header.map(|_| "application/octet-stream"));
    let kind = kind.unwrap_or("application/json");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = header {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    response
}
