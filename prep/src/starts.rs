//! Where sentences begin in their documents.

use std::collections::HashMap;

use cloze_formats::Dataset;
use rayon::prelude::*;

use crate::error::Result;
use crate::pairs::take_sentences;

/// Sentences between two known starts.
const STRIDE: usize = 1024;

/// Every 1,024th sentence's first token, of the documents that have so many: a draw from a document of a million
/// sentences adds up 1,024 lengths at most.
///
/// # Memory usage
/// Four bytes for each 1,024 sentences.
#[derive(Debug)]
pub(crate) struct SentenceStarts {
    /// By document; the first entry is of sentence 1,024.
    known: HashMap<u64, Vec<u32>>,
}

impl SentenceStarts {
    /// Of all documents of `corpus`.
    pub fn of(corpus: &Dataset) -> Result<Self> {
        let long = |document: u64| {
            let lengths = match corpus.corpus_row(document) {
                Ok(row) => row.sentence_lengths,
                Err(error) => return Some(Err(error)),
            };
            (lengths.len() > STRIDE).then(|| Ok((document, starts(lengths))))
        };
        Ok(Self { known: (0..corpus.len()).into_par_iter().filter_map(long).collect::<Result<_>>()? })
    }

    /// First token of sentence `sentence` of `document`, whose sentences have these `lengths`.
    fn start(&self, document: u64, lengths: &[u16], sentence: usize) -> u32 {
        let (mut from, mut start) = (0, 0);
        if sentence >= STRIDE
            && let Some(known) = self.known.get(&document)
        {
            let mark = sentence / STRIDE;
            (from, start) = (mark * STRIDE, known[mark - 1]);
        }
        start + tokens(&lengths[from..sentence])
    }

    /// Sentences of `document` from `sentence` on until they hold `target` tokens: (first token, tokens).
    pub fn segment(&self, document: u64, lengths: &[u16], sentence: usize, target: usize) -> (u32, u32) {
        let taken = take_sentences(lengths, sentence, target);
        (self.start(document, lengths, sentence), tokens(&lengths[taken]))
    }
}

fn starts(lengths: &[u16]) -> Vec<u32> {
    let whole = lengths.chunks_exact(STRIDE);
    whole
        .scan(0, |sum, chunk| {
            *sum += tokens(chunk);
            Some(*sum)
        })
        .collect()
}

fn tokens(lengths: &[u16]) -> u32 {
    lengths.iter().map(|&length| u32::from(length)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_the_sums_of_all_lengths_before() {
        for num_sentences in [1, STRIDE - 1, STRIDE, STRIDE + 1, 3 * STRIDE, 3 * STRIDE + 500] {
            let lengths: Vec<u16> = (0..num_sentences).map(|i| 1 + (i * 7 % 300) as u16).collect();
            let long = SentenceStarts { known: HashMap::from([(5, starts(&lengths))]) };
            let unknown = SentenceStarts { known: HashMap::new() };
            for sentence in 0..num_sentences {
                let sum = lengths[..sentence].iter().map(|&l| u32::from(l)).sum::<u32>();
                assert_eq!(long.start(5, &lengths, sentence), sum, "sentence {sentence} of {num_sentences}");
                assert_eq!(unknown.start(5, &lengths, sentence), sum);
            }
        }
    }
}
