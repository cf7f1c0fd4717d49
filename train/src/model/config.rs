//! A model's shape: Hugging Face's `config.json`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The activation between the two layers of the feed-forward block, and in the masked-LM head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU by the error function.
    Gelu,
    /// GELU by the tanh approximation, as Google's BERT computes it.
    GeluNew,
    /// The same function as `gelu_new`, under PyTorch's name.
    GeluPytorchTanh,
}

impl Activation {
    /// The `approximate` argument of torch's GELU.
    pub fn approximate(self) -> &'static str {
        match self {
            Self::Gelu => "none",
            Self::GeluNew | Self::GeluPytorchTanh => "tanh",
        }
    }
}

/// Everything that decides the shape and arithmetic of a BERT, under the names of Hugging Face's `config.json`.
///
/// `Default` is BERT-base, uncased. Keys that are not known here are kept and written back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Rows of the word embedding; for new models the vocabulary padded to a multiple of 8 ([`Self::padded_vocab_size`]).
    pub vocab_size: i64,
    /// Width H of the hidden states.
    pub hidden_size: i64,
    /// Encoder layers.
    pub num_hidden_layers: i64,
    /// Attention heads N; H is a multiple of it.
    pub num_attention_heads: i64,
    /// Width of the feed-forward block.
    pub intermediate_size: i64,
    /// Its activation.
    #[serde(default = "default_activation")]
    pub hidden_act: Activation,
    /// Dropout on hidden states.
    #[serde(default = "default_dropout")]
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities.
    #[serde(default = "default_dropout")]
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the classifier; `None` means `hidden_dropout_prob`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier_dropout: Option<f64>,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: i64,
    /// Segments that are told apart.
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: i64,
    /// Standard deviation of the initial weights.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// Epsilon of every LayerNorm.
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Id of `[PAD]`.
    #[serde(default)]
    pub pad_token_id: i64,
    /// All other keys of the file.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

fn default_activation() -> Activation {
    Activation::Gelu
}

fn default_dropout() -> f64 {
    0.1
}

fn default_type_vocab_size() -> i64 {
    2
}

fn default_initializer_range() -> f64 {
    0.02
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_528,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: default_activation(),
            hidden_dropout_prob: default_dropout(),
            attention_probs_dropout_prob: default_dropout(),
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: default_type_vocab_size(),
            initializer_range: default_initializer_range(),
            layer_norm_eps: default_layer_norm_eps(),
            pad_token_id: 0,
            other: serde_json::Map::new(),
        }
    }
}

