//! What a run computes in. Whatever it is, parameters, gradients, moments and losses are fp32.

use clap::ValueEnum;
use cloze_torch_ext::{Autocast, HalfPrecision, allow_tf32, cuda_has_bf16};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::error::{Error, Result};

/// The arithmetic of matrix products, and with it that of most of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bf16 on a GPU that has it, fp32 elsewhere.
    #[default]
    Auto,
    /// 32 bits everywhere.
    Fp32,
    /// fp32 whose matrix products round their inputs to 10 bits of mantissa; GPU only.
    Tf32,
    /// Matrix products in bfloat16: the range of fp32, 7 bits of mantissa.
    Bf16,
    /// Matrix products in float16: 10 bits of mantissa, a small range, hence dynamic loss scaling.
    Fp16,
}

impl Precision {
    /// Decides [`Self::Auto`] for `device`, and sets torch's switch for TF32.
    ///
    /// # Errors
    /// TF32 is asked for on a CPU, bf16 or TF32 on a GPU without it.
    pub fn settle(self, device: Device) -> Result<Self> {
        let on_gpu = device != Device::Cpu;
        let settled = match self {
            Self::Auto if on_gpu && cuda_has_bf16() => Self::Bf16,
            Self::Auto => Self::Fp32,
            Self::Tf32 if !on_gpu => {
                let message = "run.precision: expected fp32, bf16 or fp16 on a CPU, found tf32, which is a GPU's";
                return Err(Error::Invalid(message.to_owned()));
            }
            Self::Bf16 | Self::Tf32 if on_gpu && !cuda_has_bf16() => {
                let name = self.name();
                let message =
                    format!("run.precision: expected fp32 or fp16 on a GPU older than the A100, found {name}");
                return Err(Error::Invalid(message));
            }
            given => given,
        };
        allow_tf32(settled == Self::Tf32)?;
        Ok(settled)
    }

    /// Turns mixed precision on, where it is mixed, until the guard is dropped; for a forward pass.
    pub fn autocast(self, device: Device) -> Result<Option<Autocast>> {
        let half = match self {
            Self::Bf16 => HalfPrecision::Bf16,
            Self::Fp16 => HalfPrecision::Fp16,
            Self::Auto | Self::Fp32 | Self::Tf32 => return Ok(None),
        };
        Ok(Some(Autocast::enter(device, half)?))
    }

    /// Whether activations are mostly 16 bits wide.
    pub fn is_half(self) -> bool {
        matches!(self, Self::Bf16 | Self::Fp16)
    }

    /// What matrix products are computed in.
    pub fn matmul_kind(self) -> tch::Kind {
        match self {
            Self::Bf16 => tch::Kind::BFloat16,
            Self::Fp16 => tch::Kind::Half,
            Self::Auto | Self::Fp32 | Self::Tf32 => tch::Kind::Float,
        }
    }

    /// As recipes spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_computes_in_fp32_unless_told_and_knows_no_tf32() {
        assert_eq!(Precision::Auto.settle(Device::Cpu).unwrap(), Precision::Fp32);
        assert_eq!(Precision::Bf16.settle(Device::Cpu).unwrap(), Precision::Bf16);
        assert_eq!(
            Precision::Tf32.settle(Device::Cpu).unwrap_err().to_string(),
            "run.precision: expected fp32, bf16 or fp16 on a CPU, found tf32, which is a GPU's"
        );
    }

    #[test]
    fn names_are_those_of_recipes() {
        for precision in Precision::value_variants() {
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
    }
}
