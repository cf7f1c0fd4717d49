//! Pre-training instances as other tools keep them: what the model sees, and the labels beside it.

use cloze_formats::masking::Masker;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::{Dataset, PretrainRow};

use crate::error::Result;

/// An instance with its masks applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instance {
    /// `[S]`: `[CLS] A [SEP] B [SEP]` as the model sees it.
    pub input_ids: Vec<u32>,
    /// Tokens of `[CLS] A [SEP]`.
    pub segment_a_length: u16,
    /// Whether B is random.
    pub is_random_next: bool,
    /// `[P]`: positions to predict; empty where masking is dynamic.
    pub masked_lm_positions: Vec<u16>,
    /// `[P]`: the ids that were there.
    pub masked_lm_ids: Vec<u32>,
}

impl Instance {
    /// Makes this instance that of `row`, with static masks applied.
    pub(super) fn set(&mut self, row: &PretrainRow<'_>) {
        self.input_ids.clear();
        row.input_ids.append_to(&mut self.input_ids);
        self.segment_a_length = row.segment_a_length;
        self.is_random_next = row.next_sentence_label;
        self.masked_lm_positions.clear();
        self.masked_lm_ids.clear();
        if let Some(masked) = row.masked {
            masked.positions.iter().zip(masked.inputs.iter()).for_each(|(&position, seen)| self.mask(position, seen));
        }
    }

    fn mask(&mut self, position: u16, seen: u32) {
        let label = std::mem::replace(&mut self.input_ids[usize::from(position)], seen);
        self.masked_lm_positions.push(position);
        self.masked_lm_ids.push(label);
    }

    /// Puts the labels back into `input_ids` and what the model sees into `masked_lm_ids`, by ascending position: the
    /// way a Cloze dataset keeps the instance.
    ///
    /// # Errors
    /// A position outside of the instance, twice, or at a special token; the text says what was expected and found.
    pub(super) fn restore(&mut self) -> Result<(), String> {
        if !self.masked_lm_positions.is_sorted() {
            let mut pairs: Vec<_> =
                self.masked_lm_positions.iter().copied().zip(self.masked_lm_ids.drain(..)).collect();
            pairs.sort_unstable();
            self.masked_lm_positions.clear();
            self.masked_lm_positions.extend(pairs.iter().map(|p| p.0));
            self.masked_lm_ids.extend(pairs.iter().map(|p| p.1));
        }
        let length = self.input_ids.len();
        for (i, &position) in self.masked_lm_positions.iter().enumerate() {
            if i > 0 && self.masked_lm_positions[i - 1] == position {
                return Err(format!("expected each masked_lm_position once, found {position} twice"));
            }
            let Some(seen) = self.input_ids.get_mut(usize::from(position)) else {
                return Err(format!("expected masked_lm_positions below {length}, the length, found {position}"));
            };
            std::mem::swap(seen, &mut self.masked_lm_ids[i]);
        }
        Ok(())
    }
}

/// Which masks an export applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Masks {
    /// Those of the dataset, none where masking is dynamic.
    Own,
    /// Those that a trainer with this seed draws in this epoch.
    Drawn { seed: u64, epoch: u64 },
}

/// Reads a pretrain dataset row by row with masks applied.
pub(super) struct Instances<'a> {
    dataset: &'a Dataset,
    drawing: Option<(Masker, u64, u64)>,
    instance: Instance,
}

impl<'a> Instances<'a> {
    /// Over `dataset`; `masker` is needed where masks are drawn.
    pub(super) fn new(dataset: &'a Dataset, masks: Masks, masker: Masker) -> Self {
        let drawing = match masks {
            Masks::Own => None,
            Masks::Drawn { seed, epoch } => Some((masker, seed, epoch)),
        };
        Self { dataset, drawing, instance: Instance::default() }
    }

    /// The instance of row `index`, counted over all shards.
    ///
    /// # Errors
    /// The batch that holds it is damaged.
    pub(super) fn read(&mut self, index: u64) -> Result<&Instance> {
        let row = self.dataset.pretrain_row(index)?;
        match &mut self.drawing {
            None => self.instance.set(&row),
            Some((masker, seed, epoch)) => {
                self.instance.set(&PretrainRow { masked: None, ..row });
                let mut rng = KeyedRng::new(*seed, Purpose::DynamicMask, index, *epoch);
                for &(position, seen) in masker.mask(row.input_ids, row.segment_a_length, &mut rng) {
                    self.instance.mask(position, seen);
                }
            }
        }
        Ok(&self.instance)
    }
}

#[cfg(test)]
mod tests {
    use cloze_formats::{StaticMask, Tokens};

    use super::*;

    #[test]
    fn masks_are_applied_and_restored() {
        let (clean, seen) = ([2, 10, 11, 3, 12, 13, 3], [4, 12]);
        let row = PretrainRow {
            input_ids: Tokens::U16(&clean),
            segment_a_length: 4,
            next_sentence_label: true,
            masked: Some(StaticMask { positions: &[1, 5], inputs: Tokens::U16(&seen) }),
        };
        let mut instance = Instance::default();
        instance.set(&row);
        assert_eq!(instance.input_ids, [2, 4, 11, 3, 12, 12, 3]);
        assert_eq!(instance.masked_lm_ids, [10, 13]);
        // Another tool may list positions in any order.
        instance.masked_lm_positions.reverse();
        instance.masked_lm_ids.reverse();
        instance.restore().unwrap();
        assert_eq!(instance.input_ids, clean.map(u32::from));
        assert_eq!((instance.masked_lm_positions, instance.masked_lm_ids), (vec![1, 5], vec![4, 12]));
    }

    #[test]
    fn positions_outside_or_twice_are_refused() {
        let mut instance = Instance { input_ids: vec![2, 5, 3, 5, 3], ..Instance::default() };
        (instance.masked_lm_positions, instance.masked_lm_ids) = (vec![1, 9], vec![6, 6]);
        let error = instance.clone().restore().unwrap_err();
        assert_eq!(error, "expected masked_lm_positions below 5, the length, found 9");
        instance.masked_lm_positions = vec![1, 1];
        assert_eq!(instance.restore().unwrap_err(), "expected each masked_lm_position once, found 1 twice");
    }
}
