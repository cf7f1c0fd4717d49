//! Whether the words around a mark hold the end of a sentence: Punkt's two passes, for a pair of words at a time.

use std::collections::HashMap;

use super::Parameters;
use super::parameters::Orthography;
use super::token::{Buffer, NUMBER, Token};
use super::words::Words;

/// [`Parameters`], arranged so that a word is looked up once.
#[derive(Debug)]
pub(super) struct Index {
    words: HashMap<Box<str>, Entry>,
    /// The second words of collocations, by [`Entry::followers`], sorted.
    followers: Vec<Vec<Box<str>>>,
}

/// What is known of a word.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    abbreviation: bool,
    starter: bool,
    orthography: Orthography,
    /// Where in [`Index::followers`] the words are that form collocations with it.
    followers: Option<u32>,
}

impl From<&Parameters> for Index {
    fn from(parameters: &Parameters) -> Self {
        let mut words: HashMap<Box<str>, Entry> = HashMap::with_capacity(parameters.orthography.len());
        for word in &parameters.abbreviations {
            words.entry(word.clone()).or_default().abbreviation = true;
        }
        for word in &parameters.sentence_starters {
            words.entry(word.clone()).or_default().starter = true;
        }
        for (word, places) in &parameters.orthography {
            words.entry(word.clone()).or_default().orthography = *places;
        }
        let mut followers: Vec<Vec<Box<str>>> = Vec::new();
        for (first, second) in &parameters.collocations {
            let entry = words.entry(first.clone()).or_default();
            let index = *entry.followers.get_or_insert_with(|| {
                followers.push(Vec::new());
                followers.len() as u32 - 1
            });
            followers[index as usize].push(second.clone());
        }
        Self { words, followers }
    }
}

/// What the first pass, which sees a word alone, makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Nothing,
    /// Ends a sentence, as far as one can see.
    Break,
    Abbreviation,
    Ellipsis,
}

/// What the orthographic heuristic says of a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    Yes,
    No,
    Unknown,
}

impl Index {
    /// Whether a sentence ends in `context`, before its last word.
    pub(super) fn has_boundary(&self, context: &str) -> bool {
        let mut words = Words::new(context).map(|text| {
            let token = Token { text };
            (token, self.mark(token))
        });
        let Some(mut first) = words.next() else { return false };
        for second in words {
            if self.separates(first, second) {
                return true;
            }
            first = second;
        }
        false
    }

    /// The first pass (section 3 of the paper): marks of type.
    pub(super) fn mark(&self, token: Token<'_>) -> Mark {
        match token.text {
            "." | "?" | "!" => Mark::Break,
            _ if !token.ends_in_stop() => Mark::Nothing,
            _ if token.is_ellipsis() => Mark::Ellipsis,
            _ if self.is_abbreviation(token.without_stop()) => Mark::Abbreviation,
            _ => Mark::Break,
        }
    }

    /// Whether the word, or what follows its last hyphen, is an abbreviation.
    fn is_abbreviation(&self, word: &str) -> bool {
        let mut buffer = Buffer::new();
        let word = buffer.fold(word);
        let known = |word: &str| self.words.get(word).is_some_and(|entry| entry.abbreviation);
        known(word) || word.rsplit_once('-').is_some_and(|(_, last)| known(last))
    }

    /// The second pass (section 4 of the paper): whether a sentence ends between two words.
    fn separates(&self, (first, mark): (Token<'_>, Mark), next: (Token<'_>, Mark)) -> bool {
        if !first.ends_in_stop() {
            return mark == Mark::Break;
        }
        let (mut buffer, mut next_buffer) = (Buffer::new(), Buffer::new());
        let word = first.kind_without_stop(&mut buffer);
        let (followers, is_initial) = (self.followers(word), first.is_initial());
        if mark == Mark::Break && followers.is_empty() && !is_initial && word != NUMBER {
            // Nearly always; what follows makes no difference.
            return true;
        }
        let next_word = kind_in_sentence(next, &mut next_buffer);
        // 4.1.2, the collocational heuristic.
        if followers.binary_search_by(|word| (**word).cmp(next_word)).is_ok() {
            return false;
        }
        let mut separates = mark == Mark::Break;
        if !separates && !is_initial {
            // 4.2, abbreviations and ellipses that end a sentence.
            let next_entry = self.entry(next_word);
            separates =
                begins_sentence(next.0, next_entry) == Begins::Yes || (next.0.starts_upper() && next_entry.starter);
        } else if is_initial || word == NUMBER {
            // 4.3, initials and ordinals that do not.
            let next_entry = self.entry(next_word);
            separates &= match begins_sentence(next.0, next_entry) {
                Begins::Yes => true,
                Begins::No => false,
                // A name that is never written in lower case: J. Bach.
                Begins::Unknown => {
                    !(is_initial && next.0.starts_upper() && !next_entry.orthography.has(Orthography::LOWER))
                }
            };
        }
        separates
    }

    fn entry(&self, word: &str) -> Entry {
        self.words.get(word).copied().unwrap_or_default()
    }

    /// The words that form collocations with `word`, sorted.
    fn followers(&self, word: &str) -> &[Box<str>] {
        let index = self.words.get(word).and_then(|entry| entry.followers);
        index.map_or(&[], |index| &self.followers[index as usize])
    }
}

/// The type of a word without the full stop that ends a sentence rather than the word.
pub(super) fn kind_in_sentence<'b>((token, mark): (Token<'_>, Mark), buffer: &'b mut Buffer) -> &'b str {
    if mark == Mark::Break { token.kind_without_stop(buffer) } else { token.kind(buffer) }
}

/// 4.1.1, the orthographic heuristic: what the case of `token`'s first letter says, given where its type occurs how.
fn begins_sentence(token: Token<'_>, Entry { orthography, .. }: Entry) -> Begins {
    if token.is_punctuation() {
        Begins::No
    } else if token.starts_upper() && orthography.has(Orthography::LOWER) && !orthography.has(Orthography::UPPER_INSIDE)
    {
        Begins::Yes
    } else if token.starts_lower()
        && (orthography.has(Orthography::UPPER) || !orthography.has(Orthography::LOWER_AT_BEGINNING))
    {
        Begins::No
    } else {
        Begins::Unknown
    }
}
