//! The loop that pre-training and fine-tuning share: batch, gradient, update, log, measure, checkpoint, stop.

mod window;

use std::ops::AddAssign;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use cloze_formats::dataset::Dataset;
use cloze_formats::stream::{Gather, GlobalBatch, Sequences, Stream};
use serde_json::{Map, Value};

use crate::checkpoint::{self, DataIdentity, Position, Snapshot};
use crate::error::{Error, Result};
use crate::model::Bert;
use crate::optim::{Optimizer, Schedule};
use crate::progress::{Progress, Words};
use crate::recipe::RunSection;
use crate::recorder::{Attempt, Recorder};
use crate::run::{RunDir, Signals};
use window::{Meter, Step, Window};

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
    type Sums: AddAssign + Default;

    /// Name in state.json and on the progress bar.
    fn name(&self) -> &'static str;

    /// Leaves the gradient of the global batch in the model's flat gradient.
    fn step(&mut self, bert: &mut Bert, batch: &GlobalBatch<<Self::Gather as Gather>::Batch>) -> Result<Self::Sums>;

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
    /// The same, opened.
    pub dataset: &'a Dataset,
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
        let meter = Rc::new(Meter::new(&self.bert, self.settings.mfu, 1)?);
        let mut log = self.record(task.name(), &meter)?;
        let mut progress = Progress::start(task.name(), self.position.step, self.total_steps);
        let mut loader = stream.load(self.position.cursor);
        let mut window = Window::new(meter);
        let ended = loop {
            let measured = match self.is_measurement_due(task) {
                false => Ok(true),
                true => {
                    // Measuring may fail, for reasons that have nothing to do with what was learnt.
                    self.save(task)?;
                    self.measure(task, &mut log, &progress)
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
                self.save(task)?;
            }
            let started = Instant::now();
            let batch = match loader.next().expect("a shuffled stream goes on until an error") {
                Ok(batch) => batch,
                Err(error) => break Err(error.into()),
            };
            let updated = self.step(task, &batch, started, &mut window, &mut log, &progress)?;
            progress.update(self.position.step, || self.words(task, &window));
            if updated && (self.position.step.is_multiple_of(self.settings.log_every) || self.position.step == 1) {
                self.log(task, &mut log, &mut window, stream.num_rows())?;
            }
        };
        if !window.is_empty() {
            self.log(task, &mut log, &mut window, stream.num_rows())?;
        }
        let stopped_by = match ended {
            Ok(stopped_by) => stopped_by,
            Err(error) => {
                if self.position.step > 0
                    && let Err(unsaved) = self.save(task)
                {
                    progress.note(&unsaved.to_string());
                }
                return Err(error);
            }
        };
        let checkpoint = self.save(task)?;
        if let Some(signal) = stopped_by {
            log.event("signal", self.position.step, &format!("stopped by signal {signal}, checkpoint saved"))?;
        }
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
        log: &mut Recorder,
        progress: &Progress,
    ) -> Result<bool> {
        let waited = started.elapsed().as_secs_f64();
        let learning_rate = self.schedule.learning_rate(self.position.step);
        let sums = task.step(&mut self.bert, batch)?;
        let outcome = self.optimizer.step(self.bert.parameters_mut(), learning_rate)?;
        self.position.cursor = batch.next;
        let seconds = started.elapsed().as_secs_f64();
        self.position.seconds += seconds;
        if outcome.skipped {
            self.skipped(outcome.gradient_norm, log, progress)?;
            return Ok(false);
        }
        self.position.step += 1;
        self.position.num_skipped_in_a_row = 0;
        window.sums += sums;
        let gradient_norm = outcome.gradient_norm;
        window.add(batch, Step { learning_rate, gradient_norm, loss_scale: None, waited, seconds });
        Ok(true)
    }

    fn skipped(&mut self, gradient_norm: f64, log: &mut Recorder, progress: &Progress) -> Result<()> {
        let position = &mut self.position;
        position.num_skipped += 1;
        position.num_skipped_in_a_row += 1;
        let (step, found) = (position.step, position.num_skipped_in_a_row);
        let message = format!("gradient norm {gradient_norm}, not finite; the step is skipped ({found} in a row)");
        progress.note(&format!("step {step}: {message}"));
        log.event("skipped", step, &message)?;
        if found >= self.settings.max_nonfinite_steps {
            let checkpoint = self.saved.as_ref().map(|saved| saved.dir.clone());
            return Err(Error::NonFinite { path: self.run.path().to_owned(), found, step, checkpoint });
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
    fn measure<T: Task>(&mut self, task: &mut T, log: &mut Recorder, progress: &Progress) -> Result<bool> {
        let Some(measurement) = task.measure(&self.bert, &self.signals)? else { return Ok(false) };
        let Measurement { kind, fields, words } = measurement;
        progress.note(&format!("step {} {} {words}", self.position.step, kind.replace('_', "-")));
        log.measurement(kind, self.position.step, fields)?;
        self.position.measured_step = Some(self.position.step);
        self.position.measured_epoch = self.position.cursor.epoch;
        // Now, lest a run that is killed and resumed measure and log it twice.
        self.save(task)?;
        Ok(true)
    }

    /// The logs of this attempt, begun.
    fn record(&self, task: &str, meter: &Meter) -> Result<Recorder> {
        let attempt = Attempt {
            task,
            resumed_after: self.saved.as_ref().map(|_| self.position.step),
            total_steps: self.total_steps,
            recipe: &self.recipe,
            bert: &self.bert,
            dataset: self.dataset,
            world_size: 1,
            matmul_flops_per_s: meter.matmul_flops_per_s,
            tensorboard: self.settings.tensorboard,
        };
        Recorder::open(self.run.path(), &attempt)
    }

    fn words<T: Task>(&self, task: &T, window: &Window<T::Sums>) -> Words {
        if window.is_empty() {
            return Words::default();
        }
        let means = task.fields(&window.sums);
        let mean = |key: &str| means.get(key).and_then(Value::as_f64);
        let short = [("masked_lm_accuracy", "MLM"), ("accuracy", "right")];
        let short = short.iter().filter_map(|(key, name)| Some(format!("{name} {:.0}%", 100.0 * mean(key)?)));
        let short = mean("loss").map(|loss| format!("loss {loss:.2}")).into_iter().chain(short).collect();
        Words { short, long: task.words(&window.sums), speed: window.words() }
    }

    fn log<T: Task>(&self, task: &T, log: &mut Recorder, window: &mut Window<T::Sums>, num_rows: u64) -> Result<()> {
        let window = window.take();
        let means = task.fields(&window.sums);
        log.step(&window.row(&self.position, means, num_rows))
    }

    /// The checkpoint of this position; only what is not in it yet is written.
    fn save<T: Task>(&mut self, task: &T) -> Result<PathBuf> {
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
        let snapshot = Snapshot {
            task: task.name(),
            recipe: &self.recipe,
            position: &self.position,
            data: &self.data,
            bert: &self.bert,
            optimizer: self.optimizer.as_ref(),
            vocabulary: &self.vocabulary,
        };
        let dir = checkpoint::save(self.run.path(), &snapshot, self.settings.keep_checkpoints)?;
        self.saved = Some(Saved { dir: dir.clone(), recipe: self.recipe.clone(), position: self.position.clone() });
        Ok(dir)
    }
}
