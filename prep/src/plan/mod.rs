//! The first pass of `build`: which instances there will be, and which shard each goes to.
//!
//! A plan is a list of fixed-size descriptors on disk, one file per group of shards, so that planning needs neither the
//! corpus nor the instances in memory.

mod planned;
mod planner;

use std::fs::{self, File};
use std::io::Read;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use cloze_formats::config::{InstanceConfig, Split};
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::{Dataset, durable};
use serde::{Deserialize, Serialize};

use self::planned::PLANNED_BYTES;
pub use self::planned::Planned;
use self::planner::Planner;
use crate::error::{AtPath, Error, Result};
use crate::progress::Progress;
use crate::world::World;

/// Says how much was planned; the last file of a plan to be written.
const TOTALS: &str = "plan.json";
/// Plan files at most; more shards than that share files.
const MAX_FILES: u64 = 256;
/// Bytes of a plan file read at once: whole descriptors.
const READ_BYTES: usize = PLANNED_BYTES << 11;
/// Rows of a shard where the number of shards is left to us: at most 128 shards of at least 65,536 rows, until shards
/// would hold more than 4 million.
const ROWS_PER_SHARD: RangeInclusive<u64> = 65_536..=1 << 22;

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
        let planner = Planner::new(corpus, config)?;
        let counts = planner.count(progress)?;
        let num_instances: u64 = counts.iter().map(|c| c.instances).sum();
        let totals = Totals::new(num_instances, wanted_shards(config, num_instances))
            .map_err(|problem| Error::invalid(corpus.dir(), problem))?;
        let plan = Self { dir: dir.to_owned(), totals };
        planner.write(&plan, world.range(totals.num_shards), &counts, progress)?;
        let json = serde_json::to_vec(&plan.totals).map_err(std::io::Error::other).at(&totals_path)?;
        durable::write(&totals_path, &json)?;
        Ok(plan)
    }

    /// How much was planned.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Instances over all shards.
    pub fn num_instances(&self) -> u64 {
        self.totals.num_instances
    }

    /// Number of shards.
    pub fn num_shards(&self) -> u32 {
        self.totals.num_shards
    }

    /// The rows of `shard`, cut into ranges of at most `most`.
    pub fn ranges(&self, shard: u32, most: u64) -> impl Iterator<Item = Range<u64>> {
        let rows = self.totals.rows(shard);
        let end = rows.end;
        rows.step_by(most as usize).map(move |start| start..(start + most).min(end))
    }

    /// The instances of `rows`, all of one of this rank's shards, in their order.
    ///
    /// # Memory usage
    /// That of the result: the file is read through once.
    pub fn instances(&self, rows: Range<u64>) -> Result<Vec<Planned>> {
        let path = self.file(self.file_of_shard(self.shard_of_row(rows.start)));
        let mut file = File::open(&path).at(&path)?;
        let mut unread = file.metadata().at(&path)?.len();
        let whole = unread.is_multiple_of(PLANNED_BYTES as u64);
        let mut planned = vec![Planned::NONE; (rows.end - rows.start) as usize];
        let mut bytes = vec![0; READ_BYTES];
        while unread > 0 {
            let chunk = &mut bytes[..unread.min(READ_BYTES as u64) as usize];
            file.read_exact(chunk).at(&path)?;
            unread -= chunk.len() as u64;
            for record in chunk.as_chunks().0 {
                let position = Planned::position_of(record);
                if rows.contains(&position) {
                    planned[(position - rows.start) as usize] = Planned::from_bytes(record);
                }
            }
        }
        let expected = planned.len();
        let found = planned.iter().filter(|p| **p != Planned::NONE).count();
        if !whole || found != expected {
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

/// The number of shards that `config` asks for; 0: by size. What is held out is the smaller part: where it has fewer
/// instances than the other one is to have shards, it gets a shard for each.
pub(crate) fn wanted_shards(config: &InstanceConfig, num_instances: u64) -> u32 {
    match config.split {
        Split::Train => config.num_shards,
        Split::HeldOut => u64::from(config.num_shards).min(num_instances.max(1)) as u32,
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

    #[test]
    fn ranges_of_a_shard_are_the_shard_and_a_file_that_lacks_an_instance_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan { dir: dir.path().to_owned(), totals: Totals { num_instances: 20, num_shards: 2 } };
        let instance = |position: u64| Planned { position, document: position as u32, ..Planned::NONE };
        let write = |positions: &[u64]| {
            let bytes: Vec<u8> = positions.iter().flat_map(|&position| instance(position).to_bytes()).collect();
            fs::write(plan.file(1), bytes).unwrap();
        };
        // In the order of planning, which is none.
        write(&[13, 10, 19, 11, 17, 12, 18, 16, 14, 15]);
        let expected: Vec<Planned> = (10..20).map(instance).collect();
        assert_eq!(plan.instances(10..20).unwrap(), expected);
        for most in [1, 3, 10, 11] {
            let joined: Vec<Planned> = plan.ranges(1, most).flat_map(|rows| plan.instances(rows).unwrap()).collect();
            assert_eq!(joined, expected, "{most}");
        }
        write(&[13, 10, 19, 11, 17, 12, 18, 16, 14]);
        assert!(plan.instances(10..15).is_ok());
        let error = plan.instances(15..20).unwrap_err().to_string();
        assert!(error.contains("expected 5 planned instances, found 4"), "{error}");
    }
}
