//! SQuAD v1.1 files to windows, and what is refused.

mod common;

use std::path::{Path, PathBuf};

use cloze_formats::Dataset;
use cloze_prep::progress::Progress;
use cloze_prep::squad::{SquadConfig, SquadSummary, squad};
use cloze_prep::wordpiece::decode;
use serde_json::{Value, json};

use common::{files, vocabulary};

/// A context with characters of every width before and inside the answers.
const CONTEXT: &str = "Ünïcode 👩‍🚀 cafe\u{301}s: the whale 𝔸 swam (old sea) home.";

fn start_of(text: &str) -> usize {
    CONTEXT[..CONTEXT.find(text).unwrap()].chars().count()
}

fn file(qas: Value) -> Value {
    json!({"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]})
}

fn question(id: &str, answers: &[(&str, usize)]) -> Value {
    let answers: Vec<_> = answers.iter().map(|(text, start)| json!({"text": text, "answer_start": start})).collect();
    json!({"id": id, "question": "Who swam home?", "answers": answers})
}

fn write(dir: &Path, content: &str) -> PathBuf {
    let path = dir.join("squad.json");
    std::fs::write(&path, content).unwrap();
    path
}

fn run(dir: &Path, content: &str, config: &SquadConfig) -> cloze_prep::Result<SquadSummary> {
    squad(config, &write(dir, content), &vocabulary(), &dir.join("out"), &Progress::silent())
}

fn message(content: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let error = run(dir.path(), content, &SquadConfig::default()).unwrap_err().to_string();
    assert!(!dir.path().join("out").exists(), "something was written");
    assert!(error.contains("squad.json: "), "{error}");
    error.split_once("squad.json: ").unwrap().1.to_owned()
}

#[test]
fn answers_are_found_again_by_their_characters_whatever_stands_around_them() {
    let answers = ["cafe\u{301}s", "the whale", "(old sea", "home", "Ünïcode", "𝔸"];
    let qas: Vec<_> = answers.iter().map(|text| question(text, &[(text, start_of(text))])).collect();
    let dir = tempfile::tempdir().unwrap();
    let summary = run(dir.path(), &file(json!(qas)).to_string(), &SquadConfig::default()).unwrap();
    assert_eq!((summary.questions, summary.windows, summary.answered_windows), (6, 6, 6));
    let dataset = Dataset::open(dir.path().join("out")).unwrap();
    let context: Vec<char> = CONTEXT.chars().collect();
    for (row, answer) in (0..).zip(answers) {
        let row = dataset.squad_row(row).unwrap();
        let token = |position: u16| usize::from(position - row.segment_a_length);
        let start = row.context_starts[token(row.start_position)] as usize;
        let end = row.context_ends[token(row.end_position)] as usize;
        assert_eq!(context[start..end].iter().collect::<String>(), answer);
        assert_eq!(row.example_id, answer);
    }
}

#[test]
fn a_long_context_becomes_windows_that_repeat_the_question() {
    let config = SquadConfig { max_seq_length: 24, doc_stride: 8, max_query_length: 4, cased: false };
    let qas = json!([question("q", &[("home", start_of("home")), ("the whale", start_of("the whale"))])]);
    let dir = tempfile::tempdir().unwrap();
    let summary = run(dir.path(), &file(qas).to_string(), &config).unwrap();
    assert_eq!((summary.questions, summary.truncated_questions, summary.unanswered_questions), (1, 1, 0));
    let dataset = Dataset::open(dir.path().join("out")).unwrap();
    assert!(dataset.len() > 1);
    let rows: Vec<_> = (0..dataset.len()).map(|row| dataset.squad_row(row).unwrap()).collect();
    for (row, number) in rows.iter().zip(0..) {
        assert_eq!(row.window, number);
        assert!(
            decode(dataset.vocabulary(), &row.input_ids.to_vec()).starts_with("[CLS] whosw [SEP]")
                || row.segment_a_length == 6
        );
    }
    let last = rows.last().unwrap();
    assert!(last.start_position > 0 && rows[0].start_position == 0, "only the last window holds the first answer");
    let side = std::fs::read_to_string(dir.path().join("out/examples.jsonl")).unwrap();
    let example: Value = serde_json::from_str(side.trim_end()).unwrap();
    assert_eq!((&example["id"], &example["context"]), (&json!("q"), &json!(CONTEXT)));
    assert_eq!(example["answers"].as_array().unwrap().len(), 2);
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let qas: Vec<_> = (0..50).map(|i| question(&format!("q{i}"), &[("sea", start_of("sea"))])).collect();
    let content = file(json!(qas)).to_string();
    let made = [1, 8].map(|threads| {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(dir.path(), &content, &SquadConfig::default())).unwrap();
        files(&dir.path().join("out"))
    });
    assert_eq!(made[0], made[1]);
}

#[test]
fn an_answer_that_is_not_where_it_says_is_refused() {
    let off_by_one = file(json!([question("q7", &[("the whale", start_of("the whale") + 1)])]));
    assert_eq!(
        message(&off_by_one.to_string()),
        format!(
            "question q7: expected the answer \"the whale\" at answer_start {}, found \"he whale \" there",
            start_of("the whale") + 1
        )
    );
    let beyond = file(json!([question("q8", &[("home", 9_999)])]));
    assert_eq!(
        message(&beyond.to_string()),
        "question q8: expected the answer \"home\" at answer_start 9999, found \"\" there"
    );
}

#[test]
fn version_2_repeated_ids_and_missing_answers_are_refused() {
    let mut v2 = question("q", &[("home", start_of("home"))]);
    v2["is_impossible"] = json!(false);
    assert_eq!(
        message(&file(json!([v2])).to_string()),
        "question q: this is SQuAD v2.0 (it has is_impossible), which is not supported yet; give a v1.1 file"
    );
    let once = question("q", &[("home", start_of("home"))]);
    assert_eq!(message(&file(json!([once, once])).to_string()), "question q: this id occurs twice");
    assert_eq!(
        message(&file(json!([question("q", &[])])).to_string()),
        "question q: expected at least one answer, found none"
    );
    assert_eq!(message(&file(json!([])).to_string()), "expected questions, found none");
}

#[test]
fn malformed_json_is_located_by_line_and_column() {
    assert_eq!(
        message("{\"data\": [\n  {\"paragraphs\": oops}]}"),
        "expected SQuAD's JSON, found: expected value at line 2 column 18"
    );
    assert_eq!(
        message("{\"data\": [{}]}"),
        "expected SQuAD's JSON, found: missing field `paragraphs` at line 1 column 12"
    );
}

#[test]
fn limits_without_room_for_the_context_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let content = file(json!([question("q", &[("home", start_of("home"))])])).to_string();
    let config = SquadConfig { max_seq_length: 64, ..SquadConfig::default() };
    let error = run(dir.path(), &content, &config).unwrap_err().to_string();
    assert!(error.ends_with("expected a max_seq_length of at least max_query_length + 4 = 68, found 64"), "{error}");
    let config = SquadConfig { doc_stride: 0, ..SquadConfig::default() };
    let error = run(dir.path(), &content, &config).unwrap_err().to_string();
    assert!(error.ends_with("expected a doc_stride of at least 1, found 0"), "{error}");
}
