//! What a run is asked to do: a TOML file whose sections have defaults, overridden by flags, stored whole in checkpoints.

mod named;
mod optimizer;
mod preset;
mod resume;
mod sections;
mod shape;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Device;

use crate::error::{Error, Result};
use crate::metrics::answers::AnswerConfig;
use crate::optim::LossScale;

pub use named::{NAMED, NamedRecipe, read_or_named};
pub use optimizer::{Curve, OptimizerSection, Use};
pub use preset::Preset;
pub use resume::{check_resume, settings};
pub use sections::{
    FinetuneData, FinetuneRecipe, FinetuneSchedule, MaskingMode, ModelSection, PretrainData, PretrainRecipe,
    PretrainSchedule, RunSection,
};

/// What the two kinds of recipe have in common.
pub trait Recipe: Default + Clone + PartialEq + Serialize + DeserializeOwned {
    /// Settings of the run itself.
    fn run_mut(&mut self) -> &mut RunSection;

    /// Fills in what depends on the `device` or on other settings, so that a checkpoint stores what was used.
    fn settle(&mut self, device: Device);

    /// Checks ranges; the error names the setting, the range and the value.
    fn validate(&self) -> Result<()>;

    /// Reads a TOML file; sections and settings that are absent keep their defaults.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a setting nobody knows; the message says which line.
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        parse(path, &text)
    }
}

/// The recipe that is the `text` of `path`.
fn parse<R: Recipe>(path: &Path, text: &str) -> Result<R> {
    toml::from_str(text).map_err(|error| Error::file(path, one_line(text, &error)))
}

impl Recipe for PretrainRecipe {
    fn run_mut(&mut self) -> &mut RunSection {
        &mut self.run
    }

    fn settle(&mut self, device: Device) {
        self.optimizer.settle(Use::Pretrain);
        self.data.micro_batch_tokens.get_or_insert(if device == Device::Cpu { 2048 } else { 32_768 });
    }

    fn validate(&self) -> Result<()> {
        let Self { run, model, data, optimizer, schedule } = self;
        run.validate()?;
        model.as_ref().map_or(Ok(()), ModelSection::validate)?;
        from_1_to("data.global_batch_size", data.global_batch_size, MOST_INSTANCES)?;
        at_least_1("data.micro_batch_tokens", data.micro_batch_tokens.unwrap_or(1))?;
        at_least_1("data.held_out_every", data.held_out_every)?;
        at_least_1("data.held_out_instances", data.held_out_instances)?;
        at_least_1("data.max_predictions_per_seq", data.max_predictions_per_seq.unwrap_or(1))?;
        if let Some(share) = data.masked_lm_prob {
            within("data.masked_lm_prob", share, 0.0, 1.0)?;
        }
        optimizer.validate()?;
        at_least_1("schedule.steps", schedule.steps)?;
        within("schedule.warmup_fraction", schedule.warmup_fraction, 0.0, 1.0)
    }
}

impl Recipe for FinetuneRecipe {
    fn run_mut(&mut self) -> &mut RunSection {
        &mut self.run
    }

    fn settle(&mut self, device: Device) {
        self.optimizer.settle(Use::Finetune);
        self.data.micro_batch_tokens.get_or_insert(if device == Device::Cpu { 2048 } else { 16_384 });
    }

    fn validate(&self) -> Result<()> {
        let Self { run, data, optimizer, schedule, squad } = self;
        run.validate()?;
        from_1_to("data.global_batch_size", data.global_batch_size, MOST_INSTANCES)?;
        at_least_1("data.micro_batch_tokens", data.micro_batch_tokens.unwrap_or(1))?;
        at_least_1("data.evaluation_batch_tokens", data.evaluation_batch_tokens)?;
        optimizer.validate()?;
        from_1_to("schedule.epochs", schedule.epochs, 1_000_000)?;
        within("schedule.warmup_fraction", schedule.warmup_fraction, 0.0, 1.0)?;
        validate_answers(squad)
    }
}

