//! `build --compat nvidia`: the instances of NVIDIA's `create_pretraining_data.py`, bit for bit.
//!
//! The script draws everything from one `random.Random(seed)`, so whatever it decides depends on all that it decided
//! before: shuffle the documents; then for each duplicate, for each document, for each pair: where the chunk is cut, the
//! random document, what is truncated, the masks; at last shuffle the instances. Here that is one pass on one thread. It
//! keeps what it draws (places in the corpus and masks, no text) in a file; the shards are then made from it in parallel.
//!
//! The rows of all shards together, shard after shard, are the script's, in its order. Given are the sentences and the
//! vocabulary; so the corpus must come from `tokenize --sentences` with the same vocabulary, from the same file. Several
//! input files are one corpus in the order of the command line, and the end of a file ends a document (the script goes on
//! with the same document unless the file ends with an empty line). A corpus of one document has no other one to take a
//! random segment B from: after ten draws the script takes a place of the same document and calls the pair "next", and so
//! do we. Sentences of more than 65,535 tokens are two of ours and one of the script's.
//!
//! # Memory usage
//! Four bytes per document and per instance; the corpus is mapped.

mod draw;
mod drawn;
mod python_random;

use std::path::Path;
use std::sync::Mutex;

use cloze_formats::config::InstanceConfig;
use cloze_formats::shard::ShardWriter;
use cloze_formats::{Dataset, DatasetWriter, Manifest, PretrainRow, StaticMask};
use rayon::prelude::*;

use self::drawn::DrawnFile;
use crate::build::{corpus_source, dataset_spec, instances_bar, on_bounded_threads};
use crate::error::Result;
use crate::materialise::{GROUP, Steps, assemble, touch};
use crate::progress::{CHECKING, Progress};

/// Makes the dataset `out` from `corpus`; `config` was validated.
///
/// An interrupted run is resumed as by [`build`](crate::build::build): finished draws and finished shards are kept.
///
/// # Errors
/// More instances than fit into 32 bits, damage in the corpus, or `out` cannot be written.
pub(crate) fn build(corpus: &Dataset, config: &InstanceConfig, out: &Path, progress: Progress) -> Result<Manifest> {
    let source = corpus_source(corpus)?;
    let writer = DatasetWriter::create(out, dataset_spec(corpus, config, &source), corpus.vocabulary())?;
    let (writer, ()) = writer.attempt(|writer| write_shards(corpus, config, writer, progress))?;
    writer.publish(vec![source])
}

/// Draws, and makes the shards that an interrupted run has not made.
fn write_shards(
    corpus: &Dataset,
    config: &InstanceConfig,
    writer: &mut DatasetWriter,
    progress: Progress,
) -> Result<()> {
    let drawn = DrawnFile::make(corpus, config, &writer.work_dir().join("drawn"), progress)?;
    let resolved = InstanceConfig { num_shards: drawn.totals().num_shards, ..config.clone() };
    writer.resolve_configuration(serde_json::to_value(&resolved).expect("a configuration is plain data"));
    let writer = &*writer;
    let mut bar = progress.bytes(CHECKING, 0);
    let finished = writer.finished_with(|done, total| bar.set_of(done, total))?;
    drop(bar);
    let missing: Vec<u32> = (0..resolved.num_shards).filter(|&shard| !finished.contains_key(&shard.into())).collect();
    let bar = Mutex::new(instances_bar(corpus, &resolved, drawn.totals(), &missing, progress));
    on_bounded_threads(|_| {
        missing.into_par_iter().try_for_each(|index| {
            let mut shard = writer.shard(index)?;
            let steps = Steps::new(|rows| bar.lock().expect("no holder panics").add(rows));
            write_rows(corpus, &drawn, index, &mut shard, steps)?;
            writer.finish_shard(index, shard, serde_json::Value::Null)?;
            Ok(())
        })
    })
}

fn write_rows(
    corpus: &Dataset,
    drawn: &DrawnFile,
    index: u32,
    shard: &mut ShardWriter,
    mut steps: Steps<impl FnMut(u64)>,
) -> Result<()> {
    let special = corpus.manifest().vocabulary.special;
    let mut input_ids = Vec::<u32>::new();
    let mut segments = Vec::with_capacity(GROUP);
    drawn.for_each_group(index, |group| {
        segments.clear();
        for instance in group {
            segments.push([instance.a.tokens(corpus)?, instance.b.tokens(corpus)?]);
        }
        touch(&segments);
        for (instance, &[a, b]) in group.iter().zip(&segments) {
            let segment_a_length = assemble(&mut input_ids, special, a, b);
            shard.push(PretrainRow {
                input_ids: (&input_ids).into(),
                segment_a_length,
                next_sentence_label: instance.is_random,
                masked: Some(StaticMask { positions: &instance.positions, inputs: (&instance.inputs).into() }),
            })?;
        }
        steps.add(group.len() as u64);
        Ok(())
    })
}
