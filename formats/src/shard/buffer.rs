//! Rows to columns: the buffers of one record batch being filled.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use crate::row::{GlueRow, Label, PretrainRow, Row, SquadRow, Tokens};
use crate::schema::{ColumnType, Layout, item};

enum ColumnBuffer {
    U16(Vec<u16>),
    U64(Vec<u64>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Utf8(Vec<i32>, String),
    ListU8(Vec<i32>, Vec<u8>),
    ListU16(Vec<i32>, Vec<u16>),
    ListU32(Vec<i32>, Vec<u32>),
}

/// Columns of the record batch being filled.
///
/// # Memory usage
/// All rows pushed; whoever fills it decides when a batch is full.
pub struct RowBuffer {
    columns: Vec<ColumnBuffer>,
    rows: usize,
    tokens: usize,
}

impl RowBuffer {
    /// No rows yet, of the columns of `layout`.
    pub fn new(layout: Layout) -> Self {
        let empty = |(_, ty)| match ty {
            ColumnType::U16 => ColumnBuffer::U16(Vec::new()),
            ColumnType::U64 => ColumnBuffer::U64(Vec::new()),
            ColumnType::I32 => ColumnBuffer::I32(Vec::new()),
            ColumnType::F32 => ColumnBuffer::F32(Vec::new()),
            ColumnType::Bool => ColumnBuffer::Bool(Vec::new()),
            ColumnType::Utf8 => ColumnBuffer::Utf8(vec![0], String::new()),
            ColumnType::ListU8 => ColumnBuffer::ListU8(vec![0], Vec::new()),
            ColumnType::ListU16 => ColumnBuffer::ListU16(vec![0], Vec::new()),
            ColumnType::ListU32 => ColumnBuffer::ListU32(vec![0], Vec::new()),
        };
        Self { columns: layout.columns().into_iter().map(empty).collect(), rows: 0, tokens: 0 }
    }

    /// No rows yet, and room for about as many as there are here: what grows is copied, and its old memory lies around.
    pub fn alike(&self) -> Self {
        Self { columns: self.columns.iter().map(ColumnBuffer::alike).collect(), rows: 0, tokens: 0 }
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens of all rows pushed so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Appends a row; the order of the fields is that of `Layout::columns`.
    ///
    /// # Panics
    /// The row is not one of the layout.
    pub fn push(&mut self, row: &Row<'_>) {
        self.rows += 1;
        self.tokens += row.tokens().len();
        let mut columns = self.columns.iter_mut();
        let mut next = || columns.next().expect("the layout of the writer's kind");
        match row {
            Row::Corpus(r) => {
                next().push_u64(r.document_id);
                next().push_tokens(r.token_ids);
                next().push_list_u16(r.sentence_lengths);
            }
            Row::Pretrain(PretrainRow { input_ids, segment_a_length, next_sentence_label, masked }) => {
                next().push_tokens(*input_ids);
                next().push_u16(*segment_a_length);
                next().push_bool(*next_sentence_label);
                if let Some(masked) = masked {
                    next().push_list_u16(masked.positions);
                    next().push_tokens(masked.inputs);
                }
            }
            Row::Squad(r) => push_squad(r, next),
            Row::Glue(GlueRow { input_ids, segment_a_length, label, row_id }) => {
                next().push_tokens(*input_ids);
                next().push_u16(*segment_a_length);
                next().push_u64(*row_id);
                match label {
                    Some(Label::Class(class)) => next().push_i32(*class),
                    Some(Label::Score(score)) => next().push_f32(*score),
                    None => {}
                }
            }
        }
        debug_assert!(columns.next().is_none(), "a row fills every column");
    }

    /// The batch of all rows pushed so far; `schema` is that of the layout, with any metadata.
    pub fn finish(self, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
        let columns: Result<Vec<ArrayRef>, ArrowError> =
            self.columns.into_iter().map(ColumnBuffer::into_array).collect();
        RecordBatch::try_new(schema, columns?)
    }
}

fn push_squad<'b>(r: &SquadRow<'_>, mut next: impl FnMut() -> &'b mut ColumnBuffer) {
    next().push_tokens(r.input_ids);
    next().push_u16(r.segment_a_length);
    next().push_u16(r.start_position);
    next().push_u16(r.end_position);
    next().push_bool(r.is_impossible);
    next().push_utf8(r.example_id);
    next().push_u16(r.window);
    next().push_list_u32(r.context_starts);
    next().push_list_u32(r.context_ends);
    next().push_list_u8(r.max_context);
}

macro_rules! push_scalar {
    ($($name:ident, $variant:ident, $ty:ty;)*) => {
        $(fn $name(&mut self, value: $ty) {
            match self {
                Self::$variant(values) => values.push(value),
                _ => unreachable!("the layout decides the type of each column"),
            }
        })*
    };
}

macro_rules! push_list {
    ($($name:ident, $variant:ident, $ty:ty;)*) => {
        $(fn $name(&mut self, list: &[$ty]) {
            match self {
                Self::$variant(offsets, values) => {
                    values.extend_from_slice(list);
                    offsets.push(values.len() as i32);
                }
                _ => unreachable!("the layout decides the type of each column"),
            }
        })*
    };
}

/// Empty, with room for a little more than `values` has.
fn room<T>(values: &[T]) -> Vec<T> {
    Vec::with_capacity(values.len() + values.len() / 16)
}

/// The offset of the first list, with room for a little more than `offsets` has.
fn room_for_offsets(offsets: &[i32]) -> Vec<i32> {
    let mut empty = room(offsets);
    empty.push(0);
    empty
}

impl ColumnBuffer {
    fn alike(&self) -> Self {
        match self {
            Self::U16(v) => Self::U16(room(v)),
            Self::U64(v) => Self::U64(room(v)),
            Self::I32(v) => Self::I32(room(v)),
            Self::F32(v) => Self::F32(room(v)),
            Self::Bool(v) => Self::Bool(room(v)),
            Self::Utf8(o, v) => Self::Utf8(room_for_offsets(o), String::with_capacity(v.len() + v.len() / 16)),
            Self::ListU8(o, v) => Self::ListU8(room_for_offsets(o), room(v)),
            Self::ListU16(o, v) => Self::ListU16(room_for_offsets(o), room(v)),
            Self::ListU32(o, v) => Self::ListU32(room_for_offsets(o), room(v)),
        }
    }

