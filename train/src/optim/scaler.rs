//! Dynamic loss scaling for fp16, whose smallest gradients would otherwise become 0.
//!
//! Source: Micikevicius et al. 2017 (arXiv 1710.03740); the constants are those of PyTorch's `GradScaler`.

use serde::{Deserialize, Serialize};

/// What the loss is multiplied with before backward, and how it changes. The optimizer divides gradients by it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor, a power of two unless the recipe starts it elsewhere.
    pub value: f64,
    /// Updates since it last changed.
    pub num_clean_steps: u64,
}

impl LossScale {
    /// Where recipes start it by default.
    pub const INITIAL: f64 = 65_536.0;
    /// Updates without overflow after which it grows, by default.
    pub const GROWTH_INTERVAL: u64 = 2000;
    const GROWTH: f64 = 2.0;
    const BACK_OFF: f64 = 0.5;
    /// Backing off ends here: fp16 gradients that overflow without any scaling are the model's fault.
    const LEAST: f64 = 1.0;
    /// fp32 sums of scaled gradients stay finite.
    pub(crate) const MOST: f64 = 16_777_216.0 * 65_536.0;

    /// A scale to start with.
    pub fn new(value: f64) -> Self {
        Self { value, num_clean_steps: 0 }
    }

    /// After an update: grows once there were `growth_interval` of them in a row.
    pub fn updated(&mut self, growth_interval: u64) {
        self.num_clean_steps += 1;
        if self.num_clean_steps >= growth_interval {
            *self = Self::new((self.value * Self::GROWTH).min(Self::MOST));
        }
    }

    /// After a gradient that was not finite: backs off, and says whether it could.
    pub fn overflowed(&mut self) -> bool {
        let could = self.value > Self::LEAST;
        *self = Self::new((self.value * Self::BACK_OFF).max(Self::LEAST));
        could
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_after_as_many_clean_steps_as_the_interval_and_no_sooner() {
        let mut scale = LossScale::new(8.0);
        for _ in 0..2 {
            scale.updated(3);
        }
        assert_eq!(scale, LossScale { value: 8.0, num_clean_steps: 2 });
        scale.updated(3);
        assert_eq!(scale, LossScale::new(16.0));
    }

    #[test]
    fn an_overflow_halves_it_and_starts_the_interval_again_down_to_1() {
        let mut scale = LossScale { value: 4.0, num_clean_steps: 7 };
        assert!(scale.overflowed());
        assert_eq!(scale, LossScale::new(2.0));
        assert!(scale.overflowed());
        assert!(!scale.overflowed());
        assert_eq!(scale, LossScale::new(1.0));
    }

    #[test]
    fn it_never_grows_beyond_what_fp32_sums_bear() {
        let mut scale = LossScale::new(LossScale::INITIAL);
        (0..100).for_each(|_| scale.updated(1));
        assert_eq!(scale.value, 2f64.powi(40));
    }
}
