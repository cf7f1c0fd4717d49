//! Hugging Face's BERT classes: which weights each has, in which order and shape.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::Head;
use crate::model::config::BertConfig;

/// Name of the word table, to which the masked-LM decoder is tied.
pub const WORD_EMBEDDINGS: &str = "bert.embeddings.word_embeddings.weight";
/// Name of the masked-LM decoder's bias.
pub const PREDICTIONS_BIAS: &str = "cls.predictions.bias";

/// A class of `transformers`, by its own name in `config.json` and on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `BertForPreTraining`: encoder, pooler, masked-LM and next-sentence heads.
    PreTraining,
    /// `BertModel`: encoder and pooler; its weights have no `bert.` before their names.
    Model,
    /// `BertForMaskedLM`: no pooler.
    MaskedLm,
    /// `BertForNextSentencePrediction`.
    NextSentence,
    /// `BertForSequenceClassification`.
    SequenceClassification,
    /// `BertForQuestionAnswering`: no pooler.
    QuestionAnswering,
    /// `BertForTokenClassification`: no pooler.
    TokenClassification,
    /// `BertForMultipleChoice`.
    MultipleChoice,
}

/// All of them.
pub const ALL: [Architecture; 8] = [
    Architecture::PreTraining,
    Architecture::Model,
    Architecture::MaskedLm,
    Architecture::NextSentence,
    Architecture::SequenceClassification,
    Architecture::QuestionAnswering,
    Architecture::TokenClassification,
    Architecture::MultipleChoice,
];

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreTraining => "BertForPreTraining",
            Self::Model => "BertModel",
            Self::MaskedLm => "BertForMaskedLM",
            Self::NextSentence => "BertForNextSentencePrediction",
            Self::SequenceClassification => "BertForSequenceClassification",
            Self::QuestionAnswering => "BertForQuestionAnswering",
            Self::TokenClassification => "BertForTokenClassification",
            Self::MultipleChoice => "BertForMultipleChoice",
        })
    }
}

impl FromStr for Architecture {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ALL.into_iter().find(|one| one.to_string() == text).ok_or_else(|| {
            let names = ALL.map(|one| one.to_string()).join(", ");
            Error::Invalid(format!("expected one of {names}, found {text}"))
        })
    }
}

impl From<Head> for Architecture {
    fn from(head: Head) -> Self {
        match head {
            Head::PreTraining => Self::PreTraining,
            Head::SequenceClassification { .. } => Self::SequenceClassification,
            Head::QuestionAnswering => Self::QuestionAnswering,
        }
    }
}

impl Architecture {
    /// What a `config.json` names first in `architectures`, if it is one of these.
    pub fn of_config(config: &BertConfig) -> Option<Self> {
        config.other.get("architectures")?.get(0)?.as_str()?.parse().ok()
    }

    /// The class that has a use for all of the weights `names` (ours, with `bert.`); where only a classifier is among them,
    /// which may be one of three, `config` decides.
    pub fn detect<'a>(names: impl Iterator<Item = &'a str> + Clone, config: &BertConfig) -> Self {
        let has = |prefix: &str| names.clone().any(|name| name.starts_with(prefix));
        let (masked_lm, next_sentence) = (has("cls.predictions."), has("cls.seq_relationship."));
        let (classifier, answers) = (has("classifier."), has("qa_outputs."));
        match (masked_lm, next_sentence) {
            (true, true) => Self::PreTraining,
            (true, false) => Self::MaskedLm,
            (false, true) => Self::NextSentence,
            (false, false) if answers => Self::QuestionAnswering,
            (false, false) if classifier => match Self::of_config(config) {
                Some(one @ (Self::TokenClassification | Self::MultipleChoice)) => one,
                _ => Self::SequenceClassification,
            },
            (false, false) => Self::Model,
        }
    }

    /// Whether it has the masked-LM head, and so a decoder that is tied to the word table.
    pub fn has_masked_lm(self) -> bool {
        matches!(self, Self::PreTraining | Self::MaskedLm)
    }

    fn has_pooler(self) -> bool {
        !matches!(self, Self::MaskedLm | Self::QuestionAnswering | Self::TokenClassification)
    }

    /// Rows of the classifier, where it has one whose number of labels is free.
    pub fn has_labels(self) -> bool {
        matches!(self, Self::SequenceClassification | Self::TokenClassification)
    }

    /// Name and shape of every weight of such a model, named as this crate does, in the order of the class's own state dict;
    /// tied copies are left out.
    pub fn weights(self, config: &BertConfig) -> Vec<(String, Vec<i64>)> {
        let mut list = Weights { list: Vec::new(), config };
        list.encoder();
        let width = config.hidden_size;
        if self.has_pooler() {
            list.linear("bert.pooler.dense", width, width);
        }
        if self.has_masked_lm() {
            list.add(PREDICTIONS_BIAS, &[config.vocab_size]);
            list.linear("cls.predictions.transform.dense", width, width);
            list.layer_norm("cls.predictions.transform.LayerNorm");
        }
        match self {
            Self::PreTraining | Self::NextSentence => list.linear("cls.seq_relationship", width, 2),
            Self::SequenceClassification | Self::TokenClassification => {
                list.linear("classifier", width, config.num_labels());
            }
            Self::MultipleChoice => list.linear("classifier", width, 1),
            Self::QuestionAnswering => list.linear("qa_outputs", width, 2),
            Self::Model | Self::MaskedLm => {}
        }
        list.list
    }
}

