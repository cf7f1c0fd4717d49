//! Flags that several commands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::error::Result;
use crate::metrics::answers::AnswerConfig;
use crate::optim::OptimizerKind;
use crate::precision::Precision;
use crate::recipe::{Curve, OptimizerSection, Recipe, RunSection};
use crate::world::{Patience, spawned_by_parent};

/// Where a run begins.
#[derive(Args, Debug)]
pub(super) struct StartFlags {
    /// TOML recipe, for pre-training also the name of one (`cloze-train recipes` lists them); a resumed run has its own.
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Hugging Face model directory, checkpoint or run to start from: weights, and moments where pre-training has any.
    #[arg(long, value_name = "DIR")]
    pub init: Option<PathBuf>,
    /// Go on with the run in OUT from its newest whole checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where it runs and how often it reports.
#[derive(Args, Debug)]
#[command(next_help_heading = "Run (override the recipe)")]
pub(super) struct RunFlags {
    /// Seed of initial weights, order, dynamic masks and dropout.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long)]
    pub device: Option<String>,
    /// Threads on the CPU; by default all cores, shared evenly with processes on the same cores.
    #[arg(long, value_name = "N")]
    pub threads: Option<u32>,
    /// What matrix products compute in; all else is fp32.
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Steps between rows of metrics.jsonl.
    #[arg(long, value_name = "STEPS")]
    pub log_every: Option<u64>,
    /// Steps between checkpoints.
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<u64>,
    /// Checkpoints kept.
    #[arg(long, value_name = "N")]
    pub keep_checkpoints: Option<usize>,
    /// Besides, keep for ever the checkpoints of steps that are a multiple of this.
    #[arg(long, value_name = "STEPS")]
    pub keep_checkpoint_every: Option<u64>,
    /// Skip a step whose loss is more than this many times the mean of recent ones.
    #[arg(long, value_name = "FACTOR")]
    pub max_loss_spike: Option<f64>,
    /// Write no event files for TensorBoard.
    #[arg(long)]
    pub no_tensorboard: bool,
    /// Do not measure the machine's matrix products at start (0.2 s), and log no MFU.
    #[arg(long)]
    pub no_mfu: bool,
}

/// What decides the result.
#[derive(Args, Debug)]
#[command(next_help_heading = "Learning (override the recipe)")]
pub(super) struct LearningFlags {
    /// Instances (fine-tuning: examples) per step, over all micro-batches.
    #[arg(long, value_name = "N")]
    pub global_batch_size: Option<u64>,
    /// Bound on sequences times longest sequence of one forward and backward pass.
    #[arg(long, value_name = "TOKENS")]
    pub micro_batch_tokens: Option<u64>,
    /// LAMB or AdamW.
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerKind>,
    /// What follows the warm-up.
    #[arg(long, value_enum)]
    pub curve: Option<Curve>,
    /// Peak learning rate.
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// Share of the steps that warms up.
    #[arg(long, value_name = "SHARE")]
    pub warmup_fraction: Option<f64>,
    /// Decoupled weight decay.
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// The gradient is scaled down to this norm; 0 leaves it as it is.
    #[arg(long, value_name = "NORM")]
    pub max_grad_norm: Option<f64>,
}

/// SQuAD's search for answers.
#[derive(Args, Debug)]
#[command(next_help_heading = "SQuAD")]
pub(super) struct AnswerFlags {
    /// Starts and ends tried per window, and answers kept per question.
    #[arg(long, value_name = "N")]
    pub n_best_size: Option<usize>,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "TOKENS")]
    pub max_answer_length: Option<usize>,
    /// SQuAD v2.0: no answer is given where its score exceeds the best answer's by more than this.
    #[arg(long, value_name = "LOGITS", allow_negative_numbers = true)]
    pub null_score_diff_threshold: Option<f64>,
}

impl RunFlags {
    pub(super) fn apply(&self, run: &mut RunSection) {
        set(&mut run.seed, self.seed);
        set(&mut run.device, self.device.clone());
        run.threads = self.threads.or(run.threads);
        set(&mut run.log_every, self.log_every);
        set(&mut run.checkpoint_every, self.checkpoint_every);
        set(&mut run.keep_checkpoints, self.keep_checkpoints);
        set(&mut run.precision, self.precision);
        run.keep_checkpoint_every = self.keep_checkpoint_every.or(run.keep_checkpoint_every);
        run.max_loss_spike = self.max_loss_spike.or(run.max_loss_spike);
        run.tensorboard &= !self.no_tensorboard;
        run.mfu &= !self.no_mfu;
    }
}

impl LearningFlags {
    /// Overrides the optimizer, the size of global batch and micro-batch, the share that warms up and what follows.
    pub(super) fn apply(
        &self,
        optimizer: &mut OptimizerSection,
        (global_batch_size, micro_batch_tokens): (&mut u64, &mut Option<u64>),
        (warmup_fraction, curve): (&mut f64, &mut Curve),
    ) {
        set(global_batch_size, self.global_batch_size);
        *micro_batch_tokens = self.micro_batch_tokens.or(*micro_batch_tokens);
        set(warmup_fraction, self.warmup_fraction);
        set(curve, self.curve);
        optimizer.kind = self.optimizer.or(optimizer.kind);
        optimizer.learning_rate = self.learning_rate.or(optimizer.learning_rate);
        set(&mut optimizer.weight_decay, self.weight_decay);
        set(&mut optimizer.max_grad_norm, self.max_grad_norm);
    }
}

impl AnswerFlags {
    pub(super) fn apply(&self, answers: &mut AnswerConfig) {
        set(&mut answers.n_best_size, self.n_best_size);
        set(&mut answers.max_answer_length, self.max_answer_length);
        set(&mut answers.null_score_diff_threshold, self.null_score_diff_threshold);
    }
}

/// Several processes.
#[derive(Args, Debug)]
#[command(
    next_help_heading = "Several processes (torchrun, srun, PyTorchJob and mpirun are recognised by their variables)"
)]
pub(super) struct WorldFlags {
    /// Start N processes on this machine and train in all of them; alternative to a launcher.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub spawn: Option<u32>,
    /// How long processes wait for each other at the start.
    #[arg(long, value_name = "SECONDS", default_value_t = Patience::default().join.as_secs())]
    pub join_timeout: u64,
    /// How long a process waits for a silent peer; one that has died is noticed at once.
    #[arg(long, value_name = "SECONDS", default_value_t = Patience::default().operation.as_secs())]
    pub peer_timeout: u64,
}

impl WorldFlags {
    /// How many processes to start, if this one is to start them.
    pub(super) fn to_spawn(&self) -> Option<u32> {
        self.spawn.filter(|_| !spawned_by_parent())
    }

    pub(super) fn patience(&self) -> Patience {
        Patience { join: Duration::from_secs(self.join_timeout), operation: Duration::from_secs(self.peer_timeout) }
    }
}

pub(super) fn set<T>(setting: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *setting = value;
    }
}

/// What `read` makes of the file if one is given, else what a resumed run has stored, else the defaults.
pub(super) fn base<R: Recipe>(
    file: Option<&PathBuf>,
    stored: Option<R>,
    read: impl Fn(&Path) -> Result<R>,
) -> Result<R> {
    match file {
        Some(path) => read(path),
        None => Ok(stored.unwrap_or_default()),
    }
}
