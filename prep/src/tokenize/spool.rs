//! Standard input as a file.
//!
//! A corpus is tied to its inputs by their hashes, and an interrupted run resumes only with the same ones; both need what
//! was piped in before it is tokenized. So it is kept, as it came (compressed, if it is), in the output directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::AtPath;
use crate::progress::Progress;
use crate::sources::{STANDARD_INPUT, SourceFile};
use crate::{Error, Result};

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 18;
/// Beginning of the name of the file; the process number follows.
const PREFIX: &str = ".standard-input-";

/// Sources that are all files; the one made for standard input is removed when this is dropped.
pub(super) struct Spool {
    sources: Vec<SourceFile>,
    file: Option<Spooled>,
}

struct Spooled {
    path: PathBuf,
    /// Held locked, by which others know that it is in use.
    _lock: File,
}

impl Spool {
    /// Writes standard input to a file in `out` if one of the sources is standard input.
    pub(super) fn fill(sources: &[SourceFile], out: &Path, progress: &Progress) -> Result<Self> {
        Self::fill_from(sources, out, progress.endless("keeping standard input").reading(io::stdin().lock()))
    }

    fn fill_from(sources: &[SourceFile], out: &Path, input: impl io::Read) -> Result<Self> {
        let is_input = |source: &&SourceFile| source.path == Path::new(STANDARD_INPUT);
        let mut spool = Self { sources: sources.to_vec(), file: None };
        match sources.iter().filter(is_input).count() {
            0 => return Ok(spool),
            1 => {}
            found => return Err(Error::invalid("-", format!("expected standard input once, found it {found} times"))),
        }
        std::fs::create_dir_all(out).at(out)?;
        remove_abandoned(out)?;
        let path = out.join(format!("{PREFIX}{}", std::process::id()));
        let mut file = File::create(&path).at(&path)?;
        file.lock().at(&path)?;
        spool.file = Some(Spooled { path: path.clone(), _lock: file.try_clone().at(&path)? });
        io::copy(&mut io::BufReader::with_capacity(COPY_BYTES, input), &mut file).at(&path)?;
        for source in spool.sources.iter_mut().filter(|source| is_input(&&**source)) {
            source.path.clone_from(&path);
        }
        Ok(spool)
    }

    /// The sources, in their order.
    pub(super) fn sources(&self) -> &[SourceFile] {
        &self.sources
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        // Only if a run that failed has left nothing else there.
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

/// Removes what runs that were killed have left.
fn remove_abandoned(out: &Path) -> Result<()> {
    for entry in std::fs::read_dir(out).at(out)? {
        let path = entry.at(out)?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if ours && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            std::fs::remove_file(&path).at(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::SourceKind;

    fn source(path: &str) -> SourceFile {
        SourceFile { kind: SourceKind::Text, path: path.into() }
    }

    #[test]
    fn standard_input_is_a_file_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("corpus");
        let spool = Spool::fill_from(&[source("a.txt"), source("-")], &out, "piped".as_bytes()).unwrap();
        let path = spool.sources()[1].path.clone();
        assert_eq!(spool.sources()[0], source("a.txt"));
        assert_eq!(std::fs::read(&path).unwrap(), b"piped");
        drop(spool);
        assert!(!out.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_is_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (abandoned, used) = (dir.path().join(".standard-input-1"), dir.path().join(".standard-input-2"));
        std::fs::write(&abandoned, "old").unwrap();
        let lock = File::create(&used).unwrap();
        lock.lock().unwrap();
        drop(Spool::fill_from(&[source("-")], dir.path(), "new".as_bytes()).unwrap());
        assert!(!abandoned.exists() && used.exists());
    }

    #[test]
    fn standard_input_can_be_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let error = Spool::fill_from(&[source("-"), source("-")], dir.path(), io::empty()).err().unwrap();
        assert_eq!(error.to_string(), "-: expected standard input once, found it 2 times");
    }
}
