//! What the loop asks of a task.

use std::ops::AddAssign;

use cloze_formats::stream::{Gather, GlobalBatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::checkpoint::Position;
use crate::data::Batch;
use crate::error::Result;
use crate::model::Bert;
use crate::run::Signals;
use crate::world::{DataParallel, Group};

/// What differs between tasks.
pub trait Task {
    /// Makes batches from the dataset.
    type Gather: Gather<Batch: Batch>;
    /// Losses and counts, summed over instances.
    type Sums: AddAssign + Default + Serialize + DeserializeOwned;

    /// Name in state.json and on the progress bar.
    fn name(&self) -> &'static str;

    /// Leaves the gradient of the global batch in the model's flat gradient; the sums are those of all processes.
    fn step(
        &mut self,
        bert: &mut Bert,
        batch: &GlobalBatch<<Self::Gather as Gather>::Batch>,
        parallel: &DataParallel,
    ) -> Result<Self::Sums>;

    /// The loss that is minimised.
    fn loss(&self, sums: &Self::Sums) -> f64;

    /// Means for the log.
    fn fields(&self, sums: &Self::Sums) -> Map<String, Value>;

    /// The most important means, for people.
    fn words(&self, sums: &Self::Sums) -> String;

    /// Whether to measure at this position (once per position: the trainer remembers).
    fn is_due(&self, position: &Position, total_steps: u64) -> bool;

    /// Measures the model on held-out data, all processes together; `None`, in all of them, if a signal came first.
    fn measure(&mut self, bert: &Bert, signals: &Signals, group: &Group) -> Result<Option<Measurement>>;
}

/// Scores on held-out data.
#[derive(Clone, Debug, Default)]
pub struct Measurement {
    /// `held_out` or `evaluation`.
    pub kind: &'static str,
    /// For the log.
    pub fields: Map<String, Value>,
    /// For people.
    pub words: String,
}
