//! Pre-training: masked language model and next-sentence prediction, phases 1 and 2.

mod task;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use cloze_formats::dataset::Dataset;
use cloze_formats::manifest::Kind;
use cloze_formats::masking::MaskingConfig;
use cloze_formats::stream::{Cursor, GlobalBatch, Masking, PretrainBatch, PretrainGather, Stream, StreamConfig};
use serde_json::{Value, json};
use tch::Device;

use crate::checkpoint::{self, Position};
use crate::data;
use crate::dry_run::Planned;
use crate::error::{Error, Result};
use crate::interop::huggingface::Missing;
use crate::interop::moments;
use crate::log;
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};
use crate::optim::{Optimizer, Schedule};
use crate::progress::{say, thousands};
use crate::recipe::{MaskingMode, Preset, PretrainData, PretrainRecipe};
use crate::run::Signals;
use crate::setup::{self, Origin, Resolve, Resumed};
use crate::summary::{self, Summary};
use crate::trainer::{Outcome, Trainer};
use crate::world::{DataParallel, Group, Patience, World};
use task::{HeldOut, Pretrain};

const TASK: &str = "pretrain";

/// What a pre-training run is given beside its recipe.
#[derive(Clone, Debug)]
pub struct PretrainOptions {
    /// Dataset to learn from.
    pub data: PathBuf,
    /// Dataset to measure on; by default `held-out` in `data`, if it is there.
    pub held_out: Option<PathBuf>,
    /// Run directory.
    pub out: PathBuf,
    /// Model, checkpoint or run whose weights (and moments) to start from.
    pub init: Option<PathBuf>,
    /// Go on with the run in `out`.
    pub resume: bool,
    /// The machine that micro-batches are fitted to, in place of the recipe's bound.
    pub fit: Option<Preset>,
    /// How long processes wait for each other.
    pub patience: Patience,
}

/// What a dry run is given beside.
#[derive(Clone, Copy, Debug)]
pub struct DryRun {
    /// Floating-point operations a second of one device, in 10^12, for the estimate of time; measured here where absent.
    pub tflops: Option<f64>,
    /// The machine that the plan is for, where it is not this one.
    pub preset: Option<Preset>,
}

/// Pre-trains a BERT.
///
/// # Errors
/// Bad input; a published checkpoint is never harmed.
pub fn run(options: &PretrainOptions, resolve: Resolve<'_, PretrainRecipe>) -> Result<Summary> {
    let signals = Signals::listen()?;
    let group = Rc::new(Group::join(World::from_environment()?, options.patience)?);
    let resumed = setup::resume(options.resume, options.init.as_deref(), &options.out, TASK, &group)?;
    let ready = group.agree(ready(options, resolve, resumed, &group))?;
    train(options, ready, group, signals)
}

/// A run that can begin.
struct Ready {
    recipe: PretrainRecipe,
    dataset: Arc<Dataset>,
    held_out: Option<HeldOut>,
    bert: Bert,
    optimizer: Box<dyn Optimizer>,
    position: Position,
    stream: Arc<Stream<PretrainGather>>,
    resumed: Option<Resumed>,
}

/// All that one process does before the first step, and that may fail.
fn ready(
    options: &PretrainOptions,
    resolve: Resolve<'_, PretrainRecipe>,
    resumed: Option<Resumed>,
    group: &Group,
) -> Result<Ready> {
    let world = group.world();
    let Prepared { recipe, device, dataset, origin, config, held_out } =
        prepare(options, resolve, resumed.as_ref(), world)?;
    let (bert, optimizer, position) = start(&recipe, config.clone(), device, origin.as_ref(), resumed.as_ref())?;
    if let Some(resumed) = &resumed {
        data::check_same(&dataset, &resumed.dir, &resumed.state)?;
    }
    let stream = Arc::new(stream(&recipe, &dataset, world)?);
    let first = stream.global_batch(position.cursor)?;
    let planned = planned(&recipe, &config, &dataset, origin.as_ref(), &first, None, world)?;
    say(planned.plan().render().trim_end());
    Ok(Ready { recipe, dataset, held_out, bert, optimizer, position, stream, resumed })
}

