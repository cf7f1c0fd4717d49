//! GLUE's tasks: classes or scores of sentences and pairs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloze_formats::Label;
use cloze_formats::dataset::Dataset;
use cloze_formats::durable;
use cloze_formats::finetune::{GlueTask, Metric};
use cloze_formats::schema::LabelType;
use cloze_formats::stream::{GlobalBatch, GlueBatch, GlueGather, Labels};
use serde_json::{Map, Value, json};

use super::{Begun, DevSet, Evaluated, Sweep, evaluation_due, measure};
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use crate::metrics::glue as metrics;
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};
use crate::run::Signals;
use crate::step::{ClassificationSums, classification_step, evaluate_classification};
use crate::summary::{Summary, write_json};
use crate::trainer::{Measurement, Task};
use crate::world::{DataParallel, Group};

/// Rows evaluated at once; within them, batches are sorted by length.
const EVALUATED_AT_ONCE: u64 = 1024;

/// Outputs of the head: the task's classes, or 1 for scores. Where the dataset does not name its labels, one more than the highest
/// class it has, at least two.
pub fn num_labels(dataset: &Dataset) -> i64 {
    let manifest = dataset.manifest();
    let task = GlueTask::of(manifest);
    let has_scores = manifest.columns.label_type() == Some(LabelType::Score);
    match task.labels.len() {
        0 if has_scores || task.metrics.contains(&Metric::Pearson) => 1,
        0 => manifest.statistics.labels.keys().max().map_or(2, |&label| i64::from(label) + 1).max(2),
        num_classes => num_classes as i64,
    }
}

/// Tells Hugging Face's loader what the outputs of a head for `dataset` mean.
pub(super) fn name_labels(config: &mut BertConfig, dataset: &Dataset) {
    let names = GlueTask::of(dataset.manifest()).label_names;
    config.other.remove("problem_type");
    if num_labels(dataset) == 1 {
        config.other.insert("problem_type".to_owned(), json!("regression"));
    } else if !names.is_empty() {
        let id2label: Map<String, Value> = (0..).zip(&names).map(|(id, name)| (id.to_string(), json!(name))).collect();
        let label2id: Map<String, Value> = (0..).zip(&names).map(|(id, name)| (name.clone(), json!(id))).collect();
        config.other.insert("id2label".to_owned(), Value::Object(id2label));
        config.other.insert("label2id".to_owned(), Value::Object(label2id));
    }
}

pub(super) fn train(begun: Begun<'_>) -> Result<Summary> {
    let has_labels = |dataset: &Dataset| dataset.manifest().columns.has_labels();
    if !has_labels(&begun.train) {
        let message = "expected labels to learn from, found none; build the dataset from the train file";
        return Err(Error::file(begun.train.dir(), message));
    }
    for set in &begun.dev {
        check_labels(&set.dataset, num_labels(&begun.train))?;
    }
    let task = Glue {
        dev: begun.dev.clone(),
        out: begun.options.out.clone(),
        batch_tokens: begun.recipe.data.evaluation_batch_tokens,
        is_regression: num_labels(&begun.train) == 1,
    };
    let gather = GlueGather(Arc::clone(&begun.train));
    begun.train(gather, task)
}

/// Refuses a dataset whose labels a head of `expected` outputs cannot tell.
fn check_labels(dataset: &Dataset, expected: i64) -> Result<()> {
    let found = num_labels(dataset);
    // Without names the number of classes is the least it can be.
    let is_lower_bound = GlueTask::of(dataset.manifest()).labels.is_empty() && found > 1;
    if found == expected || (is_lower_bound && found < expected) {
        return Ok(());
    }
    let describe = |num_labels| if num_labels == 1 { "scores".to_owned() } else { format!("{num_labels} classes") };
    let (expected, found) = (describe(expected), describe(found));
    Err(Error::file(dataset.dir(), format!("expected a dataset of {expected}, like the model's, found {found}")))
}

struct Glue {
    dev: Vec<DevSet>,
    out: PathBuf,
    batch_tokens: u64,
    is_regression: bool,
}

impl Task for Glue {
    type Gather = GlueGather;
    type Sums = ClassificationSums;

