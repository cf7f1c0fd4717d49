//! The stack of post-LN transformer layers.
//!
//! Shapes: B batch, S sequence, G = B * S cells of the padded grid, H hidden, N heads, D head width, F feed-forward width.

use tch::{Device, Tensor};

use super::Grid;
use super::config::{Activation, BertConfig};
use super::layers::{Declare, LayerNorm, Linear, Pass};
use crate::error::Result;

/// All layers.
#[derive(Debug)]
pub(super) struct Encoder {
    layers: Vec<Layer>,
}

impl Encoder {
    pub fn declare(declare: &mut Declare<'_>, config: &BertConfig) -> Self {
        Self { layers: (0..config.num_hidden_layers).map(|index| Layer::declare(declare, config, index)).collect() }
    }

    /// `x`: `[G, H]` from the embeddings; gives the last layer's `[G, H]`.
    pub fn forward(&self, pass: Pass<'_>, x: Tensor, grid: &Grid) -> Result<Tensor> {
        self.layers.iter().try_fold(x, |x, layer| layer.forward(pass, &x, grid))
    }
}

/// Self-attention and a feed-forward block, each followed by dropout, the residual and LayerNorm.
#[derive(Debug)]
struct Layer {
    attention: Attention,
    attention_norm: LayerNorm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: LayerNorm,
    dropout: f64,
}

impl Layer {
    fn declare(declare: &mut Declare<'_>, config: &BertConfig, index: i64) -> Self {
        let prefix = format!("bert.encoder.layer.{index}");
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        Self {
            attention: Attention::declare(declare, config, &prefix),
            attention_norm: declare.layer_norm(&format!("{prefix}.attention.output.LayerNorm"), width, epsilon),
            intermediate: declare.linear(&format!("{prefix}.intermediate.dense"), width, config.intermediate_size),
            activation: config.hidden_act,
            output: declare.linear(&format!("{prefix}.output.dense"), config.intermediate_size, width),
            output_norm: declare.layer_norm(&format!("{prefix}.output.LayerNorm"), width, epsilon),
            dropout: config.hidden_dropout_prob,
        }
    }

    fn forward(&self, pass: Pass<'_>, x_GH: &Tensor, grid: &Grid) -> Result<Tensor> {
        let attended_GH = pass.dropout(self.attention.forward(pass, x_GH, grid)?, self.dropout)?;
        let x_GH = self.attention_norm.forward(pass, &x_GH.f_add(&attended_GH)?)?;
        let inner_GF = self.intermediate.forward(pass, &x_GH)?.f_gelu(self.activation.approximate())?;
        let fed_GH = pass.dropout(self.output.forward(pass, &inner_GF)?, self.dropout)?;
        self.output_norm.forward(pass, &x_GH.f_add(&fed_GH)?)
    }
}

/// Multi-head self-attention; query, key and value come from one matrix product.
#[derive(Debug)]
struct Attention {
    query_key_value: Linear,
    output: Linear,
    num_heads: i64,
    head_width: i64,
    dropout: f64,
}

impl Attention {
    fn declare(declare: &mut Declare<'_>, config: &BertConfig, prefix: &str) -> Self {
        let width = config.hidden_size;
        let names = ["query", "key", "value"].map(|name| format!("{prefix}.attention.self.{name}"));
        Self {
            query_key_value: declare.stacked_linear(&names, width, width),
            output: declare.linear(&format!("{prefix}.attention.output.dense"), width, width),
            num_heads: config.num_attention_heads,
            head_width: config.head_width(),
            dropout: config.attention_probs_dropout_prob,
        }
    }

    fn forward(&self, pass: Pass<'_>, x_GH: &Tensor, grid: &Grid) -> Result<Tensor> {
        let (batch, seq_len) = (grid.batch_len, grid.seq_len);
        let qkv = self.query_key_value.forward(pass, x_GH)?;
        let qkv_3BNSD = qkv.f_view([batch, seq_len, 3, self.num_heads, self.head_width])?.f_permute([2, 0, 3, 1, 4])?;
        let part = |index| qkv_3BNSD.f_select(0, index);
        let out_BNSD = self.attend(pass, [part(0)?, part(1)?, part(2)?], grid)?;
        let out_GH = out_BNSD.f_transpose(1, 2)?.f_reshape([batch * seq_len, self.num_heads * self.head_width])?;
        self.output.forward(pass, &out_GH)
    }

    /// `softmax(q k^T / sqrt(D)) v`, each `[B, N, S, D]`, with dropout on the probabilities.
    ///
    /// torch's fused kernel for CPUs knows no dropout and falls back to a slow form, so with dropout it is written out here.
    fn attend(&self, pass: Pass<'_>, [q, k, v]: [Tensor; 3], grid: &Grid) -> Result<Tensor> {
        let dropout = if pass.train { self.dropout } else { 0.0 };
        if dropout == 0.0 || q.device() != Device::Cpu {
            let mask = grid.mask_B11S.as_ref();
            return Ok(Tensor::f_scaled_dot_product_attention(&q, &k, &v, mask, dropout, false, None, false)?);
        }
        let scaled_BNSD = q.f_mul_scalar((self.head_width as f64).powf(-0.5))?;
        let mut scores_BNSS = scaled_BNSD.f_matmul(&k.f_transpose(2, 3)?)?;
        if let Some(mask_B11S) = &grid.mask_B11S {
            scores_BNSS = scores_BNSS.f_masked_fill_(&mask_B11S.f_logical_not()?, f64::NEG_INFINITY)?;
        }
        let probabilities_BNSS = scores_BNSS.f_softmax(-1, None)?;
        Ok(pass.dropout(probabilities_BNSS, dropout)?.f_matmul(&v)?)
    }
}
