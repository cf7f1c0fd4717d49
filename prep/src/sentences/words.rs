//! Text to Punkt's words.
//!
//! What NLTK 3.8.1 writes as one regular expression (`PunktLanguageVars._word_tokenize_fmt`), as a scanner: runs of
//! hyphens or full stops, spaced ellipses (`. . .`), words that keep their inner and final full stops, and single marks.
//! Typographic quotation marks are read as the ASCII ones.

/// What a byte means to the scanner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Goes on with a word.
    Inner,
    Space,
    /// Cannot stand inside a word.
    NonWord,
    Comma,
    Hyphen,
    Stop,
    /// First byte of characters of which some are white space or quotation marks.
    Lead,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Inner; 256];
    let lists: [(&[u8], Class); 3] = [
        // The separators 0x1c to 0x1f are white space to Python, though not to Unicode.
        (b"\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f ", Class::Space),
        (b")\";}]*:@'({[?!", Class::NonWord),
        (&[0xc2, 0xe1, 0xe2, 0xe3], Class::Lead),
    ];
    let mut list = 0;
    while list < lists.len() {
        let mut i = 0;
        while i < lists[list].0.len() {
            classes[lists[list].0[i] as usize] = lists[list].1;
            i += 1;
        }
        list += 1;
    }
    classes[b',' as usize] = Class::Comma;
    classes[b'-' as usize] = Class::Hyphen;
    classes[b'.' as usize] = Class::Stop;
    classes
}

/// A character that is not an ordinary one of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// White space of so many bytes.
    Space(usize),
    /// A double quotation mark of so many bytes, read as `"`.
    Double(usize),
    /// A single quotation mark of so many bytes, read as `'`.
    Single(usize),
    /// Another character that ends words.
    NonWord,
    /// Anything else, the end of the text included.
    None,
}

/// What stands at `at`.
pub(super) fn special(bytes: &[u8], at: usize) -> Special {
    let Some(&byte) = bytes.get(at) else { return Special::None };
    match CLASSES[usize::from(byte)] {
        Class::Space => Special::Space(1),
        Class::NonWord if byte == b'"' => Special::Double(1),
        Class::NonWord if byte == b'\'' => Special::Single(1),
        Class::NonWord => Special::NonWord,
        Class::Lead => special_lead(&bytes[at..]),
        _ => Special::None,
    }
}

fn special_lead(bytes: &[u8]) -> Special {
    match bytes {
        [0xc2, 0x85 | 0xa0, ..] => Special::Space(2),
        // « »
        [0xc2, 0xab | 0xbb, ..] => Special::Double(2),
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => Special::Space(3),
        // ‘ ’ ‚ ‛ ‹ ›
        [0xe2, 0x80, 0x98..=0x9b | 0xb9 | 0xba, ..] => Special::Single(3),
        // “ ” „ ‟
        [0xe2, 0x80, 0x9c..=0x9f, ..] => Special::Double(3),
        _ => Special::None,
    }
}

/// Bytes of white space at `at`: 0, or 1 to 3 for a character of it.
pub(super) fn space_len(bytes: &[u8], at: usize) -> usize {
    match special(bytes, at) {
        Special::Space(length) => length,
        _ => 0,
    }
}

/// The end of the white space that begins at `at`.
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match space_len(bytes, at) {
            0 => return at,
            length => at += length,
        }
    }
}

/// The end of the text between white space that begins at `at`.
pub(super) fn skip_visible(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && space_len(bytes, at) == 0 {
        at += 1;
    }
    at
}

/// The words of a text, in order. Line breaks are white space; only a spaced ellipsis notices them.
pub(super) struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let bytes = self.text.as_bytes();
        let start = skip_space(bytes, self.at);
        if start == bytes.len() {
            return None;
        }
        self.at = run(bytes, start).unwrap_or_else(|| match starts_no_word(bytes, start) {
            0 => word_end(bytes, start),
            length => start + length,
        });
        Some(&self.text[start..self.at])
    }
}

