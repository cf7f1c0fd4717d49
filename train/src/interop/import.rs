//! `cloze-train import`: other programs' checkpoints become model directories.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use cloze_formats::{Vocabulary, durable};
use tch::Tensor;

use super::architecture::Architecture;
use super::moments::{self, Moments};
use super::publish::{Model, publish_directory, write_huggingface};
use super::source::{SAFETENSORS, Source};
use super::{huggingface, tensorflow, vocabulary};
use crate::error::{Error, Result};
use crate::model::config::{Activation, BertConfig};
use crate::summary::Summary;

/// What a checkpoint is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A directory with model.safetensors or pytorch_model.bin.
    Huggingface,
    /// A state dict in a .bin, .pt or .pth file.
    Pytorch,
    /// ckpt_*.pt of NVIDIA's BERT for PyTorch.
    Nvidia,
    /// Google's bert_model.ckpt.
    Tensorflow,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Huggingface => "huggingface",
            Self::Pytorch => "pytorch",
            Self::Nvidia => "nvidia",
            Self::Tensorflow => "tensorflow",
        })
    }
}

/// What to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// File or directory.
    pub input: PathBuf,
    /// Its format; found out by itself where it is `None`.
    pub format: Option<Format>,
    /// config.json or bert_config.json; beside the weights by default.
    pub config: Option<PathBuf>,
    /// vocab.txt; beside the weights by default.
    pub vocabulary: Option<PathBuf>,
    /// Rows of the word table; by default padded to a multiple of 8.
    pub vocab_size: Option<i64>,
    /// The directory to make.
    pub out: PathBuf,
}

/// Imports a checkpoint and says what became of it.
///
/// # Errors
/// It cannot be read, is not BERT, does not fit its configuration or lacks weights; nothing is left in `out` then.
pub fn run(options: &ImportOptions) -> Result<Summary> {
    let (format, input) = locate(&options.input, options.format)?;
    let beside = if input.is_dir() { input.as_path() } else { input.parent().unwrap_or(Path::new("")) };
    let config_path = config_path(options, beside)?;
    let mut config = BertConfig::read(&config_path)?;
    let is_tanh = fix_activation(&mut config, format);
    let mut source = read(&input, format)?;
    let moments = source.moments.take();
    let architecture = Architecture::detect(source.weights.keys().map(String::as_str), &config);
    if architecture.has_masked_lm() {
        source.check_tied()?;
    }
    let old_size = fit(&mut config, &source, architecture, &config_path)?;
    let vocabulary = find_vocabulary(options, beside, config.vocab_size)?;
    let new_size = new_size(options.vocab_size, vocabulary.as_ref(), &config)?;
    let (num_renamed, left_out) = (source.num_renamed(), source.left_out.clone());
    config.vocab_size = old_size;
    let mut model = Model::take(source, architecture, config)?;
    model.resize(new_size)?;
    huggingface::describe(&mut model.config, architecture);
    // Rows without a token have moments 0, and names of the moments are those of the weights: both or none.
    let moments = moments.map(|moments| fit_moments(moments, &model, new_size)).transpose()?.flatten();
    publish_directory(&options.out, |dir| {
        write_huggingface(dir, &model, SAFETENSORS)?;
        moments.iter().try_for_each(|moments| moments::write(dir, moments))?;
        vocabulary.iter().try_for_each(|found| write_vocabulary(dir, found, &model.config))
    })?;
    let mut summary = Summary::default();
    summary.add("input", input.display().to_string(), input.display().to_string());
    summary.add("format", format.to_string(), format.to_string());
    if is_tanh {
        summary.add("hidden_act", "gelu_new", "gelu -> gelu_new: what this format calls gelu is the tanh form (for weights of the erf form: \"model_type\": \"bert\" in --config)");
    }
    model.report(&mut summary, old_size);
    summary.add("renamed", num_renamed, num_renamed.to_string());
    let left = if left_out.is_empty() { "nothing".to_owned() } else { shorten(&left_out) };
    summary.add("left_out", left_out, left);
    let text = if moments.is_some() { "imported; pretrain --init takes them" } else { "none" };
    summary.add("moments", moments.is_some(), text);
    let tokens = match &vocabulary {
        Some(found) => format!("{} ({})", found.path.display(), if found.cased { "cased" } else { "lower case" }),
        None => "none found; give --vocab, if text is to be encoded with this model".to_owned(),
    };
    summary.add("vocabulary", vocabulary.map(|found| found.path.display().to_string()), tokens);
    summary.add("out", options.out.display().to_string(), options.out.display().to_string());
    Ok(summary)
}

