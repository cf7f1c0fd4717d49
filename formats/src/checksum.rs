//! Checksums: crc32c guards every byte that is decoded, SHA-256 names files.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::error::{AtPath, Result};

/// A crc32c (Castagnoli) value; eight hexadecimal digits in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32c(pub u32);

impl Crc32c {
    /// Of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc32c::crc32c(bytes))
    }
}

impl fmt::Display for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl Serialize for Crc32c {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Crc32c {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Lower case only: a bit that flips a digit's case is damage too.
        let is_digits = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let value = if is_digits { u32::from_str_radix(&text, 16).ok() } else { None };
        value.map(Self).ok_or_else(|| de::Error::custom(format!("expected 8 hexadecimal digits, found {text:?}")))
    }
}

/// crc32c of JSON text, indented, with the eight digits of its first `"checksum"` replaced by zeros.
///
/// So a file can hold its own checksum: it is written with zeros first.
pub fn self_checksum(mut text: Vec<u8>) -> Crc32c {
    const KEY: &[u8] = b"\"checksum\": \"";
    if let Some(at) = text.windows(KEY.len()).position(|w| w == KEY) {
        let start = at + KEY.len();
        let end = (start + 8).min(text.len());
        text[start..end].fill(b'0');
    }
    Crc32c::of(&text)
}

/// Counts and checksums what passes through to `inner`.
#[derive(Debug)]
pub struct ChecksumWriter<W> {
    inner: W,
    crc: u32,
    bytes: u64,
}

impl<W> ChecksumWriter<W> {
    /// Around `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, crc: 0, bytes: 0 }
    }

    /// The writer inside.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Gives the writer inside back.
    pub fn into_inner(self) -> W {
        self.inner
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The checksum of what was written since the last call, which starts the next one.
    pub fn take_crc(&mut self) -> Crc32c {
        Crc32c(std::mem::take(&mut self.crc))
    }
}

impl<W: Write> Write for ChecksumWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, &buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// SHA-256 of `bytes`, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 and length of the file at `path`, read in one streaming pass.
pub fn sha256_file(path: impl AsRef<Path>) -> Result<(String, u64)> {
    sha256_file_with(path, |_| ())
}

/// Like [`sha256_file`]; tells `read` of the bytes that it has read since it last did.
pub fn sha256_file_with(path: impl AsRef<Path>, mut read: impl FnMut(u64)) -> Result<(String, u64)> {
    let path = path.as_ref();
    let mut file = std::fs::File::open(path).at(path)?;
    let (mut hash, mut total) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer).at(path)?;
        if n == 0 {
            return Ok((hex(&hash.finalize()), total));
        }
        hash.update(&buffer[..n]);
        total += n as u64;
        read(n as u64);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_castagnoli() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(Crc32c::of(&[0; 32]).to_string(), "8a9136aa");
    }

    #[test]
    fn hashing_tells_how_far_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, vec![b'x'; 1_000_000]).unwrap();
        let mut told = Vec::new();
        let hashed = sha256_file_with(&path, |bytes| told.push(bytes)).unwrap();
        assert_eq!(hashed, (sha256_hex(&vec![b'x'; 1_000_000]), 1_000_000));
        assert!(told.len() > 1 && told.iter().sum::<u64>() == 1_000_000, "{told:?}");
    }

    #[test]
    fn digits_have_one_spelling() {
        let read = |text: &str| serde_json::from_str::<Crc32c>(text).map(|crc| crc.0).ok();
        assert_eq!(read("\"8a9136aa\""), Some(0x8a91_36aa));
        for text in ["\"8A9136aa\"", "\"+a9136aa\"", "\"8a9136a\"", "\"08a9136aa\"", "7"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn writer_restarts_the_checksum_where_asked() {
        let mut w = ChecksumWriter::new(Vec::new());
        w.write_all(b"ab").unwrap();
        assert_eq!(w.take_crc(), Crc32c::of(b"ab"));
        w.write_all(b"cd").unwrap();
        assert_eq!((w.take_crc(), w.bytes()), (Crc32c::of(b"cd"), 4));
    }
}
