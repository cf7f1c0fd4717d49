//! The loop that pre-training and fine-tuning share: batch, gradient, update, log, measure, checkpoint, stop.

mod window;

use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::stream::{Cursor, Gather, GlobalBatch, Sequences, Stream};
use serde_json::{Map, Value, json};

use crate::checkpoint::{self, DataIdentity, Position, Snapshot};
use crate::error::{Error, Result};
use crate::log::MetricsLog;
use crate::model::Bert;
use crate::optim::{Optimizer, Schedule};
use crate::progress::Progress;
use crate::recipe::RunSection;
use crate::run::Signals;
use crate::world::{DataParallel, Group};
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
    type Sums: AddAssign + Default;

    /// Name in state.json and on the progress bar.
    fn name(&self) -> &'static str;

    /// Leaves the gradient of the global batch in the model's flat gradient; the sums are those of all processes.
    fn step(
        &mut self,
        bert: &mut Bert,
        batch: &GlobalBatch<<Self::Gather as Gather>::Batch>,
        parallel: &DataParallel,
    ) -> Result<Self::Sums>;

    /// Means for the log.
    fn fields(&self, sums: &Self::Sums) -> Map<String, Value>;

    /// The most important means, for people.
    fn words(&self, sums: &Self::Sums) -> String;

    /// Whether to measure at this position (once per position: the trainer remembers).
    fn is_due(&self, position: &Position, total_steps: u64) -> bool;

    /// Whether all processes measure together; otherwise the first one does, and the others wait.
    fn measures_together(&self) -> bool {
        false
    }

    /// Measures the model on held-out data; `None` if a signal came first. Together, nobody may leave early.
    fn measure(&mut self, bert: &Bert, signals: &Signals, group: &Group) -> Result<Option<Measurement>>;
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
    /// Directory that the run writes in, if this is the first process.
    pub run: &'a Path,
    /// The processes.
    pub parallel: DataParallel,
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

/// What all processes do next.
enum Next<B> {
    /// A step, this process with these micro-batches.
    Step(GlobalBatch<B>),
    /// Stop, because of this signal.
    Stop(i32),
}

