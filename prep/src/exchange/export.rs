//! A dataset to the files of another tool.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cloze_formats::config::InstanceConfig;
use cloze_formats::dataset::EXAMPLES;
use cloze_formats::masking::{Masker, MaskingConfig};
use cloze_formats::{Dataset, ErrorKind, Kind};
use rayon::prelude::*;
use serde::Serialize;

use super::instance::{Instance, Instances, Masks};
use super::output::Output;
use super::{Format, arrow_stream, columnar, hdf5, lddl, parquet, tfrecord};
use crate::error::{AtPath, Error, Result};
use crate::progress::{Bar, Progress};

/// What to export, and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The format.
    pub format: Format,
    /// Files to write, balanced to one row; `None` writes one per shard. Not for a single output file.
    pub num_files: Option<u32>,
    /// LDDL: tokens per length bin; `None` does not bin.
    pub bin_size: Option<u16>,
    /// Where the dataset has no masks and the format needs them: they are drawn as a trainer with this seed does ...
    pub seed: u64,
    /// ... in this epoch.
    pub epoch: u64,
}

/// What was exported.
#[derive(Clone, Debug, Serialize)]
pub struct ExportSummary {
    /// File or directory.
    pub output: PathBuf,
    /// Its format.
    pub format: Format,
    /// Rows, each once.
    pub rows: u64,
    /// Files with rows.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Whether masks were drawn for the export, because the dataset has none.
    pub masks_drawn: bool,
    /// What the other tool may trip over.
    pub warnings: Vec<String>,
}

/// The rows of one file.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub rows: Range<u64>,
    pub name: String,
}

/// The lengths of padded arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Padded {
    /// S: tokens.
    pub max_seq_length: usize,
    /// P: positions to predict.
    pub max_predictions_per_seq: usize,
}

impl Padded {
    /// Refuses an instance that the arrays cannot hold.
    pub(super) fn check(self, instance: &Instance) -> std::result::Result<(), ErrorKind> {
        let (length, num_masked) = (instance.input_ids.len(), instance.masked_lm_positions.len());
        let problem = if length > self.max_seq_length {
            format!("expected at most {} tokens, found {length}", self.max_seq_length)
        } else if num_masked > self.max_predictions_per_seq {
            format!("expected at most {} positions to predict, found {num_masked}", self.max_predictions_per_seq)
        } else {
            return Ok(());
        };
        Err(ErrorKind::Invalid(problem))
    }
}

/// Takes instances one by one into a file.
pub(super) trait InstanceWriter {
    /// Appends an instance; the error says what about it does not fit the format.
    fn push(&mut self, instance: &Instance) -> std::result::Result<(), ErrorKind>;

    /// Writes what is left.
    fn finish(self) -> std::result::Result<(), ErrorKind>;
}

/// Everything an export needs to know, and the bar that shows how far it is.
pub(super) struct Job<'a> {
    pub dataset: &'a Dataset,
    pub output: &'a Output,
    pub config: Option<InstanceConfig>,
    masks: Masks,
    bar: Mutex<Bar>,
}

/// Writes the rows of `dataset` in `options.format` to `out`: a single file where `out` bears the format's extension, a
/// directory of files otherwise. The bytes do not depend on the number of threads.
///
/// # Errors
/// A format that cannot hold this kind of dataset, an output that exists, rows that do not fit, or a damaged shard.
/// Nothing is left of a failed export.
///
/// # Memory usage
/// Per thread and file a batch of rows or, for Parquet, a row group.
pub fn export(dataset: &Dataset, options: &ExportOptions, out: &Path, progress: Progress) -> Result<ExportSummary> {
    let format = options.format;
    check(dataset, options)?;
    let single = is_single_file(dataset, options, out)?;
    let config = config(dataset)?;
    let has_masks = dataset.manifest().columns.has_static_masks();
    let draws = matches!(format, Format::NvidiaHdf5 | Format::Tfrecord) && !has_masks;
    let masks = if draws { Masks::Drawn { seed: options.seed, epoch: options.epoch } } else { Masks::Own };
    let output = Output::create(out, single)?;
    let bar = Mutex::new(progress.count("exporting", dataset.len()));
    let job = Job { dataset, output: &output, config, masks, bar };
    let parts = parts(dataset, options, single);
    let (files, warnings) = write_parts(&job, &parts, options, single)?;
    if !single && dataset.manifest().kind == Kind::Squad {
        let examples = dataset.dir().join(EXAMPLES);
        std::fs::copy(&examples, output.path(EXAMPLES)).at(&examples)?;
    }
    drop(job);
    let bytes = output.publish()?;
    let rows = dataset.len();
    Ok(ExportSummary { output: out.to_owned(), format, rows, files, bytes, masks_drawn: draws, warnings })
}

