//! What a step of pre-training is, and what is measured.

use std::sync::Arc;

use cloze_formats::dataset::Dataset;
use cloze_formats::stream::{GlobalBatch, PretrainBatch, PretrainGather};
use serde_json::{Map, Value, json};

use super::TASK;
use crate::checkpoint::Position;
use crate::error::Result;
use crate::model::Bert;
use crate::run::Signals;
use crate::step::{PretrainSums, evaluate_pretrain, pretrain_step};
use crate::trainer::{Measurement, Task};
use crate::world::{DataParallel, Group};

/// Held-out instances, gathered once.
pub(super) struct HeldOut {
    pub(super) dataset: Arc<Dataset>,
    pub(super) batch: GlobalBatch<PretrainBatch>,
}

pub(super) struct Pretrain {
    pub(super) held_out: Option<HeldOut>,
    pub(super) held_out_every: u64,
}

impl Task for Pretrain {
    type Gather = PretrainGather;
    type Sums = PretrainSums;

    fn name(&self) -> &'static str {
        TASK
    }

    fn step(
        &mut self,
        bert: &mut Bert,
        batch: &GlobalBatch<PretrainBatch>,
        parallel: &DataParallel,
    ) -> Result<PretrainSums> {
        pretrain_step(bert, batch, parallel)
    }

    fn loss(&self, sums: &PretrainSums) -> f64 {
        sums.loss()
    }

    fn fields(&self, sums: &PretrainSums) -> Map<String, Value> {
        fields(sums)
    }

    fn words(&self, sums: &PretrainSums) -> String {
        words(sums)
    }

    fn is_due(&self, position: &Position, total_steps: u64) -> bool {
        let at_interval = position.step > 0 && position.step.is_multiple_of(self.held_out_every);
        self.held_out.is_some() && (at_interval || position.step == total_steps)
    }

    fn measure(&mut self, bert: &Bert, signals: &Signals, group: &Group) -> Result<Option<Measurement>> {
        let own = || -> Result<Option<PretrainSums>> {
            let mut sums = PretrainSums::default();
            for batch in self.held_out.iter().flat_map(|held_out| &held_out.batch.micro_batches) {
                if group.world().is_alone() && signals.received().is_some() {
                    return Ok(None);
                }
                sums += evaluate_pretrain(bert, batch)?;
            }
            Ok(Some(sums))
        };
        let Some(sums) = group.agree(own())? else { return Ok(None) };
        let sums = sums.over(group)?;
        let mut fields = fields(&sums);
        let perplexity = sums.mean_masked_lm_loss().exp();
        fields.insert("masked_lm_perplexity".to_owned(), json!(perplexity));
        Ok(Some(Measurement {
            kind: "held_out",
            fields,
            words: format!("{} perplexity {perplexity:.1}", words(&sums)),
        }))
    }
}

fn fields(sums: &PretrainSums) -> Map<String, Value> {
    let values = [
        ("loss", sums.loss()),
        ("masked_lm_loss", sums.mean_masked_lm_loss()),
        ("masked_lm_accuracy", sums.masked_lm_accuracy()),
        ("next_sentence_loss", sums.mean_next_sentence_loss()),
        ("next_sentence_accuracy", sums.next_sentence_accuracy()),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn words(sums: &PretrainSums) -> String {
    format!(
        "MLM {:.3} ({:.1} %) NSP {:.3} ({:.1} %)",
        sums.mean_masked_lm_loss(),
        100.0 * sums.masked_lm_accuracy(),
        sums.mean_next_sentence_loss(),
        100.0 * sums.next_sentence_accuracy()
    )
}
