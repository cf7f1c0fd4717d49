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