/// Writes the files; returns their number and what the other tool may trip over.
fn write_parts(job: &Job<'_>, parts: &[Part], options: &ExportOptions, single: bool) -> Result<(usize, Vec<String>)> {
    match options.format {
        Format::LddlParquet => return lddl::export(job, parts, options.bin_size, single),
        Format::NvidiaHdf5 => {
            let padded = job.padded();
            job.each(parts, |part, path| {
                let rows = part.rows.end - part.rows.start;
                job.instances(part, path, hdf5::HdfWriter::create(path, rows, padded).at(path)?)
            })?;
        }
        Format::Tfrecord => {
            let padded = job.padded();
            job.each(parts, |part, path| {
                job.instances(part, path, tfrecord::TfrecordWriter::create(path, padded).at(path)?)
            })?;
        }
        Format::Parquet => job.each(parts, |part, path| {
            let schema = columnar::schema(job.dataset);
            columnar::write(job, part, parquet::Writer::create(path, schema.clone()).at(path)?, schema, path)
        })?,
        Format::ArrowStream => {
            job.each(parts, |part, path| {
                let schema = columnar::schema(job.dataset);
                columnar::write(job, part, arrow_stream::Writer::create(path, &schema).at(path)?, schema, path)
            })?;
            arrow_stream::describe(job.dataset, parts, job.output)?;
        }
    }
    Ok((parts.len(), Vec::new()))
}

fn check(dataset: &Dataset, options: &ExportOptions) -> Result<()> {
    let (format, found) = (options.format, dataset.manifest().kind);
    if format.is_pretrain_only() && found != Kind::Pretrain {
        return Err(Error::new(dataset.dir(), ErrorKind::WrongKind { expected: Kind::Pretrain, found }));
    }
    if dataset.is_empty() {
        return Err(Error::invalid(dataset.dir(), "expected rows to export, found none"));
    }
    if let Some(files) = options.num_files
        && (files == 0 || u64::from(files) > dataset.len())
    {
        let problem = format!("expected 1 to {} files, one per row at most, found {files} asked for", dataset.len());
        return Err(Error::invalid(dataset.dir(), problem));
    }
    if options.bin_size.is_some() && format != Format::LddlParquet {
        let problem = format!("length bins are LDDL's: expected lddl-parquet with a bin size, found {}", format.name());
        return Err(Error::invalid(dataset.dir(), problem));
    }
    Ok(())
}

/// Whether `out` names a file of the format rather than a directory.
fn is_single_file(dataset: &Dataset, options: &ExportOptions, out: &Path) -> Result<bool> {
    let extension = out.extension().unwrap_or_default().to_string_lossy();
    if !options.format.extensions().contains(&&*extension) {
        return Ok(false);
    }
    let needs_directory = match options.format {
        Format::ArrowStream => Some("`datasets` opens a directory"),
        _ if dataset.manifest().kind == Kind::Squad => Some("examples.jsonl goes beside the rows"),
        _ if options.bin_size.is_some() => Some("there is a file per length bin"),
        _ if options.num_files.is_some_and(|n| n != 1) => Some("several files were asked for"),
        _ => None,
    };
    match needs_directory {
        None => Ok(true),
        Some(why) => {
            Err(Error::invalid(out, format!("expected a directory, found a name that ends in .{extension}; {why}")))
        }
    }
}

