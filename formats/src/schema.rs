//! Column names and types of each kind, in one place.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::manifest::{FORMAT_VERSION, Kind, VocabularyInfo};

/// Type of a column. Nothing is nullable; an absent value is an absent column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the types")]
pub enum ColumnType {
    U16,
    U64,
    I32,
    Bool,
    Utf8,
    ListU8,
    ListU16,
    ListU32,
}

impl ColumnType {
    /// As written in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::U16 => "u16",
            Self::U64 => "u64",
            Self::I32 => "i32",
            Self::Bool => "bool",
            Self::Utf8 => "utf8",
            Self::ListU8 => "list<u8>",
            Self::ListU16 => "list<u16>",
            Self::ListU32 => "list<u32>",
        }
    }

    /// Bytes per value of the buffers it is stored in, in Arrow's order; 1 for bits.
    pub(crate) fn buffer_widths(self) -> &'static [i64] {
        const VALIDITY: i64 = 1;
        const OFFSETS: i64 = 4;
        match self {
            Self::U16 => &[VALIDITY, 2],
            Self::U64 => &[VALIDITY, 8],
            Self::I32 => &[VALIDITY, 4],
            Self::Bool => &[VALIDITY, 1],
            Self::Utf8 => &[VALIDITY, OFFSETS, 1],
            Self::ListU8 => &[VALIDITY, OFFSETS, VALIDITY, 1],
            Self::ListU16 => &[VALIDITY, OFFSETS, VALIDITY, 2],
            Self::ListU32 => &[VALIDITY, OFFSETS, VALIDITY, 4],
        }
    }

    fn arrow(self) -> DataType {
        match self {
            Self::U16 => DataType::UInt16,
            Self::U64 => DataType::UInt64,
            Self::I32 => DataType::Int32,
            Self::Bool => DataType::Boolean,
            Self::Utf8 => DataType::Utf8,
            Self::ListU8 => DataType::List(item(DataType::UInt8)),
            Self::ListU16 => DataType::List(item(DataType::UInt16)),
            Self::ListU32 => DataType::List(item(DataType::UInt32)),
        }
    }
}

/// The element field of list columns.
pub(crate) fn item(values: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", values, false))
}

/// Which columns a dataset has. In the manifest: the list of `name: type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    kind: Kind,
    wide_tokens: bool,
    /// Pretrain: with static masks. Glue: with labels.
    optional: bool,
}

impl Layout {
    /// Columns of `kind` for a vocabulary of `num_tokens`. `optional` asks for the columns that not every dataset of
    /// the kind has: static masks (pretrain), labels (glue).
    pub fn new(kind: Kind, num_tokens: usize, optional: bool) -> Self {
        let has_optional = matches!(kind, Kind::Pretrain | Kind::Glue);
        Self { kind, wide_tokens: num_tokens > 1 << 16, optional: optional && has_optional }
    }

    /// The kind these are the columns of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a pretrain dataset carries static masks.
    pub fn has_static_masks(&self) -> bool {
        self.kind == Kind::Pretrain && self.optional
    }

    /// Whether a glue dataset carries labels.
    pub fn has_labels(&self) -> bool {
        self.kind == Kind::Glue && self.optional
    }

    /// Name and type of each column, in file order. `shard::columns` reads and writes them by this order.
    pub fn columns(&self) -> Vec<(&'static str, ColumnType)> {
        use ColumnType::{Bool, I32, ListU8, ListU16, ListU32, U16, U64, Utf8};
        let tokens = if self.wide_tokens { ListU32 } else { ListU16 };
        let mut columns = match self.kind {
            Kind::Corpus => vec![("document_id", U64), ("token_ids", tokens), ("sentence_lengths", ListU16)],
            Kind::Pretrain => vec![("input_ids", tokens), ("segment_a_length", U16), ("next_sentence_label", Bool)],
            Kind::Squad => vec![
                ("input_ids", tokens),
                ("segment_a_length", U16),
                ("start_position", U16),
                ("end_position", U16),
                ("is_impossible", Bool),
                ("example_id", Utf8),
                ("window", U16),
                ("context_starts", ListU32),
                ("context_ends", ListU32),
                ("max_context", ListU8),
            ],
            Kind::Glue => vec![("input_ids", tokens), ("segment_a_length", U16), ("row_id", U64)],
        };
        if self.has_static_masks() {
            columns.extend([("masked_lm_positions", ListU16), ("masked_lm_inputs", tokens)]);
        }
        if self.has_labels() {
            columns.push(("label", I32));
        }
        columns
    }

    /// The Arrow schema; its metadata says what a lone file is.
    pub fn arrow(&self, vocabulary: &VocabularyInfo) -> SchemaRef {
        let fields: Vec<Field> =
            self.columns().into_iter().map(|(name, ty)| Field::new(name, ty.arrow(), false)).collect();
        let metadata = HashMap::from([
            ("cloze.format".to_owned(), format!("cloze-dataset/{FORMAT_VERSION}")),
            ("cloze.kind".to_owned(), self.kind.to_string()),
            ("cloze.vocabulary.sha256".to_owned(), vocabulary.sha256.clone()),
        ]);
        Arc::new(Schema::new_with_metadata(fields, metadata))
    }

    fn all() -> impl Iterator<Item = Self> {
        let kinds = [Kind::Corpus, Kind::Pretrain, Kind::Squad, Kind::Glue];
        kinds.into_iter().flat_map(|kind| {
            [1, 1 << 17].into_iter().flat_map(move |n| [false, true].map(move |optional| Self::new(kind, n, optional)))
        })
    }

    fn describe(&self) -> Vec<String> {
        self.columns().into_iter().map(|(name, ty)| format!("{name}: {}", ty.name())).collect()
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.describe().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let columns = Vec::<String>::deserialize(deserializer)?;
        let known = Self::all().find(|layout| layout.describe() == columns);
        known.ok_or_else(|| de::Error::custom(format!("unknown columns {columns:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_survives_the_manifest() {
        for layout in Layout::all() {
            let json = serde_json::to_string(&layout).unwrap();
            assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout);
        }
    }

    #[test]
    fn tokens_are_wide_above_65536() {
        assert!(!Layout::new(Kind::Corpus, 1 << 16, false).wide_tokens);
        assert!(Layout::new(Kind::Corpus, (1 << 16) + 1, false).wide_tokens);
    }
}