/// Bytes of a character that stands alone because no word begins with it; 0 for any other.
fn starts_no_word(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        b'(' | b'"' | b'`' | b'{' | b'[' | b':' | b';' | b'&' | b'#' | b'*' | b'@' | b')' | b'}' | b']' | b'-'
        | b',' => 1,
        _ => match special(bytes, at) {
            Special::Double(length) => length,
            _ => 0,
        },
    }
}

/// The end of the word that begins at `start`; its first character may be anything.
fn word_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && is_continuation(bytes[at]) {
        at += 1;
    }
    while at < bytes.len() {
        let ends = match CLASSES[usize::from(bytes[at])] {
            Class::Inner => false,
            Class::Space | Class::NonWord => true,
            Class::Lead => special(bytes, at) != Special::None,
            Class::Hyphen | Class::Stop => run(bytes, at).is_some(),
            Class::Comma => {
                at + 1 == bytes.len() || special(bytes, at + 1) != Special::None || run(bytes, at + 1).is_some()
            }
        };
        if ends {
            break;
        }
        at += 1;
    }
    at
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// The end of what is one word although it is punctuation: two or more hyphens, two or more full stops, or three or
/// more full stops with single white space between them on one line.
fn run(bytes: &[u8], start: usize) -> Option<usize> {
    let byte = bytes.get(start).copied().filter(|b| matches!(b, b'-' | b'.'))?;
    let length = bytes[start..].iter().take_while(|b| **b == byte).count();
    if length >= 2 {
        return Some(start + length);
    }
    if byte == b'-' {
        return None;
    }
    let (mut stops, mut end) = (1, start + 1);
    loop {
        let space = if bytes.get(end) == Some(&b'\n') { 0 } else { space_len(bytes, end) };
        if space == 0 || bytes.get(end + space) != Some(&b'.') {
            return (stops >= 3).then_some(end);
        }
        (stops, end) = (stops + 1, end + space + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        Words::new(text).collect()
    }

    #[test]
    fn words_keep_their_full_stops_and_lose_other_marks() {
        assert_eq!(
            words("Mr. (J.R.) Smith's e-mail, 3.50?!"),
            ["Mr.", "(", "J.R.", ")", "Smith", "'s", "e-mail", ",", "3.50", "?", "!"]
        );
        assert_eq!(words("1,000 a,b, c,"), ["1,000", "a,b", ",", "c", ","]);
        assert_eq!(words("#5 &c. `x` ?a x?y"), ["#", "5", "&", "c.", "`", "x`", "?a", "x", "?y"]);
    }

    #[test]
    fn runs_of_hyphens_and_full_stops_are_words() {
        assert_eq!(words("well... no--yes --- a-b -x"), ["well", "...", "no", "--", "yes", "---", "a-b", "-", "x"]);
        assert_eq!(words("x . . . y. . z . .\u{a0}. ."), ["x", ". . .", "y.", ".", "z", ". .\u{a0}. ."]);
        assert_eq!(words(". .\n. ."), [".", ".", ".", "."], "a spaced ellipsis stands on one line");
    }

    #[test]
    fn typographic_quotation_marks_are_read_as_ascii_ones() {
        assert_eq!(words("“Don’t” «go», ‹now›."), ["“", "Don", "’t", "”", "«", "go", "»", ",", "‹now", "›."]);
    }

    #[test]
    fn white_space_is_that_of_python() {
        assert_eq!(words("a\u{a0}b\u{1d}c\u{3000}d\u{2009}e\u{85}f\u{200b}g"), ["a", "b", "c", "d", "e", "f\u{200b}g"]);
        for c in (0..=0x10_ffffu32).filter_map(char::from_u32) {
            let expected = c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(space_len(bytes, 0), if expected { bytes.len() } else { 0 }, "{c:?}");
        }
    }
}
