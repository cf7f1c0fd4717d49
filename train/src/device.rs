//! Where a run computes.

use std::fmt;
use std::str::FromStr;

use tch::{Cuda, Device};

use crate::error::{Error, Result};

/// The device a user asks for: `auto`, `cpu`, `cuda` (one for each process) or `cuda:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A CUDA device for each process of a machine where there are some, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device for each process of a machine.
    AnyCuda,
    /// The CUDA device of this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// The device itself, for the process of this number on its machine. Call `cloze_torch_ext::load::cuda` before.
    ///
    /// # Errors
    /// When a CUDA device is asked for by name and is not there.
    pub fn resolve(self, local_rank: usize) -> Result<Device> {
        // is_available asks for CUDA without touching a device; device_count is 0 without a driver.
        let num_devices = if Cuda::is_available() { Cuda::device_count() } else { 0 };
        match self {
            Self::Cpu => Ok(Device::Cpu),
            // A launcher may show each process its own device only.
            Self::Auto | Self::AnyCuda if num_devices > 0 => Ok(Device::Cuda(local_rank % num_devices as usize)),
            Self::Auto => Ok(Device::Cpu),
            Self::AnyCuda => Self::Cuda(local_rank).resolve(local_rank),
            Self::Cuda(index) if (index as i64) < num_devices => Ok(Device::Cuda(index)),
            Self::Cuda(index) => Err(Error::Invalid(format!(
                "device cuda:{index}: expected one of the CUDA devices of this machine, found {num_devices} of them; use --device cpu \
                 or auto, or check the driver and that train/setup.sh gpu was run"
            ))),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid(format!("device: expected auto, cpu, cuda or cuda:NUMBER, found '{text}'"));
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::AnyCuda),
            _ => {
                let index = text.strip_prefix("cuda:").ok_or_else(invalid)?;
                Ok(Self::Cuda(index.parse().map_err(|_| invalid())?))
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::AnyCuda => write!(f, "cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_back_as_it_is_shown() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert_eq!(error, format!("device: expected auto, cpu, cuda or cuda:NUMBER, found '{text}'"));
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_and_auto_is_not() {
        assert!(DeviceChoice::Auto.resolve(0).is_ok());
        assert!(
            DeviceChoice::Cuda(999).resolve(0).unwrap_err().to_string().starts_with("device cuda:999: expected one of")
        );
    }
}
