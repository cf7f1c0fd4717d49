//! Fine-tuning on labelled examples: AdamW, linear warm-up and decay, an evaluation after every epoch.

pub mod glue;
pub mod squad;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, iter};

use cloze_formats::dataset::Dataset;
use cloze_formats::manifest::Kind;
use cloze_formats::stream::{Cursor, Stream, StreamConfig};
use serde_json::{Map, Value, json};
use tch::Device;

use crate::checkpoint::Position;
use crate::data;
use crate::error::{Error, Result};
use crate::interop::huggingface::Missing;
use crate::log;
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};
use crate::optim::{AdamW, AdamWConfig, Schedule};
use crate::plan::{self, Plan};
use crate::progress::{say, thousands};
use crate::recipe::{AdamwSection, FinetuneRecipe};
use crate::run::{RunDir, Signals};
use crate::setup::{self, Origin, Resolve, Resumed};
use crate::summary::{self, Summary};
use crate::trainer::{Measurement, Outcome, Task, Trainer};

/// What can be fine-tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinetuneTask {
    /// SQuAD v1.1 or v2.0.
    Squad,
    /// A task of GLUE.
    Glue,
}

impl FinetuneTask {
    /// Name in state.json, on the command line and of the dataset's kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squad => "squad",
            Self::Glue => "glue",
        }
    }

    /// Kind of its datasets.
    pub fn kind(self) -> Kind {
        match self {
            Self::Squad => Kind::Squad,
            Self::Glue => Kind::Glue,
        }
    }

    /// The head for the labels in `dataset`.
    pub fn head(self, dataset: &Dataset) -> Head {
        match self {
            Self::Squad => Head::QuestionAnswering,
            Self::Glue => Head::SequenceClassification { num_labels: glue::num_labels(dataset) },
        }
    }
}

/// What a fine-tuning run is given beside its recipe.
#[derive(Clone, Debug)]
pub struct FinetuneOptions {
    /// The task.
    pub task: FinetuneTask,
    /// Dataset to learn from.
    pub data: PathBuf,
    /// Datasets to evaluate on.
    pub dev: Vec<PathBuf>,
    /// Run directory.
    pub out: PathBuf,
    /// Model, checkpoint or run to start from; needed unless a run is resumed.
    pub init: Option<PathBuf>,
    /// Go on with the run in `out`.
    pub resume: bool,
}

/// Fine-tunes a BERT.
///
/// # Errors
/// Bad input; a published checkpoint is never harmed.
pub fn run(options: &FinetuneOptions, resolve: Resolve<'_, FinetuneRecipe>) -> Result<Summary> {
    let signals = Signals::listen()?;
    let resumed = setup::resume(options.resume, options.init.as_deref(), &options.out, options.task.name())?;
    let (recipe, device) = setup::settle(resolve, resumed.as_ref())?;
    let train = data::open(&options.data, options.task.kind())?;
    let dev = dev_sets(&options.dev, options.task)?;
    let origin = origin(options, resumed.as_ref())?;
    check_fit(&train, &dev, &origin)?;
    if let Some(resumed) = &resumed {
        data::check_same(&train, &resumed.dir, &resumed.state)?;
    }
    let (bert, optimizer, position) = start(options.task, &recipe, &train, device, &origin, resumed.as_ref())?;
    let total_steps = (recipe.schedule.epochs * train.len()).div_ceil(recipe.data.global_batch_size);
    let begun = Begun { options, recipe, train, dev, bert, optimizer, position, total_steps, signals, resumed };
    match options.task {
        FinetuneTask::Squad => squad::train(begun),
        FinetuneTask::Glue => glue::train(begun),
    }
}

/// A run that is ready for its task's first step.
struct Begun<'a> {
    options: &'a FinetuneOptions,
    recipe: FinetuneRecipe,
    train: Arc<Dataset>,
    dev: Vec<DevSet>,
    bert: Bert,
    optimizer: AdamW,
    position: Position,
    total_steps: u64,
    signals: Signals,
    resumed: Option<Resumed>,
}

