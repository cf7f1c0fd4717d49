//! Reader, workers, writer: documents are read by one thread, tokenized by many, and handed over in input order.
//!
//! The reader cuts its documents into chunks of about a megabyte. For each chunk it makes a channel for the one result;
//! the sending end goes to the workers with the chunk, the receiving end into a bounded queue, in order. The caller's thread
//! takes receivers from that queue one after the other, so order is kept without sorting. Memory is bounded by the length of
//! the queue and by the bytes of all documents in flight: see `budget.rs`.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::budget::Budget;
use super::{TokenizeConfig, dedup};
use crate::sentences::Splitter;
use crate::sources::{Document, RawDocument, ReadOptions, Skipped, SourceFile, documents_with};
use crate::wordpiece::{Encoder, WordPiece};
use crate::{Error, Result};

/// A chunk is closed when its documents take this many bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks in flight per worker: being tokenized, waiting, or done and not yet written.
const CHUNKS_PER_WORKER: usize = 4;
/// Documents passed over, on the way to where an interrupted run stopped, after which progress is told.
const PASSED_PER_STEP: u64 = 4_096;
/// More workers than one reader can feed would only take memory.
const MAX_WORKERS: usize = 128;
/// Bytes of documents in flight. Their tokens take about as much again, as does their text while it is extracted.
const MAX_BYTES_IN_FLIGHT: usize = 128 << 20;

/// What the pipeline hands over, in input order.
pub(super) enum Event<'a> {
    /// The next document.
    Document(TokenizedDocument<'a>),
    /// The source is over; what in it was no document.
    EndOfSource(&'a SourceFile, &'a Skipped),
    /// Bytes of all sources consumed.
    Progress(u64),
}

/// A document as its row will be.
pub(super) struct TokenizedDocument<'a> {
    pub(super) token_ids: &'a [u32],
    /// Empty if the document has no text.
    pub(super) sentence_lengths: &'a [u16],
    pub(super) unknown_tokens: u64,
    pub(super) split_sentences: u64,
    pub(super) text_bytes: u64,
    /// It has text, but less than wanted, and was not tokenized.
    pub(super) short: bool,
    /// Equal for equal texts; 0 if nobody asks.
    pub(super) hash: u128,
}

/// What goes through the ordered queue.
enum Ticket<'s> {
    Chunk(ChunkTicket),
    /// Bytes of all sources consumed, on the way to the first document that is wanted.
    Passed(u64),
    EndOfSource(&'s SourceFile, Arc<Skipped>),
    Failed(Error),
}

/// A chunk that a worker has, or will have.
struct ChunkTicket {
    result: Receiver<TokenizedChunk>,
    /// Bytes of its documents, to be given back to the budget.
    bytes: usize,
    /// Bytes of all sources consumed when it was closed.
    bytes_read: u64,
}

/// Documents for a worker, and where their result goes.
struct Job {
    documents: Vec<RawDocument>,
    result: SyncSender<TokenizedChunk>,
}

/// Runs all `sources` from document `start.1` of source `start.0` on, calling `handle` on this thread.
///
/// Stops at the first error of a source or of `handle`.
pub(super) fn run(
    sources: &[SourceFile],
    words: &Arc<WordPiece>,
    config: &TokenizeConfig,
    start: (usize, u64),
    mut handle: impl FnMut(Event<'_>) -> Result<()>,
) -> Result<()> {
    let num_workers = rayon::current_num_threads().min(MAX_WORKERS);
    let (jobs, queue) = sync_channel(CHUNKS_PER_WORKER * num_workers);
    let (tickets, order) = sync_channel(CHUNKS_PER_WORKER * num_workers);
    // Owned by the workers alone: should they all die, the reader's next chunk finds the queue closed.
    let queue = Arc::new(Mutex::new(queue));
    let stop = AtomicBool::new(false);
    let budget = Budget::new(MAX_BYTES_IN_FLIGHT);
    std::thread::scope(|scope| {
        scope.spawn(|| Reader::new(jobs, tickets, &stop, &budget).read(sources, &config.reading, start));
        for _ in 0..num_workers {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(&queue, words, config));
        }
        drop(queue);
        let outcome = order.into_iter().try_for_each(|ticket| redeem(ticket, &budget, &mut handle));
        // The reader may be deep in a large file; the closed queue alone would stop it only at its next chunk.
        stop.store(true, Ordering::Relaxed);
        budget.close();
        outcome
    })
}

