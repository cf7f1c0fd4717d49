//! Side files of a dataset that is being written: which of them this run created, and so may replace or remove.
//!
//! They bear their final names from the start, where a file of the user's may lie: the vocabulary itself, if the output is
//! the directory it came from. So a note goes before each file that is created, and what has no note is not touched.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use super::WORK_DIR;
use crate::checksum::{sha256_file, sha256_hex};
use crate::durable;
use crate::error::{AtPath, Error, Result};

/// Beginning of the name of a note; the name of the file follows. It holds the SHA-256 of what was written.
const NOTE: &str = "created-";

/// Writes side file `name` of the dataset `dir`, unless it is there with these bytes. `rank_dir` is for temporary files.
///
/// # Errors
/// A file with other bytes is there that no run of this dataset created.
pub(super) fn write(dir: &Path, rank_dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, note) = (dir.join(name), format!("{NOTE}{name}"));
    let note_path = dir.join(WORK_DIR).join(&note);
    match fs::read(&path) {
        // Every rank brings the vocabulary: those that find it there leave it alone.
        Ok(found) if found == bytes => return Ok(()),
        Ok(_) if !note_path.exists() => {
            let problem = "expected no other file by this name, found one that would be overwritten; move it away or \
                           choose another directory";
            return Err(Error::invalid(path, problem));
        }
        Err(e) if e.kind() != IoErrorKind::NotFound => return Err(Error::new(path, e)),
        Ok(_) | Err(_) => {}
    }
    durable::write_by(&note_path, &rank_dir.join(&note), sha256_hex(bytes).as_bytes())?;
    durable::write_by(&path, &rank_dir.join(name), bytes)
}

/// Removes what [`write`] created in the unfinished dataset `dir`, unless it was changed since, and the notes.
pub(super) fn remove_created(dir: &Path) -> Result<()> {
    for (note, name) in notes(dir) {
        let (path, written) = (dir.join(name), fs::read(&note).at(&note)?);
        if sha256_file(&path).is_ok_and(|(found, _)| found.as_bytes() == written) {
            fs::remove_file(&path).at(path)?;
        }
        fs::remove_file(&note).at(note)?;
    }
    Ok(())
}

/// The notes in `dir`, each with the name of its file.
fn notes(dir: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(dir.join(WORK_DIR)) else { return Vec::new() };
    let note = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(NOTE)?.to_owned();
        Some((path, name))
    };
    entries.flatten().filter_map(|entry| note(entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{spec, vocabulary};
    use super::super::{DatasetSpec, DatasetWriter, EXAMPLES, Share, UnfinishedDataset, VOCABULARY};
    use super::*;
    use crate::manifest::Kind;
    use crate::vocabulary::Vocabulary;

    fn begin(dir: &Path) -> Result<DatasetWriter> {
        DatasetWriter::create(dir, spec(Kind::Squad, false), &vocabulary())
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_abandoned_dataset_takes_what_it_created_with_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        begin(&out).unwrap().abandon();
        assert!(!out.exists());

        fs::create_dir(&out).unwrap();
        fs::write(out.join(VOCABULARY), vocabulary().bytes()).unwrap();
        let mut writer = begin(&out).unwrap();
        writer.write_file(EXAMPLES, b"{}\n").unwrap();
        writer.abandon();
        assert_eq!(names(&out), [VOCABULARY]);
        assert_eq!(fs::read(out.join(VOCABULARY)).unwrap(), vocabulary().bytes());
    }

    #[test]
    fn a_file_that_was_changed_since_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let writer = begin(dir.path()).unwrap();
        fs::write(dir.path().join(VOCABULARY), "[PAD]\nmine\n").unwrap();
        writer.abandon();
        assert_eq!(names(dir.path()), [VOCABULARY]);
    }

    #[test]
    fn another_file_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(VOCABULARY);
        fs::write(&path, "[PAD]\nmine\n").unwrap();
        let expected = format!(
            "{}: expected no other file by this name, found one that would be overwritten; move it away or choose \
             another directory",
            path.display()
        );
        assert_eq!(begin(dir.path()).unwrap_err().to_string(), expected);
        assert_eq!(
            (names(dir.path()), fs::read(&path).unwrap()),
            (vec![VOCABULARY.to_owned()], b"[PAD]\nmine\n".into())
        );

        fs::remove_file(path).unwrap();
        fs::write(dir.path().join(EXAMPLES), "mine").unwrap();
        let error = begin(dir.path()).unwrap().attempt(|writer| writer.write_file(EXAMPLES, b"{}\n")).unwrap_err();
        assert!(error.to_string().contains("examples.jsonl: expected no other file"), "{error}");
        assert_eq!(names(dir.path()), [EXAMPLES]);
    }

    #[test]
    fn a_resumed_run_restores_what_it_created() {
        let dir = tempfile::tempdir().unwrap();
        drop(begin(dir.path()).unwrap());
        fs::write(dir.path().join(VOCABULARY), "[PAD]\ndamaged\n").unwrap();
        drop(begin(dir.path()).unwrap());
        assert_eq!(fs::read(dir.path().join(VOCABULARY)).unwrap(), vocabulary().bytes());

        // Nothing was finished, so another vocabulary is another run, not a mistake.
        let text = [vocabulary().bytes(), b"more\n"].concat();
        let other = Vocabulary::from_bytes("vocab.txt", text.clone()).unwrap();
        let changed = DatasetSpec { inputs: json!("mended"), ..spec(Kind::Squad, false) };
        let writer = DatasetWriter::create(dir.path(), changed, &other).unwrap();
        assert_eq!(fs::read(dir.path().join(VOCABULARY)).unwrap(), text);
        writer.abandon();
        assert!(!dir.path().exists());
    }

    #[test]
    fn ranks_that_begin_together_share_the_files_and_the_last_one_removes_them() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let begin = |rank| {
            let share = Share { rank, world_size: 8, inputs: json!(rank) };
            DatasetWriter::create_share(&out, spec(Kind::Corpus, false), &vocabulary(), &share)
        };
        let writers: Vec<DatasetWriter> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|rank| scope.spawn(move || begin(rank))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert_eq!(fs::read(out.join(VOCABULARY)).unwrap(), vocabulary().bytes());
        for (left, writer) in (0..8).rev().zip(writers) {
            writer.abandon();
            assert_eq!(out.join(VOCABULARY).exists(), left > 0);
        }
        assert!(UnfinishedDataset::open(&out).is_err() && !out.exists());
    }
}
