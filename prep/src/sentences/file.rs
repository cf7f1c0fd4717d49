//! Parameter files: what Punkt knows of a language, as text that people can read and correct.
//!
//! ```text
//! cloze-punkt 1
//! # Comments: where the parameters come from, and their licence.
//! [abbreviations]
//! dr
//! u.s
//! [collocations]
//! j walter
//! [sentence starters]
//! the
//! [orthography]
//! the BUbmu
//! walter M
//! ```
//!
//! UTF-8, lines ended by `\n`. The first line is as above; lines up to the first section that begin with `#` are comments.
//! The four sections stand in this order, each with one entry a line, none twice; we write them sorted by code points.
//!
//! - `abbreviations`: a word without its final full stop.
//! - `collocations`: a word without its final full stop and the word after it, that do not belong to two sentences.
//! - `sentence starters`: a word that often begins a sentence.
//! - `orthography`: a word and the places where it was seen. `B`, `M`, `U`: with a first letter in upper case at the
//!   beginning of a sentence, in the middle, at an unknown place; `b`, `m`, `u`: the same in lower case.
//!
//! Words are in lower case, `##number##` is any number. In words, `\s` is a space, `\\` a backslash and `\u{HEX}` any other
//! white space or control character.

use std::fmt::Write as _;
use std::path::Path;

use super::Parameters;
use super::parameters::Orthography;
use crate::error::AtPath;
use crate::{Error, Result};

const FIRST_LINE: &str = "cloze-punkt 1";
const SECTIONS: [&str; 4] = ["[abbreviations]", "[collocations]", "[sentence starters]", "[orthography]"];

impl Parameters {
    /// Reads a parameter file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a parameter file; the message names the line.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(path, &std::fs::read(path).at(path)?)
    }

    /// Reads the content of a parameter file; `path` is for messages.
    ///
    /// # Errors
    /// It is not a parameter file; the message names the line.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let fail = |(line, problem): (usize, String)| Error::invalid(path, format!("line {line}: {problem}"));
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = memchr::memchr_iter(b'\n', &bytes[..e.valid_up_to()]).count() + 1;
            fail((line, "expected UTF-8, found something else; is this a parameter file?".to_owned()))
        })?;
        parse(text).map_err(fail)
    }

    /// The content of a parameter file; each of `comments` becomes a line of its head.
    pub fn to_text(&self, comments: &[String]) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for comment in comments {
            let comment: String = comment.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(text, "# {comment}");
        }
        let mut section = |index: usize, lines: &mut dyn Iterator<Item = String>| {
            text.push_str(SECTIONS[index]);
            text.push('\n');
            lines.for_each(|line| text.extend([line.as_str(), "\n"]));
        };
        section(0, &mut self.abbreviations.iter().map(|word| escape(word)));
        section(1, &mut self.collocations.iter().map(|(first, second)| escape(first) + " " + &escape(second)));
        section(2, &mut self.sentence_starters.iter().map(|word| escape(word)));
        section(3, &mut self.orthography.iter().map(|(word, places)| format!("{} {places}", escape(word))));
        text
    }
}

/// A line's number and what is wrong there.
type Problem = (usize, String);

fn parse(text: &str) -> std::result::Result<Parameters, Problem> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    match lines.next() {
        Some((_, FIRST_LINE)) => {}
        found => {
            let found: String = found.map_or("", |(_, line)| line).chars().take(40).collect();
            return Err((1, format!("expected {FIRST_LINE:?}, found {found:?}; make one with `cloze-prep punkt`")));
        }
    }
    let mut parameters = Parameters::default();
    let (mut next_section, mut last_line) = (0, 1);
    for (number, line) in lines {
        last_line = number;
        if next_section == 0 && line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            match SECTIONS.get(next_section) {
                Some(expected) if *expected == line => next_section += 1,
                expected => {
                    let expected =
                        expected.map_or("no more sections".to_owned(), |section| format!("the section {section}"));
                    return Err((number, format!("expected {expected}, found {line:?}")));
                }
            }
            continue;
        }
        if next_section == 0 {
            return Err((number, format!("expected a comment or the section {}, found {line:?}", SECTIONS[0])));
        }
        let fresh = parse_entry(&mut parameters, next_section - 1, line).map_err(|problem| (number, problem))?;
        if !fresh {
            return Err((number, format!("{line:?} stands in {} already; delete one", SECTIONS[next_section - 1])));
        }
    }
    match SECTIONS.get(next_section) {
        Some(missing) => {
            Err((last_line, format!("expected the section {missing} after this line, found the end of the file")))
        }
        None => Ok(parameters),
    }
}

