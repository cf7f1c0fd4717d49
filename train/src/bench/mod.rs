//! Measuring speed: models of the usual sizes, made-up batches, the machine.

pub mod scaling;
pub mod train;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use cloze_formats::manifest::Kind;
use cloze_formats::stream::{Cursor, GlobalBatch, PretrainBatch};
use tch::{Device, Kind as TensorKind, Tensor};

use crate::data;
use crate::error::{Error, Result};
use crate::model::config::BertConfig;

/// Models of the usual sizes, with the vocabulary of BERT-base uncased.
///
/// Source: Turc et al. 2019 (arXiv 1908.08962) for those below base, Devlin et al. 2018 (arXiv 1810.04805) for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 4 layers x 256.
    Mini,
    /// 4 layers x 512.
    Small,
    /// 8 layers x 512.
    Medium,
    /// 12 layers x 768.
    Base,
    /// 24 layers x 1024.
    Large,
}

impl Preset {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Mini, "mini"),
        (Self::Small, "small"),
        (Self::Medium, "medium"),
        (Self::Base, "base"),
        (Self::Large, "large"),
    ];

    /// Its shape; heads are 64 wide, the feed-forward block four times the encoder.
    pub fn config(self) -> BertConfig {
        let (num_hidden_layers, hidden_size) = match self {
            Self::Mini => (4, 256),
            Self::Small => (4, 512),
            Self::Medium => (8, 512),
            Self::Base => (12, 768),
            Self::Large => (24, 1024),
        };
        BertConfig {
            hidden_size,
            num_hidden_layers,
            num_attention_heads: hidden_size / 64,
            intermediate_size: 4 * hidden_size,
            ..BertConfig::default()
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|&(preset, _)| preset).ok_or_else(|| "expected mini, small, medium, base or large".to_owned())
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(preset, _)| preset == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// How long made-up sequences are, in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// All the same.
    All(i64),
    /// Spread as in the dataset in this directory.
    Of(PathBuf),
}

impl Lengths {
    /// The lengths of `num_sequences`: where a dataset decides, those at evenly spaced quantiles of its own, longest first.
    pub(crate) fn draw(&self, num_sequences: u64) -> Result<Vec<i64>> {
        let dir = match self {
            Self::All(len) => return Ok(vec![*len; num_sequences as usize]),
            Self::Of(dir) => dir,
        };
        let dataset = data::open(dir, Kind::Pretrain)?;
        Ok(quantiles(&dataset.manifest().statistics.length_histogram, num_sequences))
    }
}

/// `histogram[len]` rows are `len` long; the lengths in the middle of each of `count` equal shares, longest first.
fn quantiles(histogram: &[u64], count: u64) -> Vec<i64> {
    let total: u64 = histogram.iter().sum();
    let (mut lens, mut passed) = (Vec::with_capacity(count as usize), 0);
    for (len, &rows) in histogram.iter().enumerate() {
        passed += rows;
        while (lens.len() as u64) < count && (2 * lens.len() as u64 + 1) * total <= 2 * count * passed {
            lens.push(len as i64);
        }
    }
    lens.reverse();
    lens
}

/// A made-up micro-batch: random words, the first half of a sequence is segment A, masked positions are evenly spread.
///
/// A sequence of `longest` tokens has `masked` of them, shorter ones in proportion, at least one.
fn micro_batch(config: &BertConfig, lens: &[i64], longest: i64, masked: i64) -> Result<PretrainBatch> {
    let mut batch = PretrainBatch::default();
    let random = |len: i64| -> Result<Vec<i64>> {
        let ids = Tensor::f_randint(config.vocab_size, [len], (TensorKind::Int64, Device::Cpu))?;
        Ok(Vec::try_from(ids)?)
    };
    let sequences = &mut batch.sequences;
    sequences.cu_seqlens.push(0);
    for (row, &len) in lens.iter().enumerate() {
        let start = sequences.input_ids.len() as i64;
        sequences.input_ids.extend(random(len)?);
        sequences.segment_ids.extend((0..len).map(|at| i64::from(at >= len / 2)));
        sequences.position_ids.extend(0..len);
        sequences.cu_seqlens.push(sequences.input_ids.len() as i32);
        sequences.rows.push(row as u64);
        let num_masked = (masked * len / longest).clamp(1, len);
        batch.masked_lm_positions.extend((0..num_masked).map(|i| start + i * len / num_masked));
        batch.next_sentence_labels.push(row as i64 % 2);
    }
    batch.masked_lm_ids = random(batch.masked_lm_positions.len() as i64)?;
    Ok(batch)
}

