//! The server's interface: HTTP/1.1.
//!
//! | path | what |
//! |---|---|
//! | `GET /v2`, `/v2/health/live`, `/v2/health/ready` | the server |
//! | `GET /v2/models/M`, `/v2/models/M/ready` | a model |
//! | `POST /v2/models/M/infer` | an inference on tensors |
//! | `POST /v2/models/M/classify` | the classes of an image |
//! | `POST /v2/repository/index` | all models |
//! | `GET /metrics` | counters |
//!
//! `/versions/1` may stand behind `M`. What goes wrong is `{"error": "…"}`.

mod apart;
mod body;
mod classify;
mod connections;
mod infer;
mod log;
mod model_path;
mod observe;
mod respond;
mod routes;
mod state;

pub(super) use connections::serve;
pub(super) use log::Log;
pub(super) use routes::router;
pub(super) use state::{Limits, State};
