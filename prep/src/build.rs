//! Stage 2: a corpus to pre-training shards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cloze_formats::checksum::sha256_file;
use cloze_formats::config::{InstanceConfig, MaskingMode, Split};
use cloze_formats::dataset::{ShardId, Share, UnfinishedDataset, refuse_finished, remove_leftovers};
use cloze_formats::manifest::{MANIFEST, Source};
use cloze_formats::schema::Layout;
use cloze_formats::{Dataset, DatasetSpec, DatasetWriter, Kind, Manifest};
use rayon::prelude::*;

use crate::compat;
use crate::error::{Error, Result};
use crate::materialise::materialise;
use crate::plan::{Plan, Planned, Totals, is_in_split, wanted_shards};
use crate::progress::{Bar, CHECKING, Progress};
use crate::tokenize::WRITER;
use crate::world::World;

/// Makes the pre-training dataset `out` from `corpus`, and `out/held-out` where a share of the documents is held out.
///
/// The bytes depend on corpus and configuration alone, not on the number of threads or on interruptions. Shards that an
/// interrupted run has finished are kept.
///
/// Returns the manifests, the training part first.
///
/// # Memory usage
/// A record batch (about 1.5 MB) for each thread, and 128 MiB of descriptors for all of them; the corpus is mapped. More than 128
/// shards are not made at once.
pub fn build(corpus: &Dataset, config: &InstanceConfig, out: &Path, progress: Progress) -> Result<Vec<Manifest>> {
    build_share(corpus, config, out, World::alone(), progress)
}

/// Like [`build`], but only the shards that fall to the rank of `world`; alone, all of them. The dataset is the same to the
/// byte.
///
/// Of several ranks, in any order and at any time, none publishes: [`finish`] does, and no manifests are returned.
pub fn build_share(
    corpus: &Dataset,
    config: &InstanceConfig,
    out: &Path,
    world: World,
    progress: Progress,
) -> Result<Vec<Manifest>> {
    config.validate().map_err(|problem| Error::invalid(out, problem))?;
    if u32::try_from(corpus.len()).is_err() {
        let problem = format!("expected at most {} documents, found {}", u32::MAX, corpus.len());
        return Err(Error::invalid(corpus.dir(), problem));
    }
    refuse_finished(out)?;
    check_split(corpus, config, out)?;
    if config.compat.is_some() {
        if !world.is_alone() {
            let problem = "compat: expected one process, found several ranks; its draws follow one another, so run it once, with --world-size 1";
            return Err(Error::invalid(out, problem));
        }
        return Ok(vec![compat::build(corpus, config, out, progress)?]);
    }
    // The held-out part first: its manifest must not be missing from a dataset that looks finished.
    let mut parts = Vec::new();
    let mut manifests = Vec::new();
    if config.held_out > 0.0 {
        let held_out = InstanceConfig { split: Split::HeldOut, ..config.clone() };
        let dir = out.join(HELD_OUT);
        match finished_before(corpus, &held_out, &dir)? {
            Some(manifest) => manifests.push(manifest),
            None => parts.push((held_out, dir)),
        }
    }
    parts.push((config.clone(), out.to_owned()));
    manifests.extend(build_parts(corpus, parts, world, progress)?);
    // Several ranks publish nothing, whatever was published before.
    if !world.is_alone() {
        manifests.clear();
    }
    manifests.reverse();
    Ok(manifests)
}

/// Name of the held-out part within a pretrain dataset.
pub const HELD_OUT: &str = "held-out";

/// Both parts need documents, and a held-out part of another run must not end up inside a dataset that holds out nothing.
fn check_split(corpus: &Dataset, config: &InstanceConfig, out: &Path) -> Result<()> {
    let dir = out.join(HELD_OUT);
    if config.held_out == 0.0 && dir.exists() {
        let problem =
            "an interrupted run here held documents out; repeat that run to resume it, or delete the directory";
        return Err(Error::invalid(out, problem));
    }
    let n = corpus.len();
    if n == 0 {
        return Err(Error::invalid(corpus.dir(), "expected documents, found none; tokenize more text"));
    }
    let held_out = InstanceConfig { split: Split::HeldOut, ..config.clone() };
    let num_held_out = (0..n).filter(|&document| is_in_split(document, &held_out)).count() as u64;
    if config.held_out > 0.0 && (num_held_out == 0 || num_held_out == n) {
        let share = config.held_out;
        let problem = format!(
            "expected documents on both sides of --held-out {share}, found {num_held_out} of {n} held out; \
             take another share or tokenize more text"
        );
        return Err(Error::invalid(corpus.dir(), problem));
    }
    Ok(())
}