fn train(options: &PretrainOptions, ready: Ready, group: Rc<Group>, signals: Signals) -> Result<Summary> {
    let Ready { recipe, dataset, held_out, bert, optimizer, position, stream, resumed } = ready;
    setup::same(&group, &recipe, &dataset, held_out.iter().map(|held_out| &*held_out.dataset))?;
    let (_locked, saved) = setup::enter(resumed, &options.out, &group)?;
    let is_first = group.is_first();
    let trainer = Trainer {
        run: &options.out,
        parallel: DataParallel::new(group, bert.parameters())?,
        settings: &recipe.run,
        recipe: serde_json::to_value(&recipe).map_err(|e| Error::Invalid(e.to_string()))?,
        bert,
        optimizer,
        schedule: schedule(&recipe)?,
        total_steps: recipe.schedule.steps,
        data: data::identity(&dataset),
        dataset: &dataset,
        vocabulary: dataset.vocabulary().bytes().to_vec(),
        position,
        saved,
        signals,
    };
    let mut task = Pretrain { held_out, held_out_every: recipe.data.held_out_every };
    let (bert, outcome) = trainer.train(&mut task, &stream)?;
    if !is_first {
        return Ok(Summary::of_another(&outcome));
    }
    let summary = summarize(&options.out, &bert, &outcome)?;
    summary.write(&options.out)?;
    Ok(summary)
}

/// Says what a run would do, without a run directory.
///
/// # Errors
/// Bad input, as [`run`] would find it.
pub fn dry_run(options: &PretrainOptions, resolve: Resolve<'_, PretrainRecipe>, dry: DryRun) -> Result<Summary> {
    if let Some(tflops) = dry.tflops.filter(|tflops| !(*tflops > 0.0 && tflops.is_finite())) {
        return Err(Error::Invalid(format!("tflops: expected a positive number, found {tflops}")));
    }
    let world = World::from_environment()?;
    if !world.is_first() {
        return Ok(Summary::default());
    }
    let Prepared { recipe, device, dataset, origin, config, .. } = prepare(options, resolve, None, &world)?;
    let first = stream(&recipe, &dataset, &world)?.global_batch(Cursor::default())?;
    let planned = planned(&recipe, &config, &dataset, origin.as_ref(), &first, dry.preset, &world)?;
    let mut plan = planned.plan();
    planned.add_time(&mut plan, dry.tflops, device)?;
    Ok(plan.into_summary())
}

/// What is checked before anything is written.
struct Prepared {
    recipe: PretrainRecipe,
    device: Device,
    dataset: Arc<Dataset>,
    origin: Option<Origin>,
    config: BertConfig,
    held_out: Option<HeldOut>,
}

fn prepare(
    options: &PretrainOptions,
    resolve: Resolve<'_, PretrainRecipe>,
    resumed: Option<&Resumed>,
    world: &World,
) -> Result<Prepared> {
    let (mut recipe, device) = setup::settle(resolve, resumed, world)?;
    let dataset = data::open(&options.data, Kind::Pretrain)?;
    let origin = match resumed {
        Some(resumed) => Some(Origin::open(&resumed.dir)?),
        None => options.init.as_deref().map(Origin::open).transpose()?,
    };
    let config = match &origin {
        Some(origin) => match &recipe.model {
            Some(model) => model.applied_to(&origin.config, &origin.dir)?,
            None => origin.config.clone(),
        },
        None => recipe.model.clone().unwrap_or_default().config(&dataset.manifest().vocabulary)?,
    };
    check_fit(&dataset, origin.as_ref(), &config)?;
    if let Some(preset) = options.fit {
        let first = stream(&recipe, &dataset, world)?.global_batch(Cursor::default())?;
        let planned = planned(&recipe, &config, &dataset, origin.as_ref(), &first, Some(preset), world)?;
        let tokens = preset.micro_batch_tokens(first.num_tokens as f64, |tokens| planned.memory(tokens));
        recipe.data.micro_batch_tokens = Some(tokens);
    }
    let held_out = held_out(options, &recipe, &dataset, &config, world)?;
    Ok(Prepared { recipe, device, dataset, origin, config, held_out })
}

