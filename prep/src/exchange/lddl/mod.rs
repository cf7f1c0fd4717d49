//! LDDL's Parquet files: segments as strings of tokens, balanced files, optionally in bins of length.
//!
//! Source: NVIDIA/LDDL, lddl/dask/bert/pretrain.py and binning.py, lddl/dask/load_balance.py, lddl/torch/datasets.py. Its
//! loader takes A and B with masks applied, and positions that count `[CLS]` and the first `[SEP]`.

mod npy;
mod read;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray, UInt16Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cloze_formats::{Dataset, ErrorKind, Vocabulary};
use rayon::prelude::*;

pub(super) use self::read::{has_masks, read};
use super::columnar::BatchWriter;
use super::export::{InstanceWriter, Job, Part, split};
use super::instance::Instance;
use super::parquet;
use crate::error::{AtPath, Error, Result};

/// Rows of a record batch.
const BATCH_ROWS: usize = 8_192;
/// Beside the files: rows of each, so that the loader need not open them.
const NUM_SAMPLES: &str = ".num_samples.json";

/// Writes the files of `parts`, or for each length bin as many files. Returns the number of files, and
/// what LDDL's loader will not take.
pub(super) fn export(
    job: &Job<'_>,
    parts: &[Part],
    bin_size: Option<u16>,
    single: bool,
) -> Result<(usize, Vec<String>)> {
    check_vocabulary(job.dataset)?;
    let rows = match bin_size {
        None => {
            job.each(parts, |part, path| {
                let mut bin = Bin::new(job, None, vec![(part.name.clone(), part.rows.end - part.rows.start)]);
                bin.write(part.rows.clone(), path)
            })?;
            parts.iter().map(|part| (part.name.clone(), part.rows.end - part.rows.start)).collect()
        }
        Some(bin_size) => export_bins(job, parts.len(), u64::from(bin_size).max(1))?,
    };
    if !single {
        let path = job.output.path(NUM_SAMPLES);
        let json = serde_json::to_vec(&rows).map_err(std::io::Error::other).at(&path)?;
        std::fs::write(&path, json).at(&path)?;
    }
    Ok((rows.len(), unbalanced(&rows)))
}

/// LDDL separates tokens by white space.
fn check_vocabulary(dataset: &Dataset) -> Result<()> {
    let tokens = dataset.vocabulary().tokens();
    match tokens.iter().position(|token| token.contains(char::is_whitespace)) {
        None => Ok(()),
        Some(id) => {
            let problem = format!("expected a vocabulary without white space in tokens, found some in token {id}");
            Err(Error::invalid(dataset.dir(), problem))
        }
    }
}

/// The loader asserts that the largest file of a bin has exactly one row more than the smallest.
fn unbalanced(rows: &BTreeMap<String, u64>) -> Vec<String> {
    let mut bins: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, &n) in rows {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let (least, most) = bins.entry(extension).or_insert((n, n));
        (*least, *most) = (n.min(*least), n.max(*most));
    }
    let equal: Vec<&str> = bins.iter().filter(|(_, (least, most))| least == most).map(|(bin, _)| *bin).collect();
    if equal.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "LDDL's loader asserts that the files of a bin differ by one row, and all of .{} have the same number: \
         take another --num-files",
        equal.join(", .")
    )]
}

/// Rows of each bin are dealt to `num_files` files of it, in order.
fn export_bins(job: &Job<'_>, num_files: usize, bin_size: u64) -> Result<BTreeMap<String, u64>> {
    let mut counts = Vec::new();
    for row in 0..job.dataset.len() {
        let bin = bin_of(job.dataset.row_length(row)?, bin_size);
        if counts.len() <= bin {
            counts.resize(bin + 1, 0u64);
        }
        counts[bin] += 1;
    }
    if let Some(bin) = counts.iter().position(|&n| n < num_files as u64) {
        let (low, high) = (bin as u64 * bin_size + 1, (bin as u64 + 1) * bin_size);
        let problem = format!(
            "expected at least a row per file in each bin, found {} of {low} to {high} tokens for {num_files} files; \
             take wider bins or fewer files",
            counts[bin]
        );
        return Err(Error::invalid(job.dataset.dir(), problem));
    }
    let bins: Vec<Vec<(String, u64)>> = counts
        .iter()
        .enumerate()
        .map(|(bin, &n)| {
            let rows = |i| split(n, num_files, i + 1) - split(n, num_files, i);
            (0..num_files).map(|i| (format!("shard-{i}.parquet_{bin}"), rows(i))).collect()
        })
        .collect();
    bins.par_iter().enumerate().try_for_each(|(bin, files)| {
        let path = job.output.path(&files[0].0);
        Bin::new(job, Some((bin, bin_size)), files.clone()).write(0..job.dataset.len(), &path)
    })?;
    Ok(bins.into_iter().flatten().collect())
}

fn bin_of(length: usize, bin_size: u64) -> usize {
    ((length as u64).saturating_sub(1) / bin_size) as usize
}

/// Files that are written one after the other from rows in order.
struct Bin<'a> {
    job: &'a Job<'a>,
    /// Number and size of the bin, whose rows alone are taken.
    bin: Option<(usize, u64)>,
    /// Names and rows.
    files: Vec<(String, u64)>,
}

impl<'a> Bin<'a> {
    fn new(job: &'a Job<'a>, bin: Option<(usize, u64)>, files: Vec<(String, u64)>) -> Self {
        Self { job, bin, files }
    }

