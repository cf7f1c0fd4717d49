//! A whole model of one architecture as tensors, checked, and the directory it is published in.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cloze_formats::durable;
use tch::Tensor;

use super::architecture::{Architecture, WORD_EMBEDDINGS};
use super::import::{Tensors, shorten};
use super::source::{SAFETENSORS, Source, TIED};
use super::{pytorch, safetensors, tensorflow, vocabulary};
use crate::error::{Error, Result};
use crate::model::config::{Activation, BertConfig};
use crate::progress::thousands;
use crate::summary::Summary;

/// Weights of one class, all of them, under this crate's names.
#[derive(Debug)]
pub(super) struct Model {
    pub architecture: Architecture,
    pub config: BertConfig,
    /// In the class's order; tied copies are left out.
    pub tensors: Tensors,
    /// Names of weights that the class has no use for.
    pub unexpected: Vec<String>,
}

impl Model {
    /// Takes what `architecture` has out of `source`.
    ///
    /// # Errors
    /// A weight is missing or has another shape than `config` gives it.
    pub fn take(mut source: Source, architecture: Architecture, config: BertConfig) -> Result<Self> {
        let weights = architecture.weights(&config);
        let missing: Vec<String> = weights
            .iter()
            .filter(|(name, _)| !source.weights.contains_key(name))
            .map(|(name, _)| name.clone())
            .collect();
        if missing.len() == weights.len() {
            let found = source.weights.values().map(|weight| weight.own_name.clone()).min();
            let message = format!(
                "expected BERT's weights ({WORD_EMBEDDINGS} ...), found {}",
                found.as_deref().unwrap_or("none")
            );
            return Err(Error::file(&source.path, message));
        }
        if !missing.is_empty() {
            let message =
                format!("expected every weight of {architecture}, found no {}; nothing was written", shorten(&missing));
            return Err(Error::file(&source.path, message));
        }
        let mut tensors = Vec::with_capacity(weights.len());
        for (name, shape) in weights {
            let Some(weight) = source.weights.remove(&name) else { continue };
            let found = weight.tensor.size();
            if found != shape {
                let message = format!(
                    "{}: expected shape {shape:?} by the configuration, found {found:?}; the two files do not go together",
                    weight.own_name
                );
                return Err(Error::file(&source.path, message));
            }
            tensors.push((name, weight.tensor));
        }
        let mut unexpected: Vec<String> = source.weights.into_values().map(|weight| weight.own_name).collect();
        unexpected.sort();
        Ok(Self { architecture, config, tensors, unexpected })
    }

    /// Gives the vocabulary this many rows.
    ///
    /// # Errors
    /// No model can have as many, or memory runs out.
    pub fn resize(&mut self, vocab_size: i64) -> Result<()> {
        self.config.vocab_size = vocab_size;
        self.config.validate()?;
        for (name, tensor) in &mut self.tensors {
            *tensor = vocabulary::resize(name, tensor.shallow_clone(), vocab_size)?;
        }
        Ok(())
    }

    /// The tensors as a class of `transformers` names them.
    pub fn named(&self) -> Tensors {
        let bare = |name: &String| match (self.architecture, name.strip_prefix("bert.")) {
            (Architecture::Model, Some(rest)) => rest.to_owned(),
            _ => name.clone(),
        };
        self.tensors.iter().map(|(name, tensor)| (bare(name), tensor.shallow_clone())).collect()
    }

