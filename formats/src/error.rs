//! The one error type of this crate: a path and what is wrong there.

use std::path::{Path, PathBuf};

use crate::manifest::Kind;

/// A failure, with the file or directory it concerns.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct Error {
    path: PathBuf,
    #[source]
    kind: ErrorKind,
}

/// What went wrong. Messages give what was expected before what was found, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused.
    #[error("{0}{advice}", advice = advice(.0))]
    Io(#[from] std::io::Error),
    /// The directory has no manifest.
    #[error("no manifest.json here: not a finished Cloze dataset{hint}")]
    NoManifest {
        /// What may explain it.
        hint: &'static str,
    },
    /// The manifest is not JSON or lacks a field.
    #[error("not a Cloze manifest ({0}); rebuild the dataset")]
    ManifestSyntax(String),
    /// The manifest's own checksum differs.
    #[error(
        "manifest checksum is {found}, expected {expected}; the file was changed or damaged: restore or rebuild it"
    )]
    ManifestChecksum {
        /// As the manifest says.
        expected: String,
        /// As computed.
        found: String,
    },
    /// Written by another version of the format.
    #[error(
        "format version {found}, this program reads version {expected}; rebuild the dataset or use a matching Cloze"
    )]
    FormatVersion {
        /// The version this crate reads.
        expected: u32,
        /// The manifest's.
        found: u64,
    },
    /// A dataset of another kind than asked for.
    #[error("expected a {expected} dataset, found {found}")]
    WrongKind {
        /// The kind asked for.
        expected: Kind,
        /// The manifest's kind.
        found: Kind,
    },
    /// A file's length is not the manifest's.
    #[error("manifest promises {expected} bytes, the file has {found}; restore it or rebuild the dataset")]
    Length {
        /// The manifest's figure.
        expected: u64,
        /// The file's figure.
        found: u64,
    },
    /// A checksum differs.
    #[error("{what}: crc32c {found}, expected {expected}; the file is damaged: restore it or rebuild the dataset")]
    Checksum {
        /// Which part of the file.
        what: String,
        /// The manifest's figure.
        expected: String,
        /// The file's figure.
        found: String,
    },
    /// Counts disagree.
    #[error("manifest promises {expected} instances, shard holds {found}; rebuild it or restore the file")]
    InstanceCount {
        /// The manifest's figure.
        expected: u64,
        /// The shard's figure.
        found: u64,
    },
    /// A row breaks an invariant of its kind.
    #[error("row {row}: {problem}")]
    Row {
        /// Row within the file.
        row: u64,
        /// Which invariant, expected and found.
        problem: String,
    },
    /// The Arrow structure is not what it should be.
    #[error("{0}")]
    Arrow(String),
    /// The output directory is in use by another process.
    #[error("{who} here; wait for it or choose another directory")]
    Locked {
        /// The process, and what it does.
        who: String,
    },
    /// The content is not what it should be; the text says what was expected, found, and what to do.
    #[error("{0}")]
    Invalid(String),
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` about `path`.
    pub fn new(path: impl AsRef<Path>, kind: impl Into<ErrorKind>) -> Self {
        Self { path: path.as_ref().to_owned(), kind: kind.into() }
    }

    /// Bad content in `path`.
    pub fn invalid(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::new(path, ErrorKind::Invalid(message.into()))
    }

    /// The file or directory concerned.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

/// What to do about a refusal of the operating system, where that is the same wherever it happens.
fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{
        FileTooLarge, IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded => "; free some space there, then run the same command again",
        FileTooLarge => "; lift the limit on file sizes, then run the same command again",
        ReadOnlyFilesystem => "; choose a directory that can be written",
        PermissionDenied => "; change its permissions, or choose another",
        NotFound => "; check the path",
        IsADirectory => "; give a file",
        NotADirectory => "; give a directory",
        _ => "",
    }
}

impl From<arrow_schema::ArrowError> for ErrorKind {
    fn from(error: arrow_schema::ArrowError) -> Self {
        // A full disk arrives wrapped in arrow's error; people need to see the operating system's words.
        match error {
            arrow_schema::ArrowError::IoError(_, io) => Self::Io(io),
            other => Self::Arrow(other.to_string()),
        }
    }
}

/// Names the path an operation failed at.
pub trait AtPath<T> {
    /// Attaches `path` to the error.
    fn at(self, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<ErrorKind>> AtPath<T> for Result<T, E> {
    fn at(self, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::new(path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_a_read_only_one_and_a_wrong_path_say_what_to_do() {
        let message = |code| Error::new("out", std::io::Error::from_raw_os_error(code)).to_string();
        assert!(message(28).ends_with("(os error 28); free some space there, then run the same command again"));
        assert!(message(30).ends_with("(os error 30); choose a directory that can be written"));
        assert!(message(2).ends_with("(os error 2); check the path"));
    }
}
