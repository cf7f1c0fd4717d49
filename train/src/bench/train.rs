//! `bench train`: how fast a step of pre-training is, and where its time goes.
//!
//! Whole steps and steps cut into parts take turns with matrix products as large as the machine likes them, which are the limit
//! that the step is held against; so another program's load hits all alike. Medians are reported.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use cloze_formats::dataset::Dataset;
use cloze_formats::manifest::Kind;
use cloze_formats::masking::MaskingConfig;
use cloze_formats::stream::{
    Cursor, GlobalBatch, Loader, Masking, PretrainBatch, PretrainGather, Stream, StreamConfig,
};
use serde_json::json;
use tch::{Cuda, Device};

use super::{Lengths, Preset, global_batch, machine, median};
use crate::data;
use crate::error::{Error, Result};
use crate::machine::matmul_limit;
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};
use crate::optim::{Lamb, Optimizer, OptimizerConfig, OptimizerKind};
use crate::plan::{self, Load, training_flops};
use crate::precision::Precision;
use crate::progress::thousands;
use crate::recipe::RunSection;
use crate::setup::{num_workers, start_torch};
use crate::step::{Part, pretrain_step, pretrain_step_watched};
use crate::summary::Summary;
use crate::world::{DataParallel, Group, Patience, World};

/// What is measured.
#[derive(Clone, Debug)]
pub struct BenchTrainOptions {
    /// The model.
    pub model: Preset,
    /// Sequences per micro-batch; with `data`, instances per step.
    pub batch: u64,
    /// Micro-batches per step; with `data`, its own lengths decide.
    pub accumulation: usize,
    /// Lengths of made-up sequences.
    pub lengths: Lengths,
    /// Masked tokens of a made-up sequence of the full length; by default 20 up to 128 tokens, 80 above.
    pub masked: Option<i64>,
    /// Dataset to train on through its loader, instead of made-up sequences.
    pub data: Option<PathBuf>,
    /// Steps that are timed as a whole; a third as many are timed by parts.
    pub steps: usize,
    /// Steps before those.
    pub warmup_steps: usize,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Threads on the CPU; all cores by default.
    pub threads: Option<u32>,
    /// How it is computed; gradients are not scaled.
    pub precision: Precision,
}

/// Measures.
///
/// # Errors
/// Bad input, or memory runs out.
pub fn run(options: &BenchTrainOptions) -> Result<Summary> {
    let machine = machine();
    let group = Rc::new(Group::join(World::from_environment()?, Patience::default())?);
    let world = group.world().clone();
    let mut settings = RunSection {
        device: options.device.clone(),
        threads: options.threads,
        precision: options.precision,
        ..RunSection::default()
    };
    let device = start_torch(&mut settings, &world)?;
    let threads = tch::get_num_threads();
    let mut config = options.model.config();
    let num_workers = num_workers(&settings, &world);
    let (mut source, loader) = source(options, &mut config, &world, num_workers)?;
    let mut bert = Bert::new(config, Head::PreTraining, device, settings.seed)?;
    bert.set_precision(settings.precision);
    bert.set_workers(num_workers)?;
    let optimizer = Lamb::new(bert.parameters(), OptimizerConfig::new(OptimizerKind::Lamb))?;
    let parallel = DataParallel::new(Rc::clone(&group), bert.parameters())?;
    let mut bench = Bench { bert, parallel, optimizer, device, work: Work::default(), times: Times::default() };
    for _ in 0..options.warmup_steps {
        bench.whole_step(&mut source)?;
    }
    bench.forget();
    for step in 0..options.steps {
        bench.whole_step(&mut source)?;
        if step % 3 == 0 {
            bench.step_by_parts(&mut source)?;
            bench.times.limit.push(group.sum(&[matmul_limit(device, settings.precision.matmul_kind())?])?[0]);
        }
    }
    bench.work = bench.work.over(&group)?;
    let mut summary = Summary::default();
    if !group.is_first() {
        return Ok(summary);
    }
    let versions =
        format!("cloze {}, torch {}, {}", env!("CARGO_PKG_VERSION"), cloze_torch_ext::torch_version(), instructions());
    summary.add("machine", machine.clone(), machine);
    summary.add("versions", versions.clone(), versions);
    summary.add("device", settings.device.clone(), format!("{}, {threads} threads", settings.device));
    summary.add("processes", world.world_size, world.world_size.to_string());
    summary.add("threads", threads, threads.to_string());
    bench.report(options, &mut summary);
    if let Some(loader) = loader {
        loader.report(median(&bench.times.whole), &mut summary);
    }
    Ok(summary)
}

