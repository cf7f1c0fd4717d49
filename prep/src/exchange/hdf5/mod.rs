//! HDF5 files as NVIDIA's create_pretraining_data.py writes them: six padded arrays, gzip level 4.
//!
//! Read with `hdf5-pure`. Written by [`file`], since that crate holds a whole file of two-dimensional arrays in memory
//! before it writes it (0.47: appending is for one dimension), and a shard of long instances has gigabytes.

mod file;

use std::path::Path;

use cloze_formats::ErrorKind;
use hdf5_pure::File;

use self::file::{Array, ArrayFile};
use super::export::{InstanceWriter, Padded};
use super::import::{PaddedRow, Sink};
use super::instance::Instance;
use crate::error::{Error, Result};

/// The arrays, in the order of [`HdfWriter`]'s.
const INPUT_IDS: &str = "input_ids";
const INPUT_MASK: &str = "input_mask";
const SEGMENT_IDS: &str = "segment_ids";
const POSITIONS: &str = "masked_lm_positions";
const LABELS: &str = "masked_lm_ids";
const NEXT_SENTENCE: &str = "next_sentence_labels";

/// Values of an array that are read at once.
const WINDOW_VALUES: u64 = 1 << 19;

/// An HDF5 file being written.
pub(super) struct HdfWriter {
    file: ArrayFile,
    padded: Padded,
    row: Vec<u8>,
}

impl HdfWriter {
    /// A file of `rows` instances.
    pub(super) fn create(path: &Path, rows: u64, padded: Padded) -> std::io::Result<Self> {
        let (s, p) = (Some(padded.max_seq_length as u32), Some(padded.max_predictions_per_seq as u32));
        let array = |name, bytes_per_value, values_per_row| Array { name, bytes_per_value, rows, values_per_row };
        let arrays = [
            array(INPUT_IDS, 4, s),
            array(INPUT_MASK, 1, s),
            array(SEGMENT_IDS, 1, s),
            array(POSITIONS, 4, p),
            array(LABELS, 4, p),
            array(NEXT_SENTENCE, 1, None),
        ];
        Ok(Self { file: ArrayFile::create(path, &arrays)?, padded, row: Vec::new() })
    }

    /// Appends a row of `length` four-byte values, padded with zeros.
    fn wide(&mut self, array: usize, values: impl Iterator<Item = u32>, length: usize) -> std::io::Result<()> {
        self.row.clear();
        values.for_each(|value| self.row.extend(value.to_le_bytes()));
        self.row.resize(length * 4, 0);
        self.file.append(array, &self.row)
    }

    /// Appends a row of `length` bytes: ones at `ones`, zeros elsewhere.
    fn flags(&mut self, array: usize, ones: std::ops::Range<usize>, length: usize) -> std::io::Result<()> {
        self.row.clear();
        self.row.resize(length, 0);
        self.row[ones].fill(1);
        self.file.append(array, &self.row)
    }
}

impl InstanceWriter for HdfWriter {
    fn push(&mut self, instance: &Instance) -> std::result::Result<(), ErrorKind> {
        self.padded.check(instance)?;
        let Padded { max_seq_length, max_predictions_per_seq } = self.padded;
        let (length, a) = (instance.input_ids.len(), usize::from(instance.segment_a_length));
        self.wide(0, instance.input_ids.iter().copied(), max_seq_length)?;
        self.flags(1, 0..length, max_seq_length)?;
        self.flags(2, a..length, max_seq_length)?;
        self.wide(3, instance.masked_lm_positions.iter().map(|&p| p.into()), max_predictions_per_seq)?;
        self.wide(4, instance.masked_lm_ids.iter().copied(), max_predictions_per_seq)?;
        self.file.append(5, &[instance.is_random_next.into()])?;
        Ok(())
    }

    fn finish(self) -> std::result::Result<(), ErrorKind> {
        Ok(self.file.finish()?)
    }
}

/// Appends every row of the file at `path`.
///
/// # Errors
/// Not an HDF5 file, an array that is missing or of another shape, or a row that is no instance; names file and row.
pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<()> {
    let hdf5 = |e: hdf5_pure::Error| Error::invalid(path, format!("expected an HDF5 file of NVIDIA's arrays: {e}"));
    let file = File::open_streaming(path).map_err(hdf5)?;
    let open = |name: &str| {
        let dataset =
            file.dataset(name).map_err(|_| Error::invalid(path, format!("expected an array {name}, found none")));
        dataset.and_then(|d| d.shape().map_err(hdf5).map(|shape| (d, shape)))
    };
    let names = [INPUT_IDS, INPUT_MASK, SEGMENT_IDS, POSITIONS, LABELS, NEXT_SENTENCE];
    let arrays = names.into_iter().map(open).collect::<Result<Vec<_>>>()?;
    let (rows, s) = match *arrays[0].1 {
        [rows, s] => (rows, s),
        ref other => return Err(Error::invalid(path, format!("expected input_ids of shape [N, S], found {other:?}"))),
    };
    let p = arrays[3].1.get(1).copied().unwrap_or(0);
    let expected = [vec![rows, s], vec![rows, s], vec![rows, s], vec![rows, p], vec![rows, p], vec![rows]];
    for ((name, (_, found)), expected) in names.iter().zip(&arrays).zip(&expected) {
        if found != expected {
            return Err(Error::invalid(path, format!("expected {name} of shape {expected:?}, found {found:?}")));
        }
    }
    let window = (WINDOW_VALUES / s.max(1)).max(1);
    let mut row = PaddedRow::default();
    for start in (0..rows).step_by(window as usize) {
        let count = window.min(rows - start);
        let read = |(dataset, _): &(hdf5_pure::Dataset, _)| dataset.read_i64_rows(start, count).map_err(hdf5);
        let values = arrays.iter().map(read).collect::<Result<Vec<_>>>()?;
        for i in 0..count as usize {
            let of = |array: usize, width: u64| {
                let width = width as usize;
                &values[array][i * width..(i + 1) * width]
            };
            row.set([of(0, s), of(1, s), of(2, s)], [of(3, p), of(4, p)], values[5][i])
                .map_err(|problem| sink.problem(problem))?;
            sink.push_padded(&mut row)?;
        }
    }
    Ok(())
}
