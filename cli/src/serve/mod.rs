//! Models over HTTP: what `cardinal serve` does.
//!
//! ```text
//! connections ──> request ──protocol──> rows ──queue──> batch ──worker──> rows ──protocol──> answer
//!  tokio, hyper    bounded               checked         of one model      a session
//! ```
//!
//! Connections are tasks of a small runtime, which never wait for anything long: JSON and images are read on its
//! blocking threads, and inferences run on workers of our own, whose sessions share one pool of threads. Everything
//! that a client can make grow has a limit: connections, headers, bodies, requests that wait, and the memory for all
//! of them.

mod hosted;
mod http;
mod metrics;
mod protocol;
mod queue;
mod refusal;
mod rows;
mod signals;
mod workers;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use cardinal_runtime::MAX_THREADS;

use crate::ending;
use crate::exit::{Failure, Outcome};
use crate::serving::ServingOptions;
use crate::{output, program, render};

pub(crate) use hosted::Hosted;
use http::{Limits, Log, State};
use metrics::Metrics;
use queue::Queue;
use signals::Signals;
use workers::Workers;

/// Threads that read from connections and write to them.
const CONNECTION_THREADS: usize = 2;

/// How long what clients have broken off may go on, once the server ends.
const LEAVING: Duration = Duration::from_millis(100);

/// Serves models until a signal ends it.
///
/// # Errors
/// Those of making sessions, and of listening.
pub(crate) fn serve(models: Vec<Hosted>, args: &ServingOptions) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let models: Arc<[Hosted]> = models.into();
    let batches = models.iter().map(|model| model.rows.batch);
    let queue = Arc::new(Queue::new(batches, args.batch_delay));
    let metrics = Arc::new(Metrics::new());
    render::survive_panics();
    let sessions = args.sessions.unwrap_or(threads);
    if sessions.get() > MAX_THREADS {
        return Err(Failure::usage(format!("{sessions} sessions are more than {MAX_THREADS}"))
            .with_help("as many as threads are enough; more requests wait for their turn"));
    }
    let _workers = Workers::start(sessions, threads, &models, &queue, &metrics)?;
    let limits = Limits { queue: args.queue.get(), timeout: args.timeout, body: args.max_body };
    let state = Arc::new(State::new(models, queue, metrics, limits));
    let log = Arc::new(Log::new(args.quiet));
    // A signal that comes now ends the process where this does.
    ending::uninterrupted(|| {
        let runtime = runtime(threads).map_err(|error| failed("start threads", &error))?;
        let served = runtime.block_on(run(&state, &log, args));
        runtime.shutdown_timeout(LEAVING);
        if let Some(log) = Arc::into_inner(log) {
            log.finish();
        }
        served
    })
}

fn runtime(threads: NonZeroUsize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(CONNECTION_THREADS)
        .max_blocking_threads(threads.get().max(2))
        .thread_name("serve-http")
        .enable_all()
        .build()
}

/// Listens until a signal comes, and answers the requests that have begun.
async fn run(state: &Arc<State>, log: &Arc<Log>, args: &ServingOptions) -> Outcome {
    let mut signals = Signals::new().map_err(|error| failed("wait for signals", &error))?;
    let listener = tokio::select! {
        listener = listen(args) => listener.map_err(|error| not_listening(args, error))?,
        () = signals.next() => return Ok(()),
    };
    let address = listener.local_addr().map_err(|error| not_listening(args, error))?;
    if !address.ip().is_loopback() {
        render::note(
            "warning: other machines can use this server, without a password and without encryption",
        );
    }
    output::print(|out| writeln!(out, "http://{address}"))?;
    let router = http::router(state, log);
    if !http::serve(listener, router, &mut signals, args.timeout).await {
        render::note("warning: some requests are not answered");
    }
    Ok(())
}

/// A name may have several addresses: the first at which one can listen.
#[cfg(feature = "compiler")]
async fn listen(args: &ServingOptions) -> io::Result<TcpListener> {
    TcpListener::bind((args.host.as_str(), args.port)).await
}

#[cfg(not(feature = "compiler"))]
async fn listen(args: &ServingOptions) -> io::Result<TcpListener> {
    TcpListener::bind((args.host, args.port)).await
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot {what}: {error}"))
}

fn not_listening(args: &ServingOptions, error: io::Error) -> Failure {
    Failure::Io { action: "listen at", file: format!("{}:{}", args.host, args.port), error }
}