impl Begun<'_> {
    /// Trains `task`, fed by `gather`, to its end or to a signal.
    fn train<T: Task>(self, gather: T::Gather, mut task: T) -> Result<Summary> {
        let Self { options, recipe, train, dev: _, bert, optimizer, position, total_steps, signals, resumed } = self;
        let stream = Arc::new(Stream::new(gather, stream_config(&recipe)));
        print_plan(&recipe, &bert, &train, &stream, position.cursor, total_steps)?;
        let (run, saved) = setup::enter(resumed, &options.out)?;
        let trainer = Trainer {
            run: &run,
            settings: &recipe.run,
            recipe: serde_json::to_value(&recipe).map_err(|e| Error::Invalid(e.to_string()))?,
            bert,
            optimizer: Box::new(optimizer),
            schedule: Schedule::linear(recipe.optimizer.learning_rate, recipe.schedule.warmup_fraction, total_steps)?,
            total_steps,
            data: data::identity(&train),
            dataset: &train,
            vocabulary: train.vocabulary().bytes().to_vec(),
            position,
            saved,
            signals,
        };
        let (bert, outcome) = trainer.train(&mut task, &stream)?;
        let summary = summarize(options.task, &run, &bert, &outcome)?;
        summary.write(run.path())?;
        Ok(summary)
    }
}

/// A dataset to evaluate on.
#[derive(Clone)]
struct DevSet {
    /// What its scores and predictions go by where there are several: the name of its directory.
    name: Option<String>,
    dataset: Arc<Dataset>,
}

fn dev_sets(dirs: &[PathBuf], task: FinetuneTask) -> Result<Vec<DevSet>> {
    let mut sets: Vec<DevSet> = Vec::new();
    for dir in dirs {
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|_| dirs.len() > 1);
        if sets.iter().any(|set| set.name == name) {
            let message = "expected directories of different names to evaluate on, found this name twice".to_owned();
            return Err(Error::file(dir, message));
        }
        sets.push(DevSet { name, dataset: data::open(dir, task.kind())? });
    }
    Ok(sets)
}

/// What an evaluation found.
trait Evaluated {
    /// Scores for logs and eval.json.
    fn scores(&self) -> Map<String, Value>;
    /// The scores for people.
    fn words(&self) -> String;
    /// Publishes predictions and eval.json in `dir`.
    fn write(&self, dir: &Path) -> Result<()>;
}

/// Evaluates on one set after the other; `None` if a signal came first. Of several, each has its directory below `out`, and its name
/// in front of its scores.
fn measure<E: Evaluated>(
    dev: &[DevSet],
    out: &Path,
    mut evaluate: impl FnMut(&Arc<Dataset>) -> Result<Option<E>>,
) -> Result<Option<Measurement>> {
    let (mut fields, mut words) = (Map::new(), Vec::new());
    for DevSet { name, dataset } in dev {
        let Some(evaluation) = evaluate(dataset)? else { return Ok(None) };
        let Some(name) = name else {
            evaluation.write(out)?;
            fields.extend(evaluation.scores());
            words.push(evaluation.words());
            continue;
        };
        let dir = out.join(name);
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        evaluation.write(&dir)?;
        fields.extend(evaluation.scores().into_iter().map(|(key, value)| (format!("{name}/{key}"), value)));
        words.push(format!("{name}: {}", evaluation.words()));
    }
    Ok(Some(Measurement { kind: "evaluation", fields, words: words.join("; ") }))
}

/// Whether an evaluation is due: an epoch has ended since the last one, or the run is at its end.
fn evaluation_due(position: &Position, total_steps: u64) -> bool {
    position.cursor.epoch > position.measured_epoch || position.step == total_steps
}

fn origin(options: &FinetuneOptions, resumed: Option<&Resumed>) -> Result<Origin> {
    match (resumed, &options.init) {
        (Some(resumed), _) => Origin::open(&resumed.dir),
        (None, Some(init)) => Origin::open(init),
        (None, None) => {
            Err(Error::Invalid("expected --init MODEL to fine-tune (or --resume), found neither".to_owned()))
        }
    }
}

fn check_fit(train: &Dataset, dev: &[DevSet], origin: &Origin) -> Result<()> {
    let BertConfig { vocab_size, max_position_embeddings, .. } = origin.config;
    let dev = || dev.iter().map(|set| &*set.dataset);
    for dataset in iter::once(train).chain(dev()) {
        if !data::check_vocabulary(dataset, &origin.dir, vocab_size)? {
            say(&format!("{}: no vocab.txt, taking the dataset's vocabulary for the model's", origin.dir.display()));
        }
        data::check_length(dataset, max_position_embeddings)?;
    }
    dev().try_for_each(|dev| data::check_vocabularies(train, dev))
}

fn stream_config(recipe: &FinetuneRecipe) -> StreamConfig {
    StreamConfig {
        global_batch_size: recipe.data.global_batch_size,
        micro_batch_tokens: recipe.data.micro_batch_tokens(),
        seed: recipe.run.seed,
        ..StreamConfig::default()
    }
}

