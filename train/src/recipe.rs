//! What a run is asked to do: a TOML file whose sections have defaults, overridden by flags, stored whole in checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::squad::AnswerConfig;

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

/// What the two kinds of recipe have in common.
pub trait Recipe: Default + Clone + PartialEq + Serialize + DeserializeOwned {
    /// Settings of the run itself.
    fn run_mut(&mut self) -> &mut RunSection;

    /// Bound on the tokens of a micro-batch, and its default on a CPU and on a GPU.
    fn micro_batch_tokens_mut(&mut self) -> (&mut Option<u64>, [u64; 2]);

    /// Checks ranges; the error names the setting, the range and the value.
    fn validate(&self) -> Result<()>;

    /// Reads a TOML file; sections and settings that are absent keep their defaults.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a setting nobody knows; the message says which line.
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        toml::from_str(&text).map_err(|error| Error::file(path, one_line(&text, &error)))
    }
}

impl Recipe for PretrainRecipe {
    fn run_mut(&mut self) -> &mut RunSection {
        &mut self.run
    }

    fn micro_batch_tokens_mut(&mut self) -> (&mut Option<u64>, [u64; 2]) {
        (&mut self.data.micro_batch_tokens, [1024, 32_768])
    }

    fn validate(&self) -> Result<()> {
        let Self { run, model, data, optimizer, schedule } = self;
        run.validate()?;
        model.as_ref().map_or(Ok(()), ModelSection::validate)?;
        at_least_1("data.global_batch_size", data.global_batch_size)?;
        at_least_1("data.micro_batch_tokens", data.micro_batch_tokens.unwrap_or(1))?;
        at_least_1("data.held_out_every", data.held_out_every)?;
        at_least_1("data.held_out_instances", data.held_out_instances)?;
        if let Some(share) = data.masked_lm_prob {
            within("data.masked_lm_prob", share, 0.0, 1.0)?;
        }
        validate_optimizer(optimizer.learning_rate, optimizer.weight_decay, optimizer.max_grad_norm)?;
        validate_moments(optimizer.beta1, optimizer.beta2, optimizer.epsilon)?;
        at_least_1("schedule.steps", schedule.steps)?;
        within("schedule.warmup_fraction", schedule.warmup_fraction, 0.0, 1.0)
    }
}

impl Recipe for FinetuneRecipe {
    fn run_mut(&mut self) -> &mut RunSection {
        &mut self.run
    }

    fn micro_batch_tokens_mut(&mut self) -> (&mut Option<u64>, [u64; 2]) {
        (&mut self.data.micro_batch_tokens, [384, 16_384])
    }

    fn validate(&self) -> Result<()> {
        let Self { run, data, optimizer, schedule, squad } = self;
        run.validate()?;
        at_least_1("data.global_batch_size", data.global_batch_size)?;
        at_least_1("data.micro_batch_tokens", data.micro_batch_tokens.unwrap_or(1))?;
        at_least_1("data.evaluation_batch_tokens", data.evaluation_batch_tokens)?;
        validate_optimizer(optimizer.learning_rate, optimizer.weight_decay, optimizer.max_grad_norm)?;
        validate_moments(optimizer.beta1, optimizer.beta2, optimizer.epsilon)?;
        at_least_1("schedule.epochs", schedule.epochs)?;
        within("schedule.warmup_fraction", schedule.warmup_fraction, 0.0, 1.0)?;
        at_least_1("squad.n_best_size", squad.n_best_size as u64)?;
        at_least_1("squad.max_answer_length", squad.max_answer_length as u64)
    }
}

impl RunSection {
    fn validate(&self) -> Result<()> {
        at_least_1("run.log_every", self.log_every)?;
        at_least_1("run.checkpoint_every", self.checkpoint_every)?;
        at_least_1("run.keep_checkpoints", self.keep_checkpoints as u64)?;
        at_least_1("run.max_nonfinite_steps", self.max_nonfinite_steps)?;
        at_least_1("run.threads", self.threads.map_or(1, u64::from))
    }
}

impl ModelSection {
    fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("model.hidden_size", self.hidden_size),
            ("model.num_hidden_layers", self.num_hidden_layers),
            ("model.num_attention_heads", self.num_attention_heads),
            ("model.intermediate_size", self.intermediate_size.unwrap_or(1)),
            ("model.max_position_embeddings", self.max_position_embeddings),
        ] {
            at_least_1(name, u64::try_from(value).unwrap_or(0))?;
        }
        if self.hidden_size % self.num_attention_heads != 0 {
            return Err(Error::Invalid(format!(
                "model.num_attention_heads: expected a divisor of hidden_size {}, found {}",
                self.hidden_size, self.num_attention_heads
            )));
        }
        within("model.hidden_dropout_prob", self.hidden_dropout_prob, 0.0, 1.0)?;
        within("model.attention_probs_dropout_prob", self.attention_probs_dropout_prob, 0.0, 1.0)?;
        within("model.initializer_range", self.initializer_range, 0.0, 10.0)
    }
}

fn validate_optimizer(learning_rate: f64, weight_decay: f64, max_grad_norm: f64) -> Result<()> {
    within("optimizer.learning_rate", learning_rate, 0.0, 1e3)?;
    within("optimizer.weight_decay", weight_decay, 0.0, 1e3)?;
    within("optimizer.max_grad_norm", max_grad_norm, f64::MIN_POSITIVE, f64::MAX)
}

