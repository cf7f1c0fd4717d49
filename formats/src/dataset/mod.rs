//! A dataset directory: `manifest.json`, its shards and its side files.

mod check;
#[cfg(test)]
mod damage;
mod journal;
mod lock;
mod side_files;
#[cfg(test)]
pub(crate) mod tests;
mod unfinished;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub use check::check_row;
pub use journal::{FinishedShard, ShardId};
pub use unfinished::UnfinishedDataset;
pub use writer::{DatasetSpec, DatasetWriter, Share, WORK_DIR, discard_interrupted, refuse_finished, remove_leftovers};

use crate::checksum::sha256_file;
use crate::error::{Error, ErrorKind, Result};
use crate::finetune::GlueTask;
use crate::manifest::{FileEntry, Kind, MANIFEST, Manifest, ShardEntry};
use crate::row::{CorpusRow, GlueRow, PretrainRow, Row, SquadRow, Tokens};
use crate::shard::Shard;
use crate::statistics::Statistics;
use crate::vocabulary::Vocabulary;

/// File name of the vocabulary in every dataset.
pub const VOCABULARY: &str = "vocab.txt";
/// File name of the contexts and gold answers in SQuAD datasets.
pub const EXAMPLES: &str = "examples.jsonl";

/// An open dataset: rows `0..len()` over all shards, zero-copy.
///
/// Opening costs one map and one checksum of the footer per shard; a batch is verified when it is first touched.
#[derive(Debug)]
pub struct Dataset {
    dir: PathBuf,
    manifest: Manifest,
    vocabulary: Vocabulary,
    shards: Vec<Shard>,
    /// First row of each shard, and the number of rows.
    starts: Vec<u64>,
}

