//! Datasets whose checksums are right and whose rows are not: `verify` names shard and row.

mod common;

use std::path::Path;

use arrow_array::ArrayRef;
use cloze_formats::Manifest;
use cloze_formats::checksum::sha256_hex;
use cloze_formats::config::{InstanceConfig, MaskingMode};
use cloze_formats::dataset::EXAMPLES;
use cloze_prep::build::build;
use cloze_prep::inspect::{Report, verify};
use cloze_prep::progress::Progress;

use common::corpora;
use common::datasets::{corpus, glue, instances, questions};
use common::forge::{forge, set, set_in_list};

fn check(dir: &Path) -> Report {
    verify(dir, Progress::silent()).unwrap()
}

/// File name, row in the shard, row in the dataset and problem of every damaged row.
fn damaged_rows(report: &Report) -> Vec<(String, u64, u64, String)> {
    let row = |d: &cloze_prep::inspect::verify::Damage| {
        let file = Path::new(&d.file).file_name().unwrap().to_string_lossy().into_owned();
        Some((file, d.row?, d.dataset_row?, d.problem.clone()))
    };
    report.damage.iter().filter_map(row).collect()
}

/// Forges one value of a dataset made by `make` and returns what `verify` says of rows.
fn after(
    make: impl Fn(&Path),
    shard: usize,
    column: &str,
    edit: impl FnOnce(&ArrayRef) -> ArrayRef,
) -> Vec<(String, u64, u64, String)> {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("dataset");
    make(&dir);
    assert!(check(&dir).is_whole(), "{:?}", check(&dir).damage);
    forge(&dir, shard, column, edit);
    damaged_rows(&check(&dir))
}

fn in_second_shard(row: u64, problem: &str) -> Vec<(String, u64, u64, String)> {
    vec![("shard-00001-of-00002.arrow".to_owned(), row, 10 + row, problem.to_owned())]
}

fn in_only_shard(row: u64, problem: &str) -> Vec<(String, u64, u64, String)> {
    vec![("shard-00000-of-00001.arrow".to_owned(), row, row, problem.to_owned())]
}

#[test]
fn a_damaged_instance_is_named_by_shard_and_row() {
    let make = |dir: &Path| instances(dir, 1);
    let num_tokens = common::vocabulary().len() as u32;
    assert_eq!(
        after(make, 1, "input_ids", |a| set_in_list(a, 4, 2, 60_000)),
        in_second_shard(4, &format!("expected token ids below {num_tokens}, found 60000"))
    );
    assert_eq!(
        after(make, 1, "input_ids", |a| set_in_list(a, 7, 2, 4)),
        in_second_shard(7, "expected no special token inside the text, found [MASK] at position 2")
    );
    assert_eq!(
        after(make, 1, "segment_a_length", |a| set(a, 0, 2)),
        in_second_shard(0, "expected segment_a_length to end at a [SEP] within 18 tokens, found 2")
    );
    assert_eq!(
        after(make, 1, "masked_lm_positions", |a| set_in_list(a, 9, 0, 3)),
        in_second_shard(9, "expected masked_lm_positions inside the segments, found one at a special token or outside")
    );
}

#[test]
fn a_damaged_document_is_named() {
    let make = |dir: &Path| corpus(dir, 0, &[&["the sea", "old ships"], &["a whale"], &["rope"]]);
    assert_eq!(
        after(make, 0, "sentence_lengths", |a| set_in_list(a, 0, 1, 7)),
        in_only_shard(
            0,
            &format!(
                "expected sentence_lengths that add up to {} tokens, found 9",
                2 + common::datasets::ids("old ships").len()
            )
        )
    );
    let swap = |a: &ArrayRef| -> ArrayRef {
        use arrow_array::cast::AsArray;
        let ids = a.as_primitive::<arrow_array::types::UInt64Type>().values().to_vec();
        std::sync::Arc::new(arrow_array::UInt64Array::from(vec![ids[0], ids[0], ids[2]]))
    };
    let expected = in_only_shard(1, "expected a document_id above 0, that of the row before, found 0");
    assert_eq!(after(make, 0, "document_id", swap), expected);
}

#[test]
fn a_label_outside_the_classes_is_named() {
    let make = |dir: &Path| glue(dir, &["the sea", "old ships", "a whale"]);
    let edit = |_: &ArrayRef| -> ArrayRef { std::sync::Arc::new(arrow_array::Int32Array::from(vec![0, 2, 1])) };
    assert_eq!(after(make, 0, "label", edit), in_only_shard(1, "expected a class below 2, found 2"));
}