/// Model, optimizer, position and torch's generator, new or as a checkpoint has them.
fn start(
    task: FinetuneTask,
    recipe: &FinetuneRecipe,
    train: &Dataset,
    device: Device,
    origin: &Origin,
    resumed: Option<&Resumed>,
) -> Result<(Bert, AdamW, Position)> {
    let mut config = origin.config.clone();
    if task == FinetuneTask::Glue {
        glue::name_labels(&mut config, train);
    }
    let mut bert = Bert::new(config, task.head(train), device, recipe.run.seed)?;
    origin.load(&mut bert, if resumed.is_some() { Missing::Forbidden } else { Missing::HeadMayBeNew })?;
    let mut optimizer = AdamW::new(bert.parameters(), adamw(&recipe.optimizer))?;
    tch::manual_seed(recipe.run.seed as i64);
    let Some(resumed) = resumed else { return Ok((bert, optimizer, Position::default())) };
    setup::restore(resumed, &mut optimizer, device)?;
    Ok((bert, optimizer, resumed.state.position.clone()))
}

fn adamw(section: &AdamwSection) -> AdamWConfig {
    AdamWConfig {
        beta1: section.beta1,
        beta2: section.beta2,
        epsilon: section.epsilon,
        weight_decay: section.weight_decay,
        max_gradient_norm: section.max_grad_norm,
    }
}

fn print_plan<G: cloze_formats::stream::Gather>(
    recipe: &FinetuneRecipe,
    bert: &Bert,
    train: &Dataset,
    stream: &Stream<G>,
    cursor: Cursor,
    total_steps: u64,
) -> Result<()> {
    let first = stream.global_batch(cursor)?;
    let section = &recipe.data;
    let num_parameters = bert.parameters().num_parameters();
    let (mean_len, _) = data::mean_lengths(train);
    let mut plan = Plan::default();
    plan.add_model(bert.config(), num_parameters);
    plan.add("device", format!("{}, {} threads", recipe.run.device, recipe.run.threads.unwrap_or(1)));
    plan.add_length(train.len(), section.global_batch_size, total_steps);
    plan.add_step(section.global_batch_size, first.micro_batches.len(), first.num_tokens);
    plan.add("tokens per instance", format!("{mean_len:.1}, at most {}", train.longest_row()));
    let warmup = recipe.schedule.warmup_fraction * total_steps as f64;
    plan.add("learning rate", format!("{:e}, {warmup:.0} steps of warm-up", recipe.optimizer.learning_rate));
    plan.add("work per step", plan::flops(plan::flops_per_step(bert.config(), train, section.global_batch_size, 0.0)));
    let longest = train.longest_row() as u64;
    let memory = plan::memory_estimate(bert.config(), num_parameters, section.micro_batch_tokens(), longest, 0.0);
    plan.add("memory", format!("about {}", plan::bytes(memory)));
    say(plan.render().trim_end());
    Ok(())
}

fn summarize(task: FinetuneTask, run: &RunDir, bert: &Bert, outcome: &Outcome) -> Result<Summary> {
    let mut summary = Summary::default();
    summary.add("command", format!("finetune {}", task.name()), format!("finetune {}", task.name()));
    let position = &outcome.position;
    summary.add("steps", position.step, format!("{} ({} skipped)", thousands(position.step), position.num_skipped));
    let num_parameters = bert.parameters().num_parameters();
    summary.add("parameters", num_parameters, thousands(num_parameters.unsigned_abs()));
    let steps = log::rows(run.path(), |row| row["kind"] == "step")?;
    if let Some(text) = summary::first_to_last(&steps, "loss") {
        summary.add("loss", json!({"first": steps[0]["loss"], "last": steps[steps.len() - 1]["loss"]}), text);
    }
    let evaluations = log::rows(run.path(), |row| row["kind"] == "evaluation")?;
    let last = evaluations.last().and_then(Value::as_object);
    for key in last.into_iter().flat_map(Map::keys).filter(|key| is_score(key)) {
        let scores: Vec<f64> = evaluations.iter().filter_map(|row| row[key].as_f64()).collect();
        if let Some(&last) = scores.last() {
            let texts: Vec<String> = scores.iter().map(|score| format!("{score:.4}")).collect();
            summary.add(key, Value::from(last), format!("{last:.4} (by epoch: {})", texts.join(", ")));
        }
    }
    summary.add_end(run.path(), outcome);
    Ok(summary)
}

/// Scores that a run's summary tells of; the names of several evaluation sets stand before them.
fn is_score(key: &str) -> bool {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    ["accuracy", "f1", "mcc", "pearson", "spearman", "exact_match", "exact", "best_exact", "best_f1"].contains(&name)
}
