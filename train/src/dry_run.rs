//! The plan of a pre-training run, and how long it would take: what `--dry-run` prints.

use std::time::Instant;

use cloze_formats::dataset::Dataset;
use cloze_formats::stream::{Cursor, GlobalBatch, PretrainBatch};
use tch::Device;

use crate::data;
use crate::error::Result;
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};
use crate::plan::{self, Computing, Load, Plan};
use crate::precision::Precision;
use crate::progress::duration;
use crate::recipe::{MaskingMode, Preset, PretrainRecipe};
use crate::setup::num_workers;
use crate::step::pretrain_step;
use crate::world::{DataParallel, World};

/// Seconds after which no further micro-batch is timed.
const MEASURING_S: f64 = 20.0;
/// Micro-batches timed at most, after one that is not.
const MEASURED: usize = 5;

/// What the plan of a pre-training run follows from.
pub struct Planned<'a> {
    /// The recipe, settled.
    pub recipe: &'a PretrainRecipe,
    /// The model's shape.
    pub config: &'a BertConfig,
    /// Where the weights come from.
    pub weights: String,
    /// What is learnt from.
    pub dataset: &'a Dataset,
    /// Whether its masks are used.
    pub masking: MaskingMode,
    /// The first step's global batch.
    pub first: &'a GlobalBatch<PretrainBatch>,
    /// The machine that the run is fitted to, if not to this one.
    pub preset: Option<Preset>,
    /// The processes.
    pub world: &'a World,
}

impl Planned<'_> {
    /// Every quantity, in order.
    pub fn plan(&self) -> Plan {
        let Self { recipe, config, dataset, first, .. } = self;
        let section = &recipe.data;
        let num_parameters = plan::num_pretraining_parameters(config);
        let mut plan = Plan::default();
        plan.add_model(config, num_parameters);
        plan.add("weights", self.weights.clone());
        plan.add("device", self.device());
        plan.add("precision", recipe.run.precision.name());
        plan.add_world(self.world);
        plan.add_length("instances", dataset.len(), section.global_batch_size, recipe.schedule.steps);
        plan.add_step("instances per step", section.global_batch_size, first.micro_batches.len(), first.num_tokens);
        let tokens = section.micro_batch_tokens();
        plan.add_value("micro-batch tokens", tokens, format!("{tokens} at most, padding counted"));
        let masking = if self.masking == MaskingMode::Static { "static" } else { "dynamic" };
        let (mean_len, _) = data::mean_lengths(dataset);
        let num_masked = self.num_masked();
        plan.add("masking", format!("{masking}, {num_masked:.1} predictions per instance of {mean_len:.1} tokens"));
        let warmup = recipe.schedule.warmup_fraction * recipe.schedule.steps as f64;
        let rate = recipe.optimizer.learning_rate();
        let kind = recipe.optimizer.config().kind.name();
        plan.add("optimizer", format!("{kind}, {rate:e} at most, {warmup:.0} steps of warm-up"));
        let per_step = self.flops() / recipe.schedule.steps as f64;
        plan.add_value("work per step", per_step, plan::flops(per_step));
        plan.add_value("work in all", self.flops(), plan::flops(self.flops()));
        let memory = self.memory(tokens);
        plan.add_value("memory", memory, format!("about {}, by arithmetic good to a third", plan::bytes(memory)));
        plan
    }

    fn device(&self) -> String {
        let here = format!("{}, {} threads", self.recipe.run.device, self.recipe.run.threads.unwrap_or(1));
        self.preset.map_or(here, |preset| format!("fitted to {preset}"))
    }

    /// Predictions per instance, of the first step.
    fn num_masked(&self) -> f64 {
        self.first.num_masked as f64 / self.first.num_instances as f64
    }

    /// Floating-point operations of the whole run.
    fn flops(&self) -> f64 {
        let PretrainRecipe { data, schedule, .. } = self.recipe;
        let per_step = plan::flops_per_step(
            self.config,
            Head::PreTraining,
            self.dataset,
            data.global_batch_size,
            self.num_masked(),
        );
        per_step * schedule.steps as f64
    }

    /// Estimated bytes with micro-batches of up to `tokens`, padding counted.
    pub fn memory(&self, tokens: u64) -> f64 {
        let (mean_len, _) = data::mean_lengths(self.dataset);
        let num_parameters = plan::num_pretraining_parameters(self.config);
        let on_gpu = self.preset.is_some() || self.recipe.run.device != "cpu";
        let num_workers = if on_gpu { 1 } else { num_workers(&self.recipe.run, self.world) };
        let computing = Computing { precision: self.recipe.run.precision, on_gpu, num_workers };
        let longest = self.dataset.longest_row() as u64;
        plan::memory_estimate(
            self.config,
            num_parameters,
            computing,
            tokens,
            longest,
            self.num_masked() / mean_len.max(1.0),
        )
    }

    /// Adds how long the run would take: at `tflops` a GPU where given, else at the rate of a few micro-batches on `device`.
    ///
    /// # Errors
    /// A micro-batch cannot be computed, for instance because memory is short.
    pub fn add_time(&self, plan: &mut Plan, tflops: Option<f64>, device: Device) -> Result<()> {
        let num_gpus = self.preset.map_or(self.world.world_size, Preset::num_gpus);
        let (rate, source) = match tflops {
            Some(tflops) => {
                let source = format!("at {tflops} TFLOP/s on each of {num_gpus} devices, the rate you gave");
                (tflops * 1e12 * f64::from(num_gpus), source)
            }
            None if self.preset.is_some() => {
                let text = "not estimated: give --tflops, what one device of that machine sustains";
                plan.add("time", text);
                return Ok(());
            }
            None => {
                let (one, count) = measure(self, device)?;
                let rate = one * f64::from(self.world.world_size);
                let source = format!(
                    "at {} a second, measured on {count} micro-batches on this machine's {} in {}",
                    plan::flops(rate),
                    self.recipe.run.device,
                    self.recipe.run.precision.name()
                );
                (rate, source)
            }
        };
        let seconds = self.flops() / rate;
        let text = format!(
            "about {} {source}; forward and backward only: optimizer, data, communication and checkpoints not counted",
            duration(seconds)
        );
        plan.add_value("time", seconds, text);
        Ok(())
    }
}

