//! The configuration of pre-training datasets, which the trainer needs too.

use serde::{Deserialize, Serialize};

use crate::masking::MaskingConfig;

/// When masks are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskingMode {
    /// When shards are built; each duplicate of an instance is masked once, differently.
    Static,
    /// By the trainer, differently in each epoch.
    #[default]
    Dynamic,
}

/// Another program whose instances are re-created bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// `create_pretraining_data.py` of NVIDIA's DeepLearningExamples, with Python's Mersenne Twister.
    Nvidia,
}

/// Which documents of the corpus a dataset is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// All but the held-out ones.
    #[default]
    Train,
    /// Those kept apart for evaluation.
    HeldOut,
}

/// Everything that decides the bytes of a pretrain dataset, together with its corpus; stored whole in its manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceConfig {
    /// Tokens per instance at most, `[CLS]` and both `[SEP]` included.
    pub max_seq_length: u16,
    /// Probability of a shorter target length, drawn uniformly.
    pub short_seq_prob: f64,
    /// When masks are decided.
    pub masking: MaskingMode,
    /// Share of the tokens to predict.
    pub masked_lm_prob: f64,
    /// Upper bound of positions to predict per instance.
    pub max_predictions_per_seq: u16,
    /// Predict all pieces of a word or none.
    #[serde(default)]
    pub whole_word_masking: bool,
    /// Times each document is made into instances, each time differently.
    pub dupe_factor: u32,
    /// Seed of all draws.
    pub seed: u64,
    /// Share of the documents held out; which ones depends on the corpus alone, so that phases agree.
    pub held_out: f64,
    /// Which of the two parts this is.
    pub split: Split,
    /// Number of shards.
    pub num_shards: u32,
    /// The program whose draws these are; `None` for our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
}

impl InstanceConfig {
    /// BERT's values for phase 1 (sequence length 128) or phase 2 (512).
    ///
    /// `dupe_factor` is NVIDIA's 5 for static masks (google-research/bert: 10) and 1 for dynamic ones, where repeating a
    /// document would only repeat its pairs. `num_shards` 0 stands for "by size".
    pub fn for_phase(phase: u8, masking: MaskingMode) -> Self {
        let (max_seq_length, max_predictions_per_seq) = if phase == 1 { (128, 20) } else { (512, 80) };
        Self {
            max_seq_length,
            short_seq_prob: 0.1,
            masking,
            masked_lm_prob: 0.15,
            max_predictions_per_seq,
            whole_word_masking: false,
            dupe_factor: if masking == MaskingMode::Static { 5 } else { 1 },
            seed: 12345,
            held_out: 0.0,
            split: Split::Train,
            num_shards: 0,
            compat: None,
        }
    }

    /// The knobs of masking.
    pub fn masking_config(&self) -> MaskingConfig {
        MaskingConfig {
            masked_lm_prob: self.masked_lm_prob,
            max_predictions_per_seq: self.max_predictions_per_seq,
            whole_word_masking: self.whole_word_masking,
        }
    }

    /// Checks that the values make sense; the error names the knob, what was expected and what was found.
    pub fn validate(&self) -> Result<(), String> {
        // Two tokens of text and three special ones are the shortest pair.
        if self.max_seq_length < 5 {
            return Err(format!("max_seq_length: expected at least 5, found {}", self.max_seq_length));
        }
        if self.max_predictions_per_seq == 0 || self.max_predictions_per_seq > self.max_seq_length {
            let (found, most) = (self.max_predictions_per_seq, self.max_seq_length);
            return Err(format!("max_predictions_per_seq: expected 1 to max_seq_length ({most}), found {found}"));
        }
        if self.dupe_factor == 0 {
            return Err("dupe_factor: expected at least 1, found 0".to_owned());
        }
        if !(self.masked_lm_prob > 0.0 && self.masked_lm_prob <= 1.0) {
            return Err(format!("masked_lm_prob: expected more than 0 and at most 1, found {}", self.masked_lm_prob));
        }
        if !(0.0..=1.0).contains(&self.short_seq_prob) {
            return Err(format!("short_seq_prob: expected 0 to 1, found {}", self.short_seq_prob));
        }
        if !(0.0..1.0).contains(&self.held_out) {
            return Err(format!("held_out: expected 0 to below 1, found {}", self.held_out));
        }
        self.compat.map_or(Ok(()), |Compat::Nvidia| self.validate_nvidia())
    }

