//! GLUE's tasks in their official file layouts, as examples ready for fine-tuning.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloze_formats::dataset::{refuse_finished, remove_leftovers};
use cloze_formats::finetune::GlueTask;
use cloze_formats::manifest::{MANIFEST, VocabularyInfo};
use cloze_formats::schema::{LabelType, Layout};
use cloze_formats::{DatasetSpec, DatasetWriter, GlueRow, Kind, Manifest, Vocabulary};
use serde::{Deserialize, Serialize};

use crate::error::AtPath;
use crate::progress::{Bar, Progress};
use crate::tokenize::{Input, WRITER, describe_input, source_entry};
use crate::wordpiece::{Encoder, WordPiece};
use crate::{Error, Result};

mod file;
mod tasks;

use file::{Example, Examples};
use tasks::{DEV_IDS, File, Labels, Rows, Split};
pub use tasks::{TASKS, Task};

/// What the user decides of a GLUE dataset; stored whole in its manifest, together with the task's description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlueConfig {
    /// Name of the task. Default `sst-2`.
    pub task: String,
    /// Tokens per example at most, `[CLS]` and `[SEP]` included. Default 128.
    ///
    /// Longer sentences lose their end; of a pair, the longer sentence loses tokens first, the second one at equal length.
    pub max_seq_length: u16,
    /// Whether the vocabulary keeps case and accents. Default false.
    pub cased: bool,
}

impl Default for GlueConfig {
    fn default() -> Self {
        Self { task: "sst-2".to_owned(), max_seq_length: 128, cased: false }
    }
}

/// Everything that decides the bytes of a split, as its manifest has it.
#[derive(Serialize)]
struct Configuration {
    #[serde(flatten)]
    task: GlueTask,
    max_seq_length: u16,
    cased: bool,
}

impl Configuration {
    fn new(config: &GlueConfig, task: &Task, split: &Split) -> Self {
        let classes = match task.labels {
            Labels::Classes(classes) => classes,
            Labels::Score { .. } => &[],
        };
        let task = GlueTask {
            task: task.name.to_owned(),
            split: split.name.to_owned(),
            labels: classes.iter().map(|(label, _)| (*label).to_owned()).collect(),
            label_names: classes.iter().map(|(_, name)| (*name).to_owned()).collect(),
            metrics: task.metrics.to_vec(),
            submission: split.submission.map(str::to_owned),
        };
        Self { task, max_seq_length: config.max_seq_length, cased: config.cased }
    }
}

/// What became of one file.
#[derive(Clone, Debug, Serialize)]
pub struct SplitSummary {
    /// `train`, `dev`, `test`; MNLI has `dev_matched` and the like.
    pub split: &'static str,
    /// The dataset.
    pub dataset: PathBuf,
    /// Examples, one a row of the file.
    pub examples: u64,
    /// Tokens, special ones included.
    pub tokens: u64,
    /// `[UNK]` among them.
    pub unknown_tokens: u64,
    /// Examples that were longer than `max_seq_length`.
    pub truncated: u64,
    /// Rows left out: QQP's broken ones, MNLI's without a majority label.
    pub skipped: u64,
    /// Examples with a sentence that has no text, which QQP has; it becomes an empty segment.
    pub empty: u64,
}

/// A split whose file is there, with what it holds.
struct Found {
    split: &'static Split,
    file: &'static File,
    /// What decides which examples it holds: the file, and the list by which it is divided.
    paths: Vec<PathBuf>,
    examples: Examples,
}

impl Found {
    fn text_bytes(&self) -> u64 {
        self.examples.rows.iter().map(Example::text_bytes).sum()
    }
}

/// Turns the files of `config.task` in `dir` into the datasets `out/train`, `out/dev`, `out/test`; MNLI has `out/dev_matched` and so on.
///
/// Files that are not there are left out; all are read and checked before anything is written. Columns are found by their names,
/// separated by tabs, and quotes mean themselves, as in GLUE's files. A sentence may be empty: QQP has such questions, and
/// its test set wants an answer to each.
///
/// # Errors
/// An unknown task, a limit that leaves no room for a token of each sentence, no file at all, a header without the needed columns, a
/// row with another number of columns or an unknown label (naming file and line), text that is not UTF-8, or an output that is
/// finished already, of other files too, or cannot be written.
pub fn glue(
    config: &GlueConfig,
    dir: &Path,
    vocabulary: &Vocabulary,
    out: &Path,
    progress: &Progress,
) -> Result<Vec<SplitSummary>> {
    let task = Task::find(&config.task)?;
    let least = 1 + 2 * task.num_sentences() as u16;
    if config.max_seq_length < least {
        let problem = format!("expected a max_seq_length of at least {least}, found {}", config.max_seq_length);
        return Err(Error::invalid(dir, problem));
    }
    let found = find_files(task, dir)?;
    // An interrupted run may have finished some of them; if it finished all, there is nothing to do and something to lose.
    if found.iter().all(|found| out.join(found.split.name).join(MANIFEST).exists()) {
        found.iter().try_for_each(|found| refuse_finished(&out.join(found.split.name)))?;
    }
    let mut encoder = Encoder::new(Arc::new(WordPiece::new(vocabulary, config.cased)));
    let mut bar = progress.bytes("tokenizing", found.iter().map(Found::text_bytes).sum());
    let write = |found| write_split(config, task, found, vocabulary, &mut encoder, out, &mut bar);
    found.iter().map(write).collect()
}

