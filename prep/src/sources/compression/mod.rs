//! Plain bytes from plain or compressed files.
//!
//! The format is recognised by its magic bytes, so a misnamed file is read all the same. Compressed files are decoded
//! on threads of their own, a few blocks ahead of whoever reads; bzip2, the slowest, by as many as there are.

mod ahead;
mod bzip2;
mod gzip;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::STANDARD_INPUT;
use crate::error::AtPath;
use crate::{Error, Result};
use ahead::Ahead;

/// Bytes a decoding thread hands over at once.
const BLOCK_BYTES: usize = 256 << 10;
/// Threads that decode bzip2 at most: together they are as fast as one thread can read XML, and each takes 6 MB.
const BZIP2_THREADS: usize = 64;
/// Memory an xz file may ask for, in KiB; `xz -9` takes a quarter of it.
const XZ_MEMORY_KIB: u32 = 256 << 10;

/// Compression formats that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Looks at the first bytes of a file.
    fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a skippable frame before one (pzstd and seekable files begin with those).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => Self::Bzip2,
            // The empty stream: header, then the end-of-stream magic.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// What a file's name promises.
    fn by_name(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            Some("bz2") => Self::Bzip2,
            Some("xz") => Self::Xz,
            _ => Self::None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

/// The decompressed content of a file; knows its path and how much of the file was consumed.
pub(super) struct Stream {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    compression: Compression,
    bytes_read: Arc<AtomicU64>,
    allowed: usize,
}

/// A reader that holds back what it has not understood yet went over its allowance (see [`Stream::allow`]).
#[derive(Debug, thiserror::Error)]
#[error("more bytes than allowed")]
pub(super) struct TooLarge;

impl TooLarge {
    /// Whether this is what stopped a reader.
    pub(super) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|e| e.is::<Self>())
    }
}

/// What our own decoders find wrong.
#[derive(Clone, Debug, thiserror::Error)]
enum Defect {
    /// Something else follows the end of compressed data; where it begins in the file.
    #[error("something else follows at byte {0}")]
    Trailing(u64),
    /// What is damaged, and where.
    #[error("{0}")]
    Damage(Arc<str>),
}

/// Opens a file (or standard input, as `-`) for streaming, decompressing gzip (any number of members), zstd (frames),
/// bzip2 and xz (streams).
pub(super) fn open(path: &Path) -> Result<Stream> {
    let file: Box<dyn Read + Send> = match path {
        path if path == Path::new(STANDARD_INPUT) => Box::new(io::stdin()),
        path if path.is_dir() => return Err(Error::invalid(path, "expected a file, found a folder")),
        path => Box::new(File::open(path).at(path)?),
    };
    let bytes_read = Arc::new(AtomicU64::new(0));
    let buffered = BufReader::with_capacity(BLOCK_BYTES, file);
    let mut counted = Counted { inner: buffered, bytes: Arc::clone(&bytes_read) };
    let compression = Compression::detect(counted.fill_buf().at(path)?);
    let reader: Box<dyn BufRead + Send> = match compression {
        Compression::None => Box::new(counted),
        Compression::Gzip => Box::new(Ahead::spawn(gzip::Members::new(counted)).at(path)?),
        Compression::Bzip2 => {
            Box::new(bzip2::Decoder::spawn(counted, rayon::current_num_threads().min(BZIP2_THREADS)).at(path)?)
        }
        Compression::Xz => {
            let decoder = lzma_rust2::XzReader::new_mem_limit(counted, true, XZ_MEMORY_KIB);
            Box::new(Ahead::spawn(decoder).at(path)?)
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(counted).at(path)?;
            decoder.window_log_max(31).at(path)?;
            Box::new(Ahead::spawn(decoder).at(path)?)
        }
    };
    Ok(Stream { path: path.to_owned(), reader, compression, bytes_read, allowed: usize::MAX })
}

impl Stream {
    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file consumed so far, as it lies on disk.
    pub(super) fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// Lets at most about this many decoded bytes pass through [`BufRead`]; then reading fails with [`TooLarge`].
    pub(super) fn allow(&mut self, bytes: usize) {
        self.allowed = bytes;
    }

