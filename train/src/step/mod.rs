//! One step's gradient: forward and backward over the micro-batches of a global batch.
//!
//! The loss is a sum over the global batch divided by global counts, so the gradient does not depend on how the batch is cut into
//! micro-batches (dropout aside): for pre-training, `sum of MLM losses / masked positions + sum of NSP losses / instances`.

// Tensors carry their shape as an upper-case suffix: B sequences, S tokens of the longest, T tokens in all.
#![allow(non_snake_case)]

mod sums;

use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::stream::{GlobalBatch, GlueBatch, Labels, PretrainBatch, Sequences, SquadBatch};
use cloze_torch_ext::fused;
use tch::{Device, Kind, Tensor};

use crate::data::Batch;
use crate::error::{Error, Result};
use crate::model::{self, Bert, cross_entropy_sum};
use crate::precision::Precision;
use crate::world::DataParallel;

pub use sums::{ClassificationSums, PretrainSums, QuestionAnsweringSums};

/// The parts of a step, for who times them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The forward pass of a micro-batch, its loss included.
    Forward,
    /// The backward pass of a micro-batch.
    Backward,
    /// Adding up the gradients of workers, or waiting for that of all processes, after the last backward pass.
    AllReduce,
}

/// Called at the end of each part; workers call it side by side, each for its own parts.
pub type Watch<'a> = &'a (dyn Fn(Part) + Sync);

/// Leaves the gradient of the global batch, of which this process has `batch`, in the model's gradient buffer, whatever was in it;
/// returns the sums over all processes.
///
/// # Errors
/// When the model has another head, the batch does not fit it, memory runs out, or another process is lost.
pub fn pretrain_step(
    model: &mut Bert,
    batch: &GlobalBatch<PretrainBatch>,
    parallel: &DataParallel,
) -> Result<PretrainSums> {
    pretrain_step_watched(model, batch, parallel, &|_| ())
}

/// The same, calling `ended` at the end of each part. On a GPU that is when its work is queued, not when it is done.
///
/// # Errors
/// As [`pretrain_step`].
pub fn pretrain_step_watched(
    model: &mut Bert,
    batch: &GlobalBatch<PretrainBatch>,
    parallel: &DataParallel,
    ended: Watch<'_>,
) -> Result<PretrainSums> {
    let losses = |model: &Bert, micro_batch: &PretrainBatch| {
        let parts = pretrain_losses(model, micro_batch, true)?;
        let masked_lm = scaled(model, &parts.masked_lm_loss, batch.num_masked)?;
        let next_sentence = scaled(model, &parts.next_sentence_loss, batch.num_instances)?;
        Ok((masked_lm.f_add(&next_sentence)?, parts.into_tensors()))
    };
    let read = accumulate(model, &batch.micro_batches, parallel, losses, 4, ended)?;
    Ok(PretrainParts::sums(&read, batch.num_masked, batch.num_instances))
}

/// Leaves the gradient of the sum of the micro-batches' losses, over all processes, in the model's gradient buffer, whatever was
/// in it. `losses` gives the loss of a micro-batch, its share of the global batch's, and `num_sums` scalars to add up.
fn accumulate<B: Batch + Sync>(
    model: &mut Bert,
    micro_batches: &[B],
    parallel: &DataParallel,
    losses: impl Fn(&Bert, &B) -> Result<(Tensor, Vec<Tensor>)> + Sync,
    num_sums: usize,
    ended: Watch<'_>,
) -> Result<Vec<f64>> {
    let seed = model.dropout_seed();
    let compute =
        |model: &Bert, index: usize, sums: &mut Sums, before_backward: &dyn Fn() -> Result<()>| -> Result<()> {
            seed_dropout(model, seed, index);
            let (loss, scalars) = losses(model, &micro_batches[index])?;
            sums.add(&scalars)?;
            ended(Part::Forward);
            before_backward()?;
            loss.f_backward()?;
            ended(Part::Backward);
            Ok(())
        };
    let sums = if let Some(workers) = model.workers().filter(|_| parallel.group().world().is_alone()) {
        let sizes: Vec<usize> = micro_batches.iter().map(|batch| batch.sequences().num_tokens()).collect();
        let shares = workers.shares(&sizes);
        let of_workers = workers.run(model.parameters().gradient_scale(), |replica, worker| {
            let mut sums = Sums::new();
            shares[worker].iter().try_for_each(|&index| compute(replica, index, &mut sums, &|| Ok(())))?;
            sums.read(num_sums)
        })?;
        (0..num_sums).map(|index| of_workers.iter().map(|sums| sums[index]).sum()).collect()
    } else {
        model.parameters_mut().zero_gradient()?;
        let mut sums = Sums::new();
        for index in 0..micro_batches.len() {
            let is_last = index + 1 == micro_batches.len();
            compute(model, index, &mut sums, &|| if is_last { parallel.before_last_backward() } else { Ok(()) })?;
        }
        // A small global batch may leave a process without any; its gradient is 0.
        if micro_batches.is_empty() {
            parallel.before_last_backward()?;
        }
        parallel.after_last_backward(|| sums.read(num_sums))?
    };
    ended(Part::AllReduce);
    Ok(sums)
}