fn instructions() -> String {
    cloze_torch_ext::cpu_capability().unwrap_or_else(|_| "unknown instruction set".to_owned())
}

/// Where batches come from.
enum Source {
    Synthetic(Box<GlobalBatch<PretrainBatch>>),
    Dataset(Loader<PretrainBatch>),
}

impl Source {
    fn next(&mut self) -> Result<GlobalBatch<PretrainBatch>> {
        match self {
            Self::Synthetic(batch) => Ok((**batch).clone()),
            Self::Dataset(loader) => {
                let batch = loader.next().ok_or_else(|| Error::Invalid("dataset: expected a batch".to_owned()))?;
                Ok(batch?)
            }
        }
    }
}

/// Batches for `config`, whose vocabulary becomes that of the dataset; and what the loader can do by itself.
fn source(
    options: &BenchTrainOptions,
    config: &mut BertConfig,
    world: &World,
    num_workers: u32,
) -> Result<(Source, Option<LoaderSpeed>)> {
    let Some(dir) = &options.data else {
        let lens = options.lengths.draw(options.batch)?;
        let longest = lens.iter().copied().max().unwrap_or(0);
        let masked = options.masked.unwrap_or(if longest <= 128 { 20 } else { 80 });
        let mut batch = global_batch(config, &lens, masked, [options.accumulation, num_workers as usize])?;
        // Every process has as much.
        for of_all in [&mut batch.num_instances, &mut batch.num_masked, &mut batch.num_tokens] {
            *of_all *= u64::from(world.world_size);
        }
        return Ok((Source::Synthetic(Box::new(batch)), None));
    };
    let dataset = data::open(dir, Kind::Pretrain)?;
    config.vocab_size = BertConfig::padded_vocab_size(dataset.manifest().vocabulary.num_tokens);
    data::check_length(&dataset, config.max_position_embeddings)?;
    let stream = Arc::new(stream(options, &dataset, world, num_workers)?);
    let speed = LoaderSpeed::measure(&stream)?;
    Ok((Source::Dataset(stream.load(Cursor::default())), Some(speed)))
}

fn stream(
    options: &BenchTrainOptions,
    dataset: &Arc<Dataset>,
    world: &World,
    num_workers: u32,
) -> Result<Stream<PretrainGather>> {
    let masking = match dataset.manifest().columns.has_static_masks() {
        true => Masking::Static,
        false => Masking::Dynamic(MaskingConfig::default()),
    };
    let gather = PretrainGather::new(Arc::clone(dataset), masking, 0)?;
    let World { rank, world_size, .. } = *world;
    let config =
        StreamConfig { global_batch_size: options.batch, rank, world_size, num_workers, ..StreamConfig::default() };
    Ok(Stream::new(gather, config))
}

/// The loader by itself, on one thread.
struct LoaderSpeed {
    seconds_per_batch: f64,
    instances_per_s: f64,
}

