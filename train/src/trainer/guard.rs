//! Whether a step may be learnt from: losses and gradients must be finite, and a loss may be bound to those before it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a step is skipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// The loss is infinite or not a number.
    Loss(f64),
    /// The gradient's norm is infinite or not a number, although the loss is finite.
    Gradient(f64),
    /// The loss is too far above the mean of recent ones.
    Spike { loss: f64, mean: f64 },
}

impl Fault {
    /// What several such steps are called.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Loss(_) | Self::Gradient(_) => "non-finite steps",
            Self::Spike { .. } => "loss spikes",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(loss) => write!(f, "loss {loss}, not finite"),
            Self::Gradient(norm) => write!(f, "gradient norm {norm}, not finite"),
            Self::Spike { loss, mean } => write!(f, "loss {loss:.4}, a spike above the recent mean {mean:.4}"),
        }
    }
}

/// The mean loss of recent updates: exponential, over about the last [`RecentLoss::SPAN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentLoss {
    mean: f64,
    num_updates: u64,
}

impl RecentLoss {
    /// Updates that the mean reaches back.
    pub const SPAN: u64 = 100;
    /// Updates before which nothing counts as a spike.
    const LEAST: u64 = 10;

    /// What is wrong with a step of this `loss`, where spikes are losses above `max_spike` times the mean.
    pub(super) fn fault(self, loss: f64, max_spike: Option<f64>) -> Option<Fault> {
        if !loss.is_finite() {
            return Some(Fault::Loss(loss));
        }
        let is_spike = self.num_updates >= Self::LEAST && max_spike.is_some_and(|factor| loss > factor * self.mean);
        is_spike.then_some(Fault::Spike { loss, mean: self.mean })
    }

    /// Takes in the loss of an update.
    pub(super) fn add(&mut self, loss: f64) {
        self.num_updates += 1;
        self.mean += (loss - self.mean) / self.num_updates.min(Self::SPAN) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_is_measured_against_the_recent_mean_once_there_is_one() {
        let mut recent = RecentLoss::default();
        for _ in 0..RecentLoss::LEAST - 1 {
            recent.add(2.0);
        }
        assert_eq!(recent.fault(100.0, Some(1.5)), None);
        recent.add(2.0);
        assert_eq!(recent.fault(3.0, Some(1.5)), None);
        assert_eq!(recent.fault(3.1, Some(1.5)), Some(Fault::Spike { loss: 3.1, mean: 2.0 }));
        assert_eq!(recent.fault(3.1, None), None);
        for _ in 0..10 * RecentLoss::SPAN {
            recent.add(4.0);
        }
        assert_eq!(recent.fault(3.1, Some(1.5)), None);
        assert!(matches!(recent.fault(f64::NAN, None), Some(Fault::Loss(_))));
    }
}
