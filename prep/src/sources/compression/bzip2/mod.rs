//! bzip2 on many threads.
//!
//! Blocks of bzip2 stand on their own, but nothing says where they begin: they follow each other at any bit. One thread
//! looks for their 48-bit marks and cuts the file there ([`split`]), workers decode what lies between ([`block`]), and
//! whoever reads takes the blocks in order and follows their checksums through the streams. A mark that compressed data
//! contains by chance (one in 10^14 bits) cuts a block in two: its first half is found to be short, and is decoded again
//! together with what follows. No byte is handed out before the checksum of its block was compared.
//!
//! Runs of one byte make up to 46 MB of a block. Such blocks do not wait for their turn decoded: their worker gives them up,
//! and who reads decodes them when they are due.
//!
//! # Memory usage
//! About 6 MB for each thread, 10 MB at most, and 64 MB for one block of runs, whatever the size of the file.

mod bits;
mod block;
mod crc;
mod huffman;
mod paths;
mod split;

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::{Counted, Defect, copy_of};
use bits::Bits;
use block::{Block, BlockDecoder};
use split::{Segment, Segments};

/// Segments that a block may be cut into by marks that are none.
const MAX_CUTS: usize = 4;
/// Bytes of a block that may wait decoded; those of text have no more than 900,000 or hardly more.
const MAX_WAITING_BYTES: usize = 2 << 20;

/// Why a block could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// It goes on where the bits end.
    Short,
    /// It is whole so far as is known, and has more bytes than were wanted.
    Large,
    /// It contradicts itself; in which way.
    Damaged(&'static str),
}

impl Problem {
    fn name(self) -> &'static str {
        match self {
            Self::Short => "it does not end",
            Self::Large => "it is too large",
            Self::Damaged(what) => what,
        }
    }
}

type Decoded = Result<Block, Problem>;

/// A segment in the order of the file, and where its block will come from if it begins with one.
enum Ticket {
    Segment(Arc<Segment>, Option<Receiver<Decoded>>),
    Failed(io::Error),
}

/// A segment to decode.
struct Job {
    segment: Arc<Segment>,
    result: SyncSender<Decoded>,
}

/// The decoded bytes of a file of any number of streams; its threads end when it is dropped.
pub(super) struct Decoder {
    tickets: Receiver<Ticket>,
    /// For blocks that were cut in two.
    blocks: BlockDecoder,
    bytes: Vec<u8>,
    used: usize,
    /// The checksum of the blocks of the current stream so far, and whether there is such a stream.
    stream_crc: u32,
    in_stream: bool,
    error: Option<io::Error>,
}

impl Decoder {
    /// Decodes `input`, which begins as a bzip2 file does, on up to `num_threads` threads.
    pub(super) fn spawn(input: Counted<impl BufRead + Send + 'static>, num_threads: usize) -> io::Result<Self> {
        let (sender, tickets) = sync_channel(num_threads + 2);
        let splitting = move || split(Segments::new(input), &sender, num_threads);
        std::thread::Builder::new().name("bzip2-split".into()).spawn(splitting)?;
        let (blocks, bytes) = (BlockDecoder::default(), Vec::new());
        Ok(Self { tickets, blocks, bytes, used: 0, stream_crc: 0, in_stream: true, error: None })
    }

