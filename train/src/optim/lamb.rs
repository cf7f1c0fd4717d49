//! LAMB, as NVIDIA's fused implementation computes it.
//!
//! Source: You et al. 2019 (arXiv 1904.00962); `FusedLAMB` of NVIDIA's apex, whose defaults these are.

use cloze_torch_ext::fused::{LambBuffers, LambUpdate, fused_lamb};
use cloze_torch_ext::{add_product, add_scaled};
use tch::{Device, Tensor};

use super::clip::{clip_factor, gradient_norm, norm};
use super::{Moments, Optimizer, OptimizerConfig, OptimizerState, StepOutcome};
use crate::error::Result;
use crate::parameters::{Entry, Parameters};

/// Adam's direction, scaled per tensor by the norm of its parameters.
#[derive(Debug)]
pub struct Lamb {
    config: OptimizerConfig,
    moments: Moments,
}

impl Lamb {
    /// With moments 0, for `parameters`.
    pub fn new(parameters: &Parameters, config: OptimizerConfig) -> Result<Self> {
        Ok(Self { config, moments: Moments::new(parameters)? })
    }

    /// The whole update in two passes over memory, on the CPU.
    fn step_fused(&mut self, parameters: &Parameters, learning_rate: f64, gradient_scale: f64) -> Result<()> {
        let OptimizerConfig { beta1, beta2, epsilon, weight_decay, .. } = self.config;
        let Moments { first, second, step, .. } = &mut self.moments;
        let entries = parameters.entries();
        let offsets: Vec<i64> = entries.iter().map(|entry| entry.offset).collect();
        let lens: Vec<i64> = entries.iter().map(|entry| entry.num_elements).collect();
        let buffers = LambBuffers {
            parameters: &mut parameters.flat().shallow_clone(),
            gradient: &mut parameters.gradient().shallow_clone(),
            first_moment: first,
            second_moment: second,
        };
        let betas = (beta1, beta2);
        let update = LambUpdate { step: *step, learning_rate, betas, weight_decay, epsilon, gradient_scale };
        Ok(fused_lamb(buffers, &offsets, &lens, parameters.decayed_len(), update)?)
    }

    /// Updates the moments and writes Adam's direction over the gradient, whose values are not needed after that.
    fn write_direction(&mut self, gradient: &mut Tensor, scale: f64) -> Result<()> {
        let OptimizerConfig { beta1, beta2, epsilon, .. } = self.config;
        let Moments { first, second, step, .. } = &mut self.moments;
        let correction = |beta: f64| 1.0 - beta.powf(*step as f64);
        add_scaled(&mut first.f_mul_scalar_(beta1)?, gradient, (1.0 - beta1) * scale)?;
        add_product(&mut second.f_mul_scalar_(beta2)?, gradient, gradient, (1.0 - beta2) * scale * scale)?;
        // (m / c1) / (sqrt(v / c2) + e)  =  m / (sqrt(v) * c1 / sqrt(c2) + e * c1)
        let _ = second.f_sqrt_out(gradient)?;
        let _ = gradient.f_mul_scalar_(correction(beta1) / correction(beta2).sqrt())?;
        let _ = gradient.f_add_scalar_(epsilon * correction(beta1))?;
        let _ = first.f_div_out(&gradient.shallow_clone(), gradient)?;
        Ok(())
    }

    /// Moves each decayed parameter p against its `direction` u by the learning rate times its trust ratio: |p| / |u|, or 1
    /// where either is 0. The ratios stay on the device.
    fn move_decayed(&self, parameters: &Parameters, direction: &Tensor, learning_rate: f64) -> Result<()> {
        let decayed: Vec<&Entry> = parameters.entries().iter().filter(|entry| entry.weight_decay).collect();
        let slice = |of: &Tensor, entry: &Entry| of.f_narrow(0, entry.offset, entry.num_elements);
        let norms = |of: &Tensor| -> Result<Tensor> {
            let norms: Result<Vec<Tensor>> = decayed.iter().map(|entry| norm(&slice(of, entry)?)).collect();
            Ok(Tensor::f_stack(&norms?, 0)?)
        };
        let (parameter_norms, direction_norms) = (norms(parameters.flat())?, norms(direction)?);
        let ratios = parameter_norms.f_div(&direction_norms)?;
        let either_is_zero = parameter_norms.f_mul(&direction_norms)?.f_eq(0.0)?;
        let ratios = ratios.f_masked_fill(&either_is_zero, 1.0)?;
        for (index, entry) in decayed.iter().enumerate() {
            let mut parameter = slice(parameters.flat(), entry)?;
            add_product(&mut parameter, &slice(direction, entry)?, &ratios.f_get(index as i64)?, -learning_rate)?;
        }
        Ok(())
    }
}

impl Optimizer for Lamb {
    fn step(&mut self, parameters: &mut Parameters, learning_rate: f64) -> Result<StepOutcome> {
        self.moments.check(parameters)?;
        let gradient_norm = gradient_norm(parameters)?;
        if !gradient_norm.is_finite() {
            return Ok(StepOutcome { gradient_norm, skipped: true });
        }
        self.moments.step += 1;
        let scale = clip_factor(gradient_norm, self.config.max_gradient_norm) / parameters.gradient_scale();
        let mut direction = parameters.gradient().shallow_clone();
        if direction.device() == Device::Cpu {
            self.step_fused(parameters, learning_rate, scale)?;
            return Ok(StepOutcome { gradient_norm, skipped: false });
        }
        self.write_direction(&mut direction, scale)?;
        let decayed = |of: &Tensor| of.f_narrow(0, 0, parameters.decayed_len());
        let flat = parameters.flat();
        add_scaled(&mut decayed(&direction)?, &decayed(flat)?, self.config.weight_decay)?;
        self.move_decayed(parameters, &direction, learning_rate)?;
        let others = |of: &Tensor| of.f_narrow(0, parameters.decayed_len(), of.size()[0] - parameters.decayed_len());
        add_scaled(&mut others(flat)?, &others(&direction)?, -learning_rate)?;
        Ok(StepOutcome { gradient_norm, skipped: false })
    }

    fn state(&self) -> OptimizerState {
        self.moments.state("lamb")
    }

    fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        self.moments.load("lamb", state)
    }

    fn reset_step(&mut self) {
        self.moments.step = 0;
    }
}
