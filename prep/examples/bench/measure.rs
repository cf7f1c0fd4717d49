//! Running one measurement in a process of its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// What is measured: name, threads, and what its rate counts.
pub const MEASUREMENTS: &[(&str, &str)] = &[
    ("copy", "limit: copying the text in memory"),
    ("zstd", "limit: decoding the text from zstd"),
    ("bzip2", "limit: decoding the dump from bzip2, one thread"),
    ("tokenizer", "tokenizer alone, text to ids"),
    ("tokenizers", "peer: Hugging Face tokenizers 0.22, encode_batch_fast"),
    ("sentences", "sentence splitting alone"),
    ("dynamic-1", "text to corpus to phase 1, dynamic masks"),
    ("static-1", "text to corpus to phase 1, static masks, dupe_factor 5"),
    ("dynamic-2", "the same on two threads: dynamic"),
    ("static-2", "the same on two threads: static"),
    ("dump-1", "dump (.xml.bz2) to corpus"),
    ("dump-2", "the same on two threads"),
    ("loader", "loader, phase 1, dynamic masks"),
];

/// 1 GB of synthetic text, for the peak of memory.
pub const LARGE: &[(&str, &str)] = &[
    ("large-1", "1 GB of synthetic text to phase 1, static x5"),
    ("large-2", "the same on two threads"),
    ("large-8", "the same on eight threads"),
];

/// Work whose peak of memory is measured by number of threads.
pub const MEMORY: &[(&str, &str)] = &[
    ("memory-text", "text to corpus to phase 1, static x5"),
    ("memory-compat", "text to corpus to phase 1 of --compat nvidia"),
    ("memory-dump", "dump (.xml.bz2) to corpus"),
];

/// The numbers of threads.
pub const THREADS: &[usize] = &[1, 2, 8, 32, 64, 128];

/// What one measurement came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub name: String,
    /// What was done, for people.
    pub what: String,
    /// Bytes of text (or XML) that went through.
    pub bytes: u64,
    /// Instances that were made or loaded; 0 where there are none.
    pub instances: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// User and system time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// Highest memory of its own (anonymous, resident), in bytes, looked at every few milliseconds.
    pub peak_bytes: u64,
    /// Highest resident memory with mapped files, which the kernel may take back at any time.
    pub peak_mapped_bytes: u64,
}

impl Measured {
    /// Megabytes of text per second of CPU time.
    pub fn megabytes_per_cpu_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.cpu_seconds.max(1e-9)
    }
}

/// Times `work`, which returns (bytes, instances).
pub fn timed(name: &str, work: impl FnOnce() -> anyhow::Result<(u64, u64)>) -> anyhow::Result<Measured> {
    let watch = MemoryWatch::start();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let (bytes, instances) = work()?;
    Ok(Measured {
        name: name.to_owned(),
        what: String::new(),
        bytes,
        instances,
        seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu,
        peak_bytes: watch.peak(),
        peak_mapped_bytes: status_bytes("VmHWM:").context("/proc/self/status has VmHWM")?,
    })
}

/// User and system time of this process, finished threads included.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Looks at this process's own memory until it is asked for the peak.
struct MemoryWatch {
    peak: Arc<AtomicU64>,
}

impl MemoryWatch {
    fn start() -> Self {
        let peak = Arc::new(AtomicU64::new(0));
        let weak = Arc::downgrade(&peak);
        std::thread::spawn(move || {
            while let (Some(peak), Some(bytes)) = (weak.upgrade(), status_bytes("RssAnon:")) {
                peak.fetch_max(bytes, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { peak }
    }

    fn peak(self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// A line of /proc/self/status, in bytes.
fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The measuring process.
pub struct Bench {
    /// Where the inputs lie.
    pub inputs: PathBuf,
    /// Runs of each measurement.
    pub runs: u32,
}

impl Bench {
    /// Measures everything, the fastest run of each.
    pub fn all(&self, large: bool) -> anyhow::Result<Vec<Measured>> {
        let large = if large { LARGE } else { &[] };
        MEASUREMENTS.iter().chain(large).map(|&(name, what)| self.fastest(name, what)).collect()
    }

    /// Measures the memory of each work with each number of threads.
    pub fn memory(&self) -> anyhow::Result<Vec<Measured>> {
        let runs = MEMORY.iter().flat_map(|work| THREADS.iter().map(move |threads| (work, threads)));
        let measure = |(&(work, what), threads): (&(&str, &str), &usize)| {
            eprintln!("{what}, {threads} threads ..");
            Ok(Measured { what: format!("{what}, {threads} threads"), ..self.once(&format!("{work}-{threads}"))? })
        };
        runs.map(measure).collect()
    }

    fn fastest(&self, name: &str, what: &str) -> anyhow::Result<Measured> {
        eprintln!("{what} ..");
        let runs = if name.starts_with("large") { 1 } else { self.runs };
        let mut best: Option<Measured> = None;
        for _ in 0..runs {
            let measured = self.once(name)?;
            let better = best.as_ref().is_none_or(|best| measured.cpu_seconds < best.cpu_seconds);
            best = if better { Some(measured) } else { best };
        }
        let best = best.context("at least one run")?;
        Ok(Measured { what: what.to_owned(), ..best })
    }

    fn once(&self, name: &str) -> anyhow::Result<Measured> {
        let program = std::env::current_exe()?;
        let output = Command::new(program).args(["--measure", name, "--inputs"]).arg(&self.inputs).output()?;
        if !output.status.success() {
            bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
