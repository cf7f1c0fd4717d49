//! Masked-LM corruption, the same code for static masks (at build time) and dynamic ones (while training).

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rng::KeyedRng;
use crate::row::Tokens;
use crate::vocabulary::Vocabulary;

/// BERT's masking knobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskingConfig {
    /// Share of the tokens (special ones counted) to predict. Default 0.15.
    pub masked_lm_prob: f64,
    /// Upper bound of positions to predict per instance. Default 20 (phase 1); 80 for phase 2.
    pub max_predictions_per_seq: u16,
    /// Predict all pieces of a word or none. Default false.
    pub whole_word_masking: bool,
}

impl Default for MaskingConfig {
    fn default() -> Self {
        Self { masked_lm_prob: 0.15, max_predictions_per_seq: 20, whole_word_masking: false }
    }
}

impl MaskingConfig {
    /// Positions to predict in an instance of `len` tokens, its three special tokens included:
    /// `min(max_predictions_per_seq, max(1, round(len * masked_lm_prob)))`, at most the maskable ones.
    /// With whole words this is an upper bound: no word is split to reach it.
    ///
    /// Source: `create_masked_lm_predictions`, google-research/bert; Python rounds half to even.
    pub fn num_predictions(&self, len: usize) -> usize {
        let wanted = ((len as f64 * self.masked_lm_prob).round_ties_even() as usize).max(1);
        wanted.min(self.max_predictions_per_seq.into()).min(len.saturating_sub(3))
    }
}

/// Chooses positions to predict and what the model sees there; reusable, so that masking allocates nothing.
#[derive(Clone, Debug)]
pub struct Masker {
    config: MaskingConfig,
    mask_id: u32,
    num_tokens: u64,
    /// By id: whether the token continues a word (`##`). Only for whole words.
    continues: Option<Arc<[bool]>>,
    candidates: Vec<u16>,
    marks: Marks,
    chosen: Vec<(u16, u32)>,
}

/// Chosen positions and what the model sees there: set in any order, they come out ascending.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// A bit for each position.
    is_chosen: Vec<u64>,
    /// By position.
    seen: Vec<u32>,
    num_chosen: usize,
}

impl Marks {
    /// Forgets all; positions are to be below `len`.
    pub fn clear(&mut self, len: usize) {
        self.num_chosen = 0;
        self.is_chosen.clear();
        self.is_chosen.resize(len.div_ceil(64), 0);
        self.seen.resize(self.seen.len().max(len), 0);
    }

    /// Chooses `position`, which was not chosen before.
    #[inline]
    pub fn set(&mut self, position: u16, seen: u32) {
        let at = usize::from(position);
        self.is_chosen[at / 64] |= 1 << (at % 64);
        self.seen[at] = seen;
        self.num_chosen += 1;
    }

    /// Calls `each` with the chosen positions, ascending, and what the model sees there.
    pub fn for_each(&self, mut each: impl FnMut(u16, u32)) {
        for (word, first) in self.is_chosen.iter().zip((0..).step_by(64)) {
            let mut bits = *word;
            while bits != 0 {
                let at = first + bits.trailing_zeros() as usize;
                each(at as u16, self.seen[at]);
                bits &= bits - 1;
            }
        }
    }
}

impl Masker {
    /// For instances over `vocabulary`.
    pub fn new(config: MaskingConfig, vocabulary: &Vocabulary) -> Self {
        let continues = || vocabulary.tokens().iter().map(|token| token.starts_with("##")).collect();
        Self {
            config,
            mask_id: vocabulary.special().mask,
            num_tokens: vocabulary.len() as u64,
            continues: config.whole_word_masking.then(continues),
            candidates: Vec::new(),
            marks: Marks::default(),
            chosen: Vec::new(),
        }
    }

