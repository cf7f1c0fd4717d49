//! Pre-training: masked language model and next-sentence prediction, LAMB, phases 1 and 2.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloze_formats::dataset::Dataset;
use cloze_formats::manifest::Kind;
use cloze_formats::masking::MaskingConfig;
use cloze_formats::stream::{Cursor, GlobalBatch, Masking, PretrainBatch, PretrainGather, Stream, StreamConfig};
use serde_json::{Map, Value, json};
use tch::Device;

use crate::checkpoint::{self, Position};
use crate::data;
use crate::error::{Error, Result};
use crate::interop::huggingface::Missing;
use crate::interop::moments;
use crate::log;
use crate::model::config::{Activation, BertConfig};
use crate::model::{Bert, Head};
use crate::optim::{Lamb, LambConfig, Optimizer, Schedule};
use crate::plan::{self, Plan};
use crate::progress::{say, thousands};
use crate::recipe::{LambSection, MaskingMode, ModelSection, PretrainData, PretrainRecipe};
use crate::run::{RunDir, Signals};
use crate::setup::{self, Origin, Resolve, Resumed};
use crate::step::{PretrainSums, evaluate_pretrain, pretrain_step};
use crate::summary::{self, Summary};
use crate::trainer::{Measurement, Outcome, Task, Trainer};

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
}

/// Pre-trains a BERT.
///
/// # Errors
/// Bad input; a published checkpoint is never harmed.
pub fn run(options: &PretrainOptions, resolve: Resolve<'_, PretrainRecipe>) -> Result<Summary> {
    let signals = Signals::listen()?;
    let resumed = setup::resume(options.resume, options.init.as_deref(), &options.out, TASK)?;
    let (recipe, device) = setup::settle(resolve, resumed.as_ref())?;
    let dataset = data::open(&options.data, Kind::Pretrain)?;
    let origin = origin(options, &recipe, resumed.as_ref())?;
    let config = match &origin {
        Some(origin) => origin.config.clone(),
        None => new_config(recipe.model.as_ref().unwrap_or(&ModelSection::default()), &dataset)?,
    };
    check_fit(&dataset, origin.as_ref(), &config)?;
    let held_out = held_out(options, &recipe, &dataset, &config)?;
    let masking = masking(&recipe.data, &dataset)?;
    let (bert, optimizer, position) = start(&recipe, config, device, origin.as_ref(), resumed.as_ref())?;
    if let Some(resumed) = &resumed {
        data::check_same(&dataset, &resumed.dir, &resumed.state)?;
    }
    let gather = PretrainGather::new(Arc::clone(&dataset), masking, recipe.run.seed)?;
    let stream = Arc::new(Stream::new(gather, stream_config(&recipe, true, recipe.data.global_batch_size)));
    print_plan(&recipe, &bert, &dataset, &stream, position.cursor)?;
    let (run, saved) = setup::enter(resumed, &options.out)?;
    let trainer = Trainer {
        run: &run,
        settings: &recipe.run,
        recipe: serde_json::to_value(&recipe).map_err(|e| Error::Invalid(e.to_string()))?,
        bert,
        optimizer: Box::new(optimizer),
        schedule: schedule(&recipe)?,
        total_steps: recipe.schedule.steps,
        data: data::identity(&dataset),
        vocabulary: dataset.vocabulary().bytes().to_vec(),
        position,
        saved,
        signals,
    };
    let mut task = Pretrain { held_out, held_out_every: recipe.data.held_out_every };
    let (bert, outcome) = trainer.train(&mut task, &stream)?;
    let summary = summarize(&run, &bert, &outcome)?;
    summary.write(run.path())?;
    Ok(summary)
}

/// The model that a new run starts from, or the checkpoint that a resumed one goes on from.
fn origin(options: &PretrainOptions, recipe: &PretrainRecipe, resumed: Option<&Resumed>) -> Result<Option<Origin>> {
    if let Some(resumed) = resumed {
        return Ok(Some(Origin::open(&resumed.dir)?));
    }
    let Some(init) = &options.init else { return Ok(None) };
    if recipe.model.is_some() {
        let message =
            "expected no [model] section beside --init, which decides the model's shape; leave one of them out";
        return Err(Error::file(init, message));
    }
    Ok(Some(Origin::open(init)?))
}

