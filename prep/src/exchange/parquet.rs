//! Parquet files with our columns.

use std::fs::File;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use cloze_formats::ErrorKind;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::columnar::BatchWriter;
use crate::error::{AtPath, Error, Result};

/// Rows of a row group, which a reader decodes at once.
const ROW_GROUP_ROWS: usize = 65_536;
/// Bytes at which a row group is closed early, for rows as long as documents.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Rows decoded at once.
const READ_ROWS: usize = 4_096;

/// A Parquet file being written.
pub(super) struct Writer(ArrowWriter<File>);

impl Writer {
    pub(super) fn create(path: &Path, schema: SchemaRef) -> std::result::Result<Self, ErrorKind> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(File::create(path)?, schema, Some(properties));
        writer.map(Self).map_err(kind)
    }
}

impl BatchWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), ErrorKind> {
        self.0.write(batch).map_err(kind)?;
        if self.0.in_progress_size() > ROW_GROUP_BYTES { self.0.flush().map_err(kind) } else { Ok(()) }
    }

    fn finish(self) -> std::result::Result<(), ErrorKind> {
        self.0.close().map(drop).map_err(kind)
    }
}

/// Opens the Parquet file at `path`, batch by batch.
///
/// # Errors
/// Not such a file.
pub(super) fn open(path: &Path) -> Result<(SchemaRef, ParquetRecordBatchReader)> {
    let file = File::open(path).at(path)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file);
    let builder = builder.map_err(|e| Error::invalid(path, format!("expected a Parquet file, found none: {e}")))?;
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(READ_ROWS).build().map_err(|e| Error::new(path, kind(e)))?;
    Ok((schema, reader))
}

/// A full disk arrives wrapped: people need to see the operating system's words.
fn kind(error: ParquetError) -> ErrorKind {
    match error {
        ParquetError::External(e) => match e.downcast::<std::io::Error>() {
            Ok(io) => ErrorKind::Io(*io),
            Err(e) => ErrorKind::Arrow(e.to_string()),
        },
        other => ErrorKind::Arrow(other.to_string()),
    }
}
