//! The pieces that every block is made of.

use cloze_torch_ext::cpu_dropout;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::parameters::{Init, LeafId, Parameters, ParametersBuilder};

/// What one forward pass goes with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    pub parameters: &'a Parameters,
    /// Training: dropout is on.
    pub train: bool,
}

impl Pass<'_> {
    /// Zeroes a share `probability` of `x` and scales the rest by `1 / (1 - probability)`, in training only.
    pub fn dropout(self, x: Tensor, probability: f64) -> Result<Tensor> {
        if !self.train || probability == 0.0 {
            return Ok(x);
        }
        // The shim's kernel is for fp32; in mixed precision torch's own does it.
        let is_plain = x.device() == Device::Cpu && x.kind() == Kind::Float;
        if is_plain { Ok(cpu_dropout(&x, probability)?) } else { Ok(x.f_dropout(probability, true)?) }
    }
}

/// Declares parameters with BERT's initialisation: normal weights, zero biases, LayerNorm 1 and 0; no decay for the latter two.
pub(super) struct Declare<'a> {
    pub builder: &'a mut ParametersBuilder,
    /// Standard deviation of the weights.
    pub deviation: f64,
}

impl Declare<'_> {
    pub fn matrix(&mut self, name: &str, rows: i64, columns: i64) -> LeafId {
        self.builder.add(name, &[rows, columns], true, Init::Normal(self.deviation))
    }

    pub fn bias(&mut self, name: &str, len: i64) -> LeafId {
        self.builder.add(name, &[len], false, Init::Zeros)
    }

    pub fn linear(&mut self, name: &str, from: i64, to: i64) -> Linear {
        let weight = self.matrix(&format!("{name}.weight"), to, from);
        Linear { weight, bias: self.bias(&format!("{name}.bias"), to) }
    }

    /// Several linear maps of one input as one: their weights are neighbours, each under its own name.
    pub fn stacked_linear(&mut self, names: &[String], from: i64, to: i64) -> Linear {
        let suffixed = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect();
        let weight = self.builder.add_stacked(suffixed("weight"), &[to, from], true, Init::Normal(self.deviation));
        Linear { weight, bias: self.builder.add_stacked(suffixed("bias"), &[to], false, Init::Zeros) }
    }

    pub fn layer_norm(&mut self, name: &str, width: i64, epsilon: f64) -> LayerNorm {
        let weight = self.builder.add(format!("{name}.weight"), &[width], false, Init::Ones);
        LayerNorm { weight, bias: self.bias(&format!("{name}.bias"), width), width, epsilon }
    }
}

/// `x W^T + b`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    weight: LeafId,
    bias: LeafId,
}

impl Linear {
    /// `x`: `[.., from]`; gives `[.., to]`.
    pub fn forward(&self, pass: Pass<'_>, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(pass.parameters.leaf(self.weight), Some(pass.parameters.leaf(self.bias)))?)
    }
}

/// Normalisation over the last dimension.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerNorm {
    weight: LeafId,
    bias: LeafId,
    width: i64,
    epsilon: f64,
}

impl LayerNorm {
    /// `x`: `[.., width]`; gives the same shape.
    pub fn forward(&self, pass: Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (pass.parameters.leaf(self.weight), pass.parameters.leaf(self.bias));
        Ok(x.f_layer_norm([self.width], Some(weight), Some(bias), self.epsilon, true)?)
    }
}
