//! Small datasets, made with the writers of cloze-formats, and the program under test.
#![allow(dead_code, reason = "each test file uses its own part")]

mod place;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloze_formats::dataset::{DatasetSpec, DatasetWriter, EXAMPLES};
use cloze_formats::manifest::{Kind, VocabularyInfo};
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::row::{GlueRow, Label, PretrainRow, Row, SquadRow};
use cloze_formats::schema::{LabelType, Layout};
use cloze_formats::vocabulary::Vocabulary;
#[allow(unused_imports, reason = "each test file uses its own part")]
pub use place::{Place, TINY, in_world};

/// Tokens of the test vocabulary: five special ones, then words `w5`, `w6`, ...
pub const NUM_TOKENS: u32 = 64;
const CLS: u32 = 2;
const SEP: u32 = 3;

/// The test vocabulary; another `salt` makes another vocabulary of the same size.
pub fn vocabulary(salt: &str) -> Vocabulary {
    let words = (5..NUM_TOKENS).map(|id| format!("w{id}{salt}\n"));
    let text: String =
        ["[PAD]\n", "[UNK]\n", "[CLS]\n", "[SEP]\n", "[MASK]\n"].map(str::to_owned).into_iter().chain(words).collect();
    Vocabulary::from_bytes("vocab.txt", text.into_bytes()).unwrap()
}