/// The held-out part that an interrupted run of the same corpus and configuration has finished.
fn finished_before(corpus: &Dataset, config: &InstanceConfig, dir: &Path) -> Result<Option<Manifest>> {
    if !dir.join(MANIFEST).exists() {
        return Ok(None);
    }
    let manifest = Manifest::read(dir)?;
    let theirs: Option<InstanceConfig> = serde_json::from_value(manifest.configuration.clone()).ok();
    let resolved = InstanceConfig { num_shards: manifest.shards.len() as u32, ..config.clone() };
    let as_many = wanted_shards(config, manifest.num_rows());
    let same_shards = as_many == 0 || as_many == resolved.num_shards;
    let (corpus_sha256, _) = sha256_file(corpus.dir().join(MANIFEST))?;
    let same =
        same_shards && theirs == Some(resolved) && manifest.sources.first().is_some_and(|s| s.sha256 == corpus_sha256);
    if !same {
        return Ok(None);
    }
    remove_leftovers(dir)?;
    Ok(Some(manifest))
}

/// What the dataset will be, made with `config` of the corpus that `source` describes.
pub(crate) fn dataset_spec(corpus: &Dataset, config: &InstanceConfig, source: &Source) -> DatasetSpec {
    let static_masks = config.masking == MaskingMode::Static;
    DatasetSpec {
        writer: WRITER.to_owned(),
        kind: Kind::Pretrain,
        layout: Layout::new(Kind::Pretrain, corpus.vocabulary().len(), static_masks),
        vocabulary: corpus.manifest().vocabulary.clone(),
        configuration: as_json(config),
        inputs: serde_json::json!(source),
    }
}

/// How the manifest says that the source of a dataset is a corpus.
pub(crate) const CORPUS_FORMAT: &str = "corpus";

/// The corpus as a source of the dataset: what ranks share about it, and the manifest's line.
pub(crate) fn corpus_source(corpus: &Dataset) -> Result<Source> {
    let (sha256, bytes) = sha256_file(corpus.dir().join(MANIFEST))?;
    let name = corpus.dir().canonicalize().unwrap_or_else(|_| corpus.dir().to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Source { name, format: CORPUS_FORMAT.to_owned(), bytes, sha256, documents: corpus.len() })
}

fn as_json(config: &InstanceConfig) -> serde_json::Value {
    serde_json::to_value(config).expect("a configuration is plain data")
}

/// Makes the given parts, each a configuration and a directory; their manifests if they were published, so if there are no
/// other ranks.
///
/// All are planned before any is made: what cannot be made is found out before anything is finished. Where nothing is
/// finished, a failure leaves nothing.
fn build_parts(
    corpus: &Dataset,
    parts: Vec<(InstanceConfig, PathBuf)>,
    world: World,
    progress: Progress,
) -> Result<Vec<Manifest>> {
    let mut writers = Vec::new();
    let outcome = write_parts(corpus, parts, world, progress, &mut writers);
    if let Err(error) = outcome {
        if !writers.iter().any(DatasetWriter::has_finished_any) {
            writers.into_iter().for_each(DatasetWriter::abandon);
        }
        return Err(error);
    }
    if !world.is_alone() {
        return Ok(Vec::new());
    }
    writers.into_iter().map(|writer| publish(writer.into_unfinished())).collect()
}

/// Begins all parts, leaving their writers in `writers`, then plans all, then makes their shards.
fn write_parts(
    corpus: &Dataset,
    parts: Vec<(InstanceConfig, PathBuf)>,
    world: World,
    progress: Progress,
    writers: &mut Vec<DatasetWriter>,
) -> Result<()> {
    let source = corpus_source(corpus)?;
    let share = Share { rank: world.rank(), world_size: world.world_size(), inputs: serde_json::Value::Null };
    for (config, dir) in &parts {
        let spec = dataset_spec(corpus, config, &source);
        let writer = DatasetWriter::create_share(dir, spec, corpus.vocabulary(), &share)?;
        if !writer.is_locked() {
            let dir = dir.display();
            progress.warn(&format!("{dir}: the file system has no locks; let no two processes do the same"));
        }
        writers.push(writer);
    }
    let plan = |((config, _), writer): (&(InstanceConfig, PathBuf), &DatasetWriter)| {
        Plan::make(corpus, config, world, &writer.work_dir().join(PLAN), progress)
    };
    let plans = parts.iter().zip(&*writers).map(plan).collect::<Result<Vec<Plan>>>()?;
    for (((config, _), plan), writer) in parts.into_iter().zip(&plans).zip(&*writers) {
        let resolved = InstanceConfig { num_shards: plan.num_shards(), ..config };
        materialise_missing(corpus, &resolved, plan, world, writer, progress)?;
    }
    Ok(())
}

/// Where a rank keeps its plan.
const PLAN: &str = "plan";

