//! What a run is about to do: every quantity that follows from recipe, model and data, printed before the first step.

use cloze_formats::dataset::Dataset;
use serde_json::{Map, Value};

use crate::data::mean_lengths;
use crate::model::Head;
use crate::model::config::BertConfig;
use crate::precision::Precision;
use crate::progress::thousands;
use crate::summary::Summary;
use crate::world::World;

/// Labelled quantities, in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    lines: Vec<(&'static str, String)>,
    values: Map<String, Value>,
}

impl Plan {
    /// Adds a quantity, as people read it.
    pub fn add(&mut self, label: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.add_value(label, text.clone(), text);
    }

    /// Adds a quantity as programs and as people read it.
    pub fn add_value(&mut self, label: &'static str, value: impl Into<Value>, text: impl Into<String>) {
        self.values.insert(label.replace([' ', '-'], "_"), value.into());
        self.lines.push((label, text.into()));
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
        self.add_value("parameters", num_parameters, thousands(num_parameters.unsigned_abs()));
    }

    /// Adds what a step is made of: `rows_per_step` is `instances per step` or `examples per step`, `num_micro_batches` and
    /// `num_tokens` are those of the first one.
    pub fn add_step(
        &mut self,
        rows_per_step: &'static str,
        global_batch_size: u64,
        num_micro_batches: usize,
        num_tokens: u64,
    ) {
        self.add_value(rows_per_step, global_batch_size, thousands(global_batch_size));
        self.add_value("micro-batches", num_micro_batches, format!("{num_micro_batches} in the first step"));
        let text = format!("{} in the first step, padding not counted", thousands(num_tokens));
        self.add_value("tokens per step", num_tokens, text);
    }

    /// Adds the processes, where there are several.
    pub fn add_world(&mut self, world: &World) {
        if !world.is_alone() {
            let World { world_size, local_world_size, launcher, .. } = world;
            self.add("processes", format!("{world_size}, {local_world_size} on this machine ({launcher})"));
        }
    }

    /// Adds how long the run is; `rows` are called `instances` or `examples`.
    pub fn add_length(&mut self, rows: &str, num_rows: u64, global_batch_size: u64, steps: u64) {
        let steps_per_epoch = num_rows as f64 / global_batch_size as f64;
        let epochs = steps as f64 / steps_per_epoch;
        self.add_value("dataset", num_rows, format!("{} {rows}", thousands(num_rows)));
        self.add_value("steps per epoch", steps_per_epoch, format!("{steps_per_epoch:.1}"));
        self.add_value("steps", steps, format!("{} ({epochs:.2} epochs)", thousands(steps)));
        self.values.insert("epochs".to_owned(), epochs.into());
    }

    /// The plan as aligned lines.
    pub fn render(&self) -> String {
        let width = self.lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        self.lines.iter().map(|(label, value)| format!("  {label:width$}  {value}\n")).collect()
    }

    /// The plan as the result of a command.
    pub fn into_summary(self) -> Summary {
        let mut summary = Summary::default();
        let mut values = self.values;
        for (label, text) in self.lines {
            let key = label.replace([' ', '-'], "_");
            let value = values.remove(&key).unwrap_or(Value::Null);
            summary.add(&key, value, text);
        }
        for (key, value) in values {
            summary.add_value(&key, value);
        }
        summary
    }
}

/// What training computes on: of one instance, on average, or summed over many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Tokens.
    pub tokens: f64,
    /// Squares of the sequences' lengths.
    pub squares: f64,
    /// Masked positions.
    pub predictions: f64,
    /// Tokens whose last hidden states the head reads: the last layer computes no others.
    pub read: f64,
}

impl Load {
    /// That of `instances` under a head. Of pre-training the masked and the first tokens are read, of a classifier the first
    /// ones, of question answering all.
    pub fn new(head: Head, instances: f64, (tokens, squares): (f64, f64), predictions: f64) -> Self {
        let read = match head {
            Head::PreTraining => predictions + instances,
            Head::SequenceClassification { .. } => instances,
            Head::QuestionAnswering => tokens,
        };
        Self { tokens, squares, predictions, read: read.min(tokens) }
    }

    /// That of instances of one length with `predictions` each, in pre-training.
    pub fn pretraining(len: f64, predictions: f64) -> Self {
        Self::new(Head::PreTraining, 1.0, (len, len * len), predictions)
    }
}

