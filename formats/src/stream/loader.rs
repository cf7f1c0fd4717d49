//! A stream that runs ahead of its consumer on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::{Cursor, Gather, GlobalBatch, Stream};
use crate::error::Result;

/// Global batches made ahead while the consumer trains on the last one.
const AHEAD: usize = 2;

/// Yields the global batches of a [`Stream`] in order, prepared ahead.
#[derive(Debug)]
pub struct Loader<B> {
    receiver: Option<Receiver<Result<GlobalBatch<B>>>>,
    thread: Option<JoinHandle<()>>,
}

impl<B: Send + 'static> Loader<B> {
    /// Starts at `cursor`.
    pub fn start<G: Gather<Batch = B>>(stream: Arc<Stream<G>>, mut cursor: Cursor) -> Self {
        let (sender, receiver) = sync_channel(AHEAD);
        let work = move || {
            while !stream.is_done(cursor) {
                let batch = stream.global_batch(cursor);
                let failed = batch.is_err();
                if let Ok(batch) = &batch {
                    cursor = batch.next;
                }
                // A closed channel: the consumer has gone, which is how a run ends.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("loader".to_owned()).spawn(work).expect("a thread can start");
        Self { receiver: Some(receiver), thread: Some(thread) }
    }
}

impl<B> Iterator for Loader<B> {
    type Item = Result<GlobalBatch<B>>;

    /// The next global batch; `None` after the last one or after an error.
    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl<B> Drop for Loader<B> {
    fn drop(&mut self) {
        drop(self.receiver.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
