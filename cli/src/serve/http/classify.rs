//! `POST …/classify`: the best classes of an image.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, RawQuery, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::apart::apart;
use super::body;
use super::model_path::{Asking, find};
use super::observe::{RequestId, Told};
use super::respond;
use super::state::State;
use crate::image_input;
use crate::limits::Largest;
use crate::serve::refusal::Refusal;
use crate::serve::rows::{Outputs, Rows};
use crate::tensors::Array;

/// `POST …/classify`
pub(super) async fn classify(
    Shared(state): Shared<Arc<State>>,
    which: Asking,
    Extension(id): Extension<RequestId>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let mut told = Told { endpoint: "classify", ..Told::default() };
    let asked = Image { query: query.unwrap_or_default(), id: id.0 };
    let outcome = classify_told(&state, which, asked, &headers, &mut body, &mut told).await;
    if outcome.is_err() {
        body::drain(&headers, &mut body).await;
    }
    respond::outcome(outcome.map(|value| respond::json(&value)), told)
}

/// What is said of an image beside its bytes.
struct Image {
    query: String,
    id: String,
}

async fn classify_told(
    state: &Arc<State>,
    which: Asking,
    asked: Image,
    headers: &HeaderMap,
    body: &mut Body,
    told: &mut Told,
) -> Result<Value, Refusal> {
    let deadline = Instant::now() + state.limits.timeout;
    let model = find(state, which, told)?;
    let top = top(&asked.query)?;
    check_kind(headers)?;
    if let Err(why) = &state.models[model].images {
        return Err(Refusal::bad(format!("`{}` does not classify images: {why}", told.model)));
    }
    let whole = body::read(state, headers, body, deadline).await?;
    let decoding = Arc::clone(state);
    let decode = move || decode(&decoding, model, &whole.bytes);
    let image = apart(state, deadline, decode).await??;
    let rows = Rows { count: 1, inputs: vec![Bytes::from(image.bytes)] };
    let (outputs, _memory) = state.run(model, rows, deadline).await?;
    told.queued = Some(outputs.queued);
    ranked(state, model, outputs, top, &asked.id)
}

fn decode(state: &State, model: usize, bytes: &[u8]) -> Result<Array, Refusal> {
    let images = state.models[model].images.as_ref().map_err(Refusal::bad)?;
    if !image_input::is_image(bytes) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is no PNG, JPEG, WebP, BMP, GIF or TIFF image; send the file's bytes, as with \
             curl --data-binary @FILE",
        ));
    }
    Ok(image_input::decode(bytes, Path::new("the body"), &images.recipe, Largest::SERVED)?)
}

/// The best classes, as `run --json` prints them.
fn ranked(
    state: &State,
    model: usize,
    outputs: Outputs,
    top: Option<usize>,
    id: &str,
) -> Result<Value, Refusal> {
    let hosted = &state.models[model];
    let images = hosted.images.as_ref().map_err(Refusal::bad)?;
    let spec = hosted.program.outputs().first().ok_or_else(Refusal::internal)?;
    let bytes = outputs.tensors.into_iter().next().ok_or_else(Refusal::internal)?;
    let output = Array { dtype: spec.dtype, shape: hosted.rows.shape(spec, 1), bytes };
    let rankings = images.classifier.rank_to(&output, top);
    let ranking = rankings.first().ok_or_else(Refusal::internal)?;
    Ok(json!({"input": id, "sample": 0, "top": images.classifier.to_json(ranking)}))
}

/// `top=K`; other parameters are left alone.
fn top(query: &str) -> Result<Option<usize>, Refusal> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("top=")) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(top) if top > 0 => Ok(Some(top)),
        _ => Err(Refusal::bad(format!("top is a number of classes from 1 on, and not `{text}`"))),
    }
}

fn check_kind(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.starts_with("multipart/") {
        true => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is a form; send the image's bytes alone, as with curl --data-binary @FILE",
        )),
        false => Ok(()),
    }
}
