//! `bench scaling`: how speed grows with processes, measured on this machine, and foretold for clusters by a model that says what
//! it assumes.

use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Preset;
use crate::error::{Error, Result};
use crate::plan::{Load, training_flops};
use crate::progress::{say, thousands};
use crate::summary::Summary;
use crate::world::environment_of_rank;

/// What is measured, and for what it is foretold.
#[derive(Clone, Debug)]
pub struct BenchScalingOptions {
    /// The model that is measured.
    pub model: Preset,
    /// Sequences per process and step in weak scaling; in strong scaling, the step has that of all processes.
    pub batch: u32,
    /// Tokens of a sequence.
    pub seq_len: u32,
    /// Numbers of processes; 1 is added.
    pub processes: Vec<u32>,
    /// Threads of each process.
    pub threads: u32,
    /// Timed steps.
    pub steps: u32,
    /// The cluster.
    pub cluster: Cluster,
}

/// What the model assumes of a cluster's devices and links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cluster {
    /// Floating-point operations per second that a device sustains in a step.
    pub device_flops_per_s: f64,
    /// Bytes per second between the memory and the processor of a device, for the optimizer.
    pub memory_bytes_per_s: f64,
    /// Bytes per second and device in an all-reduce within a machine.
    pub local_bytes_per_s: f64,
    /// Bytes per second and device between machines.
    pub network_bytes_per_s: f64,
    /// Seconds that a message takes at least.
    pub latency_s: f64,
    /// Bytes of a gradient element on the wire.
    pub gradient_bytes: f64,
    /// Share of the last backward pass behind which an all-reduce can hide.
    pub overlap: f64,
    /// Devices of a machine.
    pub local_devices: u32,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            device_flops_per_s: 400e12,
            memory_bytes_per_s: 4.0e12,
            local_bytes_per_s: 300e9,
            network_bytes_per_s: 40e9,
            latency_s: 20e-6,
            gradient_bytes: 4.0,
            overlap: 0.9,
            local_devices: 8,
        }
    }
}

/// A step on one device: what the model needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceStep {
    /// Parameters.
    pub num_parameters: f64,
    /// Floating-point operations per sequence, forward and backward.
    pub flops_per_sequence: f64,
    /// Sequences of a micro-batch.
    pub micro_batch: f64,
    /// Micro-batches of a step.
    pub accumulation: f64,
}

impl Cluster {
    /// Seconds to all-reduce `bytes` over `num_devices`: within the machines by rings, then each device its part between them.
    ///
    /// Source of the volumes: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
    pub fn all_reduce_s(&self, bytes: f64, num_devices: u32) -> f64 {
        let local = f64::from(num_devices.min(self.local_devices));
        let machines = f64::from(num_devices.div_ceil(self.local_devices));
        let ring =
            |members: f64, bytes: f64, rate: f64| 2.0 * (members - 1.0) * (bytes / members / rate + self.latency_s);
        ring(local, bytes, self.local_bytes_per_s) + ring(machines, bytes / local, self.network_bytes_per_s)
    }

    /// Seconds of a step on each of `num_devices`.
    pub fn step_s(&self, step: &DeviceStep, num_devices: u32) -> f64 {
        let micro_batch_s = step.micro_batch * step.flops_per_sequence / self.device_flops_per_s;
        // Gradient, parameter and two moments are read, the last three written.
        let optimizer_s = 7.0 * 4.0 * step.num_parameters / self.memory_bytes_per_s;
        let all_reduce_s = self.all_reduce_s(step.num_parameters * self.gradient_bytes, num_devices);
        let hidden_s = all_reduce_s.min(self.overlap * micro_batch_s * 2.0 / 3.0);
        step.accumulation * micro_batch_s + all_reduce_s - hidden_s + optimizer_s
    }

    /// Sequences per second on `num_devices`.
    pub fn sequences_per_s(&self, step: &DeviceStep, num_devices: u32) -> f64 {
        f64::from(num_devices) * step.micro_batch * step.accumulation / self.step_s(step, num_devices)
    }
}

/// What `bench train --json` says of a run.
#[derive(Clone, Debug, Deserialize)]
struct Measured {
    sequences_per_s: f64,
    step_s: f64,
    all_reduce_share: f64,
    machine: String,
}

