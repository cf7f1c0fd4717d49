//! Where a run stands, on stderr: one line that changes in a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Lines without a terminal come no more often than this.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What a run is like now, for people.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// How well it learns, in few words, the most important first: for a line of a terminal.
    pub short: Vec<String>,
    /// The same in full.
    pub long: String,
    /// How fast it learns, the most important first.
    pub speed: Vec<String>,
}

/// Progress over a known number of steps.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    started: Instant,
    first: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    /// Starts at `position` of `total`.
    pub fn start(what: &'static str, position: u64, total: u64) -> Self {
        let bar = (std::io::stderr().is_terminal() && !QUIET.load(Ordering::Relaxed)).then(|| {
            let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
            ProgressBar::new(total).with_style(style)
        });
        let now = Instant::now();
        Self { what, total, started: now, first: position, bar, last_line: now }
    }

    /// Shows `position` with a few words; the words are only made when they are shown.
    pub fn update(&mut self, position: u64, words: impl FnOnce() -> Words) {
        let Self { what, total, .. } = *self;
        if let Some(bar) = &self.bar {
            let width = usize::from(console::Term::stderr().size().1);
            let at = format!("{position}/{total} ~{}", self.left(position));
            let Words { short, speed, .. } = words();
            bar.set_message(fitting(at, short.into_iter().chain(speed), width));
        } else if self.last_line.elapsed() >= LINE_EVERY || position == total {
            self.last_line = Instant::now();
            let Words { long, speed, .. } = words();
            say(&format!("{what} {position}/{total} {long} {} {} left", speed.join(" "), self.left(position)));
        }
    }

    /// Time to the end at the speed so far.
    fn left(&self, position: u64) -> String {
        let done = position.saturating_sub(self.first).max(1);
        let per_step = self.started.elapsed().as_secs_f64() / done as f64;
        duration(per_step * self.total.saturating_sub(position) as f64)
    }

    /// Writes a line that stays, above the one that changes.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Removes the line that changes.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `line` and as many of `words` as a terminal of `width` columns has room for; its last column stays free.
fn fitting(mut line: String, words: impl Iterator<Item = String>, width: usize) -> String {
    for word in words.take_while(|word| !word.is_empty()) {
        if line.chars().count() + 1 + word.chars().count() >= width {
            break;
        }
        line = line + " " + &word;
    }
    line
}

/// Whether [`say`] is silent: of several processes, one speaks.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Makes [`say`] silent in this process, or not.
pub fn be_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Writes a line to stderr. That nobody listens there is no reason to stop training.
pub fn say(line: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        say_always(line);
    }
}

/// The same in every process of a run: for errors.
pub fn say_always(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Seconds as people write them: `48s`, `3m05s`, `2h07m`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number with separators: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_clock() {
        assert_eq!([0.4, 59.0, 185.0, 7620.0].map(duration), ["0s", "59s", "3m05s", "2h07m"]);
    }

    #[test]
    fn a_line_of_a_terminal_holds_whole_words_only() {
        let words = || ["loss 5.43", "MLM 23%", "612 seq/s"].map(str::to_owned).into_iter();
        assert_eq!(fitting("7/9 ~3s".to_owned(), words(), 80), "7/9 ~3s loss 5.43 MLM 23% 612 seq/s");
        assert_eq!(fitting("7/9 ~3s".to_owned(), words(), 30), "7/9 ~3s loss 5.43 MLM 23%");
        assert_eq!(fitting("7/9 ~3s".to_owned(), words(), 17), "7/9 ~3s");
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([7, 999, 1_000, 1_234_567].map(thousands), ["7", "999", "1,000", "1,234,567"]);
    }
}
