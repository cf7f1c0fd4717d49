//! `cloze-train pretrain`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{LearningFlags, RunFlags, StartFlags, WorldFlags, base, set};
use crate::error::Result;
use crate::pretrain::{self, DryRun, PretrainOptions};
use crate::recipe::{MaskingMode, Preset, PretrainRecipe, read_or_named};
use crate::summary::Summary;

#[derive(Args, Debug)]
pub(super) struct PretrainArgs {
    /// Dataset made by `cloze-prep build`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Dataset to measure on; DATA/held-out by default, if it is there.
    #[arg(long, value_name = "DIR")]
    held_out: Option<PathBuf>,
    /// Run directory: metrics.jsonl, checkpoints, summary.json.
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) start: StartFlags,
    /// Print what the run would do (steps, work, memory, time) and end; nothing is written.
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Dry run: estimate the time from this rate of one device instead of measuring a few micro-batches here.
    #[arg(long, value_name = "TFLOP/S", requires = "dry_run")]
    tflops: Option<f64>,
    /// Machine to fit to: a100 (80 GB), h100, h200, or several such as 8xh100. Sets precision (bf16) and --micro-batch-tokens (from
    /// the memory estimate) where their flags do not.
    #[arg(long, value_name = "MACHINE", conflicts_with = "resume")]
    preset: Option<Preset>,
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
        let mut recipe = base(self.start.recipe.as_ref(), stored, read_or_named)?;
        set(&mut recipe.run.precision, self.preset.map(Preset::precision));
        self.run.apply(&mut recipe.run);
        let PretrainRecipe { optimizer, data, schedule, .. } = &mut recipe;
        set(&mut schedule.steps, self.steps);
        set(&mut data.masking, self.masking);
        set(&mut data.held_out_every, self.held_out_every);
        let batch = (&mut data.global_batch_size, &mut data.micro_batch_tokens);
        self.learning.apply(optimizer, batch, (&mut schedule.warmup_fraction, &mut schedule.curve));
        Ok(recipe)
    }

    pub(super) fn run(&self) -> Result<Summary> {
        let Self { data, held_out, out, start, .. } = self;
        let options = PretrainOptions {
            data: data.clone(),
            held_out: held_out.clone(),
            out: out.clone().unwrap_or_default(),
            init: start.init.clone(),
            resume: start.resume,
            fit: self.preset.filter(|_| self.learning.micro_batch_tokens.is_none()),
            patience: self.world.patience(),
        };
        let resolve = |stored| self.resolve(stored);
        if self.dry_run {
            return pretrain::dry_run(&options, &resolve, DryRun { tflops: self.tflops, preset: self.preset });
        }
        pretrain::run(&options, &resolve)
    }
}