    /// Masks `[CLS] A [SEP] B [SEP]`; returns (position, what the model sees there), by position, at least one.
    ///
    /// `input_ids`: `[S]`, clean; `segment_a_length` counts `[CLS]` and the first `[SEP]`. All positions but the three
    /// special ones are candidates, drawn without replacement; of the chosen ones 80 % become `[MASK]`, 10 % stay, 10 %
    /// become a uniformly random id.
    ///
    /// With whole words, words are drawn instead: a piece and the `##` pieces that follow it in its segment. One that
    /// would exceed the number of predictions is passed over; each piece is replaced on its own. Where no word fits at
    /// all, the first one drawn is predicted as far as the number goes.
    ///
    /// Source: `create_masked_lm_predictions`, google-research/bert, with a partial Fisher-Yates shuffle. There a word
    /// that truncation has cut at the start of B belongs to the last one of A, and an instance may go without predictions.
    pub fn mask(&mut self, input_ids: Tokens<'_>, segment_a_length: u16, rng: &mut KeyedRng) -> &[(u16, u32)] {
        let last = input_ids.len().saturating_sub(1) as u16;
        let segments = [1..segment_a_length.saturating_sub(1), segment_a_length..last];
        self.candidates.clear();
        for segment in segments.clone() {
            match &self.continues {
                None => self.candidates.extend(segment),
                Some(table) => {
                    let first = segment.start;
                    self.candidates.extend(segment.filter(|&p| p == first || !continues(table, input_ids, p)));
                }
            }
        }
        let wanted = self.config.num_predictions(input_ids.len());
        self.marks.clear(input_ids.len());
        for i in 0..self.candidates.len() {
            if self.marks.num_chosen >= wanted {
                break;
            }
            let j = i + rng.below((self.candidates.len() - i) as u64) as usize;
            self.candidates.swap(i, j);
            let start = self.candidates[i];
            if self.continues.is_none() {
                self.choose(start, input_ids, rng);
                continue;
            }
            let word = self.word(input_ids, start, &segments);
            if self.marks.num_chosen + word.len() <= wanted {
                word.for_each(|position| self.choose(position, input_ids, rng));
            }
        }
        if let (true, Some(&start)) = (self.marks.num_chosen == 0, self.candidates.first()) {
            let word = self.word(input_ids, start, &segments);
            let end = word.end.min(word.start + wanted as u16);
            (word.start..end).for_each(|position| self.choose(position, input_ids, rng));
        }
        self.chosen.clear();
        self.marks.for_each(|position, seen| self.chosen.push((position, seen)));
        &self.chosen
    }

    /// The positions of the word that starts at `start`.
    fn word(&self, input_ids: Tokens<'_>, start: u16, [a, b]: &[Range<u16>; 2]) -> Range<u16> {
        let end = if a.contains(&start) { a.end } else { b.end };
        let num_continuations = match &self.continues {
            None => 0,
            Some(table) => (start + 1..end).take_while(|&p| continues(table, input_ids, p)).count() as u16,
        };
        start..start + 1 + num_continuations
    }

    /// Draws what the model sees at `position`.
    #[inline]
    fn choose(&mut self, position: u16, input_ids: Tokens<'_>, rng: &mut KeyedRng) {
        let clean = input_ids.get(position.into()).unwrap_or(self.mask_id);
        // One branch for one draw in ten, which no processor foretells; the other choice is made without one.
        let seen = match rng.below(10) {
            9 => rng.below(self.num_tokens) as u32,
            draw => std::hint::select_unpredictable(draw == 8, clean, self.mask_id),
        };
        self.marks.set(position, seen);
    }
}

