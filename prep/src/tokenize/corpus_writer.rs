//! The corpus being written: shards, the journal of where they end, slices.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use cloze_formats::dataset::ShardId;
use cloze_formats::shard::ShardWriter;
use cloze_formats::{CorpusRow, DatasetWriter, durable};

use super::dedup::Seen;
use super::finish::{finish, no_documents};
use super::pipeline::{Event, TokenizedDocument};
use super::slices::{Listed, SliceRecord, record_name};
use super::state::{Dropped, Position, Summary};
use super::{Input, TokenizeConfig};
use crate::error::AtPath;
use crate::progress::{CHECKING, Progress};
use crate::world::World;
use crate::{Error, Result};

/// A slice that falls to this process.
pub(super) struct OwnSlice {
    pub(super) number: u32,
    /// Its sources among those of this process.
    pub(super) sources: Range<usize>,
}

/// The part of the corpus that this process writes, slice by slice, and where it stands.
pub(super) struct CorpusWriter {
    writer: DatasetWriter,
    tokens_per_shard: u64,
    /// Sources of this process.
    inputs: Vec<Input>,
    /// Slices that are not finished; the first one is being written.
    slices: VecDeque<OwnSlice>,
    shard: Option<ShardWriter>,
    /// Within the slice.
    next_shard: u32,
    position: Position,
    /// Of the finished slices.
    summary: Summary,
    has_finished_any: bool,
    /// Only if duplicates are dropped.
    seen: Option<Seen>,
}

impl CorpusWriter {
    /// Goes on after the last shard that an interrupted run has finished without a gap before it. Also returns the source
    /// to go on with, and how many of its documents are done.
    pub(super) fn resume(
        writer: DatasetWriter,
        config: &TokenizeConfig,
        slices: Vec<OwnSlice>,
        inputs: &[Input],
        progress: &Progress,
    ) -> Result<(Self, (usize, u64))> {
        let mut bar = progress.bytes(CHECKING, 0);
        let finished = writer.finished_with(|done, total| bar.set_of(done, total))?;
        drop(bar);
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
            seen: config.dedup.then(Seen::default),
        };
        while let Some(slice) = this.slices.front() {
            let slice_id = slice.number;
            this.position = Position::start(slice.sources.len());
            this.next_shard = 0;
            while let Some(shard) = finished.get(&ShardId { slice: slice_id, index: this.next_shard }) {
                let after = serde_json::from_value(shard.position.clone()).map_err(std::io::Error::other);
                let after: Position = after.at(this.writer.work_dir())?;
                let id = this.shard_id();
                if let Some(seen) = &mut this.seen
                    && !seen.load(&this.writer.work_dir(), id, after.hashes)?
                {
                    break;
                }
                this.position = after;
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

    /// An error if an interrupted run has skipped broken rows in sources that will not be read again.
    pub(super) fn refuse_broken_rows(&self, out: &Path) -> Result<()> {
        let mut done = self.summary.clone();
        // Where no slice is left, the position is that of the last one, which is counted.
        if !self.slices.is_empty() {
            done.merge(&self.position.summary);
        }
        let found = done.num_broken_rows();
        if found == 0 {
            return Ok(());
        }
        let first = done.broken_rows.first().map_or(String::new(), |row| format!(" (the first is {row})"));
        let problem = format!(
            "strict: expected no broken rows, found {found} that an interrupted run has skipped{first}; mend them and run \
             again with --restart, or leave out --strict"
        );
        Err(Error::invalid(out, problem))
    }

    fn read_record(&self, slice: u32) -> Option<SliceRecord> {
        let bytes = std::fs::read(self.writer.work_dir().join(record_name(slice))).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Document(document) => self.push(&document),
            Event::EndOfSource(source, skipped) => {
                self.position.end_source(source, skipped);
                if self.slices.front().is_some_and(|slice| self.position.source == slice.sources.len()) {
                    self.finish_slice()?;
                }
                Ok(())
            }
            Event::Progress(_) => Ok(()),
        }
    }

    fn push(&mut self, document: &TokenizedDocument<'_>) -> Result<()> {
        let document_id = u64::from(self.slice()) << 32 | self.position.summary.documents_read();
        let dropped = self.judge(document);
        self.position.observe(document, dropped);
        if dropped.is_some() {
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

    /// Number of the slice being written.
    fn slice(&self) -> u32 {
        self.slices.front().expect("documents come from the sources of a slice").number
    }

    fn shard_id(&self) -> ShardId {
        ShardId { slice: self.slice(), index: self.next_shard }
    }

    fn finish_shard(&mut self) -> Result<()> {
        if let Some(shard) = self.shard.take() {
            let id = self.shard_id();
            if let Some(seen) = &mut self.seen {
                // Before the journal says that the shard is finished.
                self.position.hashes = Some(seen.save(&self.writer.work_dir(), id)?);
            }
            self.writer.finish_shard(id, shard, serde_json::json!(self.position))?;
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
    pub(super) fn finish(self, world: World, out: &Path, listed: &[Listed]) -> Result<Summary> {
        let ours = self.summary;
        if !world.is_alone() {
            return Ok(ours);
        }
        if ours.documents == 0 {
            self.writer.abandon();
            return Err(no_documents(out, listed.iter().map(|source| source.name.as_str()), &ours));
        }
        let all = finish(self.writer.into_unfinished())?;
        let (resumed_documents, resumed_text_bytes) = (ours.resumed_documents, ours.resumed_text_bytes);
        Ok(Summary { resumed_documents, resumed_text_bytes, ..all })
    }

    /// After an error: leaves finished shards for a resume; without any, leaves no trace.
    pub(super) fn give_up(self) {
        if !self.has_finished_any {
            drop(self.shard);
            self.writer.abandon();
        }
    }
}
