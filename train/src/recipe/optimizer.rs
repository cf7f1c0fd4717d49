//! The `[optimizer]` section and the shapes of a learning-rate curve, the same for pre-training and fine-tuning.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{at_least_zero, within};
use crate::error::Result;
use crate::optim::{OptimizerConfig, OptimizerKind};

/// How gradients become new parameters. Biases and LayerNorm are never decayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerSection {
    /// `lamb` (You et al. 2020, as NVIDIA's BERT uses it) or `adamw`. Default: `lamb` to pre-train, `adamw` to fine-tune.
    pub kind: Option<OptimizerKind>,
    /// Peak learning rate. Default: to pre-train, 6e-3 with LAMB (phase 1 at a global batch of 65,536) and 1e-4 with AdamW
    /// (Devlin et al. 2019, at 256); to fine-tune, 2e-4 with LAMB and 5e-5 with AdamW.
    pub learning_rate: Option<f64>,
    /// Decoupled weight decay. Default 0.01.
    pub weight_decay: f64,
    /// The gradient is scaled down to this L2 norm; 0 leaves it as it is. Default 1.0.
    pub max_grad_norm: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta2: f64,
    /// Added to the denominator. Default: 1e-6 with LAMB, 1e-8 with AdamW.
    pub epsilon: Option<f64>,
}

impl Default for OptimizerSection {
    fn default() -> Self {
        Self {
            kind: None,
            learning_rate: None,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: None,
        }
    }
}

/// What an optimizer is for; it decides the defaults of [`OptimizerSection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Pre-training.
    Pretrain,
    /// Fine-tuning.
    Finetune,
}

impl OptimizerSection {
    /// Fills in what depends on kind and use.
    pub(super) fn settle(&mut self, r#use: Use) {
        let kind = *self.kind.get_or_insert(match r#use {
            Use::Pretrain => OptimizerKind::Lamb,
            Use::Finetune => OptimizerKind::Adamw,
        });
        self.learning_rate.get_or_insert(match (r#use, kind) {
            (Use::Pretrain, OptimizerKind::Lamb) => 6e-3,
            (Use::Pretrain, OptimizerKind::Adamw) => 1e-4,
            (Use::Finetune, OptimizerKind::Lamb) => 2e-4,
            (Use::Finetune, OptimizerKind::Adamw) => 5e-5,
        });
        self.epsilon.get_or_insert(kind.epsilon());
    }

    /// Peak learning rate, once settled.
    ///
    /// # Panics
    /// It was not settled.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate.expect("a run settles it first")
    }

    /// Everything but the learning rate, once settled.
    ///
    /// # Panics
    /// It was not settled.
    pub fn config(&self) -> OptimizerConfig {
        let kind = self.kind.expect("a run settles it first");
        OptimizerConfig {
            kind,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon.unwrap_or(kind.epsilon()),
            weight_decay: self.weight_decay,
            max_gradient_norm: self.max_grad_norm,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        const BELOW_1: f64 = 1.0 - f64::EPSILON;
        within("optimizer.learning_rate", self.learning_rate.unwrap_or(0.0), 0.0, 1e3)?;
        within("optimizer.weight_decay", self.weight_decay, 0.0, 1e3)?;
        at_least_zero("optimizer.max_grad_norm", self.max_grad_norm)?;
        within("optimizer.beta1", self.beta1, 0.0, BELOW_1)?;
        within("optimizer.beta2", self.beta2, 0.0, BELOW_1)?;
        within("optimizer.epsilon", self.epsilon.unwrap_or(1e-8), f64::MIN_POSITIVE, 1.0)
    }
}

/// The shape of a learning-rate curve, warm-up included; see [`crate::optim::Schedule`] for the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// NVIDIA's for LAMB: linear warm-up, then `sqrt(1 - progress)`.
    Polynomial,
    /// Linear warm-up, then straight down to 0.
    Linear,
    /// Linear warm-up, then half a cosine down to 0.
    Cosine,
    /// Linear warm-up, then the peak to the end.
    Constant,
}
