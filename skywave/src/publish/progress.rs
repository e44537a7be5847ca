//! What `pub` says about its progress, on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use skywave_client::{Position, Published};

/// Between two lines of progress.
const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Progress {
    started: Instant,
    said: Instant,
    acknowledged: u64,
    duplicates: u64,
    last: Option<Position>,
    live: bool,
    quiet: bool,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let live = !quiet && std::io::stderr().is_terminal();
        Self { started: now, said: now, acknowledged: 0, duplicates: 0, last: None, live, quiet }
    }

    pub(super) fn acknowledged(&mut self, published: Published) {
        self.acknowledged += 1;
        self.duplicates += u64::from(published.duplicate);
        self.last = published.position;
        if self.live && self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            eprintln!("{}", self.line());
        }
    }

    pub(super) fn finish(&self) {
        if !self.quiet {
            eprintln!("{}", self.line());
        }
    }

    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.acknowledged as f64 / seconds.max(0.001);
        let mut line = format!("{} acknowledged in {seconds:.1} s ({rate:.0}/s)", self.acknowledged);
        if self.duplicates > 0 {
            line.push_str(&format!(", {} of them published before", self.duplicates));
        }
        if let Some(position) = &self.last {
            line.push_str(&format!(", up to {}:{}", position.epoch, position.offset));
        }
        line
    }
}