    /// The next decoded bytes, empty at the end; errors name the file and what to do.
    pub(super) fn fill(&mut self) -> Result<&[u8]> {
        // Fetched first and looked at again below: returning the borrow from a match would keep it alive on errors.
        if let Err(error) = self.reader.fill_buf() {
            return Err(self.explain(error));
        }
        self.reader.fill_buf().at(&self.path)
    }

    /// Marks decoded bytes as used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
    }

    /// An error of the file system as it is, one of the decoder in words.
    pub(super) fn explain(&self, error: io::Error) -> Error {
        explain(&self.path, self.compression, self.bytes_read.load(Ordering::Relaxed), error)
    }

    /// Why the decoded content is wrong: damage of the compressed data where there is any, else `error` itself.
    ///
    /// gzip, zstd and xz carry their checksums behind the data, so what a flipped bit made of it is seen first. The rest
    /// of the file is read to find out; bzip2's blocks were compared already.
    pub(super) fn blame(&mut self, error: Error) -> Error {
        let expected = Compression::by_name(&self.path);
        if self.compression == Compression::None && expected != Compression::None {
            let name = expected.name();
            let problem = format!("expected {name} data, by the name of the file, found something else");
            return Error::invalid(&self.path, format!("{problem} ({}); restore or rename the file", error.kind()));
        }
        while matches!(self.compression, Compression::Gzip | Compression::Zstd | Compression::Xz) {
            match self.fill() {
                Ok([]) => break,
                Ok(block) => {
                    let used = block.len();
                    self.consume(used);
                }
                Err(damage) => return damage,
            }
        }
        error
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.reader.read(out)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.allowed {
            0 => Err(io::Error::other(TooLarge)),
            _ => self.reader.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.allowed = self.allowed.saturating_sub(bytes);
        self.reader.consume(bytes);
    }
}

fn explain(path: &Path, compression: Compression, bytes_read: u64, error: io::Error) -> Error {
    if compression == Compression::None || error.raw_os_error().is_some_and(|code| code > 0 && is_os(&error)) {
        return Error::new(path, error);
    }
    let name = compression.name();
    let defect = error.get_ref().and_then(|e| e.downcast_ref::<Defect>());
    let what = match (defect, error.kind()) {
        (Some(Defect::Trailing(at)), _) => {
            let problem = format!("{name} data ends at byte {at}, but something that is not {name} follows");
            let advice = format!("cut it off with `head -c {at}`, or restore the file");
            return Error::invalid(path, format!("{problem}; {advice}"));
        }
        (Some(Defect::Damage(what)), _) => format!("{name} data is damaged: {what}"),
        (None, io::ErrorKind::UnexpectedEof) => {
            format!("{name} data ends early, after {bytes_read} bytes: the file was cut short")
        }
        (None, io::ErrorKind::OutOfMemory) => {
            let mega = XZ_MEMORY_KIB >> 10;
            return Error::invalid(path, format!("{name} data needs more than {mega} MiB to decode; compress it anew"));
        }
        _ => format!("{name} data is damaged within the first {bytes_read} bytes ({error})"),
    };
    Error::invalid(path, format!("{what}; restore the file or download it again"))
}

/// Decoders make custom errors; those of the operating system carry a code and nothing else.
fn is_os(error: &io::Error) -> bool {
    error.get_ref().is_none()
}

/// Counts the bytes that are taken out.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// Bytes taken so far.
    fn position(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(out.len());
        out[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.inner.consume(bytes);
    }
}

/// The same error again: a reader that failed must go on failing.
fn copy_of(error: &io::Error) -> io::Error {
    if let Some(defect) = error.get_ref().and_then(|e| e.downcast_ref::<Defect>()) {
        return io::Error::new(error.kind(), defect.clone());
    }
    match error.raw_os_error() {
        Some(code) if error.get_ref().is_none() => io::Error::from_raw_os_error(code),
        _ => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests;
