//! GLUE files to examples, and what is refused.

mod common;

use std::path::Path;

use cloze_formats::Dataset;
use cloze_prep::glue::{GlueConfig, SplitSummary, glue};
use cloze_prep::wordpiece::decode;

use common::vocabulary;

fn run(dir: &Path, config: &GlueConfig) -> cloze_prep::Result<Vec<SplitSummary>> {
    glue(config, dir, &vocabulary(), &dir.join("out"))
}

/// What is said about a train.tsv of this content.
fn message(content: impl AsRef<[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("train.tsv"), content).unwrap();
    let error = run(dir.path(), &GlueConfig::default()).unwrap_err().to_string();
    assert!(!dir.path().join("out").exists(), "something was written");
    error.split_once("train.tsv: ").unwrap_or_else(|| panic!("{error}")).1.to_owned()
}

#[test]
fn each_file_becomes_a_dataset_and_quotes_mean_themselves() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("train.tsv"), "sentence\tlabel\nthe \"old sea\t1\r\nships\t0\n").unwrap();
    std::fs::write(dir.path().join("test.tsv"), "index\tsentence\n0\ta whale\n1\tand the sea of the\n").unwrap();
    let config = GlueConfig { max_seq_length: 6, ..GlueConfig::default() };
    let summaries = run(dir.path(), &config).unwrap();
    let counts: Vec<_> = summaries.iter().map(|s| (s.split, s.examples, s.truncated)).collect();
    assert_eq!(counts, [("train", 2, 1), ("test", 2, 1)]);

    let train = Dataset::open(dir.path().join("out/train")).unwrap();
    let rows: Vec<_> = (0..2).map(|row| train.glue_row(row).unwrap()).collect();
    let text: Vec<_> = rows.iter().map(|row| decode(train.vocabulary(), &row.input_ids.to_vec())).collect();
    assert_eq!(text, ["[CLS] the \" ol [SEP]", "[CLS] ships [SEP]"]);
    assert_eq!(rows.iter().map(|row| (row.row_id, row.label)).collect::<Vec<_>>(), [(0, Some(1)), (1, Some(0))]);
    assert_eq!(usize::from(rows[0].segment_a_length), rows[0].input_ids.len());

    let test = Dataset::open(dir.path().join("out/test")).unwrap();
    assert_eq!(test.glue_row(1).unwrap().label, None);
    assert!(!dir.path().join("out/dev").exists());
}

#[test]
fn bad_rows_are_located_by_line() {
    assert_eq!(
        message("sentence\tlabel\na\t1\nb\t1\textra\n"),
        "line 3: expected 2 columns (sentence, label), found 3"
    );
    assert_eq!(message("sentence\tlabel\nno label\n"), "line 2: expected 2 columns (sentence, label), found 1");
    assert_eq!(message("sentence\tlabel\n\na\t1\n"), "line 2: expected 2 columns (sentence, label), found 1");
    assert_eq!(message("sentence\tlabel\na\t2\n"), "line 2: expected a label of 0, 1, found \"2\"");
    assert_eq!(
        message("label\tsentence\na\t1\n"),
        "line 1: expected the header sentence<tab>label, found \"label\\tsentence\""
    );
    assert_eq!(message("sentence\tlabel\n"), "expected examples after the header, found none");
    assert_eq!(message(b"sentence\tlabel\na\t1\n\xff\t1\n"), "line 3: expected UTF-8 text, found other bytes");
}

#[test]
fn test_rows_are_numbered_as_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("test.tsv"), "index\tsentence\n0\ta\n2\tb\n").unwrap();
    let error = run(dir.path(), &GlueConfig::default()).unwrap_err().to_string();
    assert!(error.ends_with("test.tsv: line 3: expected index 1, found \"2\""), "{error}");
}

#[test]
fn unknown_tasks_and_directories_without_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = GlueConfig { task: "SST-3".to_owned(), ..GlueConfig::default() };
    let error = run(dir.path(), &unknown).unwrap_err().to_string();
    assert_eq!(error, "SST-3: expected a supported GLUE task (sst-2), found another");
    let error =
        run(dir.path(), &GlueConfig { task: "SST2".to_owned(), ..GlueConfig::default() }).unwrap_err().to_string();
    assert!(error.ends_with("expected train.tsv, dev.tsv or test.tsv here, found none of them"), "{error}");
    let missing = dir.path().join("nowhere");
    let error = run(&missing, &GlueConfig::default()).unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.to_lowercase().contains("no"), "{error}");
}
