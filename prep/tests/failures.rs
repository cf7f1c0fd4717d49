//! What failed runs leave behind: nothing of theirs, all of the user's.

mod common;

use std::path::Path;
use std::process::Command;

use cloze_formats::Dataset;
use cloze_formats::config::{Compat, InstanceConfig, MaskingMode};
use cloze_formats::dataset::UnfinishedDataset;
use cloze_prep::build::{build, build_share, finish};
use cloze_prep::progress::Progress;
use cloze_prep::squad::{SquadConfig, squad};
use cloze_prep::world::World;

use common::{corpora, files, vocabulary};

/// Runs the program in `dir`; it must be refused with one line, which is returned.
fn refused(dir: &Path, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloze-prep"));
    let output = command.current_dir(dir).args(line.split_whitespace()).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(2), 1), "{line}: {message}");
    message
}

#[test]
fn the_vocabulary_in_the_output_directory_survives_a_failed_run() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("vocab.txt", vocabulary().bytes());
    write("latin1.txt", b"caf\xe9 au lait\n");
    write("empty.txt", b"\n");
    write("good.txt", b"The sea.\n");
    let before = files(dir.path());
    assert!(refused(dir.path(), "tokenize --text latin1.txt --vocab ./vocab.txt --out .").contains("UTF-8"));
    assert_eq!(files(dir.path()), before);
    assert!(refused(dir.path(), "tokenize --text empty.txt --vocab vocab.txt --out .").contains("found none"));
    assert_eq!(files(dir.path()), before);

    std::fs::create_dir(dir.path().join("bert")).unwrap();
    write("bert/vocab.txt", &[vocabulary().bytes(), b"more\n"].concat());
    let before = files(dir.path());
    let message = refused(dir.path(), "tokenize --text good.txt --vocab vocab.txt --out bert");
    assert!(message.starts_with("error: bert/vocab.txt: expected no other file by this name"), "{message}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn the_examples_in_the_output_directory_survive_a_refused_run() {
    let dir = tempfile::tempdir().unwrap();
    let context = "The whale swam home.";
    let question =
        serde_json::json!({"id": "q", "question": "Who?", "answers": [{"text": "whale", "answer_start": 4}]});
    let file = serde_json::json!({"version": "1.1", "data": [{"title": "", "paragraphs": [
        {"context": context, "qas": [question]}]}]});
    let (input, out) = (dir.path().join("squad.json"), dir.path().join("out"));
    std::fs::write(&input, file.to_string()).unwrap();
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("examples.jsonl"), "mine\n").unwrap();
    let before = files(&out);
    let error = squad(&SquadConfig::default(), &input, &vocabulary(), &out, &Progress::silent()).unwrap_err();
    assert!(error.to_string().contains("examples.jsonl: expected no other file by this name"), "{error}");
    assert_eq!(files(&out), before);
}

/// A corpus of 200 documents in `dir`.
fn corpus(dir: &Path) -> Dataset {
    let documents = vec![vec![9u16; 20]; 200];
    corpora::corpus(dir, 500, &documents, |_, i| 5 + (i % 490) as u32)
}

fn config() -> InstanceConfig {
    InstanceConfig::for_phase(1, MaskingMode::Static)
}

#[test]
fn more_shards_than_instances_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(&dir.path().join("corpus"));
    let out = dir.path().join("out");
    let impossible = InstanceConfig { num_shards: 1_000_000, ..config() };
    let cases = [
        impossible.clone(),
        InstanceConfig { held_out: 0.2, ..impossible.clone() },
        InstanceConfig { compat: Some(Compat::Nvidia), ..impossible.clone() },
    ];
    for case in cases {
        let error = build(&corpus, &case, &out, Progress::silent()).unwrap_err().to_string();
        assert!(error.contains("num_shards: expected at most one per instance"), "{error}");
        assert!(!out.exists());
    }
    // Both ranks at once, then with a number that works.
    let rank = |config: &InstanceConfig, rank| {
        let world = World::new(rank, 2).unwrap();
        build_share(&corpus, config, &out, world, Progress::silent())
    };
    let impossible = InstanceConfig { held_out: 0.2, ..impossible };
    std::thread::scope(|scope| {
        let ranks = [0, 1].map(|number| {
            scope.spawn({
                let (rank, config) = (&rank, &impossible);
                move || rank(config, number)
            })
        });
        ranks.into_iter().for_each(|rank| assert!(rank.join().unwrap().is_err()));
    });
    let possible = InstanceConfig { num_shards: 4, ..impossible };
    rank(&possible, 0).unwrap();
    rank(&possible, 1).unwrap();
    finish(UnfinishedDataset::open(&out).unwrap()).unwrap();
    let alone = dir.path().join("alone");
    build(&corpus, &possible, &alone, Progress::silent()).unwrap();
    assert_eq!(files(&out), files(&alone));
}

