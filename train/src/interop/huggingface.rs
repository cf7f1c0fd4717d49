//! A model as a Hugging Face directory: `config.json` and `model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use cloze_formats::durable;
use serde_json::json;
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};

pub use super::safetensors::{read_tensors, write_tensors};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const WORD_EMBEDDINGS: &str = "bert.embeddings.word_embeddings.weight";
const DECODER_WEIGHT: &str = "cls.predictions.decoder.weight";
const DECODER_BIAS: &str = "cls.predictions.decoder.bias";
const PREDICTIONS_BIAS: &str = "cls.predictions.bias";

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
/// Names are taken with or without `bert.`, LayerNorm's also as `gamma` and `beta`; f16, bf16 and f64 become f32. Buffers of
/// position ids and the tied copy of the decoder are recognised and not counted.
///
/// # Errors
/// When the file cannot be read; a weight has another shape; the encoder is not whole, or larger than the model's; a weight is
/// missing that `missing` does not allow to be; or the decoder is not tied.
pub fn load_weights(model: &mut Bert, directory: &Path, missing: Missing) -> Result<LoadReport> {
    let path = weights_path(directory)?;
    let mut source = Source::read(&path)?;
    let mut report = LoadReport::default();
    for entry in model.parameters().entries() {
        let Some((_, tensor)) = source.tensors.remove(&entry.name) else {
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
    report.unexpected.extend(source.tensors.into_values().map(|(name, _)| name));
    report.unexpected.sort();
    check_report(&path, &report, missing)?;
    Ok(report)
}

fn weights_path(directory: &Path) -> Result<std::path::PathBuf> {
    let path = directory.join(WEIGHTS);
    if path.exists() {
        return Ok(path);
    }
    let found =
        ["model.safetensors.index.json", "pytorch_model.bin"].into_iter().find(|name| directory.join(name).exists());
    Err(Error::file(
        directory,
        match found {
            Some(name) => format!(
                "expected model.safetensors, found {name}; save the model again with save_pretrained as one safetensors file"
            ),
            None => "expected a model directory with config.json and model.safetensors, found no model.safetensors"
                .to_owned(),
        },
    ))
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

/// The tensors of a file under this crate's names.
struct Source {
    /// Canonical name to the file's own name and the f32 tensor.
    tensors: HashMap<String, (String, Tensor)>,
}

impl Source {
    fn read(path: &Path) -> Result<Self> {
        let mut tensors = HashMap::new();
        for (name, tensor) in read_tensors(path)?.0 {
            let canonical = canonical(&name);
            if canonical.ends_with("embeddings.position_ids") || canonical.ends_with("embeddings.token_type_ids") {
                continue;
            }
            if let Some((other, _)) = tensors.get(&canonical) {
                return Err(Error::file(path, format!("{canonical}: expected once, found as {other} and as {name}")));
            }
            tensors.insert(canonical, (name, tensor.f_to_kind(Kind::Float)?));
        }
        let mut source = Self { tensors };
        source.untie(path)?;
        Ok(source)
    }

    /// Drops the copies that some writers keep of the tied decoder.
    fn untie(&mut self, path: &Path) -> Result<()> {
        for (copy, original) in [(DECODER_WEIGHT, WORD_EMBEDDINGS), (DECODER_BIAS, PREDICTIONS_BIAS)] {
            let Some((name, tensor)) = self.tensors.remove(copy) else { continue };
            match self.tensors.get(original) {
                None => drop(self.tensors.insert(original.to_owned(), (name, tensor))),
                Some((_, kept)) if kept.size() == tensor.size() && kept.f_equal(&tensor)? => {}
                Some(_) => {
                    return Err(Error::file(
                        path,
                        format!("{name}: expected the same as {original} (tied), found other values"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The name under which this crate knows a tensor.
fn canonical(name: &str) -> String {
    let bare = ["embeddings.", "encoder.", "pooler."].iter().any(|prefix| name.starts_with(prefix));
    let name = if bare { format!("bert.{name}") } else { name.to_owned() };
    for (old, new) in [(".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")] {
        if let Some(stem) = name.strip_suffix(old) {
            return format!("{stem}{new}");
        }
    }
    name
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
    write_tensors(&directory.join(WEIGHTS), &tensors, &metadata)?;
    Ok(durable::write(directory.join(CONFIG), config_for(model).to_json().as_bytes())?)
}

/// The model's configuration with what Hugging Face's loader wants to know about the head.
fn config_for(model: &Bert) -> BertConfig {
    let mut config = model.config().clone();
    let architecture = match model.head() {
        Head::PreTraining => "BertForPreTraining",
        Head::SequenceClassification { .. } => "BertForSequenceClassification",
        Head::QuestionAnswering => "BertForQuestionAnswering",
    };
    config.other.insert("architectures".to_owned(), json!([architecture]));
    // What the model was read from may have been narrower; our weights are f32, and the decoder is tied.
    config.other.remove("dtype");
    config.other.insert("torch_dtype".to_owned(), json!("float32"));
    config.other.insert("tie_word_embeddings".to_owned(), json!(true));
    config.other.insert("model_type".to_owned(), json!("bert"));
    if let Head::SequenceClassification { num_labels } = model.head()
        && config.num_labels() != num_labels
    {
        let label = |id: i64| format!("LABEL_{id}");
        let id2label: BTreeMap<String, String> = (0..num_labels).map(|id| (id.to_string(), label(id))).collect();
        let label2id: BTreeMap<String, i64> = (0..num_labels).map(|id| (label(id), id)).collect();
        config.other.insert("id2label".to_owned(), json!(id2label));
        config.other.insert("label2id".to_owned(), json!(label2id));
    }
    config
}
