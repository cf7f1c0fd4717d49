//! What only the rows can tell: which tokens are frequent, where masks fall, how long segments are.

use std::ops::Range;

use cloze_formats::{Dataset, Row};
use rayon::prelude::*;
use serde::Serialize;

use super::reading::{Reader, token};
use crate::Result;
use crate::progress::Progress;

/// Record batches read where not all are asked for, spread evenly over the dataset.
const SAMPLED_BATCHES: usize = 8;
const ROWS_AT_ONCE: u64 = 8_192;
const MOST_FREQUENT: usize = 40;
/// Longer tails are counted in the last entry.
const LONGEST: usize = 1 << 16;

/// Figures from reading rows.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// Rows that were read, of `num_rows`.
    pub rows_read: u64,
    /// Rows of the dataset.
    pub num_rows: u64,
    /// Record batches that were read, of `num_batches`, spread evenly.
    pub batches_read: usize,
    /// Record batches of the dataset.
    pub num_batches: usize,
    /// Tokens of these rows, special ones included.
    pub tokens: u64,
    /// `[UNK]` among them.
    pub unknown_tokens: u64,
    /// Different tokens among them.
    pub different_tokens: u64,
    /// The most frequent ones, but for special tokens.
    pub frequent: Vec<TokenCount>,
    /// Counts of rows or tokens, by what the dataset's kind has.
    pub histograms: Vec<Histogram>,
}

/// How often a token occurs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenCount {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// Occurrences.
    pub count: u64,
}

/// How often each number occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Histogram {
    /// What was measured: `masks_per_instance`.
    pub name: &'static str,
    /// Of what the numbers on the axis are: `tokens`.
    pub unit: &'static str,
    /// What was counted: `instances`.
    pub counted: &'static str,
    /// Entry `n`: occurrences of `n`; the last possible entry (65,536) is for all larger ones.
    pub counts: Vec<u64>,
}

impl Survey {
    /// Whether no row was left out.
    pub fn is_complete(&self) -> bool {
        self.rows_read == self.num_rows
    }
}

/// Reads some record batches of `dataset`, or all of them.
///
/// Datasets without masks are masked as a trainer with seed 0 does in epoch 0.
///
/// # Errors
/// A record batch is damaged, or the configuration cannot be read.
pub fn survey(dataset: &Dataset, all: bool, progress: Progress) -> Result<Survey> {
    let batches = dataset.batches();
    let chosen = choose(&batches, if all { batches.len() } else { SAMPLED_BATCHES });
    let cut = |batch: &Range<u64>| {
        let end = batch.end;
        batch.clone().step_by(ROWS_AT_ONCE as usize).map(move |start| start..(start + ROWS_AT_ONCE).min(end))
    };
    let units: Vec<Range<u64>> = chosen.iter().flat_map(cut).collect();
    let rows: u64 = units.iter().map(|unit| unit.end - unit.start).sum();
    let bytes = u128::from(dataset.manifest().num_bytes()) * u128::from(rows) / u128::from(dataset.len().max(1));
    let bar = std::sync::Mutex::new(progress.rows("reading", rows, bytes as u64));
    let counted: Result<Counts> = units
        .par_iter()
        .try_fold(
            || Counts::new(dataset),
            |mut counts, unit| {
                counts.read(dataset, unit.clone())?;
                bar.lock().expect("no holder panics").add(unit.end - unit.start);
                Ok(counts)
            },
        )
        .try_reduce(|| Counts::new(dataset), |a, b| Ok(a.merge(b)));
    let counts = counted?;
    Ok(Survey {
        rows_read: counts.rows,
        num_rows: dataset.len(),
        batches_read: chosen.len(),
        num_batches: batches.len(),
        tokens: counts.tokens.iter().sum(),
        unknown_tokens: counts.tokens[dataset.vocabulary().special().unk as usize],
        different_tokens: counts.tokens.iter().filter(|&&count| count > 0).count() as u64,
        frequent: frequent(dataset, &counts.tokens),
        histograms: counts.histograms,
    })
}

/// `wanted` of `batches`, evenly spread, the first one among them.
fn choose(batches: &[Range<u64>], wanted: usize) -> Vec<Range<u64>> {
    let n = wanted.min(batches.len());
    (0..n).map(|i| batches[i * batches.len() / n].clone()).collect()
}

fn frequent(dataset: &Dataset, counts: &[u64]) -> Vec<TokenCount> {
    let special = dataset.vocabulary().special();
    let special = [special.pad, special.unk, special.cls, special.sep, special.mask];
    let mut ids: Vec<u32> =
        (0..counts.len() as u32).filter(|id| counts[*id as usize] > 0 && !special.contains(id)).collect();
    ids.sort_by_key(|&id| (std::cmp::Reverse(counts[id as usize]), id));
    ids.truncate(MOST_FREQUENT);
    let count = |id: u32| TokenCount { id, token: token(dataset.vocabulary(), id), count: counts[id as usize] };
    ids.into_iter().map(count).collect()
}