    fn name(&self) -> &'static str {
        "glue"
    }

    fn step(
        &mut self,
        bert: &mut Bert,
        batch: &GlobalBatch<GlueBatch>,
        parallel: &DataParallel,
    ) -> Result<ClassificationSums> {
        classification_step(bert, batch, parallel)
    }

    fn loss(&self, sums: &ClassificationSums) -> f64 {
        sums.mean_loss()
    }

    fn fields(&self, sums: &ClassificationSums) -> Map<String, Value> {
        let mut fields = Map::from_iter([("loss".to_owned(), json!(sums.mean_loss()))]);
        if !self.is_regression {
            fields.insert("accuracy".to_owned(), json!(sums.accuracy()));
        }
        fields
    }

    fn words(&self, sums: &ClassificationSums) -> String {
        match self.is_regression {
            true => format!("loss {:.3}", sums.mean_loss()),
            false => format!("loss {:.3} ({:.1} %)", sums.mean_loss(), 100.0 * sums.accuracy()),
        }
    }

    fn is_due(&self, position: &Position, total_steps: u64) -> bool {
        !self.dev.is_empty() && evaluation_due(position, total_steps)
    }

    fn measure(&mut self, bert: &Bert, signals: &Signals, group: &Group) -> Result<Option<Measurement>> {
        let sweep = Sweep { batch_tokens: self.batch_tokens, signals, group };
        measure(&self.dev, &self.out, group.is_first(), |dev| evaluate(bert, dev, &sweep))
    }
}

/// What the model says about a dataset, row by row.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The task, as the dataset describes it.
    pub task: GlueTask,
    /// `row_id` of the rows.
    pub row_ids: Vec<u64>,
    /// The class with the highest logit, or the score.
    pub predictions: Labels,
    /// Logits of each row.
    pub logits: Vec<Vec<f32>>,
    /// Gold labels and mean loss, where the dataset has labels.
    pub gold: Option<(Labels, f64)>,
}

impl Evaluation {
    /// The task's metrics and `loss`, with the number of rows; only that without labels.
    pub fn scores(&self) -> Map<String, Value> {
        let mut scores = Map::from_iter([("num_examples".to_owned(), json!(self.row_ids.len()))]);
        if let Some((_, loss)) = &self.gold {
            scores.extend(self.metrics().into_iter().map(|(name, value)| (name.to_owned(), json!(value))));
            scores.insert("loss".to_owned(), json!(loss));
        }
        scores
    }

    /// Name and value of each metric of the task that the labels allow.
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let value = |metric: Metric| match (&self.predictions, &self.gold) {
            (Labels::Classes(predictions), Some((Labels::Classes(labels), _))) => match metric {
                Metric::Accuracy => Some(metrics::accuracy(predictions, labels)),
                Metric::F1 => Some(metrics::f1(predictions, labels)),
                Metric::Mcc => Some(metrics::mcc(predictions, labels)),
                Metric::Pearson | Metric::Spearman => None,
            },
            (Labels::Scores(predictions), Some((Labels::Scores(labels), _))) => {
                let double = |scores: &[f32]| scores.iter().map(|&score| score.into()).collect::<Vec<f64>>();
                match metric {
                    Metric::Pearson => Some(metrics::pearson(&double(predictions), &double(labels))),
                    Metric::Spearman => Some(metrics::spearman(&double(predictions), &double(labels))),
                    Metric::Accuracy | Metric::F1 | Metric::Mcc => None,
                }
            }
            _ => None,
        };
        self.task.metrics.iter().filter_map(|&metric| Some((metric.name(), value(metric)?))).collect()
    }

    /// The scores for people.
    pub fn words(&self) -> String {
        let Some((_, loss)) = &self.gold else { return format!("{} predictions", self.row_ids.len()) };
        let metrics: String = self.metrics().iter().map(|(name, value)| format!("{name} {value:.4} ")).collect();
        format!("{metrics}loss {loss:.4}")
    }

    /// Publishes predictions.tsv (`index`, `prediction`, then label and logits), eval.json, and the file that GLUE's server takes
    /// for this split, in `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let mut text = String::from("index\tprediction\tlabel\tlogits\n");
        for (index, row_id) in self.row_ids.iter().enumerate() {
            let prediction = number(&self.predictions, index);
            let label = self.gold.as_ref().map(|(labels, _)| number(labels, index)).unwrap_or_default();
            let logits: Vec<String> = self.logits[index].iter().map(f32::to_string).collect();
            writeln!(text, "{row_id}\t{prediction}\t{label}\t{}", logits.join(" ")).expect("a String takes everything");
        }
        durable::write(dir.join("predictions.tsv"), text.as_bytes())?;
        if let Some(name) = &self.task.submission {
            durable::write(dir.join(name), self.submission().as_bytes())?;
        }
        write_json(&dir.join("eval.json"), &self.scores())
    }

    /// `index` and `prediction`, labels as the task's files have them.
    fn submission(&self) -> String {
        let mut text = String::from("index\tprediction\n");
        for (index, row_id) in self.row_ids.iter().enumerate() {
            let prediction = match &self.predictions {
                Labels::Classes(classes) => {
                    let label = self.task.labels.get(classes[index] as usize).cloned();
                    label.unwrap_or_else(|| classes[index].to_string())
                }
                Labels::Scores(scores) => format!("{:.3}", scores[index]),
            };
            writeln!(text, "{row_id}\t{prediction}").expect("a String takes everything");
        }
        text
    }
}

