//! Counts of a run, and where it stands: what the journal keeps with every finished shard.

use std::collections::BTreeMap;

use cloze_formats::checksum::Crc32c;
use serde::{Deserialize, Serialize};

use super::pipeline::TokenizedDocument;
use crate::sources::{BROKEN, Skipped, SourceFile};

/// Broken rows that a summary describes.
const MAX_BROKEN_ROWS: usize = 10;

/// What tokenizing did; an interrupted and resumed run counts as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Documents in the corpus.
    pub documents: u64,
    /// Documents that were dropped because nothing was left of them after extraction.
    pub documents_without_text: u64,
    /// Documents that were dropped because an equal one came before.
    pub duplicate_documents: u64,
    /// Documents that were dropped because they are shorter than wanted.
    pub short_documents: u64,
    /// Pages and rows that are not documents, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// File, line and problem of the first few broken rows.
    pub broken_rows: Vec<String>,
    /// Source files from which no document came.
    pub sources_without_documents: Vec<String>,
    /// Sentences with tokens.
    pub sentences: u64,
    /// Sentences that exceeded 65,535 tokens and were split.
    pub split_sentences: u64,
    /// Tokens.
    pub tokens: u64,
    /// `[UNK]` among them.
    pub unknown_tokens: u64,
    /// Bytes of text, after decompression and extraction.
    pub text_bytes: u64,
    /// Documents that an interrupted run had finished, of `documents`.
    pub resumed_documents: u64,
    /// Bytes of their text, of `text_bytes`.
    pub resumed_text_bytes: u64,
    /// Wall-clock time of this run.
    pub seconds: f64,
}

impl Summary {
    /// Documents read, dropped ones included.
    pub(super) fn documents_read(&self) -> u64 {
        self.documents + self.documents_without_text + self.duplicate_documents + self.short_documents
    }

    /// Number of broken rows that were skipped.
    pub(super) fn num_broken_rows(&self) -> u64 {
        self.skipped.get(BROKEN).copied().unwrap_or(0)
    }

    /// Share of tokens that are `[UNK]`.
    pub fn unknown_rate(&self) -> f64 {
        self.unknown_tokens as f64 / self.tokens.max(1) as f64
    }

    /// Adds the counts of another slice, or those of an interrupted run.
    pub(super) fn merge(&mut self, other: &Self) {
        self.documents += other.documents;
        self.documents_without_text += other.documents_without_text;
        self.duplicate_documents += other.duplicate_documents;
        self.short_documents += other.short_documents;
        for (reason, count) in &other.skipped {
            *self.skipped.entry(reason.clone()).or_default() += count;
        }
        self.broken_rows.extend_from_slice(&other.broken_rows);
        self.broken_rows.truncate(MAX_BROKEN_ROWS);
        self.sources_without_documents.extend_from_slice(&other.sources_without_documents);
        self.sentences += other.sentences;
        self.split_sentences += other.split_sentences;
        self.tokens += other.tokens;
        self.unknown_tokens += other.unknown_tokens;
        self.text_bytes += other.text_bytes;
        self.resumed_documents += other.resumed_documents;
        self.resumed_text_bytes += other.resumed_text_bytes;
    }

    /// The same counts, as those of an interrupted run.
    pub(super) fn resumed(self) -> Self {
        Self { resumed_documents: self.documents, resumed_text_bytes: self.text_bytes, ..self }
    }

    /// Megabytes of text per second of this run.
    pub fn megabytes_per_second(&self) -> f64 {
        (self.text_bytes - self.resumed_text_bytes) as f64 / 1e6 / self.seconds.max(1e-9)
    }
}

/// Where a slice stands between two documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Number of the source being read, within the slice.
    pub(super) source: usize,
    /// Documents read from it, dropped ones included.
    pub(super) documents_read: u64,
    /// Documents each source of the slice has given to the corpus.
    pub(super) documents_per_source: Vec<u64>,
    pub(super) summary: Summary,
    /// Checksum of the hashes kept with the shard that ends here, if duplicates are dropped.
    #[serde(default)]
    pub(super) hashes: Option<Crc32c>,
}

/// Why a document is not in the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Empty,
    Short,
    Duplicate,
}

impl Position {
    pub(super) fn start(num_sources: usize) -> Self {
        let (documents_per_source, summary) = (vec![0; num_sources], Summary::default());
        Self { source: 0, documents_read: 0, documents_per_source, summary, hashes: None }
    }

    pub(super) fn observe(&mut self, document: &TokenizedDocument<'_>, dropped: Option<Dropped>) {
        self.documents_read += 1;
        let summary = &mut self.summary;
        summary.text_bytes += document.text_bytes;
        match dropped {
            None => {}
            Some(Dropped::Empty) => return summary.documents_without_text += 1,
            Some(Dropped::Short) => return summary.short_documents += 1,
            Some(Dropped::Duplicate) => return summary.duplicate_documents += 1,
        }
        self.documents_per_source[self.source] += 1;
        summary.documents += 1;
        summary.sentences += document.sentence_lengths.len() as u64;
        summary.split_sentences += document.split_sentences;
        summary.tokens += document.token_ids.len() as u64;
        summary.unknown_tokens += document.unknown_tokens;
    }

    pub(super) fn end_source(&mut self, source: &SourceFile, skipped: &Skipped) {
        self.source += 1;
        self.documents_read = 0;
        for (reason, count) in skipped.counts().into_iter().filter(|(_, count)| *count > 0) {
            *self.summary.skipped.entry(reason.to_owned()).or_default() += count;
        }
        let described = skipped.broken_rows().into_iter().map(|row| format!("{}: {row}", source.path.display()));
        self.summary.broken_rows.extend(described);
        self.summary.broken_rows.truncate(MAX_BROKEN_ROWS);
    }
}