fn check_fit(dataset: &Dataset, origin: Option<&Origin>, config: &BertConfig) -> Result<()> {
    if let Some(origin) = origin
        && !data::check_vocabulary(dataset, &origin.dir, config.vocab_size)?
    {
        say(&format!("{}: no vocab.txt, taking the dataset's vocabulary for the model's", origin.dir.display()));
    }
    data::check_length(dataset, config.max_position_embeddings)
}

/// Static or dynamic masks, with the settings of the recipe, else of the dataset, else BERT's.
fn masking(section: &PretrainData, dataset: &Dataset) -> Result<Masking> {
    let has_masks = dataset.manifest().columns.has_static_masks();
    if section.masking == MaskingMode::Static || (section.masking == MaskingMode::Auto && has_masks) {
        return Ok(Masking::Static);
    }
    let configuration = &dataset.manifest().configuration;
    let default = MaskingConfig::default();
    let prob = section.masked_lm_prob.or_else(|| find(configuration, "masked_lm_prob")?.as_f64());
    let most = section.max_predictions_per_seq.or_else(|| find(configuration, "max_predictions_per_seq")?.as_u64());
    let most = most.unwrap_or(default.max_predictions_per_seq.into());
    let max_predictions_per_seq = u16::try_from(most).map_err(|_| {
        Error::Invalid(format!("data.max_predictions_per_seq: expected at most {}, found {most}", u16::MAX))
    })?;
    let masked_lm_prob = prob.unwrap_or(default.masked_lm_prob);
    let whole_words = section.whole_word_masking.or_else(|| find(configuration, "whole_word_masking")?.as_bool());
    let whole_word_masking = whole_words.unwrap_or(default.whole_word_masking);
    Ok(Masking::Dynamic(MaskingConfig { masked_lm_prob, max_predictions_per_seq, whole_word_masking }))
}

/// The value of `key` in `value` or in an object directly inside it.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).or_else(|| value.as_object()?.values().find_map(|inner| inner.get(key)))
}

fn stream_config(recipe: &PretrainRecipe, shuffle: bool, global_batch_size: u64, world: &World) -> StreamConfig {
    StreamConfig {
        global_batch_size,
        micro_batch_tokens: recipe.data.micro_batch_tokens(),
        seed: recipe.run.seed,
        shuffle,
        rank: world.rank,
        world_size: world.world_size,
        num_workers: if shuffle { setup::num_workers(&recipe.run, world) } else { 1 },
    }
}

fn stream(recipe: &PretrainRecipe, dataset: &Arc<Dataset>, world: &World) -> Result<Stream<PretrainGather>> {
    let masking = masking(&recipe.data, dataset)?;
    let gather = PretrainGather::new(Arc::clone(dataset), masking, recipe.run.seed)?;
    Ok(Stream::new(gather, stream_config(recipe, true, recipe.data.global_batch_size, world)))
}

fn schedule(recipe: &PretrainRecipe) -> Result<Schedule> {
    let section = &recipe.schedule;
    Schedule::new(section.curve, recipe.optimizer.learning_rate(), section.warmup_fraction, section.steps)
}

