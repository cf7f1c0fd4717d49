//! Reading a shard: memory-mapped, zero-copy, every byte behind a checksum before it is decoded.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, root_as_footer, root_as_message};
use arrow_schema::SchemaRef;

use super::column::Columns;
use crate::checksum::Crc32c;
use crate::error::{AtPath, Error, ErrorKind, Result};
use crate::manifest::{ShardEntry, VocabularyInfo};
use crate::mmap;
use crate::row::{Row, Tokens};
use crate::schema::Layout;

/// `ARROW1` and the footer's length close the file.
const TRAILER: usize = 10;

/// An open shard. Batches are verified and decoded when first touched.
///
/// # Memory usage
/// The file is mapped, not read; a decoded batch holds a few pointers into the map.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    map: Buffer,
    layout: Layout,
    entry: ShardEntry,
    schema: SchemaRef,
    version: arrow_ipc::MetadataVersion,
    blocks: Vec<Block>,
    /// First row of each batch, and the number of rows.
    starts: Vec<u64>,
    batches: Vec<OnceLock<Columns>>,
}

impl Shard {
    /// Opens the shard at `path`, which `entry` of a manifest describes.
    ///
    /// # Errors
    /// Missing, of another length, or with a damaged head or footer; batches are checked later.
    pub fn open(
        path: impl AsRef<Path>,
        entry: &ShardEntry,
        layout: Layout,
        vocabulary: &VocabularyInfo,
    ) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let map = mmap::map(&path)?;
        if map.len() as u64 != entry.bytes {
            let kind = ErrorKind::Length { expected: entry.bytes, found: map.len() as u64 };
            return Err(Error::new(&path, kind));
        }
        let head_end = entry.batches.first().map_or(entry.tail_offset, |b| b.offset);
        check(&path, "head", entry.head_crc32c, &map[..head_end as usize])?;
        check(&path, "footer", entry.tail_crc32c, &map[entry.tail_offset as usize..])?;
        let footer = Footer::parse(&map).map_err(|e| Error::new(&path, ErrorKind::Arrow(e)))?;
        let schema = layout.arrow(vocabulary);
        if footer.schema != *schema {
            let problem = "the file's columns or vocabulary are not the manifest's; rebuild the dataset".to_owned();
            return Err(Error::new(&path, ErrorKind::Arrow(problem)));
        }
        check_blocks(&footer.blocks, entry).map_err(|e| Error::new(&path, ErrorKind::Arrow(e)))?;
        let mut starts = vec![0];
        for batch in &entry.batches {
            starts.push(starts[starts.len() - 1] + batch.rows);
        }
        let batches = entry.batches.iter().map(|_| OnceLock::new()).collect();
        let (version, blocks, entry) = (footer.version, footer.blocks, entry.clone());
        Ok(Self { path, map, layout, entry, schema, version, blocks, starts, batches })
    }

    /// Rows.
    pub fn num_rows(&self) -> u64 {
        self.entry.rows
    }

    /// Row `index` of the shard.
    ///
    /// # Errors
    /// The batch that holds it is damaged.
    ///
    /// # Panics
    /// `index` is not below [`num_rows`](Self::num_rows).
    pub fn row(&self, index: u64) -> Result<Row<'_>> {
        let (columns, i) = self.locate(index)?;
        Ok(columns.row(i))
    }

    /// Number of tokens of row `index`, without touching them; errors and panics as [`row`](Self::row).
    pub fn row_length(&self, index: u64) -> Result<usize> {
        let (columns, i) = self.locate(index)?;
        Ok(columns.row_tokens(i).len())
    }

    /// The tokens of row `index`, without touching its other columns; errors and panics as [`row`](Self::row).
    #[inline]
    pub fn row_tokens(&self, index: u64) -> Result<Tokens<'_>> {
        let (columns, i) = self.locate(index)?;
        Ok(columns.row_tokens(i))
    }

    /// Record batches.
    pub fn num_batches(&self) -> usize {
        self.entry.batches.len()
    }

    /// Rows of record batch `batch`.
    ///
    /// # Panics
    /// `batch` is not below [`num_batches`](Self::num_batches).
    pub fn batch_rows(&self, batch: usize) -> Range<u64> {
        self.starts[batch]..self.starts[batch + 1]
    }

    /// Compares the checksum of every record batch, without decoding any.
    pub fn check_batches(&self) -> Result<()> {
        (0..self.entry.batches.len()).try_for_each(|index| self.check_batch(index).map(drop))
    }

    /// The bytes of a record batch, once its checksum was compared.
    fn check_batch(&self, index: usize) -> Result<Buffer> {
        let entry = &self.entry.batches[index];
        let bytes = self.map.slice_with_length(entry.offset as usize, entry.bytes as usize);
        check(&self.path, &format!("record batch {index}"), entry.crc32c, &bytes)?;
        Ok(bytes)
    }

    #[inline]
    fn locate(&self, index: u64) -> Result<(&Columns, usize)> {
        assert!(index < self.entry.rows, "row {index} of a shard of {}", self.entry.rows);
        let batch = self.starts.partition_point(|&start| start <= index) - 1;
        let columns = match self.batches[batch].get() {
            Some(columns) => columns,
            None => self.first_touch(batch)?,
        };
        Ok((columns, (index - self.starts[batch]) as usize))
    }

    /// Verifies and decodes a batch; if two threads do it at once, one result is kept.
    #[cold]
    fn first_touch(&self, index: usize) -> Result<&Columns> {
        let entry = &self.entry.batches[index];
        let bytes = self.check_batch(index)?;
        check_message(&bytes, &self.blocks[index], self.layout, entry.rows).map_err(|problem| {
            Error::new(&self.path, ErrorKind::Arrow(format!("record batch {index}: {problem}; rebuild the dataset")))
        })?;
        let decoder = FileDecoder::new(self.schema.clone(), self.version).with_require_alignment(true);
        let batch = decoder.read_record_batch(&self.blocks[index], &bytes).at(&self.path)?;
        let batch = batch.ok_or_else(|| {
            Error::new(&self.path, ErrorKind::Arrow(format!("block {index}: expected a record batch")))
        })?;
        if batch.num_rows() as u64 != entry.rows {
            let kind = ErrorKind::InstanceCount { expected: entry.rows, found: batch.num_rows() as u64 };
            return Err(Error::new(&self.path, kind));
        }
        let columns = Columns::new(self.layout, &batch).map_err(|e| Error::new(&self.path, ErrorKind::Arrow(e)))?;
        Ok(self.batches[index].get_or_init(|| columns))
    }
}

