//! SQuAD files to windows, and what is refused.

mod common;

use std::path::{Path, PathBuf};

use cloze_formats::Dataset;
use cloze_formats::finetune::SquadVersion;
use cloze_prep::progress::Progress;
use cloze_prep::squad::{SquadConfig, SquadSummary, squad};
use cloze_prep::wordpiece::decode;
use serde_json::{Value, json};

use proptest::prelude::*;
use unicode_categories::UnicodeCategories;

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
    let answers = ["cafe\u{301}s", "cafe\u{301}", "the whale", "(old sea", "home", "Ünïcode", "𝔸"];
    let qas: Vec<_> = answers.iter().map(|text| question(text, &[(text, start_of(text))])).collect();
    let dir = tempfile::tempdir().unwrap();
    let summary = run(dir.path(), &file(json!(qas)).to_string(), &SquadConfig::default()).unwrap();
    assert_eq!((summary.questions, summary.windows, summary.answered_windows), (7, 7, 7));
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

fn impossible(id: &str) -> Value {
    json!({"id": id, "question": "Who sank?", "answers": [], "is_impossible": true,
           "plausible_answers": [{"text": "home", "answer_start": 0}]})
}

#[test]
fn impossible_questions_have_no_answer_in_any_window() {
    let mut possible = question("q1", &[("home", start_of("home")), ("the whale", start_of("the whale"))]);
    possible["is_impossible"] = json!(false);
    let config = SquadConfig { max_seq_length: 24, doc_stride: 8, max_query_length: 4, cased: false };
    let dir = tempfile::tempdir().unwrap();
    let summary = run(dir.path(), &file(json!([impossible("q0"), possible])).to_string(), &config).unwrap();
    assert_eq!((summary.version, summary.questions, summary.impossible_questions), (SquadVersion::V2, 2, 1));
    assert_eq!(summary.unanswered_questions, 0);
    let dataset = Dataset::open(dir.path().join("out")).unwrap();
    assert_eq!(SquadVersion::of(dataset.manifest()), SquadVersion::V2);
    assert!(dataset.manifest().statistics.impossible > 1);
    for row in (0..dataset.len()).map(|row| dataset.squad_row(row).unwrap()) {
        assert_eq!(row.is_impossible, row.example_id == "q0");
        assert!(!row.is_impossible || (row.start_position, row.end_position) == (0, 0));
    }
    let side = std::fs::read_to_string(dir.path().join("out/examples.jsonl")).unwrap();
    let examples: Vec<Value> = side.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&examples[0]["is_impossible"], &examples[0]["answers"]), (&json!(true), &json!([])));
    assert_eq!((&examples[1]["is_impossible"], examples[1]["answers"].as_array().unwrap().len()), (&json!(false), 2));
}

#[test]
fn a_file_that_never_speaks_of_impossible_questions_is_version_1() {
    let dir = tempfile::tempdir().unwrap();
    let content = file(json!([question("q", &[("home", start_of("home"))])])).to_string();
    // Some editors put a byte order mark in front.
    let summary = run(dir.path(), &format!("\u{feff}{content}"), &SquadConfig::default()).unwrap();
    assert_eq!(summary.version, SquadVersion::V1);
    assert_eq!(Dataset::open(dir.path().join("out")).unwrap().manifest().configuration["version"], "1.1");
}

#[test]
fn questions_that_contradict_themselves_are_refused() {
    let mut both = question("q", &[("home", start_of("home"))]);
    both["is_impossible"] = json!(true);
    assert_eq!(
        message(&file(json!([both])).to_string()),
        "question q: expected no answers where is_impossible is true, found 1"
    );
    let mut silent = question("q", &[("home", start_of("home"))]);
    silent["question"] = json!(" \u{200b}\n");
    assert_eq!(message(&file(json!([silent])).to_string()), "question q: expected a question, found no text");
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
    let config = SquadConfig { max_seq_length: 128, ..SquadConfig::default() };
    let error = run(dir.path(), &content, &config).unwrap_err().to_string();
    let expected = "max_seq_length - max_query_length - 3 = 61, so that windows meet, found 128";
    assert!(error.ends_with(expected), "{error}");
    assert_eq!(SquadConfig::default_doc_stride(128, 64), 30);
    assert_eq!(SquadConfig::default_doc_stride(384, 64), 128);
    let config = SquadConfig { max_query_length: 0, ..SquadConfig::default() };
    let error = run(dir.path(), &content, &config).unwrap_err().to_string();
    assert!(error.ends_with("expected a max_query_length of at least 1, found 0"), "{error}");
}

