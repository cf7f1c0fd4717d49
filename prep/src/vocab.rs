//! Training a WordPiece vocabulary from text; the same bytes on every run, for any number of threads.

mod pairs;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use crate::progress::Progress;
use crate::sources::{BrokenRows, ReadOptions, SourceFile, for_each_batch, stored_bytes};
use crate::wordpiece::{CONTINUATION, MAX_CHARS_PER_WORD, Normalizer};
use crate::{Error, Result};
use pairs::Merger;

/// The first tokens of every vocabulary made here, in this order.
pub const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// What decides a vocabulary, its text aside.
#[derive(Clone, Debug)]
pub struct VocabConfig {
    /// Tokens wanted, special ones and single characters included. Default 30,522.
    pub vocab_size: usize,
    /// Keep case and accents. Default false.
    pub cased: bool,
    /// Pairs of pieces that occur less often are not merged. Default 2.
    pub min_frequency: u64,
    /// Characters kept at most, the most frequent ones. Default 1,000.
    pub limit_alphabet: usize,
    /// Which field or column of a source is its text.
    pub reading: ReadOptions,
}

impl Default for VocabConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            cased: false,
            min_frequency: 2,
            limit_alphabet: 1_000,
            reading: ReadOptions::default(),
        }
    }
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VocabSummary {
    /// Tokens in the vocabulary; fewer than asked for if the text has no more to give.
    pub num_tokens: usize,
    /// Different characters in it.
    pub num_characters: usize,
    /// Characters of the text that are not in it.
    pub characters_left_out: usize,
    /// Different words seen.
    pub num_words: usize,
    /// Documents read.
    pub documents: u64,
    /// Broken rows, which were left out.
    pub skipped_rows: u64,
    /// File, line and problem of the first few of them.
    pub broken_rows: Vec<String>,
}

/// Trains a vocabulary on `sources` and publishes it at `out`, one token a line: the special tokens, then characters
/// alone and continuing, then learned pieces in the order they were learned.
///
/// # Memory usage
/// Every different word of the text is held.
///
/// # Errors
/// A source that cannot be read, no words in any of them, a `vocab_size` too small for the characters alone, or an output
/// that cannot be written.
pub fn vocab(config: &VocabConfig, sources: &[SourceFile], out: &Path, progress: &Progress) -> Result<VocabSummary> {
    if config.limit_alphabet == 0 {
        return Err(Error::invalid(out, "expected an alphabet of at least 1 character, found a limit of 0"));
    }
    // Datasets and checkpoints are tied to a vocabulary by its hash: replacing one would orphan them.
    if out.exists() {
        return Err(Error::invalid(out, "there is something here already; delete it or choose another name"));
    }
    let (chunks, documents, broken) = count_chunks(sources, &config.reading, progress)?;
    let words = words_of(chunks, config.cased);
    if words.is_empty() {
        return Err(Error::invalid(out, "expected text to learn from, found no word in the sources"));
    }
    let alphabet = Alphabet::of(&words, config.limit_alphabet);
    let mut initial: Vec<String> = SPECIAL_TOKENS.map(str::to_owned).to_vec();
    initial.extend(alphabet.tokens());
    if initial.len() > config.vocab_size {
        let problem = format!(
            "expected a vocab_size of at least {} (special tokens and characters alone), found {}",
            initial.len(),
            config.vocab_size
        );
        return Err(Error::invalid(out, problem));
    }
    let mut bar = progress.count("learning pieces", (config.vocab_size - initial.len()) as u64);
    let tokens = Merger::new(initial, &words).run(config.vocab_size, config.min_frequency, || bar.add(1));
    cloze_formats::durable::write(out, (tokens.join("\n") + "\n").as_bytes())?;
    Ok(VocabSummary {
        num_tokens: tokens.len(),
        num_characters: alphabet.kept.len(),
        characters_left_out: alphabet.num_left_out,
        num_words: words.len(),
        documents,
        skipped_rows: broken.count,
        broken_rows: broken.described,
    })
}

type Counts = HashMap<Box<str>, u64>;

/// How often each run of text between white space occurs, the number of documents, and rows that are none.
fn count_chunks(
    sources: &[SourceFile],
    reading: &ReadOptions,
    progress: &Progress,
) -> Result<(Counts, u64, BrokenRows)> {
    let (mut total, mut num_documents) = (Counts::new(), 0);
    let bar = progress.bytes("counting words", stored_bytes(sources));
    let broken = for_each_batch(sources, reading, bar, |batch| {
        num_documents += batch.len() as u64;
        let counted = batch.into_par_iter().fold(Counts::new, |mut counts, document| {
            for paragraph in &document.into_document().paragraphs {
                count_in(paragraph, &mut counts);
            }
            counts
        });
        total = merge(std::mem::take(&mut total), counted.reduce(Counts::new, merge));
    })?;
    Ok((total, num_documents, broken))
}

fn count_in(text: &str, counts: &mut Counts) {
    // Only the white space that the tokenizer knows as such: other control characters vanish inside a word.
    for chunk in text.split([' ', '\t', '\n', '\r']).filter(|chunk| !chunk.is_empty()) {
        match counts.get_mut(chunk) {
            Some(count) => *count += 1,
            None => drop(counts.insert(chunk.into(), 1)),
        }
    }
}

fn merge(mut a: Counts, mut b: Counts) -> Counts {
    if a.len() < b.len() {
        std::mem::swap(&mut a, &mut b);
    }
    for (chunk, count) in b {
        *a.entry(chunk).or_default() += count;
    }
    a
}

/// Normalised words with their counts, sorted; words that the tokenizer would not cut are left out.
fn words_of(chunks: Counts, cased: bool) -> Vec<(String, u64)> {
    let mut normalizer = Normalizer::default();
    let mut words = BTreeMap::<String, u64>::new();
    for (chunk, count) in chunks {
        normalizer.words(&chunk, cased, |chars| {
            if chars.len() <= MAX_CHARS_PER_WORD {
                let mut word = String::with_capacity(chars.len());
                word.extend(chars.iter().map(|char| char.char));
                *words.entry(word).or_default() += count;
            }
        });
    }
    words.into_iter().collect()
}

/// The characters of a vocabulary.
struct Alphabet {
    /// In code point order.
    kept: Vec<char>,
    /// Characters that occur in words of more than one: they also need a continuing form.
    in_words: HashSet<char>,
    num_left_out: usize,
}

impl Alphabet {
    /// The `limit` most frequent characters; ties go to the smaller code point.
    fn of(words: &[(String, u64)], limit: usize) -> Self {
        let mut counts = BTreeMap::<char, u64>::new();
        let mut in_words = HashSet::new();
        for (word, count) in words {
            let alone = word.chars().nth(1).is_none();
            for char in word.chars() {
                *counts.entry(char).or_default() += count;
                if !alone {
                    in_words.insert(char);
                }
            }
        }
        let mut kept: Vec<(char, u64)> = counts.into_iter().collect();
        kept.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let num_left_out = kept.len().saturating_sub(limit);
        kept.truncate(limit);
        let mut kept: Vec<char> = kept.into_iter().map(|(char, _)| char).collect();
        kept.sort_unstable();
        Self { kept, in_words, num_left_out }
    }

    /// All characters alone, then those that can continue a word.
    fn tokens(&self) -> impl Iterator<Item = String> {
        let continuing = self.kept.iter().filter(|char| self.in_words.contains(char));
        let continuing = continuing.map(|char| format!("{CONTINUATION}{char}"));
        self.kept.iter().map(char::to_string).chain(continuing)
    }
}
