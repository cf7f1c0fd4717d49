//! `cloze-train evaluate` and `predict`, squad and glue.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::flags::AnswerFlags;
use crate::error::Result;
use crate::evaluate::{self, EvaluateOptions};
use crate::finetune::FinetuneTask;
use crate::metrics::answers::AnswerConfig;
use crate::precision::Precision;
use crate::recipe::{FinetuneData, RunSection};
use crate::summary::Summary;

#[derive(Debug, Subcommand)]
pub(super) enum EvaluateCommand {
    /// Question answering on SQuAD v1.1 or v2.0: exact match and F1.
    Squad(EvaluateArgs),
    /// A GLUE task of one sentence or a pair, with the task's own metrics.
    Glue(EvaluateArgs),
}

impl EvaluateCommand {
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
pub(super) struct EvaluateArgs {
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
    /// Threads on the CPU; all cores by default.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// What matrix products compute in; all else is fp32.
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    precision: Precision,
    /// Bound on sequences times longest sequence of a forward pass.
    #[arg(long, value_name = "TOKENS", default_value_t = FinetuneData::default().evaluation_batch_tokens)]
    batch_tokens: u64,
    #[command(flatten)]
    answers: AnswerFlags,
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
            run: RunSection {
                device: self.device.clone(),
                threads: self.threads,
                precision: self.precision,
                ..RunSection::default()
            },
            batch_tokens: self.batch_tokens,
            answers,
        })
    }
}
