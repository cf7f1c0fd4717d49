//! Training a vocabulary: deterministic, complete, usable.

mod common;

use std::path::Path;
use std::sync::Arc;

use cloze_formats::Vocabulary;
use cloze_prep::progress::Progress;
use cloze_prep::sources::{SourceFile, SourceKind};
use cloze_prep::vocab::{SPECIAL_TOKENS, VocabConfig, vocab};
use cloze_prep::wordpiece::{Encoder, WordPiece};

use common::prose;

fn source(dir: &Path, text: &str) -> SourceFile {
    let path = dir.join("text.txt");
    std::fs::write(&path, text).unwrap();
    SourceFile { kind: SourceKind::Text, path }
}

#[test]
fn the_vocabulary_is_the_same_on_every_run_and_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path(), &prose(3_000));
    let config = VocabConfig { vocab_size: 120, ..VocabConfig::default() };
    let made: Vec<Vec<u8>> = [1, 2, 8, 1]
        .into_iter()
        .enumerate()
        .map(|(run, threads)| {
            let out = dir.path().join(format!("vocab-{run}.txt"));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| vocab(&config, std::slice::from_ref(&source), &out, &Progress::silent())).unwrap();
            std::fs::read(out).unwrap()
        })
        .collect();
    assert!(made.iter().all(|bytes| *bytes == made[0]));
}

#[test]
fn special_tokens_come_first_then_characters_then_words_of_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let text = prose(3_000) + "Ünïque 日本 words — “quoted”.";
    let source = source(dir.path(), &text);
    let out = dir.path().join("vocab.txt");
    let config = VocabConfig { vocab_size: 150, ..VocabConfig::default() };
    let summary = vocab(&config, &[source], &out, &Progress::silent()).unwrap();
    let vocabulary = Vocabulary::read(&out).unwrap();
    assert_eq!(vocabulary.tokens()[..5], SPECIAL_TOKENS);
    assert_eq!((vocabulary.len(), summary.num_tokens), (150, 150));
    let characters = &vocabulary.tokens()[5..5 + summary.num_characters];
    assert!(characters.iter().all(|token| token.chars().count() == 1) && characters.is_sorted());
    for token in ["whale", "captain", "harbour", "日", "##u", "“"] {
        assert!(vocabulary.id(token).is_some(), "{token} is missing");
    }
    assert!(vocabulary.id("##日").is_none(), "a character that is always a word of its own never continues one");
    let mut ids = Vec::new();
    Encoder::new(Arc::new(WordPiece::new(&vocabulary, false))).encode(&text, &mut ids);
    assert!(!ids.contains(&vocabulary.special().unk));
}

#[test]
fn too_small_a_size_and_empty_text_are_refused_and_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("vocab.txt");
    let config = VocabConfig { vocab_size: 10, ..VocabConfig::default() };
    let message =
        vocab(&config, &[source(dir.path(), "abc def ghi")], &out, &Progress::silent()).unwrap_err().to_string();
    assert!(
        message.ends_with("expected a vocab_size of at least 23 (special tokens and characters alone), found 10"),
        "{message}"
    );
    let message = vocab(&config, &[source(dir.path(), " \n\n")], &out, &Progress::silent()).unwrap_err().to_string();
    assert!(message.ends_with("expected text to learn from, found no word in the sources"), "{message}");
    assert!(!out.exists());
}
