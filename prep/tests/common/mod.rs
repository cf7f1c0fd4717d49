//! What the tests of stage 1 and of the fine-tuning tasks share.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod corpora;
pub mod datasets;
pub mod forge;

use std::collections::BTreeMap;
use std::path::Path;

use cloze_formats::Vocabulary;
use cloze_formats::checksum::sha256_hex;

/// Special tokens, letters and digits alone and continuing, punctuation, and some words.
pub fn vocabulary() -> Vocabulary {
    let mut tokens: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    for char in ('a'..='z').chain('0'..='9') {
        tokens.extend([char.to_string(), format!("##{char}")]);
    }
    tokens.extend(".,;:!?'\"()-".chars().map(String::from));
    tokens.extend("the of and whale sea ship ##ing ##ed".split(' ').map(str::to_owned));
    Vocabulary::from_bytes("vocab.txt", (tokens.join("\n") + "\n").into_bytes()).unwrap()
}

/// Prose of `num_documents` documents, different from each other, separated by blank lines.
pub fn prose(num_documents: usize) -> String {
    let words = ["the", "whale", "sailed", "of", "old", "sea", "ships", "and", "rope", "harbour", "night", "captain"];
    let mut state = 1u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut text = String::new();
    for document in 0..num_documents {
        for _ in 0..2 + next(6) {
            let sentence: Vec<&str> = (0..4 + next(12)).map(|_| words[next(words.len())]).collect();
            text += &format!("{} {document}. ", sentence.join(" "));
        }
        text += "\n\n";
    }
    text
}

/// The SHA-256 of every file below `dir`, by relative name.
pub fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let hash = sha256_hex(&std::fs::read(&path).unwrap());
                files.insert(path.strip_prefix(dir).unwrap().display().to_string(), hash);
            }
        }
    }
    files
}
