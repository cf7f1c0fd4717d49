//! Flags that several commands share.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::metrics::answers::AnswerConfig;
use crate::recipe::{Recipe, RunSection};

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
    /// Threads of libtorch on the CPU; all cores by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<u32>,
    /// Steps between rows of metrics.jsonl.
    #[arg(long, value_name = "STEPS")]
    pub log_every: Option<u64>,
    /// Steps between checkpoints.
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<u64>,
    /// Checkpoints kept.
    #[arg(long, value_name = "N")]
    pub keep_checkpoints: Option<usize>,
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
    /// Instances per step, over all micro-batches.
    #[arg(long, value_name = "N")]
    pub global_batch_size: Option<u64>,
    /// Bound on sequences times longest sequence of one forward and backward pass.
    #[arg(long, value_name = "TOKENS")]
    pub micro_batch_tokens: Option<u64>,
    /// Peak learning rate.
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// Share of the steps that warms up.
    #[arg(long, value_name = "SHARE")]
    pub warmup_fraction: Option<f64>,
    /// Decoupled weight decay.
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// The gradient is scaled down to this norm.
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
        run.tensorboard &= !self.no_tensorboard;
        run.mfu &= !self.no_mfu;
    }
}

impl AnswerFlags {
    pub(super) fn apply(&self, answers: &mut AnswerConfig) {
        set(&mut answers.n_best_size, self.n_best_size);
        set(&mut answers.max_answer_length, self.max_answer_length);
        set(&mut answers.null_score_diff_threshold, self.null_score_diff_threshold);
    }
}

pub(super) fn set<T>(setting: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *setting = value;
    }
}

/// The file if one is given, else what a resumed run has stored, else the defaults.
pub(super) fn base<R: Recipe>(file: Option<&PathBuf>, stored: Option<R>) -> Result<R> {
    match file {
        Some(path) => R::read(path),
        None => Ok(stored.unwrap_or_default()),
    }
}