/// Adds the entry in `line` to a section; whether it was not there.
fn parse_entry(parameters: &mut Parameters, section: usize, line: &str) -> std::result::Result<bool, String> {
    let mut fields = line.split(' ');
    Ok(match (section, [fields.next(), fields.next(), fields.next()]) {
        (0, [Some(word), None, _]) => parameters.abbreviations.insert(parse_stopped(word)?),
        (1, [Some(first), Some(second), None]) => {
            parameters.collocations.insert((parse_stopped(first)?, parse_word(second)?))
        }
        (2, [Some(word), None, _]) => parameters.sentence_starters.insert(parse_word(word)?),
        (3, [Some(word), Some(letters), None]) => {
            let places = Orthography::parse(letters)
                .ok_or_else(|| format!("expected some of the letters BMUbmu in this order, found {letters:?}"))?;
            parameters.orthography.insert(parse_word(word)?, places).is_none()
        }
        (1, _) => return Err(format!("expected two words and a space between them, found {line:?}")),
        (3, _) => return Err(format!("expected a word, a space and letters of BMUbmu, found {line:?}")),
        _ => return Err(format!("expected one word, found {line:?}")),
    })
}

/// A word that stands without its final full stop.
fn parse_stopped(field: &str) -> std::result::Result<Box<str>, String> {
    match field.strip_suffix('.') {
        Some(word) if !word.is_empty() => {
            Err(format!("expected {word:?} without its final full stop, found {field:?}"))
        }
        _ => parse_word(field),
    }
}

fn parse_word(field: &str) -> std::result::Result<Box<str>, String> {
    // Nearly all of them: thousands are read whenever a program starts.
    if !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Ok(field.into());
    }
    let word = unescape(field)
        .ok_or_else(|| format!("expected a word (backslashes only as in \\s, \\\\ and \\u{{a0}}), found {field:?}"))?;
    // It would never be found: words of the text are looked up in lower case.
    let lower = word.to_lowercase();
    if lower != word {
        return Err(format!("expected lower case, {lower:?}, found {word:?}"));
    }
    Ok(word.into())
}

