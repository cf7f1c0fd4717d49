//! Google's TensorFlow checkpoints of BERT: `bert_model.ckpt.index` and its data, read and written without TensorFlow.

mod bundle;
mod names;
mod proto;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use crate::error::{Error, Result};
use bundle::Bundle;
use names::{is_kernel, tensorflow_name, torch_name};

/// Name of a checkpoint that is exported, as Google's released models have it.
pub const CHECKPOINT: &str = "bert_model.ckpt";
/// Name of the model's configuration beside it.
pub const CONFIG: &str = "bert_config.json";

/// Slots of Adam and LAMB, named after their weight.
const SLOTS: [&str; 4] = ["adam_m", "adam_v", "lamb_m", "lamb_v"];

/// A weight: PyTorch's name, TensorFlow's, values.
pub type Weight = (String, String, Tensor);

/// The weights, and the names of what was left out.
pub type Contents = (Vec<Weight>, Vec<String>);

/// Reads the checkpoint with this index. Kernels are transposed; moments and counters are left out.
///
/// # Errors
/// It cannot be read, is damaged, or is not one of google-research/bert's layout.
pub fn read(index: &Path) -> Result<Contents> {
    let bundle = Bundle::open(index)?;
    if bundle.names().any(|name| name == "_CHECKPOINTABLE_OBJECT_GRAPH") {
        let message = "expected a checkpoint of google-research/bert (variables such as bert/pooler/dense/kernel), found one \
                       of TensorFlow 2's objects; convert it with transformers, then import that";
        return Err(Error::file(index, message));
    }
    let (mut tensors, mut left_out) = (Vec::new(), Vec::new());
    for name in bundle.names() {
        let is_slot = name.rsplit('/').next().is_some_and(|last| SLOTS.contains(&last));
        if is_slot || bundle.is_scalar(name) {
            left_out.push(name.to_owned());
            continue;
        }
        let tensor = bundle.read(name)?;
        let tensor = if is_kernel(name) && tensor.dim() == 2 { tensor.f_transpose(0, 1)? } else { tensor };
        tensors.push((torch_name(name), name.to_owned(), tensor));
    }
    Ok((tensors, left_out))
}

/// Writes `tensors` (f32), named as this crate does, into `directory` as [`CHECKPOINT`] under the names of google-research/bert,
/// kernels transposed.
///
/// # Errors
/// A file cannot be written.
pub fn write(directory: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let mut variables = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = tensorflow_name(name);
        let tensor = if is_kernel(&name) { tensor.f_transpose(0, 1)? } else { tensor.shallow_clone() };
        variables.insert(name, tensor);
    }
    bundle::write(&directory.join(format!("{CHECKPOINT}.index")), &variables)
}
