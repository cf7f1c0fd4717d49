//! Decoding on a thread of its own.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{BLOCK_BYTES, copy_of};

/// Blocks a decoding thread runs ahead.
const BLOCKS_AHEAD: usize = 8;

/// Reads on another thread, [`BLOCKS_AHEAD`] blocks ahead. The thread ends when this is dropped.
pub(super) struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    used: usize,
    error: Option<io::Error>,
}

impl Ahead {
    pub(super) fn spawn(reader: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, blocks) = sync_channel(BLOCKS_AHEAD);
        std::thread::Builder::new().name("decompress".into()).spawn(move || pump(reader, &sender))?;
        Ok(Self { blocks, block: Vec::new(), used: 0, error: None })
    }
}

/// Sends full blocks until the end, an error, or nobody listens any more.
fn pump(mut reader: impl Read, blocks: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let result = reader.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block);
        // What was decoded before the damage still goes out, so that errors further up show in input order.
        if !block.is_empty() && blocks.send(Ok(block)).is_err() {
            return;
        }
        match result {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let _ = blocks.send(Err(error));
                return;
            }
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(out.len());
        out[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(error) = &self.error {
            return Err(copy_of(error));
        }
        if self.used == self.block.len() {
            self.used = 0;
            self.block = match self.blocks.recv() {
                Ok(Ok(block)) => block,
                Ok(Err(error)) => return Err(copy_of(self.error.insert(error))),
                Err(_ended) => Vec::new(),
            };
        }
        Ok(&self.block[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used = (self.used + bytes).min(self.block.len());
    }
}
