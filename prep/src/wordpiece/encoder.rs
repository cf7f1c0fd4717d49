//! Text to ids: the chunk scanner, its cache, and the two ways to cut a chunk that is not in it.

use std::sync::Arc;

use super::cache::{Cache, MAX_KEY_BYTES};
use super::normalize::{Normalized, Normalizer, for_each_word};
use super::{Token, WordPiece};

/// What an ASCII byte is to the scanner; index by byte.
const CLASS: [Class; 128] = classes();

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Punctuation,
    Word,
    /// Dropped control characters: only the Unicode path knows what to do.
    Control,
}

const fn classes() -> [Class; 128] {
    let mut classes = [Class::Control; 128];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
            _ if byte.is_ascii_alphanumeric() => Class::Word,
            _ if byte.is_ascii_punctuation() => Class::Punctuation,
            _ => Class::Control,
        };
        byte += 1;
    }
    classes
}

/// Longer chunks are normalised piece by piece; no ordinary text has any.
const LONG_CHUNK_BYTES: usize = 16 << 10;

/// Encodes text for one thread: a shared [`WordPiece`] with this thread's cache and buffers.
///
/// # Memory usage
/// Less than 2 MiB, whatever the text.
pub struct Encoder {
    words: Arc<WordPiece>,
    cache: Cache,
    normalizer: Normalizer,
    word: Vec<u8>,
}

impl Encoder {
    /// An encoder with an empty cache.
    pub fn new(words: Arc<WordPiece>) -> Self {
        let cache = Cache::new(words.num_tokens());
        Self { words, cache, normalizer: Normalizer::default(), word: Vec::new() }
    }

    /// Appends the ids of `text` to `out`; no special tokens are added.
    pub fn encode(&mut self, text: &str, out: &mut Vec<u32>) {
        let bytes = text.as_bytes();
        let mut position = 0;
        while position < bytes.len() {
            let window = load(&bytes[position..]);
            let len = bytes_before_blank(window);
            if len == 0 && is_space(bytes[position]) {
                position += 1;
            } else if len < MAX_KEY_BYTES && bytes.get(position + len).is_none_or(|&byte| is_space(byte)) {
                let key = window & ((1u128 << (8 * len)) - 1);
                if !self.cache.get(key, out) {
                    let before = out.len();
                    self.encode_chunk(&text[position..position + len], out);
                    self.cache.insert(key, &out[before..]);
                }
                position += len + 1;
            } else {
                let end = bytes[position..].iter().position(|&byte| is_space(byte));
                let end = end.map_or(bytes.len(), |len| position + len);
                self.encode_chunk(&text[position..end], out);
                position = end;
            }
        }
    }

    /// The tokens of `text` with their places in it, in Unicode scalar values.
    ///
    /// Ids equal those of [`Encoder::encode`]; this is the slower, exact path throughout.
    pub fn encode_with_offsets(&mut self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        let chars = self.normalizer.normalize(text, self.words.cased());
        for_each_word(chars, |word| {
            self.word.clear();
            push_utf8(word, &mut self.word);
            push_tokens(&self.words, &self.word, word, &mut tokens);
        });
        tokens
    }

    /// Cuts a chunk without ASCII white space.
    fn encode_chunk(&mut self, chunk: &str, out: &mut Vec<u32>) {
        if chunk.len() > LONG_CHUNK_BYTES {
            return self.encode_long(chunk, out);
        }
        if chunk.bytes().any(|byte| !byte.is_ascii() || CLASS[usize::from(byte)] == Class::Control) {
            return self.encode_unicode(chunk, out);
        }
        self.word.clear();
        for byte in chunk.bytes() {
            if CLASS[usize::from(byte)] == Class::Word {
                self.word.push(if self.words.cased() { byte } else { byte.to_ascii_lowercase() });
                continue;
            }
            self.end_word(chunk.len(), out);
            self.words.push_word(&[byte], out);
        }
        self.end_word(chunk.len(), out);
    }

