//! Words, positions and segments to hidden states.
//!
//! Shapes: T tokens, H hidden, V vocabulary.

use cloze_torch_ext::fused::{embedding_sum, is_fusable};
use tch::Tensor;

use super::config::BertConfig;
use super::layers::{Declare, LayerNorm, Pass};
use super::packed::Packed;
use crate::error::Result;
use crate::parameters::LeafId;

/// The sum of three tables, LayerNorm, dropout.
#[derive(Clone, Debug)]
pub(super) struct Embeddings {
    word: LeafId,
    position: LeafId,
    segment: LeafId,
    norm: LayerNorm,
    dropout: f64,
}

impl Embeddings {
    pub fn declare(declare: &mut Declare<'_>, config: &BertConfig) -> Self {
        let mut table =
            |name: &str, rows| declare.matrix(&format!("bert.embeddings.{name}.weight"), rows, config.hidden_size);
        Self {
            word: table("word_embeddings", config.vocab_size),
            position: table("position_embeddings", config.max_position_embeddings),
            segment: table("token_type_embeddings", config.type_vocab_size),
            norm: declare.layer_norm("bert.embeddings.LayerNorm", config.hidden_size, config.layer_norm_eps),
            dropout: config.hidden_dropout_prob,
        }
    }

    /// The word table `[V, H]`, to which the masked-LM decoder is tied.
    pub fn word(&self) -> LeafId {
        self.word
    }

    /// Gives `[T, H]`.
    pub fn forward(&self, pass: Pass<'_>, packed: &Packed) -> Result<Tensor> {
        let tables = [self.word, self.position, self.segment].map(|id| pass.parameters.leaf(id));
        let ids = [&packed.input_ids_T, &packed.position_ids_T, &packed.segment_ids_T];
        let x_TH = if is_fusable(tables[0]) {
            embedding_sum(tables, ids)?
        } else {
            let look_up = |index: usize| Tensor::f_embedding(tables[index], ids[index], -1, false, false);
            look_up(0)?.f_add(&look_up(1)?)?.f_add(&look_up(2)?)?
        };
        pass.dropout(self.norm.forward(pass, &x_TH)?, self.dropout)
    }
}
