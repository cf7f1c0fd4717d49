//! WordPiece exactly as BERT's tokenizers cut it: text to token ids, and back for reading.
//!
//! Text is normalised (control characters dropped, white space unified, CJK characters set apart and, for uncased
//! vocabularies, accents stripped and letters lowered), cut into words at white space and around every punctuation
//! character, and each word is cut greedily into the longest pieces of the vocabulary. A word that cannot be cut, or that
//! has more than [`MAX_CHARS_PER_WORD`] characters, becomes `[UNK]`.
//!
//! Ids equal those of Hugging Face `tokenizers` 0.22 (`BertNormalizer`, `BertPreTokenizer`, `WordPiece`) on every string,
//! its Unicode tables included: `tests/wordpiece.rs` holds the two against each other over all of Unicode. With one
//! deliberate difference: text is only text. Where `tokenizers` with added tokens turns a literal `[MASK]` in a document
//! into the id of the mask, here it is the three words `[`, `mask` and `]`, as in google-research/bert's `BasicTokenizer`;
//! a corpus must not be able to smuggle special tokens into its instances. Nothing adds `[CLS]` or `[SEP]` either.
//!
//! The parts: [`Encoder`] finds chunks between ASCII white space and remembers their ids in a bounded cache per thread; on
//! a miss an ASCII chunk is cut by byte class, any other goes character by character through the Unicode path
//! (`normalize`); words are cut over a double-array trie.

mod cache;
mod decode;
mod encoder;
mod normalize;
mod trie;

use std::ops::Range;

use cloze_formats::vocabulary::Vocabulary;

pub use decode::decode;
pub use encoder::Encoder;
pub(crate) use normalize::Normalizer;
use trie::{NodeId, Trie};

/// Longer words become `[UNK]`, in characters after normalisation; 100 in `tokenizers`, 200 in google-research/bert.
pub const MAX_CHARS_PER_WORD: usize = 100;

/// Marks pieces that continue a word.
pub const CONTINUATION: &str = "##";

/// A token and where it stands in the text it was cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// WordPiece id.
    pub id: u32,
    /// First character covered, counted in Unicode scalar values of the original text.
    pub start_char: u32,
    /// One past the last character covered. Combining marks that were stripped belong to the token before them.
    pub end_char: u32,
}

/// A vocabulary made ready for cutting words; immutable and shared by all threads.
#[derive(Debug)]
pub struct WordPiece {
    trie: Trie,
    first: NodeId,
    continuation: NodeId,
    unknown: u32,
    num_tokens: usize,
    cased: bool,
}

impl WordPiece {
    /// Prepares `vocabulary`; `cased` text keeps its letters and accents, uncased text loses both.
    pub fn new(vocabulary: &Vocabulary, cased: bool) -> Self {
        Self::from_tokens(vocabulary.tokens(), vocabulary.special().unk, cased)
    }

    /// The same from bare tokens, whose position is their id.
    pub(crate) fn from_tokens(tokens: &[String], unknown: u32, cased: bool) -> Self {
        let with_ids = || tokens.iter().zip(0u32..);
        let first = with_ids().map(|(token, id)| (token.as_bytes(), id));
        let continuation = with_ids()
            .filter_map(|(token, id)| Some((token.strip_prefix(CONTINUATION)?, id)))
            .filter(|(rest, _)| !rest.is_empty())
            .map(|(rest, id)| (rest.as_bytes(), id));
        let (trie, [first, continuation]) = Trie::build([first.collect(), continuation.collect()]);
        Self { trie, first, continuation, unknown, num_tokens: tokens.len(), cased }
    }

    /// Whether letters and accents are kept.
    pub fn cased(&self) -> bool {
        self.cased
    }

    /// Tokens of the vocabulary.
    pub(crate) fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// The id of `[UNK]`.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// Cuts one normalised `word` into its longest pieces, calling `piece` with each id and byte range.
    ///
    /// Returns false when the word must become `[UNK]`; the pieces already passed on are then void.
    pub(crate) fn cut(&self, word: &[u8], mut piece: impl FnMut(u32, Range<usize>)) -> bool {
        if word.len() > MAX_CHARS_PER_WORD && num_chars(word) > MAX_CHARS_PER_WORD {
            return false;
        }
        let (mut root, mut start) = (self.first, 0);
        while start < word.len() {
            let Some((id, len)) = self.trie.longest(root, &word[start..]) else { return false };
            piece(id, start..start + len);
            start += len;
            root = self.continuation;
        }
        true
    }

    /// Appends the ids of one normalised word, or `[UNK]`.
    pub(crate) fn push_word(&self, word: &[u8], out: &mut Vec<u32>) {
        let before = out.len();
        if !self.cut(word, |id, _| out.push(id)) {
            out.truncate(before);
            out.push(self.unknown);
        }
    }
}

/// Characters of valid UTF-8: bytes that do not continue one.
fn num_chars(utf8: &[u8]) -> usize {
    utf8.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod oracle_tests;
