//! Rows that have a word.

use std::ops::Range;
use std::sync::Arc;

use cloze_formats::row::Tokens;
use cloze_formats::{Dataset, Vocabulary};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::wordpiece::{CONTINUATION, Encoder, WordPiece};

/// A word, or several in a row, as the token ids that text with it has.
///
/// WordPiece cuts a word the same way wherever it stands, so a row has the word exactly where it has these ids and no `##` piece
/// after them. Case and accents count where the vocabulary keeps them.
#[derive(Clone, Debug)]
pub struct Query {
    /// What was asked for.
    pub words: String,
    /// Its pieces.
    pub ids: Vec<u32>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Row numbers, ascending.
    pub rows: Vec<u64>,
    /// How many rows were looked at, from the first one on, until there were enough.
    pub searched: u64,
}

impl Query {
    /// `words` in the vocabulary of `dataset`.
    ///
    /// # Errors
    /// There is nothing to look for, or a word that the vocabulary has no pieces for.
    pub fn new(dataset: &Dataset, words: &str) -> Result<Self> {
        let vocabulary = dataset.vocabulary();
        let cased = dataset.manifest().vocabulary.cased;
        let mut ids = Vec::new();
        Encoder::new(Arc::new(WordPiece::new(vocabulary, cased))).encode(words, &mut ids);
        let problem = |what| Error::invalid(dataset.dir(), format!("--find {words:?}: {what}"));
        if ids.is_empty() {
            return Err(problem("expected a word, found none"));
        }
        if ids.contains(&vocabulary.special().unk) {
            return Err(problem(
                "the vocabulary has no pieces for it, in the dataset it is [UNK]; look for another word",
            ));
        }
        Ok(Self { words: words.to_owned(), ids })
    }

    /// The pieces as text: `bee ##keeper`.
    pub fn pieces(&self, vocabulary: &Vocabulary) -> String {
        self.ids.iter().map(|&id| super::reading::token(vocabulary, id)).collect::<Vec<_>>().join(" ")
    }

    /// The first `count` rows that have it, searching on all threads.
    ///
    /// # Errors
    /// A damaged record batch before there are enough rows.
    pub fn search(&self, dataset: &Dataset, count: usize, progress: Progress) -> Result<Found> {
        let units = units(dataset);
        let mut bar = progress.rows("searching", dataset.len(), dataset.manifest().num_bytes());
        let mut found = Found { rows: Vec::new(), searched: 0 };
        // Some work for each thread at a time; what lies behind the last row wanted is hardly touched.
        for group in units.chunks(4 * rayon::current_num_threads()) {
            let rows: Result<Vec<Vec<u64>>> =
                group.par_iter().map(|unit| self.search_rows(dataset, unit.clone())).collect();
            let first = found.searched;
            found.searched = group.last().map_or(first, |unit| unit.end);
            found.rows.extend(rows?.into_iter().flatten());
            bar.add(found.searched - first);
            if found.rows.len() >= count {
                found.rows.truncate(count);
                break;
            }
        }
        Ok(found)
    }

    fn search_rows(&self, dataset: &Dataset, rows: Range<u64>) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        let mut ids = Vec::new();
        for index in rows {
            let tokens = dataset.row(index)?.tokens();
            // Most rows lack the first piece, and finding that out is one vectorised pass.
            if tokens.count_of([self.ids[0]]) == 0 {
                continue;
            }
            ids.clear();
            match tokens {
                Tokens::U16(t) => ids.extend(t.iter().map(|&id| u32::from(id))),
                Tokens::U32(t) => ids.extend_from_slice(t),
            }
            if occurrences(&ids, &self.ids, dataset.vocabulary()).next().is_some() {
                found.push(index);
            }
        }
        Ok(found)
    }
}

/// Rows in stretches that are worth a task of their own.
fn units(dataset: &Dataset) -> Vec<Range<u64>> {
    const ROWS: u64 = 8_192;
    let cut = |batch: Range<u64>| {
        let end = batch.end;
        batch.step_by(ROWS as usize).map(move |start| start..(start + ROWS).min(end))
    };
    dataset.batches().into_iter().flat_map(cut).collect()
}

/// Where `word` stands in `ids` as a whole word.
pub(super) fn occurrences<'a>(
    ids: &'a [u32],
    word: &'a [u32],
    vocabulary: &'a Vocabulary,
) -> impl Iterator<Item = usize> + 'a {
    let continues = |id: u32| {
        vocabulary.token(id).is_some_and(|token| token.starts_with(CONTINUATION) && token.len() > CONTINUATION.len())
    };
    ids.windows(word.len().max(1)).enumerate().filter_map(move |(at, window)| {
        let whole = window == word && !ids.get(at + word.len()).is_some_and(|&next| continues(next));
        whole.then_some(at)
    })
}
