//! Stage 1: sources to a corpus of tokenized documents, in input order, for all phases at once.
//!
//! One thread reads documents, workers split and encode them, the caller's thread writes: see `pipeline.rs`. What is held
//! in memory is a few chunks of about a megabyte per worker and one record batch, whatever the size of the sources.
//!
//! The title of a Wikipedia page is not part of its text, as in the extractions BERT was trained on. A sentence without
//! tokens is dropped; a document without sentences is dropped and counted. Sentences longer than 65,535 tokens are split.

mod budget;
mod corpus_writer;
mod dedup;
mod finish;
mod inputs;
mod pipeline;
mod slices;
mod spool;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cloze_formats::dataset::{Share, discard_interrupted, refuse_finished};
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::schema::Layout;
use cloze_formats::{DatasetSpec, DatasetWriter, Kind, Vocabulary};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::AtPath;
use crate::progress::Progress;
use crate::sentences::SentenceModel;
use crate::sources::{ReadOptions, STANDARD_INPUT, SourceFile};
use crate::wordpiece::WordPiece;
use crate::world::World;
use crate::{Error, Result};

use corpus_writer::{CorpusWriter, OwnSlice};
pub use finish::finish;
pub use inputs::{Input, WRITER, describe_input, source_entry};
use pipeline::Event;
use slices::Listed;
use spool::Spool;
pub use state::Summary;

/// Everything that decides the bytes of a corpus, its sources and vocabulary aside; stored whole in its manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizeConfig {
    /// Whether the vocabulary keeps case and accents. Default false.
    pub cased: bool,
    /// A shard is closed after the document that brings it to this many tokens. Default 64 Mi (128 MiB of ids).
    pub tokens_per_shard: u64,
    /// Consecutive sources are tokenized by one process until they reach this many stored bytes; a larger one stands
    /// alone. No shard goes from one such slice into the next. Default 256 MiB.
    pub slice_bytes: u64,
    /// Parameters by which paragraphs are split into sentences; kept by name. Default `english`.
    pub sentence_model: SentenceModel,
    /// Of documents with the same text only the first is kept. Default false.
    pub dedup: bool,
    /// Documents with fewer characters of text are dropped. Default 0.
    pub min_document_chars: u64,
    /// Which field or column of a source is its text.
    pub reading: ReadOptions,
}

impl Default for TokenizeConfig {
    fn default() -> Self {
        Self {
            cased: false,
            tokens_per_shard: 64 << 20,
            slice_bytes: 256 << 20,
            sentence_model: SentenceModel::english(),
            dedup: false,
            min_document_chars: 0,
            reading: ReadOptions::default(),
        }
    }
}

/// Tokenizes `sources`, in the order given, into the corpus `out`.
///
/// The bytes do not depend on the number of threads (rayon's current pool). An interrupted run is resumed by an equal one:
/// its finished shards are kept. `restart` throws them away first.
///
/// # Errors
/// No sources, a source that cannot be read or is damaged, broken rows where they are errors ([`ReadOptions::strict`]), also
/// those that an interrupted run has skipped, no document with text in any of them (nothing is published
/// then), a finished dataset or another run's leftovers in `out`, or an output that cannot be written.
pub fn tokenize(
    config: &TokenizeConfig,
    sources: &[SourceFile],
    vocabulary: &Vocabulary,
    out: &Path,
    restart: bool,
    progress: &Progress,
) -> Result<Summary> {
    tokenize_share(config, sources, vocabulary, out, restart, World::alone(), progress)
}

