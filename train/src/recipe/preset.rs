//! Machines that a run can be fitted to: precision, and as many tokens a micro-batch as memory holds.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::precision::Precision;

/// GPUs with presets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gpu {
    A100,
    H100,
    H200,
}

impl Gpu {
    const ALL: [Self; 3] = [Self::A100, Self::H100, Self::H200];

    fn name(self) -> &'static str {
        match self {
            Self::A100 => "a100",
            Self::H100 => "h100",
            Self::H200 => "h200",
        }
    }

    /// Bytes of memory, of the A100 with 80 GB.
    fn memory(self) -> f64 {
        match self {
            Self::A100 | Self::H100 => 80e9,
            Self::H200 => 141e9,
        }
    }
}

/// One or several GPUs of a kind: `h100`, `8xh100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    gpu: Gpu,
    num_gpus: u32,
}

impl Preset {
    /// Share of the memory that an estimate may fill: the estimate is good to about a third, and libtorch, CUDA and fragments
    /// take theirs.
    const FILLED: f64 = 0.75;
    /// Budgets are multiples of this.
    const GRAIN: u64 = 2048;

    /// What it computes in.
    pub fn precision(self) -> Precision {
        Precision::Bf16
    }

    /// How many GPUs.
    pub fn num_gpus(self) -> u32 {
        self.num_gpus
    }

    /// The largest token budget of a micro-batch whose `memory` (bytes, estimated for a budget) fits, and no more than a GPU's
    /// part of a step of `tokens_per_step`.
    pub fn micro_batch_tokens(self, tokens_per_step: f64, memory: impl Fn(u64) -> f64) -> u64 {
        let part = (tokens_per_step / f64::from(self.num_gpus) / Self::GRAIN as f64).ceil().max(1.0) as u64;
        let fits = |grains: u64| memory(grains * Self::GRAIN) <= Self::FILLED * self.gpu.memory();
        // Memory grows with the budget: bisect between one grain, whatever it needs, and the whole part.
        let (mut low, mut high) = (1, part + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low * Self::GRAIN
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (count, name) = text.split_once('x').unwrap_or(("1", text));
        let gpu = Gpu::ALL.into_iter().find(|gpu| gpu.name() == name);
        let num_gpus = count.parse().ok().filter(|count| *count >= 1);
        match (gpu, num_gpus) {
            (Some(gpu), Some(num_gpus)) => Ok(Self { gpu, num_gpus }),
            _ => Err(Error::Invalid(format!(
                "preset: expected a100, h100 or h200, or several of them such as 8xh100, found '{text}'"
            ))),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.num_gpus {
            1 => write!(f, "{}", self.gpu.name()),
            several => write!(f, "{several}x{}", self.gpu.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_read_back_as_they_are_shown() {
        for text in ["a100", "h100", "h200", "8xa100", "8xh100", "8xh200", "2xh200"] {
            assert_eq!(text.parse::<Preset>().unwrap().to_string(), text);
        }
        for text in ["", "v100", "0xh100", "xh100", "8x"] {
            assert!(text.parse::<Preset>().unwrap_err().to_string().ends_with(&format!("found '{text}'")));
        }
    }

    #[test]
    fn a_budget_fills_the_memory_but_not_more_than_a_step() {
        let preset: Preset = "h100".parse().unwrap();
        let memory = |tokens: u64| 10e9 + tokens as f64 * 1e6;
        assert_eq!(preset.micro_batch_tokens(1e9, memory), 49_152);
        assert!(memory(49_152) <= 60e9 && memory(49_152 + 2048) > 60e9);
        assert_eq!(preset.micro_batch_tokens(10_000.0, memory), 10_240);
        assert_eq!("8xh100".parse::<Preset>().unwrap().micro_batch_tokens(80_000.0, memory), 10_240);
        assert_eq!(preset.micro_batch_tokens(1e9, |_| 1e15), 2048);
    }
}