/// Counts over the rows one thread has read.
struct Counts {
    rows: u64,
    /// By id.
    tokens: Vec<u64>,
    histograms: Vec<Histogram>,
}

impl Counts {
    fn new(dataset: &Dataset) -> Self {
        use cloze_formats::Kind;
        let names: &[(&str, &str, &str)] = match dataset.manifest().kind {
            Kind::Corpus => {
                &[("tokens_per_document", "tokens", "documents"), ("sentences_per_document", "sentences", "documents")]
            }
            Kind::Pretrain => &[
                ("masks_per_instance", "positions to predict", "instances"),
                ("masks_by_position", "position in the instance", "positions to predict"),
                ("segment_a_length", "tokens", "instances"),
                ("segment_b_length", "tokens", "instances"),
            ],
            Kind::Squad => &[
                ("question_length", "tokens", "windows"),
                ("answer_length", "tokens", "answers"),
                ("answer_start", "position in the window", "answers"),
                ("window_number", "number of the window within its question", "windows"),
            ],
            Kind::Glue => &[("segment_a_length", "tokens", "examples"), ("segment_b_length", "tokens", "examples")],
        };
        let empty = |&(name, unit, counted)| Histogram { name, unit, counted, counts: Vec::new() };
        Self { rows: 0, tokens: vec![0; dataset.vocabulary().len()], histograms: names.iter().map(empty).collect() }
    }

    fn read(&mut self, dataset: &Dataset, rows: Range<u64>) -> Result<()> {
        let mut reader = Reader::new(dataset, (0, 0))?;
        for index in rows {
            let row = dataset.row(index)?;
            self.rows += 1;
            for id in row.tokens().iter() {
                if let Some(count) = self.tokens.get_mut(id as usize) {
                    *count += 1;
                }
            }
            self.measure(&mut reader, index, &row);
        }
        Ok(())
    }

    /// Adds to the histograms, which `new` names in this order.
    fn measure(&mut self, reader: &mut Reader<'_>, index: u64, row: &Row<'_>) {
        let length = row.tokens().len();
        let h = &mut self.histograms;
        match row {
            Row::Corpus(r) => {
                h[0].add(length);
                h[1].add(r.sentence_lengths.len());
            }
            Row::Pretrain(r) => {
                let a = usize::from(r.segment_a_length);
                let masks = reader.masks_of(index, r);
                h[0].add(masks.len());
                masks.iter().for_each(|&(position, _)| h[1].add(position.into()));
                h[2].add(a.saturating_sub(2));
                h[3].add(length.saturating_sub(a + 1));
            }
            Row::Squad(r) => {
                let a = usize::from(r.segment_a_length);
                h[0].add(a.saturating_sub(2));
                if r.end_position > 0 {
                    h[1].add(usize::from(r.end_position.saturating_sub(r.start_position)) + 1);
                    h[2].add(usize::from(r.start_position).saturating_sub(a));
                }
                h[3].add(r.window.into());
            }
            Row::Glue(r) => {
                let a = usize::from(r.segment_a_length);
                h[0].add(a.saturating_sub(2));
                if a < length {
                    h[1].add(length.saturating_sub(a + 1));
                }
            }
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.rows += other.rows;
        self.tokens.iter_mut().zip(other.tokens).for_each(|(mine, theirs)| *mine += theirs);
        for (mine, theirs) in self.histograms.iter_mut().zip(other.histograms) {
            mine.reserve(theirs.counts.len());
            mine.counts.iter_mut().zip(theirs.counts).for_each(|(mine, theirs)| *mine += theirs);
        }
        self
    }
}

impl Histogram {
    fn add(&mut self, number: usize) {
        let number = number.min(LONGEST);
        self.reserve(number + 1);
        self.counts[number] += 1;
    }

    fn reserve(&mut self, entries: usize) {
        if self.counts.len() < entries {
            self.counts.resize(entries, 0);
        }
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Mean of the numbers.
    pub fn mean(&self) -> f64 {
        let sum: u64 = self.counts.iter().zip(0u64..).map(|(count, number)| count * number).sum();
        sum as f64 / self.total().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_chosen_evenly() {
        let batches: Vec<Range<u64>> = (0..20).map(|i| i..i + 1).collect();
        assert_eq!(choose(&batches, 4), [0..1, 5..6, 10..11, 15..16]);
        assert_eq!(choose(&batches[..3], 8).len(), 3);
        assert!(choose(&[], 8).is_empty());
    }

    #[test]
    fn histogram_counts_long_tails_in_its_last_entry() {
        let mut histogram = Histogram { name: "", unit: "", counted: "", counts: Vec::new() };
        [2, 2, 4, 1 << 20].into_iter().for_each(|number| histogram.add(number));
        assert_eq!((histogram.total(), histogram.counts[2], histogram.counts.len()), (4, 2, LONGEST + 1));
    }
}
