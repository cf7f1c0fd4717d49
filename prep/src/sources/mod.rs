//! Sources: where documents come from, whatever file they lie in.
//!
//! [`expand`] turns what the user named (files, folders, globs) into a sorted list of [`SourceFile`]s, [`documents`]
//! streams one of them in order. Reading is split in two so that the costly half runs in parallel: the reader yields
//! [`RawDocument`]s as fast as bytes arrive, and [`RawDocument::into_document`], which is pure, un-wraps lines or
//! extracts prose from wikitext on whatever thread the caller likes.

mod arrow;
mod batches;
mod column;
mod compression;
mod expand;
mod jsonl;
mod lines;
mod paragraphs;
mod parquet;
mod skipped;
mod text;
mod wikipedia;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::wikitext;

pub(crate) use batches::{BrokenRows, for_each_batch, stored_bytes};
pub use expand::expand;
pub(crate) use skipped::BROKEN;
pub use skipped::Skipped;

/// The path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// Largest document in bytes of text; more than this is taken for a file of another kind, and refused.
pub const MAX_DOCUMENT_BYTES: usize = 256 << 20;

/// How a source file is cut into documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Plain text; blank lines separate documents.
    Text,
    /// Plain text; each file is one document, blank lines separate its paragraphs.
    Books,
    /// One sentence a line; blank lines separate documents (the input of Google's `create_pretraining_data.py`).
    Sentences,
    /// A MediaWiki XML export; each page of the main namespace is a document.
    Wikipedia,
    /// JSON Lines; each row is a document.
    Jsonl,
    /// Parquet; each row is a document.
    Parquet,
    /// Arrow IPC, file or stream; each row is a document.
    Arrow,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Books => "books",
            Self::Sentences => "sentences",
            Self::Wikipedia => "wikipedia",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        })
    }
}

/// One input file and how to read it. Compression is recognised by content, not by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceFile {
    /// How the file is cut into documents.
    pub kind: SourceKind,
    /// The file, as the user named it or as it was found in a folder.
    pub path: PathBuf,
}

/// Where the text is in rows that have more than text, and what is done about rows that are broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// Field of a JSON Lines row. Default `text`.
    pub field: String,
    /// Column of a Parquet or Arrow file. Default `text`.
    pub column: String,
    /// A broken JSON Lines row is an error; otherwise it is skipped and counted. Default false. Not stored: it decides
    /// whether there are documents at all, not which.
    #[serde(skip)]
    pub strict: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { field: "text".to_owned(), column: "text".to_owned(), strict: false }
    }
}

/// A document ready for sentence splitting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The page title of a Wikipedia page; other sources have none. Not part of the text.
    pub title: Option<String>,
    /// Paragraphs in order, trimmed, none empty, without line breaks. May be empty when nothing but markup was there.
    pub paragraphs: Vec<String>,
    /// Each paragraph is exactly one sentence already ([`SourceKind::Sentences`]): do not split it again.
    pub presplit: bool,
}

/// A document as it stands in the file: cheap to read, turned into a [`Document`] later and elsewhere.
#[derive(Clone, Debug)]
pub struct RawDocument {
    title: Option<String>,
    body: String,
    form: Form,
}

/// What the body of a [`RawDocument`] is.
#[derive(Clone, Debug)]
enum Form {
    /// Text, possibly hard-wrapped; blank lines (where documents can have them) separate paragraphs.
    Prose,
    /// One sentence a line.
    Sentences,
    /// MediaWiki markup of a site.
    Wikitext(Arc<wikitext::Site>),
}

impl RawDocument {
    /// Title of the page, if the source has titles.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// Bytes it takes in memory, for cutting work into even pieces: those of its body (text or wikitext), and what even
    /// a document without text takes.
    pub fn held_bytes(&self) -> usize {
        self.body.len() + size_of::<Self>()
    }

    /// Bytes of the raw body.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Un-wraps lines or extracts prose. Pure: the same input gives the same document on any thread.
    pub fn into_document(self) -> Document {
        let presplit = matches!(self.form, Form::Sentences);
        let paragraphs = match &self.form {
            Form::Prose => paragraphs::paragraphs(&self.body),
            Form::Sentences => text::lines(&self.body),
            Form::Wikitext(site) => wikitext::extract(site, self.title.as_deref().unwrap_or_default(), &self.body),
        };
        Document { title: self.title, paragraphs, presplit }
    }
}

/// Streams the raw documents of one file in input order, holding one document at a time.
///
/// After an error the iterator ends.
pub struct DocumentReader {
    inner: Box<dyn Iterator<Item = Result<RawDocument>> + Send>,
    bytes_read: Arc<AtomicU64>,
    skipped: Arc<Skipped>,
    failed: bool,
}

impl DocumentReader {
    /// Bytes of the file on disk (compressed, if it is) consumed so far; lasts longer than the reader.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// What was left out so far, by reason; lasts longer than the reader.
    pub fn skipped(&self) -> Arc<Skipped> {
        Arc::clone(&self.skipped)
    }
}

impl Iterator for DocumentReader {
    type Item = Result<RawDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.inner.next();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// Opens `source` for streaming, with default options; see [`documents_with`].
pub fn documents(source: &SourceFile) -> Result<DocumentReader> {
    documents_with(source, &ReadOptions::default())
}

/// Opens `source` for streaming.
///
/// In documents from JSON Lines, Parquet and Arrow, as in books, blank lines separate paragraphs, and so does every line
/// break unless the lines are wrapped.
///
/// Errors, here or while iterating: the file cannot be read, its compressed stream is damaged or cut short, it is not
/// UTF-8, or not well-formed XML, Parquet or Arrow, it has no such column, a row is broken ([`ReadOptions::strict`]), or a
/// document exceeds [`MAX_DOCUMENT_BYTES`].
pub fn documents_with(source: &SourceFile, options: &ReadOptions) -> Result<DocumentReader> {
    let skipped = Arc::new(Skipped::default());
    let noted = Arc::clone(&skipped);
    if source.kind == SourceKind::Parquet {
        let rows = parquet::ParquetRows::open(&source.path, options, noted)?;
        let bytes_read = rows.bytes_read();
        return Ok(DocumentReader { inner: Box::new(rows), bytes_read, skipped, failed: false });
    }
    let stream = compression::open(&source.path)?;
    let bytes_read = stream.bytes_read();
    let inner: Box<dyn Iterator<Item = Result<RawDocument>> + Send> = match source.kind {
        SourceKind::Wikipedia => Box::new(wikipedia::Pages::new(stream, noted)),
        SourceKind::Jsonl => Box::new(jsonl::JsonRows::new(stream, options, noted)),
        SourceKind::Arrow => Box::new(arrow::ArrowRows::new(stream, options, noted)),
        kind => Box::new(text::TextDocuments::new(stream, kind)),
    };
    Ok(DocumentReader { inner, bytes_read, skipped, failed: false })
}

/// Names in a message.
fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