/// JSON whose characters beyond ASCII are all escaped, those beyond 16 bits as two surrogates.
fn escaped(json: &str) -> String {
    let mut text = String::new();
    for char in json.chars() {
        if char.is_ascii() {
            text.push(char);
        } else {
            let mut units = [0; 2];
            char.encode_utf16(&mut units).iter().for_each(|unit| text += &format!("\\u{unit:04x}"));
        }
    }
    text
}

/// A piece of text in some script, or of what tries the patience of character counters.
fn piece() -> impl Strategy<Value = String> {
    let fixed = [
        " ",
        " ",
        " ",
        "whale",
        "Ship",
        "cafe\u{301}",
        "e\u{327}\u{301}",
        "é",
        "ﬁ",
        "İ",
        "ẞ",
        "👩‍🚀",
        "🇩🇪",
        "👍🏽",
        "𝔸",
        "中文",
        "漢",
        "한국어",
        "नमस्ते",
        "עִבְרִית",
        "العَرَبِيَّة",
        "\u{202b}",
        "\u{200b}",
        "\u{200d}",
        "\u{feff}",
        "\u{a0}",
        "\u{3000}",
        "\n",
        ".",
        "(",
        "«",
        "—",
        "\u{fffd}",
        "\u{7}",
    ];
    prop_oneof![
        8 => proptest::sample::select(fixed.map(str::to_owned).to_vec()),
        1 => any::<char>().prop_map(String::from),
    ]
}

/// Whether a character stands in a token of its own right; white space, marks and the invisible need not.
fn is_visible(char: char) -> bool {
    (char.is_alphanumeric() && !char.is_mark_nonspacing()) || char.is_ascii_punctuation()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_characters_of_an_answer_are_found_again_in_any_script(
        pieces in proptest::collection::vec(piece(), 1..40),
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>()), 1..8),
        cased in any::<bool>(),
    ) {
        let context: Vec<char> = pieces.concat().chars().collect();
        let mut ranges = Vec::new();
        for (from, to) in cuts {
            let (from, to) = (from.index(context.len()), to.index(context.len()));
            let (from, to) = (from.min(to), from.max(to) + 1);
            let visible: Vec<usize> = (from..to).filter(|&at| is_visible(context[at])).collect();
            if let (Some(first), Some(last)) = (visible.first(), visible.last()) {
                ranges.push((from, to, *first, *last));
            }
        }
        prop_assume!(!ranges.is_empty());
        let text = |from: usize, to: usize| context[from..to].iter().collect::<String>();
        let qas: Vec<Value> = ranges.iter().enumerate().map(|(id, &(from, to, ..))| {
            json!({"id": id.to_string(), "question": "what?", "answers": [{"text": text(from, to), "answer_start": from}]})
        }).collect();
        let json = json!({"data": [{"paragraphs": [{"context": text(0, context.len()), "qas": qas}]}]}).to_string();
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), &escaped(&json), &SquadConfig { cased, ..SquadConfig::default() }).unwrap();
        let dataset = Dataset::open(dir.path().join("out")).unwrap();
        for (row, (from, to, first, last)) in (0..).zip(ranges) {
            let row = dataset.squad_row(row).unwrap();
            prop_assert!(row.start_position > 0, "{:?} is not found in {:?}", text(from, to), text(0, context.len()));
            let token = |position: u16| usize::from(position - row.segment_a_length);
            let start = row.context_starts[token(row.start_position)] as usize;
            let end = row.context_ends[token(row.end_position)] as usize;
            prop_assert!(start <= first && last < end, "{:?} became {:?}", text(from, to), text(start, end));
        }
    }
}
