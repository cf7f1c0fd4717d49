//! Opening datasets, and checking that they fit the model and each other.

use std::path::Path;
use std::sync::Arc;

use cloze_formats::dataset::Dataset;
use cloze_formats::manifest::Kind;
use cloze_formats::stream::{GlueBatch, PretrainBatch, Sequences, SquadBatch};
use cloze_formats::vocabulary::Vocabulary;

use crate::checkpoint::{DataIdentity, State, short};
use crate::error::{Error, Result};

/// What a batch of any task has.
pub trait Batch {
    /// The packed sequences.
    fn sequences(&self) -> &Sequences;
}

impl Batch for PretrainBatch {
    fn sequences(&self) -> &Sequences {
        &self.sequences
    }
}

impl Batch for GlueBatch {
    fn sequences(&self) -> &Sequences {
        &self.sequences
    }
}

impl Batch for SquadBatch {
    fn sequences(&self) -> &Sequences {
        &self.sequences
    }
}

/// Opens the dataset in `dir`, which must be of `kind` and have rows.
pub fn open(dir: &Path, kind: Kind) -> Result<Arc<Dataset>> {
    let dataset = Dataset::open_kind(dir, kind)?;
    if dataset.is_empty() {
        return Err(Error::file(dir, "expected at least one row, found an empty dataset; build it from more text"));
    }
    Ok(Arc::new(dataset))
}

/// What identifies `dataset`.
pub fn identity(dataset: &Dataset) -> DataIdentity {
    let manifest = dataset.manifest();
    DataIdentity {
        manifest: manifest.checksum.to_string(),
        num_instances: dataset.len(),
        vocabulary: manifest.vocabulary.clone(),
    }
}

/// Checks that a resumed run gets the dataset it began with.
pub fn check_same(dataset: &Dataset, checkpoint: &Path, state: &State) -> Result<()> {
    let found = identity(dataset);
    if found == state.data {
        return Ok(());
    }
    let describe = |data: &DataIdentity| format!("{} instances (manifest {})", data.num_instances, data.manifest);
    Err(Error::ResumeMismatch {
        path: checkpoint.to_owned(),
        key: "data".to_owned(),
        expected: describe(&state.data),
        found: describe(&found),
    })
}

/// Checks that `dataset` was tokenized with the vocab.txt in the model directory `model`.
///
/// Files that differ only in line ends hold the same vocabulary. A model without vocab.txt is taken on trust as long as
/// it has a row for every token (`vocab_size`); then the answer is false.
pub fn check_vocabulary(dataset: &Dataset, model: &Path, vocab_size: i64) -> Result<bool> {
    let path = model.join("vocab.txt");
    if !path.is_file() {
        let num_tokens = i64::from(dataset.manifest().vocabulary.num_tokens);
        if num_tokens > vocab_size {
            let message = format!(
                "expected a vocabulary of at most {vocab_size} tokens (vocab_size of {}), found {num_tokens}; \
                 prepare the data with the model's own vocabulary",
                model.display()
            );
            return Err(Error::file(dataset.dir(), message));
        }
        return Ok(false);
    }
    let vocabulary = Vocabulary::read(&path)?;
    if vocabulary.len() as i64 > vocab_size {
        let message = format!(
            "expected at most {vocab_size} tokens (vocab_size in config.json), found {}; give the model its own vocab.txt",
            vocabulary.len()
        );
        return Err(Error::file(&path, message));
    }
    same_vocabulary(dataset, model, &vocabulary)?;
    if let Some(cased) = is_cased(model)? {
        same_case(dataset, model, cased)?;
    }
    Ok(true)
}

/// Checks that two datasets of one run share their vocabulary.
pub fn check_vocabularies(dataset: &Dataset, other: &Dataset) -> Result<()> {
    same_vocabulary(other, dataset.dir(), dataset.vocabulary())?;
    same_case(other, dataset.dir(), dataset.manifest().vocabulary.cased)
}

/// Whether the tokenizer of the model directory `model` keeps case, where its tokenizer_config.json says.
fn is_cased(model: &Path) -> Result<Option<bool>> {
    let path = model.join("tokenizer_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    let config: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, format!("expected JSON: {e}")))?;
    Ok(config["do_lower_case"].as_bool().map(|lower| !lower))
}

fn same_case(dataset: &Dataset, owner: &Path, cased: bool) -> Result<()> {
    let found = dataset.manifest().vocabulary.cased;
    if found == cased {
        return Ok(());
    }
    let name = |cased| if cased { "cased" } else { "uncased" };
    let message = format!(
        "expected {} text, as {} has it, found {}; prepare the data the same way",
        name(cased),
        owner.display(),
        name(found)
    );
    Err(Error::file(dataset.dir(), message))
}

fn same_vocabulary(dataset: &Dataset, owner: &Path, vocabulary: &Vocabulary) -> Result<()> {
    let found = dataset.vocabulary();
    if found.sha256() == vocabulary.sha256() || found.tokens() == vocabulary.tokens() {
        return Ok(());
    }
    Err(Error::Vocabulary {
        dataset: dataset.dir().to_owned(),
        checkpoint: owner.to_owned(),
        expected: short(vocabulary.sha256()).to_owned(),
        found: short(found.sha256()).to_owned(),
    })
}

/// Checks that the model has a position for every token of the longest row.
pub fn check_length(dataset: &Dataset, max_position_embeddings: i64) -> Result<()> {
    let longest = dataset.longest_row();
    if longest as i64 > max_position_embeddings {
        let message = format!(
            "expected rows of at most {max_position_embeddings} tokens (max_position_embeddings), found one of {longest}; \
             build the dataset with a smaller max_seq_length, or use a model with more positions"
        );
        return Err(Error::file(dataset.dir(), message));
    }
    Ok(())
}

/// Mean length and mean squared length of the rows, in tokens.
pub fn mean_lengths(dataset: &Dataset) -> (f64, f64) {
    let (mut rows, mut tokens, mut squares) = (0.0, 0.0, 0.0);
    for (len, &count) in dataset.manifest().statistics.length_histogram.iter().enumerate() {
        let (len, count) = (len as f64, count as f64);
        rows += count;
        tokens += count * len;
        squares += count * len * len;
    }
    if rows == 0.0 { (0.0, 0.0) } else { (tokens / rows, squares / rows) }
}
