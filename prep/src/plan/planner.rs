//! Counting the instances of a corpus, then dealing them to shards.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cloze_formats::config::InstanceConfig;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::stream::Order;
use cloze_formats::{CorpusRow, Dataset};
use rayon::prelude::*;

use super::planned::{Planned, RANDOM};
use super::{Plan, is_in_split};
use crate::error::{AtPath, Result};
use crate::pairs::{Pair, PairConfig, SegmentB, pair_document};
use crate::progress::{Bar, Progress};
use crate::starts::SentenceStarts;

/// Documents planned by one task.
const BLOCK: u64 = 512;
/// Bytes of descriptors that a task keeps until it writes them.
const OUTBOX_BYTES: usize = 1 << 18;

/// What a task will make.
#[derive(Clone, Copy)]
pub(super) struct Count {
    pub documents: u64,
    pub instances: u64,
}

/// What the planning of a corpus needs to know.
pub(super) struct Planner<'a> {
    corpus: &'a Dataset,
    config: &'a InstanceConfig,
    starts: SentenceStarts,
}

impl<'a> Planner<'a> {
    pub(super) fn new(corpus: &'a Dataset, config: &'a InstanceConfig) -> Result<Self> {
        Ok(Self { corpus, config, starts: SentenceStarts::of(corpus)? })
    }

    fn num_blocks(&self) -> u64 {
        self.corpus.len().div_ceil(BLOCK)
    }

    /// Tasks in instance order: all blocks of the first duplicate, then of the second, and so on.
    fn num_tasks(&self) -> u64 {
        self.num_blocks() * u64::from(self.config.dupe_factor)
    }

    fn documents(&self, task: u64) -> (Range<u64>, u64) {
        let (duplicate, block) = (task / self.num_blocks(), task % self.num_blocks());
        (block * BLOCK..((block + 1) * BLOCK).min(self.corpus.len()), duplicate)
    }

    /// Counts the documents and instances of each task.
    pub(super) fn count(&self, progress: Progress) -> Result<Vec<Count>> {
        let tasks = Tasks::new(progress.count("planning", self.num_tasks()));
        let count = |task| {
            let mut count = Count { documents: 0, instances: 0 };
            let (documents, duplicate) = self.documents(task);
            for document in documents.filter(|&d| is_in_split(d, self.config)) {
                count.documents += 1;
                let row = self.corpus.corpus_row(document)?;
                let Ok(()) = self.pairs(row, document, duplicate, |_| {
                    count.instances += 1;
                    Ok::<_, Infallible>(())
                });
            }
            tasks.one_done();
            Ok(count)
        };
        (0..self.num_tasks()).into_par_iter().map(count).collect()
    }

    /// Writes the descriptors of `shards`, each into the file of its shard.
    pub(super) fn write(&self, plan: &Plan, shards: Range<u32>, counts: &[Count], progress: Progress) -> Result<()> {
        let files = Files::create(plan, &shards)?;
        let num_documents = counts.iter().map(|c| c.documents).sum::<u64>() / u64::from(self.config.dupe_factor);
        let rows = plan.totals.first_row(shards.start)..plan.totals.first_row(shards.end);
        let deal = Order::keyed(plan.num_instances(), KeyedRng::new(self.config.seed, Purpose::Deal, 0, 0));
        let first: Vec<u64> =
            counts.iter().scan(0, |sum, c| Some(std::mem::replace(sum, *sum + c.instances))).collect();
        let tasks = Tasks::new(progress.count("dealing", self.num_tasks()));
        (0..self.num_tasks()).into_par_iter().try_for_each(|task| {
            let mut outbox = Outbox::new(&files);
            let row = |instance| Some(deal.at(instance)).filter(|row| rows.contains(row));
            self.plan_task(task, first[task as usize], num_documents, row, |planned| outbox.push(planned))?;
            outbox.send()?;
            tasks.one_done();
            Ok(())
        })
    }

