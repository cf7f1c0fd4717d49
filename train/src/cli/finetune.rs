//! `cloze-train finetune squad` and `glue`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::flags::{AnswerFlags, LearningFlags, RunFlags, WorldFlags, base, set};
use crate::error::Result;
use crate::finetune::{self, FinetuneOptions, FinetuneTask};
use crate::recipe::FinetuneRecipe;
use crate::summary::Summary;

#[derive(Debug, Subcommand)]
pub(super) enum FinetuneCommand {
    /// Question answering on SQuAD v1.1 or v2.0: exact match and F1.
    Squad(FinetuneArgs),
    /// A GLUE task of one sentence or a pair, with the task's own metrics.
    Glue(FinetuneArgs),
}

impl FinetuneCommand {
    pub(super) fn world(&self) -> &WorldFlags {
        let (Self::Squad(args) | Self::Glue(args)) = self;
        &args.world
    }

    pub(super) fn json(&self) -> bool {
        let (Self::Squad(args) | Self::Glue(args)) = self;
        args.json
    }

    pub(super) fn run(&self) -> Result<Summary> {
        match self {
            Self::Squad(args) => args.run(FinetuneTask::Squad),
            Self::Glue(args) => args.run(FinetuneTask::Glue),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct FinetuneArgs {
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
    #[command(flatten)]
    pub(super) world: WorldFlags,
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
            patience: self.world.patience(),
        };
        finetune::run(&options, &|stored| self.resolve(stored))
    }
}
