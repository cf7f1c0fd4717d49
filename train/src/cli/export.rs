//! `cloze-train export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::Result;
use crate::interop::architecture::Architecture;
use crate::interop::export::{self, ExportOptions};
use crate::interop::import::Format;
use crate::summary::Summary;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExportFormat {
    /// A directory with model.safetensors.
    Huggingface,
    /// The same with pytorch_model.bin, a state dict that torch.load(weights_only=True) reads.
    Pytorch,
    /// One .pt file with `model` in it, as NVIDIA's BERT for PyTorch reads it (--init_checkpoint); weights only.
    Nvidia,
    /// A directory with Google's bert_model.ckpt (TensorFlow's V2 format, variables of google-research/bert, f32) and
    /// bert_config.json; weights only.
    Tensorflow,
}

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// Checkpoint, run (its newest checkpoint) or model directory.
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = ExportFormat::Huggingface)]
    format: ExportFormat,
    /// Class of transformers: BertForPreTraining, BertModel, BertForMaskedLM, BertForNextSentencePrediction,
    /// BertForSequenceClassification, BertForQuestionAnswering, BertForTokenClassification or BertForMultipleChoice. By default
    /// the one that all weights of the checkpoint belong to.
    #[arg(long, value_name = "CLASS")]
    architecture: Option<Architecture>,
    /// Rows of the word embedding: 30522 leaves out the surplus rows of BERT's padded vocabulary.
    #[arg(long, value_name = "N")]
    vocab_size: Option<i64>,
    /// Directory to make; with nvidia the file.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl ExportArgs {
    pub(super) fn run(&self) -> Result<Summary> {
        let format = match self.format {
            ExportFormat::Huggingface => Format::Huggingface,
            ExportFormat::Pytorch => Format::Pytorch,
            ExportFormat::Nvidia => Format::Nvidia,
            ExportFormat::Tensorflow => Format::Tensorflow,
        };
        export::run(&ExportOptions {
            checkpoint: self.checkpoint.clone(),
            format,
            architecture: self.architecture,
            vocab_size: self.vocab_size,
            out: self.out.clone(),
        })
    }
}
