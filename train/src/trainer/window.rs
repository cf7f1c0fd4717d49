//! What the log tells of the steps since its last row.

use cloze_formats::stream::GlobalBatch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Batch;
use crate::checkpoint::Position;
use crate::error::Result;
use crate::world::Group;

/// A row of metrics.jsonl about training.
#[derive(Serialize)]
pub(super) struct StepRow {
    kind: &'static str,
    step: u64,
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
    data_wait_s: f64,
    num_skipped: u64,
    epoch: f64,
    seconds: f64,
}

/// Sums since the last row.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Window<S> {
    pub sums: S,
    num_steps: u64,
    num_instances: u64,
    num_tokens: u64,
    num_padded_tokens: u64,
    data_wait_s: f64,
    step_s: f64,
    learning_rate: f64,
    gradient_norm: f64,
}

/// What one update was like.
pub(super) struct Step {
    pub learning_rate: f64,
    pub gradient_norm: f64,
    /// Seconds waited for data.
    pub waited: f64,
    /// Seconds in all.
    pub seconds: f64,
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
        for sequences in batch.micro_batches.iter().map(Batch::sequences) {
            self.num_padded_tokens += (sequences.num_sequences() * sequences.max_len()) as u64;
        }
        self.data_wait_s += step.waited;
        self.step_s += step.seconds;
        self.learning_rate = step.learning_rate;
        self.gradient_norm = step.gradient_norm;
    }

    /// Makes what differs between processes that of all: padded tokens add up, the longest wait counts.
    pub fn join(&mut self, group: &Group) -> Result<()> {
        self.num_padded_tokens = group.sum(&[self.num_padded_tokens as f64])?[0] as u64;
        self.data_wait_s = group.maximum(self.data_wait_s)?;
        Ok(())
    }

    /// Learning rate and speed, for people.
    pub fn words(&self) -> String {
        let rate = self.num_instances as f64 / self.step_s;
        format!("lr {:.2e} {rate:.0} seq/s", self.learning_rate)
    }

    /// The row for the log; `means` are those of the sums.
    pub fn row(&self, position: &Position, means: Map<String, Value>, num_rows: u64) -> StepRow {
        let cursor = &position.cursor;
        StepRow {
            kind: "step",
            step: position.step,
            means,
            learning_rate: self.learning_rate,
            gradient_norm: self.gradient_norm,
            loss_scale: position.loss_scale.map(|scale| scale.value),
            sequences_per_s: self.num_instances as f64 / self.step_s,
            tokens_per_s: self.num_tokens as f64 / self.step_s,
            padded_tokens_per_s: self.num_padded_tokens as f64 / self.step_s,
            data_wait_s: self.data_wait_s,
            num_skipped: position.num_skipped,
            epoch: cursor.epoch as f64 + cursor.offset as f64 / num_rows as f64,
            seconds: position.seconds,
        }
    }
}
