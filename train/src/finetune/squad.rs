//! SQuAD v1.1 and v2.0: spans of the context as answers, or none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloze_formats::dataset::{Dataset, EXAMPLES};
use cloze_formats::finetune::SquadVersion;
use cloze_formats::stream::{Gather as _, GlobalBatch, SquadBatch, SquadGather};
use serde_json::{Map, Value, json};

use super::{Begun, DevSet, Evaluated, Sweep, evaluation_due, measure};
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use crate::metrics::answers::{AnswerConfig, Candidate, NBest, Window, answer, answer_or_none, candidates};
use crate::metrics::squad::{self, Example, Scores, ScoresV2};
use crate::model::Bert;
use crate::run::Signals;
use crate::step::{QuestionAnsweringSums, question_answering_logits, question_answering_step};
use crate::summary::{Summary, write_json};
use crate::trainer::{Measurement, Task};
use crate::world::{DataParallel, Group};

/// Windows evaluated at once; within them, batches are sorted by length.
const EVALUATED_AT_ONCE: u64 = 256;

pub(super) fn train(begun: Begun<'_>) -> Result<Summary> {
    if begun.train.manifest().statistics.answered == 0 {
        let message = "expected windows that hold an answer to learn from, found none; build the dataset from the train file, \
                       with a max_seq_length that leaves room for answers";
        return Err(Error::file(begun.train.dir(), message));
    }
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
    dev: Vec<DevSet>,
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

    fn step(
        &mut self,
        bert: &mut Bert,
        batch: &GlobalBatch<SquadBatch>,
        parallel: &DataParallel,
    ) -> Result<QuestionAnsweringSums> {
        question_answering_step(bert, batch, parallel)
    }

    fn loss(&self, sums: &QuestionAnsweringSums) -> f64 {
        sums.mean_loss()
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
        !self.dev.is_empty() && evaluation_due(position, total_steps)
    }

    fn measure(&mut self, bert: &Bert, signals: &Signals, group: &Group) -> Result<Option<Measurement>> {
        let sweep = Sweep { batch_tokens: self.batch_tokens, signals, group };
        measure(&self.dev, &self.out, group.is_first(), |dev| evaluate(bert, dev, &self.answers, &sweep))
    }
}

/// What the model answers.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Question id -> answer.
    pub predictions: BTreeMap<String, String>,
    /// Question id -> best answers with their probabilities.
    pub n_best: BTreeMap<String, Vec<NBest>>,
    /// v2.0: question id -> by how much "no answer" exceeds the best answer.
    pub null_odds: BTreeMap<String, f64>,
    /// The official scores, where the dataset has gold answers.
    pub gold: Option<Gold>,
}

/// Official scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gold {
    /// Of v1.1.
    V1(Scores),
    /// Of v2.0.
    V2(ScoresV2),
}

impl Evaluation {
    /// The official scores under their official names, in percent, with the number of questions; only that without gold answers.
    pub fn scores(&self) -> Map<String, Value> {
        let mut scores = Map::from_iter([("num_examples".to_owned(), json!(self.predictions.len()))]);
        match self.gold {
            Some(Gold::V1(Scores { exact_match, f1 })) => {
                scores.insert("exact_match".to_owned(), json!(exact_match));
                scores.insert("f1".to_owned(), json!(f1));
            }
            Some(Gold::V2(gold)) => scores.extend(gold.fields()),
            None => {}
        }
        scores
    }

    /// The scores for people.
    pub fn words(&self) -> String {
        match self.gold {
            Some(Gold::V1(Scores { exact_match, f1 })) => format!("exact match {exact_match:.2} F1 {f1:.2}"),
            Some(Gold::V2(ScoresV2 { all, best_f1, .. })) => {
                let (best, threshold) = (best_f1.score, best_f1.threshold);
                format!("exact {:.2} F1 {:.2} (at best {best:.2}, at threshold {threshold:.2})", all.exact, all.f1)
            }
            None => format!("{} predictions", self.predictions.len()),
        }
    }

