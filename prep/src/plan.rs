//! The first pass of `build`: which instances there will be, and which shard each goes to.
//!
//! A plan is a list of fixed-size descriptors on disk, one file per group of shards, so that planning needs neither the
//! corpus nor the instances in memory.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cloze_formats::config::{InstanceConfig, Split};
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::stream::Order;
use cloze_formats::{CorpusRow, Dataset, durable};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{AtPath, Error, Result};
use crate::pairs::{Pair, PairConfig, SegmentB, pair_document, take_sentences};
use crate::progress::Progress;
use crate::world::World;

/// Says how much was planned; the last file of a plan to be written.
const TOTALS: &str = "plan.json";
/// Documents planned by one task.
const BLOCK: u64 = 512;
/// Plan files at most; more shards than that share files.
const MAX_FILES: u64 = 256;
/// Rows of a shard where the number of shards is left to us: at most 128 shards of at least 65,536 rows, until shards
/// would hold more than 4 million.
const ROWS_PER_SHARD: RangeInclusive<u64> = 65_536..=1 << 22;

/// One instance to be, in token offsets; 32 bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Row over all shards.
    pub position: u64,
    /// Document of segment A.
    pub document: u32,
    /// First token of A in its document.
    pub a_start: u32,
    /// Tokens of A before truncation.
    pub a_len: u32,
    /// Document of segment B; the same as A's where B follows A.
    pub b_document: u32,
    /// First token of B.
    pub b_start: u32,
    /// Tokens of B before truncation; the highest bit says that B is random.
    b_len_and_random: u32,
}

const PLANNED_BYTES: usize = 32;
const RANDOM: u32 = 1 << 31;

impl Planned {
    /// Tokens of B before truncation.
    pub fn b_len(&self) -> u32 {
        self.b_len_and_random & !RANDOM
    }

    /// Whether B is random.
    pub fn is_random(&self) -> bool {
        self.b_len_and_random & RANDOM != 0
    }

    fn to_bytes(self) -> [u8; PLANNED_BYTES] {
        let mut bytes = [0; PLANNED_BYTES];
        bytes[..8].copy_from_slice(&self.position.to_le_bytes());
        let rest = [self.document, self.a_start, self.a_len, self.b_document, self.b_start, self.b_len_and_random];
        for (chunk, value) in bytes[8..].chunks_exact_mut(4).zip(rest) {
            chunk.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; PLANNED_BYTES]) -> Self {
        let word = |i: usize| u32::from_le_bytes(bytes[8 + 4 * i..12 + 4 * i].try_into().expect("four bytes"));
        Self {
            position: u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
            document: word(0),
            a_start: word(1),
            a_len: word(2),
            b_document: word(3),
            b_start: word(4),
            b_len_and_random: word(5),
        }
    }
}

/// What planning found, kept beside the descriptors: its presence says that they are complete.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub num_instances: u64,
    pub num_shards: u32,
}

impl Totals {
    /// `num_shards` 0: by size.
    pub fn new(num_instances: u64, num_shards: u32) -> Result<Self, String> {
        if u64::from(num_shards) > num_instances {
            let what = "num_shards: expected at most one per instance";
            return Err(format!("{what} ({num_instances}), found {num_shards}"));
        }
        let by_size = (num_instances / 128).clamp(*ROWS_PER_SHARD.start(), *ROWS_PER_SHARD.end());
        let num_shards = if num_shards == 0 { num_instances.div_ceil(by_size) as u32 } else { num_shards };
        Ok(Self { num_instances, num_shards })
    }

    /// Rows of `shard`; counts of shards differ by at most 1.
    pub fn rows(&self, shard: u32) -> Range<u64> {
        self.first_row(shard)..self.first_row(shard + 1)
    }

    /// First row of `shard`, or the number of rows for the one after the last.
    fn first_row(&self, shard: u32) -> u64 {
        (u128::from(shard) * u128::from(self.num_instances) / u128::from(self.num_shards)) as u64
    }
}

/// A complete plan on disk.
#[derive(Debug)]
pub struct Plan {
    dir: PathBuf,
    totals: Totals,
}

impl Plan {
    /// The plan that is complete in `dir`, if there is one.
    pub fn read(dir: &Path) -> Option<Self> {
        let totals = serde_json::from_slice(&fs::read(dir.join(TOTALS)).ok()?).ok()?;
        Some(Self { dir: dir.to_owned(), totals })
    }