/// A step's worth of made-up sequences: `accumulation` times those of `lens`, in a micro-batch for each worker.
pub(crate) fn global_batch(
    config: &BertConfig,
    lens: &[i64],
    masked: i64,
    [accumulation, num_workers]: [usize; 2],
) -> Result<GlobalBatch<PretrainBatch>> {
    let longest = lens.iter().copied().max().unwrap_or(1);
    if longest > config.max_position_embeddings {
        let limit = config.max_position_embeddings;
        return Err(Error::Invalid(format!("sequences: expected at most {limit} tokens, found {longest}")));
    }
    let of_worker = |worker: usize| lens.iter().copied().skip(worker).step_by(num_workers).collect::<Vec<_>>();
    let parts: Vec<Vec<i64>> = (0..num_workers).map(of_worker).filter(|lens| !lens.is_empty()).collect();
    let all = (0..accumulation).flat_map(|_| &parts);
    let micro_batches = all.map(|lens| micro_batch(config, lens, longest, masked)).collect::<Result<Vec<_>>>()?;
    let sum = |of: fn(&PretrainBatch) -> usize| micro_batches.iter().map(of).sum::<usize>() as u64;
    Ok(GlobalBatch {
        num_instances: sum(|batch| batch.sequences.num_sequences()),
        num_masked: sum(|batch| batch.masked_lm_ids.len()),
        num_tokens: sum(|batch| batch.sequences.num_tokens()),
        next: Cursor::default(),
        micro_batches,
    })
}

/// Processor, cores, memory, system, and what else runs: `Intel(R) Xeon(R), 2 cores, 24 GiB, Linux 6.1.0; load 0.3`.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
    };
    let kilobytes: f64 = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    format!(
        "{}, {} cores, {:.0} GiB, Linux {}; load {}",
        field(&read("/proc/cpuinfo"), "model name"),
        std::thread::available_parallelism().map_or(1, usize::from),
        kilobytes / 1024.0 / 1024.0,
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default()
    )
}

/// The middle value; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_their_published_sizes() {
        let shape = |preset: Preset| {
            let config = preset.config();
            (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
        };
        assert_eq!(shape(Preset::Mini), (4, 256, 4, 1024));
        assert_eq!(shape(Preset::Large), (24, 1024, 16, 4096));
        for (preset, name) in Preset::ALL {
            assert_eq!((preset.to_string().as_str(), name.parse()), (name, Ok(preset)));
            preset.config().validate().unwrap();
        }
        assert!("huge".parse::<Preset>().is_err());
    }

    #[test]
    fn lengths_follow_a_histogram() {
        let mut histogram = vec![0; 11];
        (histogram[4], histogram[10]) = (1, 3);
        assert_eq!(quantiles(&histogram, 4), [10, 10, 10, 4]);
        assert_eq!(quantiles(&histogram, 8).iter().filter(|&&len| len == 4).count(), 2);
        assert_eq!(quantiles(&histogram, 1), [10]);
    }

    #[test]
    fn a_made_up_batch_is_whole() {
        let config = Preset::Mini.config();
        let batch = global_batch(&config, &[128, 64, 3], 20, [2, 1]).unwrap();
        assert_eq!((batch.num_instances, batch.num_tokens), (6, 2 * 195));
        assert_eq!(batch.num_masked, 2 * (20 + 10 + 1));
        let positions = &batch.micro_batches[0].masked_lm_positions;
        assert!(positions.is_sorted_by(|a, b| a < b) && positions[30] == 192);
        assert!(global_batch(&config, &[513], 20, [1, 1]).is_err());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
