//! AdamW, for fine-tuning.
//!
//! Source: Loshchilov and Hutter 2017 (arXiv 1711.05101), as `torch.optim.AdamW` computes it; clipping as
//! `torch.nn.utils.clip_grad_norm_`.

use cloze_torch_ext::{AdamWUpdate, fused_adamw};
use serde::{Deserialize, Serialize};

use super::clip::{clip_factor, norm};
use super::{Moments, Optimizer, OptimizerState, StepOutcome};
use crate::error::Result;
use crate::parameters::Parameters;

/// AdamW's constants; the defaults are those of Hugging Face's trainer, with BERT's weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices and embeddings; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm.
    pub max_gradient_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, max_gradient_norm: 1.0 }
    }
}

/// Adam with bias correction and decoupled weight decay.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: Moments,
}

impl AdamW {
    /// With moments 0, for `parameters`.
    pub fn new(parameters: &Parameters, config: AdamWConfig) -> Result<Self> {
        Ok(Self { config, moments: Moments::new(parameters)? })
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, parameters: &mut Parameters, learning_rate: f64) -> Result<StepOutcome> {
        self.moments.check(parameters)?;
        let mut gradient = parameters.gradient().shallow_clone();
        let gradient_norm = norm(&gradient)?.f_double_value(&[])?;
        if !gradient_norm.is_finite() {
            return Ok(StepOutcome { gradient_norm, skipped: true });
        }
        let factor = clip_factor(gradient_norm, self.config.max_gradient_norm);
        if factor < 1.0 {
            let _ = gradient.f_mul_scalar_(factor)?;
        }
        self.moments.step += 1;
        let (decayed_len, len) = (parameters.decayed_len(), parameters.flat().size()[0]);
        let AdamWConfig { beta1, beta2, epsilon, weight_decay, .. } = self.config;
        for (start, end, weight_decay) in [(0, decayed_len, weight_decay), (decayed_len, len, 0.0)] {
            let slice = |of: &tch::Tensor| of.f_narrow(0, start, end - start);
            let step = self.moments.step;
            let update = AdamWUpdate { step, learning_rate, betas: (beta1, beta2), weight_decay, epsilon };
            let mut first = slice(&self.moments.first)?;
            let mut second = slice(&self.moments.second)?;
            fused_adamw(&mut slice(parameters.flat())?, &slice(&gradient)?, &mut first, &mut second, update)?;
        }
        Ok(StepOutcome { gradient_norm, skipped: false })
    }

    fn state(&self) -> OptimizerState {
        self.moments.state("adamw")
    }

    fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        self.moments.load("adamw", state)
    }

    fn reset_step(&mut self) {
        self.moments.step = 0;
    }
}
