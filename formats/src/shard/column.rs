//! Columns to rows: raw slices over a decoded record batch.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Int32Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{BooleanBuffer, Buffer, ScalarBuffer};

use crate::manifest::Kind;
use crate::row::{CorpusRow, GlueRow, Label, PretrainRow, Row, SquadRow, StaticMask, Tokens};
use crate::schema::{ColumnType, LabelType, Layout};

/// A column whose buffers were checked when the batch was decoded: offsets ascend and end within the values.
#[derive(Debug)]
enum Column {
    U16(ScalarBuffer<u16>),
    U64(ScalarBuffer<u64>),
    I32(ScalarBuffer<i32>),
    F32(ScalarBuffer<f32>),
    Bool(BooleanBuffer),
    Utf8(ScalarBuffer<i32>, Buffer),
    ListU8(ScalarBuffer<i32>, ScalarBuffer<u8>),
    ListU16(ScalarBuffer<i32>, ScalarBuffer<u16>),
    ListU32(ScalarBuffer<i32>, ScalarBuffer<u32>),
}

/// A decoded record batch, row by row without a copy.
#[derive(Debug)]
pub struct Columns {
    columns: Vec<Column>,
    layout: Layout,
}

impl Columns {
    /// Takes the buffers of `batch`, which has the columns of `layout` in its order.
    ///
    /// # Errors
    /// Another number of columns, another type or a null in one; the text says what was expected and found.
    pub fn new(layout: Layout, batch: &RecordBatch) -> Result<Self, String> {
        let specs = layout.columns();
        if specs.len() != batch.num_columns() {
            return Err(format!("expected {} columns, found {}", specs.len(), batch.num_columns()));
        }
        let columns = specs.iter().zip(batch.columns()).map(|(&(name, ty), array)| {
            if array.null_count() > 0 {
                return Err(format!("column {name}: expected no nulls, found {}", array.null_count()));
            }
            Column::new(ty, array).ok_or_else(|| format!("column {name}: expected type {}", ty.name()))
        });
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, layout })
    }

    /// Row `i` of the batch.
    ///
    /// # Panics
    /// `i` is not below the number of rows.
    #[inline]
    pub fn row(&self, i: usize) -> Row<'_> {
        let c = &self.columns;
        match self.layout.kind() {
            Kind::Corpus => Row::Corpus(CorpusRow {
                document_id: c[0].u64(i),
                token_ids: c[1].tokens(i),
                sentence_lengths: c[2].list_u16(i),
            }),
            Kind::Pretrain => Row::Pretrain(PretrainRow {
                input_ids: c[0].tokens(i),
                segment_a_length: c[1].u16(i),
                next_sentence_label: c[2].bool(i),
                masked: self
                    .layout
                    .has_static_masks()
                    .then(|| StaticMask { positions: c[3].list_u16(i), inputs: c[4].tokens(i) }),
            }),
            Kind::Squad => Row::Squad(self.squad_row(i)),
            Kind::Glue => Row::Glue(GlueRow {
                input_ids: c[0].tokens(i),
                segment_a_length: c[1].u16(i),
                row_id: c[2].u64(i),
                label: self.layout.label_type().map(|labels| match labels {
                    LabelType::Class => Label::Class(c[3].i32(i)),
                    LabelType::Score => Label::Score(c[3].f32(i)),
                }),
            }),
        }
    }

    /// The tokens of row `i`, without touching its other columns.
    ///
    /// # Panics
    /// `i` is not below the number of rows.
    #[inline]
    pub fn row_tokens(&self, i: usize) -> Tokens<'_> {
        self.columns[usize::from(self.layout.kind() == Kind::Corpus)].tokens(i)
    }

    fn squad_row(&self, i: usize) -> SquadRow<'_> {
        let c = &self.columns;
        SquadRow {
            input_ids: c[0].tokens(i),
            segment_a_length: c[1].u16(i),
            start_position: c[2].u16(i),
            end_position: c[3].u16(i),
            is_impossible: c[4].bool(i),
            example_id: c[5].utf8(i),
            window: c[6].u16(i),
            context_starts: c[7].list_u32(i),
            context_ends: c[8].list_u32(i),
            max_context: c[9].list_u8(i),
        }
    }
}

fn mismatch() -> ! {
    unreachable!("columns were built from the layout that reads them")
}

macro_rules! scalar {
    ($($variant:ident, $name:ident, $ty:ty;)*) => {
        $(#[inline]
        fn $name(&self, i: usize) -> $ty {
            match self {
                Self::$variant(values) => values[i],
                _ => mismatch(),
            }
        })*
    };
}

macro_rules! list {
    ($($variant:ident, $name:ident, $ty:ty;)*) => {
        $(#[inline]
        fn $name(&self, i: usize) -> &[$ty] {
            match self {
                Self::$variant(o, values) => &values[o[i] as usize..o[i + 1] as usize],
                _ => mismatch(),
            }
        })*
    };
}

impl Column {
    fn new(ty: ColumnType, array: &ArrayRef) -> Option<Self> {
        Some(match ty {
            ColumnType::U16 => Self::U16(primitive::<UInt16Type>(array)?),
            ColumnType::U64 => Self::U64(primitive::<UInt64Type>(array)?),
            ColumnType::I32 => Self::I32(primitive::<Int32Type>(array)?),
            ColumnType::F32 => Self::F32(primitive::<Float32Type>(array)?),
            ColumnType::Bool => Self::Bool(array.as_boolean_opt()?.values().clone()),
            ColumnType::Utf8 => {
                let strings = array.as_string_opt::<i32>()?;
                Self::Utf8(strings.offsets().inner().clone(), strings.values().clone())
            }
            ColumnType::ListU8 => list::<UInt8Type>(array).map(|(o, v)| Self::ListU8(o, v))?,
            ColumnType::ListU16 => list::<UInt16Type>(array).map(|(o, v)| Self::ListU16(o, v))?,
            ColumnType::ListU32 => list::<UInt32Type>(array).map(|(o, v)| Self::ListU32(o, v))?,
        })
    }

    scalar! { U16, u16, u16; U64, u64, u64; I32, i32, i32; F32, f32, f32; }
    list! { ListU8, list_u8, u8; ListU16, list_u16, u16; ListU32, list_u32, u32; }

    #[inline]
    fn bool(&self, i: usize) -> bool {
        match self {
            Self::Bool(values) => values.value(i),
            _ => mismatch(),
        }
    }

    fn utf8(&self, i: usize) -> &str {
        match self {
            Self::Utf8(o, values) => {
                let bytes = &values.as_slice()[o[i] as usize..o[i + 1] as usize];
                // Valid: arrow checked it when it decoded the batch.
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            _ => mismatch(),
        }
    }

    #[inline]
    fn tokens(&self, i: usize) -> Tokens<'_> {
        match self {
            Self::ListU16(..) => Tokens::U16(self.list_u16(i)),
            Self::ListU32(..) => Tokens::U32(self.list_u32(i)),
            _ => mismatch(),
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<ScalarBuffer<T::Native>> {
    Some(array.as_primitive_opt::<T>()?.values().clone())
}

fn list<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<(ScalarBuffer<i32>, ScalarBuffer<T::Native>)> {
    let list = array.as_list_opt::<i32>()?;
    if list.values().null_count() > 0 {
        return None;
    }
    Some((list.offsets().inner().clone(), primitive::<T>(list.values())?))
}