/// Reads all files of `task` that are in `dir`, at least one.
fn find_files(task: &'static Task, dir: &Path) -> Result<Vec<Found>> {
    let is_there = |file: &File| {
        let listed = file.rows != Rows::Listed || dir.join(DEV_IDS).exists();
        listed && dir.join(file.name).exists()
    };
    let mut found = Vec::new();
    for split in task.splits {
        if let Some(file) = split.files.iter().find(|file| is_there(file)) {
            let examples = file::read(task, file, dir)?;
            let list = Some(dir.join(DEV_IDS)).filter(|list| file.rows != Rows::All && list.exists());
            found.push(Found { split, file, paths: [dir.join(file.name)].into_iter().chain(list).collect(), examples });
        }
    }
    if found.is_empty() {
        // Names the directory itself if that is what is missing.
        std::fs::read_dir(dir).at(dir)?;
        let mut names: Vec<&str> = Vec::new();
        for file in task.splits.iter().flat_map(|split| split.files) {
            if !names.contains(&file.name) {
                names.push(file.name);
            }
        }
        let (name, names) = (task.name, names.join(", "));
        return Err(Error::invalid(dir, format!("expected a file of {name} here ({names}), found none of them")));
    }
    Ok(found)
}

/// The split that an interrupted run has made of the same files in the same way.
fn finished_before(dataset: &Path, spec: &DatasetSpec, inputs: &[Input]) -> Result<Option<Manifest>> {
    if !dataset.join(MANIFEST).exists() {
        return Ok(None);
    }
    let manifest = Manifest::read(dataset)?;
    let same = manifest.configuration == spec.configuration
        && manifest.vocabulary == spec.vocabulary
        && manifest.sources.iter().map(|source| &source.sha256).eq(inputs.iter().map(|input| &input.sha256));
    if !same {
        return refuse_finished(dataset).map(|()| None);
    }
    remove_leftovers(dataset)?;
    Ok(Some(manifest))
}

/// What the dataset of a split will be.
fn spec(config: &GlueConfig, task: &Task, found: &Found, vocabulary: &Vocabulary, inputs: &[Input]) -> DatasetSpec {
    let label_type = match task.labels {
        Labels::Classes(_) => LabelType::Class,
        Labels::Score { .. } => LabelType::Score,
    };
    DatasetSpec {
        writer: WRITER.to_owned(),
        kind: Kind::Glue,
        layout: Layout::glue(vocabulary.len(), found.file.label.map(|_| label_type)),
        vocabulary: VocabularyInfo::new(vocabulary, config.cased),
        configuration: serde_json::json!(Configuration::new(config, task, found.split)),
        inputs: serde_json::json!(inputs),
    }
}

fn write_split(
    config: &GlueConfig,
    task: &Task,
    found: &Found,
    vocabulary: &Vocabulary,
    encoder: &mut Encoder,
    out: &Path,
    bar: &mut Bar,
) -> Result<SplitSummary> {
    let Found { split, paths, examples, .. } = found;
    let inputs = paths.iter().map(|path| describe_input(path, "glue", |_| ())).collect::<Result<Vec<_>>>()?;
    let spec = spec(config, task, found, vocabulary, &inputs);
    let dataset = out.join(split.name);
    let empty = examples.rows.iter().filter(|example| example.is_empty()).count() as u64;
    let mut rows = RowMaker::new(config.max_seq_length, vocabulary, encoder);
    let counts = match finished_before(&dataset, &spec, &inputs)? {
        Some(manifest) => {
            // The manifest does not say how many were cut.
            examples.rows.iter().for_each(|example| _ = rows.make(example));
            manifest.statistics
        }
        None => {
            let (writer, shard) = DatasetWriter::create(&dataset, spec, vocabulary)?.attempt(|writer| {
                let mut shard = writer.shard(0)?;
                for example in &examples.rows {
                    shard.push(rows.make(example))?;
                    bar.add(example.text_bytes());
                }
                writer.finish_shard(0, shard, serde_json::Value::Null)
            })?;
            // Examples come from the first file alone.
            let counts = [shard.statistics.rows].into_iter().chain(std::iter::repeat(0));
            writer.publish(inputs.iter().zip(counts).map(|(input, count)| source_entry(input, count)).collect())?;
            shard.statistics
        }
    };
    Ok(SplitSummary {
        split: split.name,
        dataset,
        examples: counts.rows,
        tokens: counts.tokens,
        unknown_tokens: counts.unknown_tokens,
        truncated: rows.truncated,
        skipped: examples.skipped,
        empty,
    })
}

