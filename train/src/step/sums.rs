//! Sums over instances that a step or a measurement gives, and the means of them.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::world::Group;

/// Sums over instances of pre-training; `+=` joins those of several batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PretrainSums {
    /// Sum of the masked-LM cross entropies, in nats.
    pub masked_lm_loss: f64,
    /// Masked positions whose token has the highest score.
    pub masked_lm_correct: u64,
    /// Masked positions.
    pub num_masked: u64,
    /// Sum of the next-sentence cross entropies, in nats.
    pub next_sentence_loss: f64,
    /// Instances whose next-sentence label has the higher score.
    pub next_sentence_correct: u64,
    /// Instances.
    pub num_instances: u64,
}

impl AddAssign for PretrainSums {
    fn add_assign(&mut self, other: Self) {
        self.masked_lm_loss += other.masked_lm_loss;
        self.masked_lm_correct += other.masked_lm_correct;
        self.num_masked += other.num_masked;
        self.next_sentence_loss += other.next_sentence_loss;
        self.next_sentence_correct += other.next_sentence_correct;
        self.num_instances += other.num_instances;
    }
}

impl PretrainSums {
    /// The sums over all processes, each of which has its own.
    ///
    /// # Errors
    /// A process is lost.
    pub fn over(self, group: &Group) -> Result<Self> {
        let Self {
            masked_lm_loss,
            masked_lm_correct,
            num_masked,
            next_sentence_loss,
            next_sentence_correct,
            num_instances,
        } = self;
        let counts = [masked_lm_correct, num_masked, next_sentence_correct, num_instances];
        let mine = [[masked_lm_loss, next_sentence_loss].as_slice(), &counts.map(|count| count as f64)].concat();
        let all = group.sum(&mine)?;
        Ok(Self {
            masked_lm_loss: all[0],
            next_sentence_loss: all[1],
            masked_lm_correct: all[2] as u64,
            num_masked: all[3] as u64,
            next_sentence_correct: all[4] as u64,
            num_instances: all[5] as u64,
        })
    }

    /// Mean masked-LM cross entropy per masked position; 0 where nothing is masked.
    pub fn mean_masked_lm_loss(&self) -> f64 {
        mean(self.masked_lm_loss, self.num_masked)
    }

    /// Mean next-sentence cross entropy per instance.
    pub fn mean_next_sentence_loss(&self) -> f64 {
        mean(self.next_sentence_loss, self.num_instances)
    }

    /// The loss that is minimised: the sum of the two means.
    pub fn loss(&self) -> f64 {
        self.mean_masked_lm_loss() + self.mean_next_sentence_loss()
    }

    /// Share of masked positions that are predicted right.
    pub fn masked_lm_accuracy(&self) -> f64 {
        mean(self.masked_lm_correct as f64, self.num_masked)
    }

    /// Share of instances whose next-sentence label is predicted right.
    pub fn next_sentence_accuracy(&self) -> f64 {
        mean(self.next_sentence_correct as f64, self.num_instances)
    }
}

/// Sums over labelled instances of a classification or regression task; `+=` joins those of several batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassificationSums {
    /// Sum of the cross entropies, in nats; of squared errors in regression.
    pub loss: f64,
    /// Instances whose label has the highest logit; 0 in regression.
    pub correct: u64,
    /// Instances.
    pub num_instances: u64,
}

impl AddAssign for ClassificationSums {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.num_instances += other.num_instances;
    }
}

impl ClassificationSums {
    /// Mean cross entropy, or mean squared error, per instance.
    pub fn mean_loss(&self) -> f64 {
        mean(self.loss, self.num_instances)
    }

    /// Share of instances that are classified right.
    pub fn accuracy(&self) -> f64 {
        mean(self.correct as f64, self.num_instances)
    }
}

/// Sums over windows of a question-answering task; `+=` joins those of several batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuestionAnsweringSums {
    /// Sum over windows of the mean of the start's and the end's cross entropy, in nats.
    pub loss: f64,
    /// Windows whose start has the highest score.
    pub start_correct: u64,
    /// Windows whose end has the highest score.
    pub end_correct: u64,
    /// Windows.
    pub num_instances: u64,
}

impl AddAssign for QuestionAnsweringSums {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.start_correct += other.start_correct;
        self.end_correct += other.end_correct;
        self.num_instances += other.num_instances;
    }
}

impl QuestionAnsweringSums {
    /// Mean loss per window.
    pub fn mean_loss(&self) -> f64 {
        mean(self.loss, self.num_instances)
    }
}

fn mean(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}
