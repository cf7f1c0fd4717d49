//! A word and what can be seen of it without looking at its neighbours.

use std::borrow::Cow;

use unicode_categories::UnicodeCategories;

use super::words::{Special, special};

/// The type that all numbers share.
pub(super) const NUMBER: &str = "##number##";

/// A word of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) text: &'t str,
}

impl<'t> Token<'t> {
    /// Whether it ends in a full stop; ellipses do, too.
    pub(super) fn ends_in_stop(self) -> bool {
        self.text.ends_with('.')
    }

    /// Two or more full stops without anything between them.
    pub(super) fn is_ellipsis(self) -> bool {
        self.text.len() >= 2 && self.text.bytes().all(|b| b == b'.')
    }

    /// The text without its final full stop; of a full stop alone nothing is left.
    pub(super) fn without_stop(self) -> &'t str {
        self.text.strip_suffix('.').unwrap_or(self.text)
    }

    /// A number, possibly signed, with separators and a final full stop.
    pub(super) fn is_number(self) -> bool {
        let text = self.text.strip_prefix('-').unwrap_or(self.text);
        let mut chars = text.strip_prefix(['.', ',']).unwrap_or(text).chars();
        chars.next().is_some_and(is_digit) && chars.all(|c| matches!(c, ',' | '.' | '-') || is_digit(c))
    }

    /// One letter and a full stop.
    pub(super) fn is_initial(self) -> bool {
        let mut chars = self.text.chars();
        chars.next().is_some_and(is_letter) && chars.as_str() == "."
    }

    /// Nothing but letters.
    pub(super) fn is_alphabetic(self) -> bool {
        self.text.chars().all(is_letter)
    }

    /// A number, or something with a letter in it.
    pub(super) fn is_non_punctuation(self) -> bool {
        self.is_number() || self.text.chars().any(is_letter)
    }

    /// One of `;:,.!?`, after which no sentence begins.
    pub(super) fn is_punctuation(self) -> bool {
        matches!(self.text, ";" | ":" | "," | "." | "!" | "?")
    }

    pub(super) fn starts_upper(self) -> bool {
        self.text.starts_with(char::is_uppercase)
    }

    pub(super) fn starts_lower(self) -> bool {
        self.text.starts_with(char::is_lowercase)
    }

    /// The word's type: [`NUMBER`], or the word in lower case, its final full stop included.
    pub(super) fn kind(self, buffer: &mut Buffer) -> &str {
        if self.is_number() { NUMBER } else { buffer.fold(self.text) }
    }

    /// Its type without a final full stop, unless that is all there is.
    pub(super) fn kind_without_stop(self, buffer: &mut Buffer) -> &str {
        let kind = self.kind(buffer);
        if kind.len() > 1 { kind.strip_suffix('.').unwrap_or(kind) } else { kind }
    }
}

/// `\d` of Python's regular expressions.
fn is_digit(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { c.is_number_decimal_digit() }
}

/// `[^\W\d]` of Python's regular expressions: letters, the underscore, and numerals that are no decimal digits.
pub(super) fn is_letter(c: char) -> bool {
    match c {
        _ if c.is_ascii() => c.is_ascii_alphabetic() || c == '_',
        _ => c.is_letter() || c.is_number_letter() || c.is_number_other(),
    }
}

/// Room for a word in lower case, so that ASCII words need no allocation.
pub(super) struct Buffer {
    short: [u8; 48],
    long: String,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { short: [0; 48], long: String::new() }
    }

    /// `word` in lower case, with typographic quotation marks as ASCII ones.
    pub(super) fn fold(&mut self, word: &str) -> &str {
        if word.is_ascii() && word.len() <= self.short.len() {
            let short = &mut self.short[..word.len()];
            short.copy_from_slice(word.as_bytes());
            short.make_ascii_lowercase();
            return std::str::from_utf8(short).expect("ASCII");
        }
        self.long = ascii_quotes(word).to_lowercase();
        &self.long
    }
}

/// Quotation marks end words, so that one can only be a word's first character.
fn ascii_quotes(word: &str) -> Cow<'_, str> {
    match special(word.as_bytes(), 0) {
        Special::Single(length) if length > 1 => format!("'{}", &word[length..]).into(),
        Special::Double(length) if length > 1 => format!("\"{}", &word[length..]).into(),
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_share_a_type_and_other_words_are_lower_cased() {
        for (text, kind) in [
            ("5.", NUMBER),
            ("-1,000.50", NUMBER),
            (".5", NUMBER),
            ("१२", NUMBER),
            ("5th", "5th"),
            ("--5", "--5"),
            ("U.S.", "u.s."),
            ("’Tis", "'tis"),
            ("ΟΔΟΣ", "οδος"),
        ] {
            assert_eq!(Token { text }.kind(&mut Buffer::new()), kind, "{text}");
        }
        assert_eq!(Token { text: "." }.kind_without_stop(&mut Buffer::new()), ".");
        assert_eq!(Token { text: "Étc." }.kind_without_stop(&mut Buffer::new()), "étc");
    }

    #[test]
    fn initials_are_one_letter_and_a_full_stop() {
        for (text, expected) in [("J.", true), ("É.", true), ("_.", true), ("5.", false), ("JR.", false), ("J", false)]
        {
            assert_eq!(Token { text }.is_initial(), expected, "{text}");
        }
    }
}
