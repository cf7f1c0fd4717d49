//! `cloze-train import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::Result;
use crate::interop::import::{self, Format, ImportOptions};
use crate::summary::Summary;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ImportFormat {
    /// Found out from names and contents.
    Auto,
    /// A directory with model.safetensors or pytorch_model.bin, also in several files under an index.
    Huggingface,
    /// A state dict in a .bin, .pt or .pth file.
    Pytorch,
    /// ckpt_*.pt of NVIDIA's BERT for PyTorch.
    Nvidia,
    /// Google's bert_model.ckpt: give the path up to .ckpt, the .index file or the directory.
    Tensorflow,
}

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// File or directory. Pickles are read without running anything that is in them.
    #[arg(long, value_name = "PATH")]
    input: PathBuf,
    /// What it is.
    #[arg(long, value_enum, default_value_t = ImportFormat::Auto)]
    format: ImportFormat,
    /// The model's config.json or bert_config.json; beside the weights by default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The model's vocabulary; vocab.txt beside the weights by default.
    #[arg(long, value_name = "FILE")]
    vocab: Option<PathBuf>,
    /// Rows of the word embedding; by default padded to a multiple of 8 (30522 becomes 30528). Added rows are never predicted.
    #[arg(long, value_name = "N")]
    vocab_size: Option<i64>,
    /// Directory to make: config.json, model.safetensors, vocab.txt, tokenizer_config.json. --init takes it.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl ImportArgs {
    pub(super) fn run(&self) -> Result<Summary> {
        let format = match self.format {
            ImportFormat::Auto => None,
            ImportFormat::Huggingface => Some(Format::Huggingface),
            ImportFormat::Pytorch => Some(Format::Pytorch),
            ImportFormat::Nvidia => Some(Format::Nvidia),
            ImportFormat::Tensorflow => Some(Format::Tensorflow),
        };
        import::run(&ImportOptions {
            input: self.input.clone(),
            format,
            config: self.config.clone(),
            vocabulary: self.vocab.clone(),
            vocab_size: self.vocab_size,
            out: self.out.clone(),
        })
    }
}