    /// Emits the descriptors of a task, whose first instance has the number `first`. `row` says to which row an instance is
    /// dealt; without one it is left out.
    fn plan_task(
        &self,
        task: u64,
        first: u64,
        num_documents: u64,
        row: impl Fn(u64) -> Option<u64>,
        mut emit: impl FnMut(Planned) -> Result<()>,
    ) -> Result<()> {
        let (documents, duplicate) = self.documents(task);
        let mut instances = first..;
        let mut offsets = Vec::new();
        for document in documents.filter(|&d| is_in_split(d, self.config)) {
            let lengths = self.corpus.corpus_row(document)?;
            offsets.clear();
            offsets.push(0u32);
            offsets.extend(lengths.sentence_lengths.iter().scan(0, |sum, &length| {
                *sum += u32::from(length);
                Some(*sum)
            }));
            self.pairs(lengths, document, duplicate, |pair| {
                let instance = instances.next().expect("numbers without end");
                let Some(position) = row(instance) else { return Ok(()) };
                let (b_document, b_start, b_len_and_random) = match pair.b {
                    SegmentB::Next(b) => (document, offsets[b.start], offsets[b.end] - offsets[b.start]),
                    SegmentB::Random { target } => {
                        let (other, start, len) = self.random_segment(document, instance, num_documents, target)?;
                        (other, start, len | RANDOM)
                    }
                };
                emit(Planned {
                    position,
                    document: document as u32,
                    a_start: offsets[pair.a.start],
                    a_len: offsets[pair.a.end] - offsets[pair.a.start],
                    b_document: b_document as u32,
                    b_start,
                    b_len_and_random,
                })
            })?;
        }
        Ok(())
    }

    fn pairs<E>(
        &self,
        row: CorpusRow<'_>,
        document: u64,
        duplicate: u64,
        mut emit: impl FnMut(Pair) -> Result<(), E>,
    ) -> Result<(), E> {
        let config = PairConfig {
            max_num_tokens: usize::from(self.config.max_seq_length) - 3,
            short_seq_prob: self.config.short_seq_prob,
        };
        let mut rng = KeyedRng::new(self.config.seed, Purpose::Plan, document, duplicate);
        pair_document(row.sentence_lengths, config, &mut rng, |pair, _| emit(pair))
    }

    /// A random place of a random other document of the split: (document, first token, tokens).
    fn random_segment(
        &self,
        document: u64,
        instance: u64,
        num_documents: u64,
        target: usize,
    ) -> Result<(u64, u32, u32)> {
        let mut rng = KeyedRng::new(self.config.seed, Purpose::RandomNext, instance, 0);
        // Alone in its split, a document is paired with a random place of itself.
        let other = if num_documents < 2 {
            document
        } else {
            loop {
                let other = rng.below(self.corpus.len());
                if other != document && is_in_split(other, self.config) {
                    break other;
                }
            }
        };
        let lengths = self.corpus.corpus_row(other)?.sentence_lengths;
        let from = rng.below(lengths.len() as u64) as usize;
        let (start, len) = self.starts.segment(other, lengths, from, target);
        Ok((other, start, len))
    }
}

/// The bar of tasks that end on many threads.
struct Tasks {
    done: AtomicU64,
    bar: Mutex<Bar>,
}

impl Tasks {
    fn new(bar: Bar) -> Self {
        Self { done: AtomicU64::new(0), bar: Mutex::new(bar) }
    }

    fn one_done(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        // Whoever finds it taken is followed by another one.
        if let Ok(mut bar) = self.bar.try_lock() {
            bar.set(done);
        }
    }
}

/// The files of a plan while it is written.
struct Files<'a> {
    plan: &'a Plan,
    first: u64,
    files: Vec<Mutex<File>>,
}

impl<'a> Files<'a> {
    /// Those that `shards` are in.
    fn create(plan: &'a Plan, shards: &Range<u32>) -> Result<Self> {
        let create = |i| {
            let path = plan.file(i);
            File::create(&path).map(Mutex::new).at(path)
        };
        let first = plan.file_of_shard(shards.start);
        let num_files = if shards.is_empty() { 0 } else { plan.file_of_shard(shards.end - 1) - first + 1 };
        let files = (first..first + num_files).map(create).collect::<Result<_>>()?;
        Ok(Self { plan, first, files })
    }
}

/// Descriptors of a task on their way to their files, in whatever order.
struct Outbox<'a> {
    to: &'a Files<'a>,
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl<'a> Outbox<'a> {
    fn new(to: &'a Files<'a>) -> Self {
        Self { to, buffers: vec![Vec::new(); to.files.len()], bytes: 0 }
    }

    fn push(&mut self, planned: Planned) -> Result<()> {
        let plan = self.to.plan;
        let file = plan.file_of_shard(plan.shard_of_row(planned.position)) - self.to.first;
        let bytes = planned.to_bytes();
        self.buffers[file as usize].extend_from_slice(&bytes);
        self.bytes += bytes.len();
        if self.bytes < OUTBOX_BYTES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<()> {
        let Files { plan, first, files } = self.to;
        for ((i, file), buffer) in (*first..).zip(files).zip(&mut self.buffers).filter(|(_, b)| !b.is_empty()) {
            file.lock().expect("no writer panics").write_all(buffer).at(plan.file(i))?;
            buffer.clear();
        }
        self.bytes = 0;
        Ok(())
    }
}
