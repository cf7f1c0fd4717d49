//! `vocab.txt`: one WordPiece a line, the id is the line number.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checksum::sha256_hex;
use crate::error::{AtPath, Error, Result};

/// Ids of the tokens that BERT's input is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialIds {
    /// `[PAD]`
    pub pad: u32,
    /// `[UNK]`
    pub unk: u32,
    /// `[CLS]`
    pub cls: u32,
    /// `[SEP]`
    pub sep: u32,
    /// `[MASK]`
    pub mask: u32,
}

/// A WordPiece vocabulary, exactly as its file has it.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    bytes: Vec<u8>,
    sha256: String,
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    special: SpecialIds,
}

impl Vocabulary {
    /// Reads `path`.
    ///
    /// # Errors
    /// Not readable, not UTF-8, a byte order mark, an empty or repeated line, or one of `[PAD] [UNK] [CLS] [SEP] [MASK]` missing.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = std::fs::read(&path).at(&path)?;
        Self::from_bytes(path, bytes)
    }

    /// Like [`read`](Self::read), from bytes already in memory; `path` is for messages.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            Error::invalid(path, format!("a vocabulary is UTF-8 text, found other bytes at offset {}", e.valid_up_to()))
        })?;
        // Stripping it here would leave it in the copy that datasets carry, for others to stumble over.
        if text.starts_with('\u{feff}') {
            let problem = "line 1: expected a token, found a byte order mark; save the file as UTF-8 without it";
            return Err(Error::invalid(path, problem));
        }
        let num_lines = text.lines().count();
        let mut tokens = Vec::with_capacity(num_lines);
        let mut ids = HashMap::with_capacity(num_lines);
        for (id, line) in text.lines().enumerate() {
            let token = line.trim_end_matches('\r');
            if token.is_empty() {
                return Err(Error::invalid(path, format!("line {}: expected a token, found an empty line", id + 1)));
            }
            if let Some(first) = ids.insert(token.to_owned(), id as u32) {
                let problem = format!("line {}: token {token:?} stands in line {} already", id + 1, first + 1);
                return Err(Error::invalid(path, problem));
            }
            tokens.push(token.to_owned());
        }
        let find = |token: &str| {
            ids.get(token).copied().ok_or_else(|| {
                let n = tokens.len();
                Error::invalid(path, format!("expected a token {token}, found none among {n}; give a BERT vocabulary"))
            })
        };
        let special = SpecialIds {
            pad: find("[PAD]")?,
            unk: find("[UNK]")?,
            cls: find("[CLS]")?,
            sep: find("[SEP]")?,
            mask: find("[MASK]")?,
        };
        Ok(Self { sha256: sha256_hex(&bytes), bytes, tokens, ids, special })
    }

    /// Number of tokens.
    #[allow(clippy::len_without_is_empty, reason = "a vocabulary always holds the special tokens")]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token of `id`.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// The id of `token`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// All tokens, by id.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// SHA-256 of the file, in hexadecimal: the vocabulary's identity everywhere.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_line_numbers() {
        let v = Vocabulary::from_bytes("v.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\r\n##s\n".to_vec()).unwrap();
        assert_eq!((v.len(), v.id("the"), v.token(6)), (7, Some(5), Some("##s")));
        assert_eq!(v.special(), SpecialIds { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 });
    }

    #[test]
    fn names_the_special_token_that_is_missing() {
        let error = Vocabulary::from_bytes("v.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "v.txt: expected a token [MASK], found none among 5; give a BERT vocabulary");
    }

    #[test]
    fn says_when_a_byte_order_mark_is_in_the_way() {
        let error = Vocabulary::from_bytes("v.txt", b"\xef\xbb\xbf[PAD]\n[UNK]\n".to_vec()).unwrap_err();
        let expected = "v.txt: line 1: expected a token, found a byte order mark; save the file as UTF-8 without it";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn rejects_a_repeated_token() {
        let error = Vocabulary::from_bytes("v.txt", b"[PAD]\na\na\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "v.txt: line 3: token \"a\" stands in line 2 already");
    }
}