/// Waits for what `ticket` promises and hands it over.
fn redeem(ticket: Ticket<'_>, budget: &Budget, handle: &mut impl FnMut(Event<'_>) -> Result<()>) -> Result<()> {
    match ticket {
        Ticket::Chunk(ChunkTicket { result, bytes, bytes_read }) => {
            // Only a worker that panicked sends nothing; its panic resurfaces when the scope ends.
            let chunk = result.recv().map_err(|_| Error::invalid("tokenize", "a worker has stopped"))?;
            chunk.documents().try_for_each(|document| handle(Event::Document(document)))?;
            drop(chunk);
            budget.give_back(bytes);
            handle(Event::Progress(bytes_read))
        }
        Ticket::Passed(bytes_read) => handle(Event::Progress(bytes_read)),
        Ticket::EndOfSource(source, skipped) => handle(Event::EndOfSource(source, &skipped)),
        Ticket::Failed(error) => Err(error),
    }
}

/// The reading thread's state.
struct Reader<'a> {
    jobs: SyncSender<Job>,
    tickets: SyncSender<Ticket<'a>>,
    stop: &'a AtomicBool,
    budget: &'a Budget,
    chunk: Vec<RawDocument>,
    chunk_bytes: usize,
}

/// The other side has gone away: there is no more to do.
struct Stopped;

impl<'a> Reader<'a> {
    fn new(jobs: SyncSender<Job>, tickets: SyncSender<Ticket<'a>>, stop: &'a AtomicBool, budget: &'a Budget) -> Self {
        Self { jobs, tickets, stop, budget, chunk: Vec::new(), chunk_bytes: 0 }
    }

    fn read(mut self, sources: &'a [SourceFile], options: &ReadOptions, (first, mut to_skip): (usize, u64)) {
        let size = |source: &SourceFile| std::fs::metadata(&source.path).map_or(0, |data| data.len());
        let mut bytes_before: u64 = sources[..first].iter().map(size).sum();
        for source in &sources[first..] {
            if self.read_source(source, options, to_skip, bytes_before).is_err() {
                return;
            }
            bytes_before += size(source);
            to_skip = 0;
        }
    }

    fn read_source(
        &mut self,
        source: &'a SourceFile,
        options: &ReadOptions,
        mut to_skip: u64,
        bytes_before: u64,
    ) -> Result<(), Stopped> {
        let reader = match documents_with(source, options) {
            Ok(reader) => reader,
            Err(error) => return self.fail(error),
        };
        let (bytes_read, skipped) = (reader.bytes_read(), reader.skipped());
        let position = || bytes_before + bytes_read.load(Ordering::Relaxed);
        for document in reader {
            match document {
                Ok(_) if to_skip > 0 => {
                    to_skip -= 1;
                    if to_skip.is_multiple_of(PASSED_PER_STEP) {
                        self.send(Ticket::Passed(position()))?;
                    }
                }
                Ok(document) => {
                    self.chunk_bytes += document.held_bytes();
                    self.chunk.push(document);
                }
                Err(error) => return self.fail(error),
            }
            if self.chunk_bytes >= CHUNK_BYTES {
                self.send_chunk(position())?;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(Stopped);
            }
        }
        self.send_chunk(position())?;
        self.send(Ticket::EndOfSource(source, skipped))
    }

    fn send_chunk(&mut self, bytes_read: u64) -> Result<(), Stopped> {
        let documents = std::mem::take(&mut self.chunk);
        let bytes = std::mem::take(&mut self.chunk_bytes);
        if documents.is_empty() {
            return Ok(());
        }
        if !self.budget.take(bytes) {
            return Err(Stopped);
        }
        let (sender, result) = sync_channel(1);
        self.send(Ticket::Chunk(ChunkTicket { result, bytes, bytes_read }))?;
        self.jobs.send(Job { documents, result: sender }).map_err(|_| Stopped)
    }

    fn send(&self, ticket: Ticket<'a>) -> Result<(), Stopped> {
        self.tickets.send(ticket).map_err(|_| Stopped)
    }

    fn fail(&mut self, error: Error) -> Result<(), Stopped> {
        self.send(Ticket::Failed(error))?;
        Err(Stopped)
    }
}

/// A worker: takes chunks until there are no more.
fn work(queue: &Mutex<Receiver<Job>>, words: &Arc<WordPiece>, config: &TokenizeConfig) {
    let mut encoder = Encoder::new(Arc::clone(words));
    let splitter = config.sentence_model.splitter();
    loop {
        let Ok(job) = queue.lock().expect("no worker panics while it takes a job").recv() else { return };
        let mut chunk = TokenizedChunk::default();
        for document in job.documents {
            chunk.push(&document.into_document(), config, splitter, &mut encoder, words.unknown());
        }
        // Nobody waits for it any more when writing has failed.
        let _ = job.result.send(chunk);
    }
}

/// Tokenized documents, end to end.
#[derive(Default)]
struct TokenizedChunk {
    token_ids: Vec<u32>,
    sentence_lengths: Vec<u16>,
    documents: Vec<DocumentBounds>,
    sentences: Vec<Range<usize>>,
}

