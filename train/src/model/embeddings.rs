//! Words, positions and segments to hidden states.
//!
//! Shapes: B batch, S sequence, H hidden, V vocabulary.

use tch::Tensor;

use super::Grid;
use super::config::BertConfig;
use super::layers::{Declare, LayerNorm, Pass};
use crate::error::Result;
use crate::parameters::LeafId;

/// The sum of three tables, LayerNorm, dropout.
#[derive(Debug)]
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

    /// Gives `[B * S, H]`.
    pub fn forward(&self, pass: Pass<'_>, grid: &Grid) -> Result<Tensor> {
        let leaf = |id| pass.parameters.leaf(id);
        let look_up = |table, ids: &Tensor| Tensor::f_embedding(leaf(table), ids, -1, false, false);
        let word_BSH = look_up(self.word, &grid.input_ids_BS)?;
        let segment_BSH = look_up(self.segment, &grid.segment_ids_BS)?;
        let position_SH = leaf(self.position).f_narrow(0, 0, grid.seq_len)?;
        let x_BSH = word_BSH.f_add(&segment_BSH)?.f_add(&position_SH)?;
        let x_BSH = self.norm.forward(pass, &x_BSH)?;
        pass.dropout(x_BSH.f_flatten(0, 1)?, self.dropout)
    }
}