    /// `first` is the path of the first file; the others lie beside it.
    fn write(&mut self, rows: std::ops::Range<u64>, first: &Path) -> Result<()> {
        let dataset = self.job.dataset;
        let mut reader = self.job.reader();
        let mut files = self.files.iter();
        let mut current: Option<(LddlWriter<'_>, u64, std::path::PathBuf)> = None;
        for row in rows {
            if self.bin.is_some_and(|(bin, bin_size)| {
                dataset.row_length(row).is_ok_and(|length| bin_of(length, bin_size) != bin)
            }) {
                continue;
            }
            let (writer, left, path) = match &mut current {
                Some(current) => current,
                None => {
                    let (name, left) = files.next().expect("rows were counted before");
                    let path = if name == &self.files[0].0 { first.to_owned() } else { first.with_file_name(name) };
                    let writer = LddlWriter::create(&path, dataset, self.bin.map(|b| b.0 as i64)).at(&path)?;
                    current.insert((writer, *left, path))
                }
            };
            self.job.push(writer, reader.read(row)?, row, path)?;
            *left -= 1;
            if *left == 0 {
                let (writer, _, path) = current.take().expect("a file is open");
                self.job.add(writer.rows);
                writer.finish().at(path)?;
            }
        }
        Ok(())
    }
}

/// A file of LDDL's being written.
struct LddlWriter<'a> {
    file: parquet::Writer,
    vocabulary: &'a Vocabulary,
    schema: SchemaRef,
    masked: bool,
    bin: Option<i64>,
    rows: u64,
    batch: Batch,
}

/// Columns of the record batch being filled.
#[derive(Default)]
struct Batch {
    a: Vec<String>,
    b: Vec<String>,
    is_random_next: Vec<bool>,
    num_tokens: Vec<u16>,
    positions: Vec<Vec<u8>>,
    labels: Vec<String>,
}

impl<'a> LddlWriter<'a> {
    fn create(path: &Path, dataset: &'a Dataset, bin: Option<i64>) -> std::result::Result<Self, ErrorKind> {
        let masked = dataset.manifest().columns.has_static_masks();
        let mut fields = vec![
            Field::new("A", DataType::Utf8, true),
            Field::new("B", DataType::Utf8, true),
            Field::new("is_random_next", DataType::Boolean, true),
            Field::new("num_tokens", DataType::UInt16, true),
        ];
        if masked {
            fields.push(Field::new("masked_lm_positions", DataType::Binary, true));
            fields.push(Field::new("masked_lm_labels", DataType::Utf8, true));
        }
        if bin.is_some() {
            fields.push(Field::new("bin_id", DataType::Int64, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let file = parquet::Writer::create(path, schema.clone())?;
        Ok(Self { file, vocabulary: dataset.vocabulary(), schema, masked, bin, rows: 0, batch: Batch::default() })
    }

    fn text(&self, ids: &[u32]) -> std::result::Result<String, ErrorKind> {
        let mut text = String::new();
        for &id in ids {
            let token = self.vocabulary.token(id);
            let token =
                token.ok_or_else(|| ErrorKind::Invalid(format!("expected ids of the vocabulary, found {id}")))?;
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(token);
        }
        Ok(text)
    }

    fn flush(&mut self) -> std::result::Result<(), ErrorKind> {
        let Batch { a, b, is_random_next, num_tokens, positions, labels } = std::mem::take(&mut self.batch);
        let rows = a.len();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(a)),
            Arc::new(StringArray::from_iter_values(b)),
            Arc::new(BooleanArray::from(is_random_next)),
            Arc::new(UInt16Array::from(num_tokens)),
        ];
        if self.masked {
            columns.push(Arc::new(BinaryArray::from_iter_values(positions)));
            columns.push(Arc::new(StringArray::from_iter_values(labels)));
        }
        if let Some(bin) = self.bin {
            columns.push(Arc::new(Int64Array::from(vec![bin; rows])));
        }
        self.file.write(&RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

impl InstanceWriter for LddlWriter<'_> {
    fn push(&mut self, instance: &Instance) -> std::result::Result<(), ErrorKind> {
        let (length, a) = (instance.input_ids.len(), usize::from(instance.segment_a_length));
        let segment_a = self.text(&instance.input_ids[1..a - 1])?;
        let segment_b = self.text(&instance.input_ids[a..length - 1])?;
        let labels = self.text(&instance.masked_lm_ids)?;
        self.batch.a.push(segment_a);
        self.batch.b.push(segment_b);
        self.batch.is_random_next.push(instance.is_random_next);
        self.batch.num_tokens.push(length as u16);
        if self.masked {
            self.batch.positions.push(npy::write(&instance.masked_lm_positions));
            self.batch.labels.push(labels);
        }
        self.rows += 1;
        if self.batch.a.len() == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn finish(mut self) -> std::result::Result<(), ErrorKind> {
        self.flush()?;
        self.file.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_end_at_multiples_of_their_size() {
        assert_eq!([1, 5, 64, 65, 128].map(|n| bin_of(n, 64)), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn perfectly_balanced_files_are_warned_of() {
        let rows = |n: [u64; 3]| {
            let names = ["shard-0.parquet_0", "shard-1.parquet_0", "shard-0.parquet_1"];
            names.map(str::to_owned).into_iter().zip(n).collect::<BTreeMap<_, _>>()
        };
        assert!(unbalanced(&rows([3, 4, 9]))[0].contains("all of .parquet_1 have"));
        let mut fine = rows([3, 4, 9]);
        fine.insert("shard-1.parquet_1".to_owned(), 10);
        assert!(unbalanced(&fine).is_empty());
    }
}
