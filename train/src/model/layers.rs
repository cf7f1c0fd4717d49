//! The pieces that every block is made of.

use std::ops::Range;

use cloze_torch_ext::fused::{self, Affine};
use tch::Tensor;

use super::config::Activation;
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
    /// `probability` in training, otherwise 0.
    pub fn dropout_probability(self, probability: f64) -> f64 {
        if self.train { probability } else { 0.0 }
    }

    /// Zeroes a share `probability` of `x` and scales the rest by `1 / (1 - probability)`, in training only.
    pub fn dropout(self, x: Tensor, probability: f64) -> Result<Tensor> {
        let probability = self.dropout_probability(probability);
        if probability == 0.0 {
            return Ok(x);
        }
        if fused::is_fusable(&x) {
            Ok(fused::cpu_dropout(&x, probability)?)
        } else {
            Ok(x.f_dropout(probability, true)?)
        }
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
        let Affine { weight, bias } = self.affine(pass);
        Ok(x.f_linear(weight, Some(bias))?)
    }

    /// Columns `part` of the same, without computing the others.
    pub fn forward_part(&self, pass: Pass<'_>, x: &Tensor, part: Range<i64>) -> Result<Tensor> {
        let Affine { weight, bias } = self.affine(pass);
        let rows = |of: &Tensor| of.f_narrow(0, part.start, part.end - part.start);
        Ok(x.f_linear(&rows(weight)?, Some(&rows(bias)?))?)
    }

    /// [`Self::forward`] with GELU after it. `x`: `[T, from]`.
    pub fn forward_gelu(&self, pass: Pass<'_>, x: &Tensor, activation: Activation) -> Result<Tensor> {
        if fused::is_fusable(x) {
            let Affine { weight, bias } = self.affine(pass);
            return Ok(fused::linear_gelu(x, weight, bias, activation.approximate() == "tanh")?);
        }
        Ok(self.forward(pass, x)?.f_gelu(activation.approximate())?)
    }

    fn affine<'a>(&self, pass: Pass<'a>) -> Affine<'a> {
        Affine { weight: pass.parameters.leaf(self.weight), bias: pass.parameters.leaf(self.bias) }
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
        let Affine { weight, bias } = self.affine(pass);
        Ok(x.f_layer_norm([self.width], Some(weight), Some(bias), self.epsilon, true)?)
    }

    /// `LayerNorm(residual + dropout(dense(x)))`, the end of both blocks of a layer. `x`: `[T, from]`, `residual`: `[T, width]`.
    pub fn forward_after(
        &self,
        pass: Pass<'_>,
        dense: &Linear,
        x: &Tensor,
        residual: &Tensor,
        dropout: f64,
    ) -> Result<Tensor> {
        if self.width % fused::NORM_LANES == 0 && fused::is_fusable(x) && fused::is_fusable(residual) {
            let (probability, norm) = (pass.dropout_probability(dropout), self.affine(pass));
            return Ok(fused::linear_add_norm(x, dense.affine(pass), residual, norm, self.epsilon, probability)?);
        }
        let y = pass.dropout(dense.forward(pass, x)?, dropout)?;
        self.forward(pass, &residual.f_add(&y)?)
    }

    fn affine<'a>(&self, pass: Pass<'a>) -> Affine<'a> {
        Affine { weight: pass.parameters.leaf(self.weight), bias: pass.parameters.leaf(self.bias) }
    }
}
