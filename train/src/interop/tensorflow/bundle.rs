//! TensorFlow's tensor bundle: `PREFIX.index` and `PREFIX.data-00000-of-00001`.
//!
//! Source of the format: `tensorflow/core/protobuf/tensor_bundle.proto` and `core/util/tensor_bundle`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cloze_formats::checksum::{ChecksumWriter, Crc32c};
use tch::{Kind, Tensor};

use super::proto::{self, Entry};
use super::table;
use crate::error::{Error, Result};
use crate::interop::safetensors::for_each_chunk;

/// An open checkpoint.
#[derive(Debug)]
pub(super) struct Bundle {
    index: PathBuf,
    num_shards: u64,
    entries: BTreeMap<String, Entry>,
}

impl Bundle {
    /// Reads the index of a checkpoint.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn open(index: &Path) -> Result<Self> {
        let refuse = |why: String| {
            let message =
                format!("expected the index of a TensorFlow checkpoint, found another file or a damaged one ({why})");
            Error::file(index, message)
        };
        let bytes = fs::read(index).map_err(Error::io(index))?;
        let mut num_shards = None;
        let mut entries = BTreeMap::new();
        for (key, value) in table::rows(&bytes).map_err(refuse)? {
            if key.is_empty() {
                num_shards = Some(proto::header(&value).map_err(refuse)?);
                continue;
            }
            let name = String::from_utf8(key).map_err(|_| refuse("a name that is not UTF-8".to_owned()))?;
            let entry = proto::entry(&value).map_err(|why| refuse(format!("{name}: {why}")))?;
            entries.insert(name, entry);
        }
        let num_shards = num_shards.ok_or_else(|| refuse("no header".to_owned()))?;
        let bundle = Self { index: index.to_owned(), num_shards, entries };
        bundle.check_lengths()?;
        Ok(bundle)
    }

    /// Tensors that share bytes would make a small checkpoint fill the memory.
    fn check_lengths(&self) -> Result<()> {
        let mut totals: BTreeMap<u64, u64> = BTreeMap::new();
        for entry in self.entries.values() {
            let total = totals.entry(entry.shard).or_default();
            *total = total.saturating_add(entry.len);
        }
        for (shard, total) in totals {
            let path = data_file(&self.index, shard, self.num_shards);
            let found = fs::metadata(&path).map_err(Error::io(&path))?.len();
            if total > found {
                let message = format!("expected {total} bytes, the tensors of its index, found {found}; copy it again");
                return Err(Error::file(&path, message));
            }
        }
        Ok(())
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether `name` is a single number, as counters are and weights are not.
    pub fn is_scalar(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.shape.is_empty())
    }

    /// The tensor `name`, one of [`Self::names`].
    ///
    /// # Errors
    /// Its file is missing or damaged, or it is of a kind that no weight has.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let refuse = |why: String| Error::file(&self.index, format!("{name}: {why}"));
        let entry = self.entries.get(name).ok_or_else(|| refuse("expected such a tensor, found none".to_owned()))?;
        let kind = proto::kind(entry.dtype).filter(|_| !entry.is_sliced).ok_or_else(|| {
            refuse(format!("expected whole floating-point numbers or integers, found type {}", entry.dtype))
        })?;
        let width = kind.elt_size_in_bytes() as u64;
        let len = entry.shape.iter().try_fold(width, |product, &len| product.checked_mul(len as u64));
        if len != Some(entry.len) {
            let message = format!("expected the bytes of shape {:?}, found {}", entry.shape, entry.len);
            return Err(refuse(message));
        }
        let bytes = self.read_bytes(name, entry)?;
        Ok(Tensor::f_from_data_size(&bytes, &entry.shape, kind)?)
    }

    fn read_bytes(&self, name: &str, entry: &Entry) -> Result<Vec<u8>> {
        let path = data_file(&self.index, entry.shard, self.num_shards);
        let file = File::open(&path).map_err(Error::io(&path))?;
        let found = file.metadata().map_err(Error::io(&path))?.len();
        let end = entry.offset.checked_add(entry.len);
        let len = usize::try_from(entry.len).ok().filter(|_| end.is_some_and(|end| end <= found));
        let Some(len) = len else {
            let message = format!(
                "{name}: expected {} bytes at {}, found a file of {found}; copy it again",
                entry.len, entry.offset
            );
            return Err(Error::file(&path, message));
        };
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, entry.offset).map_err(Error::io(&path))?;
        let crc = table::masked(Crc32c::of(&bytes));
        if crc != entry.crc32c {
            let message = format!(
                "{name}: expected checksum {:08x}, found {crc:08x}; the file is damaged, copy it again",
                entry.crc32c
            );
            return Err(Error::file(&path, message));
        }
        Ok(bytes)
    }
}

fn data_file(index: &Path, shard: u64, num_shards: u64) -> PathBuf {
    let stem = index.file_stem().unwrap_or_default().to_string_lossy();
    index.with_file_name(format!("{stem}.data-{shard:05}-of-{num_shards:05}"))
}

/// Writes `tensors` (f32) as the checkpoint with this index, in one data file, both synced.
///
/// # Errors
/// A file cannot be written, or a tensor is of another kind.
pub(super) fn write(index: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let path = data_file(index, 0, 1);
    let file = File::create(&path).map_err(Error::io(&path))?;
    let mut data = ChecksumWriter::new(BufWriter::new(file));
    let mut rows = vec![(Vec::new(), proto::HEADER.to_vec())];
    for (name, tensor) in tensors {
        let kind = tensor.f_kind()?;
        if kind != Kind::Float {
            return Err(Error::file(&path, format!("{name}: expected f32, found {kind:?}")));
        }
        let offset = data.bytes();
        for_each_chunk(tensor, &mut |bytes| data.write_all(bytes).map_err(Error::io(&path)))?;
        let (len, crc32c) = (data.bytes() - offset, table::masked(data.take_crc()));
        let entry = Entry { dtype: proto::FLOAT, shape: tensor.size(), offset, len, crc32c, ..Entry::default() };
        rows.push((name.clone().into_bytes(), entry.encode()));
    }
    let file = data.into_inner().into_inner().map_err(|error| Error::io(&path)(error.into_error()))?;
    file.sync_all().map_err(Error::io(&path))?;
    Ok(cloze_formats::durable::write(index, &table::table(&rows))?)
}