fn number(labels: &Labels, index: usize) -> String {
    match labels {
        Labels::Classes(classes) => classes[index].to_string(),
        Labels::Scores(scores) => scores[index].to_string(),
    }
}

impl Evaluated for Evaluation {
    fn scores(&self) -> Map<String, Value> {
        self.scores()
    }

    fn words(&self) -> String {
        self.words()
    }

    fn write(&self, dir: &Path) -> Result<()> {
        self.write(dir)
    }
}

/// Predicts the label of every row of `dataset`, in its order; `None` if a signal came first.
///
/// # Errors
/// The dataset is damaged or does not fit the model; a process is lost.
pub fn evaluate(bert: &Bert, dataset: &Arc<Dataset>, sweep: &Sweep<'_>) -> Result<Option<Evaluation>> {
    let Head::SequenceClassification { num_labels } = bert.head() else {
        return Err(Error::Invalid(
            "expected a model with a head for sequence classification, found another".to_owned(),
        ));
    };
    check_labels(dataset, num_labels)?;
    let width = num_labels as usize;
    let (mut loss, mut logits) = (0.0, Vec::new());
    let forward = |batch: &GlueBatch| {
        let (logits, sums) = evaluate_classification(bert, batch)?;
        loss += sums.unwrap_or_default().loss;
        Ok(batch.sequences.rows.iter().copied().zip(logits.chunks(width).map(<[f32]>::to_vec)).collect())
    };
    let gather = GlueGather(Arc::clone(dataset));
    let is_done = sweep.rows(
        gather,
        EVALUATED_AT_ONCE,
        |_| Ok(width),
        forward,
        |_, values| {
            logits.push(values.to_vec());
            Ok(())
        },
    )?;
    if !is_done {
        return Ok(None);
    }
    let loss = sweep.group.sum(&[loss])?[0];
    collect(dataset, logits, loss / dataset.len().max(1) as f64).map(Some)
}

fn collect(dataset: &Dataset, logits: Vec<Vec<f32>>, mean_loss: f64) -> Result<Evaluation> {
    let (mut row_ids, mut classes, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..logits.len() as u64 {
        let row = dataset.glue_row(row)?;
        row_ids.push(row.row_id);
        match row.label {
            Some(Label::Class(class)) => classes.push(i64::from(class)),
            Some(Label::Score(score)) => scores.push(score),
            None => {}
        }
    }
    let is_regression = logits.iter().all(|logits| logits.len() == 1);
    let predictions = match is_regression {
        true => Labels::Scores(logits.iter().map(|logits| logits[0]).collect()),
        false => Labels::Classes(logits.iter().map(|logits| argmax(logits)).collect()),
    };
    let gold = dataset.manifest().columns.label_type().map(|labels| match labels {
        LabelType::Class => (Labels::Classes(classes), mean_loss),
        LabelType::Score => (Labels::Scores(scores), mean_loss),
    });
    Ok(Evaluation { task: GlueTask::of(dataset.manifest()), row_ids, predictions, logits, gold })
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
