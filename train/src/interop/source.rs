//! Weights from wherever they come, under this crate's names.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

use super::architecture::{PREDICTIONS_BIAS, WORD_EMBEDDINGS};
use super::moments::{self, Moments};
use super::{pytorch, safetensors};
use crate::error::{Error, Result};

/// Name of the file of weights of a model directory.
pub const SAFETENSORS: &str = "model.safetensors";
/// Its name as PyTorch's file.
pub const PYTORCH: &str = "pytorch_model.bin";
const SAFETENSORS_INDEX: &str = "model.safetensors.index.json";
const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// Copies that some writers keep of the tied decoder, and what they are copies of.
pub(super) const TIED: [(&str, &str); 2] =
    [("cls.predictions.decoder.weight", WORD_EMBEDDINGS), ("cls.predictions.decoder.bias", PREDICTIONS_BIAS)];

/// One weight.
#[derive(Debug)]
pub struct Weight {
    /// The name that the file gives it.
    pub own_name: String,
    /// Its values, f32, on the CPU.
    pub tensor: Tensor,
}

/// The weights of a file or directory.
#[derive(Debug)]
pub struct Source {
    /// The file they come from, for messages.
    pub path: PathBuf,
    /// By this crate's name.
    pub weights: HashMap<String, Weight>,
    /// What else the file holds: names of values that are no weights, such as `optimizer`.
    pub left_out: Vec<String>,
    /// The optimizer's moments, as far as they can be told apart.
    pub(super) moments: Option<Moments>,
    /// Of a decoder that is not tied to the word table: the file's name for it.
    untied: Option<(String, &'static str)>,
}

impl Source {
    /// Reads a Hugging Face directory: `model.safetensors`, `pytorch_model.bin`, or either in several files under an index.
    ///
    /// # Errors
    /// There is none of these, or it cannot be read.
    pub fn read_directory(directory: &Path) -> Result<Self> {
        let found = [SAFETENSORS, SAFETENSORS_INDEX, PYTORCH, PYTORCH_INDEX]
            .into_iter()
            .find(|name| directory.join(name).is_file());
        match found {
            Some(name) if name.ends_with(".index.json") => Self::read_sharded(&directory.join(name)),
            Some(name) => Self::read_file(&directory.join(name)),
            None => Err(Error::file(
                directory,
                format!(
                    "expected a model directory with config.json and {SAFETENSORS} (or {PYTORCH}), found no weights"
                ),
            )),
        }
    }

    /// Reads one file: safetensors by its ending, else PyTorch's.
    ///
    /// # Errors
    /// It cannot be read, or has a weight twice.
    pub fn read_file(path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            return Self::new(path, safetensors::read_tensors(path)?.0);
        }
        let checkpoint = pytorch::Checkpoint::open(path)?;
        Self::new(path, checkpoint.state_dict()?)
    }

    /// Reads a file of PyTorch with what lies beside the weights: the moments too, where there are any.
    ///
    /// # Errors
    /// It cannot be read, or has a weight twice.
    pub fn read_training(path: &Path) -> Result<Self> {
        let checkpoint = pytorch::Checkpoint::open(path)?;
        let weights = checkpoint.state_dict()?;
        let moments = moments::of_nvidia(&checkpoint, &weights)?;
        let mut source = Self::new(path, weights)?;
        source.left_out = checkpoint.other_keys();
        source.left_out.retain(|key| key != "optimizer" || moments.is_none());
        source.moments = moments;
        Ok(source)
    }

