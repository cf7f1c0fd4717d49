//! Progress bars on standard error for work that takes longer than two seconds.

use std::io::{IsTerminal, Read};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is over sooner never shows a bar.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a bar that is shown is drawn again.
const REFRESH: Duration = Duration::from_millis(250);

/// What a bar over the shards of an interrupted run is called.
pub(crate) const CHECKING: &str = "checking finished shards";

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

    /// A count of bytes whose end nobody knows, with MB/s.
    pub fn endless(&self, what: &'static str) -> Bar {
        let bar = self.bar(what, 0, "{msg} {decimal_bytes} {decimal_bytes_per_sec}");
        bar.bar.unset_length();
        bar
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
        let shown = bar.clone();
        // By the clock: what takes long may be long in coming to its first update.
        let visible = !self.quiet && std::io::stderr().is_terminal();
        let appearance = visible.then(|| Later::new(PATIENCE, move || show(&shown)));
        Bar { bar, done: 0, bytes_per_row: 1.0, appearance }
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
    /// Shows it, when it is time.
    appearance: Option<Later>,
}

impl Bar {
    /// Moves the bar to `position`.
    pub fn set(&mut self, position: u64) {
        self.done = position;
        self.bar.set_position((position as f64 * self.bytes_per_row).round() as u64);
    }

    /// Moves the bar on by `amount`.
    pub fn add(&mut self, amount: u64) {
        self.set(self.done + amount);
    }

    /// Moves the bar to `position` of `total`, where it was not known before.
    pub fn set_of(&mut self, position: u64, total: u64) {
        self.bar.set_length(total);
        self.set(position);
    }

    /// Moves on by what is read of `input`.
    pub fn reading<R: Read>(self, input: R) -> Watched<R> {
        Watched { input, bar: self }
    }
}

/// A reader with a bar; see [`Bar::reading`].
#[derive(Debug)]
pub struct Watched<R> {
    input: R,
    bar: Bar,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.input.read(out)?;
        self.bar.add(bytes as u64);
        Ok(bytes)
    }
}

fn show(bar: &ProgressBar) {
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // Rate and time left stay current while a large piece of work is under way.
    bar.enable_steady_tick(REFRESH);
}

/// Something done after a while on a thread of its own, unless this is dropped before.
#[derive(Debug)]
struct Later(Option<(Sender<()>, JoinHandle<()>)>);

impl Later {
    fn new(wait: Duration, act: impl FnOnce() + Send + 'static) -> Self {
        let (dropped, end) = channel();
        let run = move || {
            if end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                act();
            }
        };
        // Without a thread there will be no bar; the work matters more.
        Self(Builder::new().name("progress".into()).spawn(run).ok().map(|thread| (dropped, thread)))
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Some((dropped, thread)) = self.0.take() {
            drop(dropped);
            let _ = thread.join();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // First, or it might appear when all is over.
        self.appearance = None;
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
    fn a_bar_appears_by_the_clock_and_never_after_its_end() {
        let (acted, seen) = channel();
        let early = acted.clone();
        drop(Later::new(Duration::from_secs(60), move || early.send("early").unwrap()));
        let _later = Later::new(Duration::from_millis(1), move || acted.send("in time").unwrap());
        assert_eq!(seen.recv(), Ok("in time"));
        assert!(seen.recv().is_err(), "the one that was dropped");
    }

    #[test]
    fn what_is_read_moves_the_bar() {
        let mut input = Progress::silent().endless("reading").reading(&[7; 1_000][..]);
        std::io::copy(&mut input, &mut std::io::sink()).unwrap();
        assert_eq!((input.bar.bar.position(), input.bar.bar.length()), (1_000, None));
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