impl Example {
    fn text_bytes(&self) -> u64 {
        (self.a.len() + self.b.as_ref().map_or(0, String::len)) as u64
    }

    /// Whether a sentence has no text.
    fn is_empty(&self) -> bool {
        let blank = |sentence: &String| sentence.trim().is_empty();
        blank(&self.a) || self.b.as_ref().is_some_and(blank)
    }
}

/// Makes rows of examples in buffers that it keeps.
struct RowMaker<'a> {
    max_seq_length: usize,
    vocabulary: &'a Vocabulary,
    encoder: &'a mut Encoder,
    a: Vec<u32>,
    b: Vec<u32>,
    input_ids: Vec<u32>,
    /// Examples cut so far.
    truncated: u64,
}

impl<'a> RowMaker<'a> {
    fn new(max_seq_length: u16, vocabulary: &'a Vocabulary, encoder: &'a mut Encoder) -> Self {
        let max_seq_length = max_seq_length.into();
        Self { max_seq_length, vocabulary, encoder, a: vec![], b: vec![], input_ids: vec![], truncated: 0 }
    }

    /// `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`.
    fn make(&mut self, example: &Example) -> GlueRow<'_> {
        let special = self.vocabulary.special();
        self.a.clear();
        self.b.clear();
        self.encoder.encode(&example.a, &mut self.a);
        if let Some(b) = &example.b {
            self.encoder.encode(b, &mut self.b);
        }
        let room = self.max_seq_length - 2 - usize::from(example.b.is_some());
        self.truncated += u64::from(self.a.len() + self.b.len() > room);
        truncate_pair(&mut self.a, &mut self.b, room);
        self.input_ids.clear();
        self.input_ids.push(special.cls);
        self.input_ids.extend_from_slice(&self.a);
        self.input_ids.push(special.sep);
        let segment_a_length = self.input_ids.len() as u16;
        if example.b.is_some() {
            self.input_ids.extend_from_slice(&self.b);
            self.input_ids.push(special.sep);
        }
        GlueRow { input_ids: (&self.input_ids).into(), segment_a_length, label: example.label, row_id: example.row_id }
    }
}

/// Drops tokens from the end of the longer sentence until both fit, from B at equal length.
///
/// Source: `_truncate_seq_pair` of google-research/bert's `run_classifier.py`, whose loop this is the sum of.
fn truncate_pair(a: &mut Vec<u32>, b: &mut Vec<u32>, room: usize) {
    if a.len() + b.len() > room {
        // A keeps the odd token, and whatever room B leaves.
        let keep_a = a.len().min(room.div_ceil(2).max(room.saturating_sub(b.len())));
        a.truncate(keep_a);
        b.truncate(room - keep_a);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As BERT's script has it, one token at a time.
    fn truncate_one_by_one(a: &mut Vec<u32>, b: &mut Vec<u32>, room: usize) {
        while a.len() + b.len() > room {
            if a.len() > b.len() {
                a.pop()
            } else {
                b.pop()
            };
        }
    }

    #[test]
    fn pairs_are_cut_as_if_token_by_token_from_the_longer_one() {
        for (a_len, b_len, room) in (0..12).flat_map(|a| (0..12).flat_map(move |b| (1..14).map(move |r| (a, b, r)))) {
            let (mut a, mut b): (Vec<u32>, Vec<u32>) = ((0..a_len).collect(), (0..b_len).collect());
            let (mut expected_a, mut expected_b) = (a.clone(), b.clone());
            truncate_pair(&mut a, &mut b, room);
            truncate_one_by_one(&mut expected_a, &mut expected_b, room);
            assert_eq!((&a, &b), (&expected_a, &expected_b), "{a_len} and {b_len} into {room}");
        }
    }
}