/// Makes the dropout of a micro-batch its own, whichever thread computes it and whatever it computed before.
fn seed_dropout(model: &Bert, seed: u64, micro_batch: usize) {
    let seed = KeyedRng::new(seed, Purpose::Dropout, micro_batch as u64, 0).next_u64();
    fused::seed_dropout(seed);
    // What has no layers of ours draws from torch's generator, of which there is one; so it has no workers either.
    if model.device() != Device::Cpu || model.precision() != Precision::Fp32 {
        tch::manual_seed(seed.cast_signed());
    }
}

/// The sums of one micro-batch without dropout and without a gradient.
///
/// # Errors
/// When the model has another head, the batch does not fit it, or memory runs out.
pub fn evaluate_pretrain(model: &Bert, batch: &PretrainBatch) -> Result<PretrainSums> {
    let _no_gradient = tch::no_grad_guard();
    let num_instances = batch.sequences.num_sequences() as u64;
    let mut sums = Sums::new();
    sums.add(&pretrain_losses(model, batch, false)?.into_tensors())?;
    Ok(PretrainParts::sums(&sums.read(4)?, batch.masked_lm_ids.len() as u64, num_instances))
}

/// Leaves the gradient of the mean cross entropy of `batch`, or of its mean squared error where labels are scores, in the model's
/// gradient buffer; returns the sums. All instances must be labelled.
///
/// # Errors
/// When a label is missing, out of range or of another kind than the head, the model has another head, or memory runs out.
pub fn classification_step(
    model: &mut Bert,
    batch: &GlobalBatch<GlueBatch>,
    parallel: &DataParallel,
) -> Result<ClassificationSums> {
    let losses = |model: &Bert, micro_batch: &GlueBatch| {
        let logits = model.classification_logits(&micro_batch.sequences, true)?;
        let labels = micro_batch.labels.as_ref().ok_or_else(|| {
            Error::Invalid(
                "training needs labels, the dataset has rows without; build it from the train file".to_owned(),
            )
        })?;
        let (loss, correct) = label_loss(&logits, labels)?;
        Ok((scaled(model, &loss, batch.num_instances)?, vec![loss, correct]))
    };
    let read = accumulate(model, &batch.micro_batches, parallel, losses, 2, &|_| ())?;
    Ok(classification_sums(&read, batch.num_instances))
}

/// Logits `[B * C]`, row by row in the order of the micro-batch, and the sums if there are labels; without dropout.
///
/// # Errors
/// When a label is out of range or of another kind than the head, the model has another head, or memory runs out.
pub fn evaluate_classification(model: &Bert, batch: &GlueBatch) -> Result<(Vec<f32>, Option<ClassificationSums>)> {
    let _no_gradient = tch::no_grad_guard();
    let logits = model.classification_logits(&batch.sequences, false)?;
    let num_instances = batch.sequences.num_sequences() as u64;
    let sums = match &batch.labels {
        None => None,
        Some(labels) => {
            let (loss, correct) = label_loss(&logits, labels)?;
            let mut sums = Sums::new();
            sums.add(&[loss, correct])?;
            Some(classification_sums(&sums.read(2)?, num_instances))
        }
    };
    Ok((to_vec(&logits)?, sums))
}

