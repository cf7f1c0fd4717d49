//! What other tools wrote, put together: what `import` takes, `verify` and `show` understand.

mod common;

use std::path::{Path, PathBuf};

use cloze_formats::config::{InstanceConfig, MaskingMode};
use cloze_formats::row::StaticMask;
use cloze_formats::{Dataset, Kind, Manifest, PretrainRow, Row};
use cloze_prep::exchange::{ExportOptions, Format, export, import};
use cloze_prep::inspect::{Report, Selection, ShowOptions, show, verify};
use cloze_prep::progress::Progress;

use common::datasets::{corpus, dataset, pair, questions_named};
use common::vocabulary;

/// The dataset in `dir` as Parquet files in `dir` with another ending.
fn exported(dir: &Path, num_files: Option<u32>) -> PathBuf {
    let out = dir.with_extension("exported");
    let options = ExportOptions { format: Format::Parquet, num_files, bin_size: None, seed: 0, epoch: 0 };
    export(&Dataset::open(dir).unwrap(), &options, &out, Progress::silent()).unwrap();
    out
}

fn imported(inputs: &[PathBuf], out: &Path) -> cloze_prep::Result<Manifest> {
    import(Format::Parquet, inputs, &vocabulary(), false, out, Progress::silent())
}

fn check(dir: &Path) -> Report {
    verify(dir, Progress::silent()).unwrap()
}

#[test]
fn questions_of_several_directories_become_one_whole_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    questions_named(&path("a"), &["a1", "a2"]);
    questions_named(&path("b"), &["b1"]);
    let (a, b) = (exported(&path("a"), Some(2)), exported(&path("b"), None));
    let both = path("both");
    imported(&[a.clone(), b.clone()], &both).unwrap();
    assert!(check(&both).is_whole(), "{:?}", check(&both).damage);
    let examples = |dir: &Path| std::fs::read_to_string(dir.join("examples.jsonl")).unwrap();
    assert_eq!(examples(&both), examples(&a) + &examples(&b));

    let refused = |inputs: &[PathBuf]| {
        let error = imported(inputs, &path("out")).unwrap_err().to_string();
        assert!(!path("out").exists(), "a failed import leaves nothing");
        error
    };
    let file = |number| a.join(format!("shard-0000{number}-of-00002.parquet"));
    let again = refused(&[a.clone(), b.clone(), a.clone()]);
    let expected = format!(
        "{}: line 1: expected a new question, found \"a1\" of {}, line 1; leave one of them out, or import them apart",
        a.join("examples.jsonl").display(),
        a.join("examples.jsonl").display()
    );
    assert_eq!(again, expected);
    let turned = refused(&[file(1), file(0)]);
    let expected = "row 0: expected the order of examples.jsonl, found question a1 after a2";
    assert_eq!(turned, format!("{}: {expected}", file(0).display()));
    let half = refused(&[file(0)]);
    assert!(half.contains("expected windows of every question, found none of question a2"), "{half}");
}

#[test]
fn documents_of_several_corpora_are_all_found_by_their_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    corpus(&path("a"), 4, &[&["the sea"], &["a whale"], &["rope"]]);
    corpus(&path("b"), 0, &[&["old ships"], &["night"], &["and"], &["a harbour"]]);
    let out = path("both");
    imported(&[exported(&path("a"), None), exported(&path("b"), None)], &out).unwrap();
    assert!(check(&out).is_whole());
    let shown = |id| {
        let selection = Selection::Document(id);
        let options = ShowOptions { selection, count: 5, masks: (0, 0), colour: false, json: false };
        let mut text = Vec::new();
        show(&out, &options, Progress::silent(), &mut text).map_err(|e| e.to_string())?;
        Ok::<_, String>(String::from_utf8(text).unwrap())
    };
    let texts = |id| -> Vec<String> {
        let text: String = shown(id).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
    };
    assert_eq!(texts(0), ["old ships"]);
    assert_eq!(texts(4), ["the sea", "and"]);
    assert_eq!(texts(6), ["a whale", "a harbour"]);
    assert_eq!(texts(8), ["rope"]);
    let error = shown(5).unwrap_err();
    assert!(error.ends_with("--document: expected an id up to 8, found 5; it is not in the corpus"), "{error}");
}

#[test]
fn masks_of_other_shares_are_damage_only_where_build_drew_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (tokens, segment_a_length) = pair("the whale", "the sea of the sea and the ship of the sea and the whale");
    let positions: Vec<u16> = (segment_a_length..tokens.len() as u16 - 1).collect();
    // The model sees what is there: nothing is masked.
    let inputs: Vec<u32> = positions.iter().map(|&position| tokens[usize::from(position)]).collect();
    let masked = Some(StaticMask { positions: &positions, inputs: inputs.as_slice().into() });
    let row = PretrainRow { input_ids: tokens.as_slice().into(), segment_a_length, next_sentence_label: false, masked };
    let config = InstanceConfig { held_out: 0.1, ..InstanceConfig::for_phase(1, MaskingMode::Static) };
    dataset(&path("a"), Kind::Pretrain, true, serde_json::json!(config), &[vec![Row::from(row); 1_000]]);
    let out = path("out");
    let mut manifest = imported(&[exported(&path("a"), None)], &out).unwrap();
    assert!(manifest.statistics.masked.total() >= 10_000 && manifest.writer.starts_with("cloze-prep "));
    assert!(check(&out).is_whole(), "{:?}", check(&out).damage);

    manifest.sources[0].format = "corpus".to_owned();
    manifest.publish(&out).unwrap();
    let problems: Vec<String> = check(&out).damage.into_iter().map(|d| d.problem).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("found 0.0, 0.0 and 100.0 %") && problems[1].contains("held_out 0.1"), "{problems:?}");
}