/// Floating-point operations of a training step of `global_batch_size` instances of `dataset`, of which `num_masked` on
/// average are predicted per instance. Lengths are those of the dataset, without padding.
pub fn flops_per_step(
    config: &BertConfig,
    head: Head,
    dataset: &Dataset,
    global_batch_size: u64,
    num_masked: f64,
) -> f64 {
    global_batch_size as f64 * training_flops(config, Load::new(head, 1.0, mean_lengths(dataset), num_masked))
}

/// Floating-point operations of training on this.
///
/// Three times the forward pass, per instance and layer `(8 h^2 + 4 h i) s + 4 s^2 h` for projections, feed-forward (24 h^2 where
/// i = 4 h) and attention, and `m 2 (h^2 + h V)` for the masked-LM head. The last layer has keys and values of all tokens, the rest
/// of it only where it is read; of long and short sequences together, alike shares are taken to be read.
pub fn training_flops(config: &BertConfig, load: Load) -> f64 {
    let (h, i) = (config.hidden_size as f64, config.intermediate_size as f64);
    let (layers, vocab) = (config.num_hidden_layers as f64, config.vocab_size as f64);
    let Load { tokens, squares, predictions, read } = load;
    let layer = (8.0 * h * h + 4.0 * h * i) * tokens + 4.0 * squares * h;
    let unread = 1.0 - read / tokens.max(1.0);
    let spared = unread * ((4.0 * h * h + 4.0 * h * i) * tokens + 4.0 * squares * h);
    3.0 * (layer * layers - spared + predictions * 2.0 * (h * h + h * vocab))
}

/// Parameters of a model of this shape with both heads of pre-training.
pub fn num_pretraining_parameters(config: &BertConfig) -> i64 {
    let (h, i) = (config.hidden_size, config.intermediate_size);
    let embeddings = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size + 2) * h;
    let layer = 4 * (h * h + h) + (h * i + i) + (i * h + h) + 4 * h;
    let heads = 2 * (h * h + h) + 2 * h + config.vocab_size + 2 * h + 2;
    embeddings + config.num_hidden_layers * layer + heads
}

/// What a step computes in.
#[derive(Clone, Copy, Debug)]
pub struct Computing {
    /// Of matrix products.
    pub precision: Precision,
    /// Whether on a GPU.
    pub on_gpu: bool,
    /// Micro-batches at a time.
    pub num_workers: u32,
}

/// Estimated bytes at the peak of a training step: parameters, gradients and two moments in fp32, the 16-bit copy of the
/// parameters where there is one, and what micro-batches of `micro_batch_tokens` keep for the backward pass; each worker has a
/// gradient and a micro-batch of its own.
///
/// Per layer and token about 16 h + 2 i values for projections, LayerNorm, dropout and feed-forward, and 3 N s for attention
/// weights where no kernel spares them (16 bits on a CPU); per prediction 3 V for logits and their gradient. A value has 4 bytes;
/// in mixed precision, where matrix products give 16 bits and LayerNorm and residuals 32, 3 on average. After Korthikanti et al.,
/// "Reducing Activation Recomputation in Large Transformer Models", 2022; good to about a third.
pub fn memory_estimate(
    config: &BertConfig,
    num_parameters: i64,
    computing: Computing,
    micro_batch_tokens: u64,
    max_len: u64,
    masked_share: f64,
) -> f64 {
    let (h, i, heads) = (config.hidden_size as f64, config.intermediate_size as f64, config.num_attention_heads as f64);
    let Computing { precision, on_gpu, num_workers } = computing;
    let tokens = (micro_batch_tokens.max(max_len) * u64::from(num_workers)) as f64;
    let attention = if on_gpu || !precision.is_half() { 0.0 } else { 3.0 * heads * max_len as f64 };
    let activations = tokens * (16.0 * h + 2.0 * i + attention) * config.num_hidden_layers as f64;
    let logits = 3.0 * tokens * masked_share * config.vocab_size as f64;
    let (bytes_per_parameter, bytes_per_value) = if precision.is_half() { (18.0, 3.0) } else { (16.0, 4.0) };
    let bytes_per_parameter = bytes_per_parameter + 4.0 * f64::from(num_workers - 1);
    bytes_per_parameter * num_parameters as f64 + bytes_per_value * activations + 4.0 * logits
}