fn check(path: &Path, what: &str, expected: Crc32c, bytes: &[u8]) -> Result<()> {
    let found = Crc32c::of(bytes);
    if found == expected {
        return Ok(());
    }
    let kind = ErrorKind::Checksum { what: what.to_owned(), expected: expected.to_string(), found: found.to_string() };
    Err(Error::new(path, kind))
}

struct Footer {
    schema: arrow_schema::Schema,
    version: arrow_ipc::MetadataVersion,
    blocks: Vec<Block>,
}

impl Footer {
    fn parse(map: &[u8]) -> Result<Self, String> {
        let body_end = map.len().checked_sub(TRAILER).ok_or("too short for an Arrow file")?;
        let trailer: [u8; TRAILER] = map[body_end..].try_into().expect("ten bytes");
        let length = read_footer_length(trailer).map_err(|e| e.to_string())?;
        let start = body_end.checked_sub(length).ok_or("the footer is longer than the file")?;
        let footer = root_as_footer(&map[start..body_end]).map_err(|e| e.to_string())?;
        let schema = footer.schema().ok_or("the footer has no schema")?;
        Ok(Self {
            schema: try_fb_to_schema(schema).map_err(|e| e.to_string())?,
            version: footer.version(),
            blocks: footer.recordBatches().map(|b| b.iter().copied().collect()).unwrap_or_default(),
        })
    }
}

/// The footer must place its blocks exactly where the manifest does: what is decoded is then what was checksummed.
fn check_blocks(blocks: &[Block], entry: &ShardEntry) -> Result<(), String> {
    if blocks.len() != entry.batches.len() {
        return Err(format!("manifest promises {} record batches, file has {}", entry.batches.len(), blocks.len()));
    }
    for (i, (block, batch)) in blocks.iter().zip(&entry.batches).enumerate() {
        let length = i64::from(block.metaDataLength()).checked_add(block.bodyLength());
        let same = u64::try_from(block.offset()) == Ok(batch.offset)
            && length.and_then(|l| u64::try_from(l).ok()) == Some(batch.bytes)
            && block.metaDataLength() >= 8
            && block.bodyLength() >= 0;
        if !same {
            return Err(format!("record batch {i} does not lie where the manifest says"));
        }
    }
    Ok(())
}

/// A record batch must say of its own parts what can be: arrow takes them at their word and would panic.
///
/// `bytes`: prefix (continuation marker and length), metadata, body.
fn check_message(bytes: &[u8], block: &Block, layout: Layout, rows: u64) -> Result<(), String> {
    const PREFIX: usize = 8;
    let metadata = block.metaDataLength() as usize;
    if bytes.len() < metadata || bytes[..4] != [0xff; 4] {
        return Err("expected a message with a continuation marker".to_owned());
    }
    let message = root_as_message(&bytes[PREFIX..metadata]).map_err(|e| e.to_string())?;
    let batch = message.header_as_record_batch().ok_or("expected a record batch")?;
    if batch.compression().is_some() {
        return Err("expected no compression".to_owned());
    }
    let body_len = (bytes.len() - metadata) as u64;
    let lies_within = |offset: i64, len: i64| {
        let (offset, len) = (u64::try_from(offset).ok()?, u64::try_from(len).ok()?);
        offset.checked_add(len).filter(|&end| end <= body_len)
    };
    let columns = layout.columns();
    let widths = columns.iter().flat_map(|(_, ty)| ty.buffer_widths());
    for (buffer, width) in batch.buffers().into_iter().flatten().zip(widths) {
        if lies_within(buffer.offset(), buffer.length()).is_none() || buffer.length() % width != 0 {
            return Err("a buffer does not lie within the body or holds part of a value".to_owned());
        }
    }
    // Values take at least a byte each; only flags, of which there are as many as rows, take less.
    let most = body_len.max(rows);
    let is_possible = |len: i64| u64::try_from(len).is_ok_and(|len| len <= most);
    let mut nodes = batch.nodes().into_iter().flatten();
    if !nodes.all(|node| is_possible(node.length()) && node.null_count() == 0) || !is_possible(batch.length()) {
        return Err("a column has an impossible number of values".to_owned());
    }
    Ok(())
}

/// Shards are shared between the threads of a loader.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<Shard>>();
};