    /// Appends the ids of the word collected so far. Where it is not the whole chunk, it may have been one before: `word,` is
    /// new, but `word` is not.
    fn end_word(&mut self, chunk_len: usize, out: &mut Vec<u32>) {
        let len = self.word.len();
        if len == 0 {
            return;
        }
        if len == chunk_len || len >= MAX_KEY_BYTES {
            self.words.push_word(&self.word, out);
        } else {
            let key = load(&self.word);
            if !self.cache.get(key, out) {
                let before = out.len();
                self.words.push_word(&self.word, out);
                self.cache.insert(key, &out[before..]);
            }
        }
        self.word.clear();
    }

    fn encode_unicode(&mut self, chunk: &str, out: &mut Vec<u32>) {
        let chars = self.normalizer.normalize(chunk, self.words.cased());
        for_each_word(chars, |word| {
            self.word.clear();
            push_utf8(word, &mut self.word);
            self.words.push_word(&self.word, out);
        });
    }

    /// Like [`Self::encode_unicode`], which takes a dozen bytes for each character and three times that for CJK.
    fn encode_long(&mut self, chunk: &str, out: &mut Vec<u32>) {
        let Self { words, normalizer, word, .. } = self;
        normalizer.words(chunk, words.cased(), |chars| {
            word.clear();
            push_utf8(chars, word);
            words.push_word(word, out);
        });
    }
}

/// Appends the characters of `word` as UTF-8.
pub(crate) fn push_utf8(word: &[Normalized], out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for char in word {
        out.extend_from_slice(char.char.encode_utf8(&mut buffer).as_bytes());
    }
}

/// Appends the tokens of one word; `utf8` and `chars` are the same characters.
fn push_tokens(words: &WordPiece, utf8: &[u8], chars: &[Normalized], out: &mut Vec<Token>) {
    let before = out.len();
    let mut next = 0;
    let whole = words.cut(utf8, |id, range| {
        let num_chars = super::num_chars(&utf8[range]);
        let piece = &chars[next..next + num_chars];
        next += num_chars;
        out.push(token(id, piece));
    });
    if !whole {
        out.truncate(before);
        out.push(token(words.unknown(), chars));
    }
}

/// `id` over the original characters of `piece`, whose marks may have changed places.
fn token(id: u32, piece: &[Normalized]) -> Token {
    let start = piece.iter().map(|char| char.source).min().unwrap_or_default();
    let end = piece.iter().map(|char| char.end).max().unwrap_or_default();
    Token { id, start_char: start, end_char: end }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The first 16 bytes, padded with zeros.
#[inline]
fn load(bytes: &[u8]) -> u128 {
    match bytes.first_chunk::<MAX_KEY_BYTES>() {
        Some(window) => u128::from_le_bytes(*window),
        None => {
            let mut window = [0; MAX_KEY_BYTES];
            window[..bytes.len()].copy_from_slice(bytes);
            u128::from_le_bytes(window)
        }
    }
}

/// How many of the 16 bytes come before the first one that is white space, control or padding (below `!`); 16 if none.
///
/// Source: "Determine if a word has a byte less than n", Sean Anderson's Bit Twiddling Hacks; the lowest flag is exact.
#[inline]
fn bytes_before_blank(window: u128) -> usize {
    const ONES: u128 = u128::MAX / 0xFF;
    let flags = window.wrapping_sub(ONES * 0x21) & !window & (ONES * 0x80);
    flags.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_blank_is_found_at_every_place() {
        for place in 0..16 {
            for blank in [0u8, b'\t', b'\n', 0x1f, b' '] {
                let mut bytes = *b"abc\xff\x80!~\xc3\xa9xyzXYZ9";
                bytes[place] = blank;
                assert_eq!(bytes_before_blank(u128::from_le_bytes(bytes)), place);
            }
        }
        assert_eq!(bytes_before_blank(u128::MAX), 16);
        assert_eq!(bytes_before_blank(load(b"abc")), 3);
    }
}
