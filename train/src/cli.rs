//! The command line of `cloze-train`.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Result;
use crate::evaluate::{self, EvaluateOptions};
use crate::finetune::{self, FinetuneOptions, FinetuneTask};
use crate::metrics::answers::AnswerConfig;
use crate::pretrain::{self, PretrainOptions};
use crate::progress::say;
use crate::recipe::{FinetuneData, FinetuneRecipe, MaskingMode, PretrainRecipe, Recipe, RunSection};
use crate::summary::Summary;

/// Pre-trains, fine-tunes and evaluates BERT from Cloze datasets.
///
/// Results go to stdout, progress to stderr. Exit codes: 0 done; 2 bad input or any other error, told in one line; 130 and
/// 143 stopped by SIGINT (Ctrl-C) or SIGTERM after a clean checkpoint, to be continued with --resume.
#[derive(Debug, Parser)]
#[command(name = "cloze-train", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a BERT on masked tokens and next sentences (phase 1, or phase 2 with --init).
    Pretrain(PretrainArgs),
    /// Train a BERT on a labelled task and evaluate it after every epoch.
    #[command(subcommand)]
    Finetune(FinetuneCommand),
    /// Score a fine-tuned checkpoint: predictions and eval.json.
    #[command(subcommand)]
    Evaluate(EvaluateCommand),
    /// Predict with a fine-tuned checkpoint; labels are not needed.
    #[command(subcommand)]
    Predict(EvaluateCommand),
}

#[derive(Debug, Subcommand)]
enum FinetuneCommand {
    /// Question answering on SQuAD v1.1 or v2.0: exact match and F1.
    Squad(FinetuneArgs),
    /// A GLUE task of one sentence or a pair, with the task's own metrics.
    Glue(FinetuneArgs),
}

#[derive(Debug, Subcommand)]
enum EvaluateCommand {
    /// Question answering on SQuAD v1.1 or v2.0: exact match and F1.
    Squad(EvaluateArgs),
    /// A GLUE task of one sentence or a pair, with the task's own metrics.
    Glue(EvaluateArgs),
}

/// Where it runs and how often it reports.
#[derive(Args, Debug)]
#[command(next_help_heading = "Run (override the recipe)")]
struct RunFlags {
    /// Seed of initial weights, order, dynamic masks and dropout.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long)]
    device: Option<String>,
    /// Threads of libtorch on the CPU; all cores by default.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Steps between rows of metrics.jsonl.
    #[arg(long, value_name = "STEPS")]
    log_every: Option<u64>,
    /// Steps between checkpoints.
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u64>,
    /// Checkpoints kept.
    #[arg(long, value_name = "N")]
    keep_checkpoints: Option<usize>,
}

/// What decides the result.
#[derive(Args, Debug)]
#[command(next_help_heading = "Learning (override the recipe)")]
struct LearningFlags {
    /// Instances per step, over all micro-batches.
    #[arg(long, value_name = "N")]
    global_batch_size: Option<u64>,
    /// Bound on sequences times longest sequence of one forward and backward pass.
    #[arg(long, value_name = "TOKENS")]
    micro_batch_tokens: Option<u64>,
    /// Peak learning rate.
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Share of the steps that warms up.
    #[arg(long, value_name = "SHARE")]
    warmup_fraction: Option<f64>,
    /// Decoupled weight decay.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// The gradient is scaled down to this norm.
    #[arg(long, value_name = "NORM")]
    max_grad_norm: Option<f64>,
}

#[derive(Args, Debug)]
struct PretrainArgs {
    /// TOML recipe; without one, BERT-base and the defaults of phase 1. A resumed run has its own.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Dataset made by `cloze-prep build`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Dataset to measure on; DATA/held-out by default, if it is there.
    #[arg(long, value_name = "DIR")]
    held_out: Option<PathBuf>,
    /// Run directory: metrics.jsonl, checkpoints, summary.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Model, checkpoint or run to start from: weights, and moments where there are any.
    #[arg(long, value_name = "DIR")]
    init: Option<PathBuf>,
    /// Go on with the run in OUT from its newest whole checkpoint.
    #[arg(long)]
    resume: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Optimizer updates.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// static, dynamic or auto.
    #[arg(long, value_parser = parse_masking)]
    masking: Option<MaskingMode>,
    /// Steps between held-out measurements.
    #[arg(long, value_name = "STEPS")]
    held_out_every: Option<u64>,
    #[command(flatten)]
    learning: LearningFlags,
    #[command(flatten)]
    run: RunFlags,
}

