//! GLUE's sentence classification: SST-2.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloze_formats::dataset::Dataset;
use cloze_formats::durable;
use cloze_formats::stream::{Cursor, GlobalBatch, GlueBatch, GlueGather, Stream, StreamConfig};
use serde_json::{Map, Value, json};

use super::{Begun, evaluation_due};
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use crate::metrics::glue::accuracy;
use crate::model::Bert;
use crate::run::Signals;
use crate::step::{ClassificationSums, classification_step, evaluate_classification};
use crate::summary::{Summary, write_json};
use crate::trainer::{Measurement, Task};

/// Rows evaluated between two looks for a signal; within them, batches are sorted by length.
const EVALUATED_AT_ONCE: u64 = 1024;

/// Number of classes: one more than the highest label, at least two.
pub fn num_labels(dataset: &Dataset) -> i64 {
    dataset.manifest().statistics.labels.keys().max().map_or(2, |&label| i64::from(label) + 1).max(2)
}

pub(super) fn train(begun: Begun<'_>) -> Result<Summary> {
    if !begun.train.manifest().columns.has_labels() {
        let message = "expected labels to learn from, found none; build the dataset from the train file";
        return Err(Error::file(begun.train.dir(), message));
    }
    let task = Glue {
        dev: begun.dev.clone(),
        out: begun.options.out.clone(),
        batch_tokens: begun.recipe.data.evaluation_batch_tokens,
    };
    let gather = GlueGather(Arc::clone(&begun.train));
    begun.train(gather, task)
}

struct Glue {
    dev: Option<Arc<Dataset>>,
    out: PathBuf,
    batch_tokens: u64,
}

impl Task for Glue {
    type Gather = GlueGather;
    type Sums = ClassificationSums;

    fn name(&self) -> &'static str {
        "glue"
    }

    fn step(&mut self, bert: &mut Bert, batch: &GlobalBatch<GlueBatch>) -> Result<ClassificationSums> {
        classification_step(bert, batch)
    }

    fn fields(&self, sums: &ClassificationSums) -> Map<String, Value> {
        let values = [("loss", sums.mean_loss()), ("accuracy", sums.accuracy())];
        values.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    }

    fn words(&self, sums: &ClassificationSums) -> String {
        format!("loss {:.3} ({:.1} %)", sums.mean_loss(), 100.0 * sums.accuracy())
    }

    fn is_due(&self, position: &Position, total_steps: u64) -> bool {
        self.dev.is_some() && evaluation_due(position, total_steps)
    }

    fn measure(&mut self, bert: &Bert, signals: &Signals) -> Result<Option<Measurement>> {
        let Some(dev) = &self.dev else { return Ok(None) };
        let Some(evaluation) = evaluate(bert, dev, self.batch_tokens, signals)? else { return Ok(None) };
        evaluation.write(&self.out)?;
        let fields = evaluation.scores();
        let words = evaluation.words();
        Ok(Some(Measurement { kind: "evaluation", fields, words }))
    }
}

/// What the model says about a dataset, row by row.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// `row_id` of the rows.
    pub row_ids: Vec<u64>,
    /// The class with the highest logit.
    pub predictions: Vec<i64>,
    /// Logits of each row.
    pub logits: Vec<Vec<f32>>,
    /// Gold classes and mean loss, where the dataset has labels.
    pub gold: Option<(Vec<i64>, f64)>,
}

impl Evaluation {
    /// `accuracy` and `loss`, with the number of rows; only that without labels.
    pub fn scores(&self) -> Map<String, Value> {
        let mut scores = Map::from_iter([("num_examples".to_owned(), json!(self.predictions.len()))]);
        if let Some((labels, loss)) = &self.gold {
            scores.insert("accuracy".to_owned(), json!(accuracy(&self.predictions, labels)));
            scores.insert("loss".to_owned(), json!(loss));
        }
        scores
    }

    /// The scores for people.
    pub fn words(&self) -> String {
        match &self.gold {
            Some((labels, loss)) => format!("accuracy {:.4} loss {loss:.4}", accuracy(&self.predictions, labels)),
            None => format!("{} predictions", self.predictions.len()),
        }
    }

    /// Publishes predictions.tsv (GLUE's `index`, `prediction`, then label and logits) and eval.json in `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let mut text = String::from("index\tprediction\tlabel\tlogits\n");
        for (index, (row_id, prediction)) in self.row_ids.iter().zip(&self.predictions).enumerate() {
            let label = self.gold.as_ref().map(|(labels, _)| labels[index].to_string()).unwrap_or_default();
            let logits: Vec<String> = self.logits[index].iter().map(f32::to_string).collect();
            writeln!(text, "{row_id}\t{prediction}\t{label}\t{}", logits.join(" ")).expect("a String takes everything");
        }
        durable::write(dir.join("predictions.tsv"), text.as_bytes())?;
        write_json(&dir.join("eval.json"), &self.scores())
    }
}

/// Classifies every row of `dataset`, in its order; `None` if a signal came first.
///
/// # Errors
/// The dataset is damaged or does not fit the model.
pub fn evaluate(
    bert: &Bert,
    dataset: &Arc<Dataset>,
    batch_tokens: u64,
    signals: &Signals,
) -> Result<Option<Evaluation>> {
    let config = StreamConfig {
        global_batch_size: EVALUATED_AT_ONCE,
        micro_batch_tokens: batch_tokens,
        shuffle: false,
        ..StreamConfig::default()
    };
    let stream = Stream::new(GlueGather(Arc::clone(dataset)), config);
    let mut rows: Vec<(u64, Vec<f32>, Option<i64>)> = Vec::new();
    let mut sums = ClassificationSums::default();
    let mut cursor = Cursor::default();
    while !stream.is_done(cursor) {
        let batch = stream.global_batch(cursor)?;
        for micro_batch in &batch.micro_batches {
            if signals.received().is_some() {
                return Ok(None);
            }
            let (logits, batch_sums) = evaluate_classification(bert, micro_batch)?;
            sums += batch_sums.unwrap_or_default();
            let indices = &micro_batch.sequences.rows;
            for (index, logits) in logits.chunks(logits.len() / indices.len()).enumerate() {
                let label = micro_batch.labels.as_ref().map(|labels| labels[index]);
                rows.push((indices[index], logits.to_vec(), label));
            }
        }
        cursor = batch.next;
    }
    // Micro-batches are sorted by length.
    rows.sort_by_key(|(row, ..)| *row);
    collect(dataset, rows, &sums).map(Some)
}

fn collect(
    dataset: &Dataset,
    rows: Vec<(u64, Vec<f32>, Option<i64>)>,
    sums: &ClassificationSums,
) -> Result<Evaluation> {
    let labels: Option<Vec<i64>> = rows.iter().map(|(_, _, label)| *label).collect();
    let mut evaluation = Evaluation { gold: labels.map(|labels| (labels, sums.mean_loss())), ..Evaluation::default() };
    for (row, logits, _) in rows {
        evaluation.row_ids.push(dataset.glue_row(row)?.row_id);
        evaluation.predictions.push(argmax(&logits));
        evaluation.logits.push(logits);
    }
    Ok(evaluation)
}

/// Index of the highest value, the first of equal ones.
fn argmax(values: &[f32]) -> i64 {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best as i64
}