/// Checks that every rank has made its shards, and publishes the dataset, its held-out part first.
///
/// Returns the manifests, the training part first.
///
/// # Errors
/// Shards are missing (the message says which ranks should make them), or the manifest cannot be written.
pub fn finish(unfinished: UnfinishedDataset) -> Result<Vec<Manifest>> {
    let held_out = unfinished.dir().join(HELD_OUT);
    let mut manifests = Vec::new();
    if held_out.exists() {
        manifests.push(match held_out.join(MANIFEST).exists() {
            true => Manifest::read(&held_out)?,
            false => publish(UnfinishedDataset::open(&held_out)?)?,
        });
    }
    manifests.insert(0, publish(unfinished)?);
    Ok(manifests)
}

fn publish(unfinished: UnfinishedDataset) -> Result<Manifest> {
    let dir = unfinished.dir().to_owned();
    let in_words = |problem: String| Error::invalid(&dir, problem);
    let source: Source =
        serde_json::from_value(unfinished.spec().inputs.clone()).map_err(|e| in_words(e.to_string()))?;
    let config: InstanceConfig =
        serde_json::from_value(unfinished.spec().configuration.clone()).map_err(|e| in_words(e.to_string()))?;
    let world = World::new(0, unfinished.world_size()).map_err(in_words)?;
    // Every rank counts the same shards; any of them knows how many there are to be.
    let plans = (0..world.world_size()).filter_map(|rank| Plan::read(&unfinished.rank_dir(rank).join(PLAN)));
    let Some(num_shards) = plans.map(|plan| plan.num_shards()).next() else {
        return Err(in_words("no rank has planned its shards; run them again, then `cloze-prep finish`".to_owned()));
    };
    let finished: BTreeSet<ShardId> = unfinished.finished()?.into_iter().collect();
    let mut missing = BTreeMap::<u32, u32>::new();
    for shard in (0..num_shards).filter(|&shard| !finished.contains(&shard.into())) {
        *missing.entry(world.owner(shard, num_shards)).or_default() += 1;
    }
    if !missing.is_empty() {
        return Err(in_words(world.describe_missing("shards", num_shards as usize, &missing)));
    }
    // What "by size" came to is part of what decides the bytes.
    unfinished.publish(as_json(&InstanceConfig { num_shards, ..config }), vec![source])
}

fn materialise_missing(
    corpus: &Dataset,
    config: &InstanceConfig,
    plan: &Plan,
    world: World,
    writer: &DatasetWriter,
    progress: Progress,
) -> Result<()> {
    let mut bar = progress.bytes(CHECKING, 0);
    let finished = writer.finished_with(|done, total| bar.set_of(done, total))?;
    drop(bar);
    let own = world.range(plan.num_shards());
    let missing: Vec<u32> = own.filter(|&shard| !finished.contains_key(&shard.into())).collect();
    let bar = Mutex::new(instances_bar(corpus, config, plan.totals(), &missing, progress));
    on_bounded_threads(|num_threads| {
        // Each range reads a file of the plan through, so no shard gets less than those being made leave it.
        let makers = num_threads.min(missing.len()).max(1);
        let most = (DESCRIPTOR_BYTES / makers / size_of::<Planned>()) as u64;
        missing.into_par_iter().try_for_each(|index| {
            let mut shard = writer.shard(index)?;
            let parts = plan.ranges(index, most).map(|rows| plan.instances(rows));
            materialise(corpus, config, parts, &mut shard, |rows| bar.lock().expect("no holder panics").add(rows))?;
            writer.finish_shard(index, shard, serde_json::Value::Null)?;
            Ok(())
        })
    })
}

/// A bar over the rows of the `missing` shards, in bytes of the corpus: all instances together have each document in them
/// once for each duplicate.
pub(crate) fn instances_bar(
    corpus: &Dataset,
    config: &InstanceConfig,
    totals: Totals,
    missing: &[u32],
    progress: Progress,
) -> Bar {
    let rows: u64 = missing.iter().map(|&shard| totals.rows(shard)).map(|rows| rows.end - rows.start).sum();
    let share = rows as f64 / totals.num_instances.max(1) as f64;
    let bytes = corpus.manifest().num_bytes() as f64 * config.dupe_factor as f64 * share;
    progress.rows("building shards", rows, bytes as u64)
}

/// Shards that are made at the same time, at most: each holds a record batch in memory.
const SHARDS_AT_ONCE: usize = 128;
/// Descriptors in memory, of all shards being made together.
const DESCRIPTOR_BYTES: usize = 128 << 20;

/// Runs `make` on the threads there are, on [`SHARDS_AT_ONCE`] of them at most; it is told how many.
pub(crate) fn on_bounded_threads(make: impl FnOnce(usize) -> Result<()> + Send) -> Result<()> {
    let num_threads = rayon::current_num_threads();
    if num_threads <= SHARDS_AT_ONCE {
        return make(num_threads);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(SHARDS_AT_ONCE).build();
    let pool = pool.map_err(|error| Error::invalid("threads", error.to_string()))?;
    pool.install(|| make(SHARDS_AT_ONCE))
}
