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
    F32,
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
            Self::F32 => "f32",
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
            Self::I32 | Self::F32 => &[VALIDITY, 4],
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
            Self::F32 => DataType::Float32,
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

/// What labels of a glue dataset are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelType {
    /// Classes: `label` is i32.
    Class,
    /// Scores to be predicted by regression: `label` is f32.
    Score,
}

/// The columns that not every dataset of a kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Optional {
    None,
    StaticMasks,
    Labels(LabelType),
}

/// Which columns a dataset has. In the manifest: the list of `name: type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    kind: Kind,
    wide_tokens: bool,
    optional: Optional,
}

impl Layout {
    /// Columns of `kind` for a vocabulary of `num_tokens`. `optional` asks for the columns that not every dataset of
    /// the kind has: static masks (pretrain), labels that are classes (glue).
    pub fn new(kind: Kind, num_tokens: usize, optional: bool) -> Self {
        let optional = match kind {
            Kind::Pretrain if optional => Optional::StaticMasks,
            Kind::Glue if optional => Optional::Labels(LabelType::Class),
            _ => Optional::None,
        };
        Self { kind, wide_tokens: num_tokens > 1 << 16, optional }
    }

    /// Columns of a glue dataset for a vocabulary of `num_tokens`, with labels of this type or without any.
    pub fn glue(num_tokens: usize, labels: Option<LabelType>) -> Self {
        let optional = labels.map_or(Optional::None, Optional::Labels);
        Self { kind: Kind::Glue, wide_tokens: num_tokens > 1 << 16, optional }
    }

    /// The layout whose columns are all among `names`, for a vocabulary of `num_tokens`; of several the one with the most.
    /// A column of labels holds scores if `scores`.
    pub fn matching(names: &[&str], num_tokens: usize, scores: bool) -> Option<Self> {
        let wide = num_tokens > 1 << 16;
        let fits = |layout: &Self| {
            layout.wide_tokens == wide
                && layout.label_type().is_none_or(|labels| (labels == LabelType::Score) == scores)
                && layout.columns().iter().all(|(name, _)| names.contains(name))
        };
        Self::all().filter(fits).max_by_key(|layout| layout.columns().len())
    }

    /// The kind these are the columns of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a pretrain dataset carries static masks.
    pub fn has_static_masks(&self) -> bool {
        self.optional == Optional::StaticMasks
    }

    /// Whether a glue dataset carries labels.
    pub fn has_labels(&self) -> bool {
        self.label_type().is_some()
    }

    /// What the labels of a glue dataset are, if it has any.
    pub fn label_type(&self) -> Option<LabelType> {
        match self.optional {
            Optional::Labels(labels) => Some(labels),
            _ => None,
        }
    }

    /// Name and type of each column, in file order. `shard::columns` reads and writes them by this order.
    pub fn columns(&self) -> Vec<(&'static str, ColumnType)> {
        use ColumnType::{Bool, F32, I32, ListU8, ListU16, ListU32, U16, U64, Utf8};
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
        match self.label_type() {
            Some(LabelType::Class) => columns.push(("label", I32)),
            Some(LabelType::Score) => columns.push(("label", F32)),
            None => {}
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
        [1, 1 << 17].into_iter().flat_map(move |n| {
            let all =
                kinds.into_iter().flat_map(move |kind| [false, true].map(|optional| Self::new(kind, n, optional)));
            all.chain([Self::glue(n, Some(LabelType::Score))])
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
    fn a_layout_is_known_by_its_column_names_whatever_else_is_there() {
        for layout in Layout::all() {
            let columns = layout.columns();
            let mut names: Vec<_> = columns.iter().rev().map(|c| c.0).collect();
            names.push("something else");
            let num_tokens = if layout.wide_tokens { 1 << 17 } else { 100 };
            // The optional columns of kinds that have none are the same columns.
            let scores = layout.label_type() == Some(LabelType::Score);
            assert_eq!(Layout::matching(&names, num_tokens, scores).unwrap().describe(), layout.describe());
        }
        assert_eq!(Layout::matching(&["input_ids", "segment_a_length"], 100, false), None);
    }

    #[test]
    fn tokens_are_wide_above_65536() {
        assert!(!Layout::new(Kind::Corpus, 1 << 16, false).wide_tokens);
        assert!(Layout::new(Kind::Corpus, (1 << 16) + 1, false).wide_tokens);
    }
}
