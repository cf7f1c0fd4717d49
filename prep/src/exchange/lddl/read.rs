//! LDDL's files to instances.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt16Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray,
    UInt16Array,
};
use cloze_formats::Vocabulary;

use super::npy;
use crate::error::{AtPath, Error, Result};
use crate::exchange::import::Sink;
use crate::exchange::instance::Instance;
use crate::exchange::parquet;

/// Whether the file at `path` has static masks.
pub(in crate::exchange) fn has_masks(path: &Path) -> Result<bool> {
    Ok(parquet::open(path)?.0.index_of("masked_lm_positions").is_ok())
}

/// Appends every row of the file at `path`.
///
/// # Errors
/// Other columns, masks in some files only, or a token that is not in the vocabulary; names file and row.
pub(in crate::exchange) fn read(path: &Path, vocabulary: &Vocabulary, masked: bool, sink: &mut Sink<'_>) -> Result<()> {
    let (schema, batches) = parquet::open(path)?;
    if schema.index_of("masked_lm_positions").is_ok() != masked {
        return Err(Error::invalid(
            path,
            "expected static masks in all files or in none, found some; import them apart",
        ));
    }
    let mut instance = Instance::default();
    for batch in batches {
        let batch = batch.at(path)?;
        let columns = Columns::of(&batch, masked).map_err(|problem| Error::invalid(path, problem))?;
        for i in 0..batch.num_rows() {
            columns.row(i, vocabulary, &mut instance).map_err(|problem| sink.problem(problem))?;
            sink.push_instance(&mut instance, masked)?;
        }
    }
    Ok(())
}

/// The columns of a batch, which may be of the large or the small variant of a type.
struct Columns<'a> {
    a: Texts<'a>,
    b: Texts<'a>,
    is_random_next: &'a BooleanArray,
    num_tokens: Option<&'a UInt16Array>,
    masked: Option<(Blobs<'a>, Texts<'a>)>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch, masked: bool) -> std::result::Result<Self, String> {
        let masked = match masked {
            false => None,
            true => {
                let positions = Blobs::of(column(batch, "masked_lm_positions")?);
                let positions = positions.ok_or("expected a binary column masked_lm_positions, found another type")?;
                Some((positions, texts(batch, "masked_lm_labels")?))
            }
        };
        let is_random_next = column(batch, "is_random_next")?.as_boolean_opt();
        Ok(Self {
            a: texts(batch, "A")?,
            b: texts(batch, "B")?,
            is_random_next: is_random_next.ok_or("expected a boolean column is_random_next, found another type")?,
            num_tokens: column(batch, "num_tokens").ok().and_then(|c| c.as_primitive_opt::<UInt16Type>()),
            masked,
        })
    }

    fn row(&self, i: usize, vocabulary: &Vocabulary, instance: &mut Instance) -> std::result::Result<(), String> {
        let special = vocabulary.special();
        let ids = |text: &str, what: &str, out: &mut Vec<u32>| {
            text.split_whitespace().try_for_each(|token| {
                let id = vocabulary.id(token);
                out.push(id.ok_or_else(|| format!("{what}: expected tokens of the vocabulary, found {token:?}"))?);
                Ok::<_, String>(())
            })
        };
        let tokens = &mut instance.input_ids;
        tokens.clear();
        tokens.push(special.cls);
        ids(self.a.get(i), "A", tokens)?;
        tokens.push(special.sep);
        let a = u16::try_from(tokens.len()).map_err(|_| "expected less than 65536 tokens in A".to_owned())?;
        instance.segment_a_length = a;
        ids(self.b.get(i), "B", tokens)?;
        tokens.push(special.sep);
        if let Some(promised) = self.num_tokens.map(|column| column.value(i))
            && usize::from(promised) != tokens.len()
        {
            return Err(format!("num_tokens promises {promised}, A and B have {}", tokens.len()));
        }
        instance.is_random_next = self.is_random_next.value(i);
        instance.masked_lm_positions.clear();
        instance.masked_lm_ids.clear();
        if let Some((positions, labels)) = &self.masked {
            instance.masked_lm_positions = npy::read(positions.get(i))?;
            ids(labels.get(i), "masked_lm_labels", &mut instance.masked_lm_ids)?;
            let (positions, labels) = (instance.masked_lm_positions.len(), instance.masked_lm_ids.len());
            if positions != labels {
                return Err(format!("expected as many masked_lm_labels as positions, {positions}, found {labels}"));
            }
        }
        Ok(())
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> std::result::Result<&'a ArrayRef, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("expected a column {name}, found none"))?;
    if column.null_count() > 0 {
        return Err(format!("column {name}: expected no nulls, found {}", column.null_count()));
    }
    Ok(column)
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> std::result::Result<Texts<'a>, String> {
    Texts::of(column(batch, name)?).ok_or_else(|| format!("expected a string column {name}, found another type"))
}

enum Texts<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        array.as_string_opt::<i32>().map(Self::Small).or_else(|| array.as_string_opt::<i64>().map(Self::Large))
    }

    fn get(&self, i: usize) -> &str {
        match self {
            Self::Small(array) => array.value(i),
            Self::Large(array) => array.value(i),
        }
    }
}

enum Blobs<'a> {
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
}

impl<'a> Blobs<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        array.as_binary_opt::<i32>().map(Self::Small).or_else(|| array.as_binary_opt::<i64>().map(Self::Large))
    }

    fn get(&self, i: usize) -> &[u8] {
        match self {
            Self::Small(array) => array.value(i),
            Self::Large(array) => array.value(i),
        }
    }
}
