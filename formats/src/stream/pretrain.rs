//! Pre-training batches: packed instances with their masks.

use std::sync::Arc;

use super::{Gather, Sequences};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::masking::{Masker, MaskingConfig};
use crate::rng::{KeyedRng, Purpose};

/// A packed micro-batch of pre-training instances. M masked positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PretrainBatch {
    /// What the model sees: masks are applied to `input_ids`.
    pub sequences: Sequences,
    /// `[M]`: indices into T, ascending.
    pub masked_lm_positions: Vec<i64>,
    /// `[M]`: the original ids there.
    pub masked_lm_ids: Vec<i64>,
    /// `[B]`: 1 where segment B is random.
    pub next_sentence_labels: Vec<i64>,
}

/// Where masks come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Masking {
    /// From the shards.
    Static,
    /// Fresh for each instance and epoch.
    Dynamic(MaskingConfig),
}

/// Makes [`PretrainBatch`]es.
#[derive(Debug)]
pub struct PretrainGather {
    dataset: Arc<Dataset>,
    masking: Masking,
    /// For dynamic masks; copied by each call, which shares its table of the vocabulary.
    masker: Masker,
    seed: u64,
}

impl PretrainGather {
    /// Over a pretrain dataset; `seed` decides dynamic masks.
    ///
    /// # Errors
    /// Static masks are asked for and the dataset has none.
    pub fn new(dataset: Arc<Dataset>, masking: Masking, seed: u64) -> Result<Self> {
        if masking == Masking::Static && !dataset.manifest().columns.has_static_masks() {
            let problem = "expected static masks, found a dataset built with dynamic masking; ask for dynamic masking";
            return Err(Error::invalid(dataset.dir(), problem));
        }
        let config = match masking {
            Masking::Dynamic(config) => config,
            Masking::Static => MaskingConfig::default(),
        };
        let masker = Masker::new(config, dataset.vocabulary());
        Ok(Self { dataset, masking, masker, seed })
    }

    fn rng(&self, row: u64, epoch: u64) -> KeyedRng {
        KeyedRng::new(self.seed, Purpose::DynamicMask, row, epoch)
    }
}

impl Gather for PretrainGather {
    type Batch = PretrainBatch;

    fn num_rows(&self) -> u64 {
        self.dataset.len()
    }

    fn row_length(&self, row: u64) -> Result<usize> {
        self.dataset.row_length(row)
    }

    fn num_masked(&self, row: u64, epoch: u64, length: usize) -> Result<u64> {
        Ok(match self.masking {
            Masking::Static => self.dataset.pretrain_row(row)?.masked.map_or(0, |m| m.positions.len() as u64),
            // How many positions whole words come to, only drawing them tells.
            Masking::Dynamic(config) if config.whole_word_masking => {
                let instance = self.dataset.pretrain_row(row)?;
                let mut masker = self.masker.clone();
                masker.mask(instance.input_ids, instance.segment_a_length, &mut self.rng(row, epoch)).len() as u64
            }
            Masking::Dynamic(config) => config.num_predictions(length) as u64,
        })
    }

    fn gather(&self, rows: &[(u64, u64)]) -> Result<PretrainBatch> {
        let mut batch = PretrainBatch::default();
        let mut masker = self.masker.clone();
        for &(index, epoch) in rows {
            let row = self.dataset.pretrain_row(index)?;
            let start = batch.sequences.num_tokens();
            batch.sequences.push(index, row.input_ids, row.segment_a_length);
            batch.next_sentence_labels.push(row.next_sentence_label.into());
            let mut apply = |position: u16, seen: u32| {
                let at = start + usize::from(position);
                batch.masked_lm_positions.push(at as i64);
                batch.masked_lm_ids.push(std::mem::replace(&mut batch.sequences.input_ids[at], seen.into()));
            };
            match (self.masking, row.masked) {
                (Masking::Static, Some(masked)) => {
                    masked.positions.iter().zip(masked.inputs.iter()).for_each(|(&p, seen)| apply(p, seen));
                }
                _ => {
                    let chosen = masker.mask(row.input_ids, row.segment_a_length, &mut self.rng(index, epoch));
                    chosen.iter().for_each(|&(position, seen)| apply(position, seen));
                }
            }
        }
        Ok(batch)
    }
}
