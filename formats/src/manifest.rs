//! `manifest.json`: what a dataset is, how it was made, and the checksums of all its bytes.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checksum::{Crc32c, self_checksum};
use crate::durable;
use crate::error::{AtPath, Error, ErrorKind, Result};
use crate::schema::Layout;
use crate::statistics::Statistics;
use crate::vocabulary::{SpecialIds, Vocabulary};

/// Name of the manifest in a dataset directory.
pub const MANIFEST: &str = "manifest.json";
/// Version of the format this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// What the rows of a dataset are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "described in SPEC.md and by the row types")]
pub enum Kind {
    Corpus,
    Pretrain,
    Squad,
    Glue,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corpus => "corpus",
            Self::Pretrain => "pretrain",
            Self::Squad => "squad",
            Self::Glue => "glue",
        })
    }
}

/// The vocabulary a dataset was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularyInfo {
    /// SHA-256 of `vocab.txt`, hexadecimal.
    pub sha256: String,
    /// Number of tokens; every id is smaller.
    pub num_tokens: u32,
    /// Whether case and accents were kept.
    pub cased: bool,
    /// Ids of the special tokens.
    pub special: SpecialIds,
}

impl VocabularyInfo {
    /// Describes `vocabulary`.
    pub fn new(vocabulary: &Vocabulary, cased: bool) -> Self {
        Self {
            sha256: vocabulary.sha256().to_owned(),
            num_tokens: vocabulary.len() as u32,
            cased,
            special: vocabulary.special(),
        }
    }
}

/// An input that a dataset was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// File or directory name, without its path.
    pub name: String,
    /// How it was read: `text`, `wikipedia`, `corpus`, ...
    pub format: String,
    /// Size as stored.
    pub bytes: u64,
    /// SHA-256 of the stored bytes (of a dataset: of its manifest).
    pub sha256: String,
    /// Documents (or examples) taken from it.
    pub documents: u64,
}

/// One record batch of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchEntry {
    /// Where its message starts in the file.
    pub offset: u64,
    /// Length of message and body.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Over `offset .. offset + bytes`.
    pub crc32c: Crc32c,
}

/// One shard file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// File name in the dataset directory.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// Tokens of the token column.
    pub tokens: u64,
    /// File length.
    pub bytes: u64,
    /// Checksum of `0 .. batches[0].offset` (magic and schema).
    pub head_crc32c: Crc32c,
    /// Where the footer part starts: the end of the last batch.
    pub tail_offset: u64,
    /// Checksum of `tail_offset .. bytes`.
    pub tail_crc32c: Crc32c,
    /// Its record batches, in file order.
    pub batches: Vec<BatchEntry>,
}

/// A file beside the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// File name in the dataset directory.
    pub file: String,
    /// File length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// The manifest; field for field what `manifest.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// crc32c of the file with these eight digits replaced by zeros. The first field, so that it can be found.
    pub checksum: Crc32c,
    /// Always `cloze-dataset`.
    pub format: String,
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Program and version that wrote it.
    pub writer: String,
    /// What the rows are.
    pub kind: Kind,
    /// Columns in order, as `name: type`.
    pub columns: Layout,
    /// The vocabulary of all token columns.
    pub vocabulary: VocabularyInfo,
    /// Everything that decided the bytes.
    pub configuration: serde_json::Value,
    /// What the dataset was made from.
    pub sources: Vec<Source>,
    /// Counts over all shards.
    pub statistics: Statistics,
    /// Side files: `vocab.txt` always, `examples.jsonl` for SQuAD.
    pub files: Vec<FileEntry>,
    /// The shards in order.
    pub shards: Vec<ShardEntry>,
}

