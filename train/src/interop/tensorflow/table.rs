//! LevelDB's sorted table, in which TensorFlow keeps the index of a checkpoint.
//!
//! Source of the format: `doc/table_format.md` of google/leveldb; `tensorflow/core/lib/io/table` uses it unchanged. Blocks of a
//! checkpoint's index are never compressed.

use cloze_formats::checksum::Crc32c;

const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
const FOOTER_LEN: usize = 48;
/// Kind of compression and checksum after each block.
const TRAILER_LEN: usize = 5;
/// TensorFlow's settings: bytes after which a block is closed, and rows from one whole key to the next.
const BLOCK_LEN: usize = 1 << 18;
const RESTART_INTERVAL: usize = 16;

/// Key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// Every row of the table in `bytes`, in order.
///
/// # Errors
/// It is no such table, is damaged, or compressed.
pub(super) fn rows(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let at = bytes.len().checked_sub(FOOTER_LEN).ok_or("too short")?;
    let footer = &bytes[at..];
    if footer[40..] != MAGIC.to_le_bytes() {
        return Err("its last bytes are not those of an index".to_owned());
    }
    let mut handles = Bytes(footer);
    let (_metaindex, index) = (handle(&mut handles)?, handle(&mut handles)?);
    let mut rows = Vec::new();
    // Keys of a checkpoint share tens of bytes with their neighbours; this is far above.
    let mut budget = bytes.len().saturating_mul(64);
    for (_, value) in block(bytes, index, &mut budget)? {
        rows.extend(block(bytes, handle(&mut Bytes(&value))?, &mut budget)?);
    }
    Ok(rows)
}

/// Bytes that are read from the front.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(len).ok_or("it ends early")?;
        self.0 = tail;
        Ok(head)
    }

    /// A number in groups of seven bits, the lowest first.
    pub fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }

    pub fn len(&mut self) -> Result<usize, String> {
        usize::try_from(self.varint()?).map_err(|_| "it ends early".to_owned())
    }
}

/// Offset and length of a block.
fn handle(bytes: &mut Bytes<'_>) -> Result<(usize, usize), String> {
    Ok((bytes.len()?, bytes.len()?))
}

/// Appends `value` in groups of seven bits, the lowest first.
pub(super) fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// LevelDB stores checksums so that a checksum over them is none of nothing.
///
/// Source: `util/crc32c.h`, google/leveldb.
pub(super) fn masked(crc: Crc32c) -> u32 {
    crc.0.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The rows of one block. Keys leave out what they share with the one before, and blocks may be named twice; `budget` bounds what
/// that can grow to.
fn block(bytes: &[u8], (offset, len): (usize, usize), budget: &mut usize) -> Result<Vec<Row>, String> {
    let end = offset.checked_add(len).and_then(|end| end.checked_add(TRAILER_LEN)).ok_or("a block beyond the end")?;
    let block = bytes.get(offset..end).ok_or("a block beyond the end")?;
    let (block, crc) = block.split_at(len + 1);
    let stored = u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]);
    if masked(Crc32c::of(block)) != stored {
        return Err("a block whose checksum differs".to_owned());
    }
    if block[len] != 0 {
        return Err("a compressed block".to_owned());
    }
    // Restart points, for searching, stand at the end: four bytes each and their number.
    let data = &block[..len];
    let num_restarts = data.last_chunk::<4>().ok_or("a block without an end")?;
    let restarts_len = (u32::from_le_bytes(*num_restarts) as usize).checked_add(1).and_then(|n| n.checked_mul(4));
    let data_len = restarts_len.and_then(|restarts| len.checked_sub(restarts)).ok_or("a block without an end")?;
    let mut data = Bytes(&data[..data_len]);
    let mut rows: Vec<Row> = Vec::new();
    while !data.0.is_empty() {
        let (shared, unshared, value_len) = (data.len()?, data.len()?, data.len()?);
        let before = rows.last().map_or(&[][..], |(key, _)| key);
        let prefix = before.get(..shared).ok_or("a key that shares more than there is")?;
        let (suffix, value) = (data.take(unshared)?, data.take(value_len)?);
        let row_len = prefix.len() + suffix.len() + value.len() + size_of::<Row>() / 4;
        *budget = budget.checked_sub(row_len).ok_or("rows that grow beyond any checkpoint's")?;
        rows.push(([prefix, suffix].concat(), value.to_vec()));
    }
    Ok(rows)
}

/// A table of `rows`, which are in ascending order of their keys, byte by byte as TensorFlow writes it where it has one block.
pub(super) fn table(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut index: Vec<Row> = Vec::new();
    let mut builder = BlockBuilder::new(RESTART_INTERVAL);
    for (number, (key, value)) in rows.iter().enumerate() {
        builder.push(key, value);
        let is_last = number + 1 == rows.len();
        if builder.bytes.len() >= BLOCK_LEN || is_last {
            // The index may name any key from the block's last one up to the next one's.
            let key = if is_last { short_successor(key) } else { key.clone() };
            let full = std::mem::replace(&mut builder, BlockBuilder::new(RESTART_INTERVAL));
            index.push((key, full.finish(&mut bytes)));
        }
    }
    let metaindex = BlockBuilder::new(RESTART_INTERVAL).finish(&mut bytes);
    let mut builder = BlockBuilder::new(1);
    index.iter().for_each(|(key, handle)| builder.push(key, handle));
    let mut footer = [metaindex, builder.finish(&mut bytes)].concat();
    footer.resize(FOOTER_LEN - 8, 0);
    bytes.extend(footer);
    bytes.extend(MAGIC.to_le_bytes());
    bytes
}

/// A short key that is no less than `key`.
fn short_successor(key: &[u8]) -> Vec<u8> {
    match key.iter().position(|&byte| byte != 0xFF) {
        Some(at) => [&key[..at], &[key[at] + 1]].concat(),
        None => key.to_vec(),
    }
}

/// Rows of a block that is being written; every so many rows a key stands whole.
struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    restart_interval: usize,
    num_rows: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    fn new(restart_interval: usize) -> Self {
        Self { bytes: Vec::new(), restarts: vec![0], restart_interval, num_rows: 0, last_key: Vec::new() }
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        let is_restart = self.num_rows.is_multiple_of(self.restart_interval);
        if is_restart && self.num_rows > 0 {
            self.restarts.push(self.bytes.len() as u32);
        }
        let shared = if is_restart { 0 } else { key.iter().zip(&self.last_key).take_while(|(a, b)| a == b).count() };
        for len in [shared, key.len() - shared, value.len()] {
            push_varint(&mut self.bytes, len as u64);
        }
        self.bytes.extend(&key[shared..]);
        self.bytes.extend(value);
        key.clone_into(&mut self.last_key);
        self.num_rows += 1;
    }

    /// Appends the block, its kind (not compressed) and checksum to `table`; gives its handle.
    fn finish(mut self, table: &mut Vec<u8>) -> Vec<u8> {
        let num_restarts = self.restarts.len() as u32;
        self.bytes.extend(self.restarts.into_iter().chain([num_restarts]).flat_map(u32::to_le_bytes));
        let mut handle = Vec::new();
        push_varint(&mut handle, table.len() as u64);
        push_varint(&mut handle, self.bytes.len() as u64);
        self.bytes.push(0);
        let crc = masked(Crc32c::of(&self.bytes));
        table.extend(self.bytes);
        table.extend(crc.to_le_bytes());
        handle
    }
}
