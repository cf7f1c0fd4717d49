//! TensorFlow's tensor bundle: `PREFIX.index` and `PREFIX.data-00000-of-00001`.
//!
//! Source of the format: `tensorflow/core/protobuf/tensor_bundle.proto` and `core/util/tensor_bundle`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cloze_formats::checksum::Crc32c;
use tch::{Kind, Tensor};

use super::table::{self, Bytes};
use crate::error::{Error, Result};

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, Default)]
struct Entry {
    dtype: u64,
    shape: Vec<i64>,
    shard: u64,
    offset: u64,
    len: u64,
    crc32c: u32,
    is_sliced: bool,
}

/// An open checkpoint.
#[derive(Debug)]
pub(super) struct Bundle {
    index: PathBuf,
    num_shards: u64,
    entries: BTreeMap<String, Entry>,
}

/// A field of a protocol buffer message.
enum Field<'a> {
    Number(u64),
    Message(&'a [u8]),
}

/// Number and value of each field of `message`. Source: Protocol Buffers, "Encoding".
fn fields(message: &[u8]) -> std::result::Result<Vec<(u64, Field<'_>)>, String> {
    let mut bytes = Bytes(message);
    let mut fields = Vec::new();
    while !bytes.0.is_empty() {
        let tag = bytes.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(bytes.varint()?),
            1 => Field::Number(bytes.take(8)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))),
            2 => {
                let len = bytes.len()?;
                Field::Message(bytes.take(len)?)
            }
            5 => Field::Number(bytes.take(4)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))),
            wire => return Err(format!("a field of wire type {wire}")),
        };
        fields.push((tag >> 3, field));
    }
    Ok(fields)
}

/// `BundleHeaderProto`: the number of shards, in little-endian order.
fn header(message: &[u8]) -> std::result::Result<u64, String> {
    let mut num_shards = 1;
    for field in fields(message)? {
        match field {
            (1, Field::Number(number)) => num_shards = number,
            (2, Field::Number(order)) if order != 0 => return Err("big-endian tensors".to_owned()),
            _ => {}
        }
    }
    Ok(num_shards)
}

/// `BundleEntryProto`.
fn entry(message: &[u8]) -> std::result::Result<Entry, String> {
    let mut entry = Entry::default();
    for field in fields(message)? {
        match field {
            (1, Field::Number(number)) => entry.dtype = number,
            (2, Field::Message(shape)) => entry.shape = self::shape(shape)?,
            (3, Field::Number(number)) => entry.shard = number,
            (4, Field::Number(number)) => entry.offset = number,
            (5, Field::Number(number)) => entry.len = number,
            (6, Field::Number(number)) => entry.crc32c = number as u32,
            (7, _) => entry.is_sliced = true,
            _ => {}
        }
    }
    Ok(entry)
}

/// `TensorShapeProto`: a message per dimension, whose field 1 is its length.
fn shape(message: &[u8]) -> std::result::Result<Vec<i64>, String> {
    let mut shape = Vec::new();
    for field in fields(message)? {
        let (2, Field::Message(dimension)) = field else { continue };
        let len = fields(dimension)?.into_iter().find_map(|field| match field {
            (1, Field::Number(len)) => Some(len),
            _ => None,
        });
        shape.push(i64::try_from(len.unwrap_or(0)).map_err(|_| "a dimension without end")?);
    }
    Ok(shape)
}

/// The kind of a `DataType` and the bytes of an element. Source: `tensorflow/core/framework/types.proto`.
fn kind(dtype: u64) -> Option<Kind> {
    Some(match dtype {
        1 => Kind::Float,
        2 => Kind::Double,
        3 => Kind::Int,
        9 => Kind::Int64,
        14 => Kind::BFloat16,
        19 => Kind::Half,
        _ => return None,
    })
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
                num_shards = Some(header(&value).map_err(refuse)?);
                continue;
            }
            let name = String::from_utf8(key).map_err(|_| refuse("a name that is not UTF-8".to_owned()))?;
            let entry = entry(&value).map_err(|why| refuse(format!("{name}: {why}")))?;
            entries.insert(name, entry);
        }
        let num_shards = num_shards.ok_or_else(|| refuse("no header".to_owned()))?;
        Ok(Self { index: index.to_owned(), num_shards, entries })
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
        let kind = kind(entry.dtype).filter(|_| !entry.is_sliced).ok_or_else(|| {
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
        let stem = self.index.file_stem().unwrap_or_default().to_string_lossy();
        let path = self.index.with_file_name(format!("{stem}.data-{:05}-of-{:05}", entry.shard, self.num_shards));
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
