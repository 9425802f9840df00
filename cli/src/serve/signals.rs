//! What ends the server.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::ending;

/// The signals that end a process, as they come. [`ending`] gets them too, and ends the process by the first when it
/// may.
pub(super) struct Signals(mpsc::Receiver<()>);

impl Signals {
    /// Listens from now on; for a runtime.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn new() -> io::Result<Signals> {
        let (to, signals) = mpsc::channel(1);
        for number in ending::signals() {
            tokio::spawn(pass_on(signal(SignalKind::from_raw(number))?, to.clone()));
        }
        Ok(Signals(signals))
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) {
        // Where all are ignored, there is nothing to wait for.
        if self.0.recv().await.is_none() {
            pending().await
        }
    }
}

async fn pass_on(mut signal: Signal, to: mpsc::Sender<()>) {
    while signal.recv().await.is_some() && to.send(()).await.is_ok() {}
}