#[derive(Args, Debug)]
struct FinetuneArgs {
    /// TOML recipe; a resumed run has its own.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Training dataset made by `cloze-prep squad` or `glue`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Dataset to evaluate on after every epoch; several for MNLI, matched and mismatched.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    dev: Vec<PathBuf>,
    /// Run directory: metrics.jsonl, checkpoints, predictions, eval.json, summary.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Hugging Face model directory, checkpoint or run to start from.
    #[arg(long, value_name = "DIR")]
    init: Option<PathBuf>,
    /// Go on with the run in OUT from its newest whole checkpoint.
    #[arg(long)]
    resume: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Passes over the training dataset.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    #[command(flatten)]
    learning: LearningFlags,
    #[command(flatten)]
    answers: AnswerFlags,
    #[command(flatten)]
    run: RunFlags,
}

/// SQuAD's search for answers.
#[derive(Args, Debug)]
#[command(next_help_heading = "SQuAD")]
struct AnswerFlags {
    /// Starts and ends tried per window, and answers kept per question.
    #[arg(long, value_name = "N")]
    n_best_size: Option<usize>,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "TOKENS")]
    max_answer_length: Option<usize>,
    /// SQuAD v2.0: no answer is given where its score exceeds the best answer's by more than this.
    #[arg(long, value_name = "LOGITS", allow_negative_numbers = true)]
    null_score_diff_threshold: Option<f64>,
}

#[derive(Args, Debug)]
struct EvaluateArgs {
    /// Dataset made by `cloze-prep squad` or `glue`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Fine-tuned model directory, checkpoint or run.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Where predictions, eval.json and summary.json go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads of libtorch on the CPU; all cores by default.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Bound on sequences times longest sequence of a forward pass.
    #[arg(long, value_name = "TOKENS", default_value_t = FinetuneData::default().evaluation_batch_tokens)]
    batch_tokens: u64,
    #[command(flatten)]
    answers: AnswerFlags,
}

fn parse_masking(text: &str) -> std::result::Result<MaskingMode, String> {
    match text {
        "auto" => Ok(MaskingMode::Auto),
        "static" => Ok(MaskingMode::Static),
        "dynamic" => Ok(MaskingMode::Dynamic),
        _ => Err("expected auto, static or dynamic".to_owned()),
    }
}

impl RunFlags {
    fn apply(&self, run: &mut RunSection) {
        set(&mut run.seed, self.seed);
        set(&mut run.device, self.device.clone());
        run.threads = self.threads.or(run.threads);
        set(&mut run.log_every, self.log_every);
        set(&mut run.checkpoint_every, self.checkpoint_every);
        set(&mut run.keep_checkpoints, self.keep_checkpoints);
    }
}

impl AnswerFlags {
    fn apply(&self, answers: &mut AnswerConfig) {
        set(&mut answers.n_best_size, self.n_best_size);
        set(&mut answers.max_answer_length, self.max_answer_length);
        set(&mut answers.null_score_diff_threshold, self.null_score_diff_threshold);
    }
}

fn set<T>(setting: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *setting = value;
    }
}

/// The file if one is given, else what a resumed run has stored, else the defaults.
fn base<R: Recipe>(file: Option<&PathBuf>, stored: Option<R>) -> Result<R> {
    match file {
        Some(path) => R::read(path),
        None => Ok(stored.unwrap_or_default()),
    }
}

impl PretrainArgs {
    fn resolve(&self, stored: Option<PretrainRecipe>) -> Result<PretrainRecipe> {
        let mut recipe = base(self.recipe.as_ref(), stored)?;
        let learning = &self.learning;
        self.run.apply(&mut recipe.run);
        set(&mut recipe.schedule.steps, self.steps);
        set(&mut recipe.schedule.warmup_fraction, learning.warmup_fraction);
        set(&mut recipe.data.masking, self.masking);
        set(&mut recipe.data.held_out_every, self.held_out_every);
        set(&mut recipe.data.global_batch_size, learning.global_batch_size);
        recipe.data.micro_batch_tokens = learning.micro_batch_tokens.or(recipe.data.micro_batch_tokens);
        set(&mut recipe.optimizer.learning_rate, learning.learning_rate);
        set(&mut recipe.optimizer.weight_decay, learning.weight_decay);
        set(&mut recipe.optimizer.max_grad_norm, learning.max_grad_norm);
        Ok(recipe)
    }

    fn run(&self) -> Result<Summary> {
        let Self { data, held_out, out, init, resume, .. } = self;
        let options = PretrainOptions {
            data: data.clone(),
            held_out: held_out.clone(),
            out: out.clone(),
            init: init.clone(),
            resume: *resume,
        };
        pretrain::run(&options, &|stored| self.resolve(stored))
    }
}

