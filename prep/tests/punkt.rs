//! Sentence models: learning one, tokenizing with one, and what is refused.

mod common;

use std::path::{Path, PathBuf};

use cloze_formats::Dataset;
use cloze_formats::checksum::sha256_hex;
use cloze_prep::progress::Progress;
use cloze_prep::sentences::{Parameters, SentenceModel, train};
use cloze_prep::sources::{ReadOptions, SourceFile, SourceKind};
use cloze_prep::tokenize::{TokenizeConfig, tokenize};

use common::{prose, vocabulary};

fn write(dir: &Path, name: &str, bytes: &[u8]) -> SourceFile {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    SourceFile { kind: SourceKind::Text, path }
}

/// German of a kind: `bzw.` and `Str.` are abbreviations, `Nr.` is rare and followed by a comma once.
fn german() -> String {
    let line = |i: usize| {
        format!("Das Haus bzw. der Hof in der Str. {i} war alt. Die Uhr stand. Er kam bzw. ging. Die Tür war zu.\n\n")
    };
    // Words that end those sentences, without a full stop.
    let others = "Es ging so zu, es stand so da und war so alt und so neu\n";
    (0..200).map(line).collect::<String>() + &others.repeat(400) + "Die Nr., die er sah.\n"
}

fn learn(dir: &Path, name: &str, threads: usize) -> PathBuf {
    let source = write(dir, "german.txt", german().as_bytes());
    let out = dir.join(name);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let summary = pool.install(|| train(&[source], &ReadOptions::default(), &out, &Progress::silent())).unwrap();
    assert_eq!(summary.documents, 201);
    out
}

#[test]
fn abbreviations_and_starters_are_learned_alike_by_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let models = [1, 2, 8].map(|threads| learn(dir.path(), &format!("{threads}.punkt"), threads));
    let bytes = models.each_ref().map(|path| std::fs::read_to_string(path).unwrap());
    assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
    assert!(bytes[0].contains("words of 201 documents:\n# german.txt (text), "), "{}", &bytes[0][..200]);
    let parameters = Parameters::read(&models[0]).unwrap();
    let words = |set: &std::collections::BTreeSet<Box<str>>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(words(&parameters.abbreviations), ["bzw", "nr", "str"]);
    assert_eq!(words(&parameters.sentence_starters), ["das", "die", "er"]);
}

#[test]
fn a_corpus_says_by_which_model_its_sentences_were_split() {
    let dir = tempfile::tempdir().unwrap();
    let model = learn(dir.path(), "german.punkt", 2);
    let source = write(dir.path(), "a.txt", "Das Haus bzw. Hof war alt. Nein.\n".as_bytes());
    let sentences = |name: &str, sentence_model: SentenceModel| {
        let out = dir.path().join(name);
        let config = TokenizeConfig { sentence_model, ..TokenizeConfig::default() };
        let summary =
            tokenize(&config, std::slice::from_ref(&source), &vocabulary(), &out, false, &Progress::silent()).unwrap();
        let configuration = Dataset::open(&out).unwrap().manifest().configuration.clone();
        (summary.sentences, configuration["sentence_model"].as_str().unwrap().to_owned())
    };
    assert_eq!(sentences("english", SentenceModel::english()), (3, "english".to_owned()));
    let name = sha256_hex(&std::fs::read(&model).unwrap());
    assert_eq!(sentences("german", SentenceModel::read(&model).unwrap()), (2, name));
}

#[test]
fn an_interrupted_run_is_not_resumed_with_another_model() {
    let dir = tempfile::tempdir().unwrap();
    // The second source is damaged: it stops the run after the first one has filled shards.
    let damaged = [b"fine\n\n".as_slice(), &[0xff; 9]].concat();
    let sources = [write(dir.path(), "a.txt", prose(20_000).as_bytes()), write(dir.path(), "b.txt", &damaged)];
    let out = dir.path().join("corpus");
    let run = |sentence_model: SentenceModel| {
        let config = TokenizeConfig { tokens_per_shard: 20_000, sentence_model, ..TokenizeConfig::default() };
        tokenize(&config, &sources, &vocabulary(), &out, false, &Progress::silent()).unwrap_err().to_string()
    };
    assert!(run(SentenceModel::english()).contains("UTF-8"));
    let other = SentenceModel::read(&learn(dir.path(), "german.punkt", 2)).unwrap();
    let message = run(other);
    assert!(message.contains("an interrupted run here was made with another configuration"), "{message}");
}

#[test]
fn learning_from_nothing_or_over_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let empty = write(dir.path(), "empty.txt", b"\n \n");
    let out = dir.path().join("x.punkt");
    let message = train(&[empty], &ReadOptions::default(), &out, &Progress::silent()).unwrap_err().to_string();
    assert!(message.ends_with("x.punkt: expected text to learn from, found no word in the sources"), "{message}");
    assert!(!out.exists());
    let text = write(dir.path(), "text.txt", b"A word.\n");
    std::fs::write(&out, "kept").unwrap();
    let message = train(&[text], &ReadOptions::default(), &out, &Progress::silent()).unwrap_err().to_string();
    assert!(message.ends_with("there is something here already; delete it or choose another name"), "{message}");
    assert_eq!(std::fs::read(&out).unwrap(), b"kept");
}

#[test]
fn the_text_of_rows_is_in_the_field_that_is_named_and_broken_rows_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "{\"body\": \"Das Haus war alt.\"}\n{\"text\": \"x\"}\n{\"body\": \"Die Tür war zu.\"}\n";
    let source = SourceFile { kind: SourceKind::Jsonl, ..write(dir.path(), "rows.jsonl", rows.as_bytes()) };
    let learn = |name: &str, strict: bool| {
        let reading = ReadOptions { field: "body".to_owned(), strict, ..ReadOptions::default() };
        train(std::slice::from_ref(&source), &reading, &dir.path().join(name), &Progress::silent())
    };
    let summary = learn("lenient.punkt", false).unwrap();
    assert_eq!((summary.documents, summary.num_words, summary.skipped_rows), (2, 8, 1));
    let [row] = summary.broken_rows.as_slice() else { panic!("{:?}", summary.broken_rows) };
    assert!(row.ends_with("rows.jsonl: line 2: expected a field \"body\" (see --field), found text"), "{row}");
    let message = learn("strict.punkt", true).unwrap_err().to_string();
    assert!(message.contains("rows.jsonl: line 2: expected a field \"body\""), "{message}");
    assert!(!dir.path().join("strict.punkt").exists());
}

#[test]
fn standard_input_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let source = SourceFile { kind: SourceKind::Text, path: "-".into() };
    let out = dir.path().join("x.punkt");
    let message = train(&[source], &ReadOptions::default(), &out, &Progress::silent()).unwrap_err().to_string();
    let expected = "expected files, which can be read twice, found standard input; write it to a file first";
    assert_eq!(message, format!("-: {expected}"));
}

#[test]
fn the_command_takes_the_options_of_reading() {
    use clap::Parser;
    use cloze_prep::cli::{Cli, Command};
    let words = ["cloze-prep", "punkt", "--jsonl", "a", "--field", "body", "--column", "c", "--strict", "--out", "o"];
    let Command::Punkt(args) = Cli::parse_from(words).command else { panic!("punkt was asked for") };
    let expected = ReadOptions { field: "body".to_owned(), column: "c".to_owned(), strict: true };
    assert_eq!(args.reading.options(), expected);
}
