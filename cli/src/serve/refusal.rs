//! Why a request has no result, and the status of HTTP that says whose business it is.

use axum::http::StatusCode;

use crate::exit::{Failure, Status};

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// What is wrong, and what was expected.
    pub(super) message: String,
}

impl Refusal {
    /// With this status.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into() }
    }

    /// What was sent cannot be.
    pub(super) fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is more to do than is taken on: to be sent again.
    pub(super) fn busy(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// A bug of ours, which stderr has more about.
    pub(super) fn internal() -> Refusal {
        let message = "internal error of the server, which its log says more about";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

/// What goes wrong with an inference or an image that was sent.
impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let status = match failure.status() {
            Status::Usage | Status::Io => StatusCode::BAD_REQUEST,
            Status::Failed | Status::Model | Status::Mismatch | Status::Quiet => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let help = failure.help().map(|help| format!("; {help}")).unwrap_or_default();
        Refusal::new(status, format!("{failure}{help}"))
    }
}
