//! Stage 1: sources to a corpus of tokenized documents, in input order, for all phases at once.
//!
//! One thread reads documents, workers split and encode them, the caller's thread writes: see `pipeline.rs`. What is held
//! in memory is a few chunks of about a megabyte per worker and one record batch, whatever the size of the sources.
//!
//! The title of a Wikipedia page is not part of its text, as in the extractions BERT was trained on. A sentence without
//! tokens is dropped; a document without sentences is dropped and counted. Sentences longer than 65,535 tokens are split.

mod finish;
mod inputs;
mod pipeline;
mod slices;
mod state;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cloze_formats::dataset::{ShardId, Share, discard_interrupted, refuse_finished};
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::schema::Layout;
use cloze_formats::shard::ShardWriter;
use cloze_formats::{CorpusRow, DatasetSpec, DatasetWriter, Kind, Vocabulary, durable};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::AtPath;
use crate::progress::Progress;
use crate::sentences::SentenceModel;
use crate::sources::SourceFile;
use crate::wordpiece::WordPiece;
use crate::world::World;
use crate::{Error, Result};

pub use finish::finish;
pub use inputs::{Input, WRITER, describe_input, source_entry};
use pipeline::{Event, TokenizedDocument};
use slices::{Listed, SliceRecord, record_name};
use state::Position;
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
}

impl Default for TokenizeConfig {
    fn default() -> Self {
        Self {
            cased: false,
            tokens_per_shard: 64 << 20,
            slice_bytes: 256 << 20,
            sentence_model: SentenceModel::english(),
        }
    }
}

