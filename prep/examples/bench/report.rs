//! The results as a table and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::measure::{MEMORY, Measured, THREADS};
use crate::work::Inputs;

/// Everything that makes a figure meaningful, and the figures.
#[derive(Serialize)]
pub struct Report<'a> {
    version: &'static str,
    machine: Machine,
    inputs: &'a Inputs,
    measurements: Vec<Measured>,
}

#[derive(Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            line.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
        };
        let kilobytes: f64 =
            field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kilobytes / 1024.0 / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

impl<'a> Report<'a> {
    /// Of this machine.
    pub fn new(inputs: &'a Inputs, measurements: Vec<Measured>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), machine: Machine::this(), inputs, measurements }
    }

    /// The table. Rates are per second of CPU time, so they hold per core.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let (m, i) = (&self.machine, self.inputs);
        writeln!(
            out,
            "cloze-prep {}, {}, {} cores, {:.0} GiB, Linux {}",
            self.version, m.processor, m.cores, m.memory_gib, m.kernel
        )?;
        let mega = |bytes: u64| bytes as f64 / 1e6;
        writeln!(
            out,
            "text {:.1} MB, dump {:.1} MB of XML in {:.1} MB of bzip2, vocabulary of {}\n",
            mega(i.text_bytes),
            mega(i.dump_bytes),
            mega(i.dump_compressed_bytes),
            i.vocabulary
        )?;
        writeln!(out, "{:<58} {:>10} {:>10} {:>13} {:>9}", "", "MB/s/core", "MB/s", "instances/s", "memory MB")?;
        for x in self.measurements.iter().filter(|m| !m.name.starts_with("memory")) {
            let instances = match x.instances {
                0 => String::new(),
                n => format!("{:.0}", n as f64 / x.seconds),
            };
            writeln!(
                out,
                "{:<58} {:>10.1} {:>10.1} {:>13} {:>9.0}",
                x.what,
                x.megabytes_per_cpu_second(),
                mega(x.bytes) / x.seconds,
                instances,
                mega(x.peak_bytes)
            )?;
        }
        self.print_ratios(out)?;
        self.print_memory(out)
    }

    /// Peaks of memory, a line for each work and a column for each number of threads.
    fn print_memory(&self, out: &mut impl Write) -> io::Result<()> {
        let find = |name: String| self.measurements.iter().find(|m| m.name == name);
        let measured = |(work, what): &(&str, &'static str)| {
            let peaks = THREADS.iter().map(|threads| Some(find(format!("{work}-{threads}"))?.peak_bytes));
            Some((*what, peaks.collect::<Option<Vec<u64>>>()?))
        };
        for (i, (what, peaks)) in MEMORY.iter().filter_map(measured).enumerate() {
            if i == 0 {
                let columns: String = THREADS.iter().map(|threads| format!("{threads:>8}")).collect();
                writeln!(out, "\n{:<58} {columns}", "peak of memory of its own in MB, by number of threads")?;
            }
            let columns: String = peaks.iter().map(|&peak| format!("{:>8.0}", peak as f64 / 1e6)).collect();
            writeln!(out, "{what:<58} {columns}")?;
        }
        Ok(())
    }

    fn print_ratios(&self, out: &mut impl Write) -> io::Result<()> {
        let find = |name: &str| self.measurements.iter().find(|m| m.name == name);
        let rate = |name: &str| find(name).map(Measured::megabytes_per_cpu_second);
        writeln!(out)?;
        for (what, name, of) in [
            ("tokenizer over tokenizers", "tokenizer", "tokenizers"),
            ("tokenizer over nanotoken", "tokenizer", "nanotoken"),
            ("tokenizer, share of copying", "tokenizer", "copy"),
            ("text to dynamic shards, share of the tokenizer", "dynamic-1", "tokenizer"),
            ("dump to corpus, share of decoding bzip2", "dump-1", "bzip2"),
        ] {
            if let (Some(rate), Some(of)) = (rate(name), rate(of)) {
                writeln!(out, "{what:<58} {:>10.3}", rate / of)?;
            }
        }
        for work in ["dynamic", "static", "dump", "large"] {
            if let (Some(one), Some(two)) = (find(&format!("{work}-1")), find(&format!("{work}-2"))) {
                let what = format!("two threads over one, wall clock: {work}");
                writeln!(out, "{what:<58} {:>10.2}", one.seconds / two.seconds)?;
            }
        }
        Ok(())
    }
}
