//! `build --compat nvidia` against an independent implementation in Python.

mod common;

use std::path::{Path, PathBuf};

use cloze_formats::config::{Compat, InstanceConfig, MaskingMode};
use cloze_formats::{Dataset, Vocabulary};
use cloze_prep::build::build;
use cloze_prep::progress::Progress;
use cloze_prep::sources::{SourceFile, SourceKind};
use cloze_prep::tokenize::{TokenizeConfig, tokenize};

use common::corpora::{Instance, instances};
use common::files;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/nvidia").join(name)
}

/// The corpus of the first `num_documents` documents of golden/nvidia/sentences.txt.
fn corpus(dir: &Path, num_documents: usize) -> Dataset {
    let text = std::fs::read_to_string(golden("sentences.txt")).unwrap();
    let documents: Vec<&str> = text.split("\n\n").take(num_documents).collect();
    let path = dir.join("sentences.txt");
    std::fs::write(&path, documents.join("\n\n")).unwrap();
    let source = SourceFile { kind: SourceKind::Sentences, path };
    let vocabulary = Vocabulary::read(golden("vocab.txt")).unwrap();
    let out = dir.join("corpus");
    tokenize(&TokenizeConfig::default(), &[source], &vocabulary, &out, false, &Progress::silent()).unwrap();
    Dataset::open(out).unwrap()
}

fn nvidia() -> InstanceConfig {
    InstanceConfig { compat: Some(Compat::Nvidia), ..InstanceConfig::for_phase(1, MaskingMode::Static) }
}

/// The case "several" of golden/nvidia/make_expected.py.
fn several() -> InstanceConfig {
    InstanceConfig { max_seq_length: 40, max_predictions_per_seq: 6, dupe_factor: 3, ..nvidia() }
}

/// A line of golden/nvidia/make_expected.py: label, tokens of `[CLS] A [SEP]`, ids, positions, what the model sees there.
fn parse(line: &str) -> Instance {
    let numbers = |list: &str| list.split(',').map(|n| n.parse().unwrap()).collect::<Vec<u32>>();
    let columns: Vec<&str> = line.split(' ').collect();
    let [label, a_length, ids, positions, inputs] = columns[..] else { panic!("five columns, found {line}") };
    let positions = numbers(positions).into_iter().map(|p| p as usize);
    Instance {
        ids: numbers(ids),
        a_length: a_length.parse().unwrap(),
        is_random: label == "1",
        masks: positions.zip(numbers(inputs)).collect(),
    }
}

fn check(name: &str, num_documents: usize, config: &InstanceConfig) {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(dir.path(), num_documents);
    build(&corpus, config, &dir.path().join("out"), Progress::silent()).unwrap();
    let found = instances(&dir.path().join("out"));
    let expected = std::fs::read_to_string(golden(&format!("expected-{name}.txt"))).unwrap();
    let expected: Vec<Instance> = expected.lines().map(parse).collect();
    for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "row {row} of {name}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn instances_are_those_of_the_python_implementation() {
    check("several", usize::MAX, &several());
}

#[test]
fn short_targets_and_a_seed_of_two_words_draw_the_same() {
    let (max_seq_length, max_predictions_per_seq, dupe_factor, seed) = (24, 3, 2, (1 << 40) + 7);
    let config = InstanceConfig { max_seq_length, max_predictions_per_seq, dupe_factor, seed, ..nvidia() };
    check("short", usize::MAX, &InstanceConfig { masked_lm_prob: 0.3, short_seq_prob: 0.9, ..config });
}

#[test]
fn a_lone_document_is_paired_with_itself_and_called_next() {
    let config = InstanceConfig { max_seq_length: 32, dupe_factor: 8, seed: 5, ..nvidia() };
    check("one-document", 1, &config);
}

#[test]
fn the_rows_do_not_depend_on_the_number_of_shards_nor_the_bytes_on_that_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(dir.path(), usize::MAX);
    let build_with = |name: &str, num_shards, num_threads| {
        let out = dir.path().join(name);
        let config = InstanceConfig { num_shards, ..several() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
        pool.install(|| build(&corpus, &config, &out, Progress::silent())).unwrap();
        out
    };
    let one = build_with("one", 1, 1);
    let five = build_with("five", 5, 1);
    assert_eq!(instances(&one), instances(&five));
    assert_eq!(files(&five), files(&build_with("threads", 5, 8)));
}

#[test]
fn an_interrupted_run_keeps_its_draws_and_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(dir.path(), usize::MAX);
    let config = InstanceConfig { num_shards: 3, ..several() };
    let [whole, resumed] = ["whole", "resumed"].map(|name| dir.path().join(name));
    build(&corpus, &config, &whole, Progress::silent()).unwrap();
    // A directory where the second shard should go stops the first run after its draws.
    let obstacle = resumed.join(".building/rank-00000/shard-00000-00001.arrow");
    std::fs::create_dir_all(obstacle.join("in the way")).unwrap();
    build(&corpus, &config, &resumed, Progress::silent()).unwrap_err();
    assert!(resumed.join(".building/rank-00000/drawn/totals.json").exists());
    std::fs::remove_dir_all(obstacle).unwrap();
    build(&corpus, &config, &resumed, Progress::silent()).unwrap();
    assert_eq!(files(&whole), files(&resumed));
}

#[test]
fn more_shards_than_instances_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(dir.path(), usize::MAX);
    let config = InstanceConfig { num_shards: 1_000, ..several() };
    let error = build(&corpus, &config, &dir.path().join("out"), Progress::silent()).unwrap_err().to_string();
    assert!(error.ends_with("num_shards: expected at most one per instance (64), found 1000"), "{error}");
    assert!(!dir.path().join("out/manifest.json").exists());
}

#[test]
fn several_ranks_are_refused_in_one_line_however_they_are_told() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path(), usize::MAX);
    let out = dir.path().join("out");
    let build = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cloze-prep"));
        for name in
            ["RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"]
        {
            command.env_remove(name);
        }
        command.args(["build", "--compat", "nvidia", "--quiet", "--corpus"]).arg(dir.path().join("corpus"));
        command.arg("--out").arg(&out).args(flags).envs(variables.iter().copied()).output().unwrap()
    };
    for refused in [
        build(&["--rank", "0", "--world-size", "2"], &[]),
        build(&["--rank", "1", "--world-size", "2"], &[]),
        build(&[], &[("RANK", "0"), ("WORLD_SIZE", "2")]),
    ] {
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        let expected =
            "compat: expected one process, found several ranks; its draws follow one another, so run it once";
        assert!(message.contains(expected) && message.lines().count() == 1, "{message}");
        assert!(refused.stdout.is_empty() && !out.exists());
    }
    // Within such a job, one process does.
    let alone = build(&["--world-size", "1"], &[("RANK", "1"), ("WORLD_SIZE", "2")]);
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
    assert!(out.join("manifest.json").exists());
}