    /// The next block's bytes, empty at the end of the file.
    fn next_bytes(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let (segment, decoded) = match self.tickets.recv() {
                Ok(Ticket::Segment(segment, decoded)) => (segment, decoded),
                Ok(Ticket::Failed(error)) => return Err(error),
                Err(_) if self.in_stream => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => return Ok(Vec::new()),
            };
            let Some(decoded) = decoded else {
                self.end_stream(&segment)?;
                continue;
            };
            let decoded = match decoded.recv() {
                Ok(Err(Problem::Large)) => self.decode(&segment),
                Ok(decoded) => decoded,
                Err(_) => return Err(io::Error::other("a decoding thread has stopped")),
            };
            let block = match decoded {
                Err(Problem::Short) => self.decode_cut((*segment).clone())?,
                Err(problem) => return Err(damaged(&segment, problem.name())),
                Ok(block) => self.check_end(&segment, block)?,
            };
            if !block.bytes.is_empty() {
                return Ok(block.bytes);
            }
        }
    }

    /// Decodes a block whose bits go on in the next segments.
    fn decode_cut(&mut self, mut whole: Segment) -> io::Result<Block> {
        let mut stream_ends = false;
        for _ in 1..MAX_CUTS {
            if whole.at_end {
                break;
            }
            match self.tickets.recv() {
                Ok(Ticket::Segment(next, _)) => {
                    stream_ends |= next.ends_stream();
                    whole.append(&next);
                }
                Ok(Ticket::Failed(error)) => return Err(error),
                Err(_) => break,
            }
            match self.decode(&whole) {
                Ok(block) => return self.check_end(&whole, block),
                Err(Problem::Short) => {}
                Err(problem) => return Err(damaged(&whole, problem.name())),
            }
        }
        // Where the stream's end is to be seen, it was not the file that was cut.
        match whole.at_end && !stream_ends {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Err(damaged(&whole, Problem::Short.name())),
        }
    }

    /// Decodes a block of any size: one at a time.
    fn decode(&mut self, segment: &Segment) -> Decoded {
        self.blocks.decode(&segment.bytes, segment.first, segment.end, usize::MAX)
    }

    /// A block must be followed by a mark; notes its checksum.
    fn check_end(&mut self, segment: &Segment, block: Block) -> io::Result<Block> {
        self.stream_crc = self.stream_crc.rotate_left(1) ^ block.crc;
        match segment.end - block.end {
            0 if !segment.at_end => Ok(block),
            0..48 if segment.at_end => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {
                let at = segment.byte_of(block.end);
                Err(defect(format!("neither a block nor the stream's end begins at byte {at}")))
            }
        }
    }

    /// Compares the checksum of the stream, and looks for another one behind it.
    fn end_stream(&mut self, segment: &Segment) -> io::Result<()> {
        let mut bits = Bits::new(&segment.bytes, segment.first + 48, segment.end);
        let expected = bits.take(32) as u32;
        if bits.overrun() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = bits.position().div_ceil(8);
        if expected != self.stream_crc {
            let at = segment.offset + end as u64;
            return Err(defect(format!("the checksum of the stream that ends at byte {at} differs")));
        }
        (self.stream_crc, self.in_stream) = (0, false);
        // Segments end with whole bytes here: behind a header, or at the end of the file.
        match segment.bytes.get(end..).unwrap_or_default() {
            [] if segment.at_end => Ok(()),
            [b'B', b'Z', b'h', b'1'..=b'9'] => {
                self.in_stream = true;
                Ok(())
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, Defect::Trailing(segment.offset + end as u64))),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(out.len());
        out[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Decoder {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(error) = &self.error {
            return Err(copy_of(error));
        }
        if self.used == self.bytes.len() {
            self.used = 0;
            self.bytes.clear();
            match self.next_bytes() {
                Ok(bytes) => self.bytes = bytes,
                Err(error) => return Err(copy_of(self.error.insert(error))),
            }
        }
        Ok(&self.bytes[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used = (self.used + bytes).min(self.bytes.len());
    }
}

fn damaged(segment: &Segment, what: &str) -> io::Error {
    defect(format!("the block at byte {}: {what}", segment.byte_of(segment.first)))
}

fn defect(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Defect::Damage(what.into()))
}

/// Sends segments in order, and those that begin with a block to the workers, which it starts as they are needed.
fn split(segments: Segments<impl BufRead>, tickets: &SyncSender<Ticket>, num_threads: usize) {
    let (jobs, queue) = sync_channel::<Job>(num_threads);
    let queue = Arc::new(Mutex::new(queue));
    let mut num_workers = 0;
    for segment in segments {
        let segment = match segment {
            Ok(segment) => Arc::new(segment),
            Err(error) => {
                let _ = tickets.send(Ticket::Failed(error));
                return;
            }
        };
        if segment.ends_stream() {
            if tickets.send(Ticket::Segment(segment, None)).is_err() {
                return;
            }
            continue;
        }
        if num_workers < num_threads {
            let queue = Arc::clone(&queue);
            match std::thread::Builder::new().name("bzip2".into()).spawn(move || work(&queue)) {
                Ok(_) => num_workers += 1,
                Err(error) if num_workers == 0 => {
                    let _ = tickets.send(Ticket::Failed(error));
                    return;
                }
                Err(_fewer_will_do) => {}
            }
        }
        let (result, decoded) = sync_channel(1);
        let ticket = Ticket::Segment(Arc::clone(&segment), Some(decoded));
        if tickets.send(ticket).is_err() || jobs.send(Job { segment, result }).is_err() {
            return;
        }
    }
}

/// A worker: decodes segments until there are no more.
fn work(queue: &Mutex<Receiver<Job>>) {
    let mut blocks = BlockDecoder::default();
    loop {
        let Ok(job) = queue.lock().expect("no worker panics while it takes a job").recv() else { return };
        let decoded = blocks.decode(&job.segment.bytes, job.segment.first, job.segment.end, MAX_WAITING_BYTES);
        // Nobody waits for it any more when reading has stopped.
        let _ = job.result.send(decoded);
    }
}

#[cfg(test)]
mod tests;
