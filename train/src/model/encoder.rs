//! The stack of post-LN transformer layers.
//!
//! Shapes: T tokens, R tokens that a head reads, H hidden, F feed-forward width. Only attention knows where a sequence ends.

use cloze_torch_ext::fused;
use tch::Tensor;

use super::config::{Activation, BertConfig};
use super::layers::{Declare, LayerNorm, Linear, Pass};
use super::packed::{Packed, Read};
use crate::error::Result;

/// All layers.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    layers: Vec<Layer>,
}

impl Encoder {
    pub fn declare(declare: &mut Declare<'_>, config: &BertConfig) -> Self {
        Self { layers: (0..config.num_hidden_layers).map(|index| Layer::declare(declare, config, index)).collect() }
    }

    /// `x`: `[T, H]` from the embeddings; gives the last layer's `[R, H]` at what is read, or `[T, H]`.
    ///
    /// What the last layer makes of a token that no head reads changes neither losses nor gradients, so it is not computed; of
    /// such tokens only key and value are needed.
    pub fn forward(&self, pass: Pass<'_>, x: Tensor, packed: &Packed, read: Option<&Read>) -> Result<Tensor> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().try_fold(x, |x, (index, layer)| match read.filter(|_| index == last) {
            None => layer.forward(pass, &x, packed),
            Some(read) => layer.forward_read(pass, &x, packed, read),
        })
    }
}

/// Self-attention and a feed-forward block, each followed by dropout, the residual and LayerNorm.
#[derive(Clone, Debug)]
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

    fn forward(&self, pass: Pass<'_>, x_TH: &Tensor, packed: &Packed) -> Result<Tensor> {
        let attended_TH = self.attention.forward(pass, x_TH, packed)?;
        self.after_attention(pass, x_TH, &attended_TH)
    }

    /// `[T, H]` to `[R, H]`.
    fn forward_read(&self, pass: Pass<'_>, x_TH: &Tensor, packed: &Packed, read: &Read) -> Result<Tensor> {
        let x_RH = x_TH.f_index_select(0, &read.tokens_R)?;
        let attended_RH = self.attention.forward_read(pass, (&x_RH, read), (x_TH, packed))?;
        self.after_attention(pass, &x_RH, &attended_RH)
    }

    /// Row by row.
    fn after_attention(&self, pass: Pass<'_>, x: &Tensor, attended: &Tensor) -> Result<Tensor> {
        let x = self.attention_norm.forward_after(pass, &self.attention.output, attended, x, self.dropout)?;
        let inner = self.intermediate.forward_gelu(pass, &x, self.activation)?;
        self.output_norm.forward_after(pass, &self.output, &inner, &x, self.dropout)
    }
}

/// Multi-head self-attention; query, key and value come from one matrix product.
#[derive(Clone, Debug)]
struct Attention {
    query_key_value: Linear,
    /// Applied by the layer, together with what follows.
    output: Linear,
    num_heads: i64,
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
            dropout: config.attention_probs_dropout_prob,
        }
    }

    /// `[T, H]` to `[T, H]`, before the output's dense map.
    fn forward(&self, pass: Pass<'_>, x_TH: &Tensor, packed: &Packed) -> Result<Tensor> {
        let qkv = self.query_key_value.forward(pass, x_TH)?;
        let dropout = pass.dropout_probability(self.dropout);
        Ok(fused::attention(&qkv, packed.bounds(), self.num_heads, dropout)?)
    }

    /// The same for some tokens, which attend to all: `[R, H]` and `[T, H]` to `[R, H]`.
    fn forward_read(&self, pass: Pass<'_>, queries: (&Tensor, &Read), keys: (&Tensor, &Packed)) -> Result<Tensor> {
        let ((x_RH, read), (x_TH, packed)) = (queries, keys);
        let width = x_TH.size()[1];
        let queries_RH = self.query_key_value.forward_part(pass, x_RH, 0..width)?;
        let keys_values = self.query_key_value.forward_part(pass, x_TH, width..3 * width)?;
        let dropout = pass.dropout_probability(self.dropout);
        let (queries, keys_values) = ((&queries_RH, read.bounds()), (&keys_values, packed.bounds()));
        Ok(fused::attention_of_some(queries, keys_values, self.num_heads, dropout)?)
    }
}
