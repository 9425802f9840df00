//! Answers: JSON without characters that do more than show, and refusals.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cardinal_runtime::text;
use serde_json::{Value, json};

use super::observe::Told;
use crate::serve::refusal::Refusal;

/// Characters of a message; what a client has sent may be in it.
const MESSAGE: usize = 2000;

/// JSON with the status 200.
pub(super) fn json(value: &Value) -> Response {
    with_status(StatusCode::OK, value)
}

fn with_status(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(text::json(&value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let message = match self.message.char_indices().nth(MESSAGE) {
            Some((end, _)) => format!("{}…", &self.message[..end]),
            None => self.message,
        };
        let mut response = with_status(self.status, &json!({"error": message}));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The answer of an endpoint, with what is to be told of the request.
pub(super) fn outcome(outcome: Result<Response, Refusal>, told: Told) -> Response {
    let mut response = outcome.unwrap_or_else(Refusal::into_response);
    response.extensions_mut().insert(told);
    response
}