#[test]
fn a_damaged_window_is_named() {
    type Edit = fn(&ArrayRef) -> ArrayRef;
    let cases: [(&str, Edit, u64, &str); 5] = [
        (
            "context_starts",
            |a| set_in_list(a, 1, 3, 0),
            1,
            "expected ascending character offsets, found a smaller one at context token 3",
        ),
        ("context_ends", |a| set_in_list(a, 0, 0, 0), 0, "expected context_ends above context_starts, found 0 to 0"),
        (
            "end_position",
            |a| set(a, 0, 60_000),
            0,
            "expected the answer within segment B or at (0, 0), found (27, 60000)",
        ),
        ("window", |a| set(a, 2, 5), 2, "expected window 2 of question first, found window 5"),
        ("window", |a| set(a, 0, 1), 0, "expected window 0 of question first, found window 1"),
    ];
    for (column, edit, row, problem) in cases {
        let found = after(questions, 0, column, edit);
        assert_eq!(found.first(), in_only_shard(row, problem).first(), "{column}");
    }
    let far = |a: &ArrayRef| {
        use arrow_array::{Array, cast::AsArray};
        let last = a.as_list::<i32>().value(0).len() - 1;
        set_in_list(a, 0, last, 1_000_000)
    };
    let found = after(questions, 0, "context_ends", far);
    assert_eq!(found, in_only_shard(0, "expected offsets within 444 characters of context, found 1000000"));
}

#[test]
fn a_question_whose_last_windows_are_missing_is_named() {
    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt16Type;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("dataset");
    questions(&dir);
    assert!(check(&dir).is_whole());
    // Both questions have as many windows; the last one of the first becomes a window 0 of the second.
    let mut per_question = 0;
    forge(&dir, 0, "example_id", |ids| {
        let mut ids: Vec<String> = ids.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        per_question = ids.len() / 2;
        ids[per_question - 1] = "second".to_owned();
        std::sync::Arc::new(arrow_array::StringArray::from(ids))
    });
    forge(&dir, 0, "window", |numbers| {
        let mut numbers = numbers.as_primitive::<UInt16Type>().values().to_vec();
        numbers[per_question - 1..].iter_mut().zip(0..).for_each(|(number, window)| *number = window);
        std::sync::Arc::new(arrow_array::UInt16Array::from(numbers))
    });
    let found = damaged_rows(&check(&dir));
    let last = per_question - 2;
    assert_eq!((found.len(), found[0].1), (1, last as u64), "{found:?}");
    let problem = &found[0].3;
    let start = format!("expected more windows of question first after window {last}, which ends at character ");
    assert!(problem.starts_with(&start) && problem.contains("whose text goes on to 443; "), "{problem}");
}

#[test]
fn windows_of_a_question_that_is_not_in_the_side_file_are_named() {
    use arrow_array::cast::AsArray;
    let edit = |a: &ArrayRef| -> ArrayRef {
        let ids: Vec<String> = a.as_string::<i32>().iter().flatten().map(|id| id.replace("second", "third")).collect();
        std::sync::Arc::new(arrow_array::StringArray::from(ids))
    };
    let found = after(questions, 0, "example_id", edit);
    assert!(
        found.len() >= 2
            && found.iter().all(|(.., problem)| problem == "example_id \"third\" is not in examples.jsonl")
    );
}

#[test]
fn questions_without_any_window_are_counted_and_the_first_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("dataset");
    questions(&dir);
    let path = dir.join(EXAMPLES);
    let text = std::fs::read_to_string(&path).unwrap();
    let second = text.lines().nth(1).unwrap();
    let text = text.clone() + &second.replace("second", "third") + "\n" + &second.replace("second", "fourth") + "\n";
    std::fs::write(&path, &text).unwrap();
    let mut manifest = Manifest::read(&dir).unwrap();
    let entry = manifest.files.iter_mut().find(|file| file.file == EXAMPLES).unwrap();
    (entry.bytes, entry.sha256) = (text.len() as u64, sha256_hex(text.as_bytes()));
    manifest.publish(&dir).unwrap();
    let report = check(&dir);
    let found: Vec<_> = report.damage.iter().map(|d| (d.file.clone(), d.row, d.problem.clone())).collect();
    let problem = "expected windows of every question, found none of question third and 1 more; rebuild the dataset";
    assert_eq!(found, [(path.display().to_string(), None, problem.to_owned())]);
}

