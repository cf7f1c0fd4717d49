//! Publication of a corpus: all slices, in order, whoever made them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cloze_formats::dataset::{ShardId, UnfinishedDataset};

use super::slices::{Listed, SliceRecord, cut, deal, record_name};
use super::source_entry;
use super::state::Summary;
use crate::error::{AtPath, Error, Result};
use crate::world::World;

/// Checks that every rank has tokenized its slices, and publishes the corpus.
///
/// # Errors
/// Slices or shards are missing (the message says which ranks should make them), no document of any source had text, or the
/// manifest cannot be written.
pub fn finish(unfinished: UnfinishedDataset) -> Result<Summary> {
    let dir = unfinished.dir().to_owned();
    let listed: Vec<Listed> = from_json(&dir, &unfinished.spec().inputs)?;
    let Slicing { slice_bytes } = from_json(&dir, &unfinished.spec().configuration)?;
    let slices = cut(&listed, slice_bytes);
    let world = World::new(0, unfinished.world_size()).map_err(|problem| Error::invalid(&dir, problem))?;
    let shards: BTreeSet<ShardId> = unfinished.finished()?.into_iter().collect();
    let (mut records, mut missing) = (Vec::new(), BTreeMap::<u32, u32>::new());
    for (slice, rank) in (0..).zip(deal(&slices, &listed, world)) {
        let record = read_record(&unfinished, rank, slice);
        let is_complete = |record: &SliceRecord| {
            (0..record.num_shards).all(|index| shards.contains(&ShardId { slice, index }))
                && shards.range(ShardId { slice, index: record.num_shards }..).next().is_none_or(|id| id.slice != slice)
        };
        match record.filter(is_complete) {
            Some(record) => records.push(record),
            None => *missing.entry(rank).or_default() += 1,
        }
    }
    if !missing.is_empty() {
        return Err(Error::invalid(dir, world.describe_missing("slices", slices.len(), &missing)));
    }
    let mut summary = Summary::default();
    records.iter().for_each(|record| summary.merge(&record.summary));
    if summary.documents == 0 {
        return Err(no_documents(&dir, listed.iter().map(|source| source.name.as_str()), &summary));
    }
    let inputs = records.iter().flat_map(|r| r.inputs.iter().zip(r.documents_per_source.iter().copied()));
    let empty = inputs.clone().filter(|(_, documents)| *documents == 0);
    summary.sources_without_documents = empty.map(|(input, _)| input.name.clone()).collect();
    let sources = inputs.map(|(input, documents)| source_entry(input, documents)).collect();
    let configuration = unfinished.spec().configuration.clone();
    unfinished.publish(configuration, sources)?;
    Ok(summary)
}

/// Of the configuration only what is needed: the parameters of a sentence model are not in it, only their name.
#[derive(serde::Deserialize)]
struct Slicing {
    slice_bytes: u64,
}

fn read_record(unfinished: &UnfinishedDataset, rank: u32, slice: u32) -> Option<SliceRecord> {
    let bytes = std::fs::read(unfinished.rank_dir(rank).join(record_name(slice))).ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(super) fn no_documents<'a>(dir: &Path, names: impl Iterator<Item = &'a str>, summary: &Summary) -> Error {
    let names = names.collect::<Vec<_>>().join(", ");
    let broken = summary.broken_rows.first().map(|row| format!(" (broken rows, the first is {row})"));
    let short = (summary.short_documents > 0).then(|| format!(" ({} are too short)", summary.short_documents));
    let why = broken.or(short).unwrap_or_default();
    Error::invalid(dir, format!("expected documents with text, found none in {names}{why}; nothing was written"))
}

fn from_json<T: serde::de::DeserializeOwned>(dir: &Path, value: &serde_json::Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(std::io::Error::other).at(dir)
}
