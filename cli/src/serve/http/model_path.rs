//! Which model a path names.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::observe::Told;
use super::state::State;
use crate::serve::refusal::Refusal;

/// A model and maybe its version, as a path names them.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    pub(super) name: String,
    pub(super) version: Option<String>,
}

/// The same, or why a path names none: percent signs that encode no UTF-8.
pub(super) type Asking = Result<Which, Refusal>;

impl<S: Send + Sync> FromRequestParts<S> for Which {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Which, Refusal> {
        let path: Result<Path<Which>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(which)| which).map_err(|error| Refusal::bad(error.body_text()))
    }
}

/// The place of the model that a path names, which is told from then on.
///
/// # Errors
/// 404, and 400 for a path that names none.
pub(super) fn find(state: &State, which: Asking, told: &mut Told) -> Result<usize, Refusal> {
    let Which { name, version } = which?;
    let (place, model) = state.find(&name, version.as_deref())?;
    told.model.clone_from(&model.name);
    Ok(place)
}
