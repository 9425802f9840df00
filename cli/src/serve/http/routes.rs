//! Which path is for what.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;

use super::body;
use super::classify::classify;
use super::infer::infer;
use super::log::Log;
use super::model_path::{Asking, Which};
use super::observe::{Told, observe};
use super::respond;
use super::state::State;
use crate::serve::protocol;
use crate::serve::refusal::Refusal;

/// What Prometheus is told of its text.
const METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Everything that is answered.
pub(in crate::serve) fn router(state: &Arc<State>, log: &Arc<Log>) -> Router {
    let model = |rest: &str| {
        [
            format!("/v2/models/{{name}}{rest}"),
            format!("/v2/models/{{name}}/versions/{{version}}{rest}"),
        ]
    };
    let mut router = Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/repository/index", post(index))
        .route("/metrics", get(metrics));
    for path in model("") {
        router = router.route(&path, get(metadata));
    }
    for path in model("/ready") {
        router = router.route(&path, get(model_ready));
    }
    for path in model("/infer") {
        router = router.route(&path, post(infer));
    }
    for path in model("/classify") {
        router = router.route(&path, post(classify));
    }
    router
        .fallback(nothing)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state((Arc::clone(state), Arc::clone(log)), observe))
        .with_state(Arc::clone(state))
}

fn told(endpoint: &'static str) -> Told {
    Told { endpoint, ..Told::default() }
}

async fn server() -> Response {
    respond::outcome(Ok(respond::json(&protocol::of_server())), told("server"))
}

async fn live() -> Response {
    respond::outcome(Ok(respond::json(&json!({"live": true}))), told("live"))
}

/// Models are ready before anything is accepted.
async fn ready() -> Response {
    respond::outcome(Ok(respond::json(&json!({"ready": true}))), told("ready"))
}

async fn index(Shared(state): Shared<Arc<State>>) -> Response {
    respond::outcome(Ok(respond::json(&protocol::index(&state.models))), told("index"))
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    let text = state.metrics.to_text(state.taken_on()).map(|text| {
        let mut response = Response::new(text.into());
        response.headers_mut().insert(CONTENT_TYPE, METRICS);
        response
    });
    respond::outcome(text.map_err(|_| Refusal::internal()), told("metrics"))
}

async fn metadata(Shared(state): Shared<Arc<State>>, which: Asking) -> Response {
    let mut told = told("metadata");
    let outcome = which.and_then(|Which { name, version }| {
        let (_, model) = state.find(&name, version.as_deref())?;
        told.model.clone_from(&model.name);
        Ok(respond::json(&protocol::of_model(model)))
    });
    respond::outcome(outcome, told)
}

async fn model_ready(Shared(state): Shared<Arc<State>>, which: Asking) -> Response {
    let mut told = told("model_ready");
    let outcome = which.and_then(|Which { name, version }| {
        let (_, model) = state.find(&name, version.as_deref())?;
        told.model.clone_from(&model.name);
        Ok(respond::json(&json!({"name": model.name, "ready": true})))
    });
    respond::outcome(outcome, told)
}

async fn nothing(uri: Uri, headers: HeaderMap, mut body: Body) -> Response {
    body::drain(&headers, &mut body).await;
    let message = format!(
        "there is nothing at {}; GET /v2 is the server, GET /v2/models/NAME a model, \
         POST /v2/models/NAME/infer an inference",
        uri.path()
    );
    respond::outcome(Err(Refusal::new(StatusCode::NOT_FOUND, message)), Told::default())
}

async fn not_allowed(method: Method, uri: Uri, headers: HeaderMap, mut body: Body) -> Response {
    body::drain(&headers, &mut body).await;
    let message = format!("{method} is not for {}", uri.path());
    respond::outcome(Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)), Told::default())
}
