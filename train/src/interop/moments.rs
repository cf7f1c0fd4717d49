//! The optimizer's moments of an imported checkpoint, from which pre-training may go on.
//!
//! NVIDIA's scripts keep them by number. The number is the place in the model's parameters, which come in the order of its state
//! dict, first those with weight decay, then those without; so names can be given back to them.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use super::pytorch::Checkpoint;
use super::safetensors;
use super::source::{TIED, canonical};
use crate::error::{Error, Result};
use crate::optim::OptimizerState;
use crate::parameters::Parameters;

/// Name of the file in an imported model's directory.
pub const MOMENTS: &str = "moments.safetensors";
/// The moments as an optimizer's state names them.
const NAMES: [&str; 2] = ["first_moment", "second_moment"];
/// What marks a parameter without weight decay. Source: `prepare_model_and_optimizer` of NVIDIA's run_pretraining.py.
const WITHOUT_DECAY: [&str; 4] = ["bias", "gamma", "beta", "LayerNorm"];

/// First and second moment of each weight, under this crate's names.
pub(super) type Moments = BTreeMap<String, [Tensor; 2]>;

/// Moments of `checkpoint`, whose weights are `weights` by its own names, in its order; `None` where their numbers cannot be
/// matched with the weights, or a shape differs.
pub(super) fn of_nvidia(checkpoint: &Checkpoint, weights: &[(String, Tensor)]) -> Result<Option<Moments>> {
    let Some(groups) = checkpoint.moments()? else { return Ok(None) };
    let named = weights.iter().map(|(own_name, tensor)| (canonical(own_name), tensor));
    let own: Vec<_> = named.filter(|(name, _)| TIED.iter().all(|(copy, _)| copy != name)).collect();
    let (without, with): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|(name, _)| WITHOUT_DECAY.iter().any(|part| name.contains(part)));
    let expected = [with, without];
    if groups.len() != expected.len() {
        return Ok(None);
    }
    let mut moments = Moments::new();
    for (group, expected) in groups.into_iter().zip(expected) {
        let fits = |([first, second], (_, weight)): (&[Tensor; 2], &(String, &Tensor))| {
            first.size() == weight.size() && second.size() == weight.size()
        };
        if group.len() != expected.len() || !group.iter().zip(&expected).all(fits) {
            return Ok(None);
        }
        moments.extend(expected.into_iter().map(|(name, _)| name).zip(group));
    }
    Ok(Some(moments))
}

/// Writes `moments` into the model directory `directory`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(directory: &Path, moments: &Moments) -> Result<()> {
    let mut tensors = Vec::with_capacity(2 * moments.len());
    for (name, pair) in moments {
        for (which, tensor) in NAMES.into_iter().zip(pair) {
            tensors.push((format!("{which}.{name}"), tensor.f_to_kind(tch::Kind::Float)?));
        }
    }
    safetensors::write_tensors(&directory.join(MOMENTS), &tensors, &BTreeMap::new())
}

/// The state of an optimizer of this `kind` with the moments in `directory`, its step at 0; `None` where there are none.
///
/// # Errors
/// The file is damaged, or does not hold those of every parameter.
pub fn read(directory: &Path, parameters: &Parameters, kind: &str) -> Result<Option<OptimizerState>> {
    let path = directory.join(MOMENTS);
    if !path.is_file() {
        return Ok(None);
    }
    let (tensors, _) = safetensors::read_tensors(&path)?;
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    let mut flat = Vec::with_capacity(NAMES.len());
    for which in NAMES {
        let moment = parameters.flat().f_zeros_like()?;
        for entry in parameters.entries() {
            let found = tensors.get(&format!("{which}.{}", entry.name)).filter(|tensor| tensor.size() == entry.shape);
            let Some(tensor) = found else {
                let message = format!(
                    "expected {which}.{} of shape {:?}, found none; import the checkpoint again, or remove this file",
                    entry.name, entry.shape
                );
                return Err(Error::file(&path, message));
            };
            moment.f_narrow(0, entry.offset, entry.num_elements)?.f_copy_(&tensor.f_reshape([-1])?)?;
        }
        flat.push((which.to_owned(), moment));
    }
    Ok(Some(OptimizerState { kind: kind.to_owned(), step: 0, layout: parameters.layout(), tensors: flat }))
}
