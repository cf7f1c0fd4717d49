//! The files of another tool to a dataset.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cloze_formats::config::{InstanceConfig, MaskingMode};
use cloze_formats::dataset::{EXAMPLES, FinishedShard, ShardId, refuse_finished};
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::schema::Layout;
use cloze_formats::shard::ShardWriter;
use cloze_formats::{DatasetSpec, DatasetWriter, ErrorKind, Kind, Manifest, PretrainRow, Row, StaticMask, Vocabulary};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::columnar::{self, Described};
use super::instance::Instance;
use super::{Format, arrow_stream, hdf5, inputs, lddl, parquet, questions, tfrecord};
use crate::error::{AtPath, Error, Result};
use crate::progress::{CHECKING, Progress};
use crate::tokenize::{Input, WRITER, describe_input, source_entry};

/// Makes the dataset `out` of files that another tool, or [`export`](super::export()), has written; one shard a file.
///
/// `patterns` are files, directories and globs. Token ids are those of `vocabulary`, with `cased` as it is there. Every row
/// is checked: ids, special tokens, positions; the labels restore the clean text. What the files do not tell of how they were
/// made is derived from the rows or set to BERT's values: see [`InstanceConfig`] in the manifest. Windows of questions need the
/// `examples.jsonl` beside their files; those of several directories follow each other.
///
/// # Errors
/// Nothing to read, files of another format or kind, a row that breaks a rule (naming file and row), questions that come twice
/// or do not fit the rows, or an output that is finished already or cannot be written.
///
/// # Memory usage
/// Per thread a batch of rows read and a record batch being written.
pub fn import(
    format: Format,
    patterns: &[PathBuf],
    vocabulary: &Vocabulary,
    cased: bool,
    out: &Path,
    progress: Progress,
) -> Result<Manifest> {
    refuse_finished(out)?;
    let files = inputs::expand(patterns, format)?;
    let first = files.first().ok_or_else(|| Error::invalid(out, "expected files to import, found none named"))?;
    let described = describe(format, first, vocabulary)?;
    let inputs = describe_inputs(format, &files, progress)?;
    let spec = DatasetSpec {
        writer: WRITER.to_owned(),
        kind: described.layout.kind(),
        layout: described.layout,
        vocabulary: VocabularyInfo::new(vocabulary, described.cased.unwrap_or(cased)),
        configuration: described.configuration.clone().unwrap_or_else(|| json!({})),
        inputs: json!(inputs),
    };
    let examples = (described.layout.kind() == Kind::Squad).then(|| questions::merged_examples(&files)).transpose()?;
    let (writer, shards) = DatasetWriter::create(out, spec, vocabulary)?.attempt(|writer| {
        if let Some(examples) = &examples {
            writer.write_file(EXAMPLES, examples)?;
        }
        let shards = write_shards(format, &files, &inputs, vocabulary, described.layout, writer, progress)?;
        if described.layout.kind() == Kind::Pretrain {
            writer.resolve_configuration(json!(configuration(described, shards.values())));
        }
        Ok(shards)
    })?;
    if examples.is_some()
        && let Err(error) = questions::check(&files, &writer)
    {
        // Files that do not fit together are not mended by a resumed run.
        writer.abandon();
        return Err(error);
    }
    let sources = inputs.iter().zip(shards.values()).map(|(input, shard)| source_entry(input, shard.statistics.rows));
    writer.publish(sources.collect())
}

fn describe_inputs(format: Format, files: &[PathBuf], progress: Progress) -> Result<Vec<Input>> {
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let bar = Mutex::new(progress.bytes("hashing files", files.iter().map(size).sum()));
    let read = |bytes| bar.lock().expect("no holder panics").add(bytes);
    files.par_iter().map(|path| describe_input(path, format.name(), read)).collect()
}

/// That of the dataset that was exported, where the files tell it, else what the rows show.
fn configuration<'a>(described: Described, shards: impl ExactSizeIterator<Item = &'a FinishedShard>) -> InstanceConfig {
    let num_shards = shards.len() as u32;
    let shapes = shards.filter_map(|shard| serde_json::from_value(shard.position.clone()).ok());
    let shape = shapes.fold(Shape::default(), Shape::merge);
    let shown = shape.config(described.layout.has_static_masks());
    let known: Option<InstanceConfig> = described.configuration.and_then(|c| serde_json::from_value(c).ok());
    match known {
        None => InstanceConfig { num_shards, ..shown },
        // Rows and columns may have been taken away or added since.
        Some(known) => InstanceConfig {
            num_shards,
            masking: shown.masking,
            max_seq_length: known.max_seq_length.max(shape.max_seq_length),
            max_predictions_per_seq: known.max_predictions_per_seq.max(shape.max_predictions_per_seq),
            ..known
        },
    }
}

