//! Paragraphs to sentences, by Punkt.
//!
//! Kiss and Strunk 2006, "Unsupervised Multilingual Sentence Boundary Detection", Computational Linguistics 32, 485-525,
//! as NLTK 3.8.1's `PunktSentenceTokenizer.span_tokenize` implements it: the same spans, from the same [`Parameters`].
//! English ones come with the program (data/english.punkt), [`train`] learns others from text, and they are kept in files
//! (file.rs describes them).
//!
//! One pass over the bytes stops at `.`, `?` and `!` alone. A mark before white space or punctuation is a candidate; the
//! words around it (words.rs, token.rs) decide (boundary.rs).
//!
//! **Extensions**, none of which changes English text with ASCII punctuation:
//! - Typographic quotation marks are read as ASCII ones: NLTK ends no sentence at `.”`. The spans are those that NLTK has for
//!   the same text with `"` and `'`.
//! - `。`, `！`, `？` and `｡` end a sentence with the closing brackets and quotation marks after them; no space need follow.
//! - White space before the first sentence is not part of it.

mod boundary;
mod file;
mod model;
mod parameters;
mod statistics;
mod token;
mod train;
mod words;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use boundary::Index;
pub use model::SentenceModel;
pub use parameters::{Orthography, Parameters};
pub use train::{TrainSummary, train};
use words::{Special, skip_space, skip_visible, space_len, special};

impl Parameters {
    /// The English parameters: those of NLTK's published model; see the head of data/english.punkt for source and licence.
    pub fn english() -> Self {
        let bytes = include_bytes!("../../data/english.punkt");
        Self::from_bytes(Path::new("english.punkt"), bytes).expect("the tests read it")
    }
}

/// Splits paragraphs into sentences. Clones share their parameters.
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
    index: Arc<Index>,
}

impl Splitter {
    /// With the English parameters.
    pub fn english() -> Self {
        static ENGLISH: LazyLock<Splitter> = LazyLock::new(|| Splitter::new(&Parameters::english()));
        ENGLISH.clone()
    }

    /// With the parameters of any language.
    pub fn new(parameters: &Parameters) -> Self {
        Self { index: Arc::new(parameters.into()) }
    }

    /// Appends the byte ranges of the sentences of `paragraph` to `out`.
    ///
    /// Ranges ascend, do not overlap, begin and end at characters that are not white space (Python's: Unicode's and the
    /// separators U+001C to U+001F), and together hold every such character. A paragraph of white space has none.
    pub fn split(&self, paragraph: &str, out: &mut Vec<Range<usize>>) {
        let mut start = 0;
        while start < paragraph.len() {
            let end = ideographic_end(paragraph, start).unwrap_or(paragraph.len());
            let stretch = paragraph[start..end].trim_end_matches(is_space);
            self.split_stretch(stretch, start, out);
            start = end;
        }
    }

    /// Splits what has no ideographic mark but at its end; `offset` is added to the ranges.
    fn split_stretch(&self, text: &str, offset: usize, out: &mut Vec<Range<usize>>) {
        let bytes = text.as_bytes();
        let mut start = skip_space(bytes, 0);
        for candidate in candidates(bytes) {
            if self.index.has_boundary(candidate.context(text)) {
                let (end, next) = realign(bytes, candidate.end(), candidate.next.unwrap_or(candidate.end()));
                if start < end {
                    out.push(offset + start..offset + end);
                }
                start = next;
            }
        }
        if start < text.len() {
            out.push(offset + start..offset + text.len());
        }
    }
}

/// A mark that may end a sentence.
#[derive(Clone, Copy)]
struct Candidate {
    /// Where the word before the mark begins.
    word: usize,
    mark: usize,
    /// Where the next word begins, if white space follows the mark; otherwise punctuation follows.
    next: Option<usize>,
}

impl Candidate {
    /// Where the mark ends.
    fn end(&self) -> usize {
        self.mark + 1
    }

    /// The mark with the word before it, and the word or the single punctuation mark after it.
    fn context<'t>(&self, text: &'t str) -> &'t str {
        let end = match self.next {
            Some(next) => skip_visible(text.as_bytes(), next),
            None => self.end() + text[self.end()..].chars().next().map_or(0, char::len_utf8),
        };
        &text[self.word..end]
    }
}

/// The candidates of a text that does not end in white space. Of several in one word the last stands for all.
fn candidates(bytes: &[u8]) -> impl Iterator<Item = Candidate> {
    let mut marks = memchr::memchr3_iter(b'.', b'?', b'!', bytes);
    let mut held: Option<Candidate> = None;
    std::iter::from_fn(move || {
        for mark in marks.by_ref() {
            let next = match special(bytes, mark + 1) {
                Special::None => continue,
                Special::Space(length) => Some(skip_space(bytes, mark + 1 + length)),
                _ => None,
            };
            let before = held.unwrap_or(Candidate { word: 0, mark: 0, next: None });
            // A candidate without a space between it and the one before has that one's word. (Nothing but a mark stands
            // at `before.mark`, or the beginning of the text, which a space there does not change.)
            let between = bytes.get(before.mark + 1..mark).unwrap_or_default();
            let space = between.iter().rposition(|byte| is_ascii_space(*byte));
            let word = space.map_or(before.word, |at| before.mark + 2 + at);
            let finished = held.replace(Candidate { word, mark, next }).filter(|held| held.mark <= word);
            if finished.is_some() {
                return finished;
            }
        }
        held.take()
    })
}

/// The end of a sentence and the beginning of the next one, given where the mark ends and where text goes on: closing
/// brackets and quotation marks there belong to the sentence if nothing but white space or a dash follows.
fn realign(bytes: &[u8], end: usize, next: usize) -> (usize, usize) {
    let mut closed = next;
    loop {
        closed += match special(bytes, closed) {
            Special::Double(length) | Special::Single(length) => length,
            _ if matches!(bytes.get(closed), Some(b')' | b']' | b'}')) => 1,
            _ => break,
        };
    }
    let parted = closed == bytes.len() || space_len(bytes, closed) > 0 || bytes[closed..].starts_with(b"--");
    if closed > next && parted { (closed, skip_space(bytes, closed)) } else { (end, next) }
}

/// The end of the first ideographic mark at or after `from`, with the marks and closing characters that follow it.
fn ideographic_end(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_mark = |at: usize| {
        matches!(bytes[at..], [0xe3, 0x80, 0x82, ..] | [0xef, 0xbc, 0x81 | 0x9f, ..] | [0xef, 0xbd, 0xa1, ..])
    };
    let first = memchr::memchr2_iter(0xe3, 0xef, &bytes[from..]).map(|at| from + at).find(|at| is_mark(*at))?;
    let rest = &text[first..];
    Some(text.len() - rest.trim_start_matches(ends_ideographic_sentence).len())
}

fn ends_ideographic_sentence(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '｡' | '.' | '!' | '?')
        || matches!(c, '」' | '』' | '）' | '】' | '》' | '〉' | '〕' | '”' | '’' | '»' | '"' | '\'' | ')' | ']')
}

/// White space as Python's `str.isspace` has it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// White space of `string.whitespace`, at which Punkt looks back for the beginning of a word.
fn is_ascii_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests;
