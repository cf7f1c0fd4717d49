//! Directories that Hugging Face `datasets` opens: Arrow streams and a description.
//!
//! Source: `Dataset.save_to_disk` and `load_from_disk` of the Python package `datasets`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Schema, SchemaRef};
use cloze_formats::checksum::sha256_file;
use cloze_formats::manifest::MANIFEST;
use cloze_formats::{Dataset, ErrorKind};
use serde_json::json;

use super::columnar::BatchWriter;
use super::export::Part;
use super::output::Output;
use crate::error::{AtPath, Error, Result};

/// An Arrow stream being written.
pub(super) struct Writer(StreamWriter<BufWriter<File>>);

impl Writer {
    pub(super) fn create(path: &Path, schema: &Schema) -> std::result::Result<Self, ErrorKind> {
        Ok(Self(StreamWriter::try_new(BufWriter::new(File::create(path)?), schema)?))
    }
}

impl BatchWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), ErrorKind> {
        Ok(self.0.write(batch)?)
    }

    fn finish(mut self) -> std::result::Result<(), ErrorKind> {
        self.0.finish()?;
        Ok(self.0.into_inner()?.flush()?)
    }
}

/// An Arrow stream being read; every batch up to its mark, behind which nothing may follow.
pub(super) struct Reader {
    batches: StreamReader<Observed>,
    path: PathBuf,
}

/// Opens the Arrow stream at `path`, batch by batch.
///
/// # Errors
/// Not such a file.
pub(super) fn open(path: &Path) -> Result<(SchemaRef, Reader)> {
    let file = BufReader::with_capacity(1 << 20, File::open(path).at(path)?);
    let batches = StreamReader::try_new(Observed { file, at_end: false }, None).map_err(|e| {
        Error::invalid(path, format!("expected an Arrow stream as `datasets` saves it, found none: {e}"))
    })?;
    Ok((batches.schema(), Reader { batches, path: path.to_owned() }))
}

impl Iterator for Reader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.batches.next() {
            Some(batch) => Some(batch.at(&self.path)),
            None => self.check_end().err().map(Err),
        }
    }
}

impl Reader {
    /// The reader of the stream takes the end of the file for that of the stream, and looks at nothing behind the latter.
    fn check_end(&mut self) -> Result<()> {
        let Observed { file, at_end } = self.batches.get_mut();
        let problem = if *at_end {
            "Arrow data ends early: the file was cut short; restore the file or make it again"
        } else if !file.fill_buf().at(&self.path)?.is_empty() {
            "Arrow stream ends, but the file goes on: it is damaged or several were joined; restore the file or make it again"
        } else {
            return Ok(());
        };
        Err(Error::invalid(&self.path, problem))
    }
}

/// A file that notes when more was wanted of it than there is.
struct Observed {
    file: BufReader<File>,
    at_end: bool,
}

impl Read for Observed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(out)?;
        self.at_end |= bytes == 0 && !out.is_empty();
        Ok(bytes)
    }
}

/// File with the list of the others.
const STATE: &str = "state.json";

/// The files that `datasets` has in the directory `dir`, beside which it may keep caches; `None` where it is not one of its.
///
/// # Errors
/// A `state.json` that cannot be read or lists no files.
pub(super) fn data_files(dir: &Path) -> Result<Option<Vec<String>>> {
    let path = dir.join(STATE);
    if !path.exists() {
        return Ok(None);
    }
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).at(&path)?).map_err(std::io::Error::from).at(&path)?;
    let files = state["_data_files"].as_array().into_iter().flatten();
    let names: Vec<String> = files.filter_map(|file| Some(file["filename"].as_str()?.to_owned())).collect();
    if names.is_empty() {
        return Err(Error::invalid(path, "expected a list of _data_files as `datasets` writes it, found none"));
    }
    Ok(Some(names))
}

/// Writes `state.json` and `dataset_info.json`, which list the files and say what they are. Column types are left to the
/// files, whose schema `datasets` takes.
pub(super) fn describe(dataset: &Dataset, parts: &[Part], output: &Output) -> Result<()> {
    let manifest = dataset.dir().join(MANIFEST);
    // The cache of `datasets` goes by the fingerprint: it must be another one for other rows.
    let (fingerprint, _) = sha256_file(manifest)?;
    let files: Vec<_> = parts.iter().map(|part| json!({ "filename": part.name })).collect();
    let state = json!({
        "_data_files": files,
        "_fingerprint": &fingerprint[..16],
        "_format_columns": null,
        "_format_kwargs": {},
        "_format_type": null,
        "_output_all_columns": false,
        "_split": null,
    });
    let kind = dataset.manifest().kind;
    let info = json!({
        "citation": "",
        "description": format!("A {kind} dataset exported by {}.", crate::tokenize::WRITER),
        "homepage": "",
        "license": "",
    });
    for (name, value) in [(STATE, state), ("dataset_info.json", info)] {
        let path = output.path(name);
        let text = serde_json::to_string_pretty(&value).map_err(std::io::Error::other).at(&path)? + "\n";
        std::fs::write(&path, text).at(&path)?;
    }
    Ok(())
}