    /// `tensors` with the copies of tied weights that PyTorch's state dicts have, sharing memory with the originals.
    ///
    /// # Errors
    /// Memory runs out.
    pub fn with_copies(tensors: Tensors, with_bias: bool) -> Result<Tensors> {
        // A trimmed table or one of another kind would not be the same memory twice otherwise.
        let mut tensors = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.f_contiguous()?)))
            .collect::<Result<Tensors>>()?;
        let has_decoder = tensors.iter().any(|(name, _)| name == TIED[1].1);
        for (copy, original) in TIED.into_iter().take(if with_bias { 2 } else { 1 }).filter(|_| has_decoder) {
            let found = tensors.iter().find(|(name, _)| name == original).map(|(_, tensor)| tensor.shallow_clone());
            tensors.extend(found.map(|tensor| (copy.to_owned(), tensor)));
        }
        Ok(tensors)
    }

    /// Tells about it; the vocabulary had `old_size` rows.
    pub fn report(&self, summary: &mut Summary, old_size: i64) {
        let num_parameters: usize = self.tensors.iter().map(|(_, tensor)| tensor.numel()).sum();
        let new_size = self.config.vocab_size;
        let sizes = if old_size == new_size { new_size.to_string() } else { format!("{old_size} -> {new_size}") };
        summary.add("architecture", self.architecture.to_string(), self.architecture.to_string());
        summary.add("tensors", self.tensors.len(), self.tensors.len().to_string());
        summary.add("parameters", num_parameters, thousands(num_parameters as u64));
        summary.add("vocab_size", serde_json::json!({"from": old_size, "to": new_size}), sizes);
        summary.add("missing", Vec::<String>::new(), "none");
        let unexpected = if self.unexpected.is_empty() { "none".to_owned() } else { shorten(&self.unexpected) };
        summary.add("unexpected", self.unexpected.clone(), unexpected);
    }
}

/// Publishes as the directory `out` what `write` puts into it. It appears whole.
///
/// # Errors
/// There is something in `out` already, or it cannot be written.
pub(super) fn publish_directory(out: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let is_free = !out.exists() || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if !is_free {
        return Err(Error::file(out, "expected a new directory, found something there; give another --out"));
    }
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    let temporary = durable::temporary(out);
    let result = (|| {
        let _ = fs::remove_dir_all(&temporary);
        fs::create_dir(&temporary).map_err(Error::io(&temporary))?;
        write(&temporary)?;
        fs::rename(&temporary, out).map_err(Error::io(out))?;
        Ok(durable::sync_parent(out)?)
    })();
    if result.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    result
}

/// Writes config.json and the weights, in the file `weights`, into `directory`.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write_huggingface(directory: &Path, model: &Model, weights: &str) -> Result<()> {
    write_weights(&directory.join(weights), model)?;
    Ok(durable::write(directory.join("config.json"), model.config.to_json().as_bytes())?)
}

/// Writes bert_config.json and bert_model.ckpt into `directory`.
///
/// What Google's scripts call `gelu` is the tanh form, and they know no other; which of the two a model has is told by
/// `model_type` to who asks, as [`super::import`] does.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write_tensorflow(directory: &Path, model: &Model) -> Result<()> {
    let mut config = model.config.clone();
    if config.hidden_act != Activation::Gelu {
        config.hidden_act = Activation::Gelu;
        config.other.remove("model_type");
    }
    tensorflow::write(directory, &model.tensors)?;
    Ok(durable::write(directory.join(tensorflow::CONFIG), config.to_json().as_bytes())?)
}

fn write_weights(path: &Path, model: &Model) -> Result<()> {
    if path.file_name().is_some_and(|name| name == SAFETENSORS) {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        return safetensors::write_tensors(path, &model.named(), &metadata);
    }
    pytorch::write_items(path, &pytorch::Item::Tensors(&Model::with_copies(model.named(), true)?))
}

/// What a tensor of `Model` under NVIDIA's name is: dense layers with an activation are called so.
pub(super) fn nvidia_name(name: &str) -> String {
    const ACTIVATED: [&str; 3] = [".intermediate.dense.", ".pooler.dense.", ".transform.dense."];
    match ACTIVATED.iter().any(|part| name.contains(part)) {
        true => name.replace(".dense.", ".dense_act."),
        false => name.to_owned(),
    }
}

/// `tensor`s of a state dict under NVIDIA's names, the tied decoder's copy among them.
pub(super) fn nvidia_state(model: &Model) -> Result<Vec<(String, Tensor)>> {
    let named = model.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
    let copied = Model::with_copies(named, false)?;
    Ok(copied.into_iter().map(|(name, tensor)| (nvidia_name(&name), tensor)).collect())
}
