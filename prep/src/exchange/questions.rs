//! Contexts and gold answers of questions, which travel beside their windows.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cloze_formats::dataset::EXAMPLES;
use cloze_formats::{DatasetWriter, ErrorKind, Row};
use serde::Deserialize;

use crate::error::{AtPath, Error, Result};
use crate::inspect::verify::Questions;

/// A line of the file, as far as it is looked at here.
#[derive(Deserialize)]
struct Line {
    id: String,
}

/// The `examples.jsonl` beside each of `files`, one after the other; of files that lie together, once.
///
/// # Errors
/// There is none, a line is not a question, or a question comes twice.
pub(super) fn merged_examples(files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut beside: Vec<PathBuf> = files.iter().map(|rows| rows.with_file_name(EXAMPLES)).collect();
    beside.dedup();
    let mut merged = Vec::new();
    let mut places: HashMap<String, (&Path, usize)> = HashMap::new();
    for path in &beside {
        if !path.exists() {
            return Err(Error::invalid(path, "expected the questions' contexts and answers here, found nothing"));
        }
        let bytes = std::fs::read(path).at(path)?;
        for (line, number) in bytes.split_inclusive(|&byte| byte == b'\n').zip(1..) {
            let at = |problem: String| Error::invalid(path, format!("line {number}: {problem}"));
            let Line { id } =
                serde_json::from_slice(line).map_err(|e| at(format!("expected a question as JSON, found {e}")))?;
            if let Some((other, line)) = places.get(&id) {
                let other = other.display();
                return Err(at(format!(
                    "expected a new question, found {id:?} of {other}, line {line}; leave one of them out, or import them apart"
                )));
            }
            places.insert(id, (path, number));
        }
        merged.extend_from_slice(&bytes);
        if merged.last().is_some_and(|&byte| byte != b'\n') {
            merged.push(b'\n');
        }
    }
    Ok(merged)
}

/// Looks at rows and questions together, as `verify` does; shard `i` was made of file `i` of `files`.
///
/// # Errors
/// A window does not fit its question, one is missing, or they stand in another order than the questions.
pub(super) fn check(files: &[PathBuf], writer: &DatasetWriter) -> Result<()> {
    let path = writer.dir().join(EXAMPLES);
    let questions = Questions::read(&path)?;
    let shards = writer.open_finished()?;
    let at = |shard: usize, row, problem| Error::new(&files[shard], ErrorKind::Row { row, problem });
    for (number, shard) in shards.iter().enumerate() {
        for index in 0..shard.num_rows() {
            if let Row::Squad(row) = shard.row(index)? {
                questions.check(&row).map_err(|problem| at(number, index, problem))?;
            }
        }
    }
    let order = questions.check_order(&shards.into_iter().map(Ok).collect::<Vec<_>>());
    match order.rows.into_iter().next() {
        Some((shard, row, problem)) => Err(at(shard, row, problem)),
        None => order.unasked.map_or(Ok(()), |problem| Err(Error::invalid(files[0].with_file_name(EXAMPLES), problem))),
    }
}
