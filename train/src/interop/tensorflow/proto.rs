//! The protocol buffer messages in the index of a checkpoint.
//!
//! Source: Protocol Buffers, "Encoding"; `tensorflow/core/protobuf/tensor_bundle.proto`.

use tch::Kind;

use super::table::{Bytes, push_varint};

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// A `DataType`; [`kind`] says which.
    pub dtype: u64,
    pub shape: Vec<i64>,
    /// Number of the data file.
    pub shard: u64,
    /// In bytes, as `len`.
    pub offset: u64,
    pub len: u64,
    /// Masked.
    pub crc32c: u32,
    /// Whether it is kept in parts, as partitioned variables are.
    pub is_sliced: bool,
}

/// A field of a protocol buffer message.
enum Field<'a> {
    Number(u64),
    Message(&'a [u8]),
}

/// Number and value of each field of `message`.
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
pub(super) fn header(message: &[u8]) -> std::result::Result<u64, String> {
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
pub(super) fn entry(message: &[u8]) -> std::result::Result<Entry, String> {
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

/// `DT_FLOAT`.
pub(super) const FLOAT: u64 = 1;

/// The kind of a `DataType` and the bytes of an element. Source: `tensorflow/core/framework/types.proto`.
pub(super) fn kind(dtype: u64) -> Option<Kind> {
    Some(match dtype {
        FLOAT => Kind::Float,
        2 => Kind::Double,
        3 => Kind::Int,
        9 => Kind::Int64,
        14 => Kind::BFloat16,
        19 => Kind::Half,
        _ => return None,
    })
}

/// `BundleHeaderProto` of one data file: little-endian, as the first version of the format has it.
pub(super) const HEADER: [u8; 6] = [0x08, 1, 0x1a, 2, 0x08, 1];

impl Entry {
    /// `BundleEntryProto`, fields in order, those that are 0 left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut shape = Vec::new();
        for &len in &self.shape {
            let mut dimension = Vec::new();
            push_number(&mut dimension, 1, len as u64);
            push_message(&mut shape, 2, &dimension);
        }
        let mut message = Vec::new();
        push_number(&mut message, 1, self.dtype);
        push_message(&mut message, 2, &shape);
        for (number, value) in [(3, self.shard), (4, self.offset), (5, self.len)] {
            push_number(&mut message, number, value);
        }
        if self.crc32c != 0 {
            message.push(6 << 3 | 5);
            message.extend(self.crc32c.to_le_bytes());
        }
        message
    }
}

fn push_number(message: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        message.push(number << 3);
        push_varint(message, value);
    }
}

fn push_message(message: &mut Vec<u8>, number: u8, inner: &[u8]) {
    message.push(number << 3 | 2);
    push_varint(message, inner.len() as u64);
    message.extend(inner);
}
