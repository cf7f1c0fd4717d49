//! Writing a shard: rows in, one Arrow file out, whole or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_ipc::writer::FileWriter;
use arrow_schema::SchemaRef;

use super::buffer::RowBuffer;
use super::reader::Shard;
use crate::checksum::ChecksumWriter;
use crate::durable::{sync_parent, temporary};
use crate::error::{AtPath, Error, ErrorKind, Result};
use crate::manifest::{BatchEntry, ShardEntry, VocabularyInfo};
use crate::row::Row;
use crate::schema::Layout;
use crate::statistics::Statistics;

/// Rows per record batch.
pub const BATCH_ROWS: usize = 65_536;
/// A batch is closed early at this many tokens: about 1.5 MB of a pretrain dataset. It is held in memory while it is filled, by each
/// thread that makes a shard, and a small one stays in the core's cache.
const BATCH_TOKENS: usize = 1 << 19;
/// Bytes on their way from a batch to the file.
const BUFFER_BYTES: usize = 1 << 17;

type Sink = ChecksumWriter<BufWriter<File>>;

/// Writes one shard. Dropped before [`finish`](Self::finish), it removes what it wrote.
pub struct ShardWriter {
    path: PathBuf,
    temporary: PathBuf,
    layout: Layout,
    vocabulary: VocabularyInfo,
    schema: SchemaRef,
    file: Option<FileWriter<Sink>>,
    head: crate::checksum::Crc32c,
    rows: RowBuffer,
    batches: Vec<BatchEntry>,
    statistics: Statistics,
}

impl ShardWriter {
    /// Starts the shard that will be published at `path`.
    pub fn create(path: impl AsRef<Path>, layout: Layout, vocabulary: &VocabularyInfo) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let temporary = temporary(&path);
        let schema = layout.arrow(vocabulary);
        let sink = ChecksumWriter::new(BufWriter::with_capacity(BUFFER_BYTES, File::create(&temporary).at(&path)?));
        let mut file = FileWriter::try_new(sink, &schema).at(&path)?;
        let head = file.get_mut().take_crc();
        Ok(Self {
            path,
            temporary,
            layout,
            vocabulary: vocabulary.clone(),
            schema,
            file: Some(file),
            head,
            rows: RowBuffer::new(layout),
            batches: Vec::new(),
            statistics: Statistics::default(),
        })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// The row is not one of this shard's layout, breaks an invariant of its kind, or a full batch cannot be written.
    pub fn push<'a>(&mut self, row: impl Into<Row<'a>>) -> Result<()> {
        let row = row.into();
        crate::dataset::check_row(&row, self.layout, &self.vocabulary)
            .map_err(|problem| Error::new(&self.path, ErrorKind::Row { row: self.statistics.rows, problem }))?;
        self.rows.push(&row);
        self.statistics.observe(&row, self.vocabulary.special);
        if self.rows.rows() >= BATCH_ROWS || self.rows.tokens() >= BATCH_TOKENS {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Rows and tokens so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Writes what is left, syncs, reads the file's structure back, and publishes it under its name.
    pub fn finish(mut self) -> Result<(ShardEntry, Statistics)> {
        if self.rows.rows() > 0 {
            self.write_batch()?;
        }
        let mut file = self.file.take().expect("the file is open until finish");
        let tail_offset = file.get_mut().bytes();
        file.finish().at(&self.path)?;
        let sink = file.get_mut();
        sink.flush().at(&self.path)?;
        let (bytes, tail_crc32c) = (sink.bytes(), sink.take_crc());
        sink.get_ref().get_ref().sync_all().at(&self.path)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entry = ShardEntry {
            file: name,
            rows: self.statistics.rows,
            tokens: self.statistics.tokens,
            bytes,
            head_crc32c: self.head,
            tail_offset,
            tail_crc32c,
            batches: std::mem::take(&mut self.batches),
        };
        Shard::open(&self.temporary, &entry, self.layout, &self.vocabulary)?;
        fs::rename(&self.temporary, &self.path).at(&self.path)?;
        sync_parent(&self.path)?;
        Ok((entry, std::mem::take(&mut self.statistics)))
    }

    fn write_batch(&mut self) -> Result<()> {
        let next = self.rows.alike();
        let rows = std::mem::replace(&mut self.rows, next);
        let num_rows = rows.rows() as u64;
        let batch = rows.finish(self.schema.clone()).at(&self.path)?;
        let file = self.file.as_mut().expect("the file is open until finish");
        let offset = file.get_mut().bytes();
        file.write(&batch).at(&self.path)?;
        let sink = file.get_mut();
        let (bytes, crc32c) = (sink.bytes() - offset, sink.take_crc());
        self.batches.push(BatchEntry { offset, bytes, rows: num_rows, crc32c });
        Ok(())
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        // Of a published shard the temporary name is gone already.
        let _ = fs::remove_file(&self.temporary);
    }
}