/// Measures and foretells.
///
/// # Errors
/// A process cannot be started or fails.
pub fn run(options: &BenchScalingOptions) -> Result<Summary> {
    let mut processes = options.processes.clone();
    processes.push(1);
    processes.sort_unstable();
    processes.dedup();
    let most = *processes.last().expect("1 is among them");
    let mut summary = Summary::default();
    let one = measure(options, 1, options.batch)?;
    summary.add("machine", one.machine.clone(), one.machine.clone());
    let each = format!(
        "{}, sequences of {}, {} threads a process, {} steps each",
        options.model, options.seq_len, options.threads, options.steps
    );
    summary.add("model", options.model.to_string(), each);
    let mut weak = Vec::new();
    for &count in &processes {
        let measured = if count == 1 { one.clone() } else { measure(options, count, options.batch)? };
        weak.push((count, options.batch * count, measured));
    }
    add_measured(&mut summary, "weak scaling", &weak);
    let global_batch = options.batch * most;
    let mut strong = Vec::new();
    for &count in processes.iter().filter(|&&count| global_batch.is_multiple_of(count)) {
        strong.push((count, global_batch, measure(options, count, global_batch / count)?));
    }
    add_measured(&mut summary, "strong scaling", &strong);
    add_foretold(&mut summary, &options.cluster);
    Ok(summary)
}

/// Runs `bench train` in `count` processes, each with `batch` sequences a step.
fn measure(options: &BenchScalingOptions, count: u32, batch: u32) -> Result<Measured> {
    say(&format!("{count} processes, {batch} sequences each"));
    let failed = |what: &str| Error::Invalid(format!("bench scaling, {count} processes: {what}"));
    let program = std::env::current_exe().map_err(|e| failed(&e.to_string()))?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|e| failed(&e.to_string()))?
        .port();
    let [batch, seq_len, threads, steps] =
        [batch, options.seq_len, options.threads, options.steps].map(|number| number.to_string());
    let model = options.model.to_string();
    let arguments =
        ["--model", &model, "--batch", &batch, "--seq-len", &seq_len, "--threads", &threads, "--steps", &steps];
    let mut children = Vec::new();
    for rank in 0..count {
        let mut command = Command::new(&program);
        command.args(["bench", "train", "--json"]).args(arguments).stdout(Stdio::piped());
        if count > 1 {
            command.envs(environment_of_rank(rank, count, port));
        }
        children.push(command.spawn().map_err(|e| failed(&e.to_string()))?);
    }
    let outputs: std::io::Result<Vec<_>> = children.into_iter().map(|child| child.wait_with_output()).collect();
    let outputs = outputs.map_err(|e| failed(&e.to_string()))?;
    if outputs.iter().any(|output| !output.status.success()) {
        return Err(failed("expected all to succeed, found a failure (its message is above)"));
    }
    serde_json::from_slice(&outputs[0].stdout).map_err(|e| failed(&e.to_string()))
}

fn add_measured(summary: &mut Summary, kind: &str, rows: &[(u32, u32, Measured)]) {
    for (count, global_batch, measured) in rows {
        let speedup = measured.sequences_per_s / rows[0].2.sequences_per_s;
        let all_reduce_s = measured.all_reduce_share * measured.step_s;
        let text = format!(
            "{:.1} sequences/s, x{speedup:.2} ({:.0} %), {:.1} ms of {:.1} ms waiting for gradients",
            measured.sequences_per_s,
            100.0 * speedup / f64::from(*count),
            1e3 * all_reduce_s,
            1e3 * measured.step_s
        );
        let value = json!({"processes": count, "global_batch_size": global_batch, "sequences_per_s": measured.sequences_per_s,
            "speedup": speedup, "step_s": measured.step_s, "all_reduce_s": all_reduce_s});
        let name = format!("{kind}, {count} of {global_batch}");
        summary.add(&name, value, text);
    }
}

/// BERT-large in the two phases of pre-training: sequence length, masked positions, micro-batch and global batch size.
const PHASES: [(&str, f64, f64, f64, f64); 2] =
    [("phase 1", 128.0, 20.0, 256.0, 65_536.0), ("phase 2", 512.0, 80.0, 64.0, 32_768.0)];

