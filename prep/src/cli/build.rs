//! `build`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cloze_formats::config::{InstanceConfig, MaskingMode};
use cloze_formats::{Dataset, Kind};

use super::Context;
use crate::build::build;
use crate::inspect::Facts;
use crate::inspect::render::{bytes, counted};

/// `build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Corpus made by `tokenize`.
    #[arg(long, value_name = "DIR")]
    pub corpus: PathBuf,
    /// Directory of the dataset to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// 1: sequence length 128, 20 predictions; 2: 512 and 80.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub phase: u8,
    /// When masks are decided: once, here (static), or by the trainer, anew in each epoch (dynamic).
    #[arg(long, value_enum, default_value_t = MaskingArg::Dynamic)]
    pub masking: MaskingArg,
    /// Times each document is made into instances, each time differently [default: 5 static, 1 dynamic]
    #[arg(long, value_name = "N")]
    pub dupe_factor: Option<u32>,
    /// Seed of all draws.
    #[arg(long, default_value_t = 12345)]
    pub seed: u64,
    /// Tokens per instance at most [default: by phase]
    #[arg(long, value_name = "N")]
    pub max_seq_length: Option<u16>,
    /// Positions to predict per instance at most [default: by phase]
    #[arg(long, value_name = "N")]
    pub max_predictions_per_seq: Option<u16>,
    /// Share of the tokens to predict.
    #[arg(long, default_value_t = 0.15, value_name = "P")]
    pub masked_lm_prob: f64,
    /// Probability of an instance of shorter target length.
    #[arg(long, default_value_t = 0.1, value_name = "P")]
    pub short_seq_prob: f64,
    /// Share of the documents to keep apart for evaluation, in OUT/held-out. The same ones for each phase.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub held_out: f64,
    /// Number of shards; 0 for by size.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub num_shards: u32,
}

/// When masks are decided.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MaskingArg {
    /// Once, when shards are built.
    Static,
    /// By the trainer, anew in each epoch.
    Dynamic,
}

impl BuildArgs {
    /// The configuration that the flags stand for.
    pub fn config(&self) -> InstanceConfig {
        let masking = match self.masking {
            MaskingArg::Static => MaskingMode::Static,
            MaskingArg::Dynamic => MaskingMode::Dynamic,
        };
        let defaults = InstanceConfig::for_phase(self.phase, masking);
        InstanceConfig {
            max_seq_length: self.max_seq_length.unwrap_or(defaults.max_seq_length),
            max_predictions_per_seq: self.max_predictions_per_seq.unwrap_or(defaults.max_predictions_per_seq),
            dupe_factor: self.dupe_factor.unwrap_or(defaults.dupe_factor),
            seed: self.seed,
            masked_lm_prob: self.masked_lm_prob,
            short_seq_prob: self.short_seq_prob,
            held_out: self.held_out,
            num_shards: self.num_shards,
            ..defaults
        }
    }

    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        let corpus = Dataset::open_kind(&self.corpus, Kind::Corpus)?;
        let manifests = build(&corpus, &self.config(), &self.out, context.progress)?;
        if context.json {
            context.emit_json(&Facts::read(&self.out)?)?;
            return Ok(());
        }
        for (manifest, part) in manifests.iter().zip(["", "/held-out"]) {
            let (instances, tokens) =
                (counted(manifest.num_rows(), "instance"), counted(manifest.num_tokens(), "token"));
            let (shards, size) = (counted(manifest.shards.len() as u64, "shard"), bytes(manifest.num_bytes()));
            let dir = format!("{}{part}", self.out.display());
            writeln!(context.out, "{dir}: {instances}, {tokens} in {shards}, {size}")?;
        }
        writeln!(context.out, "  in {:.1} s", started.elapsed().as_secs_f64())?;
        Ok(())
    }
}
