//! Parquet files: one column of text, read page by page.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::column::{self, Rows};
use super::{RawDocument, ReadOptions, STANDARD_INPUT, Skipped};
use crate::error::AtPath;
use crate::{Error, Result};

/// Decoded at once, about.
const BATCH_BYTES: u64 = 1 << 20;
/// Rows decoded at once, at most.
const MAX_BATCH_ROWS: u64 = 1_024;

/// Raw documents of a Parquet file, in order.
///
/// # Memory usage
/// A page of the column, and about a megabyte of its rows.
pub(super) struct ParquetRows {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    rows: Rows,
    skipped: Arc<Skipped>,
    bytes_read: Arc<AtomicU64>,
    file_bytes: u64,
    total_rows: u64,
    /// Rows of the batches before the current one, and of it.
    rows_before: u64,
    rows_in_batch: u64,
}

impl ParquetRows {
    pub(super) fn open(path: &Path, options: &ReadOptions, skipped: Arc<Skipped>) -> Result<Self> {
        if path == Path::new(STANDARD_INPUT) {
            return Err(Error::invalid(path, "expected a file: Parquet is read from its end, standard input has none"));
        }
        let file = File::open(path).at(path)?;
        let file_bytes = file.metadata().at(path)?.len();
        let builder = column::guarded(path, "Parquet", || {
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| explain(path, error))
        })?;
        let index = column::find(path, builder.schema(), &options.column)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), [index]);
        let metadata = builder.metadata();
        let total_rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let bytes: i64 = metadata.row_groups().iter().map(|group| column_bytes(group, &options.column)).sum();
        let bytes_per_row = u64::try_from(bytes).unwrap_or(0) / total_rows.max(1);
        let batch_rows = (BATCH_BYTES / bytes_per_row.max(1)).clamp(1, MAX_BATCH_ROWS);
        let builder = builder.with_projection(mask).with_batch_size(batch_rows as usize);
        let reader = column::guarded(path, "Parquet", || builder.build().map_err(|error| explain(path, error)))?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            rows: Rows::none(),
            skipped,
            bytes_read: Arc::default(),
            file_bytes,
            total_rows,
            rows_before: 0,
            rows_in_batch: 0,
        })
    }

    /// Bytes of the file consumed so far: its rows' share of the whole.
    pub(super) fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    fn next_document(&mut self) -> Result<Option<RawDocument>> {
        loop {
            if let Some(document) = self.rows.next(&self.path, self.rows_before, &self.skipped)? {
                return Ok(Some(document));
            }
            self.rows_before += std::mem::take(&mut self.rows_in_batch);
            let share = self.rows_before as f64 / self.total_rows.max(1) as f64;
            self.bytes_read.store((share.min(1.0) * self.file_bytes as f64) as u64, Ordering::Relaxed);
            let (path, reader) = (&self.path, &mut self.reader);
            let batch = column::guarded(path, "Parquet", || {
                let batch = reader.next().transpose();
                batch.map_err(|error| explain(path, ParquetError::General(error.to_string())))
            })?;
            match batch {
                Some(batch) => {
                    self.rows_in_batch = batch.num_rows() as u64;
                    self.rows = Rows::of(&batch, 0);
                }
                None if self.rows_before < self.total_rows => {
                    let (expected, found) = (self.total_rows, self.rows_before);
                    let problem = format!("expected {expected} rows, found {found}: Parquet data is damaged");
                    return Err(Error::invalid(
                        &self.path,
                        format!("{problem}; restore the file or download it again"),
                    ));
                }
                None => {
                    self.bytes_read.store(self.file_bytes, Ordering::Relaxed);
                    return Ok(None);
                }
            }
        }
    }
}

impl Iterator for ParquetRows {
    type Item = Result<RawDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}

/// Bytes of a column's decompressed pages in a row group.
fn column_bytes(group: &parquet::file::metadata::RowGroupMetaData, name: &str) -> i64 {
    let column = group.columns().iter().find(|column| column.column_path().parts().first().is_some_and(|p| p == name));
    column.map_or(0, |column| column.uncompressed_size())
}

fn explain(path: &Path, error: ParquetError) -> Error {
    let advice = "restore the file or download it again";
    let problem = match error {
        ParquetError::EOF(what) => format!("Parquet data ends early: the file was cut short ({what}); {advice}"),
        ParquetError::NYI(what) => format!("expected Parquet that can be read, found what is not supported: {what}"),
        error => {
            let text = error.to_string();
            let text = text.strip_prefix("Parquet error: ").unwrap_or(&text);
            let text = text.strip_prefix("Parquet argument error: ").unwrap_or(text);
            format!("expected whole Parquet data, found: {}; {advice}", text.trim_start_matches("Parquet error: "))
        }
    };
    Error::invalid(path, problem)
}
