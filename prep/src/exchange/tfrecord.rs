//! TFRecord files of padded instances, as Google's create_pretraining_data.py writes them.
//!
//! Source: the features of google-research/bert, the framing of tensorflow/core/lib/io/record_writer.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use cloze_formats::ErrorKind;
use cloze_formats::checksum::Crc32c;

use super::example::{ExampleBuilder, integer_lists};
use super::export::{InstanceWriter, Padded};
use super::import::{PaddedRow, Sink};
use super::instance::Instance;
use crate::error::{AtPath, Result};

/// A record longer than this is a damaged length: an instance of 65,535 tokens has less.
const LONGEST_RECORD: u64 = 16 << 20;

/// Rotated and offset, so that checksums of data that holds checksums stay good.
fn masked_crc(bytes: &[u8]) -> u32 {
    Crc32c::of(bytes).0.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A TFRecord file being written.
pub(super) struct TfrecordWriter {
    file: BufWriter<File>,
    padded: Padded,
    example: ExampleBuilder,
}

impl TfrecordWriter {
    pub(super) fn create(path: &Path, padded: Padded) -> std::io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        Ok(Self { file, padded, example: ExampleBuilder::default() })
    }
}

impl InstanceWriter for TfrecordWriter {
    fn push(&mut self, instance: &Instance) -> std::result::Result<(), ErrorKind> {
        let Padded { max_seq_length, max_predictions_per_seq } = self.padded;
        let (length, num_masked) = (instance.input_ids.len(), instance.masked_lm_ids.len());
        self.padded.check(instance)?;
        let a = usize::from(instance.segment_a_length);
        let pad = |values: &[u32], to: usize| {
            let padding = std::iter::repeat_n(0, to - values.len());
            values.iter().map(|&id| u64::from(id)).chain(padding).collect::<Vec<_>>().into_iter()
        };
        let positions: Vec<u32> = instance.masked_lm_positions.iter().map(|&p| p.into()).collect();
        let example = &mut self.example;
        example.clear();
        example.integers("input_ids", pad(&instance.input_ids, max_seq_length));
        example.integers("input_mask", (0..max_seq_length).map(|i| u64::from(i < length)));
        example.integers("segment_ids", (0..max_seq_length).map(|i| u64::from(i >= a && i < length)));
        example.integers("masked_lm_positions", pad(&positions, max_predictions_per_seq));
        example.integers("masked_lm_ids", pad(&instance.masked_lm_ids, max_predictions_per_seq));
        let weights = (0..max_predictions_per_seq).map(|i| if i < num_masked { 1.0 } else { 0.0 });
        example.floats("masked_lm_weights", weights);
        example.integers("next_sentence_labels", std::iter::once(instance.is_random_next.into()));
        let data = example.bytes();
        let length = (data.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked_crc(&length).to_le_bytes())?;
        self.file.write_all(&data)?;
        self.file.write_all(&masked_crc(&data).to_le_bytes())?;
        Ok(())
    }

    fn finish(mut self) -> std::result::Result<(), ErrorKind> {
        Ok(self.file.flush()?)
    }
}

/// Appends every record of the file at `path`.
///
/// # Errors
/// A damaged record, an example without the features, or one that is no instance; names file and row.
pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<()> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).at(path)?);
    let (mut data, mut row) = (Vec::new(), PaddedRow::default());
    while next_record(&mut file, &mut data).map_err(|problem| sink.problem(problem))? {
        let lists = integer_lists(&data).map_err(|problem| sink.problem(problem))?;
        let list = |name: &str| {
            let found = lists.get(name).map(Vec::as_slice);
            found.ok_or_else(|| sink.problem(format!("expected an integer feature {name}, found none")))
        };
        let label = match list("next_sentence_labels")? {
            &[label] => label,
            other => return Err(sink.problem(format!("expected one next_sentence_label, found {}", other.len()))),
        };
        let lists = [list("input_ids")?, list("input_mask")?, list("segment_ids")?];
        let masked = [list("masked_lm_positions")?, list("masked_lm_ids")?];
        row.set(lists, masked, label).map_err(|problem| sink.problem(problem))?;
        sink.push_padded(&mut row)?;
    }
    Ok(())
}

/// Reads the next record; false at the end of the file.
fn next_record(file: &mut impl Read, data: &mut Vec<u8>) -> std::result::Result<bool, String> {
    let mut header = [0; 12];
    match read_up_to(file, &mut header)? {
        0 => return Ok(false),
        12 => {}
        _ => return Err("expected a whole TFRecord, found a truncated one".to_owned()),
    }
    let (length, crc) = header.split_at(8);
    let crc_of = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let bytes = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    if crc_of(crc) != masked_crc(length) || bytes > LONGEST_RECORD {
        return Err("the checksum of a record's length differs: not a TFRecord file, or damaged".to_owned());
    }
    data.resize(bytes as usize + 4, 0);
    if read_up_to(file, data)? < data.len() {
        return Err("expected a whole TFRecord, found a truncated one".to_owned());
    }
    let crc = crc_of(&data[bytes as usize..]);
    data.truncate(bytes as usize);
    if crc != masked_crc(data) {
        return Err("the checksum of the record differs: the file is damaged".to_owned());
    }
    Ok(true)
}

/// Fills `buffer` as far as the file goes.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> std::result::Result<usize, String> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_masked_as_tensorflow_does() {
        // crc32c of 32 zero bytes is 8a9136aa (RFC 3720, B.4); rotated right by 15 bits, plus a282ead8.
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    #[test]
    fn flipped_bits_and_cut_records_are_noticed() {
        let mut record = 3u64.to_le_bytes().to_vec();
        record.extend(masked_crc(&record.clone()).to_le_bytes());
        record.extend(b"abc");
        record.extend(masked_crc(b"abc").to_le_bytes());
        let read = |bytes: &[u8]| next_record(&mut &bytes[..], &mut Vec::new());
        assert_eq!((read(&record), read(&[])), (Ok(true), Ok(false)));
        for n in 0..record.len() {
            let mut flipped = record.clone();
            flipped[n] ^= 1;
            assert!(read(&flipped).is_err(), "byte {n}");
            assert!(n == 0 || read(&record[..n]).is_err(), "cut at {n}");
        }
    }
}
