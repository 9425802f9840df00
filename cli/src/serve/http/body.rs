//! Bodies of requests, read within bounds.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::{timeout, timeout_at};

use super::state::{Memory, State};
use crate::serve::refusal::Refusal;

/// How long the rest of a body is read that nobody wants. A client that is still sending would miss the answer, if the
/// connection were closed.
const DRAINING: Duration = Duration::from_secs(1);

/// A whole body, and the memory that it is charged for.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    _memory: Memory,
}

/// Reads the rest of a body that nobody wants, for a moment.
pub(super) async fn drain(headers: &HeaderMap, body: &mut Body) {
    // One that waits to be told to send does not send.
    if !headers.contains_key(EXPECT) {
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = timeout(DRAINING, rest).await;
    }
}

/// Reads a body, unless it cannot be taken on.
///
/// # Errors
/// 413, 415, 408 and 503; 400 where it ends early.
pub(super) async fn read(
    state: &State,
    headers: &HeaderMap,
    body: &mut Body,
    deadline: Instant,
) -> Result<Whole, Refusal> {
    check_encoding(headers)?;
    state.check_queue()?;
    let most = state.limits.body;
    if body.size_hint().lower() > most as u64 {
        return Err(too_large(most));
    }
    let whole = timeout_at(deadline.into(), gather(state, body, most)).await;
    whole.map_err(|_| {
        let message =
            format!("the body did not come within {:?} (--timeout)", state.limits.timeout);
        Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
    })?
}

async fn gather(state: &State, body: &mut Body, most: usize) -> Result<Whole, Refusal> {
    let mut bytes = BytesMut::new();
    let mut memory = Memory::default();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Refusal::bad(format!("cannot read the body: {error}")))?;
        // Trailers are nobody's business.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > most - bytes.len() {
            return Err(too_large(most));
        }
        state.charge(&mut memory, bytes.len() + data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(Whole { bytes: bytes.freeze(), _memory: memory })
}

fn too_large(most: usize) -> Refusal {
    let message = format!("the body has more than {most} bytes, which is the most (--max-body)");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is compressed; it is to be sent as it is, without Content-Encoding",
        )),
        Some(_) | None => Ok(()),
    }
}
