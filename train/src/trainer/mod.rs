//! The loop that pre-training and fine-tuning share: batch, gradient, update, log, measure, checkpoint, stop.

mod guard;
mod task;
mod window;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use cloze_formats::dataset::Dataset;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::stream::{Cursor, Gather, GlobalBatch, Stream};
use serde_json::Value;

use crate::checkpoint::{self, DataIdentity, Keep, Position, Snapshot};
use crate::error::{Error, Result};
use crate::log::Resumed;
use crate::model::Bert;
use crate::optim::{LossScale, Optimizer, Schedule};
use crate::precision::Precision;
use crate::progress::{Progress, Words};
use crate::recipe::RunSection;
use crate::recorder::{Attempt, Recorder};
use crate::run::Signals;
use crate::world::{DataParallel, Group};
pub use guard::RecentLoss;
pub use task::{Measurement, Task};

use guard::Fault;
use window::{Meter, Step, Window};

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

/// What the flat gradient holds, when its making began, and for how many seconds it was waited for the batch.
struct Gradient<S> {
    sums: S,
    started: Instant,
    waited: f64,
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
        let meter = Rc::new(Meter::new(&self.bert, self.settings, self.group())?);
        let mut log = if self.is_first() { Some(self.record(task.name(), &meter)?) } else { None };
        self.bert.set_workers(stream.config().num_workers)?;
        let mut progress = Progress::start(task.name(), self.position.step, self.total_steps);
        let mut loader = stream.load(self.position.cursor);
        // Steps that the resumed checkpoint has behind it but the log has not told of.
        let mut window = Window::<T::Sums>::restored(self.saved.as_ref().map(|saved| &saved.window), meter);
        self.position.loss_scale = (self.settings.precision == Precision::Fp16)
            .then(|| self.position.loss_scale.unwrap_or(LossScale::new(self.settings.initial_loss_scale)));
        let ended = loop {
            let measured = match self.is_measurement_due(task) {
                false => Ok(None),
                true => {
                    // Measuring may fail, for reasons that have nothing to do with what was learnt.
                    self.save(task, &window)?;
                    self.measure(task, log.as_mut(), &window, &progress)
                }
            };
            match measured {
                Ok(None) => {}
                Ok(Some(signal)) => break Ok(Some(signal)),
                Err(error) => break Err(error),
            }
            if self.position.step == self.total_steps {
                break Ok(None);
            }
            if self.is_checkpoint_due() {
                self.save(task, &window)?;
            }
            let started = Instant::now();
            let batch = loader.next().expect("a shuffled stream goes on until an error").map_err(Error::from);
            let batch = match self.agree(batch) {
                Ok(Next::Step(batch)) => batch,
                Ok(Next::Stop(signal)) => break Ok(Some(signal)),
                Err(error) => break Err(error),
            };
            // Until its gradient is there, a step has changed nothing that is saved.
            let gradient = match self.gradient(task, &batch, started) {
                Ok(gradient) => gradient,
                Err(error) => break Err(error),
            };
            let updated = match self.step(task, &batch, gradient, &mut window, log.as_mut(), &progress) {
                Ok(updated) => updated,
                Err(error @ Error::LostPeer { .. }) => break Err(error),
                Err(error) => return Err(error),
            };
            progress.update(self.position.step, || self.words(task, &window));
            if updated && (self.position.step.is_multiple_of(self.settings.log_every) || self.position.step == 1) {
                // A peer lost here must not cost what the first process can still save.
                if let Err(error) = self.log(task, log.as_mut(), &mut window, stream.num_rows()) {
                    break Err(error);
                }
            }
        };
        // A run that is to go on keeps the steps since its last row in its checkpoint: its rows are those of one that never
        // stopped. After an error the others may be gone, and a row is of all.
        let is_over = ended.as_ref().map_or(self.group().world().is_alone(), Option::is_none);
        if !window.is_empty() && is_over {
            self.log(task, log.as_mut(), &mut window, stream.num_rows())?;
        }
        let stopped_by = match ended {
            Ok(stopped_by) => stopped_by,
            Err(error) => {
                // Others may be gone: from here on this process is for itself.
                if self.position.step > 0
                    && let Err(unsaved) = self.save_alone(task, &window)
                {
                    progress.note(&unsaved.to_string());
                }
                return Err(error);
            }
        };
        let checkpoint = self.save(task, &window)?;
        if let (Some(signal), Some(log)) = (stopped_by, &mut log) {
            log.event("signal", self.position.step, &format!("stopped by signal {signal}, checkpoint saved"))?;
        }
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

    /// The gradient of one global batch, waited for since `started`, in the model's flat gradient. After an error all else is as
    /// it was.
    fn gradient<T: Task>(
        &mut self,
        task: &mut T,
        batch: &GlobalBatch<<T::Gather as Gather>::Batch>,
        started: Instant,
    ) -> Result<Gradient<T::Sums>> {
        let waited = started.elapsed().as_secs_f64();
        self.bert.parameters_mut().set_gradient_scale(self.position.loss_scale.map_or(1.0, |scale| scale.value));
        let dropout_seed = self.dropout_seed();
        self.bert.set_dropout_seed(dropout_seed);
        let sums = task.step(&mut self.bert, batch, &self.parallel).inspect_err(|_| self.parallel.give_up())?;
        Ok(Gradient { sums, started, waited })
    }

