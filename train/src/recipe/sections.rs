//! The sections of a recipe and their defaults.

use serde::{Deserialize, Serialize};

use crate::metrics::answers::AnswerConfig;

/// Settings of the run itself; none of them changes the weights, except the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSection {
    /// Seed of the initial weights, the order of the data, dynamic masking and dropout. Default 42.
    pub seed: u64,
    /// `auto` (the GPU if there is one), `cpu`, `cuda` or `cuda:N`. Default `auto`.
    pub device: String,
    /// Threads of libtorch on the CPU. Default: all cores. Resuming with another number is no longer bit for bit.
    pub threads: Option<u32>,
    /// Steps between rows of metrics.jsonl. Default 10.
    pub log_every: u64,
    /// Steps between checkpoints; there is always one at the end. Default 500.
    pub checkpoint_every: u64,
    /// Checkpoints kept, the newest ones. Default 2.
    pub keep_checkpoints: usize,
    /// Non-finite steps in a row that end the run. Default 10.
    pub max_nonfinite_steps: u64,
    /// Write event files for TensorBoard beside metrics.jsonl. Default true.
    pub tensorboard: bool,
    /// Measure the machine's matrix products for 0.2 s at start, and log the share of that speed that training reaches (MFU).
    /// Default true.
    pub mfu: bool,
}

impl Default for RunSection {
    fn default() -> Self {
        Self {
            seed: 42,
            device: "auto".to_owned(),
            threads: None,
            log_every: 10,
            checkpoint_every: 500,
            keep_checkpoints: 2,
            max_nonfinite_steps: 10,
            tensorboard: true,
            mfu: true,
        }
    }
}

/// The shape of a new BERT; with `--init` the checkpoint's config.json counts instead. Default: BERT-base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// H, width of the encoder.
    pub hidden_size: i64,
    /// Number of encoder layers.
    pub num_hidden_layers: i64,
    /// N, attention heads per layer; divides `hidden_size`.
    pub num_attention_heads: i64,
    /// Width of the feed-forward layers. Default: four times `hidden_size`.
    pub intermediate_size: Option<i64>,
    /// Longest sequence the model has positions for, in tokens.
    pub max_position_embeddings: i64,
    /// `gelu` (erf form) or `gelu_new` (tanh form).
    pub hidden_act: String,
    /// Dropout after embeddings and sublayers.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention weights.
    pub attention_probs_dropout_prob: f64,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: None,
            max_position_embeddings: 512,
            hidden_act: "gelu".to_owned(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            initializer_range: 0.02,
        }
    }
}

/// When tokens are masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskingMode {
    /// Static if the shards hold masks, dynamic if not.
    #[default]
    Auto,
    /// The masks stored in the shards, the same in every epoch.
    Static,
    /// Fresh masks in every epoch.
    Dynamic,
}

/// How pre-training instances reach the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainData {
    /// Instances per step (optimizer update), over all micro-batches. Default 256.
    pub global_batch_size: u64,
    /// Bound on sequences times longest sequence of one forward and backward pass. Default: 1024 on a CPU, whose caches
    /// like it small, 32,768 on a GPU.
    pub micro_batch_tokens: Option<u64>,
    /// `auto`, `static` or `dynamic`. Default `auto`.
    pub masking: MaskingMode,
    /// Share of tokens to predict, for dynamic masking. Default: the dataset's own setting, else 0.15.
    pub masked_lm_prob: Option<f64>,
    /// Most positions to predict per instance, for dynamic masking. Default: the dataset's own setting, else 20.
    pub max_predictions_per_seq: Option<u64>,
    /// Predict all pieces of a word or none, for dynamic masking. Default: the dataset's own setting, else false.
    pub whole_word_masking: Option<bool>,
    /// Steps between measurements on the held-out dataset; there is always one at the end. Default 500.
    pub held_out_every: u64,
    /// Held-out instances measured, the first ones. Default 1000.
    pub held_out_instances: u64,
}

impl PretrainData {
    /// Bound on the tokens of a micro-batch, once settled.
    ///
    /// # Panics
    /// It was not settled.
    pub fn micro_batch_tokens(&self) -> u64 {
        self.micro_batch_tokens.expect("a run settles it first")
    }
}

