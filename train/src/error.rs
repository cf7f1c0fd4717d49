//! What can go wrong in the trainer.

use std::path::{Path, PathBuf};

use cloze_formats::ErrorKind;

/// An error of the trainer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory that cannot be used as it is: what was expected, what was found, what to do.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Expected, found, and what to do.
        message: String,
    },
    /// A file of a checkpoint that is not as it was written.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Expected, found, and what to do.
        message: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting or argument that cannot be used: what was expected and found.
    #[error("{0}")]
    Invalid(String),
    /// libtorch refused; the first line of its message.
    #[error("libtorch: {0}")]
    Torch(String),
    /// The shim over libtorch refused.
    #[error(transparent)]
    Extension(#[from] cloze_torch_ext::Error),
    /// A dataset cannot be read.
    #[error(transparent)]
    Formats(#[from] cloze_formats::Error),
    /// A dataset was tokenized with another vocabulary than the checkpoint's.
    #[error(
        "{}: expected a dataset built with the vocabulary of {} (sha256 {expected}), found another (sha256 {found}); \
         prepare the data with that checkpoint's vocab.txt", dataset.display(), checkpoint.display()
    )]
    Vocabulary {
        /// The dataset.
        dataset: PathBuf,
        /// The checkpoint whose vocabulary counts.
        checkpoint: PathBuf,
        /// SHA-256 of the checkpoint's vocab.txt.
        expected: String,
        /// SHA-256 in the dataset's manifest.
        found: String,
    },
    /// The run directory holds a run already.
    #[error("{}: expected a new directory, found one with files in it; give --resume to continue a run, or another --out", path.display())]
    RunExists {
        /// The run directory.
        path: PathBuf,
    },
    /// `--resume` without anything to resume.
    #[error("{}: expected a run with a whole checkpoint, found none; start it without --resume", path.display())]
    NothingToResume {
        /// The run directory.
        path: PathBuf,
    },
    /// All checkpoints of a run are damaged.
    #[error(
        "{}: expected a whole checkpoint, found only damaged ones; restore a file or give another --out", path.display()
    )]
    OnlyDamaged {
        /// The run directory.
        path: PathBuf,
    },
    /// Another process trains in this directory.
    #[error("{}: expected to be alone in this run, found another process at work; wait for it or give another --out", path.display())]
    Locked {
        /// The run directory.
        path: PathBuf,
    },
    /// A run is resumed with settings that would make it another run.
    #[error(
        "{}: expected {key} = {expected}, as this run was started, found {found}; \
         resume with the same settings or start anew", path.display()
    )]
    ResumeMismatch {
        /// The checkpoint.
        path: PathBuf,
        /// Dotted name of the setting.
        key: String,
        /// Value stored in the checkpoint.
        expected: String,
        /// Value given now.
        found: String,
    },
    /// Another process of the run is gone, or silent.
    #[error(
        "lost another process of this run ({message}); look at what it said, then go on with --resume (and a longer \
         --peer-timeout, if it was only slow)"
    )]
    LostPeer {
        /// What the connection said.
        message: String,
    },
    /// Another process of the run failed, and said why.
    #[error("the process of rank {rank} failed; look at what it said")]
    Peer {
        /// The process that failed.
        rank: u32,
    },
    /// Losses or gradients stayed infinite, not a number, or far above those before.
    #[error(
        "{}: expected losses and gradients to learn from, found {found} {what} in a row after step {step}; lower the \
         learning rate or lengthen the warm-up and start anew{}", path.display(), from(checkpoint.as_deref())
    )]
    NonFinite {
        /// The run directory.
        path: PathBuf,
        /// Consecutive skipped steps.
        found: u64,
        /// What the last of them was.
        what: &'static str,
        /// Updates made before them.
        step: u64,
        /// The run's newest checkpoint, saved before them.
        checkpoint: Option<PathBuf>,
    },
}

fn from(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(checkpoint) => format!(", or from {}, which is intact", checkpoint.display()),
        None => "; no checkpoint had been saved".to_owned(),
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::File`].
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    /// An [`Error::Damaged`].
    pub fn damaged(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Damaged { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    /// Whether a file is not as it was written or is gone, rather than out of reach or of another version.
    pub fn is_damage(&self) -> bool {
        let is_gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        match self {
            Self::Damaged { .. } => true,
            Self::Io { source, .. } => is_gone(source),
            Self::Formats(error) => matches!(error.kind(), ErrorKind::Io(source) if is_gone(source)),
            _ => false,
        }
    }

    /// An [`Error::Io`], for `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        let message = match error {
            tch::TchError::Torch(message) => message,
            other => other.to_string(),
        };
        Self::Torch(message.lines().next().unwrap_or("no message").to_owned())
    }
}
