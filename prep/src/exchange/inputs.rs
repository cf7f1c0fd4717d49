//! The files an import reads.

use std::path::{Path, PathBuf};

use super::{Format, arrow_stream};
use crate::error::{AtPath, Error, Result};

/// Expands files, directories and globs. A directory stands for the files of `format` in it, in the natural order of
/// their names (`shard-2` before `shard-10`), hidden ones left out; one of `datasets` for those that its state lists.
///
/// # Errors
/// Nothing by that name, or a directory or pattern without such files.
pub(super) fn expand(patterns: &[PathBuf], format: Format) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for pattern in patterns {
        if pattern.is_dir() {
            files.extend(in_directory(pattern, format)?);
        } else if pattern.exists() {
            files.push(pattern.clone());
        } else {
            files.extend(matches(pattern)?);
        }
    }
    Ok(files)
}

fn in_directory(dir: &Path, format: Format) -> Result<Vec<PathBuf>> {
    if format == Format::ArrowStream
        && let Some(names) = arrow_stream::data_files(dir)?
    {
        return Ok(names.into_iter().map(|name| dir.join(name)).collect());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).at(dir)? {
        let path = entry.at(dir)?.path();
        if is_of(&path, format) && path.is_file() {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|path| natural(&path.to_string_lossy()));
    if files.is_empty() {
        let problem = format!("expected .{} files in this directory, found none", format.extensions()[0]);
        return Err(Error::invalid(dir, problem));
    }
    Ok(files)
}

/// By name; LDDL's files of a length bin end in `.parquet_BIN`.
fn is_of(path: &Path, format: Format) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let stem = extension.split_once('_').filter(|_| format == Format::LddlParquet).map_or(&*extension, |(e, _)| e);
    !hidden && format.extensions().contains(&stem)
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let nothing =
        || Error::invalid(pattern, "expected a file or directory, found nothing by that name; check the path");
    let text = pattern.to_str().filter(|text| text.contains(['*', '?', '['])).ok_or_else(nothing)?;
    let found = glob::glob(text).map_err(|e| Error::invalid(pattern, format!("malformed file pattern: {e}")))?;
    let mut files: Vec<PathBuf> = found.filter_map(|path| path.ok()).filter(|path| path.is_file()).collect();
    files.sort_by_cached_key(|path| natural(&path.to_string_lossy()));
    if files.is_empty() { Err(nothing()) } else { Ok(files) }
}

/// A key that orders runs of digits by their value.
fn natural(name: &str) -> Vec<(String, u128)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| text + n);
        key.push((rest[..text].to_owned(), rest[text..digits].parse().unwrap_or(u128::MAX)));
        rest = &rest[digits..];
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_files_in_natural_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["shard-10.parquet_1", "shard-2.parquet_1", "shard-2.parquet", ".num_samples.json", "x.arrow"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names = |format| -> Vec<String> {
            let files = expand(&[dir.path().to_owned()], format).unwrap();
            files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(Format::LddlParquet), ["shard-2.parquet", "shard-2.parquet_1", "shard-10.parquet_1"]);
        assert_eq!(names(Format::Parquet), ["shard-2.parquet"]);
        let error = expand(&[dir.path().to_owned()], Format::NvidiaHdf5).unwrap_err().to_string();
        assert!(error.ends_with("expected .hdf5 files in this directory, found none"), "{error}");
        assert_eq!(expand(&[dir.path().join("shard-*.parquet_1")], Format::LddlParquet).unwrap().len(), 2);
        assert!(expand(&[dir.path().join("nothing")], Format::LddlParquet).is_err());
    }
}