/// Tokenizes `sources`, in the order given, into the corpus `out`.
///
/// The bytes do not depend on the number of threads (rayon's current pool). An interrupted run is resumed by an equal one:
/// its finished shards are kept. `restart` throws them away first.
///
/// # Errors
/// No sources, a source that cannot be read or is damaged, no document with text in any of them (nothing is published
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
    refuse_finished(out)?;
    let listed = sources.iter().map(list).collect::<Result<Vec<_>>>()?;
    let (sources, slices) = own_slices(config, sources, &listed, world);
    let inputs = describe_inputs(&sources, progress)?;
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
    let (mut corpus, start) = CorpusWriter::resume(writer, config, slices, &inputs)?;
    let words = Arc::new(WordPiece::new(vocabulary, config.cased));
    let mut bar = progress.bytes("tokenizing", inputs.iter().map(|input| input.bytes).sum());
    let splitter = config.sentence_model.splitter();
    let outcome = pipeline::run(&sources, &words, splitter, start, |event| {
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

/// What every process knows of a source.
fn list(source: &SourceFile) -> Result<Listed> {
    let bytes = std::fs::metadata(&source.path).at(&source.path)?.len();
    let name = source.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Listed { name, format: source.kind.to_string(), bytes })
}

/// A slice that falls to this process.
struct OwnSlice {
    number: u32,
    /// Its sources among those of this process.
    sources: Range<usize>,
}

/// The sources that fall to the rank of `world`, and how they are cut into slices.
fn own_slices(
    config: &TokenizeConfig,
    sources: &[SourceFile],
    listed: &[Listed],
    world: World,
) -> (Vec<SourceFile>, Vec<OwnSlice>) {
    let slices = slices::cut(listed, config.slice_bytes);
    let ranks = slices::deal(&slices, listed, world);
    let (mut own_sources, mut own) = (Vec::new(), Vec::new());
    for (number, (slice, _)) in (0..).zip(slices.into_iter().zip(ranks)).filter(|(_, (_, rank))| *rank == world.rank())
    {
        let first = own_sources.len();
        own_sources.extend_from_slice(&sources[slice]);
        own.push(OwnSlice { number, sources: first..own_sources.len() });
    }
    (own_sources, own)
}

/// Sizes and hashes of `sources`, in their order.
fn describe_inputs(sources: &[SourceFile], progress: &Progress) -> Result<Vec<Input>> {
    let bytes = |source: &SourceFile| std::fs::metadata(&source.path).map(|data| data.len()).at(&source.path);
    let total = sources.iter().map(bytes).sum::<Result<u64>>()?;
    let bar = std::sync::Mutex::new(progress.bytes("hashing sources", total));
    let describe = |source: &SourceFile| {
        let input = describe_input(&source.path, &source.kind.to_string())?;
        bar.lock().expect("no thread panics with the bar").add(input.bytes);
        Ok(input)
    };
    sources.par_iter().map(describe).collect()
}

/// The part of the corpus that this process writes, slice by slice, and where it stands.
struct CorpusWriter {
    writer: DatasetWriter,
    tokens_per_shard: u64,
    /// Sources of this process.
    inputs: Vec<Input>,
    /// Slices that are not finished; the first one is being written.
    slices: std::collections::VecDeque<OwnSlice>,
    shard: Option<ShardWriter>,
    /// Within the slice.
    next_shard: u32,
    position: Position,
    /// Of the finished slices.
    summary: Summary,
    has_finished_any: bool,
}

impl CorpusWriter {
    /// Goes on after the last shard that an interrupted run has finished without a gap before it. Also returns the source
    /// to go on with, and how many of its documents are done.
    fn resume(
        writer: DatasetWriter,
        config: &TokenizeConfig,
        slices: Vec<OwnSlice>,
        inputs: &[Input],
    ) -> Result<(Self, (usize, u64))> {
        let finished = writer.finished()?;
        let mut this = Self {
            writer,
            tokens_per_shard: config.tokens_per_shard,
            inputs: inputs.to_vec(),
            slices: slices.into(),
            shard: None,
            next_shard: 0,
            position: Position::start(0),
            summary: Summary::default(),
            has_finished_any: !finished.is_empty(),
        };
        while let Some(slice) = this.slices.front() {
            let slice_id = slice.number;
            this.position = Position::start(slice.sources.len());
            this.next_shard = 0;
            while let Some(shard) = finished.get(&ShardId { slice: slice_id, index: this.next_shard }) {
                let position = serde_json::from_value(shard.position.clone()).map_err(std::io::Error::other);
                this.position = position.at(this.writer.work_dir())?;
                this.next_shard += 1;
            }
            this.position.summary = std::mem::take(&mut this.position.summary).resumed();
            match this.read_record(slice_id) {
                Some(record) if record.num_shards == this.next_shard => {
                    this.has_finished_any = true;
                    this.summary.merge(&record.summary.resumed());
                    this.slices.pop_front();
                }
                _ if this.position.source == slice.sources.len() => this.finish_slice()?,
                _ => break,
            }
        }
        let first = this.slices.front().map_or(inputs.len(), |slice| slice.sources.start + this.position.source);
        let documents_read = if this.slices.is_empty() { 0 } else { this.position.documents_read };
        Ok((this, (first, documents_read)))
    }

    fn read_record(&self, slice: u32) -> Option<SliceRecord> {
        let bytes = std::fs::read(self.writer.work_dir().join(record_name(slice))).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Document(document) => self.push(&document),
            Event::EndOfSource(skipped) => {
                self.position.end_source(&skipped);
                if self.slices.front().is_some_and(|slice| self.position.source == slice.sources.len()) {
                    self.finish_slice()?;
                }
                Ok(())
            }
            Event::Progress(_) => Ok(()),
        }
    }

    fn push(&mut self, document: &TokenizedDocument<'_>) -> Result<()> {
        let number = self.position.summary.documents + self.position.summary.documents_without_text;
        let document_id = u64::from(self.slice()) << 32 | number;
        self.position.observe(document);
        if document.sentence_lengths.is_empty() {
            return Ok(());
        }
        let id = self.shard_id();
        let shard = match &mut self.shard {
            Some(shard) => shard,
            None => self.shard.insert(self.writer.shard(id)?),
        };
        let (token_ids, sentence_lengths) = (document.token_ids.into(), document.sentence_lengths);
        shard.push(CorpusRow { document_id, token_ids, sentence_lengths })?;
        if shard.statistics().tokens >= self.tokens_per_shard {
            self.finish_shard()?;
        }
        Ok(())
    }

    /// Number of the slice being written.
    fn slice(&self) -> u32 {
        self.slices.front().expect("documents come from the sources of a slice").number
    }

    fn shard_id(&self) -> ShardId {
        ShardId { slice: self.slice(), index: self.next_shard }
    }

    fn finish_shard(&mut self) -> Result<()> {
        if let Some(shard) = self.shard.take() {
            let position = serde_json::json!(self.position);
            self.writer.finish_shard(self.shard_id(), shard, position)?;
            self.next_shard += 1;
            self.has_finished_any = true;
        }
        Ok(())
    }

    /// Closes the slice and turns to the next one.
    fn finish_slice(&mut self) -> Result<()> {
        self.finish_shard()?;
        let slice = self.slices.pop_front().expect("a slice is being written");
        let following = self.slices.front().map_or(0, |slice| slice.sources.len());
        let position = std::mem::replace(&mut self.position, Position::start(following));
        self.summary.merge(&position.summary);
        let counts = Summary { resumed_documents: 0, resumed_text_bytes: 0, ..position.summary };
        let record = SliceRecord {
            num_shards: std::mem::take(&mut self.next_shard),
            inputs: self.inputs[slice.sources].to_vec(),
            documents_per_source: position.documents_per_source,
            summary: counts,
        };
        let path = self.writer.work_dir().join(record_name(slice.number));
        let json = serde_json::to_vec(&record).map_err(std::io::Error::other).at(&path)?;
        durable::write(path, &json)
    }

    /// Publishes if there are no other ranks.
    fn finish(self, world: World, out: &Path, listed: &[Listed]) -> Result<Summary> {
        let ours = self.summary;
        if !world.is_alone() {
            return Ok(ours);
        }
        if ours.documents == 0 {
            self.writer.abandon();
            return Err(finish::no_documents(out, listed.iter().map(|source| source.name.as_str())));
        }
        let all = finish(self.writer.into_unfinished())?;
        let (resumed_documents, resumed_text_bytes) = (ours.resumed_documents, ours.resumed_text_bytes);
        Ok(Summary { resumed_documents, resumed_text_bytes, ..all })
    }

    /// After an error: leaves finished shards for a resume; without any, leaves no trace.
    fn give_up(self) {
        if !self.has_finished_any {
            drop(self.shard);
            self.writer.abandon();
        }
    }
}
