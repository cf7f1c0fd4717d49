//! Compares the splitter with sentence spans made by another one, NLTK's Punkt for example.
//!
//! `cargo run --release -p cloze-prep --example punkt_agreement -- SPANS.jsonl [--model FILE] [--differences N]`
//!
//! Each line of the file is `{"source": .., "text": paragraph, "spans": [[begin, end], ..]}`, in characters; white space
//! around a span is not counted. `--model` takes a parameter file in
//! place of the English parameters. Prints, by
//! source and for all, precision, recall and F1 of spans (both ends equal) and of inner boundaries, then the speed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use cloze_prep::sentences::{Parameters, Splitter};

#[derive(serde::Deserialize)]
struct Row {
    source: String,
    text: String,
    spans: Vec<(usize, usize)>,
}

#[derive(Default)]
struct Counts {
    ours: usize,
    theirs: usize,
    both: usize,
}

impl Counts {
    fn add(&mut self, ours: &BTreeSet<(usize, usize)>, theirs: &BTreeSet<(usize, usize)>) {
        self.ours += ours.len();
        self.theirs += theirs.len();
        self.both += ours.intersection(theirs).count();
    }

    fn f1(&self) -> f64 {
        2.0 * self.both as f64 / (self.ours + self.theirs).max(1) as f64
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let differences = option("--differences").map_or(Ok(0), |number| number.parse())?;
    let file = std::io::BufReader::new(std::fs::File::open(&arguments[0])?);
    let rows = file.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect::<anyhow::Result<Vec<Row>>>()?;
    let splitter = match option("--model") {
        Some(path) => Splitter::new(&Parameters::read(path.as_ref())?),
        None => Splitter::english(),
    };
    let mut out = std::io::stdout().lock();
    let mut sources: BTreeMap<String, (Counts, Counts)> = BTreeMap::new();
    let mut shown = 0;
    for row in &rows {
        let ours = spans(&splitter, &row.text);
        let theirs: BTreeSet<_> = row.spans.iter().map(|span| trim(&row.text, *span)).collect();
        for name in [row.source.as_str(), "all"] {
            let (spans, boundaries) = sources.entry(name.to_owned()).or_default();
            spans.add(&ours, &theirs);
            boundaries.add(&inner(&ours), &inner(&theirs));
        }
        if shown < differences && ours != theirs {
            shown += show(&mut out, row, &inner(&ours), &inner(&theirs))?;
        }
    }
    for (name, (spans, boundaries)) in &sources {
        writeln!(
            out,
            "{name:<12} spans: ours {} theirs {} F1 {:.4}   inner boundaries: F1 {:.4}",
            spans.ours,
            spans.theirs,
            spans.f1(),
            boundaries.f1()
        )?;
    }
    speed(&mut out, &splitter, &rows)
}

/// Our sentences as character spans.
fn spans(splitter: &Splitter, text: &str) -> BTreeSet<(usize, usize)> {
    let mut ranges = Vec::new();
    splitter.split(text, &mut ranges);
    let characters = |byte: usize| text[..byte].chars().count();
    ranges.into_iter().map(|range| (characters(range.start), characters(range.end))).collect()
}

/// The span without white space around it: NLTK's first span holds the white space that a paragraph begins with.
fn trim(text: &str, (begin, end): (usize, usize)) -> (usize, usize) {
    let count = |chars: &mut dyn Iterator<Item = char>| chars.take_while(|c| c.is_whitespace()).count();
    let sentence: Vec<char> = text.chars().skip(begin).take(end - begin).collect();
    let before = count(&mut sentence.iter().copied());
    (begin + before, end - count(&mut sentence[before..].iter().rev().copied()))
}

/// Ends of all sentences but the last.
fn inner(spans: &BTreeSet<(usize, usize)>) -> BTreeSet<(usize, usize)> {
    spans.iter().rev().skip(1).map(|(_, end)| (*end, *end)).collect()
}

/// Prints the surroundings of boundaries that only one side has.
fn show(
    out: &mut impl Write,
    row: &Row,
    ours: &BTreeSet<(usize, usize)>,
    theirs: &BTreeSet<(usize, usize)>,
) -> anyhow::Result<usize> {
    let characters: Vec<char> = row.text.chars().collect();
    let mut shown = 0;
    for (end, _) in ours.symmetric_difference(theirs) {
        let side = if ours.contains(&(*end, *end)) { "OURS  " } else { "THEIRS" };
        let before: String = characters[end.saturating_sub(40)..*end].iter().collect();
        let after: String = characters[*end..(*end + 30).min(characters.len())].iter().collect();
        writeln!(out, "{side} {:<10} {before}⏎{after}", row.source)?;
        shown += 1;
    }
    Ok(shown)
}

/// Megabytes of text per second of CPU time, the best of several passes that each take about half a second.
fn speed(out: &mut impl Write, splitter: &Splitter, rows: &[Row]) -> anyhow::Result<()> {
    let bytes: usize = rows.iter().map(|row| row.text.len()).sum();
    let mut ranges = Vec::new();
    let mut pass = |rounds: usize| {
        let start = cpu_time();
        for row in std::iter::repeat_n(rows, rounds).flatten() {
            ranges.clear();
            splitter.split(&row.text, &mut ranges);
        }
        (cpu_time() - start).as_secs_f64()
    };
    let rounds = (0.5 / pass(1).max(1e-6)).ceil() as usize;
    let seconds = (0..7).map(|_| pass(rounds)).fold(f64::INFINITY, f64::min);
    let rate = (rounds * bytes) as f64 / seconds / 1e6;
    writeln!(out, "{rate:.0} MB/s of CPU time on one core: {bytes} bytes of text, {rounds} times, best of 7 passes")?;
    Ok(())
}

/// CPU time of this thread (wall-clock time where the system does not tell), which other programs on the machine do not stretch.
fn cpu_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let nanoseconds = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = nanoseconds.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}
