//! What Punkt knows of a language.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The parameters of a language: what training finds in text, and what splitting needs.
///
/// All words are types: in lower case, all numbers as `##number##`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Abbreviations without their final full stop; inner ones stay (`e.g`).
    pub abbreviations: BTreeSet<Box<str>>,
    /// Pairs of a word with a full stop (given without it) and a word that belongs to it: no sentence ends between.
    pub collocations: BTreeSet<(Box<str>, Box<str>)>,
    /// Words that often begin sentences.
    pub sentence_starters: BTreeSet<Box<str>>,
    /// Where and in which case words occur.
    pub orthography: BTreeMap<Box<str>, Orthography>,
}

/// The places in a sentence at which a word occurs with a first letter in upper and in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Orthography(u8);

impl Orthography {
    /// Upper case at the beginning of a sentence.
    pub const UPPER_AT_BEGINNING: Self = Self(1);
    /// Upper case inside a sentence.
    pub const UPPER_INSIDE: Self = Self(2);
    /// Upper case where a sentence may begin or not.
    pub const UPPER_SOMEWHERE: Self = Self(4);
    /// Lower case at the beginning of a sentence.
    pub const LOWER_AT_BEGINNING: Self = Self(8);
    /// Lower case inside a sentence.
    pub const LOWER_INSIDE: Self = Self(16);
    /// Lower case where a sentence may begin or not.
    pub const LOWER_SOMEWHERE: Self = Self(32);
    /// Upper case, wherever.
    pub const UPPER: Self = Self(7);
    /// Lower case, wherever.
    pub const LOWER: Self = Self(56);

    /// The letters of parameter files, lowest bit first.
    const LETTERS: [char; 6] = ['B', 'M', 'U', 'b', 'm', 'u'];

    /// Whether it has any of the occurrences in `other`.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds the occurrences in `other`.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Reads the letters of a parameter file: at least one, in their order, none twice.
    pub fn parse(letters: &str) -> Option<Self> {
        let mut parsed = Self::default();
        for letter in letters.chars() {
            let bit = 1 << Self::LETTERS.iter().position(|l| *l == letter)?;
            if parsed.0 >= bit {
                return None;
            }
            parsed.0 |= bit;
        }
        (parsed.0 > 0).then_some(parsed)
    }
}

impl fmt::Display for Orthography {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = Self::LETTERS.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        letters.map(|(_, letter)| *letter).collect::<String>().fmt(f)
    }
}