fn escape(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for c in word.chars() {
        match c {
            ' ' => escaped.push_str("\\s"),
            '\\' => escaped.push_str("\\\\"),
            c if c.is_whitespace() || c.is_control() => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The word that `field` stands for; none if it is empty or malformed.
fn unescape(field: &str) -> Option<String> {
    let mut word = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        word.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix("u{") {
            let (digits, after) = after.split_once('}')?;
            word.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            rest = after;
        } else {
            word.push(match rest.chars().next()? {
                's' => ' ',
                '\\' => '\\',
                _ => return None,
            });
            rest = &rest[1..];
        }
    }
    word.push_str(rest);
    let visible = field.chars().all(|c| !c.is_whitespace() && !c.is_control());
    (visible && !word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> String {
        Parameters::from_bytes(Path::new("x.punkt"), text.as_bytes()).unwrap_err().to_string()
    }

    /// A file with one entry in each section.
    fn example() -> String {
        "cloze-punkt 1\n# by hand\n[abbreviations]\n.\\s.\\s\n[collocations]\n##number## zimmer\n\
         [sentence starters]\nthe\n[orthography]\nthe BUbmu\n"
            .to_owned()
    }

    #[test]
    fn what_was_read_is_written_again() {
        let parameters = Parameters::from_bytes(Path::new("x"), example().as_bytes()).unwrap();
        assert!(parameters.abbreviations.contains(". . "));
        assert!(parameters.orthography["the"].has(Orthography::LOWER_INSIDE));
        assert!(!parameters.orthography["the"].has(Orthography::UPPER_INSIDE));
        assert_eq!(parameters.to_text(&["by hand".to_owned()]), example());
    }

    #[test]
    fn a_malformed_file_is_refused_by_line() {
        let with = |from: &str, to: &str| problem(&example().replace(from, to));
        for (message, expected) in [
            (problem(""), "line 1: expected \"cloze-punkt 1\", found \"\"; make one with `cloze-prep punkt`"),
            (with("[coll", "[col"), "line 5: expected the section [collocations], found \"[colocations]\""),
            (
                with("# by hand", "by hand"),
                "line 2: expected a comment or the section [abbreviations], found \"by hand\"",
            ),
            (with(".\\s.\\s", "dr."), "line 4: expected \"dr\" without its final full stop, found \"dr.\""),
            (with(".\\s.\\s", "Dr"), "line 4: expected lower case, \"dr\", found \"Dr\""),
            (
                with(".\\s.\\s", "d\\r"),
                "line 4: expected a word (backslashes only as in \\s, \\\\ and \\u{a0}), found \"d\\\\r\"",
            ),
            (with(".\\s.\\s", "a b"), "line 4: expected one word, found \"a b\""),
            (with(" zimmer", ""), "line 6: expected two words and a space between them, found \"##number##\""),
            (with("the\n[", "the\nthe\n["), "line 9: \"the\" stands in [sentence starters] already; delete one"),
            (with("BUbmu", "UB"), "line 10: expected some of the letters BMUbmu in this order, found \"UB\""),
            (with(" BUbmu", ""), "line 10: expected a word, a space and letters of BMUbmu, found \"the\""),
            (with("the BUbmu\n", "[more]\n"), "line 10: expected no more sections, found \"[more]\""),
            (
                with("[orthography]\nthe BUbmu\n", ""),
                "line 8: expected the section [orthography] after this line, found the end of the file",
            ),
        ] {
            assert_eq!(message, format!("x.punkt: {expected}"));
        }
        let message = Parameters::from_bytes(Path::new("x.punkt"), b"cloze-punkt 1\n# \xff").unwrap_err().to_string();
        assert_eq!(message, "x.punkt: line 2: expected UTF-8, found something else; is this a parameter file?");
    }

    proptest! {
        #[test]
        fn any_words_survive_the_file(words in prop::collection::btree_set("[a-z .\\\\\u{a0}\u{9}\u{1c}#\\[é]{1,6}", 0..8)) {
            let words: Vec<Box<str>> = words.into_iter().map(Into::into).collect();
            let stopped = words.iter().filter(|word| !word.ends_with('.') && !word.starts_with('['));
            let pairs = stopped.clone().zip(&words).map(|(a, b)| (a.clone(), b.clone()));
            let parameters = Parameters {
                abbreviations: stopped.clone().cloned().collect(),
                collocations: pairs.collect(),
                sentence_starters: words.iter().filter(|word| !word.starts_with('[')).cloned().collect(),
                orthography: stopped.map(|word| (word.clone(), Orthography::UPPER_INSIDE)).collect(),
            };
            let text = parameters.to_text(&["two\nlines".to_owned()]);
            prop_assert_eq!(Parameters::from_bytes(Path::new("x"), text.as_bytes()).unwrap(), parameters);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(cloze-punkt 1\n)?[\\[\\]a-z #\n\\\\{}]*") {
            let _ = Parameters::from_bytes(Path::new("x"), &bytes);
            let _ = Parameters::from_bytes(Path::new("x"), text.as_bytes());
        }
    }
}
