//! Writing a dataset: shards one by one, a journal of the finished ones, the manifest last.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::VOCABULARY;
use crate::checksum::{Crc32c, sha256_hex};
use crate::durable;
use crate::error::{AtPath, Error, ErrorKind, Result};
use crate::manifest::{FORMAT_VERSION, FileEntry, Kind, MANIFEST, Manifest, ShardEntry, Source, VocabularyInfo};
use crate::schema::Layout;
use crate::shard::{Shard, ShardWriter};
use crate::statistics::Statistics;
use crate::vocabulary::Vocabulary;

/// Hidden directory of a dataset that is being written: lock, journal, unfinished files.
pub const WORK_DIR: &str = ".building";

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

/// Writes one dataset directory; a second process in the same directory is refused.
#[derive(Debug)]
pub struct DatasetWriter {
    dir: PathBuf,
    spec: DatasetSpec,
    files: BTreeMap<String, FileEntry>,
    lock: File,
}

impl DatasetWriter {
    /// Starts, or resumes, the dataset in `dir`, creating the directory.
    ///
    /// # Errors
    /// `dir` holds a finished dataset, another process is at work there, an interrupted run there was made with another
    /// configuration, or the directory cannot be written.
    pub fn create(dir: impl AsRef<Path>, spec: DatasetSpec, vocabulary: &Vocabulary) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        refuse_finished(&dir)?;
        let work = dir.join(WORK_DIR);
        fs::create_dir_all(&work).at(&work)?;
        let lock = lock(&work)?;
        let this = Self { dir, spec, files: BTreeMap::new(), lock };
        this.check_interrupted()?;
        let mut this = this;
        this.write_file(VOCABULARY, vocabulary.bytes())?;
        Ok(this)
    }

    /// Puts values that "automatic" settings came to into the manifest; what a resumed run is compared with stays.
    pub fn resolve_configuration(&mut self, configuration: serde_json::Value) {
        self.spec.configuration = configuration;
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The hidden directory for whatever the maker keeps until it is done; gone after [`publish`](Self::publish).
    pub fn work_dir(&self) -> PathBuf {
        self.dir.join(WORK_DIR)
    }

    /// Shards that an interrupted run (or this one) has finished, by number; each one's checksums are compared, and a
    /// damaged one counts as not finished.
    pub fn finished(&self) -> Result<BTreeMap<u32, FinishedShard>> {
        let mut finished = self.journal()?;
        finished.retain(|&index, shard| self.locate(index).is_some_and(|path| self.is_whole(&path, shard)));
        Ok(finished)
    }

    fn is_whole(&self, path: &Path, shard: &FinishedShard) -> bool {
        Shard::open(path, &shard.entry, self.spec.layout, &self.spec.vocabulary)
            .is_ok_and(|s| s.check_batches().is_ok())
    }

    /// What the journal says; entries that cannot be read are left out, their shards will be made again.
    fn journal(&self) -> Result<BTreeMap<u32, FinishedShard>> {
        let mut journal = BTreeMap::new();
        let work = self.work_dir();
        for entry in fs::read_dir(&work).at(&work)? {
            let name = entry.at(&work)?.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("shard-").and_then(|s| s.strip_suffix(".json"));
            let Some(index) = number.and_then(|n| n.parse::<u32>().ok()) else { continue };
            let path = work.join(&name);
            if let Ok(shard) = serde_json::from_slice::<FinishedShard>(&fs::read(&path).at(&path)?) {
                journal.insert(index, shard);
            }
        }
        Ok(journal)
    }

    /// Starts shard number `index`.
    pub fn shard(&self, index: u32) -> Result<ShardWriter> {
        ShardWriter::create(self.unpublished(index), self.spec.layout, &self.spec.vocabulary)
    }

    /// Finishes shard `index`: from here on a resumed run keeps it.
    pub fn finish_shard(&self, index: u32, shard: ShardWriter, position: serde_json::Value) -> Result<FinishedShard> {
        let (entry, statistics) = shard.finish()?;
        let finished = FinishedShard { entry, statistics, position };
        let path = self.work_dir().join(format!("shard-{index:05}.json"));
        let json = serde_json::to_vec(&finished).map_err(std::io::Error::other).at(&path)?;
        durable::write(&path, &json)?;
        Ok(finished)
    }

    /// Writes a side file, which the manifest will list with its hash.
    pub fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        durable::write(self.dir.join(name), bytes)?;
        let entry = FileEntry { file: name.to_owned(), bytes: bytes.len() as u64, sha256: sha256_hex(bytes) };
        self.files.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Gives the shards their final names, writes the manifest and removes the work directory.
    ///
    /// # Errors
    /// A shard below the highest number is missing, or a file operation fails; what is finished stays for a resume.
    pub fn publish(self, sources: Vec<Source>) -> Result<Manifest> {
        let finished = self.journal()?;
        let count = finished.len() as u32;
        let mut statistics = Statistics::default();
        let mut shards = Vec::with_capacity(finished.len());
        for (expected, (index, mut shard)) in finished.into_iter().enumerate() {
            if index != expected as u32 {
                return Err(Error::invalid(&self.dir, format!("shard {expected} is missing; run the command again")));
            }
            let name = format!("shard-{index:05}-of-{count:05}.arrow");
            // It may bear its final name already if an interruption came just here.
            if let Some(path) = self.locate(index) {
                fs::rename(&path, self.dir.join(&name)).at(path)?;
            }
            shard.entry.file = name;
            statistics.merge(&shard.statistics);
            shards.push(shard.entry);
        }
        let mut manifest = Manifest {
            checksum: Crc32c(0),
            format: "cloze-dataset".to_owned(),
            version: FORMAT_VERSION,
            writer: self.spec.writer,
            kind: self.spec.kind,
            columns: self.spec.layout,
            vocabulary: self.spec.vocabulary,
            configuration: self.spec.configuration,
            sources,
            statistics,
            files: self.files.into_values().collect(),
            shards,
        };
        durable::sync_parent(&self.dir.join(MANIFEST))?;
        manifest.publish(&self.dir)?;
        drop(self.lock);
        let work = self.dir.join(WORK_DIR);
        fs::remove_dir_all(&work).at(work)?;
        Ok(manifest)
    }

    fn unpublished(&self, index: u32) -> PathBuf {
        self.work_dir().join(format!("shard-{index:05}.arrow"))
    }

    fn locate(&self, index: u32) -> Option<PathBuf> {
        let unpublished = self.unpublished(index);
        if unpublished.exists() {
            return Some(unpublished);
        }
        let prefix = format!("shard-{index:05}-of-");
        let entries = fs::read_dir(&self.dir).ok()?.flatten();
        entries.map(|e| e.path()).find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
    }

    fn clear_work_dir(&self) -> Result<()> {
        let work = self.work_dir();
        for entry in fs::read_dir(&work).at(&work)?.flatten().filter(|e| e.file_name() != "lock") {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.at(path)?;
        }
        Ok(())
    }

    /// Compares with an interrupted run's specification, or notes ours.
    fn check_interrupted(&self) -> Result<()> {
        let path = self.work_dir().join("specification.json");
        let ours = serde_json::to_vec_pretty(&self.spec).map_err(std::io::Error::other).at(&path)?;
        match fs::read(&path) {
            Ok(theirs) if theirs == ours => Ok(()),
            // Nothing of that run is worth keeping: it may have stopped at the very input that was mended since.
            Ok(_) if self.finished()?.is_empty() => {
                self.clear_work_dir()?;
                durable::write(path, &ours)
            }
            Ok(theirs) => {
                let what = difference(&theirs, &self.spec);
                let problem = format!(
                    "an interrupted run here was made with another {what}; repeat that run to resume it, \
                     or delete the directory"
                );
                Err(Error::invalid(&self.dir, problem))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => durable::write(path, &ours),
            Err(e) => Err(Error::new(path, e)),
        }
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
    if work.exists() { fs::remove_dir_all(&work).at(work) } else { Ok(()) }
}

/// Which part of the specification differs.
fn difference(theirs: &[u8], ours: &DatasetSpec) -> &'static str {
    match serde_json::from_slice::<DatasetSpec>(theirs) {
        Ok(t) if t.kind != ours.kind => "kind",
        Ok(t) if t.vocabulary != ours.vocabulary => "vocabulary",
        Ok(t) if t.configuration != ours.configuration => "configuration",
        Ok(t) if t.inputs != ours.inputs => "set of inputs",
        _ => "version of Cloze",
    }
}

fn lock(work: &Path) -> Result<File> {
    let path = work.join("lock");
    let file = File::create(&path).at(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(work.parent().unwrap_or(work), ErrorKind::Locked)),
        Err(TryLockError::Error(e)) => Err(Error::new(path, e)),
    }
}