    /// What NVIDIA's script cannot do, its bit-exact re-creation must not do.
    fn validate_nvidia(&self) -> Result<(), String> {
        let refuse = |what: &str| Err(format!("compat nvidia: {what}; drop one of the two"));
        if self.masking == MaskingMode::Dynamic {
            return refuse("expected static masking, found dynamic, which NVIDIA's script does not have");
        }
        if self.whole_word_masking {
            return refuse("expected no whole_word_masking, which NVIDIA's script does not have");
        }
        if self.held_out > 0.0 {
            return refuse("expected no held_out, because its draws run over the whole corpus");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_have_berts_lengths() {
        let one = InstanceConfig::for_phase(1, MaskingMode::Static);
        let two = InstanceConfig::for_phase(2, MaskingMode::Dynamic);
        assert_eq!((one.max_seq_length, one.max_predictions_per_seq, one.dupe_factor), (128, 20, 5));
        assert_eq!((two.max_seq_length, two.max_predictions_per_seq, two.dupe_factor), (512, 80, 1));
        assert_eq!((one.validate(), two.validate()), (Ok(()), Ok(())));
    }

    #[test]
    fn impossible_values_are_named() {
        let config = InstanceConfig { dupe_factor: 0, ..InstanceConfig::for_phase(1, MaskingMode::Static) };
        assert_eq!(config.validate().unwrap_err(), "dupe_factor: expected at least 1, found 0");
        let config = InstanceConfig { held_out: 1.0, ..InstanceConfig::for_phase(1, MaskingMode::Static) };
        assert_eq!(config.validate().unwrap_err(), "held_out: expected 0 to below 1, found 1");
    }

    #[test]
    fn probabilities_of_0_and_1_are_taken_where_they_make_sense() {
        let config = InstanceConfig::for_phase(1, MaskingMode::Static);
        for short_seq_prob in [0.0, 1.0] {
            assert_eq!(InstanceConfig { short_seq_prob, ..config.clone() }.validate(), Ok(()));
        }
        assert_eq!(InstanceConfig { masked_lm_prob: 1.0, ..config.clone() }.validate(), Ok(()));
        let none = InstanceConfig { masked_lm_prob: 0.0, ..config.clone() };
        assert_eq!(none.validate().unwrap_err(), "masked_lm_prob: expected more than 0 and at most 1, found 0");
        let nan = InstanceConfig { short_seq_prob: f64::NAN, ..config };
        assert_eq!(nan.validate().unwrap_err(), "short_seq_prob: expected 0 to 1, found NaN");
    }

    #[test]
    fn what_nvidias_script_lacks_is_refused_with_compat() {
        let nvidia =
            InstanceConfig { compat: Some(Compat::Nvidia), ..InstanceConfig::for_phase(1, MaskingMode::Static) };
        assert_eq!(nvidia.validate(), Ok(()));
        let dynamic = InstanceConfig { masking: MaskingMode::Dynamic, ..nvidia.clone() };
        let words = InstanceConfig { whole_word_masking: true, ..nvidia.clone() };
        let held_out = InstanceConfig { held_out: 0.1, ..nvidia };
        for (config, found) in [(dynamic, "static masking"), (words, "whole_word_masking"), (held_out, "held_out")] {
            let problem = config.validate().unwrap_err();
            assert!(problem.starts_with("compat nvidia: expected ") && problem.contains(found), "{problem}");
        }
    }

    #[test]
    fn configurations_of_before_these_knobs_are_read() {
        let config = InstanceConfig::for_phase(1, MaskingMode::Static);
        let mut json = serde_json::to_value(&config).unwrap();
        assert!(json.as_object_mut().unwrap().remove("whole_word_masking").is_some());
        assert_eq!(serde_json::from_value::<InstanceConfig>(json).unwrap(), config);
    }
}
