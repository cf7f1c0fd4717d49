//! TensorBoard's event files: scalars and texts by tag and step.
//!
//! An event file is a sequence of TFRecords (length, masked crc32c of the length, data, masked crc32c of the data; all
//! little-endian), each an `Event` in protobuf's wire format. Of `event.proto`, `summary.proto` and `tensor.proto` only the
//! fields below are needed, so they are written by hand.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use cloze_formats::checksum::Crc32c;

use crate::error::{Error, Result};

/// Name of the directory of event files in a run directory.
pub const TENSORBOARD: &str = "tensorboard";

/// `DT_STRING` of `types.proto`.
const STRING: u64 = 7;
/// `DATA_CLASS_TENSOR` of `summary.proto`.
const TENSOR_CLASS: u64 = 2;
/// `SessionLog.START`: what an earlier file says of this step and later ones no longer holds.
const START: u64 = 1;

/// The event file of one attempt.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Begins an event file in the run directory `run`. Where the run is `resumed_after` a step, TensorBoard drops what
    /// earlier files say of later ones; otherwise earlier files go, which are of a run that left no checkpoint.
    ///
    /// # Errors
    /// The directory is not writable.
    pub fn open(run: &Path, resumed_after: Option<u64>, time: f64) -> Result<Self> {
        let dir = run.join(TENSORBOARD);
        if resumed_after.is_none() && dir.exists() {
            fs::remove_dir_all(&dir).map_err(Error::io(&dir))?;
        }
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        let host = crate::machine::host();
        let name = format!("events.out.tfevents.{:010}.{host}.{}", time as u64, std::process::id());
        let path = dir.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        let mut writer = Self { path, file };
        writer.append(&Message::new().double(1, time).bytes(3, b"brain.Event:2"))?;
        if let Some(step) = resumed_after {
            let start = Message::new().varint(1, START);
            writer.append(&Message::new().double(1, time).varint(2, step + 1).message(7, &start))?;
        }
        Ok(writer)
    }

    /// Adds numbers by tag, all in one event. Values become single precision, as TensorBoard keeps them.
    ///
    /// # Errors
    /// The disk is full.
    pub fn scalars(&mut self, time: f64, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        let value = |(tag, value): &(String, f64)| Message::new().bytes(1, tag.as_bytes()).float(2, *value as f32);
        let summary = scalars.iter().map(value).fold(Message::new(), |summary, value| summary.message(1, &value));
        self.append(&Message::new().double(1, time).varint(2, step).message(5, &summary))
    }

    /// Adds a text in Markdown.
    ///
    /// # Errors
    /// The disk is full.
    pub fn text(&mut self, time: f64, step: u64, tag: &str, text: &str) -> Result<()> {
        let shape = Message::new().message(2, &Message::new().varint(1, 1));
        let tensor = Message::new().varint(1, STRING).message(2, &shape).bytes(8, text.as_bytes());
        let plugin = Message::new().bytes(1, b"text");
        let metadata = Message::new().message(1, &plugin).varint(4, TENSOR_CLASS);
        let value = Message::new().bytes(1, tag.as_bytes()).message(8, &tensor).message(9, &metadata);
        self.append(&Message::new().double(1, time).varint(2, step).message(5, &Message::new().message(1, &value)))
    }

    /// One write per event, so that a reader beside the run sees whole ones.
    fn append(&mut self, event: &Message) -> Result<()> {
        self.file.write_all(&record(&event.0)).map_err(Error::io(&self.path))
    }
}

/// `data` as a TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u64).to_le_bytes();
    [&len, &masked(&len)[..], data, &masked(data)].concat()
}

/// A crc32c as TFRecords store it: rotated and shifted, so that a checksum of data that holds checksums stays a good one.
fn masked(bytes: &[u8]) -> [u8; 4] {
    Crc32c::of(bytes).0.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A protobuf message in the making; each method adds the field of that number.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self::default()
    }

    fn varint(mut self, field: u64, value: u64) -> Self {
        self.push_varint(field << 3);
        self.push_varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.push_varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.push_varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.push_varint(field << 3 | 2);
        self.push_varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn bytes_are_those_that_tensorboard_writes() {
        // Made by TensorBoard 2.21's own protobuf classes and RecordWriter from the same events.
        const GOLDEN: [&str; 4] = [
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c",
            "0f000000000000006d532b0909000000000000f83f10083a0208019571c7d1",
            "2b00000000000000861bc34b09000000000000f83f10ac022a1d0a110a0a747261696e2f6c6f7373150000803e0a080a0162\
             15000080bf6fb26b61",
            "3200000000000000241956ec09000000000000f83f10022a250a230a06726563697065420d08071204120208014203232061\
             4a0a0a060a04746578742002f365b336",
        ];
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::open(dir.path(), Some(7), 1.5).unwrap();
        writer.scalars(1.5, 300, &[("train/loss".to_owned(), 0.25), ("b".to_owned(), -1.0)]).unwrap();
        writer.text(1.5, 2, "recipe", "# a").unwrap();
        assert_eq!(hex(&fs::read(&writer.path).unwrap()), GOLDEN.concat());
    }

    #[test]
    fn numbers_beyond_seven_bits_take_several_bytes() {
        assert_eq!(Message::new().varint(2, 300).0, [0x10, 0xac, 0x02]);
        assert_eq!(Message::new().varint(2, u64::MAX).0.len(), 11);
    }

    #[test]
    fn a_new_run_begins_without_old_files_and_a_resumed_one_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let files = || fs::read_dir(dir.path().join(TENSORBOARD)).unwrap().count();
        for (time, resumed_after, expected) in [(1.0, None, 1), (2.0, Some(7), 2), (3.0, None, 1)] {
            EventWriter::open(dir.path(), resumed_after, time).unwrap();
            assert_eq!(files(), expected);
        }
    }
}
