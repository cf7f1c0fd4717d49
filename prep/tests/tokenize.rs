//! Stage 1 as a whole: order, determinism, resume after kill -9, and what it refuses.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cloze_formats::Dataset;
use cloze_formats::dataset::WORK_DIR;
use cloze_prep::progress::Progress;
use cloze_prep::sources::{SourceFile, SourceKind};
use cloze_prep::tokenize::{Summary, TokenizeConfig, tokenize, tokenize_share};
use cloze_prep::wordpiece::decode;
use cloze_prep::world::World;

use common::{files, prose, vocabulary};

fn write_source(dir: &Path, name: &str, kind: SourceKind, text: &str) -> SourceFile {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    SourceFile { kind, path }
}

fn run(sources: &[SourceFile], out: &Path, tokens_per_shard: u64) -> cloze_prep::Result<Summary> {
    let config = TokenizeConfig { tokens_per_shard, ..TokenizeConfig::default() };
    tokenize(&config, sources, &vocabulary(), out, false, &Progress::silent())
}

fn run_with_threads(threads: usize, sources: &[SourceFile], out: &Path) -> Summary {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| run(sources, out, 20_000)).unwrap()
}

#[test]
fn documents_keep_their_order_and_sentences_their_ends() {
    let dir = tempfile::tempdir().unwrap();
    let first =
        write_source(dir.path(), "a.txt", SourceKind::Text, "The whale sailed. The sea!\n\n\u{200b}\n\nOld ships\n");
    let second = write_source(dir.path(), "b.txt", SourceKind::Sentences, "One. Two.\nThree\n");
    let out = dir.path().join("corpus");
    let summary = run(&[first, second], &out, 1_000).unwrap();
    let corpus = Dataset::open(&out).unwrap();
    let rows: Vec<_> = (0..corpus.len()).map(|row| corpus.corpus_row(row).unwrap()).collect();
    let text: Vec<_> = rows.iter().map(|row| decode(corpus.vocabulary(), &row.token_ids.to_vec())).collect();
    assert_eq!(text, ["the whale sailed . the sea !", "old ships", "one . two . three"]);
    let num_sentences: Vec<_> = rows.iter().map(|row| row.sentence_lengths.len()).collect();
    assert_eq!(num_sentences, [2, 1, 2]);
    assert_eq!((summary.documents, summary.documents_without_text, summary.sentences), (3, 1, 5));
    assert_eq!(rows.iter().map(|row| row.document_id).collect::<Vec<_>>(), [0, 2, 3]);
    let sources: Vec<_> = corpus.manifest().sources.iter().map(|s| (s.name.as_str(), s.documents)).collect();
    assert_eq!(sources, [("a.txt", 2), ("b.txt", 1)]);
}

#[test]
fn the_bytes_are_the_same_for_1_2_and_8_threads() {
    let dir = tempfile::tempdir().unwrap();
    let sources = [
        write_source(dir.path(), "a.txt", SourceKind::Text, &prose(20_000)),
        write_source(dir.path(), "b.txt", SourceKind::Books, &prose(500)),
    ];
    let outs: Vec<PathBuf> = [1, 2, 8].map(|threads| dir.path().join(format!("threads-{threads}"))).to_vec();
    let summaries: Vec<_> =
        [1, 2, 8].into_iter().zip(&outs).map(|(threads, out)| run_with_threads(threads, &sources, out)).collect();
    let expected = files(&outs[0]);
    assert!(expected.keys().filter(|name| name.ends_with(".arrow")).count() > 10);
    assert_eq!(expected, files(&outs[1]));
    assert_eq!(expected, files(&outs[2]));
    assert_eq!((summaries[0].documents, summaries[0].tokens), (summaries[2].documents, summaries[2].tokens));
}

/// The child of the next test: tokenizes what the environment names, slowly enough to be killed.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn child() {
    let Ok(dir) = std::env::var("CLOZE_TEST_DIR") else { return };
    let dir = PathBuf::from(dir);
    let source = |name: &str| SourceFile { kind: SourceKind::Text, path: dir.join(name) };
    run(&[source("a.txt"), source("b.txt")], &dir.join("killed"), 20_000).unwrap();
}

#[test]
fn a_run_killed_at_any_moment_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let sources = [
        write_source(dir.path(), "a.txt", SourceKind::Text, &prose(20_000)),
        write_source(dir.path(), "b.txt", SourceKind::Text, &prose(15_000)),
    ];
    let undisturbed = dir.path().join("undisturbed");
    let started = Instant::now();
    let expected = run(&sources, &undisturbed, 20_000).unwrap();
    let duration = started.elapsed();

    let killed = dir.path().join("killed");
    let mut interruptions = 0;
    for attempt in 1..=12u32 {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["child", "--exact", "--ignored"]).env("CLOZE_TEST_DIR", dir.path());
        let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(duration / 10 * (attempt % 4 + 1) + Duration::from_millis(5));
        child.kill().unwrap();
        child.wait().unwrap();
        if killed.join("manifest.json").exists() {
            break;
        }
        interruptions += 1;
    }
    assert!(interruptions > 0, "the first run was over before it could be killed");
    if !killed.join("manifest.json").exists() {
        let summary = run(&sources, &killed, 20_000).unwrap();
        assert!(summary.resumed_documents > 0, "nothing was kept of {interruptions} interrupted runs");
        assert_eq!((summary.documents, summary.sentences), (expected.documents, expected.sentences));
    }
    let mut made = files(&killed);
    // Killed after publication, a run may leave part of its work directory behind; the dataset is whole all the same.
    made.retain(|name, _| !name.starts_with(WORK_DIR));
    assert_eq!(made, files(&undisturbed));
}

