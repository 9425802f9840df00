//! What is counted and said of each request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State as Shared};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;

use super::log::{Line, Log};
use super::state::State;

/// The header with a request's id.
const ID: &str = "x-request-id";

/// Characters of an id in a header. Those in JSON may have more, of which a line has some.
const LONGEST: usize = 128;

/// What a request is called: by its header, or made up.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// What an endpoint tells of a request, in the extensions of its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Which model it is about, of those that are served.
    pub(super) model: String,
    /// What it was asked for.
    pub(super) endpoint: &'static str,
    /// What the client calls it in its body.
    pub(super) id: Option<String>,
    /// How long it waited to be run.
    pub(super) queued: Option<Duration>,
}

/// Counts a request and says a line of it.
pub(super) async fn observe(
    Shared((state, log)): Shared<(Arc<State>, Arc<Log>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let begin = Instant::now();
    let in_flight = state.metrics.begin();
    let id = id_of(&request).unwrap_or_else(|| log.new_id());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    drop(in_flight);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(ID, value);
    }
    let told = response.extensions_mut().remove::<Told>().unwrap_or_default();
    let (status, duration) = (response.status().as_u16(), begin.elapsed());
    state.metrics.add_request(&told.model, told.endpoint, status, duration);
    let id = told.id.unwrap_or(id);
    log.add(&Line {
        method: method.as_str(),
        path: &path,
        status,
        duration,
        queued: told.queued,
        id: &id,
    });
    response
}

/// What the header calls it, if it is a name.
fn id_of(request: &Request) -> Option<String> {
    let id = request.headers().get(ID)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= LONGEST).then(|| id.to_owned())
}
