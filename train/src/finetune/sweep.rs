//! A pass of the model over all rows of a dataset, shared by the processes.

use cloze_formats::stream::{Cursor, Gather, Stream, StreamConfig};

use crate::error::{Error, Result};
use crate::run::Signals;
use crate::world::Group;

/// How a dataset is gone through.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// Bound on sequences times longest sequence of a forward pass.
    pub batch_tokens: u64,
    /// Asks to stop.
    pub signals: &'a Signals,
    /// Those who share the work. All of them learn what was found.
    pub group: &'a Group,
}

/// What the model says about rows that follow each other.
struct Found {
    /// The numbers of each row in turn; those of other processes' rows are 0.
    values: Vec<f32>,
    /// Where each row's begin, and at last where they end.
    begins: Vec<usize>,
    /// Where to go on.
    next: Cursor,
}

impl Sweep<'_> {
    /// Has `each` see every row in the dataset's order, with what `forward` gives for it: `width` numbers. `forward` gets
    /// this process's share of the micro-batches, cut from `at_once` rows at a time, and gives the rows of one with their numbers.
    ///
    /// `false`, in all processes, if a signal came to one of them first.
    ///
    /// # Errors
    /// The dataset is damaged, or one of the functions fails, in any process; a process is lost.
    pub(super) fn rows<G: Gather>(
        &self,
        gather: G,
        at_once: u64,
        width: impl Fn(u64) -> Result<usize>,
        mut forward: impl FnMut(&G::Batch) -> Result<Vec<(u64, Vec<f32>)>>,
        mut each: impl FnMut(u64, &[f32]) -> Result<()>,
    ) -> Result<bool> {
        let stream = Stream::new(gather, self.stream_config(at_once));
        let mut cursor = Cursor::default();
        while !stream.is_done(cursor) {
            let share = self.share(&stream, cursor, &width, &mut forward);
            let Found { mut values, begins, next } = self.group.agree(share)?;
            if self.group.maximum(f64::from(self.signals.received().unwrap_or(0)))? > 0.0 {
                return Ok(false);
            }
            self.group.sum_in_place(&mut values)?;
            for (row, place) in (cursor.offset..).zip(begins.windows(2)) {
                each(row, &values[place[0]..place[1]])?;
            }
            cursor = next;
        }
        Ok(true)
    }

    fn stream_config(&self, at_once: u64) -> StreamConfig {
        let world = self.group.world();
        StreamConfig {
            global_batch_size: at_once,
            micro_batch_tokens: self.batch_tokens,
            shuffle: false,
            rank: world.rank,
            world_size: world.world_size,
            ..StreamConfig::default()
        }
    }

    /// This process's share of the rows at `cursor`.
    fn share<G: Gather>(
        &self,
        stream: &Stream<G>,
        cursor: Cursor,
        width: &impl Fn(u64) -> Result<usize>,
        forward: &mut impl FnMut(&G::Batch) -> Result<Vec<(u64, Vec<f32>)>>,
    ) -> Result<Found> {
        let batch = stream.global_batch(cursor).map_err(Error::from)?;
        let (mut begins, mut end) = (vec![0], 0);
        for row in cursor.offset..cursor.offset + batch.num_instances {
            end += width(row)?;
            begins.push(end);
        }
        let mut values = vec![0.0; end];
        for micro_batch in &batch.micro_batches {
            // The others hear of it when they are through with their shares.
            if self.signals.received().is_some() {
                break;
            }
            for (row, found) in forward(micro_batch)? {
                values[begins[(row - cursor.offset) as usize]..][..found.len()].copy_from_slice(&found);
            }
        }
        Ok(Found { values, begins, next: batch.next })
    }
}