fn write(
    dir: &Path,
    kind: Kind,
    vocabulary: &Vocabulary,
    examples: Option<String>,
    push: impl Fn(&mut dyn FnMut(Row<'_>)),
) {
    write_shards(dir, kind, vocabulary, examples, &[&push]);
}

/// A dataset whose configuration describes its task.
fn write_task(
    dir: &Path,
    layout: Layout,
    configuration: serde_json::Value,
    examples: Option<String>,
    push: impl Fn(&mut dyn FnMut(Row<'_>)),
) {
    write_all(dir, layout, configuration, &vocabulary(""), examples, &[&push]);
}

/// Pushes the rows of a shard.
type PushRows<'a> = dyn Fn(&mut dyn FnMut(Row<'_>)) + 'a;

fn write_shards(dir: &Path, kind: Kind, vocabulary: &Vocabulary, examples: Option<String>, shards: &[&PushRows<'_>]) {
    let layout = Layout::new(kind, vocabulary.len(), kind == Kind::Glue);
    write_all(dir, layout, serde_json::json!({"max_predictions_per_seq": 3}), vocabulary, examples, shards);
}

fn write_all(
    dir: &Path,
    layout: Layout,
    configuration: serde_json::Value,
    vocabulary: &Vocabulary,
    examples: Option<String>,
    shards: &[&PushRows<'_>],
) {
    let spec = DatasetSpec {
        writer: "test".to_owned(),
        kind: layout.kind(),
        layout,
        vocabulary: VocabularyInfo::new(vocabulary, false),
        configuration,
        inputs: serde_json::Value::Null,
    };
    let mut writer = DatasetWriter::create(dir, spec, vocabulary).unwrap();
    for (index, push) in (0..).zip(shards) {
        let mut shard = writer.shard(index).unwrap();
        push(&mut |row| shard.push(row).unwrap());
        writer.finish_shard(index, shard, serde_json::Value::Null).unwrap();
    }
    if let Some(examples) = examples {
        writer.write_file(EXAMPLES, examples.as_bytes()).unwrap();
    }
    writer.publish(Vec::new()).unwrap();
}

/// Instances whose tokens count upwards, so that a model can learn them; dynamic masking. Lengths 9 to 15.
pub fn pretrain(dir: &Path, num_instances: u64, salt: &str) {
    write(dir, Kind::Pretrain, &vocabulary(salt), None, |push| instances(0..num_instances, push));
}

/// The same instances, the last one in a shard of its own.
pub fn pretrain_in_two_shards(dir: &Path, num_instances: u64) {
    let most = |push: &mut dyn FnMut(Row<'_>)| instances(0..num_instances - 1, push);
    let last = |push: &mut dyn FnMut(Row<'_>)| instances(num_instances - 1..num_instances, push);
    write_shards(dir, Kind::Pretrain, &vocabulary(""), None, &[&most, &last]);
}

fn instances(range: std::ops::Range<u64>, push: &mut dyn FnMut(Row<'_>)) {
    for instance in range {
        let mut rng = KeyedRng::new(1, Purpose::Plan, instance, 0);
        let (a_len, b_len) = (3 + rng.below(4) as u32, 3 + rng.below(4) as u32);
        let first = 5 + rng.below(20) as u32;
        let random = rng.coin();
        let second = if random { 5 + rng.below(40) as u32 } else { first + a_len };
        let mut ids = vec![CLS];
        ids.extend(first..first + a_len);
        ids.push(SEP);
        ids.extend(second..second + b_len);
        ids.push(SEP);
        let segment_a_length = a_len as u16 + 2;
        push(Row::Pretrain(PretrainRow {
            input_ids: (&ids).into(),
            segment_a_length,
            next_sentence_label: random,
            masked: None,
        }));
    }
}

/// Sentences whose class is whether they hold word 5.
pub fn glue(dir: &Path, num_examples: u64, salt: &str) {
    write(dir, Kind::Glue, &vocabulary(salt), None, |push| {
        for row_id in 0..num_examples {
            let mut rng = KeyedRng::new(2, Purpose::Plan, row_id, 0);
            let label = rng.coin();
            let mut ids = vec![CLS];
            ids.extend((0..3 + rng.below(6)).map(|_| 6 + rng.below(50) as u32));
            if label {
                let position = 1 + rng.below(ids.len() as u64 - 1) as usize;
                ids[position] = 5;
            }
            ids.push(SEP);
            let segment_a_length = ids.len() as u16;
            push(Row::Glue(GlueRow {
                input_ids: (&ids).into(),
                segment_a_length,
                label: Some(Label::Class(label.into())),
                row_id,
            }));
        }
    });
}

/// Sentences whose score is how often they hold word 5.
pub fn scores(dir: &Path, num_examples: u64) {
    let layout = Layout::glue(NUM_TOKENS as usize, Some(LabelType::Score));
    let task = serde_json::json!({"task": "sts-b", "split": "dev", "metrics": ["pearson", "spearman"]});
    write_task(dir, layout, task, None, |push| {
        for row_id in 0..num_examples {
            let mut rng = KeyedRng::new(4, Purpose::Plan, row_id, 0);
            let count = rng.below(5) as usize;
            let mut ids = vec![CLS];
            ids.extend((0..6).map(|word| if word < count { 5 } else { 6 + rng.below(50) as u32 }));
            ids.push(SEP);
            let label = Some(Label::Score(count as f32));
            push(Row::Glue(GlueRow { input_ids: (&ids).into(), segment_a_length: ids.len() as u16, label, row_id }));
        }
    });
}

/// What the labels of [`pairs`] are called in submissions.
pub const PAIR_LABELS: [&str; 3] = ["contradiction", "entailment", "neutral"];

/// Pairs whose class is the word of segment B: 5, 6 or 7; with labels or as a test set that GLUE's server scores.
pub fn pairs(dir: &Path, num_examples: u64, seed: u64, with_labels: bool) {
    let layout = Layout::glue(NUM_TOKENS as usize, with_labels.then_some(LabelType::Class));
    let mut task = serde_json::json!({"task": "mnli", "labels": PAIR_LABELS, "label_names": PAIR_LABELS,
                                      "metrics": ["accuracy"]});
    if !with_labels {
        task["submission"] = "MNLI-m.tsv".into();
    }
    write_task(dir, layout, task, None, |push| {
        for row_id in 0..num_examples {
            let mut rng = KeyedRng::new(seed, Purpose::Plan, row_id, 0);
            let class = rng.below(3) as u32;
            let mut ids = vec![CLS];
            ids.extend((0..3).map(|_| 10 + rng.below(50) as u32));
            ids.extend([SEP, 5 + class, SEP]);
            let label = with_labels.then_some(Label::Class(class as i32));
            push(Row::Glue(GlueRow { input_ids: (&ids).into(), segment_a_length: 5, label, row_id }));
        }
    });
}

/// Questions `w7` as in [`squad`], in SQuAD v2.0: every second context has no word 5 and the question no answer.
pub fn squad_v2(dir: &Path, num_examples: u64, has_answers: bool) {
    let contexts: Vec<(bool, Vec<u32>)> = (0..num_examples)
        .map(|example| {
            let mut rng = KeyedRng::new(5, Purpose::Plan, example, 0);
            let mut words: Vec<u32> = (0..6).map(|_| 10 + rng.below(30) as u32).collect();
            let is_possible = has_answers && rng.coin();
            words[rng.below(6) as usize] = if is_possible { 5 } else { 9 };
            (is_possible, words)
        })
        .collect();
    let line = |(index, (is_possible, words)): (usize, &(bool, Vec<u32>))| {
        let line = example_line(index, words);
        let mut example: serde_json::Value = serde_json::from_str(&line).unwrap();
        if !is_possible {
            example["answers"] = serde_json::json!([]);
            example["is_impossible"] = true.into();
        }
        format!("{example}\n")
    };
    let examples: String = contexts.iter().enumerate().map(line).collect();
    let layout = Layout::new(Kind::Squad, NUM_TOKENS as usize, false);
    write_task(dir, layout, serde_json::json!({"version": "2.0"}), Some(examples), |push| {
        for (index, (is_possible, words)) in contexts.iter().enumerate() {
            let mut ids = vec![CLS, 7, SEP];
            ids.extend(words);
            ids.push(SEP);
            let answer = words.iter().position(|&word| word == 5).map_or(0, |place| 3 + place as u16);
            let (starts, ends) = offsets(words);
            push(Row::Squad(SquadRow {
                input_ids: (&ids).into(),
                segment_a_length: 3,
                start_position: answer,
                end_position: answer,
                is_impossible: !is_possible,
                example_id: &format!("q{index}"),
                window: 0,
                context_starts: &starts,
                context_ends: &ends,
                max_context: &[1; 6],
            }));
        }
    });
}

/// Questions `w7`, whose answer is the context's only word 5; context words are two characters apart.
pub fn squad(dir: &Path, num_examples: u64) {
    let contexts: Vec<Vec<u32>> = (0..num_examples)
        .map(|example| {
            let mut rng = KeyedRng::new(3, Purpose::Plan, example, 0);
            let mut words: Vec<u32> = (0..6).map(|_| 10 + rng.below(30) as u32).collect();
            words[rng.below(6) as usize] = 5;
            words
        })
        .collect();
    let examples: String = contexts.iter().enumerate().map(|(index, words)| example_line(index, words)).collect();
    write(dir, Kind::Squad, &vocabulary(""), Some(examples), |push| {
        for (index, words) in contexts.iter().enumerate() {
            let mut ids = vec![CLS, 7, SEP];
            ids.extend(words);
            ids.push(SEP);
            let answer = 3 + words.iter().position(|&word| word == 5).unwrap() as u16;
            let (starts, ends) = offsets(words);
            push(Row::Squad(SquadRow {
                input_ids: (&ids).into(),
                segment_a_length: 3,
                start_position: answer,
                end_position: answer,
                is_impossible: false,
                example_id: &format!("q{index}"),
                window: 0,
                context_starts: &starts,
                context_ends: &ends,
                max_context: &[1; 6],
            }));
        }
    });
}

fn example_line(index: usize, words: &[u32]) -> String {
    let context: Vec<String> = words.iter().map(|word| format!("é{word}")).collect();
    let context = context.join(" ");
    let answers = serde_json::json!([{"text": "é5", "answer_start": 0}]);
    let example = serde_json::json!({
        "id": format!("q{index}"), "question": "w7", "context": context, "answers": answers, "is_impossible": false
    });
    format!("{example}\n")
}

fn offsets(words: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut starts, mut ends, mut at) = (Vec::new(), Vec::new(), 0);
    for word in words {
        starts.push(at);
        at += 1 + word.to_string().len() as u32;
        ends.push(at);
        at += 1;
    }
    (starts, ends)
}

/// [`TINY`] in a file.
pub fn recipe(dir: &Path) -> PathBuf {
    let path = dir.join("tiny.toml");
    fs::write(&path, TINY).unwrap();
    path
}

/// The program under test with `arguments`.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloze-train"));
    command.args(arguments);
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs it, expecting success; its stdout.
pub fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it, expecting exit code 2; the line that says why.
pub fn fail(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}\n{stderr}");
    let errors: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    errors[0].to_owned()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Checkpoint directories of a run, oldest first.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Rows of a run's metrics.jsonl of one kind.
pub fn metrics(run: &Path, kind: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let rows = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    rows.filter(|row: &serde_json::Value| row["kind"] == kind).collect()
}

/// Changes one byte of a file.
pub fn flip(path: &Path, offset_from_end: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - offset_from_end;
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}
