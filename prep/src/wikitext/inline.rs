//! The third pass: what stands inside a line.

use std::borrow::Cow;

use super::marker;

/// How far a left-over `[[` looks for its pipe, in bytes.
const MAX_TARGET_BYTES: usize = 120;
/// A line that begins with a left-over `{{` and is longer than this is prose, in bytes.
const MAX_NAME_BYTES: usize = 60;
/// Longest entity, in bytes.
const MAX_ENTITY_BYTES: usize = 34;
/// How far before an unknown value its bracket may open, in bytes.
const MAX_BRACKET_BYTES: usize = 400;
/// Longest `__WORD__`, in characters.
const MAX_MAGIC_WORD: usize = 40;
/// Beginnings of addresses.
const SCHEMES: [&str; 7] = ["http://", "https://", "ftp://", "mailto:", "//", "irc://", "news:"];

/// Appends the words of one line to a paragraph, with a space between lines.
pub(super) fn append(out: &mut String, line: &str) {
    let mut cleaner = Cleaner { line, out, space: true, hole: None, bracket: Bracket::default() };
    let apostrophe = lone_apostrophe(line);
    let mut at = 0;
    while at < line.len() {
        at += cleaner.step(at, apostrophe);
    }
}

struct Cleaner<'l> {
    line: &'l str,
    out: &'l mut String,
    /// A space is due before the next character.
    space: bool,
    /// Where in `out` an unknown value should be.
    hole: Option<usize>,
    bracket: Bracket,
}

/// Where the brackets of external links close.
#[derive(Default)]
struct Bracket {
    /// Offset of the next `]`, found once and used until passed.
    next: usize,
    /// No `]` follows.
    none: bool,
    /// The `]` that ends the external link being read.
    skip: Option<usize>,
}

