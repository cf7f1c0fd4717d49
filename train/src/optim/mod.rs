//! Optimizers on the flat buffers, learning-rate schedules, gradient norms.

mod adamw;
mod clip;
mod lamb;
mod scaler;
mod schedule;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};
use crate::parameters::Parameters;

pub use adamw::AdamW;
pub use clip::norm;
pub use lamb::Lamb;
pub use scaler::LossScale;
pub use schedule::Schedule;

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// [`Lamb`].
    Lamb,
    /// [`AdamW`].
    Adamw,
}

impl OptimizerKind {
    /// As recipes and checkpoints spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lamb => "lamb",
            Self::Adamw => "adamw",
        }
    }

    /// Its customary term in the denominator: that of apex's `FusedLAMB`, and that of `torch.optim.AdamW`.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::Lamb => 1e-6,
            Self::Adamw => 1e-8,
        }
    }
}

/// The constants of LAMB or AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// Which one.
    pub kind: OptimizerKind,
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Weight decay of matrices and embeddings; biases and LayerNorm have none.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm; 0 leaves them as they are.
    pub max_gradient_norm: f64,
}

impl OptimizerConfig {
    /// BERT's constants for an optimizer of that kind.
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, beta1: 0.9, beta2: 0.999, epsilon: kind.epsilon(), weight_decay: 0.01, max_gradient_norm: 1.0 }
    }

    /// The optimizer, with moments 0, for `parameters`.
    pub fn build(self, parameters: &Parameters) -> Result<Box<dyn Optimizer>> {
        Ok(match self.kind {
            OptimizerKind::Lamb => Box::new(Lamb::new(parameters, self)?),
            OptimizerKind::Adamw => Box::new(AdamW::new(parameters, self)?),
        })
    }
}

/// What one update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// L2 norm over all gradients, their scale divided out, before clipping.
    pub gradient_norm: f64,
    /// The norm was not finite: parameters, moments and the step count are as before.
    pub skipped: bool,
}

/// Everything an optimizer remembers, for a checkpoint.
#[derive(Debug)]
pub struct OptimizerState {
    /// Which optimizer: `lamb` or `adamw`.
    pub kind: String,
    /// Updates done since the start or the last [`Optimizer::reset_step`].
    pub step: u64,
    /// [`Parameters::layout`] of the parameters that the tensors belong to.
    pub layout: String,
    /// `first_moment` and `second_moment`, each `[N]` f32 like [`Parameters::flat`].
    pub tensors: Vec<(String, Tensor)>,
}

/// Turns accumulated gradients into new parameters.
pub trait Optimizer {
    /// One update from `parameters.gradient()` divided by `parameters.gradient_scale()`. It may use the gradient as scratch
    /// space: its values are undefined afterwards.
    ///
    /// # Errors
    /// When `parameters` are not those it was made for, or torch fails.
    fn step(&mut self, parameters: &mut Parameters, learning_rate: f64) -> Result<StepOutcome>;

    /// Its state; the tensors share storage with it.
    fn state(&self) -> OptimizerState;

    /// Takes over a state that [`Self::state`] gave for the same parameters; values are copied.
    ///
    /// # Errors
    /// When it is the state of another optimizer or of differently laid out parameters.
    fn load_state(&mut self, state: &OptimizerState) -> Result<()>;

    /// Sets the step count back to 0 and keeps the moments, as phase 2 starts from phase 1.
    fn reset_step(&mut self);
}

/// First and second moments on flat buffers and the step count: what both optimizers remember.
#[derive(Debug)]
struct Moments {
    first: Tensor,
    second: Tensor,
    step: u64,
    layout: String,
}

impl Moments {
    fn new(parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            first: parameters.flat().f_zeros_like()?,
            second: parameters.flat().f_zeros_like()?,
            step: 0,
            layout: parameters.layout(),
        })
    }

    fn check(&self, parameters: &Parameters) -> Result<()> {
        if self.first.size() == parameters.flat().size() && self.first.device() == parameters.flat().device() {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "optimizer: made for {:?} parameters on {:?}, found {:?} on {:?}",
            self.first.size(),
            self.first.device(),
            parameters.flat().size(),
            parameters.flat().device()
        )))
    }

    fn state(&self, kind: &str) -> OptimizerState {
        OptimizerState {
            kind: kind.to_owned(),
            step: self.step,
            layout: self.layout.clone(),
            tensors: vec![
                ("first_moment".to_owned(), self.first.shallow_clone()),
                ("second_moment".to_owned(), self.second.shallow_clone()),
            ],
        }
    }

    fn load(&mut self, kind: &str, state: &OptimizerState) -> Result<()> {
        if state.kind != kind {
            return Err(Error::Invalid(format!(
                "optimizer state: expected one of {kind}, found one of {}",
                state.kind
            )));
        }
        if state.layout != self.layout {
            return Err(Error::Invalid(format!(
                "optimizer state: expected parameter layout {}, found {}; it belongs to a model of another shape",
                self.layout, state.layout
            )));
        }
        for (name, target) in [("first_moment", &mut self.first), ("second_moment", &mut self.second)] {
            let (_, source) = state
                .tensors
                .iter()
                .find(|(found, _)| found == name)
                .ok_or_else(|| Error::Invalid(format!("optimizer state: expected a tensor {name}, found none")))?;
            if source.size() != target.size() {
                return Err(Error::Invalid(format!(
                    "optimizer state: {name}: expected shape {:?}, found {:?}",
                    target.size(),
                    source.size()
                )));
            }
            target.f_copy_(source)?;
        }
        self.step = state.step;
        Ok(())
    }
}
