//! `cloze-train bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::bench::scaling::{self, BenchScalingOptions, Cluster};
use crate::bench::train::{self, BenchTrainOptions};
use crate::bench::{Lengths, Preset};
use crate::error::Result;
use crate::precision::Precision;
use crate::summary::Summary;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Steps of pre-training: sequences and tokens per second, share of the matrix-product limit, where the time goes.
    Train(BenchTrainArgs),
    /// Several processes on this machine against one, and what a model of compute and links foretells of clusters.
    Scaling(BenchScalingArgs),
}

impl BenchCommand {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Train(args) => args.json,
            Self::Scaling(args) => args.json,
        }
    }

    pub(super) fn run(&self) -> Result<Summary> {
        match self {
            Self::Train(args) => train::run(&args.options()),
            Self::Scaling(args) => scaling::run(&args.options()),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct BenchTrainArgs {
    /// mini, small, medium, base or large.
    #[arg(long, default_value = "mini")]
    model: Preset,
    /// Sequences per micro-batch; with --data, instances per step.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Micro-batches per step, with synthetic data.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    accumulation: u32,
    /// Tokens of every sequence.
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=65_535))]
    seq_len: u32,
    /// Lengths as this dataset has them instead, for speed without padding.
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    lengths: Option<PathBuf>,
    /// Masked tokens of a sequence of the full length; 20 up to 128 tokens, 80 above.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    masked: Option<u32>,
    /// Train on this dataset through its loader instead of synthetic sequences, and measure the loader.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Steps that are timed.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before those.
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup_steps: u32,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads on the CPU; all cores by default.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// What matrix products compute in.
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    precision: Precision,
    /// Print the results as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl BenchTrainArgs {
    fn options(&self) -> BenchTrainOptions {
        BenchTrainOptions {
            model: self.model,
            batch: u64::from(self.batch),
            accumulation: self.accumulation as usize,
            lengths: match &self.lengths {
                Some(dir) => Lengths::Of(dir.clone()),
                None => Lengths::All(i64::from(self.seq_len)),
            },
            masked: self.masked.map(i64::from),
            data: self.data.clone(),
            steps: self.steps as usize,
            warmup_steps: self.warmup_steps as usize,
            device: self.device.clone(),
            threads: self.threads,
            precision: self.precision,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct BenchScalingArgs {
    /// mini, small, medium, base or large.
    #[arg(long, default_value = "mini")]
    model: Preset,
    /// Sequences per process and step.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// Tokens of every sequence.
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=512))]
    seq_len: u32,
    /// Numbers of processes to compare with one.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [2], value_parser = clap::value_parser!(u32).range(1..=1024))]
    processes: Vec<u32>,
    /// Threads of each process.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    threads: u32,
    /// Steps that are timed.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// What a device of the foretold cluster sustains in a step.
    #[arg(long, value_name = "TFLOP/s", default_value_t = Cluster::default().device_flops_per_s / 1e12)]
    tflops: f64,
    /// Its share of an all-reduce within a machine.
    #[arg(long, value_name = "GB/s", default_value_t = Cluster::default().local_bytes_per_s / 1e9)]
    local_gb_per_s: f64,
    /// Its share of the network between machines.
    #[arg(long, value_name = "GB/s", default_value_t = Cluster::default().network_bytes_per_s / 1e9)]
    network_gb_per_s: f64,
    /// Devices of a machine.
    #[arg(long, value_name = "N", default_value_t = Cluster::default().local_devices, value_parser = clap::value_parser!(u32).range(1..=1024))]
    local_devices: u32,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

impl BenchScalingArgs {
    fn options(&self) -> BenchScalingOptions {
        BenchScalingOptions {
            model: self.model,
            batch: self.batch,
            seq_len: self.seq_len,
            processes: self.processes.clone(),
            threads: self.threads,
            steps: self.steps,
            cluster: Cluster {
                device_flops_per_s: self.tflops * 1e12,
                local_bytes_per_s: self.local_gb_per_s * 1e9,
                network_bytes_per_s: self.network_gb_per_s * 1e9,
                local_devices: self.local_devices,
                ..Cluster::default()
            },
        }
    }
}
