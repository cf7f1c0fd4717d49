//! How two datasets differ: what they are by their manifests, then the first row that is not the same.

mod render;
mod rows;

use std::path::{Path, PathBuf};

use cloze_formats::dataset::VOCABULARY;
use cloze_formats::manifest::{Kind, MANIFEST, Manifest};
use cloze_formats::{Dataset, Vocabulary};
use serde::Serialize;
use serde_json::{Value, json};

use super::leaves::differences;
use super::reading::Reading;
use crate::Result;
use crate::build::HELD_OUT;
use crate::progress::Progress;

/// How dataset A differs from dataset B.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Directory as given.
    pub a: String,
    /// Directory as given.
    pub b: String,
    /// Nothing differs.
    pub equal: bool,
    /// What differs of the manifests, by part and path within it.
    pub differences: Vec<Difference>,
    /// The rows.
    pub rows: RowsComparison,
    /// The held-out parts, where both have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Box<Comparison>>,
}

/// One value that differs; absent where a side has no such thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `format`, `vocabulary`, `configuration`, `sources`, `statistics`, `files`, `shards` or `held-out` (one side has none).
    pub part: &'static str,
    /// Path within it.
    pub key: String,
    /// A's value.
    pub a: Option<Value>,
    /// B's value.
    pub b: Option<Value>,
}

/// How the rows differ.
#[derive(Clone, Debug, Serialize)]
pub struct RowsComparison {
    /// Rows of A and of B.
    pub num_rows: (u64, u64),
    /// False where the kinds differ, so that no row can be the same.
    pub compared: bool,
    /// Record batches not read, because both manifests have the same checksum for the same rows.
    pub batches_equal_by_checksum: u64,
    /// The first row that is not the same.
    pub first_difference: Option<RowDifference>,
}

/// A row that is not the same on both sides.
#[derive(Clone, Debug, Serialize)]
pub struct RowDifference {
    /// Its number.
    pub row: u64,
    /// Position of the first token that differs, where tokens do.
    pub token: Option<u64>,
    /// A's row with its tokens spelled out; absent where A has fewer rows.
    pub a: Option<Value>,
    /// B's row.
    pub b: Option<Value>,
    /// Both rows for people.
    #[serde(skip)]
    pub readings: (Option<Reading>, Option<Reading>),
}

/// Compares the datasets in `a` and `b`, and their held-out parts.
///
/// Rows are read in parallel, except record batches that cover the same rows and have the same checksum in both manifests.
///
/// # Errors
/// One of them is not a dataset, or a record batch that must be read is damaged.
pub fn diff(a: &Path, b: &Path, progress: Progress) -> Result<Comparison> {
    let (first, second) = (Dataset::open(a)?, Dataset::open(b)?);
    let mut different = compare_manifests(first.manifest(), second.manifest());
    different.extend(first_token(first.vocabulary(), second.vocabulary()));
    let rows = rows::compare(&first, &second, progress)?;
    let held_out = match [(&first, a), (&second, b)].map(|(dataset, dir)| held_out(dataset, dir)) {
        [Some(a), Some(b)] => Some(Box::new(diff(&a, &b, progress)?)),
        [None, None] => None,
        [a, b] => {
            let rows = |part: Option<PathBuf>| part.map(|dir| Ok(json!(Manifest::read(&dir)?.num_rows()))).transpose();
            different.push(Difference { part: HELD_OUT, key: "rows".to_owned(), a: rows(a)?, b: rows(b)? });
            None
        }
    };
    let (a, b) = (a.display().to_string(), b.display().to_string());
    let same_rows = rows.compared && rows.first_difference.is_none();
    let equal = different.is_empty() && same_rows && held_out.as_ref().is_none_or(|held_out| held_out.equal);
    Ok(Comparison { a, b, equal, differences: different, rows, held_out })
}

/// The held-out part of the dataset in `dir`.
fn held_out(dataset: &Dataset, dir: &Path) -> Option<PathBuf> {
    let part = dir.join(HELD_OUT);
    (dataset.manifest().kind == Kind::Pretrain && part.join(MANIFEST).exists()).then_some(part)
}

fn compare_manifests(a: &Manifest, b: &Manifest) -> Vec<Difference> {
    let format = |m: &Manifest| json!({"kind": m.kind, "columns": m.columns, "writer": m.writer, "version": m.version});
    let sources = |m: &Manifest| {
        let named = |(i, source): (usize, &cloze_formats::manifest::Source)| {
            // A name may come twice; the second one is another source.
            let again = m.sources[..i].iter().filter(|other| other.name == source.name).count();
            let name = if again > 0 { format!("{} ({})", source.name, again + 1) } else { source.name.clone() };
            let value = json!({"format": source.format, "documents": source.documents, "bytes": source.bytes, "sha256": source.sha256});
            (name, value)
        };
        Value::Object(m.sources.iter().enumerate().map(named).collect())
    };
    let files = |m: &Manifest| {
        // The vocabulary is a part of its own.
        let others = m.files.iter().filter(|file| file.file != VOCABULARY);
        Value::Object(others.map(|file| (file.file.clone(), json!({"sha256": file.sha256}))).collect())
    };
    let shards = |m: &Manifest| json!({"num_shards": m.shards.len()});
    let of = |part, a: Value, b: Value| {
        differences(&a, &b).into_iter().map(move |(key, a, b)| Difference { part, key, a, b })
    };
    let mut found = Vec::new();
    found.extend(of("format", format(a), format(b)));
    found.extend(of("vocabulary", json!(a.vocabulary), json!(b.vocabulary)));
    found.extend(of("configuration", a.configuration.clone(), b.configuration.clone()));
    found.extend(of("sources", sources(a), sources(b)));
    found.extend(of("statistics", json!(a.statistics), json!(b.statistics)));
    found.extend(of("files", files(a), files(b)));
    found.extend(of("shards", shards(a), shards(b)));
    found
}

/// The first id that stands for different tokens.
fn first_token(a: &Vocabulary, b: &Vocabulary) -> Option<Difference> {
    let id = (0..a.len().max(b.len()) as u32).find(|&id| a.token(id) != b.token(id))?;
    let token = |vocabulary: &Vocabulary| vocabulary.token(id).map(Value::from);
    Some(Difference { part: "vocabulary", key: format!("token {id}, the first one"), a: token(a), b: token(b) })
}