    /// Learns from the gradient of `batch`; whether it led to an update.
    fn step<T: Task>(
        &mut self,
        task: &T,
        batch: &GlobalBatch<<T::Gather as Gather>::Batch>,
        Gradient { sums, started, waited }: Gradient<T::Sums>,
        window: &mut Window<T::Sums>,
        log: Option<&mut Recorder>,
        progress: &Progress,
    ) -> Result<bool> {
        let learning_rate = self.schedule.learning_rate(self.position.step);
        let loss_scale = self.position.loss_scale.map(|scale| scale.value);
        let loss = task.loss(&sums);
        let updated = self.update(loss, learning_rate)?;
        self.position.cursor = batch.next;
        let seconds = started.elapsed().as_secs_f64();
        self.position.seconds += seconds;
        let gradient_norm = match updated {
            Ok(gradient_norm) => gradient_norm,
            Err(fault) => return self.skipped(fault, log, progress).map(|()| false),
        };
        self.position.step += 1;
        (self.position.num_skipped_in_a_row, self.position.num_failed_in_a_row) = (0, 0);
        self.position.recent_loss.add(loss);
        if let Some(scale) = &mut self.position.loss_scale {
            scale.updated(self.settings.loss_scale_growth_interval);
        }
        window.sums += sums;
        window.add(batch, Step { learning_rate, gradient_norm, loss_scale, waited, seconds });
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

    fn skipped(&mut self, fault: Fault, log: Option<&mut Recorder>, progress: &Progress) -> Result<()> {
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
        position.num_failed_in_a_row += u64::from(backed_off.is_none());
        let failed = position.num_failed_in_a_row;
        let message = format!("{fault}; the step is skipped ({found} in a row){remedy}");
        progress.note(&format!("step {step}: {message}"));
        log.map_or(Ok(()), |log| log.event("skipped", step, &message))?;
        if failed >= self.settings.max_nonfinite_steps {
            let checkpoint = self.saved.as_ref().map(|saved| saved.dir.clone());
            let error =
                Error::NonFinite { path: self.run.to_owned(), found: failed, what: fault.plural(), step, checkpoint };
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

    /// Measures; a signal that came in between is given back.
    fn measure<T: Task>(
        &mut self,
        task: &mut T,
        log: Option<&mut Recorder>,
        window: &Window<T::Sums>,
        progress: &Progress,
    ) -> Result<Option<i32>> {
        let measured = task.measure(&self.bert, &self.signals, self.parallel.group());
        let measurement = self.group().agree(measured)?;
        let interrupted = self.signals.received().filter(|_| measurement.is_none());
        let signal = self.group().maximum(interrupted.map_or(0.0, f64::from))?;
        if signal > 0.0 {
            return Ok(Some(signal as i32));
        }
        if let (Some(log), Some(Measurement { kind, fields, words })) = (log, measurement) {
            progress.note(&format!("step {} {} {words}", self.position.step, kind.replace('_', "-")));
            log.measurement(kind, self.position.step, fields)?;
        }
        self.position.measured_step = Some(self.position.step);
        self.position.measured_epoch = self.position.cursor.epoch;
        // Now, lest a run that is killed and resumed measure and log it twice.
        self.save(task, window)?;
        Ok(None)
    }

    /// The logs of this attempt, begun.
    fn record(&self, task: &str, meter: &Meter) -> Result<Recorder> {
        let attempt = Attempt {
            task,
            resumed: self
                .saved
                .as_ref()
                .map(|_| Resumed { after: self.position.step, measured: self.position.measured_step }),
            total_steps: self.total_steps,
            recipe: &self.recipe,
            bert: &self.bert,
            dataset: self.dataset,
            world: self.group().world(),
            matmul_flops_per_s: meter.matmul_flops_per_s,
            tensorboard: self.settings.tensorboard,
        };
        Recorder::open(self.run, &attempt)
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

    fn log<T: Task>(
        &self,
        task: &T,
        log: Option<&mut Recorder>,
        window: &mut Window<T::Sums>,
        num_rows: u64,
    ) -> Result<()> {
        let mut window = window.take();
        let joined = window.join(self.group());
        let means = task.fields(&window.sums);
        log.map_or(Ok(()), |log| log.step(&window.row(&self.position, means, num_rows)))?;
        joined
    }

    /// The seed of this process's dropout in this step: a resumed run draws the same, as long as it cuts
    /// the same micro-batches.
    fn dropout_seed(&self) -> u64 {
        let Cursor { epoch, offset } = self.position.cursor;
        let mut of_epoch = KeyedRng::new(self.settings.seed, Purpose::Dropout, epoch, self.group().world().rank.into());
        KeyedRng::new(of_epoch.next_u64(), Purpose::Dropout, offset, 0).next_u64()
    }

    /// The checkpoint of this position, written by the first process while the others wait.
    fn save<T: Task>(&mut self, task: &T, window: &Window<T::Sums>) -> Result<PathBuf> {
        let saved = self.save_alone(task, window);
        self.group().agree(saved)
    }

    /// The checkpoint of this position, if this is the first process; only what is not in it yet is written.
    fn save_alone<T: Task>(&mut self, task: &T, window: &Window<T::Sums>) -> Result<PathBuf> {
        if !self.is_first() {
            return Ok(PathBuf::new());
        }
        if let Some(saved) = self.saved.as_mut().filter(|saved| saved.recipe == self.recipe) {
            let Position { measured_step, measured_epoch, .. } = self.position;
            let window = serde_json::to_value(window).map_err(|e| Error::Invalid(e.to_string()))?;
            let is_noted = saved.position == self.position && saved.window == window;
            let measured = Position { measured_step, measured_epoch, ..saved.position.clone() };
            if measured == self.position {
                if !is_noted {
                    checkpoint::note_position(&saved.dir, &self.position, &window)?;
                    (saved.position, saved.window) = (measured, window);
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
        let dir = checkpoint::save(self.run, &snapshot, keep)?;
        let (recipe, position) = (self.recipe.clone(), self.position.clone());
        self.saved = Some(Saved { dir: dir.clone(), recipe, position, window });
        Ok(dir)
    }
}