impl LoaderSpeed {
    /// For about half a second, after a first batch that touches the files.
    fn measure(stream: &Stream<PretrainGather>) -> Result<Self> {
        let mut cursor = stream.global_batch(Cursor::default())?.next;
        let (mut num_batches, mut num_instances, started) = (0u64, 0, Instant::now());
        while num_batches == 0 || started.elapsed().as_secs_f64() < 0.5 {
            let batch = stream.global_batch(cursor)?;
            cursor = batch.next;
            num_batches += 1;
            num_instances += batch.num_instances;
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(Self { seconds_per_batch: seconds / num_batches as f64, instances_per_s: num_instances as f64 / seconds })
    }

    fn report(&self, step_s: f64, summary: &mut Summary) {
        let rate = self.instances_per_s;
        summary.add("loader_instances_per_s", rate, format!("{} by itself on one thread", thousands(rate as u64)));
        let share = self.seconds_per_batch / step_s;
        summary.add("loader_share", share, format!("{:.3} % of a step, if nothing ran beside it", 100.0 * share));
    }
}

/// What the timed steps did, on average per step.
#[derive(Default)]
struct Work {
    steps: f64,
    sequences: f64,
    tokens: f64,
    padded_tokens: f64,
    masked: f64,
    micro_batches: f64,
    longest: i64,
    flops: f64,
}

impl Work {
    /// That of all processes.
    fn over(self, group: &Group) -> Result<Self> {
        let Self { steps, sequences, tokens, padded_tokens, masked, micro_batches, longest, flops } = self;
        let all = group.sum(&[sequences, tokens, padded_tokens, masked, micro_batches, flops])?;
        let [sequences, tokens, padded_tokens, masked, micro_batches, flops] = all[..] else {
            unreachable!("as many sums as values");
        };
        Ok(Self { steps, sequences, tokens, padded_tokens, masked, micro_batches, longest, flops })
    }

    fn add(&mut self, config: &BertConfig, batch: &GlobalBatch<PretrainBatch>) {
        self.steps += 1.0;
        self.micro_batches += batch.micro_batches.len() as f64;
        for micro_batch in &batch.micro_batches {
            let sequences = &micro_batch.sequences;
            let longest = sequences.max_len() as i64;
            self.longest = self.longest.max(longest);
            self.sequences += sequences.num_sequences() as f64;
            self.tokens += sequences.num_tokens() as f64;
            self.padded_tokens += (sequences.num_sequences() as i64 * longest) as f64;
            self.masked += micro_batch.masked_lm_ids.len() as f64;
            let squares: f64 = sequences.cu_seqlens.windows(2).map(|w| f64::from(w[1] - w[0]).powi(2)).sum();
            let num_masked = micro_batch.masked_lm_ids.len() as f64;
            let lengths = (sequences.num_tokens() as f64, squares);
            let load = Load::new(Head::PreTraining, sequences.num_sequences() as f64, lengths, num_masked);
            self.flops += training_flops(config, load);
        }
    }
}

/// Seconds of steps and of their parts, and the limit beside them.
#[derive(Default)]
struct Times {
    whole: Vec<f64>,
    data: Vec<f64>,
    forward: Vec<f64>,
    backward: Vec<f64>,
    /// Adding up the gradients of workers, or waiting for that of all processes, after backward.
    all_reduce: Vec<f64>,
    optimizer: Vec<f64>,
    /// Floating-point operations per second of matrix products, over all processes.
    limit: Vec<f64>,
}

/// Seconds of the parts of a step.
struct StopWatch {
    started: Instant,
    /// When each thread's last part ended.
    last: HashMap<ThreadId, Instant>,
    /// Over all threads, by [`Part`].
    seconds: [f64; 3],
}

impl StopWatch {
    fn start() -> Self {
        Self { started: Instant::now(), last: HashMap::new(), seconds: [0.0; 3] }
    }

    fn ended(&mut self, part: Part) {
        let now = Instant::now();
        let before = match part {
            Part::AllReduce => self.last.values().max().copied(),
            Part::Forward | Part::Backward => self.last.insert(thread::current().id(), now),
        };
        self.seconds[part as usize] += (now - before.unwrap_or(self.started)).as_secs_f64();
    }

    /// Means over threads.
    fn parts(&self) -> [f64; 3] {
        let [forward, backward, all_reduce] = self.seconds;
        let num_threads = self.last.len().max(1) as f64;
        [forward / num_threads, backward / num_threads, all_reduce]
    }
}

struct Bench {
    bert: Bert,
    parallel: DataParallel,
    optimizer: Lamb,
    device: Device,
    work: Work,
    times: Times,
}

/// Small enough to change nothing that would change the speed, large enough to do all the work.
const LEARNING_RATE: f64 = 1e-4;

impl Bench {
    fn forget(&mut self) {
        (self.work, self.times) = (Work::default(), Times::default());
    }

    fn whole_step(&mut self, source: &mut Source) -> Result<()> {
        let started = Instant::now();
        let batch = source.next()?;
        self.times.data.push(started.elapsed().as_secs_f64());
        pretrain_step(&mut self.bert, &batch, &self.parallel)?;
        self.optimizer.step(self.bert.parameters_mut(), LEARNING_RATE)?;
        synchronize(self.device);
        self.times.whole.push(started.elapsed().as_secs_f64());
        self.work.add(self.bert.config(), &batch);
        Ok(())
    }

