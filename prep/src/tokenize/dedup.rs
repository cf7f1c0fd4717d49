//! Exact duplicates: which texts came before.
//!
//! Texts are compared by 128 bits of their SHA-256. With every shard the hashes of its documents are kept beside the journal,
//! so that a resumed run drops what an undisturbed one would.
//!
//! # Memory usage
//! 16 bytes and the hash table's slack for each different document: 18 to 36 MB for each million.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cloze_formats::checksum::Crc32c;
use cloze_formats::dataset::ShardId;
use cloze_formats::durable;
use sha2::{Digest, Sha256};

use crate::error::{AtPath, Result};

/// Of a document's text, however its file was compressed or wrapped.
pub(super) fn hash(paragraphs: &[String]) -> u128 {
    let mut sha = Sha256::new();
    for paragraph in paragraphs {
        sha.update(paragraph);
        // Paragraphs contain no line breaks: without one, other paragraphs could make the same text.
        sha.update(b"\n");
    }
    let digest: [u8; 32] = sha.finalize().into();
    u128::from_le_bytes(*digest.first_chunk().expect("16 of 32 bytes"))
}

/// The hashes of the documents so far.
#[derive(Default)]
pub(super) struct Seen {
    hashes: HashSet<u128, BuildHasherDefault<Lowest>>,
    /// Those of the shard being written.
    unsaved: Vec<u128>,
}

impl Seen {
    /// Notes a document; false if an equal one was there.
    pub(super) fn insert(&mut self, hash: u128) -> bool {
        let new = self.hashes.insert(hash);
        if new {
            self.unsaved.push(hash);
        }
        new
    }

    /// Keeps the hashes noted since the last call, those of shard `shard`.
    pub(super) fn save(&mut self, work_dir: &Path, shard: ShardId) -> Result<Crc32c> {
        let bytes: Vec<u8> = self.unsaved.drain(..).flat_map(u128::to_le_bytes).collect();
        durable::write(file(work_dir, shard), &bytes)?;
        Ok(Crc32c::of(&bytes))
    }

    /// Takes back the hashes of shard `shard`; false if they are not what was kept.
    pub(super) fn load(&mut self, work_dir: &Path, shard: ShardId, expected: Option<Crc32c>) -> Result<bool> {
        let path = file(work_dir, shard);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            bytes => bytes.at(&path)?,
        };
        if Some(Crc32c::of(&bytes)) != expected {
            return Ok(false);
        }
        let (hashes, _) = bytes.as_chunks::<16>();
        self.hashes.extend(hashes.iter().map(|bytes| u128::from_le_bytes(*bytes)));
        Ok(true)
    }
}

fn file(work_dir: &Path, shard: ShardId) -> PathBuf {
    work_dir.join(format!("hashes-{:05}-{:05}.bin", shard.slice, shard.index))
}

/// The lowest 64 bits: the keys are hashes already.
#[derive(Default)]
struct Lowest(u64);

impl Hasher for Lowest {
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are u128");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_equal_hashes_and_others_do_not() {
        let of = |paragraphs: &[&str]| hash(&paragraphs.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        // `printf 'a\n' | sha256sum`, the first half.
        assert_eq!(of(&["a"]).to_le_bytes()[..6], [0x87, 0x42, 0x8f, 0xc5, 0x22, 0x80]);
    }

    #[test]
    fn hashes_come_back_unless_they_are_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = Seen::default();
        assert!(seen.insert(1) && seen.insert(2) && !seen.insert(1));
        let first = seen.save(dir.path(), 0.into()).unwrap();
        assert!(seen.insert(3));
        let second = seen.save(dir.path(), 1.into()).unwrap();
        let mut back = Seen::default();
        assert!(back.load(dir.path(), 0.into(), Some(first)).unwrap());
        assert!(!back.insert(2) && back.insert(3));
        assert!(!back.load(dir.path(), 1.into(), Some(first)).unwrap());
        assert!(back.load(dir.path(), 1.into(), Some(second)).unwrap());
        assert!(!back.load(dir.path(), 2.into(), Some(second)).unwrap());
    }
}
