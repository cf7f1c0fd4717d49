//! Scores and predictions of a fine-tuned checkpoint, without training.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::data;
use crate::error::Result;
use crate::finetune::{FinetuneTask, Sweep, glue, squad};
use crate::interop::huggingface::Missing;
use crate::metrics::answers::AnswerConfig;
use crate::model::{Bert, Head};
use crate::progress::{duration, say};
use crate::recipe::{RunSection, validate_evaluation};
use crate::run::{self, Signals};
use crate::setup::{self, Origin};
use crate::summary::Summary;
use crate::world::{Group, World};

/// What an evaluation is given.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// The task.
    pub task: FinetuneTask,
    /// Dataset to answer; scores need labels or gold answers.
    pub data: PathBuf,
    /// Fine-tuned model directory, checkpoint or run.
    pub checkpoint: PathBuf,
    /// Where predictions, eval.json and summary.json go.
    pub out: PathBuf,
    /// Device, threads and precision; nothing else of it matters here.
    pub run: RunSection,
    /// Bound on sequences times longest sequence of a forward pass.
    pub batch_tokens: u64,
    /// How SQuAD's answers are searched.
    pub answers: AnswerConfig,
}

/// Evaluates a checkpoint; writes predictions and, where there is gold, eval.json.
///
/// # Errors
/// Bad input, or a signal: an evaluation leaves nothing half done.
pub fn run(options: &EvaluateOptions) -> Result<Summary> {
    let started = Instant::now();
    validate_evaluation(&options.run, options.batch_tokens, &options.answers)?;
    let signals = Signals::listen()?;
    let mut run = options.run.clone();
    let device = setup::start_torch(&mut run, &World::alone())?;
    let dataset = data::open(&options.data, options.task.kind())?;
    let origin = Origin::open(&options.checkpoint)?;
    if !data::check_vocabulary(&dataset, &origin.dir, origin.config.vocab_size)? {
        say(&format!("{}: no vocab.txt, taking the dataset's vocabulary for the model's", origin.dir.display()));
    }
    data::check_length(&dataset, origin.config.max_position_embeddings)?;
    let mut bert = Bert::new(origin.config.clone(), head(options.task, &origin), device, 0)?;
    origin.load(&mut bert, Missing::Forbidden)?;
    bert.set_precision(run.precision);
    let _locked = run::lock_output(&options.out)?;
    let mut summary = Summary::default();
    let command = format!("evaluate {}", options.task.name());
    summary.add("command", command.clone(), command);
    let sweep = Sweep { batch_tokens: options.batch_tokens, signals: &signals, group: &Group::alone() };
    let scores = match options.task {
        FinetuneTask::Squad => squad::evaluate(&bert, &dataset, &options.answers, &sweep)?
            .map(|evaluation| evaluation.write(&options.out).map(|()| evaluation.scores())),
        FinetuneTask::Glue => glue::evaluate(&bert, &dataset, &sweep)?
            .map(|evaluation| evaluation.write(&options.out).map(|()| evaluation.scores())),
    };
    let Some(scores) = scores.transpose()? else {
        summary.stopped_by = signals.received();
        return Ok(summary);
    };
    add_scores(&mut summary, scores);
    let seconds = started.elapsed().as_secs_f64();
    summary.add("seconds", seconds, duration(seconds));
    summary.add("out", options.out.display().to_string(), options.out.display().to_string());
    summary.write(&options.out)?;
    Ok(summary)
}

/// The head a fine-tuned model was saved with: its own number of labels, wherever the rows come from.
fn head(task: FinetuneTask, origin: &Origin) -> Head {
    match task {
        FinetuneTask::Squad => Head::QuestionAnswering,
        FinetuneTask::Glue => Head::SequenceClassification { num_labels: origin.config.num_labels() },
    }
}

fn add_scores(summary: &mut Summary, scores: Map<String, Value>) {
    for (key, value) in scores {
        let text = match value.as_f64() {
            Some(number) if value.is_f64() => format!("{number:.4}"),
            _ => value.to_string(),
        };
        summary.add(&key, value, text);
    }
}