/// A document's share of its chunk.
struct DocumentBounds {
    token_ids: Range<usize>,
    sentence_lengths: Range<usize>,
    unknown_tokens: u64,
    split_sentences: u64,
    text_bytes: u64,
    short: bool,
    hash: u128,
}

impl TokenizedChunk {
    fn push(
        &mut self,
        document: &Document,
        config: &TokenizeConfig,
        splitter: &Splitter,
        encoder: &mut Encoder,
        unknown: u32,
    ) {
        let short = is_short(document, config.min_document_chars);
        let paragraphs = if short { &[] } else { document.paragraphs.as_slice() };
        let hash = if config.dedup { dedup::hash(paragraphs) } else { 0 };
        let (first_token, first_sentence) = (self.token_ids.len(), self.sentence_lengths.len());
        let (mut split_sentences, mut text_bytes) = (0, 0);
        for paragraph in paragraphs {
            text_bytes += paragraph.len() as u64;
            self.sentences.clear();
            if document.presplit {
                self.sentences.push(0..paragraph.len());
            } else {
                splitter.split(paragraph, &mut self.sentences);
            }
            for sentence in &self.sentences {
                let before = self.token_ids.len();
                encoder.encode(&paragraph[sentence.clone()], &mut self.token_ids);
                split_sentences += push_lengths(self.token_ids.len() - before, &mut self.sentence_lengths);
            }
        }
        let token_ids = first_token..self.token_ids.len();
        let unknown_tokens = self.token_ids[token_ids.clone()].iter().filter(|&&id| id == unknown).count() as u64;
        let sentence_lengths = first_sentence..self.sentence_lengths.len();
        self.documents.push(DocumentBounds {
            token_ids,
            sentence_lengths,
            unknown_tokens,
            split_sentences,
            text_bytes,
            short,
            hash,
        });
    }

    fn documents(&self) -> impl Iterator<Item = TokenizedDocument<'_>> {
        self.documents.iter().map(|bounds| TokenizedDocument {
            token_ids: &self.token_ids[bounds.token_ids.clone()],
            sentence_lengths: &self.sentence_lengths[bounds.sentence_lengths.clone()],
            unknown_tokens: bounds.unknown_tokens,
            split_sentences: bounds.split_sentences,
            text_bytes: bounds.text_bytes,
            short: bounds.short,
            hash: bounds.hash,
        })
    }
}

/// Whether there is text, but fewer than `min_chars` characters of it.
fn is_short(document: &Document, min_chars: u64) -> bool {
    let chars = |paragraph: &String| paragraph.chars().count() as u64;
    min_chars > 0 && !document.paragraphs.is_empty() && document.paragraphs.iter().map(chars).sum::<u64>() < min_chars
}

/// Adds a sentence of `num_tokens`, in pieces of at most 65,535; returns 1 if it took more than one.
fn push_lengths(mut num_tokens: usize, lengths: &mut Vec<u16>) -> u64 {
    const LONGEST: usize = u16::MAX as usize;
    let split = u64::from(num_tokens > LONGEST);
    while num_tokens > 0 {
        let piece = num_tokens.min(LONGEST);
        lengths.push(piece as u16);
        num_tokens -= piece;
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::SourceKind;

    #[test]
    fn a_chunk_is_closed_at_some_time_even_of_empty_documents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, "{\"text\":\"\"}\n".repeat(100_000)).unwrap();
        let (documents, chunks) = count(&path, 0);
        assert_eq!(documents, 100_000);
        assert!(chunks > 1, "all of them in one chunk");
        let (documents, steps) = count(&path, 99_999);
        assert!(documents == 1 && steps > 2, "the way there is told of too: {steps}");
    }

    /// Documents of `path` after the first `done`, and how often progress was told.
    fn count(path: &std::path::Path, done: u64) -> (u64, u64) {
        let words = Arc::new(WordPiece::from_tokens(&["[UNK]".to_owned()], 0, false));
        let sources = [SourceFile { kind: SourceKind::Jsonl, path: path.to_owned() }];
        let (mut documents, mut steps) = (0, 0);
        let count = |event: Event<'_>| {
            match event {
                Event::Document(_) => documents += 1,
                Event::Progress(_) => steps += 1,
                Event::EndOfSource(..) => {}
            }
            Ok(())
        };
        run(&sources, &words, &TokenizeConfig::default(), (0, done), count).unwrap();
        (documents, steps)
    }

    #[test]
    fn long_sentences_are_split_and_empty_ones_dropped() {
        let mut lengths = Vec::new();
        assert_eq!(push_lengths(0, &mut lengths), 0);
        assert_eq!(push_lengths(65_535, &mut lengths), 0);
        assert_eq!(push_lengths(140_000, &mut lengths), 1);
        assert_eq!(lengths, [65_535, 65_535, 65_535, 8_930]);
    }
}