impl FinetuneArgs {
    fn resolve(&self, stored: Option<FinetuneRecipe>) -> Result<FinetuneRecipe> {
        let mut recipe = base(self.recipe.as_ref(), stored)?;
        let learning = &self.learning;
        self.run.apply(&mut recipe.run);
        self.answers.apply(&mut recipe.squad);
        set(&mut recipe.schedule.epochs, self.epochs);
        set(&mut recipe.schedule.warmup_fraction, learning.warmup_fraction);
        set(&mut recipe.data.global_batch_size, learning.global_batch_size);
        recipe.data.micro_batch_tokens = learning.micro_batch_tokens.or(recipe.data.micro_batch_tokens);
        set(&mut recipe.optimizer.learning_rate, learning.learning_rate);
        set(&mut recipe.optimizer.weight_decay, learning.weight_decay);
        set(&mut recipe.optimizer.max_grad_norm, learning.max_grad_norm);
        Ok(recipe)
    }

    fn run(&self, task: FinetuneTask) -> Result<Summary> {
        let Self { data, dev, out, init, resume, .. } = self;
        let options = FinetuneOptions {
            task,
            data: data.clone(),
            dev: dev.clone(),
            out: out.clone(),
            init: init.clone(),
            resume: *resume,
        };
        finetune::run(&options, &|stored| self.resolve(stored))
    }
}

impl EvaluateArgs {
    fn run(&self, task: FinetuneTask) -> Result<Summary> {
        let mut answers = AnswerConfig::default();
        self.answers.apply(&mut answers);
        evaluate::run(&EvaluateOptions {
            task,
            data: self.data.clone(),
            checkpoint: self.checkpoint.clone(),
            out: self.out.clone(),
            run: RunSection { device: self.device.clone(), threads: self.threads, ..RunSection::default() },
            batch_tokens: self.batch_tokens,
            answers,
        })
    }
}

impl Command {
    fn run(&self) -> Result<Summary> {
        match self {
            Self::Pretrain(args) => args.run(),
            Self::Finetune(FinetuneCommand::Squad(args)) => args.run(FinetuneTask::Squad),
            Self::Finetune(FinetuneCommand::Glue(args)) => args.run(FinetuneTask::Glue),
            Self::Evaluate(EvaluateCommand::Squad(args)) | Self::Predict(EvaluateCommand::Squad(args)) => {
                args.run(FinetuneTask::Squad)
            }
            Self::Evaluate(EvaluateCommand::Glue(args)) | Self::Predict(EvaluateCommand::Glue(args)) => {
                args.run(FinetuneTask::Glue)
            }
        }
    }

    fn json(&self) -> bool {
        match self {
            Self::Pretrain(args) => args.json,
            Self::Finetune(FinetuneCommand::Squad(args) | FinetuneCommand::Glue(args)) => args.json,
            Self::Evaluate(EvaluateCommand::Squad(args) | EvaluateCommand::Glue(args))
            | Self::Predict(EvaluateCommand::Squad(args) | EvaluateCommand::Glue(args)) => args.json,
        }
    }
}

/// Runs the command of this process's arguments, writing its summary to `out`.
pub fn main(out: &mut dyn Write) -> ExitCode {
    let cli = Cli::parse();
    let summary = match cli.command.run() {
        Ok(summary) => summary,
        Err(error) => {
            say(&format!("error: {error}"));
            return ExitCode::from(2);
        }
    };
    if let Err(error) = summary.print(out, cli.command.json()).and_then(|()| out.flush()) {
        // Who closed the pipe has read what they wanted.
        if error.kind() != ErrorKind::BrokenPipe {
            say(&format!("error: stdout: {error}"));
            return ExitCode::from(2);
        }
    }
    match summary.stopped_by {
        None => ExitCode::SUCCESS,
        Some(signal) => {
            say(&stopped(signal, &summary));
            ExitCode::from(128 + u8::try_from(signal).unwrap_or(0))
        }
    }
}

fn stopped(signal: i32, summary: &Summary) -> String {
    let name = if signal == signal_hook::consts::SIGINT { "SIGINT" } else { "SIGTERM" };
    match summary.checkpoint() {
        Some(checkpoint) => format!("stopped by {name}; saved {checkpoint}, continue with --resume"),
        None => format!("stopped by {name}; nothing was written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_recipe() {
        let arguments =
            ["cloze-train", "pretrain", "--data", "d", "--out", "o", "--steps", "7", "--learning-rate", "1e-3"];
        let Command::Pretrain(args) = Cli::parse_from(arguments).command else { panic!("another command") };
        let mut stored = PretrainRecipe::default();
        stored.optimizer.weight_decay = 0.5;
        let recipe = args.resolve(Some(stored)).unwrap();
        assert_eq!(
            (recipe.schedule.steps, recipe.optimizer.learning_rate, recipe.optimizer.weight_decay),
            (7, 1e-3, 0.5)
        );
    }
}
