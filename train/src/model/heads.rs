//! What sits on the encoder: the pooler and the heads of the three uses.
//!
//! Shapes: B sequences, T tokens, H hidden, M masked positions, V vocabulary, C labels.

use cloze_torch_ext::fused::{self, Affine};
use tch::Tensor;

use super::config::{Activation, BertConfig};
use super::cross_entropy_sum;
use super::layers::{Declare, LayerNorm, Linear, Pass};
use crate::error::Result;
use crate::parameters::LeafId;

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Head {
    /// Masked-LM (its decoder tied to the word embedding) and next-sentence prediction.
    #[default]
    PreTraining,
    /// One label per sequence, from the pooled `[CLS]`.
    SequenceClassification {
        /// How many labels there are.
        num_labels: i64,
    },
    /// A start and an end score per token.
    QuestionAnswering,
}

/// The parameters of a [`Head`], the pooler included where the head has one.
#[derive(Clone, Debug)]
pub(super) enum HeadLayers {
    PreTraining { pooler: Linear, masked_lm: MaskedLm, next_sentence: Linear },
    SequenceClassification { pooler: Linear, classifier: Linear, dropout: f64 },
    QuestionAnswering { outputs: Linear },
}

impl HeadLayers {
    pub fn declare(declare: &mut Declare<'_>, config: &BertConfig, head: Head, word: LeafId) -> Self {
        let width = config.hidden_size;
        let mut linear = |name: &str, to| declare.linear(name, width, to);
        match head {
            Head::PreTraining => Self::PreTraining {
                pooler: linear("bert.pooler.dense", width),
                next_sentence: linear("cls.seq_relationship", 2),
                masked_lm: MaskedLm::declare(declare, config, word),
            },
            Head::SequenceClassification { num_labels } => Self::SequenceClassification {
                pooler: linear("bert.pooler.dense", width),
                classifier: linear("classifier", num_labels),
                dropout: config.classifier_dropout(),
            },
            Head::QuestionAnswering => Self::QuestionAnswering { outputs: linear("qa_outputs", 2) },
        }
    }
}

/// The masked-LM head: dense, activation, LayerNorm, then the word table as decoder with a bias of its own.
#[derive(Clone, Debug)]
pub(super) struct MaskedLm {
    transform: Linear,
    activation: Activation,
    norm: LayerNorm,
    word: LeafId,
    bias: LeafId,
}

impl MaskedLm {
    fn declare(declare: &mut Declare<'_>, config: &BertConfig, word: LeafId) -> Self {
        let width = config.hidden_size;
        Self {
            transform: declare.linear("cls.predictions.transform.dense", width, width),
            activation: config.hidden_act,
            norm: declare.layer_norm("cls.predictions.transform.LayerNorm", width, config.layer_norm_eps),
            word,
            bias: declare.bias("cls.predictions.bias", config.vocab_size),
        }
    }

    /// `hidden`: `[M, H]`, the masked positions only; gives logits `[M, V]`.
    pub fn forward(&self, pass: Pass<'_>, hidden_MH: &Tensor) -> Result<Tensor> {
        let Affine { weight, bias } = self.decoder(pass);
        Ok(self.transformed(pass, hidden_MH)?.f_linear(weight, Some(bias))?)
    }

    /// Sum of the cross entropies of those logits against `labels` `[M]`, and how many are predicted right.
    pub fn loss(&self, pass: Pass<'_>, hidden_MH: &Tensor, labels_M: &Tensor) -> Result<(Tensor, Tensor)> {
        if labels_M.numel() > 0 && fused::is_fusable(hidden_MH) {
            let x_MH = self.transformed(pass, hidden_MH)?;
            return Ok(fused::linear_cross_entropy(&x_MH, self.decoder(pass), labels_M)?);
        }
        cross_entropy_sum(&self.forward(pass, hidden_MH)?, labels_M)
    }

    fn transformed(&self, pass: Pass<'_>, hidden_MH: &Tensor) -> Result<Tensor> {
        self.norm.forward(pass, &self.transform.forward_gelu(pass, hidden_MH, self.activation)?)
    }

    fn decoder<'a>(&self, pass: Pass<'a>) -> Affine<'a> {
        Affine { weight: pass.parameters.leaf(self.word), bias: pass.parameters.leaf(self.bias) }
    }
}

/// `tanh` of a dense map of each sequence's first token, row `first_B` of `hidden`: `[.., H]` to `[B, H]`.
pub(super) fn pool(pass: Pass<'_>, pooler: &Linear, hidden: &Tensor, first_B: &Tensor) -> Result<Tensor> {
    let first_BH = hidden.f_index_select(0, first_B)?;
    Ok(pooler.forward(pass, &first_BH)?.f_tanh()?)
}
