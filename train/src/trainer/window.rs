//! What the log tells of the steps since its last row.

use std::rc::Rc;

use cloze_formats::stream::GlobalBatch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::Position;
use crate::data::Batch;
use crate::error::Result;
use crate::machine::matmul_limit;
use crate::model::config::BertConfig;
use crate::model::{Bert, Head};
use crate::plan::{Load, training_flops};
use crate::recipe::RunSection;
use crate::recorder::now;
use crate::world::Group;

/// A row of metrics.jsonl about training.
#[derive(Serialize)]
pub(super) struct StepRow {
    kind: &'static str,
    step: u64,
    time: f64,
    #[serde(flatten)]
    means: Map<String, Value>,
    learning_rate: f64,
    gradient_norm: f64,
    /// With fp16 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_scale: Option<f64>,
    sequences_per_s: f64,
    tokens_per_s: f64,
    padded_tokens_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mfu: Option<f64>,
    data_wait_s: f64,
    data_wait_share: f64,
    num_skipped: u64,
    epoch: f64,
    seconds: f64,
}

/// What model FLOPs utilisation is computed from.
#[derive(Default)]
pub(super) struct Meter {
    config: BertConfig,
    head: Head,
    /// Speed of matrix products of all processes together, in operations per second.
    pub matmul_flops_per_s: Option<f64>,
}

impl Meter {
    /// For `bert`; measures the devices of all processes, if told to.
    pub fn new(bert: &Bert, settings: &RunSection, group: &Group) -> Result<Self> {
        let mut matmul_flops_per_s = None;
        if settings.mfu {
            matmul_flops_per_s = Some(group.sum(&[matmul_limit(bert.device(), settings.precision.matmul_kind())?])?[0]);
        }
        Ok(Self { config: bert.config().clone(), head: bert.head(), matmul_flops_per_s })
    }
}

/// Sums since the last row.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Window<S> {
    pub sums: S,
    #[serde(skip)]
    meter: Rc<Meter>,
    num_steps: u64,
    num_instances: u64,
    num_tokens: u64,
    /// Of all processes, as far as this one knows by its own; what a checkpoint keeps holds for any number of processes.
    num_padded_tokens: f64,
    num_flops: f64,
    data_wait_s: f64,
    step_s: f64,
    learning_rate: f64,
    gradient_norm: f64,
    loss_scale: Option<f64>,
}

/// What one update was like.
pub(super) struct Step {
    pub learning_rate: f64,
    pub gradient_norm: f64,
    /// What the loss was multiplied by, where precision needs it.
    pub loss_scale: Option<f64>,
    /// Seconds waited for data.
    pub waited: f64,
    /// Seconds in all.
    pub seconds: f64,
}

impl<S: Default + DeserializeOwned> Window<S> {
    /// The steps that a checkpoint has kept; none without one.
    pub fn restored(saved: Option<&Value>, meter: Rc<Meter>) -> Self {
        let saved: Option<Self> = saved.and_then(|saved| Self::deserialize(saved).ok());
        Self { meter, ..saved.unwrap_or_default() }
    }
}

impl<S: Default> Window<S> {
    /// What was added, leaving no steps.
    pub fn take(&mut self) -> Self {
        let empty = Self { meter: Rc::clone(&self.meter), ..Self::default() };
        std::mem::replace(self, empty)
    }
}

impl<S> Window<S> {
    /// Whether no step was added.
    pub fn is_empty(&self) -> bool {
        self.num_steps == 0
    }

    /// Adds one update on `batch`, all but its sums.
    pub fn add<B: Batch>(&mut self, batch: &GlobalBatch<B>, step: Step) {
        self.num_steps += 1;
        self.num_instances += batch.num_instances;
        self.num_tokens += batch.num_tokens;
        let (mut num_tokens, mut num_padded_tokens, mut squares) = (0, 0, 0.0);
        for sequences in batch.micro_batches.iter().map(Batch::sequences) {
            num_padded_tokens += sequences.num_sequences() * sequences.max_len();
            num_tokens += sequences.num_tokens();
            squares += sequences.cu_seqlens.windows(2).map(|w| f64::from(w[1] - w[0]).powi(2)).sum::<f64>();
        }
        // The micro-batches are this process's; the others' are alike. One without any knows of no padding.
        let of_all = |own: f64| own * batch.num_tokens as f64 / num_tokens.max(1) as f64;
        self.num_padded_tokens += of_all(num_padded_tokens.max(1) as f64);
        let lengths = (batch.num_tokens as f64, of_all(squares));
        let load = Load::new(self.meter.head, batch.num_instances as f64, lengths, batch.num_masked as f64);
        self.num_flops += training_flops(&self.meter.config, load);
        self.data_wait_s += step.waited;
        self.step_s += step.seconds;
        self.learning_rate = step.learning_rate;
        self.gradient_norm = step.gradient_norm;
        self.loss_scale = step.loss_scale;
    }

    /// Makes what differs between processes that of all: the mean of what they know of padding, the longest wait.
    pub fn join(&mut self, group: &Group) -> Result<()> {
        self.num_padded_tokens = group.sum(&[self.num_padded_tokens])?[0] / f64::from(group.world().world_size);
        self.data_wait_s = group.maximum(self.data_wait_s)?;
        Ok(())
    }

    /// Model FLOPs utilisation: the operations that the model's definition needs for the real tokens, forward and backward,
    /// as a share of the matrix products that the machine could have done in the time.
    fn mfu(&self) -> Option<f64> {
        self.meter.matmul_flops_per_s.map(|limit| self.num_flops / self.step_s / limit)
    }

