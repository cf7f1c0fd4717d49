//! The loop that pre-training and fine-tuning share: batch, gradient, update, log, measure, checkpoint, stop.

mod guard;
mod window;

use std::ops::AddAssign;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cloze_formats::stream::{Gather, GlobalBatch, Sequences, Stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::checkpoint::{self, DataIdentity, Keep, Position, Snapshot};
use crate::error::{Error, Result};
use crate::log::MetricsLog;
use crate::model::Bert;
use crate::optim::{LossScale, Optimizer, Schedule};
use crate::precision::Precision;
use crate::progress::Progress;
use crate::recipe::RunSection;
use crate::run::{RunDir, Signals};
pub use guard::RecentLoss;

use guard::Fault;
use window::{Step, Window};

/// What a batch of any task has.
pub trait Batch {
    /// The packed sequences.
    fn sequences(&self) -> &Sequences;
}

/// What differs between tasks.
pub trait Task {
    /// Makes batches from the dataset.
    type Gather: Gather<Batch: Batch>;
    /// Losses and counts, summed over instances.
    type Sums: AddAssign + Default + Serialize + DeserializeOwned;

    /// Name in state.json and on the progress bar.
    fn name(&self) -> &'static str;

    /// Leaves the gradient of the global batch in the model's flat gradient.
    fn step(&mut self, bert: &mut Bert, batch: &GlobalBatch<<Self::Gather as Gather>::Batch>) -> Result<Self::Sums>;

    /// The loss that is minimised.
    fn loss(&self, sums: &Self::Sums) -> f64;

    /// Means for the log.
    fn fields(&self, sums: &Self::Sums) -> Map<String, Value>;

    /// The most important means, for people.
    fn words(&self, sums: &Self::Sums) -> String;

    /// Whether to measure at this position (once per position: the trainer remembers).
    fn is_due(&self, position: &Position, total_steps: u64) -> bool;

    /// Measures the model on held-out data; `None` if a signal came first.
    fn measure(&mut self, bert: &Bert, signals: &Signals) -> Result<Option<Measurement>>;
}

/// Scores on held-out data.
#[derive(Clone, Debug, Default)]
pub struct Measurement {
    /// `held_out` or `evaluation`.
    pub kind: &'static str,
    /// For the log.
    pub fields: Map<String, Value>,
    /// For people.
    pub words: String,
}

/// Everything a run needs beside its task.
pub struct Trainer<'a> {
    /// Where the run writes.
    pub run: &'a RunDir,
    /// Intervals.
    pub settings: &'a RunSection,
    /// The resolved recipe, for checkpoints.
    pub recipe: Value,
    /// The model.
    pub bert: Bert,
    /// Its optimizer.
    pub optimizer: Box<dyn Optimizer>,
    /// Learning rate by step.
    pub schedule: Schedule,
    /// Updates to make.
    pub total_steps: u64,
    /// What is learnt from.
    pub data: DataIdentity,
    /// Bytes of vocab.txt.
    pub vocabulary: Vec<u8>,
    /// Where the run stands.
    pub position: Position,
    /// The checkpoint it was resumed from.
    pub saved: Option<Saved>,
    /// Asks the run to stop.
    pub signals: Signals,
}

/// The newest checkpoint of a run.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Its directory.
    pub dir: PathBuf,
    /// The recipe in it.
    pub recipe: Value,
    /// Where the run stood.
    pub position: Position,
    /// What it had not yet logged.
    pub window: Value,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it stood.
    pub position: Position,
    /// The signal that stopped it before its end.
    pub stopped_by: Option<i32>,
    /// Its newest checkpoint.
    pub checkpoint: PathBuf,
}

