//! Masked-LM corruption, the same code for static masks (at build time) and dynamic ones (while training).

use serde::{Deserialize, Serialize};

use crate::manifest::VocabularyInfo;
use crate::rng::KeyedRng;
use crate::row::Tokens;

/// BERT's masking knobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskingConfig {
    /// Share of the tokens (special ones counted) to predict. Default 0.15.
    pub masked_lm_prob: f64,
    /// Upper bound of positions to predict per instance. Default 20 (phase 1); 80 for phase 2.
    pub max_predictions_per_seq: u16,
}

impl Default for MaskingConfig {
    fn default() -> Self {
        Self { masked_lm_prob: 0.15, max_predictions_per_seq: 20 }
    }
}

impl MaskingConfig {
    /// Positions to predict in an instance of `len` tokens, its three special tokens included:
    /// `min(max_predictions_per_seq, max(1, round(len * masked_lm_prob)))`, at most the maskable ones.
    ///
    /// Source: `create_masked_lm_predictions`, google-research/bert; Python rounds half to even.
    pub fn num_predictions(&self, len: usize) -> usize {
        let wanted = ((len as f64 * self.masked_lm_prob).round_ties_even() as usize).max(1);
        wanted.min(self.max_predictions_per_seq.into()).min(len.saturating_sub(3))
    }
}

/// Chooses positions to predict and what the model sees there; reusable, so that masking allocates nothing.
#[derive(Debug)]
pub struct Masker {
    config: MaskingConfig,
    mask_id: u32,
    num_tokens: u64,
    candidates: Vec<u16>,
    chosen: Vec<(u16, u32)>,
}

impl Masker {
    /// For instances over `vocabulary`.
    pub fn new(config: MaskingConfig, vocabulary: &VocabularyInfo) -> Self {
        Self {
            config,
            mask_id: vocabulary.special.mask,
            num_tokens: vocabulary.num_tokens.into(),
            candidates: Vec::new(),
            chosen: Vec::new(),
        }
    }

    /// Masks `[CLS] A [SEP] B [SEP]`; returns (position, what the model sees there), by position.
    ///
    /// `input_ids`: `[S]`, clean; `segment_a_length` counts `[CLS]` and the first `[SEP]`. All positions but the three
    /// special ones are candidates, drawn without replacement; of the chosen ones 80 % become `[MASK]`, 10 % stay, 10 %
    /// become a uniformly random id.
    ///
    /// Source: `create_masked_lm_predictions`, google-research/bert, with a partial Fisher-Yates shuffle.
    pub fn mask(&mut self, input_ids: Tokens<'_>, segment_a_length: u16, rng: &mut KeyedRng) -> &[(u16, u32)] {
        let len = input_ids.len();
        let last = len.saturating_sub(1) as u16;
        self.candidates.clear();
        self.candidates.extend(1..segment_a_length.saturating_sub(1));
        self.candidates.extend(segment_a_length..last);
        self.chosen.clear();
        for i in 0..self.config.num_predictions(len).min(self.candidates.len()) {
            let j = i + rng.below((self.candidates.len() - i) as u64) as usize;
            self.candidates.swap(i, j);
            let position = self.candidates[i];
            let seen = match rng.below(10) {
                0..8 => self.mask_id,
                8 => input_ids.get(position.into()).unwrap_or(self.mask_id),
                _ => rng.below(self.num_tokens) as u32,
            };
            self.chosen.push((position, seen));
        }
        self.chosen.sort_unstable();
        &self.chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use crate::vocabulary::SpecialIds;

    fn vocabulary() -> VocabularyInfo {
        let special = SpecialIds { pad: 0, unk: 100, cls: 101, sep: 102, mask: 103 };
        VocabularyInfo { sha256: String::new(), num_tokens: 30_522, cased: false, special }
    }

    #[test]
    fn number_of_predictions_rounds_half_to_even() {
        let config = MaskingConfig { masked_lm_prob: 0.15, max_predictions_per_seq: 20 };
        // 0.15 * 10 = 1.5 -> 2, 0.15 * 30 = 4.5 -> 4, capped at 20, at least 1.
        assert_eq!([10, 30, 128, 512, 5, 4].map(|len| config.num_predictions(len)), [2, 4, 19, 20, 1, 1]);
    }

    #[test]
    fn masks_at_berts_rates_and_never_a_special_position() {
        let ids: Vec<u32> = (0..128)
            .map(|i| {
                if i == 0 {
                    101
                } else if i == 40 || i == 127 {
                    102
                } else {
                    5_000
                }
            })
            .collect();
        let mut masker = Masker::new(MaskingConfig::default(), &vocabulary());
        let (mut mask, mut kept, mut random) = (0u32, 0u32, 0u32);
        for instance in 0..2_000 {
            let mut rng = KeyedRng::new(7, Purpose::StaticMask, instance, 0);
            let chosen = masker.mask((&ids).into(), 41, &mut rng);
            assert_eq!(chosen.len(), 19);
            assert!(chosen.windows(2).all(|w| w[0].0 < w[1].0));
            for &(position, seen) in chosen {
                assert!(![0, 40, 127].contains(&position));
                match seen {
                    103 => mask += 1,
                    5_000 => kept += 1,
                    _ => random += 1,
                }
            }
        }
        let n = f64::from(mask + kept + random);
        // Five standard deviations: sqrt(0.8 * 0.2 / 38000) and sqrt(0.1 * 0.9 / 38000).
        assert!((f64::from(mask) / n - 0.8).abs() < 0.0103);
        assert!((f64::from(kept) / n - 0.1).abs() < 0.0077);
        assert!((f64::from(random) / n - 0.1).abs() < 0.0077);
    }
}
