//! Counts what markup is left in the prose of Wikipedia dumps, and measures how fast it is extracted.
//!
//! `cargo run --release -p cloze-prep --example wikitext_residue -- DUMP.. [--repeat N] [--show]`
//!
//! Prints counts per million characters, and megabytes of wikitext per second of this process's CPU time in the
//! extractor (reading and decompressing left out). `--repeat` extracts every page N times (default 1; take 20 for a rate
//! worth quoting); `--show` prints the surroundings of everything found.

use std::io::Write;
use std::time::Duration;

use cloze_prep::sources::{RawDocument, SourceKind, documents, expand};

/// Strings that are markup wherever they stand.
const MARKS: [&str; 22] = [
    "{{", "}}", "[[", "]]", "{|", "|}", "|", "<ref", "<!--", "-->", "==", "''", "http://", "https://", "[]", "( )",
    "()", "(,", "(;", " )", " ,", "  ",
];
/// Prefixes of links that should have gone with them.
const PREFIXES: [&str; 5] = ["File:", "Image:", "Category:", "Datei:", "Fichier:"];

/// A kind of residue: its name and where it begins in a text.
type Finder = (&'static str, fn(&str) -> Vec<usize>);

/// Residues that are patterns.
const PATTERNS: [Finder; 4] = [
    ("<tag>", |text| starts(text, '<', is_tag)),
    ("&entity;", |text| starts(text, '&', is_entity)),
    ("__WORD__", |text| starts(text, '_', is_magic_word)),
    (" . hole", |text| starts(text, ' ', is_hole)),
];

fn starts(text: &str, first: char, found: fn(&str) -> bool) -> Vec<usize> {
    text.match_indices(first).map(|(at, _)| at).filter(|at| found(&text[*at..])).collect()
}

fn is_tag(text: &str) -> bool {
    let name = text[1..].trim_start_matches('/');
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().take(40).any(|c| c == '>')
}

fn is_entity(text: &str) -> bool {
    let name = text[1..].split(';').next().unwrap_or_default();
    text.len() > name.len() + 1
        && (2..10).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'#')
}

fn is_magic_word(text: &str) -> bool {
    text.strip_prefix("__").is_some_and(|rest| {
        let word = rest.split("__").next().unwrap_or_default();
        word.len() > 2 && word.len() < rest.len() && word.chars().all(char::is_uppercase)
    })
}

/// A sentence's mark after a space: something between them was dropped.
fn is_hole(text: &str) -> bool {
    let mut next = text[1..].chars();
    matches!(next.next(), Some('.' | ';' | ':' | '!' | '?')) && next.next().is_none_or(char::is_whitespace)
}

/// What was found in the prose of all pages.
#[derive(Default)]
struct Counts {
    names: Vec<&'static str>,
    found: Vec<usize>,
    characters: usize,
    paragraphs: usize,
}

impl Counts {
    fn new() -> Self {
        let names: Vec<_> = MARKS.into_iter().chain(PREFIXES).chain(PATTERNS.iter().map(|(name, _)| *name)).collect();
        Self { found: vec![0; names.len()], names, ..Self::default() }
    }

    fn add(&mut self, title: &str, paragraph: &str, out: Option<&mut dyn Write>) -> std::io::Result<()> {
        self.paragraphs += 1;
        self.characters += paragraph.chars().count();
        let plain = MARKS.len() + PREFIXES.len();
        let mut shown = Vec::new();
        for (i, name) in self.names.iter().enumerate() {
            let at: Vec<usize> = match i < plain {
                true => paragraph.match_indices(name).map(|(at, _)| at).collect(),
                false => PATTERNS[i - plain].1(paragraph),
            };
            self.found[i] += at.len();
            shown.extend(at.into_iter().map(|at| (*name, at)));
        }
        let Some(out) = out else { return Ok(()) };
        for (name, at) in shown {
            let start = paragraph.floor_char_boundary(at.saturating_sub(50));
            let end = paragraph.ceil_char_boundary((at + 50).min(paragraph.len()));
            writeln!(out, "{name:<10} {title}: …{}…", &paragraph[start..end])?;
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let show = arguments.iter().position(|a| a == "--show").map(|i| arguments.remove(i)).is_some();
    let mut repeat = 1;
    if let Some(i) = arguments.iter().position(|a| a == "--repeat") {
        anyhow::ensure!(i + 1 < arguments.len(), "expected a number after --repeat");
        repeat = arguments.drain(i..=i + 1).next_back().unwrap_or_default().parse()?;
    }
    anyhow::ensure!(!arguments.is_empty(), "expected Wikipedia dumps");
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut counts = Counts::new();
    let mut pages: Vec<RawDocument> = Vec::new();
    for source in expand(SourceKind::Wikipedia, &arguments)? {
        for raw in documents(&source)? {
            pages.push(raw?);
        }
    }
    let bytes: usize = pages.iter().map(RawDocument::body_bytes).sum();
    let num_pages = pages.len();
    let copies: Vec<Vec<RawDocument>> = (1..repeat).map(|_| pages.clone()).collect();
    let start = cpu_time()?;
    for page in copies.into_iter().flatten() {
        std::hint::black_box(page.into_document());
    }
    let found: Vec<_> = pages.into_iter().map(RawDocument::into_document).collect();
    let spent = cpu_time()?.saturating_sub(start);
    for document in &found {
        let title = document.title.as_deref().unwrap_or_default();
        for paragraph in &document.paragraphs {
            counts.add(title, paragraph, show.then_some(&mut out as &mut dyn Write))?;
        }
    }
    let rate = (bytes * repeat) as f64 / spent.as_secs_f64() / 1e6;
    let Counts { names, found, characters, paragraphs } = counts;
    writeln!(
        out,
        "{num_pages} pages, {paragraphs} paragraphs, {characters} characters from {bytes} bytes of wikitext"
    )?;
    writeln!(out, "{rate:.0} MB/s of wikitext (CPU time, one core)")?;
    for (name, found) in names.iter().zip(&found) {
        let name = name.replace(' ', "␣");
        let per_million = *found as f64 * 1e6 / characters.max(1) as f64;
        writeln!(out, "{name:<10} {found:>6} {per_million:>9.1} per million characters")?;
    }
    out.flush()?;
    Ok(())
}

/// CPU time of this process so far, user and system, in Linux's clock ticks of 10 ms.
///
/// Source: `proc_pid_stat(5)`, fields 14 and 15.
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}
