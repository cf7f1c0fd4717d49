//! What a dataset promises of its rows beyond what readers rely on, checked in one pass over a record batch.

use cloze_formats::dataset::check_row;
use cloze_formats::finetune::GlueTask;
use cloze_formats::manifest::{Manifest, VocabularyInfo};
use cloze_formats::row::Row;
use cloze_formats::schema::Layout;
use cloze_formats::shard::Shard;
use cloze_formats::statistics::Statistics;
use serde_json::Value;

use super::questions::{OrderReport, Questions};
use super::report::NAMED_PER_SHARD;
use crate::Result;
use crate::inspect::leaves::differences;

/// With fewer positions than this to predict, their shares say nothing.
const LEAST_MASKS: u64 = 10_000;

/// What manifest and configuration promise of each row.
pub(super) struct Promises<'a> {
    layout: Layout,
    vocabulary: &'a VocabularyInfo,
    max_seq_length: Option<usize>,
    max_predictions: Option<usize>,
    task: GlueTask,
    questions: Option<&'a Questions>,
}

/// What was found in a record batch.
#[derive(Debug, Default)]
pub(super) struct BatchReport {
    pub(super) statistics: Statistics,
    /// Rows within the shard with what is wrong there, the first few.
    pub(super) damaged: Vec<(u64, String)>,
    pub(super) num_damaged: u64,
}

impl<'a> Promises<'a> {
    pub(super) fn of(manifest: &'a Manifest, questions: Option<&'a Questions>) -> Self {
        let knob = |name: &str| manifest.configuration.get(name).and_then(|value| value.as_u64()).map(|n| n as usize);
        Self {
            layout: manifest.columns,
            vocabulary: &manifest.vocabulary,
            max_seq_length: knob("max_seq_length"),
            max_predictions: knob("max_predictions_per_seq"),
            task: GlueTask::of(manifest),
            questions,
        }
    }

    /// Verifies the checksum of record batch `batch` and checks and counts its rows.
    ///
    /// # Errors
    /// The batch cannot be decoded.
    pub(super) fn check_batch(&self, shard: &Shard, batch: usize) -> Result<BatchReport> {
        let mut report = BatchReport::default();
        let rows = shard.batch_rows(batch);
        // Its order was checked there already where that batch is damaged.
        let mut last_id =
            rows.start.checked_sub(1).and_then(|row| shard.row(row).ok()).and_then(|row| ascending_id(&row));
        for index in rows {
            let row = shard.row(index)?;
            let id = ascending_id(&row);
            let checked = self.check(&row).and_then(|()| match (last_id, id) {
                (Some((name, last)), Some((_, id))) if id <= last => {
                    Err(format!("expected a {name} above {last}, that of the row before, found {id}"))
                }
                _ => Ok(()),
            });
            last_id = id;
            if let Err(problem) = checked {
                report.num_damaged += 1;
                if report.damaged.len() < NAMED_PER_SHARD {
                    report.damaged.push((index, problem));
                }
            }
            report.statistics.observe(&row, self.vocabulary.special);
        }
        Ok(report)
    }

    /// Checks one row; the error says what was expected and found.
    pub(super) fn check(&self, row: &Row<'_>) -> Result<(), String> {
        check_row(row, self.layout, self.vocabulary)?;
        if let Some(most) = self.max_seq_length.filter(|&most| row.tokens().len() > most) {
            return Err(format!("expected at most max_seq_length ({most}) tokens, found {}", row.tokens().len()));
        }
        match row {
            Row::Corpus(_) => Ok(()),
            Row::Pretrain(r) => {
                let found = r.masked.map_or(0, |masked| masked.positions.len());
                match self.max_predictions.filter(|&most| found > most) {
                    Some(most) => {
                        Err(format!("expected at most max_predictions_per_seq ({most}) masks, found {found}"))
                    }
                    None => Ok(()),
                }
            }
            Row::Squad(r) => self.questions.map_or(Ok(()), |questions| questions.check(r)),
            Row::Glue(_) => self.task.check_row(row),
        }
    }

    /// Squad: windows of a question follow each other, and questions the order of examples.jsonl; nothing where there is
    /// nothing to check against.
    pub(super) fn check_order(&self, shards: &[Result<Shard>]) -> OrderReport {
        self.questions.map(|questions| questions.check_order(shards)).unwrap_or_default()
    }
}

/// The column that numbers the rows' origin, and this row's value: it ascends within a shard.
fn ascending_id(row: &Row<'_>) -> Option<(&'static str, u64)> {
    match row {
        Row::Corpus(r) => Some(("document_id", r.document_id)),
        Row::Glue(r) => Some(("row_id", r.row_id)),
        _ => None,
    }
}

/// A line for each figure of the manifest that is not that of the rows.
pub(super) fn compare_statistics(manifest: &Statistics, recount: &Statistics) -> Vec<String> {
    if manifest == recount {
        return Vec::new();
    }
    let value = |statistics: &Statistics| serde_json::to_value(statistics).unwrap_or_default();
    let different = differences(&value(manifest), &value(recount)).into_iter();
    different
        .filter(|(_, expected, found)| !(is_nothing(expected.as_ref()) && is_nothing(found.as_ref())))
        .map(|(name, expected, found)| {
            let [expected, found] = [expected, found].map(shown);
            format!("statistics.{name}: manifest says {expected}, the rows have {found}; rebuild the dataset")
        })
        .collect()
}

/// Counts of nothing may be left out.
fn is_nothing(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.as_f64().unwrap_or(0.0) == 0.0)
}

/// A figure as the manifest would have it.
fn shown(value: Option<Value>) -> String {
    let number = value.as_ref().filter(|value| value.is_number());
    match number.map(|number| (number.is_f64(), number.as_f64())) {
        None => "0".to_owned(),
        // Scores are of single precision, and their shortest digits are those people know.
        Some((true, Some(score))) => (score as f32).to_string(),
        Some(_) => number.map_or_else(String::new, Value::to_string),
    }
}

/// What the model sees at positions to predict is `[MASK]`, a random token or the token itself, 8 : 1 : 1. So `build` has it; the
/// format leaves it open.
pub(super) fn implausible_masks(statistics: &Statistics) -> Option<String> {
    let masked = statistics.masked;
    let share = |part: u64| part as f64 / masked.total() as f64;
    let near = |part: u64, expected: f64| (share(part) - expected).abs() < 0.03;
    if masked.total() < LEAST_MASKS || (near(masked.mask, 0.8) && near(masked.random, 0.1) && near(masked.kept, 0.1)) {
        return None;
    }
    let percent = |part| share(part) * 100.0;
    Some(format!(
        "masked_lm_inputs: expected about 80 % [MASK], 10 % random and 10 % unchanged, found {:.1}, {:.1} and {:.1} %; \
         rebuild the dataset",
        percent(masked.mask),
        percent(masked.random),
        percent(masked.kept)
    ))
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