/// Like [`tokenize`], but only what falls to the rank of `world`; alone, everything. The corpus is the same to the byte.
///
/// Of several ranks, in any order and at any time, none publishes: [`finish`] does. The summary is that of this rank.
pub fn tokenize_share(
    config: &TokenizeConfig,
    sources: &[SourceFile],
    vocabulary: &Vocabulary,
    out: &Path,
    restart: bool,
    world: World,
    progress: &Progress,
) -> Result<Summary> {
    let started = Instant::now();
    if sources.is_empty() {
        return Err(Error::invalid(out, "expected sources to tokenize, found none"));
    }
    if config.tokens_per_shard == 0 {
        return Err(Error::invalid(out, "expected at least 1 token per shard, found 0"));
    }
    check_ranks(config, sources, out, world)?;
    refuse_finished(out)?;
    // Sources are read twice, for their hash and for their text; standard input can be read once.
    let spool = Spool::fill(sources, out, progress)?;
    let listed = spool.sources().iter().zip(sources).map(list).collect::<Result<Vec<_>>>()?;
    let (sources, listed_own, slices) = own_slices(config, spool.sources(), &listed, world);
    let inputs = describe_inputs(&sources, &listed_own, progress)?;
    let share = Share { rank: world.rank(), world_size: world.world_size(), inputs: serde_json::json!(inputs) };
    if restart {
        discard_interrupted(out, &share)?;
    }
    let spec = DatasetSpec {
        writer: WRITER.to_owned(),
        kind: Kind::Corpus,
        layout: Layout::new(Kind::Corpus, vocabulary.len(), false),
        vocabulary: VocabularyInfo::new(vocabulary, config.cased),
        configuration: serde_json::json!(config),
        inputs: serde_json::json!(listed),
    };
    let writer = DatasetWriter::create_share(out, spec, vocabulary, &share)?;
    if !writer.is_locked() {
        progress.warn(&format!("{}: the file system has no locks; let no two processes do the same", out.display()));
    }
    let (mut corpus, start) = CorpusWriter::resume(writer, config, slices, &inputs, progress)?;
    if config.reading.strict {
        corpus.refuse_broken_rows(out)?;
    }
    let words = Arc::new(WordPiece::new(vocabulary, config.cased));
    let mut bar = progress.bytes("tokenizing", inputs.iter().map(|input| input.bytes).sum());
    let outcome = pipeline::run(&sources, &words, config, start, |event| {
        if let Event::Progress(bytes) = event {
            bar.set(bytes);
        }
        corpus.handle(event)
    });
    drop(bar);
    if let Err(error) = outcome {
        corpus.give_up();
        return Err(error);
    }
    let mut summary = corpus.finish(world, out, &listed)?;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

/// What only one process can do.
fn check_ranks(config: &TokenizeConfig, sources: &[SourceFile], out: &Path, world: World) -> Result<()> {
    if world.is_alone() {
        return Ok(());
    }
    if config.dedup {
        let problem = "dedup: expected one process, found several ranks, which do not see each other's documents";
        return Err(Error::invalid(out, problem));
    }
    if sources.iter().any(|source| source.path == Path::new(STANDARD_INPUT)) {
        let problem = "expected files that every rank can read, found standard input; write it to a file first";
        return Err(Error::invalid(STANDARD_INPUT, problem));
    }
    Ok(())
}

/// What every process knows of a source.
///
/// `named` is the same source as the user named it: standard input lies in a file.
fn list((source, named): (&SourceFile, &SourceFile)) -> Result<Listed> {
    let bytes = std::fs::metadata(&source.path).at(&source.path)?.len();
    let name = named.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Listed { name, format: source.kind.to_string(), bytes })
}

/// The sources that fall to the rank of `world`, and how they are cut into slices.
fn own_slices(
    config: &TokenizeConfig,
    sources: &[SourceFile],
    listed: &[Listed],
    world: World,
) -> (Vec<SourceFile>, Vec<Listed>, Vec<OwnSlice>) {
    let slices = slices::cut(listed, config.slice_bytes);
    let ranks = slices::deal(&slices, listed, world);
    let (mut own_sources, mut own_listed, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (slice, _)) in (0..).zip(slices.into_iter().zip(ranks)).filter(|(_, (_, rank))| *rank == world.rank())
    {
        let first = own_sources.len();
        own_listed.extend_from_slice(&listed[slice.clone()]);
        own_sources.extend_from_slice(&sources[slice]);
        own.push(OwnSlice { number, sources: first..own_sources.len() });
    }
    (own_sources, own_listed, own)
}

/// Sizes and hashes of `sources`, in their order, under the names they are listed by.
fn describe_inputs(sources: &[SourceFile], listed: &[Listed], progress: &Progress) -> Result<Vec<Input>> {
    let total = listed.iter().map(|source| source.bytes).sum();
    let bar = std::sync::Mutex::new(progress.bytes("hashing sources", total));
    let describe = |(source, listed): (&SourceFile, &Listed)| {
        let read = |bytes| bar.lock().expect("no thread panics with the bar").add(bytes);
        Ok(Input { name: listed.name.clone(), ..describe_input(&source.path, &listed.format, read)? })
    };
    sources.par_iter().zip(listed).map(describe).collect()
}
