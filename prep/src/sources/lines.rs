//! Lines of a file, with their places.

use super::MAX_DOCUMENT_BYTES;
use super::compression::Stream;
use crate::{Error, Result};

/// Stands at the beginning of some files, and of each part of a file that was put together from such files.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a file line by line.
pub(super) struct Lines {
    stream: Stream,
    /// What may not be too large, and what to do when it is.
    unit: &'static str,
    advice: &'static str,
    next: Place,
}

/// Where a line begins: decoded bytes and lines before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) line: u64,
}

impl Lines {
    /// `unit` names what lines are put together to, `advice` says what to do if that grows too large.
    pub(super) fn new(stream: Stream, unit: &'static str, advice: &'static str) -> Self {
        Self { stream, unit, advice, next: Place::default() }
    }

    /// Where the next line begins.
    pub(super) fn place(&self) -> Place {
        self.next
    }

    /// Appends the next line, with its end, to `out`; false at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read, begins with UTF-16's byte order mark, or `out` outgrows [`MAX_DOCUMENT_BYTES`].
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        let first = self.next.offset == 0;
        let start = out.len();
        loop {
            let bytes = self.stream.fill()?;
            if bytes.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
            let used = end.unwrap_or(bytes.len());
            out.extend_from_slice(&bytes[..used]);
            self.stream.consume(used);
            self.next.offset += used as u64;
            if out.len() > MAX_DOCUMENT_BYTES {
                return Err(self.too_large());
            }
            if end.is_some() {
                self.next.line += 1;
                break;
            }
        }
        if first && matches!(out[start..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
            let problem =
                "expected UTF-8, found UTF-16 (by its byte order mark); convert it with `iconv -f UTF-16 -t UTF-8`";
            return Err(self.invalid(problem));
        }
        Ok(out.len() > start)
    }

    /// `bytes`, which begin at `start`, as text; errors say where the first wrong byte is.
    pub(super) fn utf8(&mut self, bytes: Vec<u8>, start: Place) -> Result<String> {
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let line = start.line + 1 + memchr::memchr_iter(b'\n', &bytes[..valid]).count() as u64;
            let (byte, offset) = (bytes[valid], start.offset + valid as u64);
            self.invalid(format!(
                "expected UTF-8, found byte 0x{byte:02x} at offset {offset} (line {line}); convert the file with `iconv -t UTF-8`"
            ))
        })
    }

    /// An error about the content, or about the compressed data if that is the cause.
    pub(super) fn invalid(&mut self, problem: impl Into<String>) -> Error {
        let error = Error::invalid(self.stream.path(), problem);
        self.stream.blame(error)
    }

    fn too_large(&self) -> Error {
        let (mega, line) = (MAX_DOCUMENT_BYTES >> 20, self.next.line + 1);
        let (unit, advice) = (self.unit, self.advice);
        let problem =
            format!("expected {unit}s of at most {mega} MiB, found a larger one before line {line}; {advice}");
        Error::invalid(self.stream.path(), problem)
    }
}