/// Bytes for people: `1.4 GB`.
pub fn bytes(bytes: f64) -> String {
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.0} MB", bytes / 1e6) }
}

/// Operations for people: `3.1 TFLOP`.
pub fn flops(flops: f64) -> String {
    let (scale, unit) = match flops {
        1e18.. => (1e18, "EFLOP"),
        1e15.. => (1e15, "PFLOP"),
        1e12.. => (1e12, "TFLOP"),
        _ => (1e9, "GFLOP"),
    };
    format!("{:.1} {unit}", flops / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bert, Head};
    use tch::Device;

    fn large() -> BertConfig {
        BertConfig {
            hidden_size: 1024,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            intermediate_size: 4096,
            ..BertConfig::default()
        }
    }

    #[test]
    fn flops_agree_with_the_published_table() {
        // reference: BERT-base, s 128, 20 predictions: 0.0699 T per instance; BERT-large: 0.2406 T.
        // There the last layer computes all tokens.
        let whole = Load { read: 128.0, ..Load::pretraining(128.0, 20.0) };
        let tera = |config: BertConfig| training_flops(&BertConfig { vocab_size: 30_522, ..config }, whole) / 1e12;
        let (base, large) = (tera(BertConfig::default()), tera(large()));
        assert!((base - 0.0699).abs() < 0.0002, "{base}");
        assert!((large - 0.2406).abs() < 0.0005, "{large}");
    }

    #[test]
    fn tokens_that_no_head_reads_cost_their_keys_and_values_in_the_last_layer() {
        let config = BertConfig { num_hidden_layers: 1, ..large() };
        let of = |read| training_flops(&config, Load { tokens: 100.0, squares: 1e4, predictions: 0.0, read });
        let (h, key_value) = (1024.0, 100.0 * 4.0 * 1024.0 * 1024.0);
        assert_eq!(of(0.0), 3.0 * key_value);
        let of_one = 2.0 * h * h * 2.0 + 2.0 * h * 4096.0 * 2.0 + 4.0 * 100.0 * h;
        assert!((of(1.0) / (3.0 * (key_value + of_one)) - 1.0).abs() < 1e-12);
        let heads = [Head::PreTraining, Head::SequenceClassification { num_labels: 2 }, Head::QuestionAnswering];
        assert_eq!(heads.map(|head| Load::new(head, 2.0, (30.0, 500.0), 5.0).read), [7.0, 2.0, 30.0]);
    }

    #[test]
    fn parameters_are_counted_as_a_model_has_them() {
        let config = BertConfig {
            vocab_size: 40,
            hidden_size: 16,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            intermediate_size: 24,
            max_position_embeddings: 12,
            ..BertConfig::default()
        };
        let bert = Bert::new(config.clone(), Head::PreTraining, Device::Cpu, 1).unwrap();
        assert_eq!(num_pretraining_parameters(&config), bert.parameters().num_parameters());
    }

    #[test]
    fn memory_is_of_the_size_that_published_runs_needed() {
        // NVIDIA runs BERT-large in mixed precision with micro-batches of 256 x 128 tokens on 80 GB.
        let config = large();
        let num_parameters = num_pretraining_parameters(&config);
        let estimate = |tokens, precision| {
            let computing = Computing { precision, on_gpu: true, num_workers: 1 };
            memory_estimate(&config, num_parameters, computing, tokens, 128, 20.0 / 128.0) / 1e9
        };
        assert!((35.0..80.0).contains(&estimate(32_768, Precision::Bf16)), "{}", estimate(32_768, Precision::Bf16));
        assert!(estimate(32_768, Precision::Fp32) > estimate(32_768, Precision::Bf16));
        assert!(estimate(65_536, Precision::Bf16) > 1.7 * estimate(32_768, Precision::Bf16));
    }

    #[test]
    fn a_plan_is_aligned_and_a_program_reads_its_numbers() {
        let mut plan = Plan::default();
        plan.add("a", "1");
        plan.add_value("long one", 2, "two");
        assert_eq!(plan.render(), "  a         1\n  long one  two\n");
        let mut out = Vec::new();
        plan.into_summary().print(&mut out, true).unwrap();
        assert_eq!(out, b"{\"a\":\"1\",\"long_one\":2}\n");
    }
}
