//! What the user named, as a list of files.

use std::path::{Path, PathBuf};

use super::{STANDARD_INPUT, SourceFile, SourceKind};
use crate::error::AtPath;
use crate::{Error, Result};

/// Expands files, folders and globs into a deterministic list.
///
/// Patterns keep their order; what one pattern matches is sorted by path. A folder stands for every file below it that
/// looks like one of its kind ([`SourceKind::takes`]); hidden files and folders (names that start with a dot) are left out.
/// `-` is standard input. A file that two patterns name is read twice, as
/// asked. A path that exists is taken literally even if it contains `*`, `?` or `[`.
///
/// Errors: a file that is missing, a folder without files, a pattern that matches nothing or is malformed.
pub fn expand<P: AsRef<Path>>(kind: SourceKind, patterns: &[P]) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let mut paths = match pattern {
            _ if pattern == Path::new(STANDARD_INPUT) => vec![pattern.to_owned()],
            _ if pattern.exists() => expand_path(kind, pattern)?,
            _ => expand_glob(kind, pattern)?,
        };
        paths.sort();
        files.extend(paths.into_iter().map(|path| SourceFile { kind, path }));
    }
    Ok(files)
}

impl SourceKind {
    /// Whether a file of a folder is read as this kind, going by its name.
    ///
    /// Text, books and sentences: any file. Wikipedia: a name with `.xml`, as dumps have (`pages-articles1.xml-p1p4.bz2`).
    /// JSON Lines: `.jsonl`, `.ndjson` or `.json`, Arrow: `.arrow`, both with the ending of a compression or without.
    /// Parquet: `.parquet`.
    pub fn takes(self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let plain = [".gz", ".zst", ".bz2", ".xz"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
        match self {
            Self::Text | Self::Books | Self::Sentences => true,
            Self::Wikipedia => name.contains(".xml"),
            Self::Jsonl => [".jsonl", ".ndjson", ".json"].iter().any(|ending| plain.ends_with(ending)),
            Self::Arrow => plain.ends_with(".arrow"),
            Self::Parquet => name.ends_with(".parquet"),
        }
    }
}

/// The file itself, or all files of the kind below a folder.
fn expand_path(kind: SourceKind, path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).at(&folder)? {
            let entry = entry.at(&folder)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            // Links to folders are not followed: they may form a circle.
            if entry.file_type().at(&path)?.is_dir() {
                folders.push(path);
            } else if path.is_file() && kind.takes(&path) {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(Error::invalid(path, format!("expected a folder with {kind} files, found none in it")));
    }
    Ok(files)
}

/// Everything a glob matches; folders it matches are expanded too.
fn expand_glob(kind: SourceKind, pattern: &Path) -> Result<Vec<PathBuf>> {
    let text =
        pattern.to_str().ok_or_else(|| Error::invalid(pattern, "no such file (and not UTF-8, so no pattern)"))?;
    if !text.contains(['*', '?', '[']) {
        return Err(Error::invalid(pattern, "expected a file or folder, found nothing by that name; check the path"));
    }
    let matches = glob::glob(text).map_err(|e| Error::invalid(pattern, format!("malformed file pattern: {e}")))?;
    let mut files = Vec::new();
    for path in matches {
        let path =
            path.map_err(|e| Error::new(e.path(), std::io::Error::new(e.error().kind(), e.error().to_string())))?;
        files.extend(expand_path(kind, &path)?);
    }
    if files.is_empty() {
        return Err(Error::invalid(pattern, "expected at least one file to match this pattern, found none"));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[SourceFile], root: &Path) -> Vec<String> {
        files.iter().map(|f| f.path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["b.txt", "a.txt", ".hidden", "sub/c.txt", "d.txt.gz"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        dir
    }

    #[test]
    fn folders_are_read_to_the_bottom_in_sorted_order() {
        let dir = tree();
        let files = expand(SourceKind::Books, &[dir.path()]).unwrap();
        assert_eq!(names(&files, dir.path()), ["a.txt", "b.txt", "d.txt.gz", "sub/c.txt"]);
    }

    #[test]
    fn a_folder_gives_each_kind_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let all = [
            "a.jsonl",
            "b.json.gz",
            "c.ndjson.zst",
            "d.parquet",
            "e.arrow",
            "f.arrow.zst",
            "g.xml",
            "h.xml-p1p9.bz2",
            "i.txt",
        ];
        for name in all {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = |kind| names(&expand(kind, &[dir.path()]).unwrap(), dir.path());
        assert_eq!(found(SourceKind::Jsonl), all[..3]);
        assert_eq!(found(SourceKind::Parquet), ["d.parquet"]);
        assert_eq!(found(SourceKind::Arrow), ["e.arrow", "f.arrow.zst"]);
        assert_eq!(found(SourceKind::Wikipedia), ["g.xml", "h.xml-p1p9.bz2"]);
        assert_eq!(found(SourceKind::Text), all);
        // A file that is named is taken, whatever its name.
        assert_eq!(expand(SourceKind::Jsonl, &[dir.path().join("i.txt")]).unwrap().len(), 1);
    }

    #[test]
    fn patterns_keep_their_order_and_matches_are_sorted() {
        let dir = tree();
        let patterns = [dir.path().join("d*"), dir.path().join("*.txt")];
        let files = expand(SourceKind::Text, &patterns).unwrap();
        assert_eq!(names(&files, dir.path()), ["d.txt.gz", "a.txt", "b.txt"]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let dir = tree();
        let message = |p: &str| expand(SourceKind::Text, &[dir.path().join(p)]).unwrap_err().to_string();
        assert!(
            message("none.txt")
                .ends_with("none.txt: expected a file or folder, found nothing by that name; check the path")
        );
        assert!(message("*.zip").ends_with("expected at least one file to match this pattern, found none"));
        assert!(message("***").contains("malformed file pattern"));
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(message("empty").ends_with("expected a folder with text files, found none in it"));
    }

    #[test]
    fn a_file_with_brackets_in_its_name_is_taken_literally() {
        let dir = tree();
        std::fs::write(dir.path().join("x[1].txt"), "x").unwrap();
        let files = expand(SourceKind::Text, &[dir.path().join("x[1].txt")]).unwrap();
        assert_eq!(names(&files, dir.path()), ["x[1].txt"]);
    }
}
