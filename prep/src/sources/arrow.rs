//! Arrow IPC files and streams, such as the cache of Hugging Face `datasets`: one column of text.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::{StreamDecoder, read_footer_length};
use arrow_ipc::root_as_footer;

use super::column::{self, Rows};
use super::compression::Stream;
use super::{RawDocument, ReadOptions, Skipped};
use crate::{Error, Result};

/// What an IPC file begins with; a stream follows, and behind that a footer.
const FILE_MAGIC: &[u8] = b"ARROW1";
/// Larger record batches are refused: one is held in memory.
const MAX_BATCH_BYTES: u64 = 1 << 30;
/// Larger footers are refused; this one lists more than two million record batches.
const MAX_FOOTER_BYTES: usize = 64 << 20;
/// What follows the footer: its length and the magic again.
const TRAILER_BYTES: usize = 10;

/// Raw documents of an Arrow IPC file or stream, in order.
///
/// A stream ends with a mark of eight bytes, four of which are a length of zero: a hole in a damaged file looks like it,
/// and so do streams that were joined. What follows the mark is looked at before the end is believed.
///
/// # Memory usage
/// One record batch with all its columns. Writers make them of about a thousand rows.
pub(super) struct ArrowRows {
    stream: Stream,
    column: String,
    skipped: Arc<Skipped>,
    decoder: StreamDecoder,
    state: State,
    num_batches: usize,
    rows: Rows,
    rows_before: u64,
    rows_in_batch: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unread,
    InStream,
    /// In the stream that a file contains.
    InFile,
    Over,
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
            state: State::Unread,
            num_batches: 0,
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
            self.num_batches += 1;
            self.rows_in_batch = batch.num_rows() as u64;
            self.rows = Rows::of(&batch, index);
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        match self.state {
            State::Unread => self.start()?,
            State::Over => return Ok(None),
            State::InStream | State::InFile => {}
        }
        let mut batch_bytes = 0;
        loop {
            let block = self.stream.fill()?;
            if block.is_empty() {
                return self.end_of_input();
            }
            let num_bytes = block.len();
            let mut buffer = Buffer::from(block);
            let decoded = self.decode(&mut buffer);
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
                Ok(Err(error)) if error.contains(PAST_THE_MARK) && self.decoder.schema().is_some() => {
                    return self.after_the_mark();
                }
                Ok(Err(error)) => return Err(self.invalid(&format!("data is damaged ({error})"))),
                Err(_) => return Err(self.invalid("data is damaged")),
            }
        }
    }

    /// The outer error is a panic.
    fn decode(&mut self, buffer: &mut Buffer) -> Result<std::result::Result<Option<RecordBatch>, String>> {
        let decoder = &mut self.decoder;
        column::guarded("arrow".as_ref(), "Arrow", || Ok(decoder.decode(buffer).map_err(|error| error.to_string())))
    }

    /// Nothing is left: a stream may end so, with its mark.
    fn end_of_input(&mut self) -> Result<Option<RecordBatch>> {
        // Only a decoder that has seen the mark refuses another byte in these words.
        let marked = matches!(self.decode(&mut Buffer::from(&[0u8])), Ok(Err(error)) if error.contains(PAST_THE_MARK));
        if !marked || self.state == State::InFile || self.decoder.schema().is_none() {
            return Err(self.invalid("data ends early: the file was cut short"));
        }
        self.state = State::Over;
        Ok(None)
    }

    /// The mark was seen, and something follows: the footer of a file.
    fn after_the_mark(&mut self) -> Result<Option<RecordBatch>> {
        if self.state == State::InStream {
            let problem =
                "stream ends, but the file goes on: it is damaged, or several were joined (give each as a file)";
            return Err(self.invalid(problem));
        }
        let mut rest = Vec::new();
        while rest.len() <= MAX_FOOTER_BYTES {
            let block = self.stream.fill()?;
            if block.is_empty() {
                break;
            }
            let num_bytes = block.len();
            rest.extend_from_slice(block);
            self.stream.consume(num_bytes);
        }
        match batches_listed(&rest) {
            Some(listed) if listed == self.num_batches => {
                self.state = State::Over;
                Ok(None)
            }
            Some(listed) => {
                let found = self.num_batches;
                Err(self.invalid(&format!("data is damaged: its footer lists {listed} record batches, found {found}")))
            }
            None => Err(self.invalid("data is damaged: expected the file's footer after the end of its stream")),
        }
    }

    /// Tells a file from a stream.
    fn start(&mut self) -> Result<()> {
        let start = self.stream.fill()?;
        if start.starts_with(FILE_MAGIC) {
            // Zeros follow, as many as bring the stream to what the writer aligns to.
            let padding = start[FILE_MAGIC.len()..].iter().take_while(|byte| **byte == 0).count();
            self.stream.consume(FILE_MAGIC.len() + padding);
            self.state = State::InFile;
            return Ok(());
        }
        if !start.starts_with(&[0xff; 4]) {
            return Err(self.invalid("data was expected (an IPC file or stream), found something else"));
        }
        self.state = State::InStream;
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

/// What the decoder says of bytes behind the end-of-stream mark.
const PAST_THE_MARK: &str = "Unexpected EOS";

/// How many record batches the footer lists that `rest` is, padding before it aside.
fn batches_listed(rest: &[u8]) -> Option<usize> {
    let (before, trailer) = rest.split_last_chunk::<TRAILER_BYTES>()?;
    let (padding, footer) = before.split_at_checked(before.len().checked_sub(read_footer_length(*trailer).ok()?)?)?;
    // Of two files that were joined, the other one lies here.
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(root_as_footer(footer).ok()?.recordBatches().map_or(0, |batches| batches.len()))
}