struct Weights<'a> {
    list: Vec<(String, Vec<i64>)>,
    config: &'a BertConfig,
}

impl Weights<'_> {
    fn add(&mut self, name: impl Into<String>, shape: &[i64]) {
        self.list.push((name.into(), shape.to_vec()));
    }

    fn linear(&mut self, name: &str, from: i64, to: i64) {
        self.add(format!("{name}.weight"), &[to, from]);
        self.add(format!("{name}.bias"), &[to]);
    }

    fn layer_norm(&mut self, name: &str) {
        self.add(format!("{name}.weight"), &[self.config.hidden_size]);
        self.add(format!("{name}.bias"), &[self.config.hidden_size]);
    }

    fn encoder(&mut self) {
        let config = self.config;
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        for (table, rows) in [
            ("word_embeddings", config.vocab_size),
            ("position_embeddings", config.max_position_embeddings),
            ("token_type_embeddings", config.type_vocab_size),
        ] {
            self.add(format!("bert.embeddings.{table}.weight"), &[rows, width]);
        }
        self.layer_norm("bert.embeddings.LayerNorm");
        for index in 0..config.num_hidden_layers {
            let name = |part: &str| format!("bert.encoder.layer.{index}.{part}");
            for part in ["query", "key", "value"] {
                self.linear(&name(&format!("attention.self.{part}")), width, width);
            }
            self.linear(&name("attention.output.dense"), width, width);
            self.layer_norm(&name("attention.output.LayerNorm"));
            self.linear(&name("intermediate.dense"), width, inner);
            self.linear(&name("output.dense"), inner, width);
            self.layer_norm(&name("output.LayerNorm"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bert;
    use tch::Device;

    #[test]
    fn the_table_of_each_class_is_that_of_the_model_with_its_head() {
        let config = BertConfig {
            vocab_size: 24,
            hidden_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 12,
            max_position_embeddings: 6,
            ..BertConfig::default()
        };
        for head in [Head::PreTraining, Head::QuestionAnswering, Head::SequenceClassification { num_labels: 2 }] {
            let model = Bert::new(config.clone(), head, Device::Cpu, 1).unwrap();
            let mut expected: Vec<_> =
                model.parameters().entries().iter().map(|e| (e.name.clone(), e.shape.clone())).collect();
            let mut found = Architecture::from(head).weights(&config);
            let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(Architecture::detect(names.iter().map(String::as_str), &config), head.into());
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn names_of_classes_come_back_and_others_are_refused_with_the_choice() {
        for one in ALL {
            assert_eq!(one.to_string().parse::<Architecture>().unwrap(), one);
        }
        let error = "RobertaModel".parse::<Architecture>().unwrap_err().to_string();
        assert!(error.starts_with("expected one of BertForPreTraining, BertModel,"), "{error}");
    }
}