/// What the rows of `path` are.
fn describe(format: Format, path: &Path, vocabulary: &Vocabulary) -> Result<Described> {
    let (num_tokens, sha256) = (vocabulary.len(), vocabulary.sha256());
    let columnar = |schema: &arrow_schema::Schema| {
        columnar::describe(schema, num_tokens, sha256).map_err(|problem| Error::invalid(path, problem))
    };
    let instances = |masked| Described {
        layout: Layout::new(Kind::Pretrain, num_tokens, masked),
        configuration: None,
        cased: None,
    };
    Ok(match format {
        Format::NvidiaHdf5 | Format::Tfrecord => instances(true),
        Format::LddlParquet => instances(lddl::has_masks(path)?),
        Format::Parquet => columnar(&parquet::open(path)?.0)?,
        Format::ArrowStream => columnar(&arrow_stream::open(path)?.0)?,
    })
}

/// Makes the shards that an interrupted run has not made, in parallel; returns all of them.
fn write_shards(
    format: Format,
    files: &[PathBuf],
    inputs: &[Input],
    vocabulary: &Vocabulary,
    layout: Layout,
    writer: &DatasetWriter,
    progress: Progress,
) -> Result<BTreeMap<ShardId, FinishedShard>> {
    let mut bar = progress.bytes(CHECKING, 0);
    let mut finished = writer.finished_with(|done, total| bar.set_of(done, total))?;
    drop(bar);
    let missing: Vec<usize> = (0..files.len()).filter(|&i| !finished.contains_key(&ShardId::from(i as u32))).collect();
    let bar = Mutex::new(progress.bytes("importing", missing.iter().map(|&i| inputs[i].bytes).sum()));
    let make = |i: usize| {
        let path = &files[i];
        let mut sink = Sink { input: path, shard: writer.shard(i as u32)?, row: 0, shape: Shape::default() };
        match format {
            Format::NvidiaHdf5 => hdf5::read(path, &mut sink)?,
            Format::Tfrecord => tfrecord::read(path, &mut sink)?,
            Format::LddlParquet => lddl::read(path, vocabulary, layout.has_static_masks(), &mut sink)?,
            Format::Parquet | Format::ArrowStream => read_columns(format, path, vocabulary, layout, &mut sink)?,
        }
        // The journal keeps what was seen for a run that goes on after an interruption.
        let shard = writer.finish_shard(i as u32, sink.shard, json!(sink.shape))?;
        bar.lock().expect("no holder panics").add(inputs[i].bytes);
        Ok((ShardId::from(i as u32), shard))
    };
    finished.extend(missing.into_par_iter().map(make).collect::<Result<Vec<_>>>()?);
    Ok(finished)
}

/// Our own columns; every file must have those of the first one.
fn read_columns(
    format: Format,
    path: &Path,
    vocabulary: &Vocabulary,
    layout: Layout,
    sink: &mut Sink<'_>,
) -> Result<()> {
    if describe(format, path, vocabulary)?.layout != layout {
        return Err(Error::invalid(path, "expected the columns of the first file, found others; import them apart"));
    }
    if format == Format::Parquet {
        for batch in parquet::open(path)?.1 {
            columnar::push_batch(&batch.at(path)?, layout, sink)?;
        }
    } else {
        for batch in arrow_stream::open(path)?.1 {
            columnar::push_batch(&batch?, layout, sink)?;
        }
    }
    Ok(())
}

/// What the rows of a file show of how they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    /// Length of the padded arrays, or of the longest row.
    max_seq_length: u16,
    /// Length of the padded arrays, or the most positions in a row.
    max_predictions_per_seq: u16,
    tokens: u64,
    num_masked: u64,
}

impl Shape {
    fn merge(self, other: Self) -> Self {
        Self {
            max_seq_length: self.max_seq_length.max(other.max_seq_length),
            max_predictions_per_seq: self.max_predictions_per_seq.max(other.max_predictions_per_seq),
            tokens: self.tokens + other.tokens,
            num_masked: self.num_masked + other.num_masked,
        }
    }

