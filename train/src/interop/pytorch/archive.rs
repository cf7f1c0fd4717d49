//! The zip archive that `torch.save` makes: entries stored as they are, which is all that is read here.
//!
//! Source of the format: PKWARE's APPNOTE, sections 4.3 and 4.5.3 (zip64). Every offset and length is checked against the
//! file before anything is allocated, and every entry against its CRC-32.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const END_LEN: u64 = 22;
const LOCATOR_LEN: u64 = 20;
/// Longest comment after the end record.
const MAX_COMMENT: u64 = 0xFFFF;

/// One stored file.
#[derive(Clone, Debug)]
struct Entry {
    len: u64,
    header_offset: u64,
    crc32: u32,
    method: u16,
    flags: u16,
}

/// An open archive.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    file: File,
    file_len: u64,
    entries: HashMap<String, Entry>,
}

/// Little-endian fields of a record, from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }
}

impl Archive {
    /// Opens `path` and reads its table of contents.
    ///
    /// # Errors
    /// It cannot be read, or is not a whole zip archive.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let file_len = file.metadata().map_err(Error::io(path))?.len();
        let mut archive = Self { path: path.to_owned(), file, file_len, entries: HashMap::new() };
        let (offset, len) = archive.find_directory()?;
        archive.entries = archive.read_directory(offset, len)?;
        Ok(archive)
    }

    /// Names of all entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The bytes of entry `name`, checked.
    ///
    /// # Errors
    /// There is none, or it is compressed, encrypted or damaged.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let entry = self.entries.get(name).ok_or_else(|| self.broken(&format!("no entry {name}")))?;
        if entry.method != 0 || entry.flags & 1 != 0 {
            let message = format!(
                "{name}: expected an entry stored as torch.save stores it, found it compressed or encrypted; \
                 save the checkpoint again with torch.save"
            );
            return Err(Error::file(&self.path, message));
        }
        let header = self.bytes(entry.header_offset, 30)?;
        let mut fields = Fields(&header);
        let magic = fields.take(4).unwrap_or_default();
        fields.take(22);
        let (name_len, extra_len) = (fields.number(2).unwrap_or(0), fields.number(2).unwrap_or(0));
        if magic != LOCAL {
            return Err(self.broken(&format!("entry {name} is not where the table of contents says")));
        }
        // Both lengths are below 2^16 and the header lies in the file: this cannot overflow.
        let bytes = self.bytes(entry.header_offset + 30 + name_len + extra_len, entry.len)?;
        let found = crc32fast::hash(&bytes);
        if found != entry.crc32 {
            return Err(self.broken(&format!("{name}: expected CRC-32 {:08x}, found {found:08x}", entry.crc32)));
        }
        Ok(bytes)
    }

    fn broken(&self, why: &str) -> Error {
        let message = format!(
            "expected a whole PyTorch file, found {} bytes that are not one ({why}); copy it again",
            self.file_len
        );
        Error::file(&self.path, message)
    }

    /// `len` bytes at `offset`, if the file has them.
    fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.file_len);
        let len = usize::try_from(len).ok().filter(|_| inside);
        let Some(len) = len else { return Err(self.broken("an entry reaches beyond the end")) };
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset).map_err(Error::io(&self.path))?;
        Ok(bytes)
    }

    /// Offset and length of the central directory.
    fn find_directory(&self) -> Result<(u64, u64)> {
        let tail_len = self.file_len.min(END_LEN + MAX_COMMENT);
        let tail_offset = self.file_len - tail_len;
        let tail = self.bytes(tail_offset, tail_len)?;
        let at = tail.windows(END_LEN as usize).rposition(|window| window.starts_with(&END));
        let at = at.ok_or_else(|| self.broken("it has no table of contents at its end"))?;
        let mut fields = Fields(&tail[at + 12..]);
        let (len, offset) = (fields.number(4).unwrap_or(0), fields.number(4).unwrap_or(0));
        if offset != 0xFFFF_FFFF && len != 0xFFFF_FFFF {
            return Ok((offset, len));
        }
        let end = tail_offset + at as u64;
        let locator =
            self.bytes(end.checked_sub(LOCATOR_LEN).ok_or_else(|| self.broken("no zip64 end"))?, LOCATOR_LEN)?;
        let mut fields = Fields(&locator);
        if fields.take(4) != Some(&LOCATOR_64[..]) {
            return Err(self.broken("no zip64 end"));
        }
        fields.take(4);
        let record = self.bytes(fields.number(8).unwrap_or(u64::MAX), 56)?;
        let mut fields = Fields(&record);
        if fields.take(4) != Some(&END_64[..]) {
            return Err(self.broken("no zip64 end"));
        }
        fields.take(36);
        let len = fields.number(8).unwrap_or(u64::MAX);
        Ok((fields.number(8).unwrap_or(u64::MAX), len))
    }

    fn read_directory(&self, offset: u64, len: u64) -> Result<HashMap<String, Entry>> {
        let bytes = self.bytes(offset, len)?;
        let mut fields = Fields(&bytes);
        let mut entries = HashMap::new();
        let mut total: u64 = 0;
        while !fields.0.is_empty() {
            let (name, entry) = directory_entry(&mut fields).ok_or_else(|| self.broken("its table of contents"))?;
            total = total.saturating_add(entry.len);
            // Entries that share bytes would make a small file fill the memory.
            if total > self.file_len {
                return Err(self.broken("its entries are longer than it is"));
            }
            if entries.insert(name.clone(), entry).is_some() {
                return Err(self.broken(&format!("two entries {name}")));
            }
        }
        Ok(entries)
    }
}

fn directory_entry(fields: &mut Fields<'_>) -> Option<(String, Entry)> {
    if fields.take(4)? != CENTRAL {
        return None;
    }
    fields.take(4)?;
    let (flags, method) = (fields.number(2)? as u16, fields.number(2)? as u16);
    fields.take(4)?;
    let crc32 = fields.number(4)? as u32;
    let compressed_is_wide = fields.number(4)? == 0xFFFF_FFFF;
    let mut len = fields.number(4)?;
    let [name_len, extra_len, comment_len] = [(); 3].map(|()| fields.number(2));
    fields.take(8)?;
    let mut header_offset = fields.number(4)?;
    let name = String::from_utf8(fields.take(name_len? as usize)?.to_vec()).ok()?;
    let mut extra = Fields(fields.take(extra_len? as usize)?);
    fields.take(comment_len? as usize)?;
    while let (Some(id), Some(extra_len)) = (extra.number(2), extra.number(2)) {
        let mut wide = Fields(extra.take(extra_len as usize)?);
        if id != 1 {
            continue;
        }
        if len == 0xFFFF_FFFF {
            len = wide.number(8)?;
        }
        if compressed_is_wide {
            wide.take(8)?;
        }
        if header_offset == 0xFFFF_FFFF {
            header_offset = wide.number(8)?;
        }
    }
    Some((name, Entry { len, header_offset, crc32, method, flags }))
}