#[test]
fn a_held_out_part_too_small_for_its_shards_gets_one_for_each_instance() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(&dir.path().join("corpus"));
    let config = InstanceConfig { held_out: 0.02, num_shards: 100, dupe_factor: 1, ..config() };
    let whole = dir.path().join("whole");
    let manifests = build(&corpus, &config, &whole, Progress::silent()).unwrap();
    let [train, held_out] = manifests.as_slice() else { panic!("{} parts", manifests.len()) };
    assert_eq!(train.shards.len(), 100);
    assert!(held_out.num_rows() < 100, "{} rows are too many for this test", held_out.num_rows());
    assert_eq!(held_out.shards.len() as u64, held_out.num_rows());
    let kept = dir.path().join("kept");
    // What a run leaves that is killed between the publication of the two parts.
    std::fs::create_dir(&kept).unwrap();
    std::fs::rename(whole.join("held-out"), kept.join("held-out")).unwrap();
    build(&corpus, &config, &kept, Progress::silent()).unwrap();
    std::fs::rename(kept.join("held-out"), whole.join("held-out")).unwrap();
    build(&corpus, &config, &dir.path().join("again"), Progress::silent()).unwrap();
    assert_eq!(files(&dir.path().join("again")), files(&whole));
}

/// Runs the program in `dir`, which succeeds; what it printed, results and then warnings.
fn done(dir: &Path, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloze-prep"));
    let output = command.current_dir(dir).args(line.split_whitespace()).output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{line}: {printed}");
    printed
}

fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vocab.txt"), vocabulary().bytes()).unwrap();
    std::fs::write(dir.path().join("prose.txt"), common::prose(300)).unwrap();
    done(dir.path(), "tokenize --text prose.txt --vocab vocab.txt --out corpus");
    dir
}

#[test]
fn a_report_replaces_reports_and_nothing_else() {
    let dir = prepared();
    let before = files(&dir.path().join("corpus"));
    let message = refused(dir.path(), "inspect corpus --html corpus/manifest.json");
    assert!(
        message.starts_with("error: corpus/manifest.json: expected a new file, or a report to replace"),
        "{message}"
    );
    assert_eq!(files(&dir.path().join("corpus")), before);
    for _ in 0..2 {
        done(dir.path(), "inspect corpus --html report.html");
    }
    assert!(std::fs::read_to_string(dir.path().join("report.html")).unwrap().ends_with("</html>\n"));
}

#[test]
fn tokenize_does_not_take_over_what_build_has_begun() {
    let dir = prepared();
    done(dir.path(), "build --corpus corpus --phase 1 --held-out 0.2 --rank 0 --world-size 2 --out whole");
    // As an interrupted build of one process leaves it: begun, no shard of the training part finished.
    let begun = dir.path().join("begun");
    let spec = std::fs::read_to_string(dir.path().join("whole/.building/specification.json")).unwrap();
    std::fs::create_dir_all(begun.join(".building/rank-00000")).unwrap();
    let alone = spec.replace("\"world_size\": 2", "\"world_size\": 1");
    assert_ne!(spec, alone);
    std::fs::write(begun.join(".building/specification.json"), alone).unwrap();
    let message = refused(dir.path(), "tokenize --text prose.txt --vocab vocab.txt --out begun");
    assert!(message.contains("an interrupted run here was made with another kind"), "{message}");
    assert!(begun.join(".building/specification.json").exists());
}

#[test]
fn what_does_not_fit_or_is_left_out_is_told() {
    let dir = prepared();
    let printed = done(dir.path(), "tokenize --text prose.txt --vocab vocab.txt --cased --out cased");
    assert!(printed.contains("warning: vocab.txt: has no upper-case tokens, and text keeps its case"), "{printed}");
    std::fs::write(dir.path().join("rows.jsonl"), "{\"text\": \"The sea.\"}\n".to_owned() + &"{\n".repeat(9)).unwrap();
    let printed = done(dir.path(), "tokenize --jsonl rows.jsonl --vocab vocab.txt --out rows");
    assert!(printed.contains("warning: and 4 more broken rows\n"), "{printed}");
    done(dir.path(), "build --corpus corpus --phase 1 --held-out 0.2 --out phase1");
    let printed = done(dir.path(), "export phase1 --format parquet --out parquet");
    assert!(printed.contains("  without the held-out part: export phase1/held-out by itself\n"), "{printed}");
}