#[test]
fn an_interrupted_run_is_not_resumed_with_other_inputs_unless_restarted() {
    let dir = tempfile::tempdir().unwrap();
    // A damaged second source stops the run after the first one has filled shards.
    let sources = [
        write_source(dir.path(), "a.txt", SourceKind::Text, &prose(20_000)),
        write_source(dir.path(), "b.txt", SourceKind::Text, "fine\n\n"),
    ];
    std::fs::write(&sources[1].path, [b"fine\n\n".as_slice(), &[0xff; 9]].concat()).unwrap();
    let out = dir.path().join("corpus");
    let message = run(&sources, &out, 20_000).unwrap_err().to_string();
    assert!(message.contains("b.txt") && message.contains("UTF-8"), "{message}");
    assert!(!out.join("manifest.json").exists());

    let repaired = [sources[0].clone(), write_source(dir.path(), "b.txt", SourceKind::Text, "fine\n")];
    let message = run(&repaired, &out, 20_000).unwrap_err().to_string();
    assert!(message.contains("an interrupted run here was made with another set of inputs"), "{message}");

    let config = TokenizeConfig { tokens_per_shard: 20_000, ..TokenizeConfig::default() };
    let summary = tokenize(&config, &repaired, &vocabulary(), &out, true, &Progress::silent()).unwrap();
    assert_eq!((summary.documents, summary.resumed_documents), (20_001, 0));
}

#[test]
fn sources_without_any_text_publish_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("corpus");
    for text in ["", "\n\n \n", "\u{200b}\n\n\u{1}\n"] {
        let source = write_source(dir.path(), "empty.txt", SourceKind::Text, text);
        let message = run(&[source], &out, 1_000).unwrap_err().to_string();
        assert!(message.ends_with("expected documents with text, found none in empty.txt; nothing was written"));
        assert!(!out.exists());
    }
}

#[test]
fn a_missing_source_and_an_unwritable_output_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = SourceFile { kind: SourceKind::Text, path: dir.path().join("missing.txt") };
    let message = run(&[missing], &dir.path().join("corpus"), 1_000).unwrap_err().to_string();
    assert!(message.contains("missing.txt"), "{message}");

    let source = write_source(dir.path(), "a.txt", SourceKind::Text, "The sea.\n");
    let taken = dir.path().join("taken");
    std::fs::write(&taken, "a file").unwrap();
    let message = run(std::slice::from_ref(&source), &taken, 1_000).unwrap_err().to_string();
    assert!(message.contains("taken"), "{message}");

    let out = dir.path().join("corpus");
    run(std::slice::from_ref(&source), &out, 1_000).unwrap();
    let message = run(&[source], &out, 1_000).unwrap_err().to_string();
    assert!(message.contains("a finished dataset is here already"), "{message}");
}

#[test]
fn duplicates_and_short_documents_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_source(dir.path(), "a.txt", SourceKind::Text, "Old ships sailed.\n\nsea\n\nNew ships.\n");
    let second = write_source(
        dir.path(),
        "b.jsonl",
        SourceKind::Jsonl,
        "{\"text\": \"New ships.\"}\n{\"text\": \" Old ships sailed.\\n\"}\n{\"text\": \"new ships.\"}\nbroken\n",
    );
    let config = TokenizeConfig { dedup: true, min_document_chars: 4, ..TokenizeConfig::default() };
    let out = dir.path().join("corpus");
    let summary = tokenize(&config, &[first, second], &vocabulary(), &out, false, &Progress::silent()).unwrap();
    assert_eq!((summary.documents, summary.duplicate_documents, summary.short_documents), (3, 2, 1));
    assert_eq!(summary.skipped, [("broken".to_owned(), 1)].into());
    assert!(summary.broken_rows[0].contains("b.jsonl: line 4: expected a JSON object"), "{:?}", summary.broken_rows);
    let corpus = Dataset::open(&out).unwrap();
    let ids: Vec<_> = (0..corpus.len()).map(|row| corpus.corpus_row(row).unwrap().document_id).collect();
    assert_eq!(ids, [0, 2, 5], "numbers of documents in input order, dropped ones included");
    let sources: Vec<_> = corpus.manifest().sources.iter().map(|s| (s.name.as_str(), s.documents)).collect();
    assert_eq!(sources, [("a.txt", 2), ("b.jsonl", 1)]);
}

