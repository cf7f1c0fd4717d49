//! A run directory: whose it is, and how a run is told to stop.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

use crate::checkpoint;
use crate::error::{Error, Result};

const LOCK: &str = ".lock";

/// What a run writes in its directory. Without a checkpoint beside them, these are of a run that will begin again.
const OWN: [&str; 10] = [
    LOCK,
    crate::log::METRICS,
    crate::tensorboard::TENSORBOARD,
    crate::report::REPORT,
    checkpoint::CHECKPOINTS,
    crate::summary::SUMMARY,
    "eval.json",
    "predictions.json",
    "predictions.tsv",
    "nbest_predictions.json",
];

/// Whether `name` is one of [`OWN`], or the temporary file of one whose writing was cut short.
fn is_harmless(name: &str) -> bool {
    let whole = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")).unwrap_or(name);
    OWN.contains(&whole)
}

/// The directory of a run, locked against a second process until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Takes `path` for a new run. A run that ended before its first checkpoint has left nothing worth keeping.
    ///
    /// # Errors
    /// There is a run, or anything else, in the directory; another process is at work there; it cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        for entry in fs::read_dir(path).map_err(Error::io(path))? {
            let name = entry.map_err(Error::io(path))?.file_name();
            if !name.to_str().is_some_and(is_harmless) {
                return Err(Error::RunExists { path: path.to_owned() });
            }
        }
        let run = Self::lock(path)?;
        checkpoint::tidy(path)?;
        if !checkpoint::list(path)?.is_empty() {
            return Err(Error::RunExists { path: path.to_owned() });
        }
        Ok(run)
    }

    /// Takes `path` to go on with the run in it.
    ///
    /// # Errors
    /// There is none, or another process is at work there.
    pub fn resume(path: &Path) -> Result<Self> {
        let nothing = || Error::NothingToResume { path: path.to_owned() };
        if !path.join(checkpoint::CHECKPOINTS).is_dir() {
            return Err(nothing());
        }
        let run = Self::lock(path)?;
        checkpoint::tidy(path)?;
        if checkpoint::list(path)?.is_empty() {
            return Err(nothing());
        }
        Ok(run)
    }

    fn lock(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the directory `path`, if need be, and locks it against another process until the file returned is dropped.
///
/// # Errors
/// Another process is at work there; it cannot be written.
pub fn lock_output(path: &Path) -> Result<File> {
    fs::create_dir_all(path).map_err(Error::io(path))?;
    lock(path)
}

fn lock(path: &Path) -> Result<File> {
    let lock_path = path.join(LOCK);
    let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::io(&lock_path)(error)),
    }
}

/// What asks a run to save and end. SIGUSR1 is what Slurm's `--signal` sends ahead of a time limit.
const ASKING: [i32; 3] = [SIGINT, SIGTERM, SIGUSR1];

/// SIGINT, SIGTERM and SIGUSR1, noticed between steps. A second one, of any kind, ends the process at once.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> Result<Self> {
        let signals = Self::default();
        let again = Arc::new(AtomicBool::new(false));
        let failed = |source| Error::Invalid(format!("cannot listen for signals: {source}"));
        // Actions run in the order they are registered: a signal must look at the flag before it sets it.
        for signal in ASKING {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))
                .map_err(failed)?;
        }
        for signal in ASKING {
            signal_hook::flag::register(signal, Arc::clone(&again)).map_err(failed)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.received), signal as usize)
                .map_err(failed)?;
        }
        Ok(signals)
    }

    /// The signal that asks the run to stop, if one came.
    pub fn received(&self) -> Option<i32> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_anything_in_it_is_not_taken_for_a_new_run() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        let error = RunDir::create(dir.path()).unwrap_err();
        assert!(matches!(error, Error::RunExists { .. }), "{error}");
        assert!(matches!(RunDir::resume(dir.path()), Err(Error::NothingToResume { .. })));
    }

    #[test]
    fn what_a_run_killed_before_its_first_checkpoint_left_behind_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let files =
            ["metrics.jsonl", "eval.json", "predictions.tsv", ".predictions.json.tmp", "nbest_predictions.json"];
        for name in files.iter().chain(&["summary.json", ".summary.json.tmp"]) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let unfinished = dir.path().join("checkpoints/.step-00000010.tmp");
        fs::create_dir_all(&unfinished).unwrap();
        assert!(matches!(RunDir::resume(dir.path()), Err(Error::NothingToResume { .. })));
        RunDir::create(dir.path()).unwrap();
        assert!(!unfinished.exists());
    }

    #[test]
    fn one_process_at_a_time_works_in_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path()).unwrap();
        assert!(matches!(RunDir::create(dir.path()), Err(Error::Locked { .. })));
        drop(run);
        RunDir::create(dir.path()).unwrap();
    }

    #[test]
    fn one_process_at_a_time_writes_scores_somewhere() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/scores");
        let locked = lock_output(&out).unwrap();
        assert!(matches!(lock_output(&out), Err(Error::Locked { .. })));
        drop(locked);
        lock_output(&out).unwrap();
    }
}