    /// On a GPU every part is waited for, which a whole step is not.
    fn step_by_parts(&mut self, source: &mut Source) -> Result<()> {
        let batch = source.next()?;
        let device = self.device;
        let watch = Mutex::new(StopWatch::start());
        pretrain_step_watched(&mut self.bert, &batch, &self.parallel, &|part| {
            synchronize(device);
            watch.lock().unwrap_or_else(PoisonError::into_inner).ended(part);
        })?;
        let watch = watch.into_inner().unwrap_or_else(PoisonError::into_inner);
        let [forward, backward, all_reduce] = watch.parts();
        let started = Instant::now();
        self.optimizer.step(self.bert.parameters_mut(), LEARNING_RATE)?;
        synchronize(device);
        self.times.optimizer.push(started.elapsed().as_secs_f64());
        self.times.forward.push(forward);
        self.times.all_reduce.push(all_reduce);
        self.times.backward.push(backward);
        Ok(())
    }

    fn report(&self, options: &BenchTrainOptions, summary: &mut Summary) {
        let (work, times, config) = (&self.work, &self.times, self.bert.config());
        let per_step = |total: f64| total / work.steps;
        let num_parameters = self.bert.parameters().num_parameters();
        let model = format!(
            "{}: {} layers x {}, {} heads, {} parameters",
            options.model,
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            thousands(num_parameters.unsigned_abs())
        );
        summary.add("model", options.model.to_string(), model);
        let precision = self.bert.precision().name();
        summary.add("precision", precision, precision);
        let batch = format!(
            "{:.0} sequences of {:.0} tokens on average, {} at most, {:.0} masked, {:.1} micro-batches",
            per_step(work.sequences),
            work.tokens / work.sequences,
            work.longest,
            per_step(work.masked),
            per_step(work.micro_batches)
        );
        summary.add("batch", json!({"sequences": per_step(work.sequences), "tokens": per_step(work.tokens), "masked": per_step(work.masked), "micro_batches": per_step(work.micro_batches), "longest": work.longest}), batch);
        let step_s = median(&times.whole);
        let fastest = times.whole.iter().copied().fold(f64::INFINITY, f64::min);
        let text = format!("{step_s:.4}, the median of {}; the fastest {fastest:.4}", times.whole.len());
        summary.add("step_s", step_s, text);
        for (key, per_step) in [
            ("sequences_per_s", per_step(work.sequences)),
            ("tokens_per_s", per_step(work.tokens)),
            ("padded_tokens_per_s", per_step(work.padded_tokens)),
        ] {
            let rate = per_step / step_s;
            let text = if rate < 1000.0 { format!("{rate:.1}") } else { thousands(rate as u64) };
            summary.add(key, rate, text);
        }
        let (flops, limit) = (per_step(work.flops), median(&times.limit));
        summary.add("flops_per_step", flops, plan::flops(flops));
        let text = format!("{}/s in large matrix products", plan::flops(limit));
        summary.add("matmul_flops_per_s", limit, text);
        let mfu = flops / step_s / limit;
        let text = format!(
            "{:.1} % of that; all of it would be {:.1} sequences/s",
            100.0 * mfu,
            per_step(work.sequences) * limit / flops
        );
        summary.add("mfu", mfu, text);
        self.report_shares(summary);
    }

    fn report_shares(&self, summary: &mut Summary) {
        let times = &self.times;
        let parts = [
            ("data", median(&times.data)),
            ("forward", median(&times.forward)),
            ("backward", median(&times.backward)),
            ("all_reduce", median(&times.all_reduce)),
            ("optimizer", median(&times.optimizer)),
        ];
        let total: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
        for (name, seconds) in parts {
            let share = if total > 0.0 { seconds / total } else { 0.0 };
            summary.add(&format!("{name}_share"), share, format!("{:.2} % ({:.1} ms)", 100.0 * share, 1e3 * seconds));
        }
    }
}

/// Waits until a GPU has done what was asked of it.
fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}