#[test]
fn a_resumed_run_drops_the_same_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    // Every document of the second file is in the first one; the last line of the third stops the run.
    let all = prose(3_000);
    let again: String = all.split_inclusive("\n\n").step_by(3).collect();
    let sources = [
        write_source(dir.path(), "a.txt", SourceKind::Text, &all),
        write_source(dir.path(), "b.txt", SourceKind::Text, &(again.clone() + &prose(3_500))),
        write_source(dir.path(), "c.jsonl", SourceKind::Jsonl, "{\"text\": \"The last ship.\"}\n{\"broken\n"),
    ];
    let config = TokenizeConfig { tokens_per_shard: 20_000, dedup: true, ..TokenizeConfig::default() };
    let strict = {
        let mut strict = config.clone();
        strict.reading.strict = true;
        strict
    };
    let run = |config: &TokenizeConfig, out: &Path, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| tokenize(config, &sources, &vocabulary(), out, false, &Progress::silent()))
    };
    let (whole, resumed, damaged) = (dir.path().join("whole"), dir.path().join("resumed"), dir.path().join("damaged"));
    let expected = run(&config, &whole, 1).unwrap();
    assert_eq!((expected.documents, expected.duplicate_documents), (3_501, 4_000));
    for out in [&resumed, &damaged] {
        let message = run(&strict, out, 2).unwrap_err().to_string();
        assert!(message.contains("c.jsonl: line 2: "), "{message}");
    }
    // Hashes that are damaged count as those of a shard that is.
    std::fs::write(damaged.join(WORK_DIR).join("hashes-00002.bin"), [0; 32]).unwrap();
    for out in [&resumed, &damaged] {
        let summary = run(&config, out, 4).unwrap();
        assert!(summary.resumed_documents > 0);
        assert_eq!((summary.documents, summary.duplicate_documents), (3_501, 4_000));
        assert_eq!(files(out), files(&whole));
    }
}

#[test]
fn broken_rows_that_an_interrupted_run_skipped_are_errors_to_a_strict_one() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "{\"text\": \"The old ship sailed.\"}\n".repeat(50);
    let sources = [
        write_source(dir.path(), "a.jsonl", SourceKind::Jsonl, &format!("{rows}broken\n{rows}")),
        write_source(dir.path(), "b.txt", SourceKind::Text, "The sea.\n"),
    ];
    let mut config = TokenizeConfig { slice_bytes: 1, ..TokenizeConfig::default() };
    let out = dir.path().join("corpus");
    let run = |config: &TokenizeConfig| {
        let world = World::new(0, 2).unwrap();
        tokenize_share(config, &sources, &vocabulary(), &out, false, world, &Progress::silent())
    };
    assert_eq!(run(&config).unwrap().documents, 100);
    config.reading.strict = true;
    let message = run(&config).unwrap_err().to_string();
    let expected = format!(
        "{}: strict: expected no broken rows, found 1 that an interrupted run has skipped (the first is {}: line 51: ",
        out.display(),
        sources[0].path.display()
    );
    assert!(message.starts_with(&expected) && message.ends_with("or leave out --strict"), "{message}");
    config.reading.strict = false;
    assert_eq!(run(&config).unwrap().resumed_documents, 100, "what was finished stays");
}

/// Runs the program with `input` piped in; its exit code and what it says on standard error.
fn pipe(args: &[&str], dir: &Path, input: &[u8]) -> (Option<i32>, String) {
    use std::io::Write;
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloze-prep"));
    command.current_dir(dir).args(args).stdin(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn standard_input_gives_the_same_corpus_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "{\"text\": \"The old ship.\"}\n{\"text\": \"The sea.\"}\n{\n";
    std::fs::write(dir.path().join("-"), zstd::encode_all(rows.as_bytes(), 1).unwrap()).unwrap();
    std::fs::write(dir.path().join("vocab.txt"), vocabulary().bytes()).unwrap();
    let piped = std::fs::read(dir.path().join("-")).unwrap();
    let call = |source: &str, out: &str, more: &[&str]| {
        let args = [&["tokenize", "--jsonl", source, "--vocab", "vocab.txt", "--out", out], more].concat();
        pipe(&args, dir.path(), &piped)
    };
    let warning = "line 3: expected a JSON object";
    for (source, out) in [("-", "piped"), ("./-", "file")] {
        let (code, message) = call(source, out, &[]);
        assert_eq!(code, Some(0), "{message}");
        assert!(message.starts_with("warning: ") && message.contains(warning), "{message}");
    }
    assert_eq!(files(&dir.path().join("piped")), files(&dir.path().join("file")));
    let (code, message) = call("-", "strict", &["--strict"]);
    assert_eq!(code, Some(2));
    assert!(message.contains(warning) && message.lines().count() == 1, "{message}");
    assert!(!dir.path().join("strict").exists());
}