    /// Plans the instances of `corpus` in `dir`, or finds them there from an interrupted run. Every rank of `world` counts
    /// all instances, and keeps the descriptors of the shards that fall to it.
    ///
    /// # Errors
    /// The corpus has too few documents for the split, is damaged, or `dir` cannot be written.
    pub fn make(
        corpus: &Dataset,
        config: &InstanceConfig,
        world: World,
        dir: &Path,
        progress: Progress,
    ) -> Result<Self> {
        if let Some(plan) = Self::read(dir) {
            return Ok(plan);
        }
        let totals_path = dir.join(TOTALS);
        fs::create_dir_all(dir).at(dir)?;
        let planner = Planner { corpus, config };
        let counts = planner.count(progress)?;
        let num_instances: u64 = counts.iter().map(|c| c.instances).sum();
        let num_documents: u64 = counts.iter().map(|c| c.documents).sum::<u64>() / u64::from(config.dupe_factor);
        let totals =
            Totals::new(num_instances, config.num_shards).map_err(|problem| Error::invalid(corpus.dir(), problem))?;
        let plan = Self { dir: dir.to_owned(), totals };
        planner.write(&plan, world.range(totals.num_shards), &counts, num_documents, progress)?;
        let json = serde_json::to_vec(&plan.totals).map_err(std::io::Error::other).at(&totals_path)?;
        durable::write(&totals_path, &json)?;
        Ok(plan)
    }

    /// Instances over all shards.
    pub fn num_instances(&self) -> u64 {
        self.totals.num_instances
    }

    /// Number of shards.
    pub fn num_shards(&self) -> u32 {
        self.totals.num_shards
    }

    /// The instances of `shard`, which must be one of this rank's, in row order.
    pub fn shard(&self, shard: u32) -> Result<Vec<Planned>> {
        let path = self.file(self.file_of_shard(shard));
        let mut bytes = Vec::new();
        File::open(&path).and_then(|mut f| f.read_to_end(&mut bytes)).at(&path)?;
        let (records, rest) = bytes.as_chunks::<PLANNED_BYTES>();
        let rows = self.totals.rows(shard);
        let mut planned: Vec<Planned> =
            records.iter().map(Planned::from_bytes).filter(|p| rows.contains(&p.position)).collect();
        planned.sort_unstable_by_key(|p| p.position);
        // Positions are distinct by construction, so the right number of them in range is all of them.
        if !rest.is_empty() || planned.len() as u64 != rows.end - rows.start {
            let (expected, found) = (rows.end - rows.start, planned.len());
            let problem =
                format!("expected {expected} planned instances, found {found}; delete the directory and retry");
            return Err(Error::invalid(path, problem));
        }
        Ok(planned)
    }

    fn shard_of_row(&self, row: u64) -> u32 {
        let shards = u128::from(self.totals.num_shards);
        (((u128::from(row) + 1) * shards - 1) / u128::from(self.totals.num_instances)) as u32
    }

    fn num_files(&self) -> u64 {
        u64::from(self.totals.num_shards).min(MAX_FILES)
    }

    fn file_of_shard(&self, shard: u32) -> u64 {
        u64::from(shard) * self.num_files() / u64::from(self.totals.num_shards)
    }

    fn file(&self, file: u64) -> PathBuf {
        self.dir.join(format!("plan-{file:05}"))
    }
}

#[derive(Clone, Copy)]
struct Count {
    documents: u64,
    instances: u64,
}

struct Planner<'a> {
    corpus: &'a Dataset,
    config: &'a InstanceConfig,
}