impl Cleaner<'_> {
    /// Handles what begins at `at`; returns how many bytes that took.
    fn step(&mut self, at: usize, apostrophe: Option<usize>) -> usize {
        let rest = &self.line[at..];
        let Some(c) = rest.chars().next() else { return 1 };
        match c {
            'h' | 'f' if self.begins_address(at) => self.address(rest),
            'a'..='z' | 'A'..='Z' | '0'..='9' => self.word(rest),
            '\'' if rest.starts_with("''") => self.quotes(rest, apostrophe == Some(at)),
            '[' => self.external_link(at),
            ']' if self.bracket.skip == Some(at) => {
                self.bracket.skip = None;
                1
            }
            '&' => self.entity(rest),
            '_' if rest.starts_with("__") => self.magic_word(rest),
            '~' if rest.starts_with("~~~") => rest.bytes().take_while(|b| *b == b'~').count(),
            '.' if !rest[1..].starts_with(char::is_alphanumeric) => {
                self.space = false;
                self.put('.');
                1
            }
            marker::LINK => left_over_link(rest),
            marker::BRACES => left_over_braces(rest, at == 0),
            marker::HOLE => {
                self.hole = Some(self.out.len());
                1
            }
            marker::FORMULA => 1,
            marker::VARIANT => {
                self.put('-');
                self.put('{');
                1
            }
            marker::LINK_PIPE | marker::BRACES_PIPE => {
                self.space = true;
                1
            }
            _ => {
                self.put(marker::unprotect(c));
                c.len_utf8()
            }
        }
    }

    /// Copies a run of ASCII letters and digits.
    fn word(&mut self, rest: &str) -> usize {
        let length = rest.bytes().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(rest.len());
        self.put(char::from(rest.as_bytes()[0]));
        self.out.push_str(&rest[1..length]);
        length
    }

    /// Bold and italic marks go; of odd runs the apostrophes that MediaWiki shows stay.
    fn quotes(&mut self, rest: &str, shows_one: bool) -> usize {
        let count = rest.bytes().take_while(|b| *b == b'\'').count();
        let shown = match count {
            4 => 1,
            6.. => count - 5,
            _ => usize::from(shows_one),
        };
        // Long runs are decoration, not apostrophes.
        if shown <= 2 {
            (0..shown).for_each(|_| self.put('\''));
        }
        count
    }

    /// `[http://example.org text]` shows the text, `[http://example.org]` nothing.
    fn external_link(&mut self, at: usize) -> usize {
        let inside = &self.line[at + 1..];
        if !SCHEMES.iter().any(|scheme| starts_with_ignore_case(inside, scheme)) {
            self.put('[');
            return 1;
        }
        let target = inside.find(|c: char| c.is_whitespace() || matches!(c, ']' | '<' | '"')).unwrap_or(inside.len());
        if let Some(close) = self.next_close(at + 1 + target) {
            if close == at + 1 + target {
                return target + 2;
            }
            self.bracket.skip = Some(close);
        }
        1 + target
    }

    /// The first `]` at or after `from`; each is searched for once.
    fn next_close(&mut self, from: usize) -> Option<usize> {
        if self.bracket.none {
            return None;
        }
        if self.bracket.next < from {
            match memchr::memchr(b']', &self.line.as_bytes()[from..]) {
                Some(n) => self.bracket.next = from + n,
                None => {
                    self.bracket.none = true;
                    return None;
                }
            }
        }
        Some(self.bracket.next)
    }

    fn begins_address(&self, at: usize) -> bool {
        let rest = &self.line[at..];
        let known = ["http://", "https://", "ftp://"].iter().any(|scheme| rest.starts_with(scheme));
        known && !self.line[..at].ends_with(char::is_alphanumeric)
    }

    /// A bare address goes; punctuation after it belongs to the sentence.
    fn address(&mut self, rest: &str) -> usize {
        let end = rest.find(|c: char| c.is_whitespace() || c < ' ' || "<>\"[]{}|".contains(c)).unwrap_or(rest.len());
        let address = &rest[..end];
        let closers: &[char] =
            if address.contains('(') { &['.', ',', ';', ':', '!', '?'] } else { &['.', ',', ';', ':', '!', '?', ')'] };
        address.trim_end_matches(closers).len()
    }

    /// `&nbsp;`, `&#160;`, `&eacute;`; also escaped twice, a common slip.
    fn entity(&mut self, rest: &str) -> usize {
        let Some((mut text, mut bytes)) = entity(rest) else {
            self.put('&');
            return 1;
        };
        if text == "&"
            && let Some((inner, more)) = entity_name(&rest[bytes..])
        {
            (text, bytes) = (inner, bytes + more);
        }
        text.chars().for_each(|c| self.put(c));
        bytes
    }

    /// `__NOTOC__` and the like.
    fn magic_word(&mut self, rest: &str) -> usize {
        let name = rest[2..]
            .char_indices()
            .take(MAX_MAGIC_WORD)
            .find(|(at, c)| rest[2 + at..].starts_with("__") || !(c.is_alphabetic() && !c.is_lowercase() || *c == '_'));
        if let Some((length, '_')) = name
            && rest[2..2 + length].chars().nth(2).is_some()
        {
            return length + 4;
        }
        self.put('_');
        1
    }

    /// Writes a character, closing the holes that dropped markup left.
    fn put(&mut self, c: char) {
        if c.is_whitespace() || c.is_control() {
            self.space = true;
            return;
        }
        if is_invisible(c) {
            return;
        }
        match c {
            ')' if self.closes_unknown() => return,
            ')' | ']' | '）' if self.closes_nothing(c) => return,
            ',' | ';' if self.out.trim_end().ends_with(['(', ',', ';']) => return,
            '，' | '；' | '、' if self.out.ends_with(['（', '，', '；', '、']) => return,
            ':' | '：' if self.out.ends_with(['(', '（']) => return,
            _ => {}
        }
        let fits = matches!(c, ',' | ')') || self.out.ends_with(['(', '（']);
        if self.space && !fits && !self.out.is_empty() {
            self.out.push(' ');
        }
        self.space = false;
        self.out.push(c);
    }

    /// Takes away the brackets that close here, if what they say has an unknown value in it.
    fn closes_unknown(&mut self) -> bool {
        let Some(hole) = self.hole.take().filter(|hole| *hole <= self.out.len()) else { return false };
        let from = hole.saturating_sub(MAX_BRACKET_BYTES);
        let near = &self.out.as_bytes()[from..hole];
        let open = near.iter().rposition(|b| matches!(b, b'(' | b')')).filter(|at| near[*at] == b'(');
        let Some(open) = open.map(|at| from + at) else { return false };
        let before = self.out[..open].trim_end().len();
        self.space |= before < open;
        self.out.truncate(before);
        true
    }

    /// Takes away what is left of `(IPA; )`: separators before the bracket, and the pair if nothing is in it.
    fn closes_nothing(&mut self, c: char) -> bool {
        let open = match c {
            ')' => '(',
            '）' => '（',
            _ => '[',
        };
        let kept = self.out.trim_end_matches([',', ';', ':', ' ', '，', '；', '、', '：']);
        let Some(start) = start_of_empty(kept, open) else {
            if c != ']' {
                self.out.truncate(kept.len());
            }
            return false;
        };
        let before = kept[..start].trim_end().len();
        self.space |= before < start;
        self.out.truncate(before);
        true
    }
}