    /// Learning rate and speed, the more important first, for people.
    pub fn words(&self) -> Vec<String> {
        let per_s = |count: u64| compact(count as f64 / self.step_s);
        let mut words = vec![
            format!("lr {}", rate(self.learning_rate)),
            format!("{} seq/s", per_s(self.num_instances)),
            format!("{} tok/s", per_s(self.num_tokens)),
        ];
        words.extend(self.mfu().map(|mfu| format!("MFU {:.0}%", 100.0 * mfu)));
        words.push(format!("wait {:.0}%", 100.0 * self.data_wait_s / self.step_s));
        words
    }

    /// The row for the log; `means` are those of the sums.
    pub fn row(&self, position: &Position, means: Map<String, Value>, num_rows: u64) -> StepRow {
        let cursor = &position.cursor;
        StepRow {
            kind: "step",
            step: position.step,
            time: now(),
            means,
            learning_rate: self.learning_rate,
            gradient_norm: self.gradient_norm,
            loss_scale: self.loss_scale,
            sequences_per_s: self.num_instances as f64 / self.step_s,
            tokens_per_s: self.num_tokens as f64 / self.step_s,
            padded_tokens_per_s: self.num_padded_tokens / self.step_s,
            mfu: self.mfu(),
            data_wait_s: self.data_wait_s,
            data_wait_share: self.data_wait_s / self.step_s,
            num_skipped: position.num_skipped,
            epoch: cursor.epoch as f64 + cursor.offset as f64 / num_rows as f64,
            seconds: position.seconds,
        }
    }
}

/// A learning rate: `1.2e-3`, and `0` at the end.
fn rate(rate: f64) -> String {
    if rate == 0.0 { "0".to_owned() } else { format!("{rate:.1e}") }
}

/// A rate in few letters: `7.3`, `612`, `78k`, `1.2M`.
fn compact(rate: f64) -> String {
    match rate {
        1e7.. => format!("{:.0}M", rate / 1e6),
        1e6.. => format!("{:.1}M", rate / 1e6),
        1e4.. => format!("{:.0}k", rate / 1e3),
        10.0.. => format!("{rate:.0}"),
        _ => format!("{rate:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloze_formats::stream::{Cursor, PretrainBatch, Sequences};

    /// Two sequences of 4 and 8 tokens in one micro-batch, 16 with padding, in a global batch of `num_tokens`.
    fn batch(num_tokens: u64) -> GlobalBatch<PretrainBatch> {
        let sequences =
            Sequences { input_ids: vec![5; 12], cu_seqlens: vec![0, 4, 12], rows: vec![0, 1], ..Sequences::default() };
        let micro_batch = PretrainBatch { sequences, ..PretrainBatch::default() };
        let num_instances = num_tokens / 6;
        GlobalBatch {
            micro_batches: vec![micro_batch],
            num_instances,
            num_masked: 3,
            num_tokens,
            next: Cursor::default(),
        }
    }

    const STEP: Step = Step { learning_rate: 1.0, gradient_norm: 1.0, loss_scale: None, waited: 0.5, seconds: 2.0 };

    #[test]
    fn what_a_checkpoint_keeps_is_of_all_processes_whatever_their_number() {
        let padded_per_s = |window: &Window<()>| {
            serde_json::to_value(window.row(&Position::default(), Map::new(), 2)).unwrap()["padded_tokens_per_s"]
                .clone()
        };
        // One of two processes that have as much each.
        let mut window = Window::<()>::restored(None, Rc::default());
        window.add(&batch(24), STEP);
        let saved = serde_json::to_value(&window).unwrap();
        // On its own it goes on with a step of as many tokens.
        let mut window = Window::<()>::restored(Some(&saved), Rc::default());
        window.add(&batch(12), STEP);
        window.join(&Group::alone()).unwrap();
        assert_eq!(padded_per_s(&window), (32.0 + 16.0) / 4.0);
    }

    #[test]
    fn a_process_without_a_share_knows_of_no_padding() {
        let mut window = Window::<()>::restored(None, Rc::default());
        window.add(&GlobalBatch { micro_batches: Vec::new(), ..batch(12) }, STEP);
        assert_eq!(window.num_padded_tokens, 12.0);
    }

    #[test]
    fn utilisation_counts_real_tokens_each_sequence_by_its_own_length() {
        let config = BertConfig { vocab_size: 100, hidden_size: 8, intermediate_size: 32, ..BertConfig::default() };
        let config = BertConfig { num_hidden_layers: 2, ..config };
        let load = Load { tokens: 12.0, squares: 4.0 * 4.0 + 8.0 * 8.0, predictions: 3.0, read: 3.0 + 2.0 };
        let flops = training_flops(&config, load);
        let meter = Meter { config, head: Head::PreTraining, matmul_flops_per_s: Some(1e6) };
        let mut window = Window::<()>::restored(None, Rc::new(meter));
        window.add(&batch(12), STEP);
        let expected = flops / 2.0 / 1e6;
        assert!((window.mfu().unwrap() / expected - 1.0).abs() < 1e-12);
        let row = serde_json::to_value(window.take().row(&Position::default(), Map::new(), 2)).unwrap();
        assert_eq!((&row["padded_tokens_per_s"], &row["tokens_per_s"]), (&8.0.into(), &6.0.into()));
        assert_eq!((&row["data_wait_share"], row.get("loss_scale")), (&0.25.into(), None));
        assert!(window.is_empty());
    }

    #[test]
    fn rates_take_few_letters() {
        assert_eq!([0.0, 1.23e-3].map(rate), ["0", "1.2e-3"]);
        assert_eq!([7.3, 612.4, 78_300.0, 1.24e6, 3.4e7].map(compact), ["7.3", "612", "78k", "1.2M", "34M"]);
    }
}
