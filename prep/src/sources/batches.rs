//! Many files, in batches: for what is learned from all of their text.

use std::sync::atomic::Ordering;

use super::{RawDocument, ReadOptions, SourceFile, documents_with};
use crate::Result;
use crate::progress::Bar;

/// Memory that the documents of a batch take, more or less.
const BATCH_BYTES: usize = 16 << 20;

/// Rows that could not be read.
#[derive(Debug, Default)]
pub(crate) struct BrokenRows {
    /// All of them.
    pub(crate) count: u64,
    /// File, line and problem of the first few of each file.
    pub(crate) described: Vec<String>,
}

/// Reads all `sources`, in order, and hands their documents over in batches; `bar` moves on by bytes of the files.
pub(crate) fn for_each_batch(
    sources: &[SourceFile],
    reading: &ReadOptions,
    mut bar: Bar,
    mut handle: impl FnMut(Vec<RawDocument>),
) -> Result<BrokenRows> {
    let mut broken = BrokenRows::default();
    let mut bytes_before = 0;
    for source in sources {
        let mut reader = documents_with(source, reading)?;
        let (bytes_read, skipped) = (reader.bytes_read(), reader.skipped());
        loop {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while bytes < BATCH_BYTES {
                let Some(document) = reader.next().transpose()? else { break };
                bytes += document.held_bytes();
                batch.push(document);
            }
            if batch.is_empty() {
                break;
            }
            handle(batch);
            bar.set(bytes_before + bytes_read.load(Ordering::Relaxed));
        }
        bytes_before += bytes_read.load(Ordering::Relaxed);
        broken.count += skipped.broken.load(Ordering::Relaxed);
        let rows = skipped.broken_rows();
        broken.described.extend(rows.iter().map(|row| format!("{}: {row}", source.path.display())));
    }
    Ok(broken)
}

/// Stored bytes of all `sources`, as far as they are files.
pub(crate) fn stored_bytes(sources: &[SourceFile]) -> u64 {
    sources.iter().map(|source| std::fs::metadata(&source.path).map_or(0, |data| data.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crate::sources::SourceKind;

    #[test]
    fn a_batch_is_full_at_some_time_even_of_empty_documents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, "{\"text\":\"\"}\n".repeat(600_000) + "[]\n").unwrap();
        let sources = [SourceFile { kind: SourceKind::Jsonl, path }];
        let bar = Progress::silent().bytes("reading", stored_bytes(&sources));
        let mut sizes = Vec::new();
        let broken = for_each_batch(&sources, &ReadOptions::default(), bar, |batch| sizes.push(batch.len())).unwrap();
        assert_eq!(sizes.iter().sum::<usize>(), 600_000);
        assert!(
            sizes.len() > 1 && sizes.iter().all(|len| len * size_of::<RawDocument>() < 2 * BATCH_BYTES),
            "{sizes:?}"
        );
        assert_eq!((broken.count, broken.described.len()), (1, 1));
    }
}
