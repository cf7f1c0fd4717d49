//! GLUE tasks in their official file layouts, as examples ready for fine-tuning.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloze_formats::dataset::refuse_finished;
use cloze_formats::manifest::{MANIFEST, VocabularyInfo};
use cloze_formats::schema::Layout;
use cloze_formats::statistics::Statistics;
use cloze_formats::{DatasetSpec, DatasetWriter, GlueRow, Kind, Manifest, Vocabulary};
use serde::{Deserialize, Serialize};

use crate::error::AtPath;
use crate::tokenize::{Input, WRITER, describe_input, source_entry};
use crate::wordpiece::{Encoder, WordPiece};
use crate::{Error, Result};

/// A classification task of one sentence: what its files look like.
#[derive(Debug)]
pub struct Task {
    /// Name on the command line and in manifests.
    pub name: &'static str,
    /// Header of train.tsv and dev.tsv.
    columns: &'static [&'static str],
    /// Header of test.tsv.
    test_columns: &'static [&'static str],
    /// Labels as the files have them; the class is the position.
    labels: &'static [&'static str],
}

/// The supported tasks.
pub const TASKS: &[Task] = &[Task {
    name: "sst-2",
    columns: &["sentence", "label"],
    test_columns: &["index", "sentence"],
    labels: &["0", "1"],
}];

/// The files of a task, and the dataset each becomes below the output directory.
const SPLITS: [&str; 3] = ["train", "dev", "test"];

/// Everything that decides the bytes of a GLUE dataset; stored whole in its manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlueConfig {
    /// Name of the task. Default `sst-2`.
    pub task: String,
    /// Tokens per example at most, `[CLS]` and `[SEP]` included; longer sentences lose their end. Default 128.
    pub max_seq_length: u16,
    /// Whether the vocabulary keeps case and accents. Default false.
    pub cased: bool,
}

impl Default for GlueConfig {
    fn default() -> Self {
        Self { task: TASKS[0].name.to_owned(), max_seq_length: 128, cased: false }
    }
}

/// What became of one file.
#[derive(Clone, Debug, Serialize)]
pub struct SplitSummary {
    /// `train`, `dev` or `test`.
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
}

/// An example before tokenization.
struct Example {
    sentence: String,
    label: Option<i32>,
}

/// Turns the files of `config.task` in `dir` into the datasets `out/train`, `out/dev` and `out/test`.
///
/// Files that are not there are left out; all are read and checked before anything is written. Columns are separated by
/// tabs and quotes mean themselves, as in GLUE's files.
///
/// # Errors
/// An unknown task, a limit below 3 tokens, no file at all, another header, a row with another number of columns or an
/// unknown label (naming file and line), text that is not UTF-8, or an output that is finished already or cannot be written.
pub fn glue(config: &GlueConfig, dir: &Path, vocabulary: &Vocabulary, out: &Path) -> Result<Vec<SplitSummary>> {
    let task = find_task(&config.task)?;
    if config.max_seq_length < 3 {
        let problem = format!("expected a max_seq_length of at least 3, found {}", config.max_seq_length);
        return Err(Error::invalid(dir, problem));
    }
    let mut splits = Vec::new();
    for split in SPLITS {
        let path = dir.join(format!("{split}.tsv"));
        if path.exists() {
            splits.push((split, read_examples(task, split, &path)?, path));
        }
    }
    // An interrupted run may have finished some of them; if it finished all, there is nothing to do and something to lose.
    if splits.iter().all(|(split, ..)| out.join(split).join(MANIFEST).exists()) {
        splits.iter().try_for_each(|(split, ..)| refuse_finished(&out.join(split)))?;
    }
    if splits.is_empty() {
        // Names the directory itself if that is what is missing.
        std::fs::read_dir(dir).at(dir)?;
        return Err(Error::invalid(dir, "expected train.tsv, dev.tsv or test.tsv here, found none of them"));
    }
    let mut encoder = Encoder::new(Arc::new(WordPiece::new(vocabulary, config.cased)));
    let write = |(split, examples, path): (_, Vec<Example>, PathBuf)| {
        write_split(config, split, &examples, &path, vocabulary, &mut encoder, out)
    };
    splits.into_iter().map(write).collect()
}

/// The task called `name`, in any case, with or without hyphen.
fn find_task(name: &str) -> Result<&'static Task> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    TASKS.iter().find(|task| plain(task.name) == plain(name)).ok_or_else(|| {
        let known: Vec<_> = TASKS.iter().map(|task| task.name).collect();
        Error::invalid(name, format!("expected a supported GLUE task ({}), found another", known.join(", ")))
    })
}

