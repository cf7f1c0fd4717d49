//! What the user named, as a list of files.

use std::path::{Path, PathBuf};

use super::{SourceFile, SourceKind};
use crate::error::AtPath;
use crate::{Error, Result};

/// Expands files, folders and globs into a deterministic list.
///
/// Patterns keep their order; what one pattern matches is sorted by path. A folder stands for every file below it;
/// hidden files and folders (names that start with a dot) are left out. A file that two patterns name is read twice, as
/// asked. A path that exists is taken literally even if it contains `*`, `?` or `[`.
///
/// Errors: a file that is missing, a folder without files, a pattern that matches nothing or is malformed.
pub fn expand<P: AsRef<Path>>(kind: SourceKind, patterns: &[P]) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let mut paths = if pattern.exists() { expand_path(pattern)? } else { expand_glob(pattern)? };
        paths.sort();
        files.extend(paths.into_iter().map(|path| SourceFile { kind, path }));
    }
    Ok(files)
}

/// The file itself, or all files below a folder.
fn expand_path(path: &Path) -> Result<Vec<PathBuf>> {
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
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(Error::invalid(path, "expected a folder with source files, found none in it"));
    }
    Ok(files)
}

/// Everything a glob matches; folders it matches are expanded too.
fn expand_glob(pattern: &Path) -> Result<Vec<PathBuf>> {
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
        files.extend(expand_path(&path)?);
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
        assert!(message("empty").ends_with("expected a folder with source files, found none in it"));
    }

    #[test]
    fn a_file_with_brackets_in_its_name_is_taken_literally() {
        let dir = tree();
        std::fs::write(dir.path().join("x[1].txt"), "x").unwrap();
        let files = expand(SourceKind::Text, &[dir.path().join("x[1].txt")]).unwrap();
        assert_eq!(names(&files, dir.path()), ["x[1].txt"]);
    }
}
