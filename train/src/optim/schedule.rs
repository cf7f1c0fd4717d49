//! Learning rates over the steps of a run.

use crate::error::{Error, Result};
use crate::recipe::Curve;

/// A learning rate for each step: a linear warm-up to the peak, then one of the [`Curve`]s.
///
/// With N steps, of which the share f warms up, at 0-based step s:
///
/// - `Polynomial`, with p = (s + 1) / N: `peak * p / f` while p < f, then `peak * sqrt(1 - p)`. The curve jumps down at the end
///   of the warm-up; the last step has 0. Source: `PolyWarmUpScheduler` (degree 0.5), NVIDIA's BERT for PyTorch.
/// - the others, with w = ceil(f N): `peak * s / w` while s < w, then, with q = (s - w) / (N - w), `peak * (1 - q)` (`Linear`),
///   `peak * (1 + cos(pi q)) / 2` (`Cosine`) or `peak` (`Constant`). Source: the schedules of Hugging Face transformers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    curve: Curve,
    peak_learning_rate: f64,
    warmup_fraction: f64,
    num_steps: u64,
}

impl Schedule {
    /// A curve of `num_steps` steps, of which the share `warmup_fraction` warms up.
    ///
    /// # Errors
    /// When an argument is out of range.
    pub fn new(curve: Curve, peak_learning_rate: f64, warmup_fraction: f64, num_steps: u64) -> Result<Self> {
        if !(peak_learning_rate.is_finite() && peak_learning_rate >= 0.0) {
            return Err(Error::Invalid(format!(
                "learning_rate: expected a number from 0 up, found {peak_learning_rate}"
            )));
        }
        if !(0.0..=1.0).contains(&warmup_fraction) {
            return Err(Error::Invalid(format!(
                "warmup_fraction: expected a number from 0 to 1, found {warmup_fraction}"
            )));
        }
        if num_steps == 0 {
            return Err(Error::Invalid("num_steps: expected at least 1, found 0".to_owned()));
        }
        Ok(Self { curve, peak_learning_rate, warmup_fraction, num_steps })
    }

    /// Steps of the whole run.
    pub fn num_steps(&self) -> u64 {
        self.num_steps
    }

    /// The learning rate of the 0-based `step`; 0 from `num_steps` on.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step >= self.num_steps {
            return 0.0;
        }
        self.peak_learning_rate * self.factor(step as f64, self.num_steps as f64)
    }

    fn factor(&self, step: f64, total: f64) -> f64 {
        if self.curve == Curve::Polynomial {
            let progress = (step + 1.0) / total;
            return if progress < self.warmup_fraction {
                progress / self.warmup_fraction
            } else {
                (1.0 - progress).sqrt()
            };
        }
        let warmup = (self.warmup_fraction * total).ceil();
        if step < warmup {
            return step / warmup;
        }
        let left = (total - step) / (total - warmup);
        match self.curve {
            Curve::Constant => 1.0,
            Curve::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * (1.0 - left)).cos()),
            Curve::Linear | Curve::Polynomial => left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{found} {expected}");
    }

    #[test]
    fn phase_1_warms_up_for_2000_steps_jumps_down_and_ends_at_zero() {
        let schedule = Schedule::new(Curve::Polynomial, 6e-3, 0.2843, 7038).unwrap();
        close(schedule.learning_rate(0), 6e-3 / (7038.0 * 0.2843));
        // 0.2843 * 7038 = 2000.9: t = 2000 still warms up, t = 2001 does not
        close(schedule.learning_rate(1999), 6e-3 * 2000.0 / 7038.0 / 0.2843);
        close(schedule.learning_rate(2000), 6e-3 * (1.0f64 - 2001.0 / 7038.0).sqrt());
        assert!((schedule.learning_rate(2000) - 5.076e-3).abs() < 1e-6);
        close(schedule.learning_rate(5277), 6e-3 * (1.0f64 - 5278.0 / 7038.0).sqrt());
        assert_eq!(schedule.learning_rate(7037), 0.0);
        assert_eq!(schedule.learning_rate(9999), 0.0);
    }

    #[test]
    fn the_linear_schedule_is_that_of_transformers() {
        let schedule = Schedule::new(Curve::Linear, 5e-5, 0.1, 25).unwrap(); // 2.5 steps of warm-up, rounded up
        let expected = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 21.0 / 22.0];
        for (step, factor) in expected.into_iter().enumerate() {
            close(schedule.learning_rate(step as u64), 5e-5 * factor);
        }
        close(schedule.learning_rate(24), 5e-5 / 22.0);
        assert_eq!(schedule.learning_rate(25), 0.0);
    }

    #[test]
    fn cosine_and_constant_warm_up_as_linear_does() {
        // transformers' get_cosine_schedule_with_warmup(optimizer, 2, 10) and get_constant_schedule_with_warmup(optimizer, 2)
        let cosine = Schedule::new(Curve::Cosine, 1.0, 0.2, 10).unwrap();
        let constant = Schedule::new(Curve::Constant, 1.0, 0.2, 10).unwrap();
        let expected =
            [0.0, 0.5, 1.0, 0.961939766, 0.853553391, 0.691341716, 0.5, 0.308658284, 0.146446609, 0.038060234];
        for (step, factor) in expected.into_iter().enumerate() {
            assert!((cosine.learning_rate(step as u64) - factor).abs() < 1e-9, "{step}");
            close(constant.learning_rate(step as u64), (step as f64 / 2.0).min(1.0));
        }
        assert_eq!((cosine.learning_rate(10), constant.learning_rate(10)), (0.0, 0.0));
    }

    #[test]
    fn the_ends_of_the_warm_up_s_range_divide_nothing_by_zero() {
        for fraction in [0.0, 1.0] {
            for curve in [Curve::Polynomial, Curve::Linear, Curve::Cosine, Curve::Constant] {
                let schedule = Schedule::new(curve, 1.0, fraction, 4).unwrap();
                assert!((0..5).all(|step| (0.0..=1.0).contains(&schedule.learning_rate(step))));
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let text = |result: Result<Schedule>| result.unwrap_err().to_string();
        assert_eq!(
            text(Schedule::new(Curve::Linear, 1e-4, 1.5, 9)),
            "warmup_fraction: expected a number from 0 to 1, found 1.5"
        );
        assert_eq!(
            text(Schedule::new(Curve::Linear, -1.0, 0.1, 9)),
            "learning_rate: expected a number from 0 up, found -1"
        );
        assert_eq!(text(Schedule::new(Curve::Polynomial, 1e-4, 0.1, 0)), "num_steps: expected at least 1, found 0");
    }
}
