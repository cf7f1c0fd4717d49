//! Fine-tuning batches: packed examples with their labels.

use std::sync::Arc;

use super::{Gather, Sequences};
use crate::dataset::Dataset;
use crate::error::Result;
use crate::row::Label;
use crate::schema::LabelType;

/// Labels of a micro-batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// `[B]`: classes.
    Classes(Vec<i64>),
    /// `[B]`: scores of a regression task.
    Scores(Vec<f32>),
}

/// A packed micro-batch of GLUE examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GlueBatch {
    /// The examples.
    pub sequences: Sequences,
    /// Absent in test sets.
    pub labels: Option<Labels>,
}

/// A packed micro-batch of SQuAD windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SquadBatch {
    /// The windows.
    pub sequences: Sequences,
    /// `[B]`: first token of the answer, counted in the window's own sequence; 0 where it is not in the window.
    pub start_positions: Vec<i64>,
    /// `[B]`: last token of the answer.
    pub end_positions: Vec<i64>,
}

/// Makes [`GlueBatch`]es.
#[derive(Debug)]
pub struct GlueGather(pub Arc<Dataset>);

/// Makes [`SquadBatch`]es.
#[derive(Debug)]
pub struct SquadGather(pub Arc<Dataset>);

impl Gather for GlueGather {
    type Batch = GlueBatch;

    fn num_rows(&self) -> u64 {
        self.0.len()
    }

    fn row_length(&self, row: u64) -> Result<usize> {
        self.0.row_length(row)
    }

    fn num_masked(&self, _row: u64, _epoch: u64, _length: usize) -> Result<u64> {
        Ok(0)
    }

    fn gather(&self, rows: &[(u64, u64)]) -> Result<GlueBatch> {
        let mut batch = GlueBatch::default();
        let (mut classes, mut scores) = (Vec::new(), Vec::new());
        for &(index, _) in rows {
            let row = self.0.glue_row(index)?;
            batch.sequences.push(index, row.input_ids, row.segment_a_length);
            match row.label {
                Some(Label::Class(class)) => classes.push(class.into()),
                Some(Label::Score(score)) => scores.push(score),
                None => {}
            }
        }
        batch.labels = self.0.manifest().columns.label_type().map(|labels| match labels {
            LabelType::Class => Labels::Classes(classes),
            LabelType::Score => Labels::Scores(scores),
        });
        Ok(batch)
    }
}

impl Gather for SquadGather {
    type Batch = SquadBatch;

    fn num_rows(&self) -> u64 {
        self.0.len()
    }

    fn row_length(&self, row: u64) -> Result<usize> {
        self.0.row_length(row)
    }

    fn num_masked(&self, _row: u64, _epoch: u64, _length: usize) -> Result<u64> {
        Ok(0)
    }

    fn gather(&self, rows: &[(u64, u64)]) -> Result<SquadBatch> {
        let mut batch = SquadBatch::default();
        for &(index, _) in rows {
            let row = self.0.squad_row(index)?;
            batch.sequences.push(index, row.input_ids, row.segment_a_length);
            batch.start_positions.push(row.start_position.into());
            batch.end_positions.push(row.end_position.into());
        }
        Ok(batch)
    }
}