/// Floating-point operations a second of forward and backward passes of the first micro-batches, and how many were timed.
fn measure(planned: &Planned<'_>, device: Device) -> Result<(f64, usize)> {
    let mut bert = Bert::new(planned.config.clone(), Head::PreTraining, device, planned.recipe.run.seed)?;
    let precision = planned.recipe.run.precision;
    debug_assert!(precision != Precision::Auto, "a run settles it first");
    bert.set_precision(precision);
    let num_workers = num_workers(&planned.recipe.run, planned.world);
    bert.set_workers(num_workers)?;
    let (mut flops, mut seconds, mut count) = (0.0, 0.0, 0);
    let at_a_time = || planned.first.micro_batches.chunks(num_workers as usize);
    // The first ones, run twice, warm caches and allocators up.
    for (index, micro_batches) in at_a_time().take(1).chain(at_a_time().take(MEASURED)).enumerate() {
        if seconds > MEASURING_S {
            break;
        }
        let started = Instant::now();
        let batch = alone(micro_batches);
        // Its sums are read at its end: no kernel is left running.
        pretrain_step(&mut bert, &batch, &DataParallel::alone())?;
        if index > 0 {
            flops += micro_batches.iter().map(|micro_batch| flops_of(planned.config, micro_batch)).sum::<f64>();
            seconds += started.elapsed().as_secs_f64();
            count += micro_batches.len();
        }
    }
    Ok((flops / seconds, count))
}

/// A step of these micro-batches alone.
fn alone(micro_batches: &[PretrainBatch]) -> GlobalBatch<PretrainBatch> {
    let sum = |of: fn(&PretrainBatch) -> usize| micro_batches.iter().map(of).sum::<usize>() as u64;
    GlobalBatch {
        num_instances: sum(|batch| batch.sequences.num_sequences()),
        num_masked: sum(|batch| batch.masked_lm_ids.len()),
        num_tokens: sum(|batch| batch.sequences.num_tokens()),
        micro_batches: micro_batches.to_vec(),
        next: Cursor::default(),
    }
}

fn flops_of(config: &BertConfig, micro_batch: &PretrainBatch) -> f64 {
    let lens = micro_batch.sequences.cu_seqlens.windows(2).map(|bounds| f64::from(bounds[1] - bounds[0]));
    let (len, square) = lens.fold((0.0, 0.0), |(len, square), one| (len + one, square + one * one));
    let (instances, num_masked) =
        (micro_batch.sequences.num_sequences() as f64, micro_batch.masked_lm_ids.len() as f64);
    plan::training_flops(config, Load::new(Head::PreTraining, instances, (len, square), num_masked))
}