    /// The configuration as far as rows tell: lengths, masking, the share of masked tokens to a hundredth. The rest is
    /// BERT's for that length, or nothing: no duplicates, nothing held out, no seed.
    fn config(self, static_masks: bool) -> InstanceConfig {
        let masking = if static_masks { MaskingMode::Static } else { MaskingMode::Dynamic };
        let phase = if self.max_seq_length <= 128 { 1 } else { 2 };
        let mut config = InstanceConfig {
            max_seq_length: self.max_seq_length,
            short_seq_prob: 0.0,
            dupe_factor: 1,
            seed: 0,
            ..InstanceConfig::for_phase(phase, masking)
        };
        if static_masks {
            config.max_predictions_per_seq = self.max_predictions_per_seq;
            let share = self.num_masked as f64 / self.tokens.max(1) as f64;
            config.masked_lm_prob = ((share * 100.0).round() / 100.0).clamp(0.01, 0.99);
        }
        config.max_predictions_per_seq = config.max_predictions_per_seq.min(config.max_seq_length);
        config
    }
}

/// Takes the rows of one file into one shard.
pub(super) struct Sink<'a> {
    input: &'a Path,
    shard: ShardWriter,
    /// Number of the next row in the file.
    row: u64,
    shape: Shape,
}

impl Sink<'_> {
    /// The file being read.
    pub(super) fn input(&self) -> &Path {
        self.input
    }

    /// An error about the next row.
    pub(super) fn problem(&self, problem: impl Into<String>) -> Error {
        Error::new(self.input, ErrorKind::Row { row: self.row, problem: problem.into() })
    }

    /// Appends a row as our own columns have it.
    ///
    /// # Errors
    /// It breaks an invariant of its kind.
    pub(super) fn push(&mut self, row: Row<'_>) -> Result<()> {
        if let Row::Pretrain(row) = &row {
            let (length, num_masked) = (row.input_ids.len(), row.masked.map_or(0, |m| m.positions.len()));
            self.observe(length, num_masked);
            self.shape.tokens += length as u64;
            self.shape.num_masked += num_masked as u64;
        }
        self.shard.push(row).map_err(|e| match e.kind() {
            // The writer names the unfinished shard; people need to know what they gave.
            ErrorKind::Row { problem, .. } => self.problem(problem.clone()),
            _ => e,
        })?;
        self.row += 1;
        Ok(())
    }

    /// Appends an instance with masks applied, whose labels restore the clean text.
    pub(super) fn push_instance(&mut self, instance: &mut Instance, has_masks: bool) -> Result<()> {
        if has_masks && instance.masked_lm_positions.is_empty() {
            return Err(self.problem("expected positions to predict, found none"));
        }
        instance.restore().map_err(|problem| self.problem(problem))?;
        let Instance { input_ids, segment_a_length, is_random_next, masked_lm_positions, masked_lm_ids } = &*instance;
        let masked = has_masks.then(|| StaticMask { positions: masked_lm_positions, inputs: masked_lm_ids.into() });
        self.push(Row::Pretrain(PretrainRow {
            input_ids: input_ids.into(),
            segment_a_length: *segment_a_length,
            next_sentence_label: *is_random_next,
            masked,
        }))
    }

    /// Appends a row of padded arrays.
    pub(super) fn push_padded(&mut self, row: &mut PaddedRow) -> Result<()> {
        self.observe(row.padded.0, row.padded.1);
        self.push_instance(&mut row.instance, true)
    }

    fn observe(&mut self, max_seq_length: usize, max_predictions_per_seq: usize) {
        let clamp = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        self.shape.max_seq_length = self.shape.max_seq_length.max(clamp(max_seq_length));
        self.shape.max_predictions_per_seq = self.shape.max_predictions_per_seq.max(clamp(max_predictions_per_seq));
    }
}

/// An instance from arrays padded with zeros.
#[derive(Debug, Default)]
pub(super) struct PaddedRow {
    pub instance: Instance,
    /// Lengths of the arrays: tokens, positions to predict.
    padded: (usize, usize),
}

