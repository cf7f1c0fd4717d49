//! Arrow IPC files and streams, such as the cache of Hugging Face `datasets`: one column of text.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;

use super::column::{self, Rows};
use super::compression::Stream;
use super::{RawDocument, ReadOptions, Skipped};
use crate::{Error, Result};

/// What an IPC file begins with; a stream follows, and behind that a footer which only random access needs.
const FILE_MAGIC: &[u8] = b"ARROW1";
/// Larger record batches are refused: one is held in memory.
const MAX_BATCH_BYTES: u64 = 1 << 30;

/// Raw documents of an Arrow IPC file or stream, in order.
///
/// # Memory usage
/// One record batch with all its columns. Writers make them of about a thousand rows.
pub(super) struct ArrowRows {
    stream: Stream,
    column: String,
    skipped: Arc<Skipped>,
    decoder: StreamDecoder,
    started: bool,
    /// It is a file, whose stream has an end that is marked.
    is_file: bool,
    rows: Rows,
    rows_before: u64,
    rows_in_batch: u64,
}

impl ArrowRows {
    pub(super) fn new(stream: Stream, options: &ReadOptions, skipped: Arc<Skipped>) -> Self {
        let decoder = StreamDecoder::new();
        let (column, rows) = (options.column.clone(), Rows::none());
        Self {
            stream,
            column,
            skipped,
            decoder,
            started: false,
            is_file: false,
            rows,
            rows_before: 0,
            rows_in_batch: 0,
        }
    }

    fn next_document(&mut self) -> Result<Option<RawDocument>> {
        loop {
            if let Some(document) = self.rows.next(self.stream.path(), self.rows_before, &self.skipped)? {
                return Ok(Some(document));
            }
            self.rows_before += std::mem::take(&mut self.rows_in_batch);
            // Dropped first: two batches need not be held at once.
            self.rows = Rows::none();
            let Some(batch) = self.next_batch()? else { return Ok(None) };
            let index = column::find(self.stream.path(), &batch.schema(), &self.column)?;
            self.rows_in_batch = batch.num_rows() as u64;
            self.rows = Rows::of(&batch, index);
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if !std::mem::replace(&mut self.started, true) {
            self.skip_file_magic()?;
        }
        let mut batch_bytes = 0;
        loop {
            let block = self.stream.fill()?;
            if block.is_empty() {
                return match self.decoder.finish() {
                    Ok(()) if self.decoder.schema().is_some() && !self.is_file => Ok(None),
                    _ => Err(self.invalid("data ends early: the file was cut short")),
                };
            }
            let num_bytes = block.len();
            let mut buffer = Buffer::from(block);
            let decoder = &mut self.decoder;
            let decoded = column::guarded("arrow".as_ref(), "Arrow", || {
                Ok(decoder.decode(&mut buffer).map_err(|error| error.to_string()))
            });
            let used = num_bytes - buffer.len();
            self.stream.consume(used);
            batch_bytes += used as u64;
            match decoded {
                Ok(Ok(Some(batch))) => return Ok(Some(batch)),
                Ok(Ok(None)) if batch_bytes > MAX_BATCH_BYTES => {
                    let giga = MAX_BATCH_BYTES >> 30;
                    return Err(
                        self.invalid(&format!("has a record batch of more than {giga} GiB; write smaller ones"))
                    );
                }
                Ok(Ok(None)) => {}
                // The end of the stream; the footer of a file may follow.
                Ok(Err(error)) if error.contains("Unexpected EOS") && self.decoder.schema().is_some() => {
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(self.invalid(&format!("data is damaged ({error})"))),
                Err(_) => return Err(self.invalid("data is damaged")),
            }
        }
    }

    fn skip_file_magic(&mut self) -> Result<()> {
        let start = self.stream.fill()?;
        if start.starts_with(FILE_MAGIC) {
            // Zeros follow, as many as bring the stream to what the writer aligns to.
            let padding = start[FILE_MAGIC.len()..].iter().take_while(|byte| **byte == 0).count();
            self.stream.consume(FILE_MAGIC.len() + padding);
            self.is_file = true;
        } else if !start.starts_with(&[0xff; 4]) {
            return Err(self.invalid("data was expected (an IPC file or stream), found something else"));
        }
        Ok(())
    }

    fn invalid(&mut self, problem: &str) -> Error {
        let problem = format!("Arrow {problem}; restore the file or make it again");
        let error = Error::invalid(self.stream.path(), problem);
        self.stream.blame(error)
    }
}

impl Iterator for ArrowRows {
    type Item = Result<RawDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}