impl BertConfig {
    /// Reads and validates a `config.json`.
    ///
    /// # Errors
    /// When it cannot be read, is not such a file, or describes a model that cannot be built.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let config: Self = serde_json::from_str(&text)
            .map_err(|error| Error::file(path, format!("expected the config.json of a BERT model, found: {error}")))?;
        config.check_kind().and_then(|()| config.validate()).map_err(|error| Error::file(path, error.to_string()))?;
        Ok(config)
    }

    /// The vocabulary's `num_tokens` padded to a multiple of 8, which matrix units like; the surplus rows are never a label.
    pub fn padded_vocab_size(num_tokens: u32) -> i64 {
        i64::from(num_tokens.div_ceil(8)) * 8
    }

    /// The file's text, pretty-printed.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a config has string keys and finite numbers");
        text.push('\n');
        text
    }

    /// Checks that a model of this shape can be built.
    ///
    /// # Errors
    /// The first setting that is out of range, with what is expected.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        // Far above any use, and low enough to name the weights of all, and to count them in 63 bits.
        const MOST_LAYERS: i64 = 1024;
        const MOST: i64 = 1 << 22;
        if self.num_hidden_layers > MOST_LAYERS {
            let found = self.num_hidden_layers;
            return Err(Error::Invalid(format!("num_hidden_layers: expected at most {MOST_LAYERS}, found {found}")));
        }
        for (name, value) in positive {
            if !(1..=MOST).contains(&value) {
                return Err(Error::Invalid(format!("{name}: expected at least 1 and at most {MOST}, found {value}")));
            }
        }
        if self.hidden_size % self.num_attention_heads != 0 {
            return Err(Error::Invalid(format!(
                "hidden_size: expected a multiple of num_attention_heads ({}), found {}",
                self.num_attention_heads, self.hidden_size
            )));
        }
        let probabilities = [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout()),
        ];
        for (name, value) in probabilities {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::Invalid(format!("{name}: expected at least 0 and less than 1, found {value}")));
            }
        }
        for (name, value) in [("layer_norm_eps", self.layer_norm_eps), ("initializer_range", self.initializer_range)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::Invalid(format!("{name}: expected a positive number, found {value}")));
            }
        }
        if !(0..self.vocab_size).contains(&self.pad_token_id) {
            return Err(Error::Invalid(format!(
                "pad_token_id: expected an id below vocab_size ({}), found {}",
                self.vocab_size, self.pad_token_id
            )));
        }
        Ok(())
    }

    /// Labels of a classifier: the length of `id2label`, 2 without one, as in Hugging Face's.
    pub fn num_labels(&self) -> i64 {
        self.other.get("id2label").and_then(serde_json::Value::as_object).map_or(2, |labels| labels.len() as i64)
    }

    /// Dropout before the classifier.
    pub fn classifier_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// Refuses what has BERT's keys but computes something else.
    fn check_kind(&self) -> Result<()> {
        let is = |key: &str, value: &str| self.other.get(key).is_none_or(|found| found.is_null() || found == value);
        for (key, value) in [("model_type", "bert"), ("position_embedding_type", "absolute")] {
            if !is(key, value) {
                return Err(Error::Invalid(format!(
                    "{key}: expected \"{value}\", found {}; other architectures are not supported",
                    self.other[key]
                )));
            }
        }
        if self.other.get("is_decoder").and_then(serde_json::Value::as_bool) == Some(true) {
            return Err(Error::Invalid(
                "is_decoder: expected false, found true; decoders are not supported".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BertConfig> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, text).unwrap();
        BertConfig::read(&path).map_err(|error| {
            let text = error.to_string();
            Error::Invalid(text.rsplit_once("config.json: ").unwrap().1.to_owned())
        })
    }

    const SMALL: &str = r#"{"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 16, "hidden_act": "gelu_new", "model_type": "bert", "id2label": {"0": "A"}}"#;

    #[test]
    fn unknown_keys_survive_and_absent_ones_are_bert_s_defaults() {
        let config = read(SMALL).unwrap();
        assert_eq!(config.hidden_act.approximate(), "tanh");
        assert_eq!(config.hidden_dropout_prob, 0.1);
        assert_eq!(config.layer_norm_eps, 1e-12);
        assert_eq!(config.type_vocab_size, 2);
        let again = read(&config.to_json()).unwrap();
        assert_eq!(again, config);
        assert_eq!(again.other["id2label"]["0"], "A");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let change = |from: &str, to: &str| read(&SMALL.replacen(from, to, 1)).unwrap_err().to_string();
        assert_eq!(
            change("\"hidden_size\": 32", "\"hidden_size\": 30"),
            "hidden_size: expected a multiple of num_attention_heads (4), found 30"
        );
        assert_eq!(change(": 64", ": 0"), "vocab_size: expected at least 1 and at most 4194304, found 0");
        assert_eq!(
            change("\"bert\"", "\"roberta\""),
            "model_type: expected \"bert\", found \"roberta\"; other architectures are not supported"
        );
        assert!(
            change("gelu_new", "relu")
                .starts_with("expected the config.json of a BERT model, found: unknown variant `relu`")
        );
        assert!(change("vocab_size", "size").contains("missing field `vocab_size`"));
    }

    #[test]
    fn a_vocabulary_is_padded_to_a_multiple_of_8() {
        assert_eq!(BertConfig::padded_vocab_size(30_522), 30_528);
        assert_eq!(BertConfig::padded_vocab_size(64), 64);
    }
}