impl Dataset {
    /// Opens the dataset in `dir`.
    ///
    /// # Errors
    /// No or a damaged manifest, a missing or damaged side file, a missing shard, or one with a damaged footer.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        let manifest = Manifest::read(&dir)?;
        for file in &manifest.files {
            verify_file(&dir, file)?;
        }
        let vocabulary = Vocabulary::read(dir.join(VOCABULARY))?;
        if vocabulary.sha256() != manifest.vocabulary.sha256 {
            let problem = format!(
                "expected the manifest's vocabulary {}, found {}; rebuild the dataset",
                short(&manifest.vocabulary.sha256),
                short(vocabulary.sha256())
            );
            return Err(Error::invalid(dir.join(VOCABULARY), problem));
        }
        let open =
            |entry: &ShardEntry| Shard::open(dir.join(&entry.file), entry, manifest.columns, &manifest.vocabulary);
        let shards = manifest.shards.iter().map(open).collect::<Result<Vec<_>>>()?;
        let mut starts = vec![0];
        for shard in &shards {
            starts.push(starts[starts.len() - 1] + shard.num_rows());
        }
        Ok(Self { dir, manifest, vocabulary, shards, starts })
    }

    /// Like [`open`](Self::open), of a dataset that must be of `kind`.
    pub fn open_kind(dir: impl AsRef<Path>, kind: Kind) -> Result<Self> {
        let manifest = Manifest::read(dir.as_ref())?;
        if manifest.kind != kind {
            return Err(Error::new(dir, ErrorKind::WrongKind { expected: kind, found: manifest.kind }));
        }
        Self::open(dir)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The vocabulary of all token columns.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `index`, counted over all shards.
    ///
    /// # Errors
    /// The batch that holds it is damaged.
    ///
    /// # Panics
    /// `index` is not below [`len`](Self::len).
    #[inline]
    pub fn row(&self, index: u64) -> Result<Row<'_>> {
        let (shard, row) = self.locate(index);
        shard.row(row)
    }

    /// Number of tokens of row `index`; errors and panics as [`row`](Self::row).
    #[inline]
    pub fn row_length(&self, index: u64) -> Result<usize> {
        let (shard, row) = self.locate(index);
        shard.row_length(row)
    }

    /// The tokens of row `index`, without touching its other columns, each of which costs a random reader a cache miss;
    /// errors and panics as [`row`](Self::row).
    #[inline]
    pub fn row_tokens(&self, index: u64) -> Result<Tokens<'_>> {
        let (shard, row) = self.locate(index);
        shard.row_tokens(row)
    }

    /// Row `index` of a corpus.
    pub fn corpus_row(&self, index: u64) -> Result<CorpusRow<'_>> {
        match self.row(index)? {
            Row::Corpus(row) => Ok(row),
            _ => Err(self.wrong_kind(Kind::Corpus)),
        }
    }

    /// Row `index` of a pretrain dataset.
    pub fn pretrain_row(&self, index: u64) -> Result<PretrainRow<'_>> {
        match self.row(index)? {
            Row::Pretrain(row) => Ok(row),
            _ => Err(self.wrong_kind(Kind::Pretrain)),
        }
    }

    /// Row `index` of a squad dataset.
    pub fn squad_row(&self, index: u64) -> Result<SquadRow<'_>> {
        match self.row(index)? {
            Row::Squad(row) => Ok(row),
            _ => Err(self.wrong_kind(Kind::Squad)),
        }
    }

    /// Row `index` of a glue dataset.
    pub fn glue_row(&self, index: u64) -> Result<GlueRow<'_>> {
        match self.row(index)? {
            Row::Glue(row) => Ok(row),
            _ => Err(self.wrong_kind(Kind::Glue)),
        }
    }

    /// The rows of each record batch in order: units of work for whoever reads many rows on several threads.
    pub fn batches(&self) -> Vec<Range<u64>> {
        let of = |(shard, &start): (&Shard, &u64)| {
            let shift = move |rows: Range<u64>| start + rows.start..start + rows.end;
            (0..shard.num_batches()).map(|batch| shift(shard.batch_rows(batch))).collect::<Vec<_>>()
        };
        self.shards.iter().zip(&self.starts).flat_map(of).collect()
    }

    /// Tokens of the longest row.
    pub fn longest_row(&self) -> usize {
        self.manifest.statistics.length_histogram.len().saturating_sub(1)
    }

    fn locate(&self, index: u64) -> (&Shard, u64) {
        assert!(index < self.len(), "row {index} of a dataset of {}", self.len());
        let shard = self.starts.partition_point(|&start| start <= index) - 1;
        (&self.shards[shard], index - self.starts[shard])
    }

    fn wrong_kind(&self, expected: Kind) -> Error {
        Error::new(&self.dir, ErrorKind::WrongKind { expected, found: self.manifest.kind })
    }
}

/// Reads every byte of a shard of the dataset in `dir`, checks every row, and counts. Needs no other file than the shard.
///
/// # Errors
/// The first damage found, naming the row where it is one.
pub fn verify_shard(dir: &Path, manifest: &Manifest, entry: &ShardEntry) -> Result<Statistics> {
    let path = dir.join(&entry.file);
    let shard = Shard::open(&path, entry, manifest.columns, &manifest.vocabulary)?;
    let task = GlueTask::of(manifest);
    let mut statistics = Statistics::default();
    for index in 0..shard.num_rows() {
        let row = shard.row(index)?;
        check_row(&row, manifest.columns, &manifest.vocabulary)
            .and_then(|()| task.check_row(&row))
            .map_err(|problem| Error::new(&path, ErrorKind::Row { row: index, problem }))?;
        statistics.observe(&row, manifest.vocabulary.special);
    }
    Ok(statistics)
}

/// Checks length and hash of a side file of the dataset in `dir`.
pub fn verify_file(dir: &Path, entry: &FileEntry) -> Result<()> {
    let path = dir.join(&entry.file);
    let (sha256, bytes) = sha256_file(&path)?;
    if bytes != entry.bytes {
        return Err(Error::new(&path, ErrorKind::Length { expected: entry.bytes, found: bytes }));
    }
    if sha256 != entry.sha256 {
        let problem = format!(
            "sha256 {}, expected {}; the file is damaged: restore it or rebuild the dataset",
            short(&sha256),
            short(&entry.sha256)
        );
        return Err(Error::invalid(path, problem));
    }
    Ok(())
}

/// The first digits of a hash, enough for people to tell two apart.
pub fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
