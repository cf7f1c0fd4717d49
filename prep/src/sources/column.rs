//! The text column of a table: what Parquet and Arrow sources share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::ArrowDictionaryKeyType;
use arrow_array::{Array, ArrayRef, RecordBatch, downcast_dictionary_array};
use arrow_schema::{DataType, Schema};

use super::{Form, MAX_DOCUMENT_BYTES, RawDocument, Skipped, list};
use crate::{Error, Result};

/// Number of the column `name`, which must hold text.
pub(super) fn find(path: &Path, schema: &Schema, name: &str) -> Result<usize> {
    let Some((index, field)) = schema.column_with_name(name) else {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        return Err(Error::invalid(path, format!("expected a column {name:?} (see --column), found {}", list(&names))));
    };
    let holds = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    match holds {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(index),
        other => Err(Error::invalid(path, format!("expected text in column {name:?} (see --column), found {other}"))),
    }
}

/// The rows of a column of a record batch, one document each; null ones are counted and left out.
pub(super) struct Rows {
    column: ArrayRef,
    next: usize,
}

impl Rows {
    /// No rows.
    pub(super) fn none() -> Self {
        Self { column: arrow_array::new_empty_array(&DataType::Utf8), next: 0 }
    }

    /// All rows of column `index`.
    pub(super) fn of(batch: &RecordBatch, index: usize) -> Self {
        Self { column: Arc::clone(batch.column(index)), next: 0 }
    }

    /// The next document; `None` after the last row of the batch. Rows of the file before this batch: `rows_before`.
    pub(super) fn next(&mut self, path: &Path, rows_before: u64, skipped: &Skipped) -> Result<Option<RawDocument>> {
        while self.next < self.column.len() {
            let row = self.next;
            self.next += 1;
            let Some(text) = text_at(self.column.as_ref(), row) else {
                Skipped::add_one(&skipped.null);
                continue;
            };
            if text.len() > MAX_DOCUMENT_BYTES {
                let (mega, row) = (MAX_DOCUMENT_BYTES >> 20, rows_before + row as u64);
                let problem = format!("expected documents of at most {mega} MiB, found a larger one in row {row}");
                return Err(Error::invalid(path, problem));
            }
            return Ok(Some(RawDocument { title: None, body: text.to_owned(), form: Form::Prose }));
        }
        Ok(None)
    }
}

fn text_at(column: &dyn Array, row: usize) -> Option<&str> {
    if column.is_null(row) {
        return None;
    }
    downcast_dictionary_array!(
        column => text_of_key(column, row),
        DataType::Utf8 => Some(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(column.as_string_view().value(row)),
        _ => None,
    )
}

fn text_of_key<K: ArrowDictionaryKeyType>(column: &arrow_array::DictionaryArray<K>, row: usize) -> Option<&str> {
    text_at(column.values().as_ref(), column.key(row)?)
}

/// Runs a decoder that may panic on damaged files, and makes an error of it.
///
/// The files of others have no checksums that we could compare first, as those of our own have.
pub(super) fn guarded<T>(path: &Path, format: &str, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    quiet::during(|| catch_unwind(AssertUnwindSafe(decode))).unwrap_or_else(|_| {
        Err(Error::invalid(path, format!("{format} data is damaged; restore the file or download it again")))
    })
}

/// No report on standard error of a panic that is caught.
mod quiet {
    use std::cell::Cell;
    use std::sync::Once;

    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn during<T>(work: impl FnOnce() -> T) -> T {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !QUIET.get() {
                    report(panic);
                }
            }));
        });
        QUIET.set(true);
        let result = work();
        QUIET.set(false);
        result
    }
}
