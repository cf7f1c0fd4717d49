//! Output that is either whole or absent: files are made in a hidden directory beside their destination, then moved.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use cloze_formats::durable::{sync_parent, temporary};

use crate::error::{AtPath, Error, ErrorKind, Result};

/// A file or a directory of files that will be published at once. Dropped before that, it removes what it wrote.
#[derive(Debug)]
pub(super) struct Output {
    target: PathBuf,
    work: PathBuf,
    /// Name of the one file to publish; `None` publishes the directory.
    single: Option<String>,
    lock: File,
}

const LOCK: &str = ".lock";

impl Output {
    /// Starts the output at `target`: one file if `is_file`, else a directory.
    ///
    /// # Errors
    /// Something is there already, another process is writing it, or the place cannot be written.
    pub(super) fn create(target: &Path, is_file: bool) -> Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(Error::invalid(
                target,
                "expected nothing here yet, found something; delete it or choose another",
            ));
        }
        let Some(name) = target.file_name() else {
            return Err(Error::invalid(target, "expected the name of a file or directory to make"));
        };
        let work = temporary(target);
        fs::create_dir_all(&work).at(&work)?;
        let path = work.join(LOCK);
        let lock = File::create(&path).at(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(target, ErrorKind::Locked { who: "another process is exporting".to_owned() }));
            }
            Err(TryLockError::Error(e)) => return Err(Error::new(path, e)),
        }
        // A run that was killed may have left files.
        for entry in fs::read_dir(&work).at(&work)? {
            let entry = entry.at(&work)?;
            if entry.file_name() != LOCK {
                fs::remove_file(entry.path()).at(entry.path())?;
            }
        }
        let single = is_file.then(|| name.to_string_lossy().into_owned());
        Ok(Self { target: target.to_owned(), work, single, lock })
    }

    /// Where to write the file that will be called `name`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.work.join(self.single.as_deref().unwrap_or(name))
    }

    /// Syncs everything to disk and moves it to its place; returns the bytes of all files.
    pub(super) fn publish(self) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.work).at(&self.work)? {
            let path = entry.at(&self.work)?.path();
            let file = File::open(&path).at(&path)?;
            file.sync_all().at(&path)?;
            bytes += file.metadata().at(&path)?.len();
        }
        sync_parent(&self.work.join(LOCK))?;
        match &self.single {
            Some(name) => fs::rename(self.work.join(name), &self.target).at(&self.target)?,
            None => {
                fs::rename(&self.work, &self.target).at(&self.target)?;
                // Only now: without it another process would clear the directory for itself.
                fs::remove_file(self.target.join(LOCK)).at(&self.target)?;
            }
        }
        sync_parent(&self.target)?;
        Ok(bytes)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // After the directory was published it is not there any more.
        let _ = fs::remove_dir_all(&self.work);
        let _ = self.lock.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_is_not_published_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let output = Output::create(&target, false).unwrap();
        fs::write(output.path("a"), b"x").unwrap();
        assert!(matches!(Output::create(&target, false).unwrap_err().kind(), ErrorKind::Locked { .. }));
        drop(output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_run_after_a_killed_one_publishes_its_own_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(dir.path().join(".out.tmp")).unwrap();
        fs::write(dir.path().join(".out.tmp/old"), b"x").unwrap();
        let output = Output::create(&target, false).unwrap();
        fs::write(output.path("new"), b"xy").unwrap();
        assert_eq!(output.publish().unwrap(), 2);
        let names: Vec<_> = fs::read_dir(&target).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["new"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = Output::create(&target, false).unwrap_err().to_string();
        assert!(error.ends_with("expected nothing here yet, found something; delete it or choose another"), "{error}");
    }

    #[test]
    fn a_single_file_bears_the_name_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("all.parquet");
        let output = Output::create(&target, true).unwrap();
        fs::write(output.path("part-0"), b"x").unwrap();
        output.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"x");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
