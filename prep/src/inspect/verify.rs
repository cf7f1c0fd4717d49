//! Reading everything: is the dataset whole, and is what it says of itself true?

use std::path::Path;
use std::sync::Mutex;

use cloze_formats::dataset::{VOCABULARY, verify_file, verify_shard};
use cloze_formats::manifest::Manifest;
use cloze_formats::statistics::Statistics;
use cloze_formats::{ErrorKind, Vocabulary};
use rayon::prelude::*;
use serde::Serialize;

use crate::Result;
use crate::progress::Progress;

/// What `verify` found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Directory as given.
    pub dataset: String,
    /// Rows read.
    pub rows: u64,
    /// Shards read.
    pub num_shards: usize,
    /// Bytes of the shards.
    pub bytes: u64,
    /// One line per damage, each naming its file; empty where all is well.
    pub damage: Vec<String>,
}

/// Reads every byte of the dataset in `dir`: checksums, invariants of each row, ids below the vocabulary's size,
/// statistics counted anew. All shards are read, however many are damaged.
///
/// # Errors
/// There is no dataset to verify. Damage is not an error but the report.
pub fn verify(dir: &Path, progress: Progress) -> Result<Report> {
    let mut report =
        Report { dataset: dir.display().to_string(), rows: 0, num_shards: 0, bytes: 0, damage: Vec::new() };
    let manifest = match Manifest::read(dir) {
        Ok(manifest) => manifest,
        Err(e) => match e.kind() {
            ErrorKind::ManifestSyntax(_) | ErrorKind::ManifestChecksum { .. } => {
                report.damage.push(e.to_string());
                return Ok(report);
            }
            _ => return Err(e),
        },
    };
    report.num_shards = manifest.shards.len();
    report.bytes = manifest.num_bytes();
    report.damage.extend(side_files(dir, &manifest));
    let bar = Mutex::new(progress.bytes("verifying", report.bytes));
    let shards: Vec<_> = manifest
        .shards
        .par_iter()
        .map(|entry| {
            let found = verify_shard(dir, &manifest, entry);
            bar.lock().expect("no holder panics").add(entry.bytes);
            found
        })
        .collect();
    let mut statistics = Statistics::default();
    let mut whole = true;
    for shard in shards {
        match shard {
            Ok(found) => statistics.merge(&found),
            Err(e) => {
                whole = false;
                report.damage.push(e.to_string());
            }
        }
    }
    report.rows = statistics.rows;
    if whole && statistics != manifest.statistics {
        let path = dir.join(cloze_formats::manifest::MANIFEST);
        report.damage.push(format!("{}: statistics are not those of the rows; rebuild the dataset", path.display()));
    }
    Ok(report)
}

fn side_files(dir: &Path, manifest: &Manifest) -> Vec<String> {
    let mut damage: Vec<String> =
        manifest.files.iter().filter_map(|f| verify_file(dir, f).err()).map(|e| e.to_string()).collect();
    let path = dir.join(VOCABULARY);
    match Vocabulary::read(&path) {
        Ok(v) if v.sha256() == manifest.vocabulary.sha256 && v.len() == manifest.vocabulary.num_tokens as usize => {}
        Ok(_) => damage.push(format!("{}: not the vocabulary that the manifest names", path.display())),
        Err(e) => damage.push(e.to_string()),
    }
    damage.sort();
    damage.dedup();
    damage
}