/// Marks of hyphenation and direction, which end up in the middle of words. Joiners stay: some scripts need them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Words in brackets that say nothing when what they introduce was dropped.
#[rustfmt::skip]
const INTRODUCTIONS: [&str; 36] = [
    "", "/", "or", "and", "also", "UK", "US", "listen", "pronounced", "pronunciation", "IPA", "AmE", "BrE", "in", "English", "Aussprache",
    "gesprochen", "sprich", "ausgesprochen", "oder", "prononcé", "prononciation", "pronunciado", "pronunciación", "pron.", "API", "AFI",
    "pronuncia", "pronúncia", "uitspraak", "wymowa", "МФА", "發音", "发音", "発音", "lang",
];

/// Where the bracket opens, if since then nothing came but words that introduced what was dropped.
fn start_of_empty(kept: &str, open: char) -> Option<usize> {
    if kept.ends_with(open) {
        return Some(kept.len() - open.len_utf8());
    }
    if !open.is_ascii() {
        return None;
    }
    let from = kept.len().saturating_sub(32);
    let start = kept.as_bytes()[from..].iter().rposition(|b| *b == open as u8)? + from;
    kept[start + 1..].split([' ', ':', ',', ';']).all(|word| INTRODUCTIONS.contains(&word)).then_some(start)
}

/// Of a line with an odd number of bold and of italic marks, the `'''` that MediaWiki reads as an apostrophe and italics.
///
/// Source: `Parser::doQuotes` of MediaWiki: the first after a one-letter word, else after a longer one, else after a space.
fn lone_apostrophe(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    memchr::memmem::find(bytes, b"'''")?;
    let (mut bold, mut italic) = (0, 0);
    let (mut single, mut multi, mut space) = (None, None, None);
    let mut at = 0;
    while let Some(next) = memchr::memmem::find(&bytes[at..], b"''").map(|n| at + n) {
        let count = bytes[next..].iter().take_while(|b| **b == b'\'').count();
        bold += usize::from(count != 2);
        italic += usize::from(count == 2 || count >= 5);
        if count == 3 {
            let slot = match (next.checked_sub(1).map(|i| bytes[i]), next.checked_sub(2).map(|i| bytes[i])) {
                (Some(b' '), _) => &mut space,
                (_, Some(b' ')) => &mut single,
                _ => &mut multi,
            };
            slot.get_or_insert(next);
        }
        at = next + count;
    }
    if bold % 2 == 1 && italic % 2 == 1 { single.or(multi).or(space) } else { None }
}

/// Bytes to drop of a `[[` that nothing closed: its target, if a pipe follows soon; the line, if it was a file.
fn left_over_link(rest: &str) -> usize {
    let window = rest.as_bytes()[1..].iter().take(MAX_TARGET_BYTES);
    let stop = window.clone().position(|b| *b < b' ' && *b != b'\t');
    let is_file = ["file:", "image:", "category:"].iter().any(|prefix| starts_with_ignore_case(&rest[1..], prefix));
    match stop {
        _ if is_file => rest.len(),
        Some(stop) if rest[1 + stop..].starts_with(marker::LINK_PIPE) => stop + 2,
        _ => 1,
    }
}

/// Bytes to drop of a `{{` that nothing closed: up to the last pipe of the line, or a line that is but a name.
fn left_over_braces(rest: &str, line_start: bool) -> usize {
    let end = rest[1..].find([marker::BRACES, marker::LINK]).map_or(rest.len(), |n| n + 1);
    match rest[..end].rfind(marker::BRACES_PIPE) {
        Some(pipe) => pipe + 1,
        None if line_start && end == rest.len() && end <= MAX_NAME_BYTES && !rest.ends_with(['.', '!', '?']) => end,
        None => 1,
    }
}

/// Text and length of the entity that `rest` begins with.
fn entity(rest: &str) -> Option<(Cow<'static, str>, usize)> {
    entity_name(&rest[1..]).map(|(text, bytes)| (text, bytes + 1))
}

/// The same without the ampersand.
fn entity_name(rest: &str) -> Option<(Cow<'static, str>, usize)> {
    let end = rest.bytes().take(MAX_ENTITY_BYTES).position(|b| !b.is_ascii_alphanumeric() && b != b'#')?;
    if rest.as_bytes()[end] != b';' {
        return None;
    }
    let name = &rest[..end];
    let text = match name.strip_prefix('#') {
        Some(number) => Cow::Owned(numeric(number)?.to_string()),
        None => Cow::Borrowed(quick_xml::escape::resolve_html5_entity(name)?),
    };
    Some((text, end + 1))
}

/// `160` or `xA0`; the numbers of Windows' quotes and dashes mean those, as in browsers.
fn numeric(number: &str) -> Option<char> {
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    Some(match code {
        0x80 => '€',
        0x85 => '…',
        0x91 => '‘',
        0x92 => '’',
        0x93 => '“',
        0x94 => '”',
        0x96 => '–',
        0x97 => '—',
        0x99 => '™',
        code => char::from_u32(code)?,
    })
}

fn starts_with_ignore_case(text: &str, prefix: &str) -> bool {
    text.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}
