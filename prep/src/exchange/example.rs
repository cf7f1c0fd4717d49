//! `tf.train.Example`: a map from names to lists of numbers, as a protocol buffer.
//!
//! Source: tensorflow/core/example/feature.proto and the encoding of protocol buffers. Written here: messages of three
//! levels, fixed for years, are less than a code generator.

use std::collections::HashMap;

/// Wire types of protocol buffers.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Field numbers of `Feature`.
const FLOAT_LIST: u64 = 2;
const INT64_LIST: u64 = 3;

/// Collects features into the bytes of an `Example`.
#[derive(Debug, Default)]
pub(super) struct ExampleBuilder {
    features: Vec<u8>,
    values: Vec<u8>,
    list: Vec<u8>,
    entry: Vec<u8>,
}

impl ExampleBuilder {
    /// Starts another example.
    pub(super) fn clear(&mut self) {
        self.features.clear();
    }

    /// Adds an `Int64List`.
    pub(super) fn integers(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        self.values.clear();
        values.for_each(|value| varint(&mut self.values, value));
        self.feature(name, INT64_LIST);
    }

    /// Adds a `FloatList`.
    pub(super) fn floats(&mut self, name: &str, values: impl Iterator<Item = f32>) {
        self.values.clear();
        values.for_each(|value| self.values.extend(value.to_le_bytes()));
        self.feature(name, FLOAT_LIST);
    }

    fn feature(&mut self, name: &str, kind: u64) {
        let Self { features, values, list, entry } = self;
        list.clear();
        field(list, 1, values);
        values.clear();
        field(values, kind, list);
        entry.clear();
        field(entry, 1, name.as_bytes());
        field(entry, 2, values);
        field(features, 1, entry);
    }

    /// The example's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut example = Vec::with_capacity(self.features.len() + 8);
        field(&mut example, 1, &self.features);
        example
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | u64::from(BYTES));
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The integer lists of an `Example`, by name; lists of floats and of bytes are passed over.
///
/// # Errors
/// The bytes are no such message.
pub(super) fn integer_lists(example: &[u8]) -> Result<HashMap<String, Vec<i64>>, String> {
    decode(example).ok_or_else(|| "expected a tf.train.Example, found other bytes".to_owned())
}

fn decode(example: &[u8]) -> Option<HashMap<String, Vec<i64>>> {
    let mut lists = HashMap::new();
    for features in messages(example, 1)? {
        for entry in messages(features, 1)? {
            let name = String::from_utf8(messages(entry, 1)?.last()?.to_vec()).ok()?;
            for feature in messages(entry, 2)? {
                for list in messages(feature, INT64_LIST)? {
                    lists.insert(name.clone(), integers(list)?);
                }
            }
        }
    }
    Some(lists)
}

/// The values of field 1 of an `Int64List`, packed or one by one.
fn integers(list: &[u8]) -> Option<Vec<i64>> {
    let mut values = Vec::new();
    let mut reader = Reader(list);
    while let Some((number, value)) = reader.next()? {
        match (number, value) {
            (1, Value::Number(value)) => values.push(value as i64),
            (1, Value::Bytes(packed)) => {
                let mut packed = Reader(packed);
                while !packed.0.is_empty() {
                    values.push(packed.varint()? as i64);
                }
            }
            _ => {}
        }
    }
    Some(values)
}

/// Every occurrence of field `wanted`, which is a message or a string.
fn messages(bytes: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let mut reader = Reader(bytes);
    while let Some((number, value)) = reader.next()? {
        if let Value::Bytes(bytes) = value
            && number == wanted
        {
            found.push(bytes);
        }
    }
    Some(found)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field and its value, `Some(None)` at the end, `None` where the bytes are no message.
    fn next(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let value = match (key & 7) as u8 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Value::Other)?,
            FIXED32 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_read_back() {
        let mut builder = ExampleBuilder::default();
        for round in 0..2u64 {
            builder.clear();
            builder.integers("input_ids", [0, 1, 127, 128, 30_521, u64::MAX].into_iter());
            builder.floats("weights", [1.0, 0.0].into_iter());
            builder.integers("label", std::iter::once(round));
            let lists = integer_lists(&builder.bytes()).unwrap();
            assert_eq!(lists["input_ids"], [0, 1, 127, 128, 30_521, -1]);
            assert_eq!((lists["label"].as_slice(), lists.len()), (&[round as i64][..], 2));
        }
    }

    #[test]
    fn lists_that_are_not_packed_are_read_too() {
        // Int64List { value: 3, value: 300 }, each with its own key.
        assert_eq!(integers(&[8, 3, 8, 0xac, 2]), Some(vec![3, 300]));
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_panic() {
        let mut builder = ExampleBuilder::default();
        builder.integers("input_ids", 0..300);
        let whole = builder.bytes();
        for n in 1..whole.len() {
            assert!(integer_lists(&whole[..n]).is_err(), "{n}");
            let mut flipped = whole.clone();
            flipped[n] ^= 0x55;
            let _ = integer_lists(&flipped);
        }
    }
}
