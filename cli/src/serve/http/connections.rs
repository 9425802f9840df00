//! Connections: how many there may be, how long they may take to say something, and how they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;

use crate::serve::signals::Signals;

/// Connections at once; further ones wait to be accepted. Systems allow a process some thousand files.
const MOST: usize = 768;

/// How long a client may take to send a header, and how long a connection may be idle.
const HEADER: Duration = Duration::from_secs(30);

/// How long a client may take to read anything.
const WRITING: Duration = Duration::from_secs(30);

/// Bytes of a header, and of what is read at once.
const BUFFER: usize = 64 << 10;

/// How long to wait where a connection cannot be accepted, as for want of files.
const TROUBLE: Duration = Duration::from_millis(100);

/// Serves connections until a signal comes. Those that are open then have so much time to get the answers to requests
/// that have begun, unless another signal comes; gives whether they got them.
pub(in crate::serve) async fn serve(
    listener: TcpListener,
    router: Router,
    signals: &mut Signals,
    patience: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, &router, &graceful) => {}
        () = signals.next() => {}
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => true,
        () = sleep(patience) => false,
        () = signals.next() => false,
    }
}

/// Accepts for ever.
async fn accept(listener: &TcpListener, router: &Router, graceful: &GracefulShutdown) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, watcher) = (router.clone(), graceful.watcher());
                tokio::spawn(connection(stream, router, watcher, place));
            }
            // Of the client alone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(TROUBLE).await,
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    watcher: Watcher,
    _place: OwnedSemaphorePermit,
) {
    // What it is for is speed alone.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITING));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(BUFFER).half_close(true);
    let service = TowerToHyperService::new(router);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    // A client that breaks off is nobody's business.
    let _ = watcher.watch(connection).await;
}
