//! `cloze-train finetune squad` and `glue`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::flags::{AnswerFlags, LearningFlags, RunFlags, StartFlags, WorldFlags, base, set};
use crate::error::Result;
use crate::finetune::{self, FinetuneOptions, FinetuneTask};
use crate::recipe::{FinetuneRecipe, Recipe};
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
        args.start.json
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
    /// Training dataset made by `cloze-prep squad` or `glue`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Dataset to evaluate on after every epoch; several for MNLI, matched and mismatched.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    dev: Vec<PathBuf>,
    /// Run directory: metrics.jsonl, checkpoints, predictions, eval.json, summary.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Passes over the training dataset.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    #[command(flatten)]
    start: StartFlags,
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
        let mut recipe = base(self.start.recipe.as_ref(), stored, FinetuneRecipe::read)?;
        self.run.apply(&mut recipe.run);
        self.answers.apply(&mut recipe.squad);
        let FinetuneRecipe { optimizer, data, schedule, .. } = &mut recipe;
        set(&mut schedule.epochs, self.epochs);
        let batch = (&mut data.global_batch_size, &mut data.micro_batch_tokens);
        self.learning.apply(optimizer, batch, (&mut schedule.warmup_fraction, &mut schedule.curve));
        Ok(recipe)
    }

    fn run(&self, task: FinetuneTask) -> Result<Summary> {
        let Self { data, dev, out, start, .. } = self;
        let options = FinetuneOptions {
            task,
            data: data.clone(),
            dev: dev.clone(),
            out: out.clone(),
            init: start.init.clone(),
            resume: start.resume,
            patience: self.world.patience(),
        };
        finetune::run(&options, &|stored| self.resolve(stored))
    }
}
