//! Plain bytes from plain or compressed files.
//!
//! The format is recognised by its magic bytes, so a misnamed file is read all the same. Compressed files are decoded
//! on a thread of their own, a few blocks ahead of whoever reads.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::AtPath;
use crate::{Error, Result};

/// Bytes a decoding thread hands over at once.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks a decoding thread runs ahead.
const BLOCKS_AHEAD: usize = 8;

/// Compression formats that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
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
            _ => Self::None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
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

/// Opens a file for streaming, decompressing gzip (any number of members), zstd (frames) and bzip2 (streams).
pub(super) fn open(path: &Path) -> Result<Stream> {
    if path.is_dir() {
        return Err(Error::invalid(path, "expected a file, found a folder"));
    }
    let file = File::open(path).at(path)?;
    let bytes_read = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: file, bytes: Arc::clone(&bytes_read) };
    let mut buffered = BufReader::with_capacity(BLOCK_BYTES, counted);
    let compression = Compression::detect(buffered.fill_buf().at(path)?);
    if buffered.buffer().starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        return Err(Error::invalid(path, "expected plain, gzip, zstd or bzip2, found xz; decompress it with `xz -d`"));
    }
    let reader: Box<dyn BufRead + Send> = match compression {
        Compression::None => Box::new(buffered),
        Compression::Gzip => Box::new(Ahead::spawn(flate2::bufread::MultiGzDecoder::new(buffered)).at(path)?),
        Compression::Bzip2 => Box::new(Ahead::spawn(bzip2::bufread::MultiBzDecoder::new(buffered)).at(path)?),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(buffered).at(path)?;
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
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            format!("{name} data ends early, after {bytes_read} bytes: the file was cut short")
        }
        _ => format!("{name} data is damaged within the first {bytes_read} bytes ({error})"),
    };
    Error::invalid(path, format!("{what}; restore the file or download it again"))
}

/// Decoders make custom errors; those of the operating system carry a code and nothing else.
fn is_os(error: &io::Error) -> bool {
    error.get_ref().is_none()
}

/// Counts the bytes that pass.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(out)?;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Reads on another thread, [`BLOCKS_AHEAD`] blocks ahead. The thread ends when this is dropped.
struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    used: usize,
    error: Option<io::Error>,
}

impl Ahead {
    fn spawn(reader: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, blocks) = sync_channel(BLOCKS_AHEAD);
        std::thread::Builder::new().name("decompress".into()).spawn(move || pump(reader, &sender))?;
        Ok(Self { blocks, block: Vec::new(), used: 0, error: None })
    }
}

/// Sends full blocks until the end, an error, or nobody listens any more.
fn pump(mut reader: impl Read, blocks: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let result = reader.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block);
        // What was decoded before the damage still goes out, so that errors further up show in input order.
        if !block.is_empty() && blocks.send(Ok(block)).is_err() {
            return;
        }
        match result {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let _ = blocks.send(Err(error));
                return;
            }
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(out.len());
        out[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(error) = &self.error {
            return Err(copy_of(error));
        }
        if self.used == self.block.len() {
            self.used = 0;
            self.block = match self.blocks.recv() {
                Ok(Ok(block)) => block,
                Ok(Err(error)) => return Err(copy_of(self.error.insert(error))),
                Err(_ended) => Vec::new(),
            };
        }
        Ok(&self.block[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used = (self.used + bytes).min(self.block.len());
    }
}

/// The same error again: a reader that failed must go on failing.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) if error.get_ref().is_none() => io::Error::from_raw_os_error(code),
        _ => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &str = "The quick brown fox jumps over the lazy dog.\n";

    fn text() -> Vec<u8> {
        TEXT.repeat(20_000).into_bytes()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    type Encoder = fn(&[u8]) -> Vec<u8>;
    const ENCODERS: [(&str, Encoder); 3] = [("gzip", gzip), ("zstd", zstd), ("bzip2", bzip2)];

    fn read(bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let mut stream = open(&path).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        loop {
            let block = stream.fill().map_err(|e| e.to_string())?;
            if block.is_empty() {
                assert_eq!(stream.bytes_read().load(Ordering::Relaxed), bytes.len() as u64);
                return Ok(out);
            }
            out.extend_from_slice(block);
            let used = block.len();
            stream.consume(used);
        }
    }

    #[test]
    fn plain_and_empty_files_pass_through() {
        assert_eq!(read(&text()).unwrap(), text());
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(b"BZh9 is how bzip2 begins").unwrap(), b"BZh9 is how bzip2 begins");
    }

    #[test]
    fn all_members_of_a_compressed_file_are_read() {
        for (name, encode) in ENCODERS {
            let twice = [encode(&text()), encode(b"end")].concat();
            assert_eq!(read(&twice).unwrap(), [&text()[..], b"end"].concat(), "{name}");
            assert_eq!(read(&encode(b"")).unwrap(), b"", "{name}, empty");
        }
    }

    #[test]
    fn a_stream_cut_short_is_named_as_such() {
        for (name, encode) in ENCODERS {
            let whole = encode(&text());
            for keep in [whole.len() / 2, whole.len() - 1] {
                let message = read(&whole[..keep]).unwrap_err();
                let expected = format!(
                    "/file: {name} data ends early, after {keep} bytes: the file was cut short; restore the file or download it again"
                );
                assert!(message.ends_with(&expected), "{name} {keep}: {message}");
            }
        }
    }

    #[test]
    fn a_flipped_byte_is_named_as_damage() {
        for (name, encode) in ENCODERS {
            let mut bytes = encode(&text());
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            // zstd without a content checksum may decode to other bytes; its structure errors are what is caught.
            match read(&bytes) {
                Err(message) => assert!(message.contains("restore the file or download it again"), "{name}: {message}"),
                Ok(_) => assert_eq!(name, "zstd"),
            }
        }
    }

    #[test]
    fn dropping_a_reader_early_ends_its_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.gz");
        std::fs::write(&path, gzip(&TEXT.repeat(200_000).into_bytes())).unwrap();
        let mut stream = open(&path).unwrap();
        assert!(!stream.fill().unwrap().is_empty());
        drop(stream);
    }

    #[test]
    fn folders_and_xz_are_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).err().unwrap().to_string().ends_with("expected a file, found a folder"));
        let message = read(&[0xfd, b'7', b'z', b'X', b'Z', 0, 0]).unwrap_err();
        assert!(message.ends_with("found xz; decompress it with `xz -d`"), "{message}");
    }
}
