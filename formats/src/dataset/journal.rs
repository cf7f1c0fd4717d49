//! The journal of a dataset that is being written: what each rank has finished.
//!
//! ```text
//! .building/specification.json        what the dataset will be, and the world size
//! .building/created-NAME              side file NAME was not there before; its hash
//! .building/lock                      shared by ranks at work, exclusive to whoever publishes
//! .building/rank-00003/lock
//! .building/rank-00003/inputs.json    what this rank works from; the specification's hash
//! .building/rank-00003/shard-SSSSS-IIIII.arrow, .json    a finished shard and its journal entry
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DatasetSpec;
use super::lock::{rank_dir, ranks};
use crate::error::{AtPath, Result};
use crate::manifest::ShardEntry;
use crate::statistics::Statistics;

/// A shard before publication: shards are numbered through slices in order.
///
/// A slice is what one rank makes without knowing of others. Datasets whose shards all have their numbers from the start
/// have one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    /// Slice.
    pub slice: u32,
    /// Number within the slice, without gaps.
    pub index: u32,
}

impl From<u32> for ShardId {
    fn from(index: u32) -> Self {
        Self { slice: 0, index }
    }
}

impl ShardId {
    /// Its file within the directory of its rank.
    pub(super) fn file(self, rank_dir: &Path, extension: &str) -> PathBuf {
        rank_dir.join(format!("shard-{:05}-{:05}.{extension}", self.slice, self.index))
    }

    /// The shard whose journal entry has this name.
    fn of_entry(name: &str) -> Option<Self> {
        let (slice, index) = name.strip_prefix("shard-")?.strip_suffix(".json")?.split_once('-')?;
        Some(Self { slice: slice.parse().ok()?, index: index.parse().ok()? })
    }
}

/// A shard that is complete on disk, as the journal has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FinishedShard {
    /// As the manifest will have it.
    pub entry: ShardEntry,
    /// Counts over its rows.
    pub statistics: Statistics,
    /// Where the maker stood after it; whatever it needs to go on from there.
    pub position: serde_json::Value,
}

/// What all ranks of an unfinished dataset agree on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Specification {
    pub(super) world_size: u32,
    pub(super) dataset: DatasetSpec,
}

/// What one rank works from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RankInputs {
    /// Of `specification.json` as the rank found it.
    pub(super) specification_sha256: String,
    pub(super) inputs: serde_json::Value,
}

/// The entries of one rank; those that cannot be read are left out, their shards will be made again.
pub(super) fn journal(rank_dir: &Path) -> Result<BTreeMap<ShardId, FinishedShard>> {
    let mut journal = BTreeMap::new();
    for entry in fs::read_dir(rank_dir).at(rank_dir)? {
        let name = entry.at(rank_dir)?.file_name();
        let Some(id) = name.to_str().and_then(ShardId::of_entry) else { continue };
        let path = rank_dir.join(&name);
        if let Ok(shard) = serde_json::from_slice::<FinishedShard>(&fs::read(&path).at(&path)?) {
            journal.insert(id, shard);
        }
    }
    Ok(journal)
}

/// A shard of any rank, and the file it lies in before publication.
pub(super) type Unpublished = (PathBuf, FinishedShard);

/// The entries of all ranks.
pub(super) fn journals(dir: &Path) -> Result<BTreeMap<ShardId, Unpublished>> {
    let mut all = BTreeMap::new();
    for rank in ranks(dir) {
        let rank_dir = rank_dir(dir, rank);
        let entries = journal(&rank_dir)?.into_iter();
        all.extend(entries.map(|(id, shard)| (id, (id.file(&rank_dir, "arrow"), shard))));
    }
    Ok(all)
}

/// File name of shard `number` of `count` in a published dataset.
pub(super) fn published_name(number: usize, count: usize) -> String {
    format!("shard-{number:05}-of-{count:05}.arrow")
}
