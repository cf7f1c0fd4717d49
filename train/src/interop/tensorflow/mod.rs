//! Google's TensorFlow checkpoints of BERT: `bert_model.ckpt.index` and its data, read without TensorFlow.

mod bundle;
mod table;

#[cfg(test)]
mod tests;

use std::path::Path;

use tch::Tensor;

use crate::error::{Error, Result};
use bundle::Bundle;

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
        let is_kernel = name.ends_with("/kernel") && tensor.dim() == 2;
        let tensor = if is_kernel { tensor.f_transpose(0, 1)? } else { tensor };
        tensors.push((torch_name(name), name.to_owned(), tensor));
    }
    Ok((tensors, left_out))
}

/// PyTorch's name of a variable of google-research/bert; another one is only spelt with dots.
fn torch_name(name: &str) -> String {
    match name {
        "cls/predictions/output_bias" => return "cls.predictions.bias".to_owned(),
        // Fine-tuned: run_classifier.py, run_squad.py.
        "output_weights" => return "classifier.weight".to_owned(),
        "output_bias" => return "classifier.bias".to_owned(),
        "cls/squad/output_weights" => return "qa_outputs.weight".to_owned(),
        "cls/squad/output_bias" => return "qa_outputs.bias".to_owned(),
        _ => {}
    }
    let parts = name.split('/').map(|part| match part {
        "kernel" | "gamma" | "output_weights" => "weight".to_owned(),
        "beta" | "output_bias" => "bias".to_owned(),
        "word_embeddings" | "position_embeddings" | "token_type_embeddings" => format!("{part}.weight"),
        _ => part.strip_prefix("layer_").map_or(part.to_owned(), |index| format!("layer.{index}")),
    });
    parts.collect::<Vec<_>>().join(".")
}