fn validate_moments(beta1: f64, beta2: f64, epsilon: f64) -> Result<()> {
    const BELOW_1: f64 = 1.0 - f64::EPSILON;
    within("optimizer.beta1", beta1, 0.0, BELOW_1)?;
    within("optimizer.beta2", beta2, 0.0, BELOW_1)?;
    within("optimizer.epsilon", epsilon, f64::MIN_POSITIVE, 1.0)
}

fn at_least_1(name: &str, value: u64) -> Result<()> {
    if value == 0 {
        return Err(Error::Invalid(format!("{name}: expected at least 1, found less")));
    }
    Ok(())
}

fn within(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if !(low..=high).contains(&value) {
        return Err(Error::Invalid(format!("{name}: expected a number between {low} and {high}, found {value}")));
    }
    Ok(())
}

/// `toml` draws a picture of several lines; people and scripts get one line with its number.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    format!("line {line}: {}", error.message().replace('\n', ", "))
}

/// Settings that may change when a run is resumed, because they do not change what it computes.
const FREE_ON_RESUME: [&str; 10] = [
    "run.device",
    "run.threads",
    "run.log_every",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.max_nonfinite_steps",
    "data.micro_batch_tokens",
    "data.evaluation_batch_tokens",
    "data.held_out_every",
    "data.held_out_instances",
];

/// Of the free settings, those after which the run goes on correctly but no longer bit for bit.
const NOT_BIT_FOR_BIT: [&str; 3] = ["run.device", "run.threads", "data.micro_batch_tokens"];

/// Checks that a run begun with `stored` may go on with `now`, and returns a notice per change that gives up
/// bit-for-bit continuation. `path` is the checkpoint, for the error.
///
/// # Errors
/// A setting that decides the result differs.
pub fn check_resume<R: Recipe>(path: &Path, stored: &R, now: &R) -> Result<Vec<String>> {
    let flat = |recipe: &R| flatten(&serde_json::to_value(recipe).expect("a recipe is plain data"));
    let (stored, now) = (flat(stored), flat(now));
    let absent = "nothing".to_owned();
    let keys: BTreeSet<&String> = stored.keys().chain(now.keys()).collect();
    let mut notices = Vec::new();
    for key in keys.into_iter().cloned() {
        let value = |of: &BTreeMap<String, String>| of.get(&key).unwrap_or(&absent).clone();
        let (expected, found) = (value(&stored), value(&now));
        if expected == found {
            continue;
        }
        if !FREE_ON_RESUME.contains(&key.as_str()) {
            return Err(Error::ResumeMismatch { path: path.to_owned(), key, expected, found });
        }
        if NOT_BIT_FOR_BIT.contains(&key.as_str()) {
            notices.push(format!("{key} was {expected}, is {found}: the run goes on, but not bit for bit"));
        }
    }
    Ok(notices)
}

/// `section.key` and value of every setting.
fn flatten(recipe: &serde_json::Value) -> BTreeMap<String, String> {
    let section = |name: &String, settings: &serde_json::Value| {
        let settings = settings.as_object().into_iter().flatten();
        settings.map(|(key, value)| (format!("{name}.{key}"), value.to_string())).collect::<Vec<_>>()
    };
    recipe.as_object().into_iter().flatten().flat_map(|(name, settings)| section(name, settings)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn absent_settings_keep_their_defaults() {
        let (_dir, path) = write("[schedule]\nsteps = 5\n[model]\nhidden_size = 96\n");
        let recipe = PretrainRecipe::read(&path).unwrap();
        let model = recipe.model.as_ref().unwrap();
        assert_eq!((recipe.schedule.steps, model.hidden_size, model.num_hidden_layers), (5, 96, 12));
        assert_eq!(recipe.optimizer, LambSection::default());
        recipe.validate().unwrap();
    }

    #[test]
    fn a_misspelt_setting_is_an_error_that_names_the_line() {
        let (_dir, path) = write("[schedule]\nsteps = 5\nwarmup = 0.1\n");
        let message = PretrainRecipe::read(&path).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("{}: line 3: unknown field `warmup`, expected `steps` or `warmup_fraction`", path.display())
        );
    }

    #[test]
    fn heads_must_divide_the_width() {
        let model = ModelSection { num_attention_heads: 7, ..ModelSection::default() };
        let recipe = PretrainRecipe { model: Some(model), ..PretrainRecipe::default() };
        assert_eq!(
            recipe.validate().unwrap_err().to_string(),
            "model.num_attention_heads: expected a divisor of hidden_size 768, found 7"
        );
    }

    #[test]
    fn a_recipe_survives_its_stored_form() {
        let mut recipe = PretrainRecipe::default();
        recipe.optimizer.learning_rate = 0.1 + 0.2;
        let text = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<PretrainRecipe>(&text).unwrap(), recipe);
    }

    #[test]
    fn resuming_may_log_differently_but_not_learn_differently() {
        let stored = FinetuneRecipe::default();
        let mut now = stored.clone();
        now.run.log_every = 1;
        assert!(check_resume(Path::new("c"), &stored, &now).unwrap().is_empty());
        now.run.threads = Some(1);
        let notices = check_resume(Path::new("c"), &stored, &now).unwrap();
        assert_eq!(notices, ["run.threads was null, is 1: the run goes on, but not bit for bit"]);
        now.optimizer.learning_rate = 1e-5;
        assert_eq!(
            check_resume(Path::new("c"), &stored, &now).unwrap_err().to_string(),
            "c: expected optimizer.learning_rate = 0.00005, as this run was started, found 0.00001; \
             resume with the same settings or start anew"
        );
    }
}
