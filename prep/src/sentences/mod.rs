//! Paragraphs to sentences.
//!
//! A single pass over the bytes stops at sentence-ending marks only; what it decides there follows the questions of
//! Punkt (Kiss and Strunk 2006, "Unsupervised Multilingual Sentence Boundary Detection"): is the word before the full
//! stop an abbreviation, an initial or a number, and does the word after it look like the beginning of a sentence? The
//! answers come from [`Parameters`], so that trained ones can take the place of the English lists.

mod english;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Longest abbreviation that is looked up, in bytes.
const MAX_ABBREVIATION_BYTES: usize = 24;
/// A word is judged by at most this many of its last bytes.
const MAX_WORD_BYTES: usize = 64;

/// How an abbreviation behaves before a capital letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abbreviation {
    /// Always followed by what it belongs to (`Mr.`, `e.g.`): never ends a sentence.
    Leading,
    /// May end a sentence (`Inc.`, `p.m.`): it does if the next word is a frequent sentence starter.
    Either,
    /// Abbreviates only before a number (`No. 5`); otherwise it is a word.
    BeforeNumber,
}

/// What a [`Splitter`] knows of a language.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    /// Lower-case abbreviations without their final full stop; inner ones stay (`e.g`).
    pub abbreviations: HashMap<Box<str>, Abbreviation>,
    /// Words, as they are written at the beginning of a sentence, that often begin one.
    pub starters: HashSet<Box<str>>,
}

/// Splits paragraphs into sentences.
///
/// ```
/// use cloze_prep::sentences::Splitter;
/// let text = "Mr. J. Smith paid $3.50. \"Why?\" It was late.";
/// let mut ranges = Vec::new();
/// Splitter::english().split(text, &mut ranges);
/// let sentences: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
/// assert_eq!(sentences, ["Mr. J. Smith paid $3.50.", "\"Why?\"", "It was late."]);
/// ```
#[derive(Clone, Debug)]
pub struct Splitter {
    parameters: Parameters,
}

impl Splitter {
    /// With the English abbreviations and sentence starters.
    pub fn english() -> Self {
        Self::new(english::parameters())
    }

