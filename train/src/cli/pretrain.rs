//! `cloze-train pretrain`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{LearningFlags, RunFlags, WorldFlags, base, set};
use crate::error::Result;
use crate::pretrain::{self, PretrainOptions};
use crate::recipe::{MaskingMode, PretrainRecipe};
use crate::summary::Summary;

#[derive(Args, Debug)]
pub(super) struct PretrainArgs {
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
    pub(super) json: bool,
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
    #[command(flatten)]
    pub(super) world: WorldFlags,
}

fn parse_masking(text: &str) -> std::result::Result<MaskingMode, String> {
    match text {
        "auto" => Ok(MaskingMode::Auto),
        "static" => Ok(MaskingMode::Static),
        "dynamic" => Ok(MaskingMode::Dynamic),
        _ => Err("expected auto, static or dynamic".to_owned()),
    }
}

impl PretrainArgs {
    pub(super) fn resolve(&self, stored: Option<PretrainRecipe>) -> Result<PretrainRecipe> {
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

    pub(super) fn run(&self) -> Result<Summary> {
        let Self { data, held_out, out, init, resume, .. } = self;
        let options = PretrainOptions {
            data: data.clone(),
            held_out: held_out.clone(),
            out: out.clone(),
            init: init.clone(),
            resume: *resume,
            patience: self.world.patience(),
        };
        pretrain::run(&options, &|stored| self.resolve(stored))
    }
}
