//! AdamW.
//!
//! Source: Loshchilov and Hutter 2017 (arXiv 1711.05101), as `torch.optim.AdamW` computes it; clipping as
//! `torch.nn.utils.clip_grad_norm_`.

use cloze_torch_ext::{AdamWUpdate, fused_adamw};

use super::clip::{clip_factor, gradient_norm};
use super::{Moments, Optimizer, OptimizerConfig, OptimizerState, StepOutcome};
use crate::error::Result;
use crate::parameters::Parameters;

/// Adam with bias correction and decoupled weight decay.
#[derive(Debug)]
pub struct AdamW {
    config: OptimizerConfig,
    moments: Moments,
}

impl AdamW {
    /// With moments 0, for `parameters`.
    pub fn new(parameters: &Parameters, config: OptimizerConfig) -> Result<Self> {
        Ok(Self { config, moments: Moments::new(parameters)? })
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, parameters: &mut Parameters, learning_rate: f64) -> Result<StepOutcome> {
        self.moments.check(parameters)?;
        let mut gradient = parameters.gradient().shallow_clone();
        let gradient_norm = gradient_norm(parameters)?;
        if !gradient_norm.is_finite() {
            return Ok(StepOutcome { gradient_norm, skipped: true });
        }
        let factor = clip_factor(gradient_norm, self.config.max_gradient_norm) / parameters.gradient_scale();
        if factor != 1.0 {
            let _ = gradient.f_mul_scalar_(factor)?;
        }
        self.moments.step += 1;
        let (decayed_len, len) = (parameters.decayed_len(), parameters.flat().size()[0]);
        let OptimizerConfig { beta1, beta2, epsilon, weight_decay, .. } = self.config;
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
