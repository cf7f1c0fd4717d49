//! What a dataset was made from and by what, as its manifest tells it.

use std::path::Path;

use cloze_formats::checksum::sha256_file_with;
use cloze_formats::manifest::Source;
use serde::{Deserialize, Serialize};

use crate::error::{AtPath, Error, Result};

/// Program and version, as manifests name their writer.
pub const WRITER: &str = concat!("cloze-prep ", env!("CARGO_PKG_VERSION"));

/// An input file's identity: a run that was interrupted is resumed only with the same inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// File name, without its path.
    pub name: String,
    /// How it is read.
    pub format: String,
    /// Size as stored.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, hexadecimal.
    pub sha256: String,
}

/// Reads `path` through once for its size and hash; tells `read` of the bytes that it has read since it last did.
pub fn describe_input(path: &Path, format: &str, read: impl FnMut(u64)) -> Result<Input> {
    // It is read twice, here and for its content: a pipe would be empty the second time.
    if !path.metadata().at(path)?.is_file() {
        return Err(Error::invalid(
            path,
            "expected a regular file, found something else; write it to a file first, or name it - and pipe it in",
        ));
    }
    let (sha256, bytes) = sha256_file_with(path, read)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Input { name, format: format.to_owned(), bytes, sha256 })
}

/// The manifest's line for `input`, from which `documents` were taken.
pub fn source_entry(input: &Input, documents: u64) -> Source {
    let Input { name, format, bytes, sha256 } = input.clone();
    Source { name, format, bytes, sha256, documents }
}