/// The moments of `model`'s weights, with as many rows; `None` where one is missing.
fn fit_moments(mut moments: Moments, model: &Model, vocab_size: i64) -> Result<Option<Moments>> {
    let mut fitting = Moments::new();
    for (name, _) in &model.tensors {
        let Some(pair) = moments.remove(name) else { return Ok(None) };
        let [first, second] = pair.map(|tensor| vocabulary::resize_with_zeros(name, tensor, vocab_size));
        fitting.insert(name.clone(), [first?, second?]);
    }
    Ok(Some(fitting))
}

/// A few names and how many more.
pub(super) fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// What Google's and NVIDIA's configurations call `gelu` is the tanh form, which Hugging Face calls `gelu_new`. Hugging Face's, which
/// may stand beside such weights, have a `model_type`.
fn fix_activation(config: &mut BertConfig, format: Format) -> bool {
    let is_own = matches!(format, Format::Nvidia | Format::Tensorflow) && !config.other.contains_key("model_type");
    let is_tanh = is_own && config.hidden_act == Activation::Gelu;
    if is_tanh {
        config.hidden_act = Activation::GeluNew;
    }
    is_tanh
}

/// The file or directory of weights that `input` means, and its format.
fn locate(input: &Path, format: Option<Format>) -> Result<(Format, PathBuf)> {
    let index = |path: &Path| PathBuf::from(format!("{}.index", path.display()));
    if !input.exists() && index(input).is_file() {
        return Ok((format.unwrap_or(Format::Tensorflow), index(input)));
    }
    if input.is_file() {
        let ending = input.extension().unwrap_or_default().to_string_lossy().into_owned();
        let own = match &ending[..] {
            "index" => Format::Tensorflow,
            "safetensors" => Format::Huggingface,
            "pt" if is_nvidia(input) => Format::Nvidia,
            _ => Format::Pytorch,
        };
        return Ok((format.unwrap_or(own), input.to_owned()));
    }
    if !input.is_dir() {
        return Err(Error::file(input, "expected a checkpoint, found no such file or directory; check the path"));
    }
    let is_model = ["model.safetensors", "pytorch_model.bin"]
        .iter()
        .any(|name| input.join(name).is_file() || input.join(format!("{name}.index.json")).is_file());
    if is_model && format.is_none_or(|format| matches!(format, Format::Huggingface | Format::Pytorch)) {
        return Ok((format.unwrap_or(Format::Huggingface), input.to_owned()));
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(input).map_err(Error::io(input))? {
        let path = entry.map_err(Error::io(input))?.path();
        if path
            .extension()
            .is_some_and(|ending| ["index", "pt", "pth", "bin", "safetensors"].iter().any(|e| ending == *e))
        {
            files.push(path);
        }
    }
    files.sort();
    match &files[..] {
        [file] => locate(file, format),
        [] => {
            Err(Error::file(input, "expected a checkpoint in it (model.safetensors, *.bin, *.pt, *.index), found none"))
        }
        _ => {
            let names: Vec<_> =
                files.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect();
            Err(Error::file(input, format!("expected one checkpoint, found {}; give one of them", shorten(&names))))
        }
    }
}

/// NVIDIA's scripts name their checkpoints by the step.
fn is_nvidia(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ckpt_"))
}

fn read(input: &Path, format: Format) -> Result<Source> {
    if format != Format::Tensorflow {
        let is_safetensors = input.extension().is_some_and(|ending| ending == "safetensors");
        return match input.is_dir() {
            true => Source::read_directory(input),
            false if is_safetensors => Source::read_file(input),
            false => Source::read_training(input),
        };
    }
    let (tensors, left_out) = tensorflow::read(input)?;
    let mut source = Source::collect(input, tensors.into_iter())?;
    source.left_out = left_out;
    Ok(source)
}

fn config_path(options: &ImportOptions, beside: &Path) -> Result<PathBuf> {
    if let Some(path) = &options.config {
        return Ok(path.clone());
    }
    let found =
        ["config.json", tensorflow::CONFIG].map(|name| beside.join(name)).into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        let message = "expected a config.json or bert_config.json beside the weights, found neither; give the model's with --config";
        Error::file(if beside.as_os_str().is_empty() { Path::new(".") } else { beside }, message)
    })
}