fn new_config(model: &ModelSection, dataset: &Dataset) -> Result<BertConfig> {
    let vocabulary = &dataset.manifest().vocabulary;
    let hidden_act: Activation = serde_json::from_value(json!(model.hidden_act)).map_err(|_| {
        Error::Invalid(format!("model.hidden_act: expected gelu or gelu_new, found {}", model.hidden_act))
    })?;
    let config = BertConfig {
        vocab_size: BertConfig::padded_vocab_size(vocabulary.num_tokens),
        hidden_size: model.hidden_size,
        num_hidden_layers: model.num_hidden_layers,
        num_attention_heads: model.num_attention_heads,
        intermediate_size: model.intermediate_size.unwrap_or(4 * model.hidden_size),
        hidden_act,
        hidden_dropout_prob: model.hidden_dropout_prob,
        attention_probs_dropout_prob: model.attention_probs_dropout_prob,
        max_position_embeddings: model.max_position_embeddings,
        initializer_range: model.initializer_range,
        pad_token_id: vocabulary.special.pad.into(),
        ..BertConfig::default()
    };
    config.validate()?;
    Ok(config)
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

fn stream_config(recipe: &PretrainRecipe, shuffle: bool, global_batch_size: u64) -> StreamConfig {
    let micro_batch_tokens = recipe.data.micro_batch_tokens();
    StreamConfig { global_batch_size, micro_batch_tokens, seed: recipe.run.seed, shuffle, ..StreamConfig::default() }
}

fn schedule(recipe: &PretrainRecipe) -> Result<Schedule> {
    Schedule::polynomial(recipe.optimizer.learning_rate, recipe.schedule.warmup_fraction, recipe.schedule.steps)
}

/// Model, optimizer, position and torch's generator, new or as a checkpoint has them.
fn start(
    recipe: &PretrainRecipe,
    config: BertConfig,
    device: Device,
    origin: Option<&Origin>,
    resumed: Option<&Resumed>,
) -> Result<(Bert, Lamb, Position)> {
    let mut bert = Bert::new(config, Head::PreTraining, device, recipe.run.seed)?;
    if let Some(origin) = origin {
        origin.load(&mut bert, if resumed.is_some() { Missing::Forbidden } else { Missing::HeadMayBeNew })?;
    }
    let mut optimizer = Lamb::new(bert.parameters(), lamb(&recipe.optimizer))?;
    tch::manual_seed(recipe.run.seed as i64);
    if let Some(resumed) = resumed {
        setup::restore(resumed, &mut optimizer, device)?;
        return Ok((bert, optimizer, resumed.state.position.clone()));
    }
    if let Some((origin, state)) = origin.and_then(|origin| Some((origin, origin.state.as_ref()?))) {
        if state.optimizer.kind == optimizer.state().kind {
            checkpoint::load_optimizer(&origin.dir, &state.optimizer, &mut optimizer)?;
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

fn lamb(section: &LambSection) -> LambConfig {
    LambConfig {
        beta1: section.beta1,
        beta2: section.beta2,
        epsilon: section.epsilon,
        weight_decay: section.weight_decay,
        max_gradient_norm: section.max_grad_norm,
    }
}

fn print_plan(
    recipe: &PretrainRecipe,
    bert: &Bert,
    dataset: &Dataset,
    stream: &Stream<PretrainGather>,
    cursor: Cursor,
) -> Result<()> {
    let first = stream.global_batch(cursor)?;
    let section = &recipe.data;
    let num_masked = first.num_masked as f64 / first.num_instances as f64;
    let (mean_len, _) = data::mean_lengths(dataset);
    let num_parameters = bert.parameters().num_parameters();
    let mut plan = Plan::default();
    plan.add_model(bert.config(), num_parameters);
    plan.add("device", format!("{}, {} threads", recipe.run.device, recipe.run.threads.unwrap_or(1)));
    plan.add_length(dataset.len(), section.global_batch_size, recipe.schedule.steps);
    plan.add_step(section.global_batch_size, first.micro_batches.len(), first.num_tokens);
    let masking = if masking(section, dataset)? == Masking::Static { "static" } else { "dynamic" };
    plan.add("masking", format!("{masking}, {num_masked:.1} predictions per instance of {mean_len:.1} tokens"));
    let warmup = recipe.schedule.warmup_fraction * recipe.schedule.steps as f64;
    plan.add("learning rate", format!("{:e}, {warmup:.0} steps of warm-up", recipe.optimizer.learning_rate));
    plan.add(
        "work per step",
        plan::flops(plan::flops_per_step(bert.config(), dataset, section.global_batch_size, num_masked)),
    );
    let memory = plan::memory_estimate(
        bert.config(),
        num_parameters,
        section.micro_batch_tokens(),
        dataset.longest_row() as u64,
        num_masked / mean_len.max(1.0),
    );
    plan.add("memory", format!("about {}", plan::bytes(memory)));
    say(plan.render().trim_end());
    Ok(())
}

/// Held-out instances, gathered once.
struct HeldOut {
    batch: GlobalBatch<PretrainBatch>,
}

fn held_out(
    options: &PretrainOptions,
    recipe: &PretrainRecipe,
    dataset: &Dataset,
    config: &BertConfig,
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
    let stream_config = stream_config(recipe, false, recipe.data.held_out_instances);
    let gather = PretrainGather::new(held_out, masking, recipe.run.seed)?;
    let batch = Stream::new(gather, stream_config).global_batch(Cursor::default())?;
    Ok(Some(HeldOut { batch }))
}

struct Pretrain {
    held_out: Option<HeldOut>,
    held_out_every: u64,
}

impl Task for Pretrain {
    type Gather = PretrainGather;
    type Sums = PretrainSums;

    fn name(&self) -> &'static str {
        TASK
    }

    fn step(&mut self, bert: &mut Bert, batch: &GlobalBatch<PretrainBatch>) -> Result<PretrainSums> {
        pretrain_step(bert, batch)
    }

    fn fields(&self, sums: &PretrainSums) -> Map<String, Value> {
        fields(sums)
    }

    fn words(&self, sums: &PretrainSums) -> String {
        words(sums)
    }

    fn is_due(&self, position: &Position, total_steps: u64) -> bool {
        let at_interval = position.step > 0 && position.step.is_multiple_of(self.held_out_every);
        self.held_out.is_some() && (at_interval || position.step == total_steps)
    }

    fn measure(&mut self, bert: &Bert, signals: &Signals) -> Result<Option<Measurement>> {
        let mut sums = PretrainSums::default();
        for batch in self.held_out.iter().flat_map(|held_out| &held_out.batch.micro_batches) {
            if signals.received().is_some() {
                return Ok(None);
            }
            sums += evaluate_pretrain(bert, batch)?;
        }
        Ok(Some(Measurement { kind: "held_out", fields: fields(&sums), words: words(&sums) }))
    }
}

fn fields(sums: &PretrainSums) -> Map<String, Value> {
    let values = [
        ("loss", sums.loss()),
        ("masked_lm_loss", sums.mean_masked_lm_loss()),
        ("masked_lm_accuracy", sums.masked_lm_accuracy()),
        ("next_sentence_loss", sums.mean_next_sentence_loss()),
        ("next_sentence_accuracy", sums.next_sentence_accuracy()),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn words(sums: &PretrainSums) -> String {
    format!(
        "MLM {:.3} ({:.1} %) NSP {:.3} ({:.1} %)",
        sums.mean_masked_lm_loss(),
        100.0 * sums.masked_lm_accuracy(),
        sums.mean_next_sentence_loss(),
        100.0 * sums.next_sentence_accuracy()
    )
}

fn summarize(run: &RunDir, bert: &Bert, outcome: &Outcome) -> Result<Summary> {
    let mut summary = Summary::default();
    summary.add("command", TASK, TASK);
    let position = &outcome.position;
    summary.add("steps", position.step, format!("{} ({} skipped)", thousands(position.step), position.num_skipped));
    let num_parameters = bert.parameters().num_parameters();
    summary.add("parameters", num_parameters, thousands(num_parameters.unsigned_abs()));
    let steps = log::rows(run.path(), |row| row["kind"] == "step")?;
    let held_out = log::rows(run.path(), |row| row["kind"] == "held_out")?;
    for (prefix, rows) in [("", &steps), ("held_out_", &held_out)] {
        for key in ["masked_lm_loss", "next_sentence_loss", "masked_lm_accuracy", "next_sentence_accuracy"] {
            if let Some(text) = summary::first_to_last(rows, key) {
                let value = json!({"first": rows[0][key], "last": rows[rows.len() - 1][key]});
                summary.add(&format!("{prefix}{key}"), value, text);
            }
        }
    }
    summary.add_end(run.path(), outcome);
    Ok(summary)
}
