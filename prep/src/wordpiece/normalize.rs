//! The exact Unicode path: `BertNormalizer`, character by character, each remembering where it came from.
//!
//! Source: `normalizers/bert.rs` and `pre_tokenizers/bert.rs` of `tokenizers` 0.22, whose Unicode tables (crates
//! `unicode_categories` and `unicode-normalization-alignments`) are used here too: newer tables would give other ids.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

use super::MAX_CHARS_PER_WORD;

/// What a normalised character is to the word cutter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ends a word.
    Space,
    /// A word of its own.
    Punctuation,
    /// Part of a word.
    Word,
}

/// A character after normalisation, and the one of the original text it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalized {
    pub(crate) char: char,
    /// Index in the original text, in characters.
    pub(crate) source: u32,
    /// One past the last original character covered: marks that were stripped count to the character before them.
    pub(crate) end: u32,
}

/// Bytes of text that [`Normalizer::words`] normalises before it hands out their words.
const BLOCK_BYTES: usize = 16 << 10;
/// Of a longer word this much is handed out: enough to see that it is one.
const WORD_CHARS: usize = MAX_CHARS_PER_WORD + 1;

/// Normalises into buffers that it keeps.
#[derive(Default)]
pub(crate) struct Normalizer {
    decomposed: Vec<(u8, char, u32)>,
    out: Vec<Normalized>,
}

impl Normalizer {
    /// Normalises `text`; the result stays valid until the next call.
    ///
    /// `text` must be cut from its document at white space or ends, because combining marks are sorted across
    /// characters. Offsets count from its start.
    pub(crate) fn normalize(&mut self, text: &str, cased: bool) -> &[Normalized] {
        self.out.clear();
        self.decomposed.clear();
        for (char, source) in text.chars().zip(0u32..) {
            self.take(char, source, cased);
        }
        self.flush_marks();
        &self.out
    }

    /// Calls `word` with the words of `text`, normalised; of those with more than [`MAX_CHARS_PER_WORD`] characters it sees
    /// the first ones, one more than that. Their sources are void.
    ///
    /// # Memory usage
    /// Less than a megabyte, whatever the text.
    pub(crate) fn words(&mut self, text: &str, cased: bool, mut word: impl FnMut(&[Normalized])) {
        self.out.clear();
        self.decomposed.clear();
        let mut rest = text;
        while !rest.is_empty() {
            let (block, after) = rest.split_at(rest.floor_char_boundary(BLOCK_BYTES));
            for char in block.chars() {
                self.take(char, 0, cased);
                self.thin_out_marks();
            }
            rest = after;
            // The last word may go on in the next block.
            let begun = self.out.iter().rposition(|char| kind(char.char) != Kind::Word).map_or(0, |last| last + 1);
            for_each_word(&self.out[..begun], &mut word);
            self.out.drain(..begun);
            self.out.truncate(WORD_CHARS);
        }
        self.flush_marks();
        for_each_word(&self.out, &mut word);
    }

    /// Keeps a run of marks without end short, where only words matter: those that will be stripped go now, and where
    /// more are left than a word can have, their word is too long in any order.
    fn thin_out_marks(&mut self) {
        if self.decomposed.len() > 4 * WORD_CHARS {
            self.decomposed.retain(|(_, char, _)| !char.is_mark_nonspacing());
            // With the starter before them.
            self.decomposed.truncate(1 + WORD_CHARS);
        }
    }

    #[inline]
    fn take(&mut self, char: char, source: u32, cased: bool) {
        if is_dropped(char) {
            return;
        }
        let char = if is_whitespace(char) { ' ' } else { char };
        let apart = is_cjk(char);
        if apart {
            self.push(' ', source, cased);
        }
        self.push(char, source, cased);
        if apart {
            self.push(' ', source, cased);
        }
    }

    fn push(&mut self, char: char, source: u32, cased: bool) {
        if cased {
            self.out.push(Normalized { char, source, end: source + 1 });
        } else if char.is_ascii() {
            self.flush_marks();
            self.out.push(Normalized { char: char.to_ascii_lowercase(), source, end: source + 1 });
        } else {
            let mut parts = [('\0', 0u8); 4];
            let mut num_parts = 0;
            decompose_canonical(char, |part| {
                parts[num_parts] = (part, canonical_combining_class(part));
                num_parts += 1;
            });
            for &(part, class) in &parts[..num_parts] {
                if class == 0 {
                    self.flush_marks();
                }
                self.decomposed.push((class, part, source));
            }
        }
    }

    /// Brings a starter and the marks after it into canonical order, strips the nonspacing ones, lowers the rest.
    fn flush_marks(&mut self) {
        if self.decomposed.len() > 1 {
            self.decomposed.sort_by_key(|&(class, ..)| class);
        }
        for (_, char, source) in self.decomposed.drain(..) {
            if char.is_mark_nonspacing() {
                if let Some(before) = self.out.last_mut().filter(|before| before.end == source) {
                    before.end = source + 1;
                }
                continue;
            }
            self.out.extend(char.to_lowercase().map(|char| Normalized { char, source, end: source + 1 }));
        }
    }
}

/// Cuts normalised characters into words: runs of word characters, and every punctuation character alone.
pub(crate) fn for_each_word<'a>(chars: &'a [Normalized], mut word: impl FnMut(&'a [Normalized])) {
    let mut start = 0;
    for (position, char) in chars.iter().enumerate() {
        let kind = kind(char.char);
        if kind == Kind::Word {
            continue;
        }
        if start < position {
            word(&chars[start..position]);
        }
        if kind == Kind::Punctuation {
            word(&chars[position..=position]);
        }
        start = position + 1;
    }
    if start < chars.len() {
        word(&chars[start..]);
    }
}

/// Whether `char` cuts words, and how.
pub(crate) fn kind(char: char) -> Kind {
    if char.is_ascii_alphanumeric() {
        Kind::Word
    } else if char.is_ascii_punctuation() || (!char.is_ascii() && char.is_punctuation()) {
        Kind::Punctuation
    } else if char.is_whitespace() {
        Kind::Space
    } else {
        Kind::Word
    }
}

/// Characters that vanish: NUL, U+FFFD, and the categories Cc, Cf and Co save for tab and line ends.
fn is_dropped(char: char) -> bool {
    match char {
        '\t' | '\n' | '\r' => false,
        ' '..='~' => false,
        '\0'..='\x7f' | '\u{fffd}' => true,
        _ => char.is_other(),
    }
}

fn is_whitespace(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r') || char.is_whitespace()
}

/// The blocks BERT calls Chinese; Hangul, Hiragana and Katakana are not among them.
fn is_cjk(char: char) -> bool {
    matches!(
        u32::from(char),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}
