//! Text without end that looks like prose to the tokenizer: words of Zipf's frequencies in sentences and documents.

use std::io::{self, Write};

use cloze_formats::rng::{KeyedRng, Purpose};

/// Words in sentences.
const SENTENCE_WORDS: std::ops::RangeInclusive<u64> = 4..=40;
/// Sentences in documents.
const DOCUMENT_SENTENCES: std::ops::RangeInclusive<u64> = 3..=60;

/// Writes at least `bytes` of text made of the distinct words of `sample`, a blank line between documents.
pub fn write(out: &mut impl Write, sample: &str, bytes: u64) -> io::Result<()> {
    let mut words: Vec<&str> = sample.split_whitespace().collect();
    words.sort_unstable();
    words.dedup();
    let mut rng = KeyedRng::new(0, Purpose::Plan, 0, 0);
    let mut written = 0;
    while written < bytes {
        for _ in 0..rng.between(*DOCUMENT_SENTENCES.start(), *DOCUMENT_SENTENCES.end()) {
            for _ in 0..rng.between(*SENTENCE_WORDS.start(), *SENTENCE_WORDS.end()) {
                // The logarithm of the rank is uniform where frequencies fall as one over the rank.
                let rank = (words.len() as f64).powf(rng.unit()) as usize - 1;
                let word = words[rank];
                write!(out, "{word} ")?;
                written += word.len() as u64 + 1;
            }
            out.write_all(b"end. The\n")?;
            written += 9;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}
