//! Stage 2: a corpus to pre-training shards.

use std::path::Path;
use std::sync::Mutex;

use cloze_formats::checksum::sha256_file;
use cloze_formats::config::{InstanceConfig, MaskingMode, Split};
use cloze_formats::dataset::{refuse_finished, remove_leftovers};
use cloze_formats::manifest::{MANIFEST, Source};
use cloze_formats::masking::Masker;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::schema::Layout;
use cloze_formats::shard::ShardWriter;
use cloze_formats::vocabulary::SpecialIds;
use cloze_formats::{Dataset, DatasetSpec, DatasetWriter, Kind, Manifest, PretrainRow, StaticMask, Tokens};
use rayon::prelude::*;

use crate::compat;
use crate::error::{Error, Result};
use crate::pairs::truncate_pair;
use crate::plan::{Plan, Planned, is_in_split};
use crate::progress::Progress;
use crate::tokenize::WRITER;

/// Makes the pre-training dataset `out` from `corpus`, and `out/held-out` where a share of the documents is held out.
///
/// The bytes depend on corpus and configuration alone, not on the number of threads or on interruptions. Shards that an
/// interrupted run has finished are kept.
///
/// Returns the manifests, the training part first.
///
/// # Memory usage
/// Per thread the descriptors of one shard (32 bytes a row) and one record batch; the corpus is mapped.
pub fn build(corpus: &Dataset, config: &InstanceConfig, out: &Path, progress: Progress) -> Result<Vec<Manifest>> {
    config.validate().map_err(|problem| Error::invalid(out, problem))?;
    if u32::try_from(corpus.len()).is_err() {
        let problem = format!("expected at most {} documents, found {}", u32::MAX, corpus.len());
        return Err(Error::invalid(corpus.dir(), problem));
    }
    refuse_finished(out)?;
    check_split(corpus, config, out)?;
    if config.compat.is_some() {
        return Ok(vec![compat::build(corpus, config, out, progress)?]);
    }
    // The held-out part first: its manifest must not be missing from a dataset that looks finished.
    let mut manifests = Vec::new();
    if config.held_out > 0.0 {
        let held_out = InstanceConfig { split: Split::HeldOut, ..config.clone() };
        let dir = out.join(HELD_OUT);
        manifests.push(match finished_before(corpus, &held_out, &dir)? {
            Some(manifest) => manifest,
            None => build_split(corpus, &held_out, &dir, progress)?,
        });
    }
    manifests.insert(0, build_split(corpus, config, out, progress)?);
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
    let resolved = |c: InstanceConfig| match config.num_shards {
        0 => InstanceConfig { num_shards: 0, ..c },
        _ => c,
    };
    let theirs = theirs.map(resolved);
    let (corpus_sha256, _) = sha256_file(corpus.dir().join(MANIFEST))?;
    let same = theirs.as_ref() == Some(config) && manifest.sources.first().is_some_and(|s| s.sha256 == corpus_sha256);
    if !same {
        return Ok(None);
    }
    remove_leftovers(dir)?;
    Ok(Some(manifest))
}

fn build_split(corpus: &Dataset, config: &InstanceConfig, out: &Path, progress: Progress) -> Result<Manifest> {
    let source = corpus_source(corpus)?;
    let mut writer = DatasetWriter::create(out, dataset_spec(corpus, config, &source), corpus.vocabulary())?;
    let plan = Plan::make(corpus, config, &writer.work_dir().join("plan"), progress)?;
    // What "by size" came to is part of what decides the bytes.
    let resolved = InstanceConfig { num_shards: plan.num_shards(), ..config.clone() };
    writer.resolve_configuration(serde_json::to_value(&resolved).expect("a configuration is plain data"));
    materialise_missing(corpus, &resolved, &plan, &writer, progress)?;
    writer.publish(vec![source])
}

/// What the dataset will be, made with `config` of the corpus that `source` describes.
pub(crate) fn dataset_spec(corpus: &Dataset, config: &InstanceConfig, source: &Source) -> DatasetSpec {
    let static_masks = config.masking == MaskingMode::Static;
    DatasetSpec {
        writer: WRITER.to_owned(),
        kind: Kind::Pretrain,
        layout: Layout::new(Kind::Pretrain, corpus.vocabulary().len(), static_masks),
        vocabulary: corpus.manifest().vocabulary.clone(),
        configuration: serde_json::to_value(config).expect("a configuration is plain data"),
        inputs: source.sha256.clone().into(),
    }
}

