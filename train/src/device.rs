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
        let num_devices = num_devices();
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

    /// What to tell a user who left the choice to us, where `num_processes` on this machine leave some of its GPUs idle.
    pub fn notice(self, num_processes: u32) -> Option<String> {
        self.notice_of(num_devices(), num_processes)
    }

    fn notice_of(self, num_devices: i64, num_processes: u32) -> Option<String> {
        let is_ours = matches!(self, Self::Auto | Self::AnyCuda);
        (is_ours && num_devices > num_processes.into()).then(|| {
            format!(
                "{num_devices} GPUs are here and {num_processes} used, one by each process; --spawn {num_devices} or \
                 torchrun --no-python --nproc-per-node {num_devices} uses all, --device cuda:0 says that this is meant"
            )
        })
    }
}

/// CUDA devices of this machine, as the driver shows them to this process.
fn num_devices() -> i64 {
    // is_available asks for CUDA without touching a device; device_count is 0 without a driver.
    if Cuda::is_available() { Cuda::device_count() } else { 0 }
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

    #[test]
    fn idle_gpus_are_named_unless_one_was_chosen() {
        let notice = DeviceChoice::Auto.notice_of(8, 1).unwrap();
        assert!(notice.starts_with("8 GPUs are here and 1 used") && notice.contains("--spawn 8"), "{notice}");
        for (choice, num_devices, num_processes) in [
            (DeviceChoice::Auto, 8, 8),
            (DeviceChoice::AnyCuda, 1, 2),
            (DeviceChoice::Auto, 0, 1),
            (DeviceChoice::Cuda(3), 8, 1),
        ] {
            assert_eq!(choice.notice_of(num_devices, num_processes), None);
        }
    }
}
