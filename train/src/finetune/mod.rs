//! Fine-tuning on labelled examples, with an evaluation after every epoch.

pub mod glue;
pub mod squad;
mod sweep;

use std::path::{Path, PathBuf};
use std::rc::Rc;
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
use crate::optim::{Optimizer, Schedule};
use crate::plan::{self, Computing, Plan};
use crate::progress::{say, thousands};
use crate::recipe::FinetuneRecipe;
use crate::run::Signals;
use crate::setup::{self, Origin, Resolve, Resumed};
use crate::summary::{self, Summary};
use crate::trainer::{Measurement, Outcome, Task, Trainer};
use crate::world::{DataParallel, Group, Patience, World};
pub use sweep::Sweep;

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
    /// How long processes wait for each other.
    pub patience: Patience,
}

/// Fine-tunes a BERT.
///
/// # Errors
/// Bad input; a published checkpoint is never harmed.
pub fn run(options: &FinetuneOptions, resolve: Resolve<'_, FinetuneRecipe>) -> Result<Summary> {
    let signals = Signals::listen()?;
    let group = Rc::new(Group::join(World::from_environment()?, options.patience)?);
    let resumed = setup::resume(options.resume, options.init.as_deref(), &options.out, options.task.name(), &group)?;
    let begun = prepare(options, resolve, resumed, Rc::clone(&group), signals);
    let begun = group.agree(begun)?;
    match options.task {
        FinetuneTask::Squad => squad::train(begun),
        FinetuneTask::Glue => glue::train(begun),
    }
}

/// All that one process does before the first step, and that may fail.
fn prepare<'a>(
    options: &'a FinetuneOptions,
    resolve: Resolve<'_, FinetuneRecipe>,
    resumed: Option<Resumed>,
    group: Rc<Group>,
    signals: Signals,
) -> Result<Begun<'a>> {
    let (recipe, device) = setup::settle(resolve, resumed.as_ref(), group.world())?;
    let train = data::open(&options.data, options.task.kind())?;
    let dev = dev_sets(&options.dev, options.task)?;
    let origin = origin(options, resumed.as_ref())?;
    check_fit(&train, &dev, &origin)?;
    if let Some(resumed) = &resumed {
        data::check_same(&train, &resumed.dir, &resumed.state)?;
    }
    let (bert, optimizer, position) = start(options.task, &recipe, &train, device, &origin, resumed.as_ref())?;
    let total_steps = (recipe.schedule.epochs * train.len()).div_ceil(recipe.data.global_batch_size);
    Ok(Begun { options, recipe, train, dev, bert, optimizer, position, total_steps, signals, resumed, group })
}

/// A run that is ready for its task's first step.
struct Begun<'a> {
    options: &'a FinetuneOptions,
    recipe: FinetuneRecipe,
    train: Arc<Dataset>,
    dev: Vec<DevSet>,
    bert: Bert,
    optimizer: Box<dyn Optimizer>,
    position: Position,
    total_steps: u64,
    signals: Signals,
    resumed: Option<Resumed>,
    group: Rc<Group>,
}

