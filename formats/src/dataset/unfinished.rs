//! Publication: what all ranks have made becomes a dataset.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::journal::{RankInputs, ShardId, Specification, Unpublished, journals, published_name};
use super::lock::{Locks, rank_dir, ranks};
use super::writer::{SPECIFICATION, refuse_finished};
use super::{DatasetSpec, VOCABULARY, WORK_DIR};
use crate::checksum::{Crc32c, sha256_hex};
use crate::durable;
use crate::error::{AtPath, Error, Result};
use crate::manifest::{FORMAT_VERSION, FileEntry, MANIFEST, Manifest, Source};
use crate::shard::Shard;
use crate::statistics::Statistics;
use crate::vocabulary::Vocabulary;

/// A dataset that nobody writes any more and that is not published yet.
#[derive(Debug)]
pub struct UnfinishedDataset {
    pub(super) dir: PathBuf,
    pub(super) specification: Specification,
    pub(super) files: BTreeMap<String, FileEntry>,
    pub(super) locks: Locks,
}

impl UnfinishedDataset {
    /// Opens what the ranks left in `dir`.
    ///
    /// # Errors
    /// Nothing unfinished is there, a rank is at work, ranks disagree about what they made, or the vocabulary is missing or
    /// damaged.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        refuse_finished(&dir)?;
        let path = dir.join(WORK_DIR).join(SPECIFICATION);
        if !path.is_file() {
            let problem = "expected a dataset that ranks have been at work on, found none; run `tokenize` or `build` \
                           with --rank and --world-size first";
            return Err(Error::invalid(dir, problem));
        }
        let locks = Locks::alone(&dir)?;
        let bytes = fs::read(&path).at(&path)?;
        let specification: Specification = serde_json::from_slice(&bytes).map_err(std::io::Error::other).at(&path)?;
        let mut this = Self { dir, specification, files: BTreeMap::new(), locks };
        this.check_agreement(&sha256_hex(&bytes))?;
        this.take_vocabulary()?;
        Ok(this)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the dataset will be.
    pub fn spec(&self) -> &DatasetSpec {
        &self.specification.dataset
    }

    /// Number of ranks that make it.
    pub fn world_size(&self) -> u32 {
        self.specification.world_size
    }

    /// What `rank` keeps until publication; may not exist.
    pub fn rank_dir(&self, rank: u32) -> PathBuf {
        rank_dir(&self.dir, rank)
    }

    /// Every finished shard whose file is there with the length and footer that the journal says. Reads no rows.
    pub fn finished(&self) -> Result<Vec<ShardId>> {
        let shards = journals(&self.dir)?;
        let count = shards.len();
        let spec = self.spec();
        let is_there = |(number, (id, (path, shard))): (usize, (ShardId, Unpublished))| {
            let path = if path.exists() { path } else { self.dir.join(published_name(number, count)) };
            Shard::open(path, &shard.entry, spec.layout, &spec.vocabulary).is_ok().then_some(id)
        };
        Ok(shards.into_iter().enumerate().filter_map(is_there).collect())
    }

    /// Gives the shards their final names, writes the manifest and removes the work directory. The manifest gets
    /// `configuration`, in which whatever was left open is decided.
    ///
    /// # Errors
    /// A shard is missing before another one of its slice, or a file operation fails; what is finished stays for a resume.
    pub fn publish(self, configuration: serde_json::Value, sources: Vec<Source>) -> Result<Manifest> {
        let (shards, statistics) = self.name_shards()?;
        let spec = self.specification.dataset;
        let mut manifest = Manifest {
            checksum: Crc32c(0),
            format: "cloze-dataset".to_owned(),
            version: FORMAT_VERSION,
            writer: spec.writer,
            kind: spec.kind,
            columns: spec.layout,
            vocabulary: spec.vocabulary,
            configuration,
            sources,
            statistics,
            files: self.files.into_values().collect(),
            shards,
        };
        durable::sync_parent(&self.dir.join(MANIFEST))?;
        manifest.publish(&self.dir)?;
        drop(self.locks);
        super::remove_leftovers(&self.dir)?;
        Ok(manifest)
    }

    /// Numbers the shards through all slices and renames them.
    fn name_shards(&self) -> Result<(Vec<crate::manifest::ShardEntry>, Statistics)> {
        let finished = journals(&self.dir)?;
        let count = finished.len();
        let mut expected = ShardId::from(0);
        let mut statistics = Statistics::default();
        let mut entries = Vec::with_capacity(count);
        for (number, (id, (path, mut shard))) in finished.into_iter().enumerate() {
            if id.slice != expected.slice {
                expected = ShardId { slice: id.slice, index: 0 };
            }
            if id != expected {
                let problem = format!("shard {} is missing; run the command again", expected.index);
                return Err(Error::invalid(&self.dir, problem));
            }
            expected.index += 1;
            let name = published_name(number, count);
            // It may bear its final name already if an interruption came just here.
            if path.exists() {
                fs::rename(&path, self.dir.join(&name)).at(path)?;
            }
            shard.entry.file = name;
            statistics.merge(&shard.statistics);
            entries.push(shard.entry);
        }
        Ok((entries, statistics))
    }

    /// All ranks must have worked from this specification: one that began at the same moment with another configuration
    /// did not see it.
    fn check_agreement(&self, specification_sha256: &str) -> Result<()> {
        for rank in ranks(&self.dir) {
            let theirs = read_rank_inputs(&self.rank_dir(rank))?;
            if theirs.is_some_and(|rank| rank.specification_sha256 != specification_sha256) {
                let problem = format!(
                    "rank {rank} was run with another configuration than the others; delete the directory and \
                     run all ranks with the same one"
                );
                return Err(Error::invalid(&self.dir, problem));
            }
        }
        Ok(())
    }

    fn take_vocabulary(&mut self) -> Result<()> {
        let path = self.dir.join(VOCABULARY);
        let vocabulary = Vocabulary::read(&path)?;
        if vocabulary.sha256() != self.spec().vocabulary.sha256 {
            return Err(Error::invalid(path, "the file is damaged; run any of the ranks again, which restores it"));
        }
        let bytes = vocabulary.bytes().len() as u64;
        let entry = FileEntry { file: VOCABULARY.to_owned(), bytes, sha256: vocabulary.sha256().to_owned() };
        self.files.insert(VOCABULARY.to_owned(), entry);
        Ok(())
    }
}

/// Name of [`RankInputs`] within a rank's directory.
pub(super) const RANK_INPUTS: &str = "inputs.json";

/// What the rank of `rank_dir` works from; nothing if it has not begun or its note cannot be read.
pub(super) fn read_rank_inputs(rank_dir: &Path) -> Result<Option<RankInputs>> {
    let path = rank_dir.join(RANK_INPUTS);
    match fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::new(path, e)),
    }
}