impl Planner<'_> {
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
    fn count(&self, progress: Progress) -> Result<Vec<Count>> {
        let bar = Mutex::new(progress.count("planning", self.num_tasks()));
        let done = AtomicU64::new(0);
        let count = |task| {
            let mut count = Count { documents: 0, instances: 0 };
            let (documents, duplicate) = self.documents(task);
            for document in documents.filter(|&d| is_in_split(d, self.config)) {
                count.documents += 1;
                let row = self.corpus.corpus_row(document)?;
                self.pairs(row, document, duplicate, |_| count.instances += 1);
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Ok(mut bar) = bar.try_lock() {
                bar.set(done);
            }
            Ok(count)
        };
        (0..self.num_tasks()).into_par_iter().map(count).collect()
    }

    /// Writes the descriptors of `shards`, each into the file of its shard.
    fn write(
        &self,
        plan: &Plan,
        shards: Range<u32>,
        counts: &[Count],
        num_documents: u64,
        progress: Progress,
    ) -> Result<()> {
        let create = |i| {
            let path = plan.file(i);
            File::create(&path).map(Mutex::new).at(path)
        };
        let first_file = plan.file_of_shard(shards.start);
        let num_files = if shards.is_empty() { 0 } else { plan.file_of_shard(shards.end - 1) - first_file + 1 };
        let files: Vec<Mutex<File>> = (first_file..first_file + num_files).map(create).collect::<Result<_>>()?;
        let rows = plan.totals.first_row(shards.start)..plan.totals.first_row(shards.end);
        let deal = Order::keyed(plan.num_instances(), KeyedRng::new(self.config.seed, Purpose::Deal, 0, 0));
        let first: Vec<u64> =
            counts.iter().scan(0, |sum, c| Some(std::mem::replace(sum, *sum + c.instances))).collect();
        let bar = Mutex::new(progress.count("dealing", self.num_tasks()));
        let done = AtomicU64::new(0);
        (0..self.num_tasks()).into_par_iter().try_for_each(|task| {
            let mut buffers = vec![Vec::new(); files.len()];
            let row = |instance| Some(deal.at(instance)).filter(|row| rows.contains(row));
            self.plan_task(task, first[task as usize], num_documents, row, |planned| {
                let file = plan.file_of_shard(plan.shard_of_row(planned.position)) - first_file;
                buffers[file as usize].extend_from_slice(&planned.to_bytes());
            })?;
            for ((i, file), buffer) in (first_file..).zip(&files).zip(&buffers).filter(|(_, b)| !b.is_empty()) {
                file.lock().expect("no writer panics").write_all(buffer).at(plan.file(i))?;
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Ok(mut bar) = bar.try_lock() {
                bar.set(done);
            }
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
        mut emit: impl FnMut(Planned),
    ) -> Result<()> {
        let (documents, duplicate) = self.documents(task);
        let mut instances = first..;
        for document in documents.filter(|&d| is_in_split(d, self.config)) {
            let lengths = self.corpus.corpus_row(document)?;
            let mut offsets = Vec::with_capacity(lengths.sentence_lengths.len() + 1);
            offsets.push(0u32);
            for &length in lengths.sentence_lengths {
                offsets.push(offsets[offsets.len() - 1] + u32::from(length));
            }
            let mut pairs = Vec::new();
            self.pairs(lengths, document, duplicate, |pair| pairs.push(pair));
            for (pair, instance) in pairs.into_iter().zip(instances.by_ref()) {
                let Some(position) = row(instance) else { continue };
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
                });
            }
        }
        Ok(())
    }

    fn pairs(&self, row: CorpusRow<'_>, document: u64, duplicate: u64, mut emit: impl FnMut(Pair)) {
        let config = PairConfig {
            max_num_tokens: usize::from(self.config.max_seq_length) - 3,
            short_seq_prob: self.config.short_seq_prob,
        };
        let mut rng = KeyedRng::new(self.config.seed, Purpose::Plan, document, duplicate);
        let Ok(()) = pair_document(row.sentence_lengths, config, &mut rng, |pair, _| {
            emit(pair);
            Ok::<_, Infallible>(())
        });
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
        let taken = take_sentences(lengths, from, target);
        let tokens = |sentences: &[u16]| sentences.iter().map(|&l| u32::from(l)).sum::<u32>();
        Ok((other, tokens(&lengths[..from]), tokens(&lengths[taken])))
    }
}

/// Whether `document` belongs to the split of `config`. Depends on the document's number alone, not on the seed: what
/// phase 1 holds out, phase 2 must not train on.
pub fn is_in_split(document: u64, config: &InstanceConfig) -> bool {
    let held_out = config.held_out > 0.0 && KeyedRng::new(0, Purpose::HeldOut, document, 0).unit() < config.held_out;
    held_out == (config.split == Split::HeldOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_survive_the_disk() {
        let planned = Planned {
            position: u64::MAX - 5,
            document: 1,
            a_start: 2,
            a_len: 3,
            b_document: 4,
            b_start: 5,
            b_len_and_random: 6 | RANDOM,
        };
        assert_eq!(Planned::from_bytes(&planned.to_bytes()), planned);
        assert!(planned.is_random() && planned.b_len() == 6);
    }

    #[test]
    fn shards_differ_by_at_most_one_row_and_rows_know_their_shard() {
        for (num_instances, num_shards) in [(10, 3), (7, 7), (1_000, 128), (5, 8)] {
            let plan = Plan { dir: PathBuf::new(), totals: Totals { num_instances, num_shards } };
            let sizes: Vec<u64> = (0..num_shards).map(|s| plan.totals.rows(s)).map(|r| r.end - r.start).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            for row in 0..num_instances {
                let shard = plan.shard_of_row(row);
                assert!(plan.totals.rows(shard).contains(&row));
            }
        }
    }
}