impl Manifest {
    /// Reads and checks the manifest of the dataset directory `dir`.
    ///
    /// # Errors
    /// None there, another format version, a wrong checksum, or counts that contradict each other.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) if !path.exists() => return Err(no_manifest(dir)),
            Err(e) => return Err(Error::new(&path, e)),
        };
        let syntax = |e: serde_json::Error| Error::new(&path, ErrorKind::ManifestSyntax(e.to_string()));
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(syntax)?;
        if value["format"] != "cloze-dataset" {
            let found = format!("expected \"format\": \"cloze-dataset\", found {}", value["format"]);
            return Err(Error::new(&path, ErrorKind::ManifestSyntax(found)));
        }
        let version = value["version"].as_u64().unwrap_or(0);
        if version != u64::from(FORMAT_VERSION) {
            let kind = ErrorKind::FormatVersion { expected: FORMAT_VERSION, found: version };
            return Err(Error::new(&path, kind));
        }
        let manifest: Self = serde_json::from_value(value).map_err(syntax)?;
        let found = self_checksum(bytes);
        if found != manifest.checksum {
            let kind =
                ErrorKind::ManifestChecksum { expected: manifest.checksum.to_string(), found: found.to_string() };
            return Err(Error::new(&path, kind));
        }
        manifest.check_counts().map_err(|kind| Error::new(&path, kind))?;
        Ok(manifest)
    }

    /// Publishes the manifest in `dir`, which makes `dir` a dataset.
    pub fn publish(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join(MANIFEST);
        self.checksum = Crc32c(0);
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other).at(&path)? + "\n";
        self.checksum = self_checksum(text.clone().into_bytes());
        let text = text.replacen("\"00000000\"", &format!("\"{}\"", self.checksum), 1);
        durable::write(path, text.as_bytes())
    }

    /// Rows over all shards.
    pub fn num_rows(&self) -> u64 {
        self.shards.iter().map(|s| s.rows).sum()
    }

    /// Tokens over all shards.
    pub fn num_tokens(&self) -> u64 {
        self.shards.iter().map(|s| s.tokens).sum()
    }

    /// Bytes of all shards.
    pub fn num_bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }

    fn check_counts(&self) -> std::result::Result<(), ErrorKind> {
        if self.columns.kind() != self.kind {
            return Err(ErrorKind::ManifestSyntax("columns of another kind".to_owned()));
        }
        for shard in &self.shards {
            let mut end = shard.batches.first().map_or(shard.tail_offset, |b| b.offset);
            for batch in &shard.batches {
                // Batches follow each other without gaps, so that every byte of the file is under one checksum.
                let next = batch.offset.checked_add(batch.bytes).filter(|_| batch.offset == end);
                end = next.ok_or_else(|| ErrorKind::ManifestSyntax(format!("{}: batches overlap", shard.file)))?;
            }
            if end != shard.tail_offset || shard.tail_offset > shard.bytes {
                return Err(ErrorKind::ManifestSyntax(format!("{}: parts do not add up to the file", shard.file)));
            }
            let rows = shard.batches.iter().try_fold(0u64, |sum, b| sum.checked_add(b.rows));
            if rows != Some(shard.rows) || Path::new(&shard.file).components().count() != 1 {
                return Err(ErrorKind::ManifestSyntax(format!("{}: rows or name are wrong", shard.file)));
            }
        }
        let total = |count: fn(&ShardEntry) -> u64| {
            let sum = self.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(count(shard)));
            sum.ok_or_else(|| ErrorKind::ManifestSyntax("counts of shards are beyond all bounds".to_owned()))
        };
        total(|shard| shard.rows).and(total(|shard| shard.tokens)).and(total(|shard| shard.bytes)).map(drop)
    }
}

/// Why there is no manifest, as far as can be seen.
fn no_manifest(dir: &Path) -> Error {
    if !dir.is_dir() {
        let found = if dir.exists() { "a file" } else { "nothing by that name" };
        return Error::invalid(dir, format!("expected a dataset directory, found {found}; make one with `cloze-prep`"));
    }
    let hint = if dir.join(crate::dataset::WORK_DIR).is_dir() {
        "; a run that makes it was interrupted: run the same command again to resume it"
    } else {
        "; make one with `cloze-prep`"
    };
    Error::new(dir, ErrorKind::NoManifest { hint })
}