#[test]
fn a_held_out_part_that_is_gone_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let documents = vec![vec![12u16; 6]; 60];
    let corpus = corpora::corpus(&dir.path().join("corpus"), 500, &documents, |_, i| 5 + (i % 490) as u32);
    let config = InstanceConfig { held_out: 0.2, ..InstanceConfig::for_phase(1, MaskingMode::Static) };
    let out = dir.path().join("out");
    build(&corpus, &config, &out, Progress::silent()).unwrap();
    assert!(check(&out).is_whole() && check(&out).held_out.is_some());
    let held_out = out.join("held-out");
    let expected = (
        held_out.join("manifest.json").display().to_string(),
        "expected the part held out (held_out 0.2), found none; restore it or rebuild the dataset".to_owned(),
    );
    std::fs::remove_file(held_out.join("manifest.json")).unwrap();
    let found = |report: Report| report.damage.into_iter().map(|d| (d.file, d.problem)).collect::<Vec<_>>();
    assert_eq!(found(check(&out)), std::slice::from_ref(&expected));
    std::fs::remove_dir_all(held_out).unwrap();
    assert_eq!(found(check(&out)), [expected]);
}

#[test]
fn the_first_damaged_rows_of_a_shard_are_named_and_the_others_counted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("dataset");
    instances(&dir, 1);
    for row in 0..10 {
        forge(&dir, 0, "segment_a_length", |a| set(a, row, 1));
    }
    forge(&dir, 1, "segment_a_length", |a| set(a, 3, 1));
    let report = check(&dir);
    let rows: Vec<(u64, u64)> = damaged_rows(&report).into_iter().map(|(_, row, of_all, _)| (row, of_all)).collect();
    assert_eq!(rows, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (3, 13)]);
    assert_eq!(report.num_problems, 11);
    let mut text = Vec::new();
    report.render(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("shard-00001-of-00002.arrow: row 3 (13 of the dataset): expected segment_a_length"),
        "{text}"
    );
    assert!(text.contains("and 5 damaged rows more\n") && text.ends_with(": 11 problems\n"), "{text}");
}

#[test]
fn statistics_that_are_not_those_of_the_rows_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("dataset");
    instances(&dir, 1);
    let mut manifest = Manifest::read(&dir).unwrap();
    manifest.statistics.random_next += 1;
    manifest.statistics.length_histogram[8] -= 1;
    manifest.shards[1].tokens += 1;
    manifest.publish(&dir).unwrap();
    let problems: Vec<String> = check(&dir).damage.into_iter().map(|d| d.problem).collect();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with("manifest promises ") && problems[0].contains(" tokens, shard holds "));
    assert_eq!(problems[1], "statistics.random_next: manifest says 11, the rows have 10; rebuild the dataset");
    assert_eq!(problems[2], "statistics.length_histogram[8]: manifest says 0, the rows have 1; rebuild the dataset");
}

#[test]
fn a_damaged_side_file_is_one_problem() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("dataset");
    questions(&dir);
    let damage = |file: &str, bytes: &[u8]| {
        let path = dir.join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let report = check(&dir);
        std::fs::write(&path, good).unwrap();
        assert_eq!(report.num_problems, 1, "{:?}", report.damage);
        assert_eq!(report.damage[0].file, path.display().to_string());
    };
    damage("vocab.txt", b"[PAD]\nother\n");
    damage("vocab.txt", b"");
    damage("examples.jsonl", b"{}\n");
    assert!(check(&dir).is_whole());
}

#[test]
fn every_shard_is_read_however_many_are_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("dataset");
    instances(&dir, 1);
    std::fs::remove_file(dir.join("shard-00000-of-00002.arrow")).unwrap();
    forge(&dir, 1, "segment_a_length", |a| set(a, 3, 1));
    let report = check(&dir);
    assert_eq!((report.num_problems, report.rows), (2, 10), "{:?}", report.damage);
    assert!(report.damage[0].file.ends_with("shard-00000-of-00002.arrow"));
    assert_eq!(report.damage[1].dataset_row, Some(13));
}

#[test]
fn what_was_found_is_the_exit_code_even_when_nobody_reads_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, damaged] = ["whole", "damaged"].map(|name| dir.path().join(name));
    instances(&whole, 1);
    instances(&damaged, 1);
    forge(&damaged, 1, "input_ids", |a| set_in_list(a, 4, 2, 60_000));
    let code = |arguments: &[&Path]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cloze-prep"));
        command.arg("--quiet").args(arguments).stdout(writer).status().unwrap().code()
    };
    let [verify, diff, json] = ["verify", "diff", "--json"].map(Path::new);
    for options in [&[][..], &[json]] {
        assert_eq!(code(&[&[verify, &damaged], options].concat()), Some(1));
        assert_eq!(code(&[&[verify, &whole], options].concat()), Some(0));
        assert_eq!(code(&[&[diff, &whole, &damaged], options].concat()), Some(1));
    }
}