impl Begun<'_> {
    /// Trains `task`, fed by `gather`, to its end or to a signal.
    fn train<T: Task>(self, gather: T::Gather, mut task: T) -> Result<Summary> {
        let Self { options, recipe, train, dev, bert, optimizer, position, total_steps, signals, resumed, group } =
            self;
        let stream = Arc::new(Stream::new(gather, stream_config(&recipe, group.world())));
        let planned = print_plan(&recipe, &bert, &train, &stream, position.cursor, total_steps, group.world());
        group.agree(planned)?;
        setup::same(&group, &recipe, &train, dev.iter().map(|set| &*set.dataset))?;
        let (_locked, saved) = setup::enter(resumed, &options.out, &group)?;
        let is_first = group.is_first();
        let trainer = Trainer {
            run: &options.out,
            parallel: DataParallel::new(group, bert.parameters())?,
            settings: &recipe.run,
            recipe: serde_json::to_value(&recipe).map_err(|e| Error::Invalid(e.to_string()))?,
            bert,
            optimizer,
            schedule: schedule(&recipe, total_steps)?,
            total_steps,
            data: data::identity(&train),
            dataset: &train,
            vocabulary: train.vocabulary().bytes().to_vec(),
            position,
            saved,
            signals,
        };
        let (bert, outcome) = trainer.train(&mut task, &stream)?;
        if !is_first {
            return Ok(Summary::of_another(&outcome));
        }
        let summary = summarize(options.task, &options.out, &bert, &outcome)?;
        summary.write(&options.out)?;
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
/// in front of its scores. `is_first` of the processes writes for all.
fn measure<E: Evaluated>(
    dev: &[DevSet],
    out: &Path,
    is_first: bool,
    mut evaluate: impl FnMut(&Arc<Dataset>) -> Result<Option<E>>,
) -> Result<Option<Measurement>> {
    let (mut fields, mut words) = (Map::new(), Vec::new());
    for DevSet { name, dataset } in dev {
        let Some(evaluation) = evaluate(dataset)? else { return Ok(None) };
        let dir = name.as_ref().map_or(out.to_owned(), |name| out.join(name));
        if is_first {
            fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
            evaluation.write(&dir)?;
        }
        let Some(name) = name else {
            fields.extend(evaluation.scores());
            words.push(evaluation.words());
            continue;
        };
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

fn stream_config(recipe: &FinetuneRecipe, world: &World) -> StreamConfig {
    StreamConfig {
        global_batch_size: recipe.data.global_batch_size,
        micro_batch_tokens: recipe.data.micro_batch_tokens(),
        seed: recipe.run.seed,
        rank: world.rank,
        world_size: world.world_size,
        num_workers: setup::num_workers(&recipe.run, world),
        ..StreamConfig::default()
    }
}

/// Model, optimizer and position, new or as a checkpoint has them.
fn start(
    task: FinetuneTask,
    recipe: &FinetuneRecipe,
    train: &Dataset,
    device: Device,
    origin: &Origin,
    resumed: Option<&Resumed>,
) -> Result<(Bert, Box<dyn Optimizer>, Position)> {
    let mut config = origin.config.clone();
    if task == FinetuneTask::Glue {
        glue::name_labels(&mut config, train);
    }
    let mut bert = Bert::new(config, task.head(train), device, recipe.run.seed)?;
    origin.load(&mut bert, if resumed.is_some() { Missing::Forbidden } else { Missing::HeadMayBeNew })?;
    bert.set_precision(recipe.run.precision);
    let mut optimizer = recipe.optimizer.config().build(bert.parameters())?;
    let Some(resumed) = resumed else { return Ok((bert, optimizer, Position::default())) };
    setup::restore(resumed, optimizer.as_mut())?;
    Ok((bert, optimizer, resumed.state.position.clone()))
}

fn schedule(recipe: &FinetuneRecipe, total_steps: u64) -> Result<Schedule> {
    let section = &recipe.schedule;
    Schedule::new(section.curve, recipe.optimizer.learning_rate(), section.warmup_fraction, total_steps)
}

fn print_plan<G: cloze_formats::stream::Gather>(
    recipe: &FinetuneRecipe,
    bert: &Bert,
    train: &Dataset,
    stream: &Stream<G>,
    cursor: Cursor,
    total_steps: u64,
    world: &World,
) -> Result<()> {
    let first = stream.global_batch(cursor)?;
    let section = &recipe.data;
    let num_parameters = bert.parameters().num_parameters();
    let (mean_len, _) = data::mean_lengths(train);
    let mut plan = Plan::default();
    plan.add_model(bert.config(), num_parameters);
    plan.add("device", format!("{}, {} threads", recipe.run.device, recipe.run.threads.unwrap_or(1)));
    plan.add("precision", recipe.run.precision.name());
    plan.add_world(world);
    plan.add_length("examples", train.len(), section.global_batch_size, total_steps);
    plan.add_step("examples per step", section.global_batch_size, first.micro_batches.len(), first.num_tokens);
    plan.add("tokens per example", format!("{mean_len:.1}, at most {}", train.longest_row()));
    let warmup = recipe.schedule.warmup_fraction * total_steps as f64;
    plan.add("learning rate", format!("{:e}, {warmup:.0} steps of warm-up", recipe.optimizer.learning_rate()));
    let work = plan::flops_per_step(bert.config(), bert.head(), train, section.global_batch_size, 0.0);
    plan.add("work per step", plan::flops(work));
    let longest = train.longest_row() as u64;
    let on_gpu = bert.device() != Device::Cpu;
    let num_workers = stream.config().num_workers;
    let computing = Computing { precision: recipe.run.precision, on_gpu, num_workers };
    let tokens = section.micro_batch_tokens();
    let memory = plan::memory_estimate(bert.config(), num_parameters, computing, tokens, longest, 0.0);
    plan.add("memory", format!("about {}", plan::bytes(memory)));
    say(plan.render().trim_end());
    Ok(())
}

fn summarize(task: FinetuneTask, run: &Path, bert: &Bert, outcome: &Outcome) -> Result<Summary> {
    let mut summary = Summary::default();
    summary.add("command", format!("finetune {}", task.name()), format!("finetune {}", task.name()));
    let position = &outcome.position;
    summary.add("steps", position.step, format!("{} ({} skipped)", thousands(position.step), position.num_skipped));
    let num_parameters = bert.parameters().num_parameters();
    summary.add("parameters", num_parameters, thousands(num_parameters.unsigned_abs()));
    let steps = log::rows(run, |row| row["kind"] == "step")?;
    if let Some(text) = summary::first_to_last(&steps, "loss") {
        summary.add("loss", json!({"first": steps[0]["loss"], "last": steps[steps.len() - 1]["loss"]}), text);
    }
    let evaluations = log::rows(run, |row| row["kind"] == "evaluation")?;
    let last = evaluations.last().and_then(Value::as_object);
    for key in last.into_iter().flat_map(Map::keys).filter(|key| is_score(key)) {
        let scores: Vec<f64> = evaluations.iter().filter_map(|row| row[key].as_f64()).collect();
        if let Some(&last) = scores.last() {
            let texts: Vec<String> = scores.iter().map(|score| format!("{score:.4}")).collect();
            summary.add(key, Value::from(last), format!("{last:.4} (by epoch: {})", texts.join(", ")));
        }
    }
    summary.add_end(run, outcome);
    Ok(summary)
}

/// Scores that a run's summary tells of; the names of several evaluation sets stand before them.
fn is_score(key: &str) -> bool {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    ["accuracy", "f1", "mcc", "pearson", "spearman", "exact_match", "exact", "best_exact", "best_f1"].contains(&name)
}