fn add_foretold(summary: &mut Summary, cluster: &Cluster) {
    let assumptions = format!(
        "{:.0} TFLOP/s a device, {:.1} TB/s memory, all-reduce {:.0} GB/s a device within a machine of {} and {:.0} GB/s between \
         machines, {:.0} us a message, {:.0}-byte gradients, {:.0} % of the last backward pass hides it, no stragglers",
        cluster.device_flops_per_s / 1e12,
        cluster.memory_bytes_per_s / 1e12,
        cluster.local_bytes_per_s / 1e9,
        cluster.local_devices,
        cluster.network_bytes_per_s / 1e9,
        cluster.latency_s * 1e6,
        cluster.gradient_bytes,
        100.0 * cluster.overlap
    );
    let value: Value = json!({
        "device_flops_per_s": cluster.device_flops_per_s, "memory_bytes_per_s": cluster.memory_bytes_per_s,
        "local_bytes_per_s": cluster.local_bytes_per_s, "network_bytes_per_s": cluster.network_bytes_per_s,
        "latency_s": cluster.latency_s, "gradient_bytes": cluster.gradient_bytes, "overlap": cluster.overlap,
        "local_devices": cluster.local_devices,
    });
    summary.add("foretold from", value, assumptions);
    let config = Preset::Large.config();
    for (phase, len, masked, micro_batch, global_batch) in PHASES {
        let flops_per_sequence = training_flops(&config, Load::pretraining(len, masked));
        let step = |num_devices: u32| DeviceStep {
            num_parameters: 336e6,
            flops_per_sequence,
            micro_batch: micro_batch.min(global_batch / f64::from(num_devices)),
            accumulation: (global_batch / f64::from(num_devices) / micro_batch).max(1.0),
        };
        let one = cluster.sequences_per_s(&step(1), 1);
        let local = cluster.local_devices;
        for num_devices in [1, local, 4 * local, 32 * local] {
            let rate = cluster.sequences_per_s(&step(num_devices), num_devices);
            let text = format!(
                "{} sequences/s, x{:.1} ({:.1} %)",
                thousands(rate as u64),
                rate / one,
                100.0 * rate / one / f64::from(num_devices)
            );
            summary.add(&format!("bert-large {phase}, {num_devices} devices"), rate, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_all_reduce_of_one_device_is_free_and_volume_decides_for_many() {
        let cluster = Cluster { latency_s: 0.0, ..Cluster::default() };
        assert_eq!(cluster.all_reduce_s(1e9, 1), 0.0);
        // Two devices exchange half of it twice.
        assert!((cluster.all_reduce_s(3e9, 2) - 3e9 / 300e9).abs() < 1e-12);
        // Eight machines: each device an eighth, 2 * 7 / 8 of it over the network.
        let within = 2.0 * 7.0 / 8.0 * 1e9 / 300e9;
        assert!((cluster.all_reduce_s(1e9, 64) - within - 2.0 * 7.0 / 8.0 * 1e9 / 8.0 / 40e9).abs() < 1e-12);
    }

    /// Published: 8 A100 7.91 times one; 32 machines of 8, 30.4 times one machine at a global batch of 65,536 and 128 tokens,
    /// 30.1 times at 32,768 and 512 tokens (NVIDIA, BERT for PyTorch: fp16 gradients, one bucket without overlap).
    #[test]
    fn the_model_agrees_with_published_scaling_within_5_percent() {
        let a100 = Cluster {
            memory_bytes_per_s: 1.5e12,
            local_bytes_per_s: 230e9,
            network_bytes_per_s: 20e9,
            gradient_bytes: 2.0,
            overlap: 0.0,
            ..Cluster::default()
        };
        for (sequences_per_s, micro_batch, global_batch, published) in
            [(580.0, 256.0, 65_536.0, 30.4), (210.0, 128.0, 32_768.0, 30.1)]
        {
            let rate = |num_devices: u32| {
                let step = DeviceStep {
                    num_parameters: 336e6,
                    flops_per_sequence: a100.device_flops_per_s / sequences_per_s,
                    micro_batch,
                    accumulation: global_batch / f64::from(num_devices) / micro_batch,
                };
                a100.sequences_per_s(&step, num_devices)
            };
            assert!((rate(8) / rate(1) / 7.91 - 1.0).abs() < 0.05);
            assert!((rate(256) / rate(8) / published - 1.0).abs() < 0.05, "{}", rate(256) / rate(8));
        }
    }
}