    push_scalar! { push_u16, U16, u16; push_u64, U64, u64; push_i32, I32, i32; push_f32, F32, f32;
    push_bool, Bool, bool; }
    push_list! { push_list_u8, ListU8, u8; push_list_u16, ListU16, u16; push_list_u32, ListU32, u32; }

    fn push_utf8(&mut self, text: &str) {
        match self {
            Self::Utf8(offsets, values) => {
                values.push_str(text);
                offsets.push(values.len() as i32);
            }
            _ => unreachable!("the layout decides the type of each column"),
        }
    }

    fn push_tokens(&mut self, tokens: Tokens<'_>) {
        match self {
            Self::ListU16(offsets, values) => {
                match tokens {
                    Tokens::U16(ids) => values.extend_from_slice(ids),
                    Tokens::U32(ids) => values.extend(ids.iter().map(|&id| id as u16)),
                }
                offsets.push(values.len() as i32);
            }
            Self::ListU32(offsets, values) => {
                tokens.append_to(values);
                offsets.push(values.len() as i32);
            }
            _ => unreachable!("the layout decides the type of each column"),
        }
    }

    fn into_array(self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::U16(v) => Arc::new(UInt16Array::from(v)),
            Self::U64(v) => Arc::new(UInt64Array::from(v)),
            Self::I32(v) => Arc::new(Int32Array::from(v)),
            Self::F32(v) => Arc::new(Float32Array::from(v)),
            Self::Bool(v) => Arc::new(BooleanArray::from(v)),
            Self::Utf8(o, v) => Arc::new(StringArray::try_new(offsets(o), v.into_bytes().into(), None)?),
            Self::ListU8(o, v) => list(o, DataType::UInt8, UInt8Array::from(v))?,
            Self::ListU16(o, v) => list(o, DataType::UInt16, UInt16Array::from(v))?,
            Self::ListU32(o, v) => list(o, DataType::UInt32, UInt32Array::from(v))?,
        })
    }
}

fn offsets(values: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(values))
}

fn list(o: Vec<i32>, ty: DataType, values: impl Array + 'static) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(ListArray::try_new(item(ty), offsets(o), Arc::new(values), None)?))
}
