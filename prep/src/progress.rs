//! Progress bars on standard error for work that takes longer than two seconds.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is over sooner never shows a bar.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a bar that is shown is drawn again.
const REFRESH: Duration = Duration::from_millis(250);

/// Whether bars are shown; passed to whatever may take long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    quiet: bool,
}

impl Progress {
    /// `quiet` shows no bars at all; otherwise they appear where standard error is a terminal.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Writes a warning to standard error, where bars would be.
    pub fn warn(&self, message: &str) {
        if !self.quiet {
            eprintln!("warning: {message}");
        }
    }

    /// No bars.
    pub fn silent() -> Self {
        Self::new(true)
    }

    /// A bar over `total` bytes of input: share done, MB/s, time left.
    pub fn bytes(&self, what: &'static str, total: u64) -> Bar {
        let template = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left";
        self.bar(what, total, template)
    }

    /// A bar over `total` things: share done, rate, time left.
    pub fn count(&self, what: &'static str, total: u64) -> Bar {
        self.bar(what, total, "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left")
    }

    /// A bar over `rows` rows that take `bytes` bytes together, shown in bytes as if all were equally long.
    pub fn rows(&self, what: &'static str, rows: u64, bytes: u64) -> Bar {
        let mut bar = self.bytes(what, bytes);
        bar.bytes_per_row = bytes as f64 / rows.max(1) as f64;
        bar
    }

    fn bar(&self, what: &'static str, total: u64, template: &str) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Bar { bar, done: 0, bytes_per_row: 1.0, started: Instant::now(), waiting: !self.quiet }
    }
}

/// One bar; it disappears when dropped.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    /// In what the caller counts.
    done: u64,
    /// What is shown for each of that.
    bytes_per_row: f64,
    started: Instant,
    /// Not shown yet, but it may be.
    waiting: bool,
}

impl Bar {
    /// Moves the bar to `position`.
    pub fn set(&mut self, position: u64) {
        self.show_when_long();
        self.done = position;
        self.bar.set_position((position as f64 * self.bytes_per_row).round() as u64);
    }

    /// Moves the bar on by `amount`.
    pub fn add(&mut self, amount: u64) {
        self.set(self.done + amount);
    }

    fn show_when_long(&mut self) {
        if self.waiting && self.started.elapsed() >= PATIENCE {
            self.waiting = false;
            // Draws nothing where standard error is not a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            // Rate and time left stay current while a large piece of work is under way.
            self.bar.enable_steady_tick(REFRESH);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_counts_whether_it_is_shown_or_not() {
        for progress in [Progress::silent(), Progress::new(false)] {
            let mut bar = progress.bytes("reading", 100);
            bar.set(40);
            bar.add(2);
            assert_eq!(bar.bar.position(), 42);
            assert!(bar.bar.is_hidden());
        }
    }

    #[test]
    fn rows_are_shown_as_bytes() {
        let mut bar = Progress::silent().rows("searching", 10, 1_000);
        bar.add(4);
        assert_eq!((bar.bar.position(), bar.bar.length()), (400, Some(1_000)));
        bar.add(6);
        assert_eq!(bar.bar.position(), 1_000);
    }
}
