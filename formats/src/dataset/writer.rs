//! Writing a dataset: shards one by one, a journal of the finished ones, the manifest last.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::{FinishedShard, RankInputs, ShardId, Specification, journal, journals, published_name};
use super::lock::{LOCK, Locks, rank_dir, ranks};
use super::side_files;
use super::unfinished::{RANK_INPUTS, UnfinishedDataset, read_rank_inputs};
use super::{MANIFEST, VOCABULARY};
use crate::checksum::sha256_hex;
use crate::durable;
use crate::error::{AtPath, Error, Result};
use crate::manifest::{FileEntry, Kind, Manifest, Source, VocabularyInfo};
use crate::schema::Layout;
use crate::shard::{Shard, ShardWriter};
use crate::vocabulary::Vocabulary;

/// Hidden directory of a dataset that is being written: locks, journal, unfinished files.
pub const WORK_DIR: &str = ".building";
/// Name of the [`Specification`] in it.
pub(super) const SPECIFICATION: &str = "specification.json";

/// What a dataset will be; a run that was interrupted is resumed only by an equal one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// Program and version.
    pub writer: String,
    /// What the rows are.
    pub kind: Kind,
    /// The columns.
    pub layout: Layout,
    /// The vocabulary.
    pub vocabulary: VocabularyInfo,
    /// Everything that decides the bytes.
    pub configuration: serde_json::Value,
    /// Identity of the inputs, any form; compared on resume, not stored in the manifest.
    pub inputs: serde_json::Value,
}

/// The part of a dataset that one of several processes makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Which of the processes.
    pub rank: u32,
    /// How many there are.
    pub world_size: u32,
    /// Identity of what this rank alone works from, any form; compared on resume.
    pub inputs: serde_json::Value,
}

impl Share {
    /// Everything, in one process.
    pub fn whole() -> Self {
        Self { rank: 0, world_size: 1, inputs: serde_json::Value::Null }
    }
}

/// Writes one dataset directory, or a rank's part of it; a second process that writes the same is refused.
#[derive(Debug)]
pub struct DatasetWriter {
    dir: PathBuf,
    specification: Specification,
    rank: u32,
    files: BTreeMap<String, FileEntry>,
    locks: Locks,
}

impl DatasetWriter {
    /// Starts, or resumes, the dataset in `dir`, creating the directory.
    ///
    /// # Errors
    /// `dir` holds a finished dataset or another vocabulary, another process is at work there, an interrupted run there was
    /// made with another configuration, or the directory cannot be written.
    pub fn create(dir: impl AsRef<Path>, spec: DatasetSpec, vocabulary: &Vocabulary) -> Result<Self> {
        Self::create_share(dir, spec, vocabulary, &Share::whole())
    }