/// The configuration of a pretrain dataset.
fn config(dataset: &Dataset) -> Result<Option<InstanceConfig>> {
    if dataset.manifest().kind != Kind::Pretrain {
        return Ok(None);
    }
    let config = serde_json::from_value(dataset.manifest().configuration.clone());
    config.map(Some).map_err(|e| Error::invalid(dataset.dir(), format!("the configuration cannot be read: {e}")))
}

/// Which rows go to which file; no file is empty.
fn parts(dataset: &Dataset, options: &ExportOptions, single: bool) -> Vec<Part> {
    let shards: Vec<u64> = dataset.manifest().shards.iter().map(|s| s.rows).filter(|&rows| rows > 0).collect();
    let count = if single { 1 } else { options.num_files.map_or(shards.len(), |n| n as usize) };
    // LDDL's loader wants files that differ by at most one row.
    let balanced = options.num_files.is_some() || single || options.format == Format::LddlParquet;
    let mut start = 0;
    let mut part = |i: usize| {
        let end = if balanced { split(dataset.len(), count, i + 1) } else { start + shards[i] };
        let rows = std::mem::replace(&mut start, end)..end;
        let extension = options.format.extensions()[0];
        let name = match options.format {
            Format::LddlParquet => format!("shard-{i}.{extension}"),
            Format::ArrowStream => format!("data-{i:05}-of-{count:05}.{extension}"),
            _ => format!("shard-{i:05}-of-{count:05}.{extension}"),
        };
        Part { rows, name }
    };
    (0..count).map(&mut part).collect()
}

/// First of `n` rows that part `i` of `count` has; parts differ by at most one row.
pub(super) fn split(n: u64, count: usize, i: usize) -> u64 {
    (u128::from(n) * i as u128 / count as u128) as u64
}

impl Job<'_> {
    /// Makes every part, in parallel.
    pub(super) fn each(&self, parts: &[Part], make: impl Fn(&Part, &Path) -> Result<()> + Sync) -> Result<()> {
        parts.par_iter().try_for_each(|part| make(part, &self.output.path(&part.name)))
    }

    /// Moves the bar on.
    pub(super) fn add(&self, rows: u64) {
        self.bar.lock().expect("no holder panics").add(rows);
    }

    /// A reader of the dataset's instances.
    pub(super) fn reader(&self) -> Instances<'_> {
        let masking = self.config.as_ref().map_or_else(MaskingConfig::default, InstanceConfig::masking_config);
        Instances::new(self.dataset, self.masks, Masker::new(masking, self.dataset.vocabulary()))
    }

    /// Feeds the instances of `part` to `writer`.
    fn instances(&self, part: &Part, path: &Path, mut writer: impl InstanceWriter) -> Result<()> {
        let mut reader = self.reader();
        for row in part.rows.clone() {
            self.push(&mut writer, reader.read(row)?, row, path)?;
            if row % 1024 == 1023 {
                self.add(1024);
            }
        }
        writer.finish().at(path)
    }

    /// Appends the instance of `row`, which the error names.
    pub(super) fn push(
        &self,
        writer: &mut impl InstanceWriter,
        instance: &Instance,
        row: u64,
        path: &Path,
    ) -> Result<()> {
        writer.push(instance).map_err(|kind| match kind {
            ErrorKind::Invalid(problem) => Error::new(self.dataset.dir(), ErrorKind::Row { row, problem }),
            other => Error::new(path, other),
        })
    }

    /// The lengths that hold every row.
    fn padded(&self) -> Padded {
        let config = self.config.as_ref().expect("padded formats are for pretrain datasets, which `check` sees to");
        Padded {
            max_seq_length: usize::from(config.max_seq_length).max(self.dataset.longest_row()),
            max_predictions_per_seq: config.max_predictions_per_seq.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_by_at_most_one_row() {
        for (n, count) in [(10, 3), (7, 7), (1_000_001, 128)] {
            let sizes: Vec<u64> = (0..count).map(|i| split(n, count, i + 1) - split(n, count, i)).collect();
            assert_eq!(sizes.iter().sum::<u64>(), n);
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }
}
