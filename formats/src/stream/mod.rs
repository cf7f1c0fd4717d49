//! Shards to batches: a seeded order, length-sorted micro-batches, masking, all a pure function of a cursor.

mod batch;
mod finetune;
mod loader;
mod order;
mod plan;
mod pretrain;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use batch::Sequences;
pub use finetune::{GlueBatch, GlueGather, Labels, SquadBatch, SquadGather};
pub use loader::Loader;
pub use order::Order;
pub use pretrain::{Masking, PretrainBatch, PretrainGather};

use crate::error::Result;

/// Where a stream stands: `offset` instances of epoch `epoch` were dealt. Stored in checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Passes over the dataset that are complete.
    pub epoch: u64,
    /// Instances of this epoch already dealt.
    pub offset: u64,
}

/// How a dataset is dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Instances per optimizer step, over all ranks.
    pub global_batch_size: u64,
    /// Bound on sequences x longest sequence of a micro-batch; a single longer sequence still makes one.
    pub micro_batch_tokens: u64,
    /// Seed of the order.
    pub seed: u64,
    /// True for training: a new order each epoch, global batches straddle epochs. False for evaluation: one pass in
    /// natural order, the last global batch is short.
    pub shuffle: bool,
    /// This process among `world_size`.
    pub rank: u32,
    /// Number of processes that share each global batch.
    pub world_size: u32,
    /// Micro-batches that a process computes at a time: its share is cut into as many equal parts before it is cut by tokens.
    pub num_workers: u32,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            global_batch_size: 32,
            micro_batch_tokens: 4096,
            seed: 0,
            shuffle: true,
            rank: 0,
            world_size: 1,
            num_workers: 1,
        }
    }
}

/// Makes micro-batches of a kind of dataset.
pub trait Gather: Send + Sync + 'static {
    /// A packed micro-batch.
    type Batch: Send + 'static;

    /// Rows of the dataset.
    fn num_rows(&self) -> u64;

    /// Tokens of row `row`.
    fn row_length(&self, row: u64) -> Result<usize>;

    /// Positions that will be predicted in row `row` of `length` tokens in epoch `epoch`; 0 for fine-tuning.
    fn num_masked(&self, row: u64, epoch: u64, length: usize) -> Result<u64>;

    /// The micro-batch of `rows`, each with the epoch it is seen in.
    fn gather(&self, rows: &[(u64, u64)]) -> Result<Self::Batch>;
}

/// The instances of one optimizer step that fall to this rank.
#[derive(Clone, Debug)]
pub struct GlobalBatch<B> {
    /// This rank's micro-batches, longest sequences first within each worker's part.
    pub micro_batches: Vec<B>,
    /// Instances over all ranks.
    pub num_instances: u64,
    /// Positions to predict over all ranks; 0 for fine-tuning.
    pub num_masked: u64,
    /// Tokens over all ranks, padding not counted.
    pub num_tokens: u64,
    /// Where the next global batch starts.
    pub next: Cursor,
}

/// Deals a dataset in global batches.
#[derive(Debug)]
pub struct Stream<G> {
    gather: G,
    config: StreamConfig,
}

impl<G: Gather> Stream<G> {
    /// A stream over `gather`'s dataset.
    ///
    /// # Panics
    /// The global batch size, the world size or the number of workers is 0, or the rank is not below the world size.
    pub fn new(gather: G, config: StreamConfig) -> Self {
        let is_valid = config.global_batch_size > 0 && config.num_workers > 0 && config.rank < config.world_size;
        assert!(is_valid, "sizes are validated by the caller");
        Self { gather, config }
    }

    /// Rows of the dataset.
    pub fn num_rows(&self) -> u64 {
        self.gather.num_rows()
    }

    /// The configuration.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Whether nothing is left at `cursor`; a shuffled stream goes on forever.
    pub fn is_done(&self, cursor: Cursor) -> bool {
        self.num_rows() == 0 || (!self.config.shuffle && cursor.epoch > 0)
    }

    /// The global batch that starts at `cursor`. A pure function of dataset, configuration and cursor.
    ///
    /// # Errors
    /// A shard is damaged.
    ///
    /// # Panics
    /// Nothing is left at `cursor`.
    pub fn global_batch(&self, cursor: Cursor) -> Result<GlobalBatch<G::Batch>> {
        assert!(!self.is_done(cursor), "no instance is left at {cursor:?}");
        let (rows, next) = self.deal(cursor);
        let mut lengths = Vec::with_capacity(rows.len());
        let (mut num_masked, mut num_tokens) = (0, 0);
        for &(row, epoch) in &rows {
            let length = self.gather.row_length(row)?;
            num_tokens += length as u64;
            num_masked += self.gather.num_masked(row, epoch, length)?;
            lengths.push(length);
        }
        let mine = plan::deal(&lengths, self.config.rank, self.config.world_size);
        let my_lengths: Vec<usize> = mine.iter().map(|&i| lengths[i]).collect();
        let micro_batches = plan::micro_batches(&my_lengths, self.config.micro_batch_tokens, self.config.num_workers)
            .into_iter()
            .map(|members| self.gather.gather(&members.into_iter().map(|i| rows[mine[i]]).collect::<Vec<_>>()))
            .collect::<Result<_>>()?;
        Ok(GlobalBatch { micro_batches, num_instances: rows.len() as u64, num_masked, num_tokens, next })
    }

    /// (row, epoch) of each instance of the global batch at `cursor`, and the cursor after it.
    fn deal(&self, mut cursor: Cursor) -> (Vec<(u64, u64)>, Cursor) {
        let num_rows = self.num_rows();
        // Not the batch size as capacity: an evaluation may ask for "all" with an astronomic number.
        let mut rows = Vec::new();
        let mut order = Order::new(num_rows, self.config.seed, cursor.epoch);
        while (rows.len() as u64) < self.config.global_batch_size && !self.is_done(cursor) {
            let row = if self.config.shuffle { order.at(cursor.offset) } else { cursor.offset };
            rows.push((row, cursor.epoch));
            cursor.offset += 1;
            if cursor.offset == num_rows {
                cursor = Cursor { epoch: cursor.epoch + 1, offset: 0 };
                order = Order::new(num_rows, self.config.seed, cursor.epoch);
            }
        }
        (rows, cursor)
    }
}

impl<G: Gather> Stream<G> {
    /// Starts a [`Loader`] at `cursor`.
    pub fn load(self: &Arc<Self>, cursor: Cursor) -> Loader<G::Batch> {
        Loader::start(Arc::clone(self), cursor)
    }
}

#[cfg(test)]
mod tests;