/// Model, optimizer and position, new or as a checkpoint has them.
fn start(
    recipe: &PretrainRecipe,
    config: BertConfig,
    device: Device,
    origin: Option<&Origin>,
    resumed: Option<&Resumed>,
) -> Result<(Bert, Box<dyn Optimizer>, Position)> {
    let mut bert = Bert::new(config, Head::PreTraining, device, recipe.run.seed)?;
    if let Some(origin) = origin {
        origin.load(&mut bert, if resumed.is_some() { Missing::Forbidden } else { Missing::HeadMayBeNew })?;
    }
    bert.set_precision(recipe.run.precision);
    let mut optimizer = recipe.optimizer.config().build(bert.parameters())?;
    if let Some(resumed) = resumed {
        setup::restore(resumed, optimizer.as_mut())?;
        return Ok((bert, optimizer, resumed.state.position.clone()));
    }
    if let Some((origin, state)) = origin.and_then(|origin| Some((origin, origin.state.as_ref()?))) {
        if state.optimizer.kind == optimizer.state().kind {
            checkpoint::load_optimizer(&origin.dir, &state.optimizer, optimizer.as_mut())?;
            optimizer.reset_step();
            say(&format!("moments of step {} carried over, step back at 0", state.position.step));
        } else {
            say(&format!("moments start at 0: the checkpoint's are those of {}", state.optimizer.kind));
        }
    } else if let Some(origin) = origin
        && let Some(moments) = moments::read(&origin.dir, bert.parameters(), &optimizer.state().kind)?
    {
        optimizer.load_state(&moments)?;
        say("moments of the imported checkpoint carried over, step at 0");
    }
    Ok((bert, optimizer, Position::default()))
}

fn planned<'a>(
    recipe: &'a PretrainRecipe,
    config: &'a BertConfig,
    dataset: &'a Dataset,
    origin: Option<&Origin>,
    first: &'a GlobalBatch<PretrainBatch>,
    preset: Option<Preset>,
    world: &'a World,
) -> Result<Planned<'a>> {
    let is_static = masking(&recipe.data, dataset)? == Masking::Static;
    let masking = if is_static { MaskingMode::Static } else { MaskingMode::Dynamic };
    let weights = match origin {
        Some(origin) => format!("from {}", origin.dir.display()),
        None => format!("new, from seed {}", recipe.run.seed),
    };
    Ok(Planned { recipe, config, weights, dataset, masking, first, preset, world })
}

fn held_out(
    options: &PretrainOptions,
    recipe: &PretrainRecipe,
    dataset: &Dataset,
    config: &BertConfig,
    world: &World,
) -> Result<Option<HeldOut>> {
    let default = options.data.join("held-out");
    let dir: &Path = match &options.held_out {
        Some(dir) => dir,
        None if default.is_dir() => &default,
        None => return Ok(None),
    };
    let held_out = data::open(dir, Kind::Pretrain)?;
    data::check_vocabularies(dataset, &held_out)?;
    data::check_length(&held_out, config.max_position_embeddings)?;
    let masking = masking(&recipe.data, &held_out)?;
    // Natural order and a fixed epoch: the same masks at every measurement.
    let stream_config = stream_config(recipe, false, recipe.data.held_out_instances, world);
    let gather = PretrainGather::new(Arc::clone(&held_out), masking, recipe.run.seed)?;
    let batch = Stream::new(gather, stream_config).global_batch(Cursor::default())?;
    Ok(Some(HeldOut { dataset: held_out, batch }))
}

fn summarize(run: &Path, bert: &Bert, outcome: &Outcome) -> Result<Summary> {
    let mut summary = Summary::default();
    summary.add("command", TASK, TASK);
    let position = &outcome.position;
    summary.add("steps", position.step, format!("{} ({} skipped)", thousands(position.step), position.num_skipped));
    let num_parameters = bert.parameters().num_parameters();
    summary.add("parameters", num_parameters, thousands(num_parameters.unsigned_abs()));
    let steps = log::rows(run, |row| row["kind"] == "step")?;
    let held_out = log::rows(run, |row| row["kind"] == "held_out")?;
    for (prefix, rows) in [("", &steps), ("held_out_", &held_out)] {
        for key in ["masked_lm_loss", "next_sentence_loss", "masked_lm_accuracy", "next_sentence_accuracy"] {
            if let Some(text) = summary::first_to_last(rows, key) {
                let value = json!({"first": rows[0][key], "last": rows[rows.len() - 1][key]});
                summary.add(&format!("{prefix}{key}"), value, text);
            }
        }
    }
    summary.add_end(run, outcome);
    Ok(summary)
}