    fn read_sharded(index: &Path) -> Result<Self> {
        let refuse = |why: String| Error::file(index, format!("expected an index of weights by file, found {why}"));
        let text = std::fs::read(index).map_err(Error::io(index))?;
        let json: serde_json::Value = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        let map = json["weight_map"].as_object().ok_or_else(|| refuse("no weight_map".to_owned()))?;
        let mut files = BTreeSet::new();
        for (name, file) in map {
            // A file beside the index, nothing further away.
            let file = file.as_str().filter(|file| Path::new(file).file_name().is_some_and(|name| name == *file));
            files.insert(file.ok_or_else(|| refuse(format!("no file name for {name}")))?);
        }
        let mut tensors = Vec::new();
        for file in files {
            let path = index.with_file_name(file);
            let part = if file.ends_with(".safetensors") {
                safetensors::read_tensors(&path)?.0
            } else {
                pytorch::Checkpoint::open(&path)?.state_dict()?
            };
            tensors.extend(part);
        }
        let names: BTreeSet<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(name) = map.keys().find(|name| !names.contains(name.as_str())) {
            return Err(refuse(format!("no {name} in {}", map[name])));
        }
        Self::new(index, tensors)
    }

    /// Takes `tensors` of `path`, which have Hugging Face's names or NVIDIA's: with or without `bert.`, behind `module.`, LayerNorm's
    /// also as `gamma` and `beta`, dense layers also as `dense_act`. f16, bf16 and f64 become f32. Buffers of position ids and
    /// the tied copy of the decoder are dropped.
    ///
    /// # Errors
    /// A weight is there twice.
    pub fn new(path: &Path, tensors: Vec<(String, Tensor)>) -> Result<Self> {
        Self::collect(path, tensors.into_iter().map(|(own, tensor)| (canonical(&own), own, tensor)))
    }

    /// Like [`Self::new`] of (name, the file's own name, tensor), where the names are this crate's already.
    pub(super) fn collect(path: &Path, tensors: impl Iterator<Item = (String, String, Tensor)>) -> Result<Self> {
        let mut weights: HashMap<String, Weight> = HashMap::new();
        for (name, own_name, tensor) in tensors {
            if name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids") {
                continue;
            }
            if let Some(other) = weights.get(&name) {
                let message = format!("{name}: expected once, found as {} and as {own_name}", other.own_name);
                return Err(Error::file(path, message));
            }
            weights.insert(name, Weight { own_name, tensor: tensor.f_to_kind(Kind::Float)? });
        }
        let mut source = Self { path: path.to_owned(), weights, left_out: Vec::new(), moments: None, untied: None };
        source.untie()?;
        Ok(source)
    }

    fn untie(&mut self) -> Result<()> {
        for (copy, original) in TIED {
            let Some(weight) = self.weights.remove(copy) else { continue };
            match self.weights.get(original) {
                None => drop(self.weights.insert(original.to_owned(), weight)),
                Some(Weight { tensor, .. })
                    if tensor.size() == weight.tensor.size() && tensor.f_equal(&weight.tensor)? => {}
                Some(_) => self.untied = Some((weight.own_name, original)),
            }
        }
        Ok(())
    }

    /// Checks that the decoder is the word table, as this crate computes it. Only who uses the masked-LM head need ask.
    ///
    /// # Errors
    /// It has other values.
    pub fn check_tied(&self) -> Result<()> {
        let Some((name, original)) = &self.untied else { return Ok(()) };
        Err(Error::file(&self.path, format!("{name}: expected the same as {original} (tied), found other values")))
    }

    /// The rows of the word table, as far as there is one.
    pub fn vocab_size(&self) -> Option<i64> {
        self.weights.get(WORD_EMBEDDINGS)?.tensor.size().first().copied()
    }

    /// How many weights the file has under another name.
    pub fn num_renamed(&self) -> usize {
        self.weights.iter().filter(|(name, weight)| **name != weight.own_name).count()
    }
}

/// The name under which this crate knows a tensor of PyTorch.
pub(super) fn canonical(name: &str) -> String {
    let name = name.strip_prefix("module.").unwrap_or(name);
    let bare = ["embeddings.", "encoder.", "pooler."].iter().any(|prefix| name.starts_with(prefix));
    let name = if bare { format!("bert.{name}") } else { name.to_owned() };
    let name = name.replace(".dense_act.", ".dense.");
    for (old, new) in [(".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")] {
        if let Some(stem) = name.strip_suffix(old) {
            return format!("{stem}{new}");
        }
    }
    name
}
