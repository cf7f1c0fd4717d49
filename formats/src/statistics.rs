//! Counts over the rows of a dataset; the writer and `verify` count the same way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::row::{Label, PretrainRow, Row, Tokens};
use crate::vocabulary::SpecialIds;

/// What the rows of a dataset add up to. Fields that a kind does not have stay 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Statistics {
    /// Rows.
    pub rows: u64,
    /// Tokens of the token column, special ones included.
    pub tokens: u64,
    /// `[UNK]` among them.
    pub unknown_tokens: u64,
    /// Corpus: sentences.
    pub sentences: u64,
    /// Entry `n`: rows of `n` tokens. Corpus: sentences of `n` tokens, the last entry (512) is for 512 and more.
    pub length_histogram: Vec<u64>,
    /// Pretrain: rows whose segment B is random.
    pub random_next: u64,
    /// Pretrain with static masks: positions to predict, by what the model sees there.
    pub masked: MaskedCounts,
    /// SQuAD: windows that hold the answer.
    pub answered: u64,
    /// SQuAD: windows of questions that have no answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub impossible: u64,
    /// GLUE: rows per class.
    pub labels: BTreeMap<i32, u64>,
    /// GLUE: what is known of the scores, in regression tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoreCounts>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Scores of a regression task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreCounts {
    /// Rows with a score.
    pub rows: u64,
    /// The lowest.
    pub min: f32,
    /// The highest.
    pub max: f32,
    /// Their sum in millionths, each rounded: a sum that does not depend on the order of the rows.
    pub sum_millionths: i64,
}

impl ScoreCounts {
    fn of(score: f32) -> Self {
        Self { rows: 1, min: score, max: score, sum_millionths: (f64::from(score) * 1e6).round() as i64 }
    }

    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum_millionths = self.sum_millionths.saturating_add(other.sum_millionths);
    }

    /// Mean score.
    pub fn mean(&self) -> f64 {
        self.sum_millionths as f64 / 1e6 / self.rows.max(1) as f64
    }
}

/// Positions to predict, by what the model sees there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedCounts {
    /// `[MASK]`
    pub mask: u64,
    /// Another token than the label.
    pub random: u64,
    /// The label itself.
    pub kept: u64,
}

impl MaskedCounts {
    /// Of one row. Which of the three it is cannot be foretold, so nothing branches on it.
    fn of<T: Copy + Into<u32>>(ids: &[T], positions: &[u16], inputs: &[T], mask: u32) -> Self {
        let (mut masks, mut kept) = (0, 0);
        for (&position, &input) in positions.iter().zip(inputs) {
            let input = input.into();
            let is_mask = input == mask;
            let is_kept = ids.get(usize::from(position)).is_some_and(|&id| id.into() == input);
            masks += u64::from(is_mask);
            kept += u64::from(is_kept & !is_mask);
        }
        let total = positions.len().min(inputs.len()) as u64;
        Self { mask: masks, kept, random: total - masks - kept }
    }

    fn add(&mut self, other: Self) {
        self.mask += other.mask;
        self.random += other.random;
        self.kept += other.kept;
    }

    /// All positions to predict.
    pub fn total(&self) -> u64 {
        self.mask + self.random + self.kept
    }
}

const LONGEST_SENTENCE: usize = 512;

impl Statistics {
    /// Counts one row.
    pub fn observe(&mut self, row: &Row<'_>, special: SpecialIds) {
        let tokens = row.tokens();
        self.rows += 1;
        self.tokens += tokens.len() as u64;
        self.unknown_tokens += tokens.count_of([special.unk]) as u64;
        match row {
            Row::Corpus(r) => {
                self.sentences += r.sentence_lengths.len() as u64;
                for &length in r.sentence_lengths {
                    self.observe_length(usize::from(length).min(LONGEST_SENTENCE));
                }
                return;
            }
            Row::Pretrain(r) => self.observe_pretrain(r, special),
            Row::Squad(r) => {
                self.answered += u64::from(r.end_position > 0);
                self.impossible += u64::from(r.is_impossible);
            }
            Row::Glue(r) => match r.label {
                Some(Label::Class(class)) => *self.labels.entry(class).or_default() += 1,
                Some(Label::Score(score)) => self.merge_scores(&ScoreCounts::of(score)),
                None => {}
            },
        }
        self.observe_length(tokens.len());
    }

    /// Adds the counts of other rows.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.unknown_tokens += other.unknown_tokens;
        self.sentences += other.sentences;
        self.random_next += other.random_next;
        self.answered += other.answered;
        self.impossible += other.impossible;
        self.masked.add(other.masked);
        for (&label, &count) in &other.labels {
            *self.labels.entry(label).or_default() += count;
        }
        if let Some(scores) = &other.scores {
            self.merge_scores(scores);
        }
        self.reserve_length(other.length_histogram.len());
        for (mine, theirs) in self.length_histogram.iter_mut().zip(&other.length_histogram) {
            *mine += theirs;
        }
    }

    fn merge_scores(&mut self, scores: &ScoreCounts) {
        match &mut self.scores {
            Some(mine) => mine.merge(scores),
            None => self.scores = Some(*scores),
        }
    }

    fn observe_pretrain(&mut self, row: &PretrainRow<'_>, special: SpecialIds) {
        self.random_next += u64::from(row.next_sentence_label);
        let Some(masked) = row.masked else { return };
        let masked = match (row.input_ids, masked.inputs) {
            (Tokens::U16(ids), Tokens::U16(inputs)) => MaskedCounts::of(ids, masked.positions, inputs, special.mask),
            (Tokens::U32(ids), Tokens::U32(inputs)) => MaskedCounts::of(ids, masked.positions, inputs, special.mask),
            (ids, inputs) => MaskedCounts::of(&ids.to_vec(), masked.positions, &inputs.to_vec(), special.mask),
        };
        self.masked.add(masked);
    }

    fn observe_length(&mut self, length: usize) {
        self.reserve_length(length + 1);
        self.length_histogram[length] += 1;
    }

    fn reserve_length(&mut self, entries: usize) {
        if self.length_histogram.len() < entries {
            self.length_histogram.resize(entries, 0);
        }
    }
}