/// Leaves the gradient of `batch`'s mean loss, the average of start's and end's cross entropy, in the model's gradient buffer.
///
/// The softmax runs over a window's own tokens, not over padding, so that it does not depend on the micro-batch.
///
/// # Errors
/// When a position is out of range, the model has another head, or memory runs out.
pub fn question_answering_step(
    model: &mut Bert,
    batch: &GlobalBatch<SquadBatch>,
    parallel: &DataParallel,
) -> Result<QuestionAnsweringSums> {
    let losses = |model: &Bert, micro_batch: &SquadBatch| {
        let logits_T2 = model.question_answering_logits(&micro_batch.sequences, true)?;
        let logits_BS2 = padded_logits(&logits_T2, &micro_batch.sequences)?;
        let side = |index: i64, positions: &[i64]| -> Result<(Tensor, Tensor)> {
            let logits_BS = logits_BS2.f_select(2, index)?;
            cross_entropy_sum(&logits_BS, &index_tensor(positions, &logits_BS, "answer position")?)
        };
        let (start_loss, start_correct) = side(0, &micro_batch.start_positions)?;
        let (end_loss, end_correct) = side(1, &micro_batch.end_positions)?;
        let loss = start_loss.f_add(&end_loss)?.f_div_scalar(2.0)?;
        Ok((scaled(model, &loss, batch.num_instances)?, vec![loss, start_correct, end_correct]))
    };
    let read = accumulate(model, &batch.micro_batches, parallel, losses, 3, &|_| ())?;
    Ok(QuestionAnsweringSums {
        loss: read[0],
        start_correct: read[1] as u64,
        end_correct: read[2] as u64,
        num_instances: batch.num_instances,
    })
}

/// Start and end logits, each `[T]`, packed like `sequences.input_ids` (`cu_seqlens` cuts them); without dropout.
///
/// # Errors
/// When the model has another head, a sequence does not fit it, or memory runs out.
pub fn question_answering_logits(model: &Bert, sequences: &Sequences) -> Result<(Vec<f32>, Vec<f32>)> {
    let _no_gradient = tch::no_grad_guard();
    let logits_T2 = model.question_answering_logits(sequences, false)?;
    Ok((to_vec(&logits_T2.f_select(1, 0)?)?, to_vec(&logits_T2.f_select(1, 1)?)?))
}

/// The logits `[T, 2]` of each window side by side, `[B, S, 2]`, minus infinity behind its end.
fn padded_logits(logits_T2: &Tensor, sequences: &Sequences) -> Result<Tensor> {
    let (num_windows, longest) = (sequences.num_sequences() as i64, sequences.max_len() as i64);
    let window_of =
        |b: usize| (b as i64 * longest..).take((sequences.cu_seqlens[b + 1] - sequences.cu_seqlens[b]) as usize);
    let cells: Vec<i64> = (0..sequences.num_sequences()).flat_map(window_of).collect();
    let cells_T = Tensor::f_from_slice(&cells)?.f_to_device(logits_T2.device())?;
    let nothing =
        Tensor::f_full([num_windows * longest, 2], f64::NEG_INFINITY, (logits_T2.kind(), logits_T2.device()))?;
    Ok(nothing.f_index_copy(0, &cells_T, logits_T2)?.f_view([num_windows, longest, 2])?)
}

struct PretrainParts {
    masked_lm_loss: Tensor,
    masked_lm_correct: Tensor,
    next_sentence_loss: Tensor,
    next_sentence_correct: Tensor,
}

impl PretrainParts {
    fn into_tensors(self) -> Vec<Tensor> {
        vec![self.masked_lm_loss, self.masked_lm_correct, self.next_sentence_loss, self.next_sentence_correct]
    }

    /// From what [`Sums`] made of [`Self::into_tensors`].
    fn sums(read: &[f64], num_masked: u64, num_instances: u64) -> PretrainSums {
        PretrainSums {
            masked_lm_loss: read[0],
            masked_lm_correct: read[1] as u64,
            num_masked,
            next_sentence_loss: read[2],
            next_sentence_correct: read[3] as u64,
            num_instances,
        }
    }
}

