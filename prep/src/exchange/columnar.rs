//! Our own columns in other containers: Parquet and Arrow streams, for datasets of any kind.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use cloze_formats::schema::Layout;
use cloze_formats::shard::{Columns, RowBuffer};
use cloze_formats::{Dataset, ErrorKind};

use super::export::{Job, Part};
use super::import::Sink;
use crate::error::{AtPath, Result};

/// Rows of a record batch, fewer where they have more tokens than [`BATCH_TOKENS`].
const BATCH_ROWS: usize = 8_192;
const BATCH_TOKENS: usize = 4 << 20;

/// Names of the metadata that let an import restore the dataset's manifest.
const CONFIGURATION: &str = "cloze.configuration";
const CASED: &str = "cloze.vocabulary.cased";
const SHA256: &str = "cloze.vocabulary.sha256";

/// Takes record batches into a file.
pub(super) trait BatchWriter {
    /// Appends a batch.
    fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), ErrorKind>;

    /// Writes what is left.
    fn finish(self) -> std::result::Result<(), ErrorKind>;
}

/// The columns of `dataset`, and in the metadata what its manifest says about how they were made.
pub(super) fn schema(dataset: &Dataset) -> SchemaRef {
    let manifest = dataset.manifest();
    let schema = manifest.columns.arrow(&manifest.vocabulary);
    let mut metadata = schema.metadata.clone();
    metadata.insert(CONFIGURATION.to_owned(), manifest.configuration.to_string());
    metadata.insert(CASED.to_owned(), manifest.vocabulary.cased.to_string());
    Arc::new(Schema::new_with_metadata(schema.fields.clone(), metadata))
}

/// Writes the rows of `part`.
pub(super) fn write(
    job: &Job<'_>,
    part: &Part,
    mut writer: impl BatchWriter,
    schema: SchemaRef,
    path: &Path,
) -> Result<()> {
    let layout = job.dataset.manifest().columns;
    let mut rows = RowBuffer::new(layout);
    for index in part.rows.clone() {
        rows.push(&job.dataset.row(index)?);
        if rows.rows() == BATCH_ROWS || rows.tokens() >= BATCH_TOKENS || index + 1 == part.rows.end {
            job.add(rows.rows() as u64);
            let batch = std::mem::replace(&mut rows, RowBuffer::new(layout)).finish(schema.clone()).at(path)?;
            writer.write(&batch).at(path)?;
        }
    }
    writer.finish().at(path)
}

/// What a file with our columns says of itself.
pub(super) struct Described {
    pub layout: Layout,
    /// As in the manifest of the dataset that was exported.
    pub configuration: Option<serde_json::Value>,
    pub cased: Option<bool>,
}

/// Finds out what `schema` holds, for a vocabulary of `num_tokens`, whose hash must be the file's if that has one.
///
/// # Errors
/// No kind of dataset has such columns, or the vocabulary is another; the text says what was expected and found.
pub(super) fn describe(schema: &Schema, num_tokens: usize, sha256: &str) -> std::result::Result<Described, String> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let scores = schema.field_with_name("label").is_ok_and(|field| field.data_type().is_floating());
    let layout = Layout::matching(&names, num_tokens, scores)
        .ok_or_else(|| format!("expected the columns of a Cloze dataset, found {}", names.join(", ")))?;
    let metadata = |key: &str| schema.metadata.get(key).map(String::as_str);
    if let Some(theirs) = metadata(SHA256).filter(|&theirs| theirs != sha256) {
        let short = cloze_formats::dataset::short;
        let (theirs, ours) = (short(theirs), short(sha256));
        return Err(format!("expected the vocabulary it was exported with, {theirs}, found {ours}; give that one"));
    }
    let configuration = metadata(CONFIGURATION).and_then(|text| serde_json::from_str(text).ok());
    Ok(Described { layout, configuration, cased: metadata(CASED).and_then(|text| text.parse().ok()) })
}

/// Appends the rows of `batch`, whose columns may come in any order and among others.
pub(super) fn push_batch(batch: &RecordBatch, layout: Layout, sink: &mut Sink<'_>) -> Result<()> {
    let schema = batch.schema();
    let columns: std::result::Result<Vec<usize>, _> =
        layout.columns().iter().map(|(name, _)| schema.index_of(name)).collect();
    let batch = columns.and_then(|columns| batch.project(&columns)).at(sink.input())?;
    let columns = Columns::new(layout, &batch).map_err(|problem| sink.problem(problem))?;
    (0..batch.num_rows()).try_for_each(|i| sink.push(columns.row(i)))
}
