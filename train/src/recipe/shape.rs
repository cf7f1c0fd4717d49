//! From the `[model]` section to a model's config.json.

use std::path::Path;

use cloze_formats::manifest::VocabularyInfo;
use serde_json::json;

use super::ModelSection;
use crate::error::{Error, Result};
use crate::model::config::{Activation, BertConfig};

impl ModelSection {
    /// The configuration of a new model for that vocabulary.
    ///
    /// # Errors
    /// No such model can be built.
    pub fn config(&self, vocabulary: &VocabularyInfo) -> Result<BertConfig> {
        let config = BertConfig {
            vocab_size: BertConfig::padded_vocab_size(vocabulary.num_tokens),
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size(),
            hidden_act: self.activation()?,
            hidden_dropout_prob: self.hidden_dropout_prob,
            attention_probs_dropout_prob: self.attention_probs_dropout_prob,
            max_position_embeddings: self.max_position_embeddings,
            initializer_range: self.initializer_range,
            pad_token_id: vocabulary.special.pad.into(),
            ..BertConfig::default()
        };
        config.validate()?;
        Ok(config)
    }

    /// The configuration `found` of the model in the directory `model`, with the dropout of this section.
    ///
    /// # Errors
    /// Its shape is not that of this section.
    pub fn applied_to(&self, found: &BertConfig, model: &Path) -> Result<BertConfig> {
        let shape = [
            ("hidden_size", self.hidden_size, found.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers, found.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads, found.num_attention_heads),
            ("intermediate_size", self.intermediate_size(), found.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings, found.max_position_embeddings),
        ];
        let different = |name: &str, expected: &str, found: &str| {
            let message = format!(
                "expected {name} = {expected}, as the recipe's [model] has it, found {found}; give another --init, or leave \
                 [model] out"
            );
            Err(Error::file(model, message))
        };
        if let Some((name, expected, found)) = shape.into_iter().find(|(_, expected, found)| expected != found) {
            return different(name, &expected.to_string(), &found.to_string());
        }
        if self.activation()?.approximate() != found.hidden_act.approximate() {
            let found = json!(found.hidden_act);
            return different("hidden_act", &self.hidden_act, found.as_str().unwrap_or_default());
        }
        Ok(BertConfig {
            hidden_dropout_prob: self.hidden_dropout_prob,
            attention_probs_dropout_prob: self.attention_probs_dropout_prob,
            ..found.clone()
        })
    }

    fn intermediate_size(&self) -> i64 {
        self.intermediate_size.unwrap_or(self.hidden_size.saturating_mul(4))
    }

    fn activation(&self) -> Result<Activation> {
        serde_json::from_value(json!(self.hidden_act)).map_err(|_| {
            Error::Invalid(format!("model.hidden_act: expected gelu or gelu_new, found {}", self.hidden_act))
        })
    }
}