fn pretrain_losses(model: &Bert, batch: &PretrainBatch, train: bool) -> Result<PretrainParts> {
    let (masked_lm_loss, masked_lm_correct, logits_B2) =
        model.pretraining_loss(&batch.sequences, &batch.masked_lm_positions, &batch.masked_lm_ids, train)?;
    let labels_B = index_tensor(&batch.next_sentence_labels, &logits_B2, "next-sentence label")?;
    let (next_sentence_loss, next_sentence_correct) = cross_entropy_sum(&logits_B2, &labels_B)?;
    Ok(PretrainParts { masked_lm_loss, masked_lm_correct, next_sentence_loss, next_sentence_correct })
}

/// Sum of the losses of `logits` `[B, C]`, and how many rows have their maximum at their class.
///
/// Scores need C = 1, classes more: the cross entropy of a single class is 0 whatever the model says.
fn label_loss(logits: &Tensor, labels: &Labels) -> Result<(Tensor, Tensor)> {
    let (rows, num_labels) = logits.size2()?;
    match labels {
        Labels::Classes(classes) if num_labels > 1 => {
            cross_entropy_sum(logits, &index_tensor(classes, logits, "label")?)
        }
        Labels::Scores(scores) if num_labels == 1 => {
            if scores.len() as i64 != rows {
                let found = scores.len();
                return Err(Error::Invalid(format!("score: expected {rows} in the micro-batch, found {found}")));
            }
            let scores = Tensor::f_from_slice(scores)?.f_to_device(logits.device())?;
            let errors = logits.f_to_kind(Kind::Float)?.f_squeeze_dim(1)?.f_sub(&scores)?;
            let loss = errors.f_square()?.f_sum(Kind::Float)?;
            let correct = loss.f_detach()?.f_zeros_like()?;
            Ok((loss, correct))
        }
        _ => {
            let found = if matches!(labels, Labels::Scores(_)) { "scores" } else { "classes" };
            let expected = if num_labels == 1 { "scores" } else { "classes" };
            let message = format!(
                "expected labels that are {expected}, for a model with {num_labels} outputs, found {found}; \
                 use a model fine-tuned for this task"
            );
            Err(Error::Invalid(message))
        }
    }
}

fn classification_sums(read: &[f64], num_instances: u64) -> ClassificationSums {
    ClassificationSums { loss: read[0], correct: read[1] as u64, num_instances }
}

/// `loss / count`, times the scale of the model's gradients; a count of 0 (nothing is masked) leaves the empty sum 0.
fn scaled(model: &Bert, loss: &Tensor, count: u64) -> Result<Tensor> {
    Ok(loss.f_div_scalar(count.max(1) as f64 / model.parameters().gradient_scale())?)
}

/// `classes` as a tensor beside `logits` `[R, C]`, one class per row.
fn index_tensor(classes: &[i64], logits: &Tensor, what: &str) -> Result<Tensor> {
    let (rows, num_classes) = logits.size2()?;
    Ok(model::index_tensor(classes, [rows, num_classes], what)?.f_to_device(logits.device())?)
}

fn to_vec(values: &Tensor) -> Result<Vec<f32>> {
    Ok(Vec::try_from(values.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?)
}

/// Adds up scalars on the device in f64, so that a GPU is waited for once a step, not once a micro-batch.
struct Sums {
    total: Option<Tensor>,
}

impl Sums {
    fn new() -> Self {
        Self { total: None }
    }

    fn add(&mut self, scalars: &[Tensor]) -> Result<()> {
        let scalars: std::result::Result<Vec<Tensor>, _> =
            scalars.iter().map(|t| t.f_detach()?.f_to_kind(Kind::Double)).collect();
        let scalars = Tensor::f_stack(&scalars?, 0)?;
        self.total = Some(match self.total.take() {
            None => scalars,
            Some(mut total) => total.f_add_(&scalars)?,
        });
        Ok(())
    }

    /// The sums of `num_sums` scalars each time; zeros if there were none.
    fn read(self, num_sums: usize) -> Result<Vec<f64>> {
        self.total.map_or(Ok(vec![0.0; num_sums]), |total| Ok(Vec::try_from(total)?))
    }
}