    /// With the parameters of any language.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters }
    }

    /// Appends the byte ranges of the sentences of `paragraph` to `out`.
    ///
    /// Ranges ascend, do not overlap, begin and end at characters that are not white space, and together hold every
    /// such character. A paragraph of white space has none. Line breaks count as spaces.
    pub fn split(&self, paragraph: &str, out: &mut Vec<Range<usize>>) {
        let bytes = paragraph.as_bytes();
        let mut start = skip_space(paragraph, 0);
        let mut at = start;
        while let Some(mark) = next_mark(bytes, at) {
            let run = Run::read(paragraph, mark);
            at = run.end.max(mark + 1);
            if let Some(end) = self.boundary(paragraph, start, &run) {
                out.push(start..end);
                start = skip_space(paragraph, end);
                at = start.max(at);
            }
        }
        let end = paragraph.trim_end().len();
        if start < end {
            out.push(start..end);
        }
    }

    /// The end of the sentence that began at `start`, if the marks in `run` end it.
    fn boundary(&self, text: &str, start: usize, run: &Run) -> Option<usize> {
        let end = skip_closers(text, run.end);
        let next = skip_space(text, end);
        if run.ideographic {
            return Some(end);
        }
        if next == text.len() {
            return None;
        }
        if next == end {
            // Nothing but a dash parts speech from what follows it: `again."--Emma smiled`.
            let dash = end > run.end && (text[end..].starts_with("--") || text[end..].starts_with('—'));
            return (dash && self.ends(text, start, run, end, true)).then_some(end);
        }
        // A stray closing quotation mark or bracket after the space belongs to this sentence (`tokenised . ''`).
        if let Some(end) = closers_standing_alone(text, next) {
            let next = skip_space(text, end);
            return (next < text.len() && self.ends(text, start, run, next, true)).then_some(end);
        }
        self.ends(text, start, run, next, end > run.end).then_some(end)
    }

    /// Whether the marks end a sentence, seen from the word before and the word at `next`. `closed`: a closing
    /// quotation mark or bracket stands between.
    fn ends(&self, text: &str, start: usize, run: &Run, next: usize, closed: bool) -> bool {
        let next = Next::read(text, next);
        if next.is_mark {
            return false;
        }
        if run.emphatic {
            // A lower-case word after `!"` goes on with the sentence that quotes; after a bare mark it does not,
            // as Punkt has it: in old prose every exclamation ends one.
            return !(next.lower && closed);
        }
        if next.lower {
            return false;
        }
        if run.dots > 1 {
            return next.upper || next.opened;
        }
        match self.word_before(text, start, run.start) {
            Word::Plain => true,
            Word::Enumerator => false,
            Word::Initial => next.starts(&self.parameters),
            Word::Abbreviated(Abbreviation::Leading) => false,
            Word::Abbreviated(Abbreviation::Either) => next.starts(&self.parameters),
            Word::Abbreviated(Abbreviation::BeforeNumber) => !next.digit,
        }
    }

    /// What ends at the full stop at `stop`.
    fn word_before(&self, text: &str, start: usize, stop: usize) -> Word {
        let begin = word_start(text, start, stop);
        let word = text[begin..stop].trim_start_matches(|c: char| !c.is_alphanumeric());
        if word.is_empty() {
            return Word::Plain;
        }
        if begin == start && is_enumerator(word) {
            return Word::Enumerator;
        }
        let mut letters = word.chars();
        if let (Some(letter), None) = (letters.next(), letters.next()) {
            return if letter.is_uppercase() { Word::Initial } else { self.look_up(word) };
        }
        match self.look_up(word) {
            Word::Plain => {
                let part = word.rsplit(['-', '–', '—', '/', '(', '’', '\'']).next().unwrap_or(word);
                if part.len() < word.len() { self.look_up(part) } else { Word::Plain }
            }
            word => word,
        }
    }

    fn look_up(&self, word: &str) -> Word {
        if word.len() > MAX_ABBREVIATION_BYTES {
            return Word::Plain;
        }
        let mut lower = [0; MAX_ABBREVIATION_BYTES];
        let lower = &mut lower[..word.len()];
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        let known = std::str::from_utf8(lower).ok().and_then(|lower| self.parameters.abbreviations.get(lower));
        match known {
            Some(kind) => Word::Abbreviated(*kind),
            None if is_dotted(word) => Word::Abbreviated(Abbreviation::Either),
            None => Word::Plain,
        }
    }
}

/// What stands before a full stop.
enum Word {
    Plain,
    /// `1`, `iv` or `b` at the beginning of a sentence: numbers what follows.
    Enumerator,
    /// A single capital letter.
    Initial,
    Abbreviated(Abbreviation),
}

/// Sentence-ending marks without anything between them.
struct Run {
    start: usize,
    end: usize,
    dots: usize,
    /// Holds `?` or `!`.
    emphatic: bool,
    /// Holds a mark of Chinese or Japanese, after which no space follows.
    ideographic: bool,
}

impl Run {
    fn read(text: &str, start: usize) -> Self {
        let mut run = Self { start, end: start, dots: 0, emphatic: false, ideographic: false };
        for mark in text[start..].chars() {
            match mark {
                '.' => run.dots += 1,
                '…' => run.dots += 3,
                '?' | '!' => run.emphatic = true,
                '。' | '！' | '？' | '．' => run.ideographic = true,
                _ => break,
            }
            run.end += mark.len_utf8();
        }
        run
    }
}

/// What stands after the marks and the space.
struct Next<'t> {
    /// Letters of the first word, after opening quotation marks and brackets.
    word: &'t str,
    /// The word is one letter with a full stop.
    initial: bool,
    upper: bool,
    lower: bool,
    digit: bool,
    /// An opening quotation mark or bracket stands before the word.
    opened: bool,
    /// Punctuation that goes on with the sentence, or ends it later.
    is_mark: bool,
}

