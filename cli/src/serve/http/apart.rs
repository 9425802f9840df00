//! Work that takes a while.

use std::time::Instant;

use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::state::State;
use crate::serve::refusal::Refusal;

/// Does what takes a while on a thread that nothing else waits for. A panic is an error of this request alone.
///
/// # Errors
/// 504, and 500 for a panic.
pub(super) async fn apart<T: Send + 'static>(
    state: &State,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let done = timeout_at(deadline.into(), spawn_blocking(work)).await;
    done.map_err(|_| state.late())?.map_err(|_| Refusal::internal())
}
