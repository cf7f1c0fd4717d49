//! The only unsafe code of this crate: a read-only memory map.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use arrow_buffer::Buffer;
use bytes::Bytes;

use crate::error::{AtPath, Result};

/// Maps the file at `path`; the buffer keeps the map alive. Nobody may write to the file while it is mapped.
pub fn map(path: &Path) -> Result<Buffer> {
    let file = File::open(path).at(path)?;
    // SAFETY: the map is sound while nobody changes the file. Cloze publishes shards by rename and never writes to
    // one afterwards (SPEC.md, "Immutability"). If somebody else does, what is read changes under the reader, and
    // truncation ends the process with SIGBUS; checksums are taken once, before first use of a batch.
    let map = unsafe { memmap2::Mmap::map(&file) }.at(path)?;
    Ok(Buffer::from(Bytes::from_owner(map)))
}
