//! Stage 1: sources to a corpus of tokenized documents, in input order, for all phases at once.
//!
//! One thread reads documents, workers split and encode them, the caller's thread writes: see `pipeline.rs`. What is held
//! in memory is a few chunks of about a megabyte per worker and one record batch, whatever the size of the sources.
//!
//! The title of a Wikipedia page is not part of its text, as in the extractions BERT was trained on. A sentence without
//! tokens is dropped; a document without sentences is dropped and counted. Sentences longer than 65,535 tokens are split.

mod budget;
mod dedup;
mod inputs;
mod pipeline;
mod spool;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cloze_formats::dataset::{VOCABULARY, WORK_DIR, refuse_finished};
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::schema::Layout;
use cloze_formats::shard::ShardWriter;
use cloze_formats::{CorpusRow, DatasetSpec, DatasetWriter, Kind, Vocabulary};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::AtPath;
use crate::progress::Progress;
use crate::sources::{ReadOptions, SourceFile};
use crate::wordpiece::WordPiece;
use crate::{Error, Result};

use dedup::Seen;
pub use inputs::{Input, WRITER, describe_input, source_entry};
use pipeline::{Event, TokenizedDocument};
use spool::Spool;
pub use state::Summary;
use state::{Dropped, Position};

/// Everything that decides the bytes of a corpus, its sources and vocabulary aside; stored whole in its manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizeConfig {
    /// Whether the vocabulary keeps case and accents. Default false.
    pub cased: bool,
    /// A shard is closed after the document that brings it to this many tokens. Default 64 Mi (128 MiB of ids).
    pub tokens_per_shard: u64,
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
    let started = Instant::now();
    if sources.is_empty() {
        return Err(Error::invalid(out, "expected sources to tokenize, found none"));
    }
    if config.tokens_per_shard == 0 {
        return Err(Error::invalid(out, "expected at least 1 token per shard, found 0"));
    }
    refuse_finished(out)?;
    // Sources are read twice, for their hash and for their text; standard input can be read once.
    let spool = Spool::fill(sources, out)?;
    let inputs = describe_inputs(sources, &spool, progress)?;
    if restart {
        discard_interrupted(out)?;
    }
    let spec = DatasetSpec {
        writer: WRITER.to_owned(),
        kind: Kind::Corpus,
        layout: Layout::new(Kind::Corpus, vocabulary.len(), false),
        vocabulary: VocabularyInfo::new(vocabulary, config.cased),
        configuration: serde_json::json!(config),
        inputs: serde_json::json!(inputs),
    };
    let writer = DatasetWriter::create(out, spec, vocabulary)?;
    let mut corpus = CorpusWriter::resume(writer, config, sources.len())?;
    let words = Arc::new(WordPiece::new(vocabulary, config.cased));
    let mut bar = progress.bytes("tokenizing", inputs.iter().map(|input| input.bytes).sum());
    let resumed = corpus.position.clone();
    let outcome = pipeline::run(spool.sources(), &words, config, (resumed.source, resumed.documents_read), |event| {
        if let Event::Progress(bytes) = event {
            bar.set(bytes);
        }
        corpus.handle(event)
    });
    drop(bar);
    if let Err(error) = outcome {
        corpus.give_up(out);
        return Err(error);
    }
    let mut summary = corpus.finish(out, &inputs)?;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

/// Sizes and hashes of all sources, in their order.
fn describe_inputs(named: &[SourceFile], spool: &Spool, progress: &Progress) -> Result<Vec<Input>> {
    let sources = spool.sources();
    let bytes = |source: &SourceFile| std::fs::metadata(&source.path).map(|data| data.len()).at(&source.path);
    let total = sources.iter().map(bytes).sum::<Result<u64>>()?;
    let bar = std::sync::Mutex::new(progress.bytes("hashing sources", total));
    let describe = |(source, named): (&SourceFile, &SourceFile)| {
        let mut input = describe_input(&source.path, &source.kind.to_string())?;
        input.name = named.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        bar.lock().expect("no thread panics with the bar").add(input.bytes);
        Ok(input)
    };
    sources.par_iter().zip(named).map(describe).collect()
}

/// Removes what an interrupted run left in `out`; a finished dataset is left alone, and so is one being written.
fn discard_interrupted(out: &Path) -> Result<()> {
    let work = out.join(WORK_DIR);
    if !work.is_dir() {
        return Ok(());
    }
    let path = work.join("lock");
    let lock = std::fs::File::create(&path).at(&path)?;
    if lock.try_lock().is_err() {
        return Err(Error::invalid(out, "another process is writing here; wait for it or choose another directory"));
    }
    std::fs::remove_dir_all(&work).at(&work)
}