/// Whether the piece at `position` continues a word.
fn continues(table: &[bool], input_ids: Tokens<'_>, position: u16) -> bool {
    input_ids.get(position.into()).is_some_and(|id| table.get(id as usize) == Some(&true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    const CLS: u32 = 2;
    const SEP: u32 = 3;
    const MASK: u32 = 4;
    /// Ids from here on are odd for pieces that continue a word, even for those that start one.
    const FIRST_PIECE: u32 = 6;

    fn vocabulary() -> Vocabulary {
        let mut tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused]"].map(str::to_owned).to_vec();
        tokens.extend((FIRST_PIECE..30_522).map(|id| if id % 2 == 1 { format!("##{id}") } else { id.to_string() }));
        Vocabulary::from_bytes("vocab.txt", tokens.join("\n").into_bytes()).unwrap()
    }

    /// `[CLS] A [SEP] B [SEP]`, and the length of `[CLS] A [SEP]`.
    fn instance(a: &[u32], b: &[u32]) -> (Vec<u32>, u16) {
        ([&[CLS], a, &[SEP], b, &[SEP]].concat(), a.len() as u16 + 2)
    }

    fn whole_words(masked_lm_prob: f64) -> Masker {
        let config = MaskingConfig { masked_lm_prob, max_predictions_per_seq: 80, whole_word_masking: true };
        Masker::new(config, &vocabulary())
    }

    #[test]
    fn number_of_predictions_rounds_half_to_even() {
        let config = MaskingConfig::default();
        // 0.15 * 10 = 1.5 -> 2, 0.15 * 30 = 4.5 -> 4, capped at 20, at least 1.
        assert_eq!([10, 30, 128, 512, 5, 4].map(|len| config.num_predictions(len)), [2, 4, 19, 20, 1, 1]);
    }

    #[test]
    fn masks_at_berts_rates_and_never_a_special_position() {
        let (ids, a) = instance(&[5_000; 39], &[5_000; 86]);
        let mut masker = Masker::new(MaskingConfig::default(), &vocabulary());
        let (mut mask, mut kept, mut random) = (0u32, 0u32, 0u32);
        for instance in 0..2_000 {
            let mut rng = KeyedRng::new(7, Purpose::StaticMask, instance, 0);
            let chosen = masker.mask((&ids).into(), a, &mut rng);
            assert_eq!(chosen.len(), 19);
            assert!(chosen.windows(2).all(|w| w[0].0 < w[1].0));
            for &(position, seen) in chosen {
                assert!(![0, 40, 127].contains(&position));
                match seen {
                    MASK => mask += 1,
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

    #[test]
    fn whole_words_are_predicted_entirely_or_not_at_all() {
        let mut masker = whole_words(0.3);
        let mut rng = KeyedRng::new(1, Purpose::Order, 0, 0);
        for case in 0..500 {
            let mut segment = || (0..1 + rng.below(30)).map(|_| 100 + rng.below(50) as u32).collect::<Vec<_>>();
            let (ids, a) = instance(&segment(), &segment());
            let mut draws = KeyedRng::new(1, Purpose::StaticMask, case, 0);
            let positions: Vec<u16> = masker.mask((&ids).into(), a, &mut draws).iter().map(|c| c.0).collect();
            let wanted = masker.config.num_predictions(ids.len());
            assert!(!positions.is_empty() && positions.len() <= wanted, "{positions:?}");
            let continues = |p: u16| p != 1 && p != a && ids[usize::from(p)] % 2 == 1 && ids[usize::from(p)] != SEP;
            let split = |p: &u16| continues(p + 1) && !positions.contains(&(p + 1));
            let torn = positions.iter().any(|p| split(p) || (continues(*p) && !positions.contains(&(p - 1))));
            // Only where not even the shortest word fits may one be torn.
            let lengths = (1..ids.len() as u16 - 1).filter(|&p| p != a - 1 && !continues(p));
            let shortest = lengths.map(|p| 1 + (p + 1..).take_while(|&q| continues(q)).count()).min().unwrap();
            assert_eq!(torn, shortest > wanted, "{positions:?} of {ids:?}, A ends at {a}");
        }
    }

    #[test]
    fn a_word_too_long_for_the_count_is_passed_over() {
        // Three predictions; the word of four pieces never is among them.
        let (ids, a) = instance(&[10, 11, 13, 15], &[20, 22, 24, 26, 28]);
        let mut masker = whole_words(0.25);
        for key in 0..100 {
            let chosen = masker.mask((&ids).into(), a, &mut KeyedRng::new(1, Purpose::StaticMask, key, 0));
            assert!(chosen.len() == 3 && chosen.iter().all(|c| c.0 > a - 1), "{chosen:?}");
        }
    }

    #[test]
    fn where_no_word_fits_one_is_predicted_in_part() {
        let (ids, a) = instance(&[10, 11, 13], &[20, 21, 23]);
        let mut masker = whole_words(0.15);
        let chosen = masker.mask((&ids).into(), a, &mut KeyedRng::new(1, Purpose::StaticMask, 0, 0));
        assert!(matches!(chosen, [(1 | 5, _)]), "{chosen:?}");
    }
}
