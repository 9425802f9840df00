//! How far a long run is, on stderr: a bar where that is a terminal, a line now and then elsewhere.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::render;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(30);

/// How many images are done.
pub(super) struct Progress {
    all: usize,
    /// Those of earlier runs too.
    done: usize,
    /// Those of earlier runs.
    before: usize,
    begin: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// Of `all` images, so many are done by an earlier run.
    pub(super) fn new(all: usize, done: usize, quiet: bool) -> Progress {
        if done > 0 && !quiet {
            render::note(format_args!("going on after {done} of {all} images"));
        }
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(all as u64).with_position(done as u64);
            let style = ProgressStyle::with_template("{wide_bar} {pos} of {len}, {msg}");
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let begin = Instant::now();
        Progress { all, done, before: done, begin, said: begin, bar, quiet }
    }

    /// So many more are done.
    pub(super) fn add(&mut self, images: usize) {
        self.done += images;
        if let Some(bar) = &self.bar {
            bar.set_message(self.rate());
            bar.set_position(self.done as u64);
        } else if !self.quiet && self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            render::note(format_args!("{} of {}, {}", self.done, self.all, self.rate()));
        }
    }

    fn per_second(&self) -> f64 {
        (self.done - self.before) as f64 / self.begin.elapsed().as_secs_f64().max(1e-9)
    }

    /// Images a second, and the time left.
    fn rate(&self) -> String {
        let rate = self.per_second();
        let left = self.all.saturating_sub(self.done) as f64 / rate;
        let (minutes, seconds) = ((left / 60.) as u64, (left % 60.) as u64);
        format!("{rate:.1} images/s, {minutes} min {seconds} s left")
    }

    /// All are done, of which so many have no result.
    pub(super) fn finish(self, output: &str, bad: usize) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !self.quiet {
            let (images, seconds) = (self.done - self.before, self.begin.elapsed().as_secs_f64());
            let rate = self.per_second();
            render::note(format_args!(
                "{images} images in {seconds:.1} s, {rate:.1} images/s, {bad} without a result -> {output}"
            ));
        }
    }
}
