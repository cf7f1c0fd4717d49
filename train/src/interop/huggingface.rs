//! A model as a Hugging Face directory: `config.json` and `model.safetensors`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use cloze_formats::durable;
use serde_json::json;

use super::architecture::{Architecture, WORD_EMBEDDINGS};
use super::safetensors::write_tensors;
use super::source::{SAFETENSORS, Source, Weight, canonical};
use crate::error::{Error, Result};
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};

const CONFIG: &str = "config.json";

/// What to do when the file lacks weights of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// An error: the model is to be used as it is.
    Forbidden,
    /// The head and the pooler may stay freshly initialised, as when fine-tuning starts; the encoder may not.
    HeadMayBeNew,
}

/// What became of each weight; `Display` is a few lines for a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Weights of the model that were read.
    pub loaded: Vec<String>,
    /// Weights of the model that the file lacks: they stay as initialised.
    pub missing: Vec<String>,
    /// Tensors of the file, by its own names, that the model has no use for.
    pub unexpected: Vec<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weights loaded", self.loaded.len())?;
        if !self.missing.is_empty() {
            write!(f, "\nnot in the checkpoint, freshly initialised: {}", self.missing.join(", "))?;
        }
        if !self.unexpected.is_empty() {
            write!(f, "\nin the checkpoint, not used by this model: {}", self.unexpected.join(", "))?;
        }
        Ok(())
    }
}

/// Reads and validates `config.json` of a model directory.
///
/// # Errors
/// When it cannot be read or describes a model that cannot be built.
pub fn read_config(directory: &Path) -> Result<BertConfig> {
    let path = directory.join(CONFIG);
    if !path.exists() {
        return Err(Error::file(
            directory,
            "expected a model directory with config.json and model.safetensors, found no config.json",
        ));
    }
    BertConfig::read(&path)
}

/// Copies the weights of a model directory into `model`, which has the directory's configuration.
///
/// Any file and any names that [`Source`] understands.
///
/// # Errors
/// When the file cannot be read; a weight has another shape; the encoder is not whole, or larger than the model's; a weight is
/// missing that `missing` does not allow to be; or the model has the masked-LM head and the file's decoder is not tied.
pub fn load_weights(model: &mut Bert, directory: &Path, missing: Missing) -> Result<LoadReport> {
    let mut source = Source::read_directory(directory)?;
    if model.head() == Head::PreTraining {
        source.check_tied()?;
    }
    let path = source.path;
    let mut report = LoadReport::default();
    for entry in model.parameters().entries() {
        let Some(Weight { tensor, .. }) = source.weights.remove(&entry.name) else {
            report.missing.push(entry.name.clone());
            continue;
        };
        // The classifier of another task, with another number of labels, is replaced like one that is not there.
        if tensor.size() != entry.shape && missing == Missing::HeadMayBeNew && entry.name.starts_with("classifier.") {
            report.missing.push(entry.name.clone());
            report.unexpected.push(entry.name.clone());
            continue;
        }
        if tensor.size() != entry.shape {
            let (expected, found) = (&entry.shape, tensor.size());
            return Err(Error::file(
                &path,
                format!("{}: expected shape {expected:?} by config.json, found {found:?}", entry.name),
            ));
        }
        model.parameters().view(entry)?.f_copy_(&tensor)?;
        report.loaded.push(entry.name.clone());
    }
    report.unexpected.extend(source.weights.into_values().map(|weight| weight.own_name));
    report.unexpected.sort();
    check_report(&path, &report, missing)?;
    Ok(report)
}

fn check_report(path: &Path, report: &LoadReport, missing: Missing) -> Result<()> {
    let is_encoder = |name: &&String| name.starts_with("bert.embeddings.") || name.starts_with("bert.encoder.");
    let num_missing = report.missing.len();
    if report.loaded.is_empty() {
        let example = report.unexpected.first().map_or("nothing", String::as_str);
        return Err(Error::file(path, format!("expected BERT's weights ({WORD_EMBEDDINGS} ...), found {example}")));
    }
    if let Some(name) = report.missing.iter().find(is_encoder) {
        return Err(Error::file(
            path,
            format!("expected every weight of the encoder, found no {name} ({num_missing} missing)"),
        ));
    }
    if missing == Missing::Forbidden && num_missing > 0 {
        let names = report.missing.join(", ");
        return Err(Error::file(
            path,
            format!("expected every weight of the model, found no {names}; fine-tune or pre-train it first"),
        ));
    }
    if let Some(name) = report.unexpected.iter().find(|name| is_encoder(&&canonical(name))) {
        return Err(Error::file(
            path,
            format!("{name}: expected no such weight by config.json, found one; the two files do not go together"),
        ));
    }
    Ok(())
}

/// Writes `config.json` and `model.safetensors` into `directory`, which exists; each appears whole or not at all.
///
/// # Errors
/// When a file cannot be written.
pub fn write_model(model: &Bert, directory: &Path) -> Result<()> {
    let parameters = model.parameters();
    let mut tensors = Vec::with_capacity(parameters.entries().len());
    for entry in parameters.entries() {
        tensors.push((entry.name.clone(), parameters.view(entry)?));
    }
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_tensors(&directory.join(SAFETENSORS), &tensors, &metadata)?;
    Ok(durable::write(directory.join(CONFIG), config_for(model).to_json().as_bytes())?)
}

/// The model's configuration with what Hugging Face's loader wants to know about the head.
fn config_for(model: &Bert) -> BertConfig {
    let mut config = model.config().clone();
    describe(&mut config, model.head().into());
    if let Head::SequenceClassification { num_labels } = model.head() {
        set_labels(&mut config, num_labels);
    }
    config
}

/// Notes in `config` what the weights beside it are: of `architecture`, f32, with a tied decoder, whatever they were read from.
pub(super) fn describe(config: &mut BertConfig, architecture: Architecture) {
    config.other.insert("architectures".to_owned(), json!([architecture.to_string()]));
    config.other.remove("dtype");
    config.other.insert("torch_dtype".to_owned(), json!("float32"));
    config.other.insert("tie_word_embeddings".to_owned(), json!(true));
    config.other.insert("model_type".to_owned(), json!("bert"));
}

/// Gives `config` this number of labels; names that it has for as many stay.
pub(super) fn set_labels(config: &mut BertConfig, num_labels: i64) {
    if config.num_labels() == num_labels {
        return;
    }
    let label = |id: i64| format!("LABEL_{id}");
    let id2label: BTreeMap<String, String> = (0..num_labels).map(|id| (id.to_string(), label(id))).collect();
    let label2id: BTreeMap<String, i64> = (0..num_labels).map(|id| (label(id), id)).collect();
    config.other.insert("id2label".to_owned(), json!(id2label));
    config.other.insert("label2id".to_owned(), json!(label2id));
}