impl Default for PretrainData {
    fn default() -> Self {
        Self {
            global_batch_size: 256,
            micro_batch_tokens: None,
            masking: MaskingMode::Auto,
            masked_lm_prob: None,
            max_predictions_per_seq: None,
            whole_word_masking: None,
            held_out_every: 500,
            held_out_instances: 1000,
        }
    }
}

/// LAMB (You et al., 2020) with the defaults of NVIDIA's BERT pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LambSection {
    /// Peak learning rate. Default 6e-3 (phase 1 at a global batch of 65,536).
    pub learning_rate: f64,
    /// Decoupled weight decay, not on biases and LayerNorm. Default 0.01.
    pub weight_decay: f64,
    /// The gradient is scaled down to this L2 norm. Default 1.0.
    pub max_grad_norm: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta2: f64,
    /// Added to the denominator. Default 1e-6.
    pub epsilon: f64,
}

impl Default for LambSection {
    fn default() -> Self {
        Self { learning_rate: 6e-3, weight_decay: 0.01, max_grad_norm: 1.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-6 }
    }
}

/// Length and learning-rate curve of pre-training: linear warm-up, then `sqrt(1 - progress)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainSchedule {
    /// Optimizer updates. Default 7038.
    pub steps: u64,
    /// Share of them that warms up. Default 0.2843.
    pub warmup_fraction: f64,
}

impl Default for PretrainSchedule {
    fn default() -> Self {
        Self { steps: 7038, warmup_fraction: 0.2843 }
    }
}

/// Everything that decides a pre-training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainRecipe {
    /// Seed, device, logging, checkpoints.
    pub run: RunSection,
    /// Shape of a new model; leave it out with `--init`.
    pub model: Option<ModelSection>,
    /// Batches and masking.
    pub data: PretrainData,
    /// LAMB.
    pub optimizer: LambSection,
    /// Steps and warm-up.
    pub schedule: PretrainSchedule,
}

/// How labelled examples reach the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneData {
    /// Examples per step (optimizer update). Default 32.
    pub global_batch_size: u64,
    /// Bound on sequences times longest sequence of one forward and backward pass. Default: 384 on a CPU, where less
    /// padding is worth more than larger matrices, 16,384 on a GPU.
    pub micro_batch_tokens: Option<u64>,
    /// The same bound for evaluation, which keeps no activations. Default 4096.
    pub evaluation_batch_tokens: u64,
}

impl FinetuneData {
    /// Bound on the tokens of a micro-batch, once settled.
    ///
    /// # Panics
    /// It was not settled.
    pub fn micro_batch_tokens(&self) -> u64 {
        self.micro_batch_tokens.expect("a run settles it first")
    }
}

impl Default for FinetuneData {
    fn default() -> Self {
        Self { global_batch_size: 32, micro_batch_tokens: None, evaluation_batch_tokens: 4096 }
    }
}

/// AdamW with decoupled weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamwSection {
    /// Peak learning rate. Default 5e-5.
    pub learning_rate: f64,
    /// Decoupled weight decay, not on biases and LayerNorm. Default 0.01.
    pub weight_decay: f64,
    /// The gradient is scaled down to this L2 norm. Default 1.0.
    pub max_grad_norm: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta2: f64,
    /// Added to the denominator. Default 1e-8.
    pub epsilon: f64,
}

impl Default for AdamwSection {
    fn default() -> Self {
        Self { learning_rate: 5e-5, weight_decay: 0.01, max_grad_norm: 1.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// Length and learning-rate curve of fine-tuning: linear warm-up, then linear decay to 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneSchedule {
    /// Passes over the training dataset. Default 3.
    pub epochs: u64,
    /// Share of the steps that warms up. Default 0.1.
    pub warmup_fraction: f64,
}

impl Default for FinetuneSchedule {
    fn default() -> Self {
        Self { epochs: 3, warmup_fraction: 0.1 }
    }
}

/// Everything that decides a fine-tuning run; the model's shape comes from the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneRecipe {
    /// Seed, device, logging, checkpoints.
    pub run: RunSection,
    /// Batches.
    pub data: FinetuneData,
    /// AdamW.
    pub optimizer: AdamwSection,
    /// Epochs and warm-up.
    pub schedule: FinetuneSchedule,
    /// How SQuAD's answers are searched.
    pub squad: AnswerConfig,
}