    /// Publishes predictions.json, nbest_predictions.json, eval.json, and for v2.0 null_odds.json, in `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join("predictions.json"), &self.predictions)?;
        write_json(&dir.join("nbest_predictions.json"), &self.n_best)?;
        if !self.null_odds.is_empty() {
            write_json(&dir.join("null_odds.json"), &self.null_odds)?;
        }
        write_json(&dir.join("eval.json"), &self.scores())
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

/// What the windows of a question propose.
#[derive(Default)]
struct Proposals {
    candidates: Vec<Candidate>,
    /// What each window says for there being no answer.
    nulls: Vec<Candidate>,
}

/// Answers every question of `dataset`; `None` if a signal came first.
///
/// # Errors
/// The dataset is damaged or does not fit the model; a process is lost.
pub fn evaluate(
    bert: &Bert,
    dataset: &Arc<Dataset>,
    answers: &AnswerConfig,
    sweep: &Sweep<'_>,
) -> Result<Option<Evaluation>> {
    let examples = read_examples(dataset)?;
    let by_id: BTreeMap<&str, &Example> = examples.iter().map(|example| (example.id.as_str(), example)).collect();
    let gather = SquadGather(Arc::clone(dataset));
    let mut found: BTreeMap<&str, Proposals> = BTreeMap::new();
    // Of each window the start logits, then the end logits.
    let forward = |SquadBatch { sequences, .. }: &SquadBatch| {
        let (starts, ends) = question_answering_logits(bert, sequences)?;
        let tokens = sequences.cu_seqlens.windows(2).map(|w| w[0] as usize..w[1] as usize);
        let logits = tokens.map(|tokens| [&starts[tokens.clone()], &ends[tokens]].concat());
        Ok(sequences.rows.iter().copied().zip(logits).collect())
    };
    let width = |row| Ok(2 * SquadGather(Arc::clone(dataset)).row_length(row)?);
    let is_done = sweep.rows(gather, EVALUATED_AT_ONCE, width, forward, |row, logits| {
        let (id, proposed, null) = window_candidates(dataset, &by_id, row, logits, answers)?;
        let proposals = found.entry(id).or_default();
        proposals.candidates.extend(proposed);
        proposals.nulls.push(null);
        Ok(())
    })?;
    Ok(is_done.then(|| finish(SquadVersion::of(dataset.manifest()), &examples, found, answers)))
}

/// The question that window `row` is of, the answers it proposes, and what it says for there being none.
fn window_candidates<'e>(
    dataset: &Dataset,
    by_id: &BTreeMap<&'e str, &'e Example>,
    row: u64,
    logits: &[f32],
    answers: &AnswerConfig,
) -> Result<(&'e str, Vec<Candidate>, Candidate)> {
    let row = dataset.squad_row(row)?;
    let Some(&example) = by_id.get(row.example_id) else {
        let message = format!("expected question {:?} of the shards, found none; rebuild the dataset", row.example_id);
        return Err(Error::file(dataset.dir().join(EXAMPLES), message));
    };
    let (start_logits, end_logits) = logits.split_at(logits.len() / 2);
    let first = usize::from(row.segment_a_length);
    let context = first..first + row.context_starts.len();
    let window = Window {
        number: row.window,
        context_starts: row.context_starts,
        context_ends: row.context_ends,
        max_context: row.max_context,
        start_logits: &start_logits[context.clone()],
        end_logits: &end_logits[context],
    };
    let null = Candidate::none(row.window, start_logits[0], end_logits[0]);
    Ok((example.id.as_str(), candidates(&example.context, &window, answers), null))
}

fn finish(
    version: SquadVersion,
    examples: &[Example],
    mut found: BTreeMap<&str, Proposals>,
    answers: &AnswerConfig,
) -> Evaluation {
    let mut evaluation = Evaluation::default();
    for example in examples {
        let Proposals { candidates, nulls } = found.remove(example.id.as_str()).unwrap_or_default();
        let answered = match version {
            SquadVersion::V1 => answer(candidates, answers),
            SquadVersion::V2 => answer_or_none(candidates, nulls, answers),
        };
        evaluation.predictions.insert(example.id.clone(), answered.text);
        evaluation.n_best.insert(example.id.clone(), answered.n_best);
        evaluation.null_odds.extend(answered.null_odds.map(|odds| (example.id.clone(), odds)));
    }
    let has_answers = examples.iter().any(|example| !example.answers.is_empty());
    evaluation.gold = match version {
        SquadVersion::V1 if has_answers => Some(Gold::V1(squad::evaluate(examples, &evaluation.predictions))),
        SquadVersion::V1 => None,
        SquadVersion::V2 => {
            Some(Gold::V2(squad::evaluate_v2(examples, &evaluation.predictions, &evaluation.null_odds)))
        }
    };
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
