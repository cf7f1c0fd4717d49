//! The machine that a run computes on, and how fast it multiplies matrices.

use std::fs;
use std::time::{Duration, Instant};

use cloze_torch_ext as torch_ext;
use serde::Serialize;
use tch::{Cuda, Device, Kind, Tensor};

use crate::error::Result;

/// What libraries read from the environment before `main` starts, as a program on a CPU wants it.
///
/// - libtorch's OpenMP threads spin while they wait for each other, by default 300,000 times. Beside any other busy program
///   they spin away the very core that the thread they wait for needs: a small model on two shared cores trained 5 to 10
///   times slower. Sleeping at once costs an idle machine a quarter of its speed. This many turns cost it 5 %.
/// - glibc's allocator gives large blocks back to the system and gets them again, zeroed page by page, in every step;
///   keeping them made fine-tuning 10 % faster. A thread's own heaps do not keep them, so threads share one.
/// - Huge pages spare the processor looking up 4 KiB pages of buffers that are passed over once a step: 3 %.
pub const ENVIRONMENT: [(&str, &str); 5] = [
    ("GOMP_SPINCOUNT", "30000"),
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
    ("MALLOC_ARENA_MAX", "1"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
];

/// What a run's log says of its machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Its name on the network.
    pub host: String,
    /// Model of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Threads of libtorch.
    pub threads: i32,
    /// Instruction set of torch's own kernels.
    pub instruction_set: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Model of the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Bytes of the GPU's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

impl Machine {
    /// This machine, for a run on `device`. What the system does not tell is `unknown` or 0.
    pub fn of(device: Device) -> Self {
        let unknown = || "unknown".to_owned();
        let gpu = match device {
            Device::Cuda(index) => torch_ext::gpu(index),
            _ => None,
        };
        Self {
            host: host(),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: tch::get_num_threads(),
            instruction_set: torch_ext::cpu_capability().unwrap_or_else(|_| unknown()),
            memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text)).unwrap_or(0),
            device: match device {
                Device::Cuda(index) => format!("cuda:{index}"),
                _ => "cpu".to_owned(),
            },
            gpu: gpu.as_ref().map(|gpu| gpu.name.clone()),
            gpu_memory_bytes: gpu.map(|gpu| gpu.memory_bytes),
        }
    }
}

/// Name of this machine, fit for a file's name.
pub fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The value of the first line `name : value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// `16309712 kB` in bytes.
fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Floating-point operations per second of a large square matrix product of `kind` on `device` with torch's present settings:
/// the fastest of those done in about 0.2 s. It is what model FLOPs utilisation (MFU) is measured against.
///
/// Torch's generators are not touched.
///
/// # Errors
/// Memory runs out, or the device has no products of this kind.
pub fn matmul_limit(device: Device, kind: Kind) -> Result<f64> {
    const TIME: Duration = Duration::from_millis(200);
    // Large enough for full speed; on a GPU, where starting one takes a while, several products are timed together.
    let (side, at_once) = if device == Device::Cpu { (1024, 1) } else { (8192, 8) };
    let _no_gradient = tch::no_grad_guard();
    // Random: a GPU draws less power, and runs faster, on constant numbers.
    let mut a = Tensor::f_empty([side, side], (Kind::Float, Device::Cpu))?;
    torch_ext::fill_normal(&mut a, 1.0, 0)?;
    let a = a.f_to_kind(kind)?.f_to_device(device)?;
    let mut out = a.f_empty_like()?;
    let mut seconds = || -> Result<f64> {
        let started = Instant::now();
        for _ in 0..at_once {
            out = a.f_matmul_out(&out, &a)?;
        }
        if let Device::Cuda(index) = device {
            Cuda::synchronize(index as i64);
        }
        Ok(started.elapsed().as_secs_f64() / f64::from(at_once))
    };
    seconds()?;
    let started = Instant::now();
    let mut fastest = f64::INFINITY;
    while started.elapsed() < TIME {
        fastest = fastest.min(seconds()?);
    }
    Ok(2.0 * (side as f64).powi(3) / fastest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::of(Device::Cpu);
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 28, "{machine:?}");
        assert_eq!((machine.device.as_str(), machine.gpu), ("cpu", None));
    }

    #[test]
    fn a_matrix_product_has_a_speed() {
        let limit = matmul_limit(Device::Cpu, Kind::Float).unwrap();
        assert!((1e8..1e14).contains(&limit), "{limit:e}");
    }
}