/// The corpus as a source of the dataset.
pub(crate) fn corpus_source(corpus: &Dataset) -> Result<Source> {
    let (sha256, bytes) = sha256_file(corpus.dir().join(MANIFEST))?;
    let name = corpus.dir().canonicalize().unwrap_or_else(|_| corpus.dir().to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Source { name, format: "corpus".to_owned(), bytes, sha256, documents: corpus.len() })
}

fn materialise_missing(
    corpus: &Dataset,
    config: &InstanceConfig,
    plan: &Plan,
    writer: &DatasetWriter,
    progress: Progress,
) -> Result<()> {
    let finished = writer.finished()?;
    let missing: Vec<u32> = (0..plan.num_shards()).filter(|s| !finished.contains_key(s)).collect();
    let bar = Mutex::new(progress.count("building shards", missing.len() as u64));
    missing.into_par_iter().try_for_each(|index| {
        let mut shard = writer.shard(index)?;
        let mut maker = InstanceMaker::new(corpus, config);
        for planned in plan.shard(index)? {
            maker.push(&planned, &mut shard)?;
        }
        writer.finish_shard(index, shard, serde_json::Value::Null)?;
        bar.lock().expect("no holder panics").add(1);
        Ok(())
    })
}

/// Puts `[CLS] A [SEP] B [SEP]` into `input_ids`; returns the number of tokens of `[CLS] A [SEP]`.
pub(crate) fn assemble(input_ids: &mut Vec<u32>, special: SpecialIds, a: Tokens<'_>, b: Tokens<'_>) -> u16 {
    input_ids.clear();
    input_ids.push(special.cls);
    a.append_to(input_ids);
    input_ids.push(special.sep);
    let segment_a_length = input_ids.len() as u16;
    b.append_to(input_ids);
    input_ids.push(special.sep);
    segment_a_length
}

/// Turns descriptors into rows: gather, truncate, mask.
struct InstanceMaker<'a> {
    corpus: &'a Dataset,
    config: &'a InstanceConfig,
    masker: Option<Masker>,
    input_ids: Vec<u32>,
    positions: Vec<u16>,
    inputs: Vec<u32>,
}

impl<'a> InstanceMaker<'a> {
    fn new(corpus: &'a Dataset, config: &'a InstanceConfig) -> Self {
        let masker = match config.masking {
            MaskingMode::Static => Some(Masker::new(config.masking_config(), corpus.vocabulary())),
            MaskingMode::Dynamic => None,
        };
        Self { corpus, config, masker, input_ids: Vec::new(), positions: Vec::new(), inputs: Vec::new() }
    }

    fn push(&mut self, planned: &Planned, shard: &mut ShardWriter) -> Result<()> {
        let special = self.corpus.manifest().vocabulary.special;
        let max_num_tokens = usize::from(self.config.max_seq_length) - 3;
        let mut rng = KeyedRng::new(self.config.seed, Purpose::Truncate, planned.position, 0);
        let (a_len, b_len) = (planned.a_len as usize, planned.b_len() as usize);
        let [a_front, a_back, b_front, b_back] = truncate_pair(a_len, b_len, max_num_tokens, || rng.coin());
        let a = self.tokens(planned.document, planned.a_start, (a_front, a_len - a_back))?;
        let b = self.tokens(planned.b_document, planned.b_start, (b_front, b_len - b_back))?;
        let segment_a_length = assemble(&mut self.input_ids, special, a, b);
        let masked = match &mut self.masker {
            None => None,
            Some(masker) => {
                let mut rng = KeyedRng::new(self.config.seed, Purpose::StaticMask, planned.position, 0);
                let chosen = masker.mask((&self.input_ids).into(), segment_a_length, &mut rng);
                self.positions.clear();
                self.positions.extend(chosen.iter().map(|c| c.0));
                self.inputs.clear();
                self.inputs.extend(chosen.iter().map(|c| c.1));
                Some(StaticMask { positions: &self.positions, inputs: (&self.inputs).into() })
            }
        };
        shard.push(PretrainRow {
            input_ids: (&self.input_ids).into(),
            segment_a_length,
            next_sentence_label: planned.is_random(),
            masked,
        })?;
        Ok(())
    }

    /// Tokens `start + within.0 .. start + within.1` of a document.
    fn tokens(&self, document: u32, start: u32, within: (usize, usize)) -> Result<Tokens<'a>> {
        let row = self.corpus.corpus_row(document.into())?;
        let start = start as usize;
        row.token_ids.slice(start + within.0, start + within.1).ok_or_else(|| {
            let problem =
                format!("document {document}: the plan does not fit it; delete the output directory and retry");
            Error::invalid(self.corpus.dir(), problem)
        })
    }
}