impl PaddedRow {
    /// Takes `[input_ids, input_mask, segment_ids]`, each `[S]`, `[masked_lm_positions, masked_lm_ids]`, each `[P]`, and
    /// the next sentence label.
    ///
    /// # Errors
    /// Arrays that contradict each other; the text says what was expected and found.
    pub(super) fn set(
        &mut self,
        tokens: [&[i64]; 3],
        masked: [&[i64]; 2],
        label: i64,
    ) -> std::result::Result<(), String> {
        let [input_ids, input_mask, segment_ids] = tokens;
        let [positions, ids] = masked;
        if input_mask.len() != input_ids.len() || segment_ids.len() != input_ids.len() || ids.len() != positions.len() {
            let found = [input_ids.len(), input_mask.len(), segment_ids.len(), positions.len(), ids.len()];
            return Err(format!("expected arrays of the same length (three of S, two of P), found {found:?}"));
        }
        self.padded = (input_ids.len(), positions.len());
        let length = ones_first(input_mask).ok_or("expected an input_mask of ones, then zeros")?;
        let b = segment_ids[..length].iter().position(|&segment| segment != 0).unwrap_or(length);
        if segment_ids[b..length].iter().any(|&segment| segment != 1) {
            return Err("expected segment_ids of zeros, then ones, up to the padding".to_owned());
        }
        if !(0..=1).contains(&label) {
            return Err(format!("expected a next_sentence_label of 0 or 1, found {label}"));
        }
        // Position 0 is [CLS] and never predicted: it is padding.
        let num_masked = positions.iter().position(|&position| position == 0).unwrap_or(positions.len());
        let id = |&id: &i64| u32::try_from(id).map_err(|_| format!("expected token ids of at least 0, found {id}"));
        let position = |&position: &i64| {
            u16::try_from(position)
                .map_err(|_| format!("expected masked_lm_positions below {length}, found {position}"))
        };
        let instance = &mut self.instance;
        instance.input_ids = input_ids[..length].iter().map(id).collect::<std::result::Result<_, _>>()?;
        instance.masked_lm_ids = ids[..num_masked].iter().map(id).collect::<std::result::Result<_, _>>()?;
        instance.masked_lm_positions =
            positions[..num_masked].iter().map(position).collect::<std::result::Result<_, _>>()?;
        instance.segment_a_length =
            u16::try_from(b).map_err(|_| format!("expected less than 65536 tokens, found {b}"))?;
        instance.is_random_next = label == 1;
        Ok(())
    }
}

/// How many ones precede the zeros.
fn ones_first(mask: &[i64]) -> Option<usize> {
    let ones = mask.iter().position(|&m| m != 1).unwrap_or(mask.len());
    mask[ones..].iter().all(|&m| m == 0).then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_taken_off() {
        let mut row = PaddedRow::default();
        let tokens: [&[i64]; 3] = [&[2, 10, 3, 4, 3, 0], &[1, 1, 1, 1, 1, 0], &[0, 0, 0, 1, 1, 0]];
        row.set(tokens, [&[3, 0], &[11, 0]], 1).unwrap();
        assert_eq!(row.padded, (6, 2));
        assert_eq!((row.instance.input_ids.as_slice(), row.instance.segment_a_length), (&[2, 10, 3, 4, 3][..], 3));
        assert_eq!(
            (row.instance.masked_lm_positions.as_slice(), row.instance.masked_lm_ids.as_slice()),
            (&[3][..], &[11][..])
        );
        assert!(row.instance.is_random_next);
    }

    #[test]
    fn arrays_that_contradict_each_other_are_refused() {
        let refuse = |tokens: [&[i64]; 3], masked: [&[i64]; 2], label| {
            PaddedRow::default().set(tokens, masked, label).unwrap_err()
        };
        let (ids, mask, segments): (&[i64], &[i64], &[i64]) = (&[2, 9, 3, 9, 3], &[1; 5], &[0, 0, 0, 1, 1]);
        let masked: [&[i64]; 2] = [&[1], &[9]];
        assert_eq!(refuse([ids, &[1, 0, 1, 1, 1], segments], masked, 0), "expected an input_mask of ones, then zeros");
        assert!(
            refuse([ids, mask, &[0, 1, 0, 1, 1]], masked, 0).starts_with("expected segment_ids of zeros, then ones")
        );
        assert_eq!(refuse([ids, mask, segments], masked, 2), "expected a next_sentence_label of 0 or 1, found 2");
        assert!(refuse([ids, &[1], segments], masked, 0).contains("found [5, 1, 5, 1, 1]"));
        let negative: &[i64] = &[2, -9, 3, 9, 3];
        assert_eq!(refuse([negative, mask, segments], masked, 0), "expected token ids of at least 0, found -9");
        assert!(refuse([ids, mask, segments], [&[70_000], &[9]], 0).ends_with("found 70000"));
    }

    #[test]
    fn the_configuration_is_what_the_rows_show() {
        let shape = Shape { max_seq_length: 512, max_predictions_per_seq: 80, tokens: 10_000, num_masked: 1_483 };
        let config = shape.config(true);
        assert_eq!((config.max_seq_length, config.max_predictions_per_seq), (512, 80));
        assert_eq!((config.masking, config.masked_lm_prob), (MaskingMode::Static, 0.15));
        let config = Shape { max_seq_length: 100, ..Shape::default() }.config(false);
        assert_eq!((config.masking, config.max_predictions_per_seq), (MaskingMode::Dynamic, 20));
        assert_eq!(config.validate(), Ok(()));
    }
}
