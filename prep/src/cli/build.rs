//! `build`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cloze_formats::config::{Compat, InstanceConfig, MaskingMode};
use cloze_formats::{Dataset, Kind, Manifest};

use super::arguments::{WorldArgs, say_what_is_next};
use super::{Context, interrupt};
use crate::build::build_share;
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
    /// When masks are decided: once, here (static), or by the trainer, anew in each epoch (dynamic) [default: dynamic;
    /// static with --compat]
    #[arg(long, value_enum, hide_possible_values = true)]
    pub masking: Option<MaskingArg>,
    /// Predict all pieces of a word or none. With dynamic masking the trainer does.
    #[arg(long)]
    pub whole_word_masking: bool,
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
    /// Number of shards; 0 for by size. The held-out part has as many, or one for each of its instances where those are fewer.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub num_shards: u32,
    /// Re-create another program's instances bit for bit: those of NVIDIA's create_pretraining_data.py (nvidia) over
    /// the same sentences with --random_seed SEED. Its draws follow one another: slower, and by one process only; several
    /// ranks are refused.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// Several processes.
    #[command(flatten)]
    pub world: WorldArgs,
}

/// Programs whose instances can be re-created.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CompatArg {
    /// NVIDIA's create_pretraining_data.py.
    Nvidia,
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
        let compat = self.compat.map(|CompatArg::Nvidia| Compat::Nvidia);
        let masking = match (self.masking, compat) {
            (Some(MaskingArg::Static), _) | (None, Some(_)) => MaskingMode::Static,
            (Some(MaskingArg::Dynamic), _) | (None, None) => MaskingMode::Dynamic,
        };
        let defaults = InstanceConfig::for_phase(self.phase, masking);
        let max_seq_length = self.max_seq_length.unwrap_or(defaults.max_seq_length);
        let most_predictions = defaults.max_predictions_per_seq.min(max_seq_length);
        InstanceConfig {
            max_seq_length,
            max_predictions_per_seq: self.max_predictions_per_seq.unwrap_or(most_predictions),
            whole_word_masking: self.whole_word_masking,
            dupe_factor: self.dupe_factor.unwrap_or(defaults.dupe_factor),
            seed: self.seed,
            masked_lm_prob: self.masked_lm_prob,
            short_seq_prob: self.short_seq_prob,
            held_out: self.held_out,
            num_shards: self.num_shards,
            compat,
            ..defaults
        }
    }

    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        let world = self.world.resolve(context)?;
        interrupt::explain("build")?;
        let corpus = Dataset::open_kind(&self.corpus, Kind::Corpus)?;
        let manifests = build_share(&corpus, &self.config(), &self.out, world, context.progress)?;
        if !world.is_alone() {
            let rank = serde_json::json!({"rank": world.rank(), "world_size": world.world_size()});
            if !context.emit_json(&rank)? {
                writeln!(context.out, "{}:", self.out.display())?;
                say_what_is_next(context, world, &self.out)?;
            }
            return Ok(());
        }
        if context.json {
            context.emit_json(&Facts::read(&self.out)?)?;
            return Ok(());
        }
        describe(&manifests, &self.out, context)?;
        writeln!(context.out, "  in {:.1} s", started.elapsed().as_secs_f64())?;
        Ok(())
    }
}

/// Writes what a dataset and its held-out part hold.
pub(super) fn describe(manifests: &[Manifest], out: &Path, context: &mut Context<'_>) -> std::io::Result<()> {
    for (manifest, part) in manifests.iter().zip(["", "/held-out"]) {
        let (instances, tokens) = (counted(manifest.num_rows(), "instance"), counted(manifest.num_tokens(), "token"));
        let (shards, size) = (counted(manifest.shards.len() as u64, "shard"), bytes(manifest.num_bytes()));
        writeln!(context.out, "{}{part}: {instances}, {tokens} in {shards}, {size}", out.display())?;
    }
    Ok(())
}
