//! SQuAD v1.1: spans of the context as answers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloze_formats::dataset::{Dataset, EXAMPLES};
use cloze_formats::stream::{Cursor, GlobalBatch, Sequences, SquadBatch, SquadGather, Stream, StreamConfig};
use serde_json::{Map, Value, json};

use super::{Begun, evaluation_due};
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use crate::metrics::squad;
use crate::metrics::squad::{AnswerConfig, Candidate, Example, NBest, Scores, Window, candidates, n_best};
use crate::model::Bert;
use crate::run::Signals;
use crate::step::{QuestionAnsweringSums, question_answering_logits, question_answering_step};
use crate::summary::{Summary, write_json};
use crate::trainer::{Measurement, Task};

/// Windows evaluated between two looks for a signal; within them, batches are sorted by length.
const EVALUATED_AT_ONCE: u64 = 256;

pub(super) fn train(begun: Begun<'_>) -> Result<Summary> {
    let task = Squad {
        dev: begun.dev.clone(),
        out: begun.options.out.clone(),
        batch_tokens: begun.recipe.data.evaluation_batch_tokens,
        answers: begun.recipe.squad,
    };
    let gather = SquadGather(Arc::clone(&begun.train));
    begun.train(gather, task)
}

struct Squad {
    dev: Option<Arc<Dataset>>,
    out: PathBuf,
    batch_tokens: u64,
    answers: AnswerConfig,
}

impl Task for Squad {
    type Gather = SquadGather;
    type Sums = QuestionAnsweringSums;

    fn name(&self) -> &'static str {
        "squad"
    }

    fn step(&mut self, bert: &mut Bert, batch: &GlobalBatch<SquadBatch>) -> Result<QuestionAnsweringSums> {
        question_answering_step(bert, batch)
    }

    fn fields(&self, sums: &QuestionAnsweringSums) -> Map<String, Value> {
        let share = |correct: u64| correct as f64 / sums.num_instances.max(1) as f64;
        let values = [
            ("loss", sums.mean_loss()),
            ("start_accuracy", share(sums.start_correct)),
            ("end_accuracy", share(sums.end_correct)),
        ];
        values.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    }

    fn words(&self, sums: &QuestionAnsweringSums) -> String {
        format!("loss {:.3}", sums.mean_loss())
    }

    fn is_due(&self, position: &Position, total_steps: u64) -> bool {
        self.dev.is_some() && evaluation_due(position, total_steps)
    }

    fn measure(&mut self, bert: &Bert, signals: &Signals) -> Result<Option<Measurement>> {
        let Some(dev) = &self.dev else { return Ok(None) };
        let Some(evaluation) = evaluate(bert, dev, self.batch_tokens, &self.answers, signals)? else { return Ok(None) };
        evaluation.write(&self.out)?;
        let words = evaluation.words();
        Ok(Some(Measurement { kind: "evaluation", fields: evaluation.scores(), words }))
    }
}

/// What the model answers.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Question id -> answer.
    pub predictions: BTreeMap<String, String>,
    /// Question id -> best answers with their probabilities.
    pub n_best: BTreeMap<String, Vec<NBest>>,
    /// The official scores, where the dataset has gold answers.
    pub gold: Option<Scores>,
}

impl Evaluation {
    /// `exact_match` and `f1` in percent, with the number of questions; only that without gold answers.
    pub fn scores(&self) -> Map<String, Value> {
        let mut scores = Map::from_iter([("num_examples".to_owned(), json!(self.predictions.len()))]);
        if let Some(Scores { exact_match, f1 }) = self.gold {
            scores.insert("exact_match".to_owned(), json!(exact_match));
            scores.insert("f1".to_owned(), json!(f1));
        }
        scores
    }

    /// The scores for people.
    pub fn words(&self) -> String {
        match self.gold {
            Some(Scores { exact_match, f1 }) => format!("exact match {exact_match:.2} F1 {f1:.2}"),
            None => format!("{} predictions", self.predictions.len()),
        }
    }

