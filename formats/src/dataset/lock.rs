//! Who may write a dataset: several ranks at the same time, each once; or one process alone.
//!
//! The locks are those of the file system (`flock`), which end with the process that holds them, however it ends.
//! Network file systems hand them on to their servers; where there are none, work goes on without, and
//! [`Locks::are_held`] says so.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use super::WORK_DIR;
use crate::error::{AtPath, Error, ErrorKind, Result};

/// Name of lock files.
pub(super) const LOCK: &str = "lock";

/// The locks of a writer; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Locks {
    files: Vec<File>,
    held: bool,
}

/// How a lock is taken.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Shared,
    Exclusive,
}

impl Locks {
    /// For the only writer of `dir`.
    pub(super) fn alone(dir: &Path) -> Result<Self> {
        Self::take(&[(dir.join(WORK_DIR).join(LOCK), Mode::Exclusive)], |_| busy(dir))
    }

    /// For `rank`, beside other ranks.
    pub(super) fn of_rank(dir: &Path, rank: u32) -> Result<Self> {
        let rank_lock = rank_dir(dir, rank).join(LOCK);
        let wanted = [(dir.join(WORK_DIR).join(LOCK), Mode::Shared), (rank_lock.clone(), Mode::Exclusive)];
        Self::take(&wanted, |refused| match refused == rank_lock {
            true => ErrorKind::Locked { who: format!("another process is writing rank {rank}") },
            false => busy(dir),
        })
    }

    /// Whether the file system has locks.
    pub(super) fn are_held(&self) -> bool {
        self.held
    }

    fn take(wanted: &[(PathBuf, Mode)], refusal: impl Fn(&Path) -> ErrorKind) -> Result<Self> {
        let mut locks = Self { files: Vec::new(), held: true };
        for (path, mode) in wanted {
            let file = File::options().create(true).truncate(false).write(true).open(path).at(path)?;
            let outcome = match mode {
                Mode::Shared => file.try_lock_shared(),
                Mode::Exclusive => file.try_lock(),
            };
            match outcome {
                Ok(()) => locks.files.push(file),
                Err(TryLockError::WouldBlock) => return Err(Error::new(directory_of(path), refusal(path))),
                Err(TryLockError::Error(e)) if has_no_locks(&e) => locks.held = false,
                Err(TryLockError::Error(e)) => return Err(Error::new(path, e)),
            }
        }
        Ok(locks)
    }
}

/// What `rank` writes before publication.
pub(super) fn rank_dir(dir: &Path, rank: u32) -> PathBuf {
    dir.join(WORK_DIR).join(format!("rank-{rank:05}"))
}

/// Ranks that left anything in `dir`, ascending.
pub(super) fn ranks(dir: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(dir.join(WORK_DIR)) else { return Vec::new() };
    let number = |name: std::ffi::OsString| name.to_str()?.strip_prefix("rank-")?.parse().ok();
    let mut ranks: Vec<u32> = entries.flatten().filter_map(|e| number(e.file_name())).collect();
    ranks.sort_unstable();
    ranks
}

/// The dataset directory that `lock` is about.
fn directory_of(lock: &Path) -> &Path {
    lock.ancestors().find(|p| p.ends_with(WORK_DIR)).and_then(Path::parent).unwrap_or(lock)
}

/// Ranks that are at work.
fn busy_ranks(dir: &Path) -> Vec<u32> {
    let is_busy = |rank: &u32| {
        let file = File::open(rank_dir(dir, *rank).join(LOCK));
        file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    };
    ranks(dir).into_iter().filter(is_busy).collect()
}

fn busy(dir: &Path) -> ErrorKind {
    let who = match busy_ranks(dir).as_slice() {
        [] => "another process is writing".to_owned(),
        [rank] => format!("rank {rank} is writing"),
        [first, rest @ ..] => format!("ranks {first} and {} more are writing", rest.len()),
    };
    ErrorKind::Locked { who }
}

/// ENOLCK (NFS without a lock service), ENOSYS and EOPNOTSUPP (Lustre mounted without `flock`, some FUSE file systems).
fn has_no_locks(error: &std::io::Error) -> bool {
    error.kind() == IoErrorKind::Unsupported || matches!(error.raw_os_error(), Some(37 | 38 | 95))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(ranks: &[u32]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        ranks.iter().for_each(|&rank| fs::create_dir_all(rank_dir(dir.path(), rank)).unwrap());
        dir
    }

    fn message(result: Result<Locks>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn ranks_work_side_by_side_each_of_them_once() {
        let dir = prepare(&[0, 1]);
        let first = Locks::of_rank(dir.path(), 0).unwrap();
        let _second = Locks::of_rank(dir.path(), 1).unwrap();
        assert!(first.are_held());
        assert!(message(Locks::of_rank(dir.path(), 0)).contains("another process is writing rank 0 here"));
        drop(first);
        Locks::of_rank(dir.path(), 0).unwrap();
    }

    #[test]
    fn one_process_alone_and_ranks_exclude_each_other() {
        let dir = prepare(&[0, 1]);
        let rank = Locks::of_rank(dir.path(), 1).unwrap();
        assert!(message(Locks::alone(dir.path())).contains("rank 1 is writing here"));
        drop(rank);
        let _alone = Locks::alone(dir.path()).unwrap();
        assert!(message(Locks::alone(dir.path())).contains("another process is writing here"));
        assert!(message(Locks::of_rank(dir.path(), 1)).contains("another process is writing here"));
    }

    #[test]
    fn file_systems_without_locks_are_told_from_other_failures() {
        assert!([37, 38, 95].into_iter().all(|code| has_no_locks(&std::io::Error::from_raw_os_error(code))));
        assert!(!has_no_locks(&std::io::Error::from_raw_os_error(13)));
    }
}
