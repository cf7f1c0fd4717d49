//! The sections of a recipe and their defaults.

use serde::{Deserialize, Serialize};

use super::optimizer::{Curve, OptimizerSection};
use crate::metrics::answers::AnswerConfig;
use crate::optim::LossScale;
use crate::precision::Precision;

/// Settings of the run itself: where and how it computes, what it writes, when it gives up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSection {
    /// Seed of the initial weights, the order of the data, dynamic masking and dropout. Default 42.
    pub seed: u64,
    /// `auto` (the GPU if there is one), `cpu`, `cuda` or `cuda:N`. Default `auto`.
    pub device: String,
    /// Threads on the CPU. Default: all cores, shared evenly with processes on the same cores. In fp32, and where there are no
    /// other processes, they make up to 4 workers that compute micro-batches side by side. Resuming with another number is no longer bit for bit.
    pub threads: Option<u32>,
    /// `auto` (bf16 on a GPU that has it, else fp32), `fp32`, `tf32`, `bf16` or `fp16`. Default `auto`. Parameters, moments,
    /// gradients and losses are fp32 whatever it is. Resuming with another is no longer bit for bit.
    pub precision: Precision,
    /// On a GPU: kernels that give the same bits each time, without which resuming there is not bit for bit. They are slower.
    /// Default false. A CPU always computes so.
    pub deterministic: bool,
    /// fp16: what the loss is multiplied with at first. Default 65,536.
    pub initial_loss_scale: f64,
    /// fp16: updates without overflow after which the factor doubles; an overflow halves it. Default 2000.
    pub loss_scale_growth_interval: u64,
    /// Steps between rows of metrics.jsonl. Default 10.
    pub log_every: u64,
    /// Steps between checkpoints; there is always one at the end. Default 500.
    pub checkpoint_every: u64,
    /// Checkpoints kept, the newest ones. Default 2.
    pub keep_checkpoints: usize,
    /// Steps between checkpoints that are kept for ever beside these; a multiple of `checkpoint_every`. Default: none.
    pub keep_checkpoint_every: Option<u64>,
    /// Skipped steps in a row (loss or gradient not finite, or a loss spike) that end the run. Default 10.
    pub max_nonfinite_steps: u64,
    /// A step whose loss is more than this many times the mean of recent ones is skipped. Default: no limit.
    pub max_loss_spike: Option<f64>,
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
            precision: Precision::Auto,
            deterministic: false,
            initial_loss_scale: LossScale::INITIAL,
            loss_scale_growth_interval: LossScale::GROWTH_INTERVAL,
            log_every: 10,
            checkpoint_every: 500,
            keep_checkpoints: 2,
            keep_checkpoint_every: None,
            max_nonfinite_steps: 10,
            max_loss_spike: None,
            tensorboard: true,
            mfu: true,
        }
    }
}

/// The shape of a new BERT. Default: BERT-base. With `--init` the checkpoint decides the shape; sizes given here must then
/// agree with it, and dropout is taken from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// H, width of the encoder. Default 768.
    pub hidden_size: i64,
    /// Number of encoder layers. Default 12.
    pub num_hidden_layers: i64,
    /// N, attention heads per layer; divides `hidden_size`. Default 12.
    pub num_attention_heads: i64,
    /// Width of the feed-forward layers. Default: four times `hidden_size`.
    pub intermediate_size: Option<i64>,
    /// Longest sequence the model has positions for, in tokens. Default 512, room for phase 2.
    pub max_position_embeddings: i64,
    /// `gelu` (erf form) or `gelu_new` (tanh form). Default `gelu`.
    pub hidden_act: String,
    /// Dropout after embeddings and sublayers. Default 0.1.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention weights. Default 0.1.
    pub attention_probs_dropout_prob: f64,
    /// Standard deviation of the initial weights. Default 0.02.
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
    /// Bound on sequences times longest sequence of one forward and backward pass. Default: 2048 on a CPU, where each
    /// worker has one at a time, 32,768 on a GPU.
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

/// Length and learning-rate curve of pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainSchedule {
    /// Optimizer updates. Default 7038.
    pub steps: u64,
    /// Share of them that warms up. Default 0.2843.
    pub warmup_fraction: f64,
    /// `polynomial`, `linear`, `cosine` or `constant`. Default `polynomial`.
    pub curve: Curve,
}

impl Default for PretrainSchedule {
    fn default() -> Self {
        Self { steps: 7038, warmup_fraction: 0.2843, curve: Curve::Polynomial }
    }
}

/// Everything that decides a pre-training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainRecipe {
    /// Seed, device, logging, checkpoints.
    pub run: RunSection,
    /// Shape of the model; with `--init` it may be left out.
    pub model: Option<ModelSection>,
    /// Batches and masking.
    pub data: PretrainData,
    /// LAMB or AdamW.
    pub optimizer: OptimizerSection,
    /// Steps and warm-up.
    pub schedule: PretrainSchedule,
}

/// How labelled examples reach the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneData {
    /// Examples per step (optimizer update). Default 32.
    pub global_batch_size: u64,
    /// Bound on sequences times longest sequence of one forward and backward pass. Default: 2048 on a CPU, where each
    /// worker has one at a time, 16,384 on a GPU.
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

/// Length and learning-rate curve of fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneSchedule {
    /// Passes over the training dataset. Default 3.
    pub epochs: u64,
    /// Share of the steps that warms up. Default 0.1.
    pub warmup_fraction: f64,
    /// `polynomial`, `linear`, `cosine` or `constant`. Default `linear`.
    pub curve: Curve,
}

impl Default for FinetuneSchedule {
    fn default() -> Self {
        Self { epochs: 3, warmup_fraction: 0.1, curve: Curve::Linear }
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
    /// AdamW or LAMB.
    pub optimizer: OptimizerSection,
    /// Epochs and warm-up.
    pub schedule: FinetuneSchedule,
    /// How SQuAD's answers are searched.
    pub squad: AnswerConfig,
}