impl<'t> Next<'t> {
    fn read(text: &'t str, at: usize) -> Self {
        let rest = &text[at..];
        let bare = rest.trim_start_matches(['-', '—', '–']).trim_start_matches(is_opener).trim_start();
        let first = bare.chars().next().unwrap_or(' ');
        let length = bare.find(|c: char| !c.is_alphabetic()).unwrap_or(bare.len());
        Self {
            word: &bare[..length],
            initial: length == first.len_utf8() && bare[length..].starts_with('.'),
            upper: first.is_uppercase(),
            lower: first.is_lowercase(),
            digit: first.is_numeric(),
            opened: bare.len() < rest.len(),
            is_mark: rest.starts_with(['.', ',', ';', ':', '!', '?', '…']),
        }
    }
}

impl Next<'_> {
    /// Whether the word often begins sentences; a single letter with a full stop is an initial instead.
    fn starts(&self, parameters: &Parameters) -> bool {
        !self.initial && parameters.starters.contains(self.word)
    }
}

/// Where the word that ends at `stop` begins; looks back a bounded way, for text without spaces.
fn word_start(text: &str, start: usize, stop: usize) -> usize {
    let mut from = start.max(stop.saturating_sub(MAX_WORD_BYTES));
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..stop]
        .char_indices()
        .rev()
        .find(|(_, c)| c.is_whitespace())
        .map_or(from, |(at, c)| from + at + c.len_utf8())
}

/// The next byte that may begin a mark: ASCII marks, and the first bytes of `…` and of CJK marks.
fn next_mark(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'.' | b'?' | b'!' => return Some(at),
            0xe2 if bytes[at..].starts_with("…".as_bytes()) => return Some(at),
            0xe3 if bytes[at..].starts_with("。".as_bytes()) => return Some(at),
            0xef if matches!(bytes.get(at + 1..at + 3), Some([0xbc, 0x81 | 0x8e | 0x9f])) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn skip_space(text: &str, from: usize) -> usize {
    // Almost always one space and a letter.
    match text.as_bytes().get(from..from + 2) {
        Some([b' ', next]) if next.is_ascii_graphic() => from + 1,
        Some([next, _]) if next.is_ascii_graphic() => from,
        _ => text.len() - text[from..].trim_start().len(),
    }
}

/// Skips quotation marks and brackets that close right after the marks.
fn skip_closers(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start_matches(is_closer).len()
}

/// The end of ASCII closing marks that stand between spaces, as in tokenised text.
fn closers_standing_alone(text: &str, from: usize) -> Option<usize> {
    let bytes = &text.as_bytes()[from..];
    let length = bytes.iter().position(|b| !matches!(b, b'"' | b'\'' | b')' | b']' | b'}'))?;
    (length > 0 && bytes[length].is_ascii_whitespace()).then_some(from + length)
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '›' | '」' | '』' | '）' | '】' | '》')
}

fn is_opener(c: char) -> bool {
    matches!(c, '"' | '\'' | '(' | '[' | '{' | '“' | '‘' | '«' | '‹' | '`' | '「' | '『' | '（' | '_' | '*')
}

/// `U.S`, `e.g`, `Ph.D`: pieces of at most two letters between full stops.
fn is_dotted(word: &str) -> bool {
    word.contains('.')
        && word
            .split('.')
            .all(|piece| (1..=2).contains(&piece.chars().count()) && piece.chars().all(char::is_alphabetic))
}

/// Digits, a Roman numeral or one letter.
fn is_enumerator(word: &str) -> bool {
    let digits = word.len() <= 3 && word.bytes().all(|b| b.is_ascii_digit());
    let roman = word.len() <= 5 && word.bytes().all(|b| matches!(b.to_ascii_lowercase(), b'i' | b'v' | b'x'));
    digits || roman
}

#[cfg(test)]
mod tests;
