//! A line on stderr for each request.
//!
//! A thread of its own writes them: where whoever reads stderr does not, requests go on, and lines are left out and
//! counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use cardinal_runtime::text;

use crate::render;

/// Lines that wait to be written.
const WAITING: usize = 1 << 12;

/// How long writing what waits may take in the end.
const FINISHING: Duration = Duration::from_millis(500);

/// Characters of a path or of an id.
const LONGEST: usize = 100;

/// Where lines go.
pub(in crate::serve) struct Log {
    /// Nowhere, when nothing is to be said.
    to: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
    left_out: AtomicU64,
    /// Of ids that are made up: which server, and how many there were.
    server: u64,
    count: AtomicU64,
}

/// What is said of a request.
pub(super) struct Line<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) duration: Duration,
    pub(super) queued: Option<Duration>,
    pub(super) id: &'a str,
}

impl Log {
    /// On stderr, or nowhere.
    pub(in crate::serve) fn new(is_quiet: bool) -> Log {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (to, lines) = sync_channel(WAITING);
        let builder = thread::Builder::new().name("serve-log".into());
        let writer = (!is_quiet).then(|| builder.spawn(move || write(lines)).ok()).flatten();
        Log {
            to: writer.is_some().then_some(to),
            writer,
            left_out: AtomicU64::new(0),
            server: now.as_nanos() as u64,
            count: AtomicU64::new(0),
        }
    }

    /// An id that no other request has.
    pub(super) fn new_id(&self) -> String {
        format!("{:x}-{}", self.server, self.count.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Says a line, if anybody listens.
    pub(super) fn add(&self, line: &Line<'_>) {
        let Some(to) = &self.to else { return };
        let mut line = line.to_string();
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            line += &format!(" ({left_out} lines before it are left out)");
        }
        if let Err(TrySendError::Full(_)) = to.try_send(line) {
            self.left_out.fetch_add(left_out + 1, Ordering::Relaxed);
        }
    }

    /// Writes what waits, if that is possible soon.
    pub(in crate::serve) fn finish(self) {
        drop(self.to);
        let begin = Instant::now();
        while self.writer.as_ref().is_some_and(|writer| !writer.is_finished())
            && begin.elapsed() < FINISHING
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write(lines: Receiver<String>) {
    lines.into_iter().for_each(render::note);
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { method, path, status, duration, queued, id } = self;
        write!(f, "{method} {} {status} {:.1} ms", short(path), duration.as_secs_f64() * 1e3)?;
        if let Some(queued) = queued {
            write!(f, ", {:.1} ms in the queue", queued.as_secs_f64() * 1e3)?;
        }
        // What a client may choose is last, so that it is taken for nothing else.
        write!(f, ", id {}", short(id))
    }
}

/// The beginning of a name, in one word that shows.
fn short(name: &str) -> String {
    let begin: String = name.chars().take(LONGEST).collect();
    let rest = if begin.len() < name.len() { "…" } else { "" };
    text::line(&begin).replace(' ', "\\u{20}") + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_say_anything_else() {
        let line = Line {
            method: "GET",
            path: "/v2\u{1b}[2J",
            status: 404,
            duration: Duration::from_micros(1250),
            queued: Some(Duration::ZERO),
            id: &format!("a\nGET /v2 200{}", "x".repeat(10_000)),
        };
        let text = line.to_string();
        assert!(text.starts_with(
            "GET /v2\\u{1b}[2J 404 1.2 ms, 0.0 ms in the queue, id a\\nGET\\u{20}/v2"
        ));
        assert!(text.chars().all(text::is_visible) && text.len() < 300, "{text}");
    }
}