/// Checks what `evaluate` and `predict` are given.
pub fn validate_evaluation(run: &RunSection, batch_tokens: u64, answers: &AnswerConfig) -> Result<()> {
    run.validate()?;
    at_least_1("batch_tokens", batch_tokens)?;
    validate_answers(answers)
}

fn validate_answers(answers: &AnswerConfig) -> Result<()> {
    at_least_1("squad.n_best_size", answers.n_best_size as u64)?;
    at_least_1("squad.max_answer_length", answers.max_answer_length as u64)?;
    let threshold = answers.null_score_diff_threshold;
    if threshold.is_finite() {
        return Ok(());
    }
    Err(Error::Invalid(format!("squad.null_score_diff_threshold: expected a finite number, found {threshold}")))
}

impl RunSection {
    fn validate(&self) -> Result<()> {
        at_least_1("run.log_every", self.log_every)?;
        at_least_1("run.checkpoint_every", self.checkpoint_every)?;
        at_least_1("run.keep_checkpoints", self.keep_checkpoints as u64)?;
        at_least_1("run.max_nonfinite_steps", self.max_nonfinite_steps)?;
        within("run.initial_loss_scale", self.initial_loss_scale, 1.0, LossScale::MOST)?;
        at_least_1("run.loss_scale_growth_interval", self.loss_scale_growth_interval)?;
        within("run.max_loss_spike", self.max_loss_spike.unwrap_or(2.0), 1.0, f64::MAX)?;
        if let Some(kept) = self.keep_checkpoint_every
            && (kept == 0 || !kept.is_multiple_of(self.checkpoint_every))
        {
            let every = self.checkpoint_every;
            return Err(Error::Invalid(format!(
                "run.keep_checkpoint_every: expected a multiple of run.checkpoint_every ({every}), found {kept}"
            )));
        }
        from_1_to("run.threads", self.threads.map_or(1, u64::from), 4096)
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

/// Instances of a global batch at most: far above any use, far below where counters end.
const MOST_INSTANCES: u64 = 1 << 32;

fn from_1_to(name: &str, value: u64, most: u64) -> Result<()> {
    if !(1..=most).contains(&value) {
        return Err(Error::Invalid(format!("{name}: expected 1 to {most}, found {value}")));
    }
    Ok(())
}

fn at_least_1(name: &str, value: u64) -> Result<()> {
    if value == 0 {
        return Err(Error::Invalid(format!("{name}: expected at least 1, found {value}")));
    }
    Ok(())
}

fn at_least_zero(name: &str, value: f64) -> Result<()> {
    if !(value >= 0.0 && value.is_finite()) {
        return Err(Error::Invalid(format!("{name}: expected a number from 0 up, found {value}")));
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
        assert_eq!(recipe.optimizer, OptimizerSection::default());
        recipe.validate().unwrap();
    }

    #[test]
    fn a_misspelt_setting_is_an_error_that_names_the_line() {
        let (_dir, path) = write("[schedule]\nsteps = 5\nwarmup = 0.1\n");
        let message = PretrainRecipe::read(&path).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "{}: line 3: unknown field `warmup`, expected one of `steps`, `warmup_fraction`, `curve`",
                path.display()
            )
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
    fn a_recipe_stored_before_there_was_a_choice_of_optimizers_is_what_it_was() {
        let stored =
            r#"{"run": {"seed": 7}, "optimizer": {"learning_rate": 0.006, "epsilon": 1e-6}, "schedule": {"steps": 9}}"#;
        let mut recipe: PretrainRecipe = serde_json::from_str(stored).unwrap();
        recipe.settle(Device::Cpu);
        let mut expected = PretrainRecipe::default();
        (expected.run.seed, expected.schedule.steps) = (7, 9);
        expected.settle(Device::Cpu);
        assert_eq!(recipe, expected);
        assert_eq!(recipe.optimizer.config().kind, crate::optim::OptimizerKind::Lamb);
    }

    #[test]
    fn a_recipe_survives_its_stored_form() {
        let mut recipe = PretrainRecipe::default();
        recipe.optimizer.learning_rate = Some(0.1 + 0.2);
        let text = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<PretrainRecipe>(&text).unwrap(), recipe);
    }
}