    /// Publishes predictions.json, nbest_predictions.json and eval.json in `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join("predictions.json"), &self.predictions)?;
        write_json(&dir.join("nbest_predictions.json"), &self.n_best)?;
        write_json(&dir.join("eval.json"), &self.scores())
    }
}

/// Answers every question of `dataset`; `None` if a signal came first.
///
/// # Errors
/// The dataset is damaged or does not fit the model.
pub fn evaluate(
    bert: &Bert,
    dataset: &Arc<Dataset>,
    batch_tokens: u64,
    answers: &AnswerConfig,
    signals: &Signals,
) -> Result<Option<Evaluation>> {
    let examples = read_examples(dataset)?;
    let by_id: BTreeMap<&str, &Example> = examples.iter().map(|example| (example.id.as_str(), example)).collect();
    let config = StreamConfig {
        global_batch_size: EVALUATED_AT_ONCE,
        micro_batch_tokens: batch_tokens,
        shuffle: false,
        ..StreamConfig::default()
    };
    let stream = Stream::new(SquadGather(Arc::clone(dataset)), config);
    let mut found: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
    let mut cursor = Cursor::default();
    while !stream.is_done(cursor) {
        let batch = stream.global_batch(cursor)?;
        for SquadBatch { sequences, .. } in &batch.micro_batches {
            if signals.received().is_some() {
                return Ok(None);
            }
            let logits = question_answering_logits(bert, sequences)?;
            for index in 0..sequences.num_sequences() {
                let (id, proposed) = window_candidates(dataset, &by_id, sequences, index, &logits, answers)?;
                found.entry(id).or_default().extend(proposed);
            }
        }
        cursor = batch.next;
    }
    Ok(Some(finish(&examples, found, answers)))
}

/// Candidates of window `index` of a micro-batch, and the question they answer.
fn window_candidates<'e>(
    dataset: &Dataset,
    by_id: &BTreeMap<&'e str, &'e Example>,
    sequences: &Sequences,
    index: usize,
    (start_logits, end_logits): &(Vec<f32>, Vec<f32>),
    answers: &AnswerConfig,
) -> Result<(&'e str, Vec<Candidate>)> {
    let row = dataset.squad_row(sequences.rows[index])?;
    let Some(&example) = by_id.get(row.example_id) else {
        let message = format!("expected question {:?} of the shards, found none; rebuild the dataset", row.example_id);
        return Err(Error::file(dataset.dir().join(EXAMPLES), message));
    };
    let first = sequences.cu_seqlens[index] as usize + usize::from(row.segment_a_length);
    let context = first..first + row.context_starts.len();
    let window = Window {
        number: row.window,
        context_starts: row.context_starts,
        context_ends: row.context_ends,
        max_context: row.max_context,
        start_logits: &start_logits[context.clone()],
        end_logits: &end_logits[context],
    };
    Ok((example.id.as_str(), candidates(&example.context, &window, answers)))
}

fn finish(examples: &[Example], mut found: BTreeMap<&str, Vec<Candidate>>, answers: &AnswerConfig) -> Evaluation {
    let mut evaluation = Evaluation::default();
    for example in examples {
        let best = n_best(found.remove(example.id.as_str()).unwrap_or_default(), answers);
        evaluation.predictions.insert(example.id.clone(), best[0].text.clone());
        evaluation.n_best.insert(example.id.clone(), best);
    }
    if examples.iter().any(|example| !example.answers.is_empty()) {
        evaluation.gold = Some(squad::evaluate(examples, &evaluation.predictions));
    }
    evaluation
}

/// Questions, contexts and gold answers of a squad dataset, in its order.
///
/// # Errors
/// The side file is missing or not what it should be.
pub fn read_examples(dataset: &Dataset) -> Result<Vec<Example>> {
    let path = dataset.dir().join(EXAMPLES);
    let file = File::open(&path).map_err(Error::io(&path))?;
    let mut examples = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(Error::io(&path))?;
        let example = serde_json::from_str(&line).map_err(|e| {
            Error::file(
                &path,
                format!("line {}: expected a question with its context, found: {e}; rebuild the dataset", index + 1),
            )
        })?;
        examples.push(example);
    }
    Ok(examples)
}