/// Reads a whole file; row 0 is the line after the header.
fn read_examples(task: &Task, split: &str, path: &Path) -> Result<Vec<Example>> {
    let bytes = std::fs::read(path).at(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::invalid(path, format!("line {line}: expected UTF-8 text, found other bytes"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let columns = if split == "test" { task.test_columns } else { task.columns };
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).zip(1u64..);
    let header = lines.next().map_or("", |(line, _)| line);
    if header.split('\t').ne(columns.iter().copied()) {
        let expected = columns.join("<tab>");
        return Err(Error::invalid(path, format!("line 1: expected the header {expected}, found {header:?}")));
    }
    let mut examples = Vec::new();
    while let Some((line, number)) = lines.next() {
        if line.is_empty() && lines.clone().next().is_none() {
            break;
        }
        let example = parse_row(task, columns, line, examples.len());
        examples.push(example.map_err(|problem| Error::invalid(path, format!("line {number}: {problem}")))?);
    }
    if examples.is_empty() {
        return Err(Error::invalid(path, "expected examples after the header, found none"));
    }
    Ok(examples)
}

/// The error says what was expected and found.
fn parse_row(task: &Task, columns: &[&str], line: &str, row: usize) -> Result<Example, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    if fields.len() != columns.len() {
        return Err(format!("expected {} columns ({}), found {}", columns.len(), columns.join(", "), fields.len()));
    }
    let mut example = Example { sentence: String::new(), label: None };
    for (&column, field) in columns.iter().zip(fields) {
        match column {
            "sentence" => example.sentence = field.to_owned(),
            "label" => {
                let class = task.labels.iter().position(|&label| label == field);
                let class =
                    class.ok_or_else(|| format!("expected a label of {}, found {field:?}", task.labels.join(", ")))?;
                example.label = Some(class as i32);
            }
            // Predictions are written by row, so the two must agree.
            _ if field != row.to_string() => return Err(format!("expected {column} {row}, found {field:?}")),
            _ => {}
        }
    }
    Ok(example)
}

/// The split that an interrupted run has made of the same file in the same way.
fn finished_before(dataset: &Path, spec: &DatasetSpec, input: &Input) -> Result<Option<Manifest>> {
    if !dataset.join(MANIFEST).exists() {
        return Ok(None);
    }
    let manifest = Manifest::read(dataset)?;
    let same = manifest.configuration == spec.configuration
        && manifest.vocabulary == spec.vocabulary
        && manifest.sources.first().is_some_and(|source| source.sha256 == input.sha256);
    if same { Ok(Some(manifest)) } else { refuse_finished(dataset).map(|()| None) }
}

fn write_split(
    config: &GlueConfig,
    split: &'static str,
    examples: &[Example],
    path: &Path,
    vocabulary: &Vocabulary,
    encoder: &mut Encoder,
    out: &Path,
) -> Result<SplitSummary> {
    let input = describe_input(path, "glue")?;
    let spec = DatasetSpec {
        writer: WRITER.to_owned(),
        kind: Kind::Glue,
        layout: Layout::new(Kind::Glue, vocabulary.len(), split != "test"),
        vocabulary: VocabularyInfo::new(vocabulary, config.cased),
        configuration: serde_json::json!(config),
        inputs: serde_json::json!([input]),
    };
    let dataset = out.join(split);
    if let Some(manifest) = finished_before(&dataset, &spec, &input)? {
        let Statistics { rows, tokens, unknown_tokens, .. } = manifest.statistics;
        return Ok(SplitSummary { split, dataset, examples: rows, tokens, unknown_tokens, truncated: 0 });
    }
    let writer = DatasetWriter::create(&dataset, spec, vocabulary)?;
    let mut shard = writer.shard(0)?;
    let special = vocabulary.special();
    let (mut ids, mut truncated) = (Vec::new(), 0);
    for (example, row_id) in examples.iter().zip(0u64..) {
        ids.clear();
        ids.push(special.cls);
        encoder.encode(&example.sentence, &mut ids);
        let longest = usize::from(config.max_seq_length) - 1;
        truncated += u64::from(ids.len() > longest);
        ids.truncate(longest);
        ids.push(special.sep);
        let segment_a_length = ids.len() as u16;
        shard.push(GlueRow { input_ids: (&ids).into(), segment_a_length, label: example.label, row_id })?;
    }
    let counts = writer.finish_shard(0, shard, serde_json::Value::Null)?.statistics;
    writer.publish(vec![source_entry(&input, counts.rows)])?;
    let (examples, tokens, unknown_tokens) = (counts.rows, counts.tokens, counts.unknown_tokens);
    Ok(SplitSummary { split, dataset, examples, tokens, unknown_tokens, truncated })
}