impl Trainer<'_> {
    /// Trains to the end, or until a signal; the newest checkpoint is then at the position returned.
    ///
    /// # Errors
    /// Damaged data, a full disk, too many non-finite steps in a row. Published checkpoints are intact. Where data cannot
    /// be read or the model not be measured, what was learnt until then is saved.
    pub fn train<T: Task>(mut self, task: &mut T, stream: &Arc<Stream<T::Gather>>) -> Result<(Bert, Outcome)> {
        let mut log = MetricsLog::open(self.run.path(), self.position.step, self.position.measured_step)?;
        let mut progress = Progress::start(task.name(), self.position.step, self.total_steps);
        let mut loader = stream.load(self.position.cursor);
        // Steps that the resumed checkpoint has behind it but the log has not told of.
        let mut window: Window<T::Sums> =
            self.saved.as_ref().and_then(|saved| serde_json::from_value(saved.window.clone()).ok()).unwrap_or_default();
        self.position.loss_scale = (self.settings.precision == Precision::Fp16)
            .then(|| self.position.loss_scale.unwrap_or(LossScale::new(self.settings.initial_loss_scale)));
        let ended = loop {
            let measured = match self.is_measurement_due(task) {
                false => Ok(true),
                true => {
                    // Measuring may fail, for reasons that have nothing to do with what was learnt.
                    self.save(task, &window)?;
                    self.measure(task, &mut log, &window, &progress)
                }
            };
            let interrupted = match measured {
                Ok(measured) => !measured,
                Err(error) => break Err(error),
            };
            let done = self.position.step == self.total_steps;
            if let Some(signal) = self.signals.received().filter(|_| interrupted || !done) {
                break Ok(Some(signal));
            }
            if done {
                break Ok(None);
            }
            if self.is_checkpoint_due() {
                self.save(task, &window)?;
            }
            let started = Instant::now();
            let batch = match loader.next().expect("a shuffled stream goes on until an error") {
                Ok(batch) => batch,
                Err(error) => break Err(error.into()),
            };
            let updated = self.step(task, &batch, started, &mut window, &progress)?;
            progress.update(self.position.step, || self.words(task, &window));
            if updated && (self.position.step.is_multiple_of(self.settings.log_every) || self.position.step == 1) {
                self.log(task, &mut log, &mut window, stream.num_rows())?;
            }
        };
        // A run that is to go on keeps the steps since its last row in its checkpoint: its rows are those of one that never
        // stopped.
        if !window.is_empty() && !matches!(ended, Ok(Some(_))) {
            self.log(task, &mut log, &mut window, stream.num_rows())?;
        }
        let stopped_by = match ended {
            Ok(stopped_by) => stopped_by,
            Err(error) => {
                if self.position.step > 0
                    && let Err(unsaved) = self.save(task, &window)
                {
                    progress.note(&unsaved.to_string());
                }
                return Err(error);
            }
        };
        let checkpoint = self.save(task, &window)?;
        progress.finish();
        Ok((self.bert, Outcome { position: self.position, stopped_by, checkpoint }))
    }

    /// Not again while steps are skipped: should they lead nowhere, older checkpoints are what is left.
    fn is_checkpoint_due(&self) -> bool {
        let Position { step, num_skipped_in_a_row, .. } = self.position;
        step > 0 && step.is_multiple_of(self.settings.checkpoint_every) && num_skipped_in_a_row == 0
    }

    /// One global batch, waited for since `started`; whether it led to an update.
    fn step<T: Task>(
        &mut self,
        task: &mut T,
        batch: &GlobalBatch<<T::Gather as Gather>::Batch>,
        started: Instant,
        window: &mut Window<T::Sums>,
        progress: &Progress,
    ) -> Result<bool> {
        let waited = started.elapsed().as_secs_f64();
        let learning_rate = self.schedule.learning_rate(self.position.step);
        let loss_scale = self.position.loss_scale.map_or(1.0, |scale| scale.value);
        self.bert.parameters_mut().set_gradient_scale(loss_scale);
        let sums = task.step(&mut self.bert, batch)?;
        let loss = task.loss(&sums);
        let updated = self.update(loss, learning_rate)?;
        self.position.cursor = batch.next;
        let seconds = started.elapsed().as_secs_f64();
        self.position.seconds += seconds;
        let gradient_norm = match updated {
            Ok(gradient_norm) => gradient_norm,
            Err(fault) => return self.skipped(fault, progress).map(|()| false),
        };
        self.position.step += 1;
        self.position.num_skipped_in_a_row = 0;
        self.position.recent_loss.add(loss);
        if let Some(scale) = &mut self.position.loss_scale {
            scale.updated(self.settings.loss_scale_growth_interval);
        }
        window.sums += sums;
        window.add(batch, Step { learning_rate, gradient_norm, waited, seconds });
        Ok(true)
    }

    /// Learns from the gradient of a step of this `loss` and gives its norm, unless something is wrong with either.
    fn update(&mut self, loss: f64, learning_rate: f64) -> Result<std::result::Result<f64, Fault>> {
        if let Some(fault) = self.position.recent_loss.fault(loss, self.settings.max_loss_spike) {
            return Ok(Err(fault));
        }
        let outcome = self.optimizer.step(self.bert.parameters_mut(), learning_rate)?;
        Ok(if outcome.skipped { Err(Fault::Gradient(outcome.gradient_norm)) } else { Ok(outcome.gradient_norm) })
    }

    fn skipped(&mut self, fault: Fault, progress: &Progress) -> Result<()> {
        let position = &mut self.position;
        position.num_skipped += 1;
        position.num_skipped_in_a_row += 1;
        let (step, found) = (position.step, position.num_skipped_in_a_row);
        // A gradient that overflows fp16 calls for a lower scale; as long as there is one, it is no failure.
        let backed_off = match (&mut position.loss_scale, fault) {
            (Some(scale), Fault::Gradient(_)) => scale.overflowed().then_some(scale.value),
            _ => None,
        };
        let remedy = backed_off.map_or(String::new(), |scale| format!(", the loss scale is {scale} now"));
        progress.note(&format!("step {step}: {fault}; the step is skipped ({found} in a row){remedy}"));
        if found >= self.settings.max_nonfinite_steps && backed_off.is_none() {
            let checkpoint = self.saved.as_ref().map(|saved| saved.dir.clone());
            let path = self.run.path().to_owned();
            return Err(Error::NonFinite { path, found, what: fault.plural(), step, checkpoint });
        }
        Ok(())
    }

    /// Once per position, and not between skipped steps, where there is no checkpoint to measure from.
    fn is_measurement_due<T: Task>(&self, task: &T) -> bool {
        let position = &self.position;
        position.measured_step != Some(position.step)
            && position.num_skipped_in_a_row == 0
            && task.is_due(position, self.total_steps)
    }

    /// Measures; false if a signal came in between.
    fn measure<T: Task>(
        &mut self,
        task: &mut T,
        log: &mut MetricsLog,
        window: &Window<T::Sums>,
        progress: &Progress,
    ) -> Result<bool> {
        let Some(measurement) = task.measure(&self.bert, &self.signals)? else { return Ok(false) };
        let Measurement { kind, mut fields, words } = measurement;
        progress.note(&format!("step {} {} {words}", self.position.step, kind.replace('_', "-")));
        fields.insert("kind".to_owned(), json!(kind));
        fields.insert("step".to_owned(), json!(self.position.step));
        log.append(&fields)?;
        self.position.measured_step = Some(self.position.step);
        self.position.measured_epoch = self.position.cursor.epoch;
        // Now, lest a run that is killed and resumed measure and log it twice.
        self.save(task, window)?;
        Ok(true)
    }

    fn words<T: Task>(&self, task: &T, window: &Window<T::Sums>) -> String {
        if window.is_empty() { String::new() } else { format!("{} {}", task.words(&window.sums), window.words()) }
    }

    fn log<T: Task>(&self, task: &T, log: &mut MetricsLog, window: &mut Window<T::Sums>, num_rows: u64) -> Result<()> {
        let window = std::mem::take(window);
        let means = task.fields(&window.sums);
        log.append(&window.row(&self.position, means, num_rows))
    }

    /// The checkpoint of this position; only what is not in it yet is written.
    fn save<T: Task>(&mut self, task: &T, window: &Window<T::Sums>) -> Result<PathBuf> {
        if let Some(saved) = self.saved.as_mut().filter(|saved| saved.recipe == self.recipe) {
            let Position { measured_step, measured_epoch, .. } = self.position;
            let is_measured = saved.position == self.position;
            let measured = Position { measured_step, measured_epoch, ..saved.position.clone() };
            if measured == self.position {
                if !is_measured {
                    checkpoint::note_position(&saved.dir, &self.position)?;
                    saved.position = measured;
                }
                return Ok(saved.dir.clone());
            }
        }
        let window = serde_json::to_value(window).map_err(|e| Error::Invalid(e.to_string()))?;
        let snapshot = Snapshot {
            task: task.name(),
            recipe: &self.recipe,
            position: &self.position,
            window: &window,
            data: &self.data,
            bert: &self.bert,
            optimizer: self.optimizer.as_ref(),
            vocabulary: &self.vocabulary,
        };
        let keep = Keep { newest: self.settings.keep_checkpoints, every: self.settings.keep_checkpoint_every };
        let dir = checkpoint::save(self.run.path(), &snapshot, keep)?;
        let (recipe, position) = (self.recipe.clone(), self.position.clone());
        self.saved = Some(Saved { dir: dir.clone(), recipe, position, window });
        Ok(dir)
    }
}