    /// Like [`create`](Self::create), for one of several processes that work at the same time or one after the other.
    ///
    /// # Errors
    /// Also: other ranks began with another world size or configuration.
    pub fn create_share(
        dir: impl AsRef<Path>,
        spec: DatasetSpec,
        vocabulary: &Vocabulary,
        share: &Share,
    ) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        refuse_finished(&dir)?;
        let (rank, work) = (share.rank, rank_dir(&dir, share.rank));
        let is_new = !work.exists();
        fs::create_dir_all(&work).at(&work)?;
        let locks = take_locks(&dir, share)?;
        // It may have been published before the lock was ours.
        refuse_finished(&dir)?;
        let specification = Specification { world_size: share.world_size, dataset: spec };
        let mut this = Self { dir, specification, rank, files: BTreeMap::new(), locks };
        match this.begin(share, vocabulary) {
            Ok(()) => Ok(this),
            Err(error) => {
                // A refused rank leaves the directory as it was.
                if is_new {
                    this.abandon();
                }
                Err(error)
            }
        }
    }

    fn begin(&mut self, share: &Share, vocabulary: &Vocabulary) -> Result<()> {
        self.check_interrupted(share)?;
        self.write_file(VOCABULARY, vocabulary.bytes())
    }

    /// Puts values that "automatic" settings came to into the manifest; what a resumed run is compared with stays.
    pub fn resolve_configuration(&mut self, configuration: serde_json::Value) {
        self.specification.dataset.configuration = configuration;
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The hidden directory for whatever the maker keeps until publication: this rank's own.
    pub fn work_dir(&self) -> PathBuf {
        rank_dir(&self.dir, self.rank)
    }

    /// Whether a second process that writes the same would be refused; not where the file system has no locks.
    pub fn is_locked(&self) -> bool {
        self.locks.are_held()
    }

    /// Shards that an interrupted run of this rank (or this one) has finished; each one's checksums are compared, and a
    /// damaged one counts as not finished.
    pub fn finished(&self) -> Result<BTreeMap<ShardId, FinishedShard>> {
        self.finished_with(|_, _| ())
    }

    /// Like [`finished`](Self::finished); tells `checked` after each shard how many bytes were compared, and of how many.
    pub fn finished_with(&self, mut checked: impl FnMut(u64, u64)) -> Result<BTreeMap<ShardId, FinishedShard>> {
        let mut finished = journal(&self.work_dir())?;
        let total = finished.values().map(|shard| shard.entry.bytes).sum();
        let mut done = 0;
        let final_names = self.final_names()?;
        finished.retain(|&id, shard| {
            let opened = self.open(id, shard, &final_names);
            let is_whole = opened.is_ok_and(|shard| shard.check_batches().is_ok());
            done += shard.entry.bytes;
            checked(done, total);
            is_whole
        });
        Ok(finished)
    }

    /// The shards that this rank has finished, open, in their order.
    pub fn open_finished(&self) -> Result<Vec<Shard>> {
        let final_names = self.final_names()?;
        journal(&self.work_dir())?.iter().map(|(&id, shard)| self.open(id, shard, &final_names)).collect()
    }

    /// A shard has its final name where an interruption came during publication, so once all ranks were done.
    fn final_names(&self) -> Result<BTreeMap<ShardId, String>> {
        let all = journals(&self.dir)?;
        Ok(all.keys().enumerate().map(|(number, &id)| (id, published_name(number, all.len()))).collect())
    }

    fn open(&self, id: ShardId, shard: &FinishedShard, final_names: &BTreeMap<ShardId, String>) -> Result<Shard> {
        let unpublished = self.unpublished(id);
        let path = match final_names.get(&id) {
            Some(name) if !unpublished.exists() => self.dir.join(name),
            _ => unpublished,
        };
        let spec = &self.specification.dataset;
        Shard::open(path, &shard.entry, spec.layout, &spec.vocabulary)
    }

    /// Starts shard `id`.
    pub fn shard(&self, id: impl Into<ShardId>) -> Result<ShardWriter> {
        let spec = &self.specification.dataset;
        ShardWriter::create(self.unpublished(id.into()), spec.layout, &spec.vocabulary)
    }

    /// Finishes shard `id`: from here on a resumed run keeps it.
    pub fn finish_shard(
        &self,
        id: impl Into<ShardId>,
        shard: ShardWriter,
        position: serde_json::Value,
    ) -> Result<FinishedShard> {
        let id = id.into();
        let (entry, statistics) = shard.finish()?;
        let finished = FinishedShard { entry, statistics, position };
        let path = id.file(&self.work_dir(), "json");
        let json = serde_json::to_vec(&finished).map_err(std::io::Error::other).at(&path)?;
        durable::write(&path, &json)?;
        Ok(finished)
    }

    /// Writes a side file, which the manifest will list with its hash.
    ///
    /// # Errors
    /// Another file by this name is there that no run of this dataset wrote, or it cannot be written.
    pub fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        side_files::write(&self.dir, &self.work_dir(), name, bytes)?;
        let entry = FileEntry { file: name.to_owned(), bytes: bytes.len() as u64, sha256: sha256_hex(bytes) };
        self.files.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Gives the shards their final names, writes the manifest and removes the work directory.
    ///
    /// # Errors
    /// A shard below the highest number is missing, or a file operation fails; what is finished stays for a resume.
    pub fn publish(self, sources: Vec<Source>) -> Result<Manifest> {
        let configuration = self.specification.dataset.configuration.clone();
        self.into_unfinished().publish(configuration, sources)
    }

    /// The dataset as it is before publication, still locked by this process. For the only process; of several, each one
    /// drops its writer when it is done, and [`UnfinishedDataset::open`] goes on from there.
    ///
    /// # Panics
    /// There are other ranks.
    pub fn into_unfinished(self) -> UnfinishedDataset {
        assert_eq!(self.specification.world_size, 1, "only a process that is alone publishes what it wrote");
        let Self { dir, specification, files, locks, .. } = self;
        UnfinishedDataset { dir, specification, files, locks }
    }

    /// Does `work`. Where that fails, shards that are finished stay for a resumed run; without any, nothing stays.
    pub fn attempt<T>(mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<(Self, T)> {
        match work(&mut self) {
            Ok(made) => Ok((self, made)),
            Err(error) => {
                if !self.has_finished_any() {
                    self.abandon();
                }
                Err(error)
            }
        }
    }

    /// Whether this rank has finished any shard, in this run or an interrupted one.
    pub fn has_finished_any(&self) -> bool {
        // What cannot be looked at is not thrown away.
        journal(&self.work_dir()).map_or(true, |shards| !shards.is_empty())
    }

    /// After a failure: removes every trace of this rank, and of the dataset where there is no other. What was in the
    /// directory before stays.
    pub fn abandon(self) {
        let (dir, work) = (self.dir.clone(), self.work_dir());
        let _ = fs::remove_dir_all(work);
        drop(self);
        let nobody_else = Locks::alone(&dir);
        if nobody_else.is_ok() && ranks(&dir).is_empty() {
            let _ = side_files::remove_created(&dir);
            let _ = fs::remove_dir_all(dir.join(WORK_DIR));
            // Only if nothing else lies there.
            let _ = fs::remove_dir(dir);
        }
    }

    fn unpublished(&self, id: ShardId) -> PathBuf {
        id.file(&self.work_dir(), "arrow")
    }

    /// Compares with the specification and inputs of an interrupted run or of other ranks, or notes ours.
    fn check_interrupted(&self, share: &Share) -> Result<()> {
        let path = self.dir.join(WORK_DIR).join(SPECIFICATION);
        let ours = serde_json::to_vec_pretty(&self.specification).map_err(std::io::Error::other).at(&path)?;
        let write = || durable::write_by(&path, &self.work_dir().join(SPECIFICATION), &ours);
        match fs::read(&path) {
            Ok(theirs) if theirs == ours => {}
            // Nothing of that run is worth keeping: it may have stopped at the very input that was mended since.
            Ok(theirs) if share.world_size == 1 && journals(&self.dir)?.is_empty() && self.is_of_our_kind(&theirs) => {
                discard_ranks(&self.dir)?;
                fs::create_dir_all(self.work_dir()).at(self.work_dir())?;
                write()?;
            }
            Ok(theirs) => return Err(self.mismatch(difference(&theirs, &self.specification))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => write()?,
            Err(e) => return Err(Error::new(path, e)),
        }
        self.check_rank_inputs(share, sha256_hex(&ours))
    }

    /// Whether an interrupted run was making what we make: beside another kind of dataset there may be more than its journal tells.
    fn is_of_our_kind(&self, theirs: &[u8]) -> bool {
        let theirs = serde_json::from_slice::<Specification>(theirs);
        theirs.is_ok_and(|theirs| theirs.dataset.kind == self.specification.dataset.kind)
    }

    fn check_rank_inputs(&self, share: &Share, specification_sha256: String) -> Result<()> {
        let work = self.work_dir();
        let ours = RankInputs { specification_sha256, inputs: share.inputs.clone() };
        if let Some(theirs) = read_rank_inputs(&work)? {
            if theirs == ours {
                return Ok(());
            }
            if !journal(&work)?.is_empty() {
                return Err(self.mismatch("set of inputs".to_owned()));
            }
            clear(&work)?;
        }
        let path = work.join(RANK_INPUTS);
        let json = serde_json::to_vec(&ours).map_err(std::io::Error::other).at(&path)?;
        durable::write(path, &json)
    }

    fn mismatch(&self, what: String) -> Error {
        let problem = format!(
            "an interrupted run here was made with another {what}; repeat that run to resume it, \
             or delete the directory"
        );
        Error::invalid(&self.dir, problem)
    }
}

/// An error if `dir` is a finished dataset: nothing finished is overwritten.
pub fn refuse_finished(dir: &Path) -> Result<()> {
    if !dir.join(MANIFEST).exists() {
        return Ok(());
    }
    remove_leftovers(dir)?;
    Err(Error::invalid(dir, "a finished dataset is here already; delete it or choose another directory"))
}

/// Removes the journal that a run leaves in the finished dataset `dir` when it is killed right after publishing the manifest.
pub fn remove_leftovers(dir: &Path) -> Result<()> {
    let work = dir.join(WORK_DIR);
    match fs::remove_dir_all(&work) {
        // Not there, or removed by another process at this moment.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.at(work),
    }
}

/// Throws away what an interrupted run of this rank left in `dir`; the whole unfinished dataset where the rank is alone.
/// A finished dataset is left alone.
///
/// # Errors
/// Another process is at work there.
pub fn discard_interrupted(dir: &Path, share: &Share) -> Result<()> {
    let work = rank_dir(dir, share.rank);
    if dir.join(MANIFEST).exists() || !dir.join(WORK_DIR).is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&work).at(&work)?;
    let _locks = take_locks(dir, share)?;
    if share.world_size > 1 {
        return clear(&work);
    }
    let specification = dir.join(WORK_DIR).join(SPECIFICATION);
    if specification.exists() {
        fs::remove_file(&specification).at(specification)?;
    }
    discard_ranks(dir)
}

fn take_locks(dir: &Path, share: &Share) -> Result<Locks> {
    if share.world_size == 1 { Locks::alone(dir) } else { Locks::of_rank(dir, share.rank) }
}

/// Removes what all ranks made, shards and side files that bear their final names already included.
fn discard_ranks(dir: &Path) -> Result<()> {
    let count = journals(dir)?.len();
    let published = (0..count).map(|number| dir.join(published_name(number, count))).filter(|path| path.exists());
    published.into_iter().try_for_each(|path| fs::remove_file(&path).at(path))?;
    side_files::remove_created(dir)?;
    ranks(dir).into_iter().map(|rank| rank_dir(dir, rank)).try_for_each(|rank| fs::remove_dir_all(&rank).at(rank))
}

/// Empties a rank's directory, its lock aside.
fn clear(work: &Path) -> Result<()> {
    for entry in fs::read_dir(work).at(work)?.flatten().filter(|e| e.file_name() != LOCK) {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.at(path)?;
    }
    Ok(())
}

/// What differs, in words.
fn difference(theirs: &[u8], ours: &Specification) -> String {
    let Ok(theirs) = serde_json::from_slice::<Specification>(theirs) else { return "version of Cloze".to_owned() };
    let (t, o) = (&theirs.dataset, &ours.dataset);
    let what = match () {
        () if theirs.world_size != ours.world_size => {
            return format!("world size ({} processes, now {})", theirs.world_size, ours.world_size);
        }
        () if t.kind != o.kind => "kind",
        () if t.vocabulary != o.vocabulary => "vocabulary",
        () if t.configuration != o.configuration => "configuration",
        () if t.inputs != o.inputs => "set of inputs",
        () => "version of Cloze",
    };
    what.to_owned()
}