/// The corpus being written, and where in the sources it stands.
struct CorpusWriter {
    writer: DatasetWriter,
    shard: Option<ShardWriter>,
    next_shard: u32,
    tokens_per_shard: u64,
    position: Position,
    /// Only if duplicates are dropped.
    seen: Option<Seen>,
}

impl CorpusWriter {
    /// Goes on after the last shard that an interrupted run has finished without a gap before it.
    fn resume(writer: DatasetWriter, config: &TokenizeConfig, num_sources: usize) -> Result<Self> {
        let mut position = Position::start(num_sources);
        let mut next_shard = 0;
        let mut seen = config.dedup.then(Seen::default);
        let work_dir = writer.work_dir();
        for (index, finished) in writer.finished()? {
            if index != next_shard {
                break;
            }
            let after: Position =
                serde_json::from_value(finished.position).map_err(std::io::Error::other).at(&work_dir)?;
            if let Some(seen) = &mut seen
                && !seen.load(&work_dir, index, after.hashes)?
            {
                break;
            }
            position = after;
            next_shard += 1;
        }
        position.summary.resumed_documents = position.summary.documents;
        position.summary.resumed_text_bytes = position.summary.text_bytes;
        let tokens_per_shard = config.tokens_per_shard;
        Ok(Self { writer, shard: None, next_shard, tokens_per_shard, position, seen })
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Document(document) => self.push(&document),
            Event::EndOfSource(source, skipped) => {
                self.position.end_source(source, skipped);
                Ok(())
            }
            Event::Progress(_) => Ok(()),
        }
    }

    fn push(&mut self, document: &TokenizedDocument<'_>) -> Result<()> {
        let document_id = self.position.summary.documents_read();
        let dropped = self.judge(document);
        self.position.observe(document, dropped);
        if dropped.is_some() {
            return Ok(());
        }
        let shard = match &mut self.shard {
            Some(shard) => shard,
            None => self.shard.insert(self.writer.shard(self.next_shard)?),
        };
        let (token_ids, sentence_lengths) = (document.token_ids.into(), document.sentence_lengths);
        shard.push(CorpusRow { document_id, token_ids, sentence_lengths })?;
        if shard.statistics().tokens >= self.tokens_per_shard {
            self.finish_shard()?;
        }
        Ok(())
    }

    /// Why a document is not wanted, if it is not.
    fn judge(&mut self, document: &TokenizedDocument<'_>) -> Option<Dropped> {
        if document.short {
            return Some(Dropped::Short);
        }
        if document.sentence_lengths.is_empty() {
            return Some(Dropped::Empty);
        }
        let seen = self.seen.as_mut()?;
        (!seen.insert(document.hash)).then_some(Dropped::Duplicate)
    }

    fn finish_shard(&mut self) -> Result<()> {
        if let Some(shard) = self.shard.take() {
            if let Some(seen) = &mut self.seen {
                // Before the journal says that the shard is finished.
                self.position.hashes = Some(seen.save(&self.writer.work_dir(), self.next_shard)?);
            }
            let position = serde_json::json!(self.position);
            self.writer.finish_shard(self.next_shard, shard, position)?;
            self.next_shard += 1;
        }
        Ok(())
    }

    fn finish(mut self, out: &Path, inputs: &[Input]) -> Result<Summary> {
        if self.position.summary.documents == 0 {
            let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            let kept = match summary_of_drops(&self.position.summary) {
                Some(drops) => format!(" ({drops})"),
                None => String::new(),
            };
            let names = names.join(", ");
            let problem = format!("expected documents with text, found none in {names}{kept}; nothing was written");
            self.give_up(out);
            return Err(Error::invalid(out, problem));
        }
        self.finish_shard()?;
        let documents = &self.position.documents_per_source;
        let sources = inputs.iter().zip(documents).map(|(input, &documents)| source_entry(input, documents)).collect();
        self.writer.publish(sources)?;
        let mut summary = self.position.summary;
        let empty = inputs.iter().zip(documents).filter(|(_, documents)| **documents == 0);
        summary.sources_without_documents = empty.map(|(input, _)| input.name.clone()).collect();
        Ok(summary)
    }

    /// After an error: leaves finished shards for a resume; without any, leaves no trace.
    fn give_up(self, out: &Path) {
        let nothing_done = self.next_shard == 0;
        let work = self.writer.work_dir();
        drop((self.shard, self.writer));
        if nothing_done {
            let _ = std::fs::remove_dir_all(work);
            let _ = std::fs::remove_file(out.join(VOCABULARY));
            // Only if nothing else lies there.
            let _ = std::fs::remove_dir(out);
        }
    }
}

/// What explains that nothing is left.
fn summary_of_drops(summary: &Summary) -> Option<String> {
    let broken = summary.broken_rows.first().map(|row| format!("broken rows, the first is {row}"));
    let short = (summary.short_documents > 0).then(|| format!("{} are too short", summary.short_documents));
    broken.or(short)
}
