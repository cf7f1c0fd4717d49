//! What a run is about to do: every quantity that follows from recipe, model and data, printed before the first step.

use cloze_formats::dataset::Dataset;

use crate::data::mean_lengths;
use crate::model::config::BertConfig;
use crate::progress::thousands;

/// Labelled quantities, in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    lines: Vec<(&'static str, String)>,
}

impl Plan {
    /// Adds a quantity.
    pub fn add(&mut self, label: &'static str, value: impl Into<String>) {
        self.lines.push((label, value.into()));
    }

    /// Adds what follows from the shape of the model.
    pub fn add_model(&mut self, config: &BertConfig, num_parameters: i64) {
        let BertConfig { num_hidden_layers, hidden_size, num_attention_heads, vocab_size, .. } = config;
        self.add(
            "model",
            format!(
                "{num_hidden_layers} layers x {hidden_size}, {num_attention_heads} heads, {} positions, {} tokens",
                config.max_position_embeddings,
                thousands(vocab_size.unsigned_abs())
            ),
        );
        self.add("parameters", thousands(num_parameters.unsigned_abs()));
    }

    /// Adds what a step is made of. `num_micro_batches` and `num_tokens` are those of the first step.
    pub fn add_step(&mut self, global_batch_size: u64, num_micro_batches: usize, num_tokens: u64) {
        self.add("instances per step", thousands(global_batch_size));
        self.add("micro-batches", format!("{num_micro_batches} in the first step"));
        self.add("tokens per step", format!("{} in the first step, padding not counted", thousands(num_tokens)));
    }

    /// Adds how long the run is.
    pub fn add_length(&mut self, num_instances: u64, global_batch_size: u64, steps: u64) {
        let steps_per_epoch = num_instances as f64 / global_batch_size as f64;
        self.add("dataset", format!("{} instances", thousands(num_instances)));
        self.add("steps per epoch", format!("{steps_per_epoch:.1}"));
        self.add("steps", format!("{} ({:.2} epochs)", thousands(steps), steps as f64 / steps_per_epoch));
    }

    /// The plan as aligned lines.
    pub fn render(&self) -> String {
        let width = self.lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        self.lines.iter().map(|(label, value)| format!("  {label:width$}  {value}\n")).collect()
    }
}

/// Floating-point operations of a training step of `global_batch_size` instances of `dataset`, of which `num_masked` on
/// average are predicted per instance.
///
/// Three times the forward pass, `(8 h^2 + 4 h i) s L + 4 s^2 h L + m 2 (h^2 + h V)` per instance: projections and
/// feed-forward (24 h^2 where i = 4 h), attention, masked-LM head. Lengths are those of the dataset, without padding.
pub fn flops_per_step(config: &BertConfig, dataset: &Dataset, global_batch_size: u64, num_masked: f64) -> f64 {
    let (mean_len, mean_square) = mean_lengths(dataset);
    3.0 * global_batch_size as f64 * forward_flops(config, mean_len, mean_square, num_masked)
}

/// Floating-point operations of the forward pass of an instance of mean length `mean_len`, see [`flops_per_step`].
pub fn forward_flops(config: &BertConfig, mean_len: f64, mean_square: f64, num_masked: f64) -> f64 {
    let (h, i) = (config.hidden_size as f64, config.intermediate_size as f64);
    let (layers, vocab) = (config.num_hidden_layers as f64, config.vocab_size as f64);
    let dense = (8.0 * h * h + 4.0 * h * i) * mean_len * layers;
    let attention = 4.0 * mean_square * h * layers;
    dense + attention + num_masked * 2.0 * (h * h + h * vocab)
}

/// Estimated bytes at the peak of a training step in fp32: parameters, gradients and two moments, and what a micro-batch of
/// `micro_batch_tokens` keeps for the backward pass.
///
/// Per layer and token about 16 h + 2 i values of 4 bytes for projections, LayerNorm, dropout and feed-forward, and 3 N s
/// for attention weights; per prediction 3 V for logits and their gradient. After Korthikanti et al., "Reducing
/// Activation Recomputation in Large Transformer Models", 2022; good to about a third.
pub fn memory_estimate(
    config: &BertConfig,
    num_parameters: i64,
    micro_batch_tokens: u64,
    max_len: u64,
    masked_share: f64,
) -> f64 {
    let (h, i, heads) = (config.hidden_size as f64, config.intermediate_size as f64, config.num_attention_heads as f64);
    let tokens = micro_batch_tokens.max(max_len) as f64;
    let per_layer = tokens * (16.0 * h + 2.0 * i + 3.0 * heads * max_len as f64);
    let logits = 3.0 * tokens * masked_share * config.vocab_size as f64;
    16.0 * num_parameters as f64 + 4.0 * (per_layer * config.num_hidden_layers as f64 + logits)
}

/// Bytes for people: `1.4 GB`.
pub fn bytes(bytes: f64) -> String {
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.0} MB", bytes / 1e6) }
}

/// Operations for people: `3.1 TFLOP`.
pub fn flops(flops: f64) -> String {
    let (scale, unit) = match flops {
        1e15.. => (1e15, "PFLOP"),
        1e12.. => (1e12, "TFLOP"),
        _ => (1e9, "GFLOP"),
    };
    format!("{:.1} {unit}", flops / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flops_agree_with_the_published_table() {
        // reference: BERT-base, s 128, 20 predictions: 0.0699 T per instance; BERT-large: 0.2406 T.
        let base = BertConfig { vocab_size: 30_522, ..BertConfig::default() };
        let tera = |config: &BertConfig| 3.0 * forward_flops(config, 128.0, 128.0 * 128.0, 20.0) / 1e12;
        assert!((tera(&base) - 0.0699).abs() < 0.0002, "{}", tera(&base));
        let large = BertConfig {
            hidden_size: 1024,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            intermediate_size: 4096,
            ..base
        };
        assert!((tera(&large) - 0.2406).abs() < 0.0005, "{}", tera(&large));
    }

    #[test]
    fn a_plan_is_aligned() {
        let mut plan = Plan::default();
        plan.add("a", "1");
        plan.add("long", "2");
        assert_eq!(plan.render(), "  a     1\n  long  2\n");
    }
}
