//! `cloze-train export`: checkpoints of ours become those of other programs.

use std::path::{Path, PathBuf};

use cloze_formats::{Vocabulary, durable};

use super::architecture::Architecture;
use super::import::Format;
use super::publish::{Model, nvidia_state, publish_directory, write_huggingface, write_tensorflow};
use super::pytorch::{Item, write_items};
use super::source::{PYTORCH, SAFETENSORS, Source};
use super::{huggingface, vocabulary};
use crate::error::{Error, Result};
use crate::model::config::Activation;
use crate::setup::Origin;
use crate::summary::Summary;

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Checkpoint, run or model directory.
    pub checkpoint: PathBuf,
    /// The format to write.
    pub format: Format,
    /// The class to write; by default the checkpoint's own.
    pub architecture: Option<Architecture>,
    /// Rows of the word table; by default as many as there are.
    pub vocab_size: Option<i64>,
    /// The directory to make; NVIDIA's format: the file.
    pub out: PathBuf,
}

/// Exports a checkpoint and says what became of it.
///
/// # Errors
/// It cannot be read, lacks weights of the architecture, has tokens beyond the vocabulary's new size; or `out` cannot be written.
pub fn run(options: &ExportOptions) -> Result<Summary> {
    let Origin { dir, state, config } = Origin::open(&options.checkpoint)?;
    let source = Source::read_directory(&dir)?;
    let names = || source.weights.keys().map(String::as_str);
    let architecture = options.architecture.unwrap_or_else(|| Architecture::detect(names(), &config));
    if architecture.has_masked_lm() {
        source.check_tied()?;
    }
    let old_size = config.vocab_size;
    let vocabulary_path = dir.join(vocabulary::VOCABULARY);
    let vocabulary = if vocabulary_path.is_file() { Some(Vocabulary::read(&vocabulary_path)?) } else { None };
    let vocab_size = options.vocab_size.unwrap_or(old_size);
    check_size(vocab_size, old_size, vocabulary.as_ref(), &dir)?;
    let mut model = Model::take(source, architecture, config)?;
    model.resize(vocab_size)?;
    huggingface::describe(&mut model.config, architecture);
    let copy = |out: &Path| copy_vocabulary(&dir, out, &model, vocabulary.as_ref());
    match options.format {
        Format::Huggingface => publish_directory(&options.out, |out| {
            write_huggingface(out, &model, SAFETENSORS)?;
            copy(out)
        })?,
        Format::Pytorch => publish_directory(&options.out, |out| {
            write_huggingface(out, &model, PYTORCH)?;
            copy(out)
        })?,
        Format::Tensorflow => publish_directory(&options.out, |out| {
            write_tensorflow(out, &model)?;
            copy(out)
        })?,
        Format::Nvidia => write_nvidia(&options.out, &model)?,
    }
    let mut summary = Summary::default();
    summary.add("checkpoint", dir.display().to_string(), dir.display().to_string());
    summary.add("format", options.format.to_string(), options.format.to_string());
    if options.format == Format::Tensorflow && model.config.hidden_act == Activation::Gelu {
        let text =
            "gelu by the error function; Google's scripts compute gelu in its tanh form, which differs by up to 0.0005";
        summary.add("hidden_act", "gelu", text);
    }
    model.report(&mut summary, old_size);
    if let Some(state) = state {
        let text = format!("moments and position of step {}, as other programs cannot use them", state.position.step);
        summary.add("left_out", vec!["optimizer.safetensors", "state.json"], text);
    }
    summary.add("out", options.out.display().to_string(), options.out.display().to_string());
    Ok(summary)
}

/// Trimming may not cut off a token.
fn check_size(vocab_size: i64, old_size: i64, vocabulary: Option<&Vocabulary>, dir: &Path) -> Result<()> {
    let least = vocabulary.map_or(1, Vocabulary::len) as i64;
    if vocab_size < least {
        return Err(Error::Invalid(format!(
            "--vocab-size: expected at least {least}, the tokens of {}, found {vocab_size}",
            dir.join(vocabulary::VOCABULARY).display()
        )));
    }
    if vocab_size < old_size && vocabulary.is_none() && !vocabulary::is_padding_of(old_size, vocab_size) {
        return Err(Error::Invalid(format!(
            "--vocab-size: expected {old_size} or its padding left out, found {vocab_size}; there is no vocab.txt to tell \
             which rows are tokens"
        )));
    }
    Ok(())
}

/// vocab.txt and tokenizer_config.json, as far as they are there.
fn copy_vocabulary(dir: &Path, out: &Path, model: &Model, vocabulary: Option<&Vocabulary>) -> Result<()> {
    let Some(vocabulary) = vocabulary else { return Ok(()) };
    durable::write(out.join(vocabulary::VOCABULARY), vocabulary.bytes())?;
    let stored = dir.join(vocabulary::TOKENIZER_CONFIG);
    let text = if stored.is_file() {
        std::fs::read(&stored).map_err(Error::io(&stored))?
    } else {
        vocabulary::tokenizer_config(vocabulary::is_cased(vocabulary), &model.config).into_bytes()
    };
    Ok(durable::write(out.join(vocabulary::TOKENIZER_CONFIG), &text)?)
}

/// A dict with `model`, and the `epoch` and `data_loader` that NVIDIA's scripts look for; both begin anew.
fn write_nvidia(out: &Path, model: &Model) -> Result<()> {
    if out.exists() {
        return Err(Error::file(out, "expected a new file, found something there; give another --out"));
    }
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    let tensors = nvidia_state(model)?;
    let root = vec![("model", Item::Tensors(&tensors)), ("epoch", Item::Int(0)), ("data_loader", Item::None)];
    write_items(out, &Item::Dict(root))
}