impl Trainer<'_> {
    /// Trains to the end, or until a signal; the newest checkpoint is then at the position returned.
    ///
    /// # Errors
    /// Damaged data, a full disk, too many non-finite steps in a row. Published checkpoints are intact. Where data cannot
    /// be read or the model not be measured, what was learnt until then is saved.
    pub fn train<T: Task>(mut self, task: &mut T, stream: &Arc<Stream<T::Gather>>) -> Result<(Bert, Outcome)> {
        let mut log = match self.is_first() {
            true => Some(MetricsLog::open(self.run, self.position.step)?),
            false => None,
        };
        let mut progress = Progress::start(task.name(), self.position.step, self.total_steps);
        let mut loader = stream.load(self.position.cursor);
        let mut window = Window::default();
        let ended = loop {
            let measured = match self.is_measurement_due(task) {
                false => Ok(true),
                true => {
                    // Measuring may fail, for reasons that have nothing to do with what was learnt.
                    self.save(task)?;
                    self.measure(task, log.as_mut(), &progress)
                }
            };
            match measured {
                Ok(true) => {}
                Ok(false) => break Ok(self.signals.received()),
                Err(error) => break Err(error),
            }
            if self.position.step == self.total_steps {
                break Ok(None);
            }
            if self.is_checkpoint_due() {
                self.save(task)?;
            }
            let started = Instant::now();
            let batch = loader.next().expect("a shuffled stream goes on until an error").map_err(Error::from);
            let batch = match self.agree(batch) {
                Ok(Next::Step(batch)) => batch,
                Ok(Next::Stop(signal)) => break Ok(Some(signal)),
                Err(error) => break Err(error),
            };
            let updated = match self.step(task, &batch, started, &mut window, &progress) {
                Ok(updated) => updated,
                Err(error @ Error::LostPeer { .. }) => break Err(error),
                Err(error) => return Err(error),
            };
            progress.update(self.position.step, || self.words(task, &window));
            if updated && (self.position.step.is_multiple_of(self.settings.log_every) || self.position.step == 1) {
                self.log(task, log.as_mut(), &mut window, stream.num_rows())?;
            }
        };
        // After an error the others may be gone, and a row is of all.
        if !window.is_empty() && (ended.is_ok() || self.group().world().is_alone()) {
            self.log(task, log.as_mut(), &mut window, stream.num_rows())?;
        }
        let stopped_by = match ended {
            Ok(stopped_by) => stopped_by,
            Err(error) => {
                // Others may be gone: from here on this process is for itself.
                if self.position.step > 0
                    && let Err(unsaved) = self.save_alone(task)
                {
                    progress.note(&unsaved.to_string());
                }
                return Err(error);
            }
        };
        let checkpoint = self.save(task)?;
        progress.finish();
        Ok((self.bert, Outcome { position: self.position, stopped_by, checkpoint }))
    }

    fn group(&self) -> &Group {
        self.parallel.group()
    }

    fn is_first(&self) -> bool {
        self.group().is_first()
    }

    /// One process's signal stops all; one process's error is an error of all.
    fn agree<B>(&self, batch: Result<GlobalBatch<B>>) -> Result<Next<B>> {
        const FAILED: f64 = 1000.0;
        let mine = if batch.is_err() { FAILED } else { self.signals.received().map_or(0.0, f64::from) };
        match self.group().maximum(mine)? {
            0.0 => batch.map(Next::Step),
            FAILED => self.group().agree(batch).map(Next::Step),
            signal => Ok(Next::Stop(signal as i32)),
        }
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
        tch::manual_seed(self.dropout_seed());
        let sums = task.step(&mut self.bert, batch, &self.parallel)?;
        let outcome = self.optimizer.step(self.bert.parameters_mut(), learning_rate)?;
        self.position.cursor = batch.next;
        let seconds = started.elapsed().as_secs_f64();
        self.position.seconds += seconds;
        if outcome.skipped {
            self.skipped(outcome.gradient_norm, progress)?;
            return Ok(false);
        }
        self.position.step += 1;
        self.position.num_skipped_in_a_row = 0;
        window.sums += sums;
        window.add(batch, Step { learning_rate, gradient_norm: outcome.gradient_norm, waited, seconds });
        Ok(true)
    }

    fn skipped(&mut self, gradient_norm: f64, progress: &Progress) -> Result<()> {
        let position = &mut self.position;
        position.num_skipped += 1;
        position.num_skipped_in_a_row += 1;
        let (step, found) = (position.step, position.num_skipped_in_a_row);
        progress.note(&format!(
            "step {step}: gradient norm {gradient_norm}, not finite; the step is skipped ({found} in a row)"
        ));
        if found >= self.settings.max_nonfinite_steps {
            let checkpoint = self.saved.as_ref().map(|saved| saved.dir.clone());
            let error = Error::NonFinite { path: self.run.to_owned(), found, step, checkpoint };
            // All processes see it; one tells.
            return self.group().agree(Err(error));
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
    fn measure<T: Task>(&mut self, task: &mut T, log: Option<&mut MetricsLog>, progress: &Progress) -> Result<bool> {
        let takes_part = self.is_first() || task.measures_together();
        let measured = match takes_part {
            true => task.measure(&self.bert, &self.signals, self.parallel.group()),
            false => Ok(None),
        };
        let measurement = self.group().agree(measured)?;
        let interrupted = takes_part && measurement.is_none();
        if self.group().maximum(f64::from(u8::from(interrupted)))? > 0.0 {
            return Ok(false);
        }
        if let (Some(log), Some(Measurement { kind, mut fields, words })) = (log, measurement) {
            progress.note(&format!("step {} {} {words}", self.position.step, kind.replace('_', "-")));
            fields.insert("kind".to_owned(), json!(kind));
            fields.insert("step".to_owned(), json!(self.position.step));
            log.append(&fields)?;
        }
        self.position.measured_step = Some(self.position.step);
        self.position.measured_epoch = self.position.cursor.epoch;
        // Now, lest a run that is killed and resumed measure and log it twice.
        self.save(task)?;
        Ok(true)
    }

    fn words<T: Task>(&self, task: &T, window: &Window<T::Sums>) -> String {
        if window.is_empty() { String::new() } else { format!("{} {}", task.words(&window.sums), window.words()) }
    }

    fn log<T: Task>(
        &self,
        task: &T,
        log: Option<&mut MetricsLog>,
        window: &mut Window<T::Sums>,
        num_rows: u64,
    ) -> Result<()> {
        let mut window = std::mem::take(window);
        window.join(self.group())?;
        let means = task.fields(&window.sums);
        log.map_or(Ok(()), |log| log.append(&window.row(&self.position, means, num_rows)))
    }

    /// The seed of this process's dropout in this step: a resumed run, and a run on other hardware, draws the same.
    fn dropout_seed(&self) -> i64 {
        let Cursor { epoch, offset } = self.position.cursor;
        let mut of_epoch = KeyedRng::new(self.settings.seed, Purpose::Dropout, epoch, self.group().world().rank.into());
        KeyedRng::new(of_epoch.next_u64(), Purpose::Dropout, offset, 0).next_u64().cast_signed()
    }

    /// The checkpoint of this position, written by the first process while the others wait.
    fn save<T: Task>(&mut self, task: &T) -> Result<PathBuf> {
        let saved = self.save_alone(task);
        self.group().agree(saved)
    }

    /// The checkpoint of this position, if this is the first process; only what is not in it yet is written.
    fn save_alone<T: Task>(&mut self, task: &T) -> Result<PathBuf> {
        if !self.is_first() {
            return Ok(PathBuf::new());
        }
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
        let dir = checkpoint::save(self.run, &snapshot, self.settings.keep_checkpoints)?;
        self.saved = Some(Saved { dir: dir.clone(), recipe: self.recipe.clone(), position: self.position.clone() });
        Ok(dir)
    }
}