/// The tokens that go with the weights.
struct FoundVocabulary {
    path: PathBuf,
    vocabulary: Vocabulary,
    cased: bool,
}

fn find_vocabulary(options: &ImportOptions, beside: &Path, vocab_size: i64) -> Result<Option<FoundVocabulary>> {
    let path = match &options.vocabulary {
        Some(path) => path.clone(),
        None if beside.join(vocabulary::VOCABULARY).is_file() => beside.join(vocabulary::VOCABULARY),
        None => return Ok(None),
    };
    let vocabulary = Vocabulary::read(&path)?;
    vocabulary::check(&path, &vocabulary, vocab_size)?;
    let cased = is_cased(beside, &vocabulary);
    Ok(Some(FoundVocabulary { path, vocabulary, cased }))
}

fn write_vocabulary(dir: &Path, found: &FoundVocabulary, config: &BertConfig) -> Result<()> {
    durable::write(dir.join(vocabulary::VOCABULARY), found.vocabulary.bytes())?;
    let tokenizer = vocabulary::tokenizer_config(found.cased, config);
    Ok(durable::write(dir.join(vocabulary::TOKENIZER_CONFIG), tokenizer.as_bytes())?)
}

/// What a tokenizer_config.json beside the weights says, else what the tokens show.
fn is_cased(beside: &Path, vocabulary: &Vocabulary) -> bool {
    let stored = fs::read(beside.join(vocabulary::TOKENIZER_CONFIG)).ok();
    let stored = stored.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let lower_case = stored.and_then(|json| json["do_lower_case"].as_bool());
    lower_case.map_or_else(|| vocabulary::is_cased(vocabulary), |lower_case| !lower_case)
}

/// Settles in `config` what weights know better: the number of labels, and that a word table may be padded. Gives its rows.
fn fit(config: &mut BertConfig, source: &Source, architecture: Architecture, config_path: &Path) -> Result<i64> {
    if architecture.has_labels()
        && !config.other.contains_key("id2label")
        && let Some(&[num_labels, width]) =
            source.weights.get("classifier.weight").map(|weight| weight.tensor.size()).as_deref()
        && width == config.hidden_size
    {
        huggingface::set_labels(config, num_labels);
    }
    match source.vocab_size() {
        Some(rows) if vocabulary::is_padding_of(rows, config.vocab_size) => Ok(rows),
        Some(rows) => {
            let message = format!(
                "{}: expected {} rows (vocab_size of {}), found {rows}; the two files do not go together",
                super::architecture::WORD_EMBEDDINGS,
                config.vocab_size,
                config_path.display()
            );
            Err(Error::file(&source.path, message))
        }
        // Which weights are missing is told together.
        None => Ok(config.vocab_size),
    }
}

/// Rows of the new word table.
fn new_size(given: Option<i64>, vocabulary: Option<&FoundVocabulary>, config: &BertConfig) -> Result<i64> {
    let least = vocabulary.map_or_else(
        || {
            if given.is_some_and(|given| vocabulary::is_padding_of(config.vocab_size, given)) {
                1
            } else {
                config.vocab_size
            }
        },
        |found| found.vocabulary.len() as i64,
    );
    match given {
        None => Ok(BertConfig::padded_vocab_size(u32::try_from(config.vocab_size).unwrap_or(u32::MAX))),
        Some(given) if given >= least => Ok(given),
        Some(given) => Err(Error::Invalid(format!(
            "--vocab-size: expected at least {least}, the tokens of the vocabulary, found {given}"
        ))),
    }
}

/// Names and tensors in the class's order.
pub(super) type Tensors = Vec<(String, Tensor)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_the_tanh_form_in_google_s_and_nvidia_s_own_configurations_only() {
        let with = |model_type: Option<&str>, format| {
            let mut config = BertConfig::default();
            config.other.extend(model_type.map(|name| ("model_type".to_owned(), name.into())));
            fix_activation(&mut config, format);
            config.hidden_act
        };
        assert_eq!(with(None, Format::Tensorflow), Activation::GeluNew);
        assert_eq!(with(None, Format::Nvidia), Activation::GeluNew);
        assert_eq!(with(Some("bert"), Format::Nvidia), Activation::Gelu);
        assert_eq!(with(None, Format::Pytorch), Activation::Gelu);
    }
}
