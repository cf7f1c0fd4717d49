//! Punkt's statistics: how often words occur in a text and beside what, and what follows from it.
//!
//! Numbers of sections are those of Kiss and Strunk 2006. Where the paper leaves a choice, and in all constants, we follow
//! `PunktTrainer` of NLTK 3.8.1, whose parameters for the same text are equal to ours.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::boundary::{Index, Mark, kind_in_sentence};
use super::parameters::{Orthography, Parameters};
use super::token::{Buffer, NUMBER, Token, is_letter};
use super::words::Words;

/// Score from which on a word is an abbreviation.
const ABBREVIATION: f64 = 0.3;
/// A word that occurs this often is no rare abbreviation: its score says what it is.
const RARE: u64 = 5;
/// Log-likelihood from which on two words are a collocation.
const COLLOCATION: f64 = 7.88;
/// Log-likelihood from which on a word is a frequent sentence starter.
const SENTENCE_STARTER: f64 = 30.0;

/// How often the types of a text occur.
#[derive(Clone, Debug, Default)]
pub(super) struct Frequencies {
    types: HashMap<Box<str>, u64>,
    num_words: u64,
    /// Words that end in a full stop.
    num_stopped: u64,
}

impl Frequencies {
    pub(super) fn add_paragraph(&mut self, text: &str) {
        let mut buffer = Buffer::new();
        for token in Words::new(text).map(|text| Token { text }) {
            count(&mut self.types, token.kind(&mut buffer), 1);
            self.num_words += 1;
            self.num_stopped += u64::from(token.ends_in_stop());
        }
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        let (num_words, num_stopped) = (self.num_words + other.num_words, self.num_stopped + other.num_stopped);
        let (mut types, fewer) = larger_first(std::mem::take(&mut self.types), other.types);
        fewer.into_iter().for_each(|(word, n)| *types.entry(word).or_default() += n);
        Self { types, num_words, num_stopped }
    }

    pub(super) fn num_words(&self) -> u64 {
        self.num_words
    }

    fn of(&self, word: &str) -> u64 {
        self.types.get(word).copied().unwrap_or_default()
    }

    /// Occurrences with and without a final full stop.
    fn of_both(&self, word: &str) -> u64 {
        self.of(word) + self.of(&format!("{word}."))
    }

    /// Section 3: types that occur with a final full stop more than chance has it, the shorter and the more inner full
    /// stops the rather, and hardly ever without.
    pub(super) fn abbreviations(&self) -> BTreeSet<Box<str>> {
        let stopped = self.types.iter().filter_map(|(word, n)| Some((word.strip_suffix('.')?, *n)));
        let candidates = stopped.filter(|(word, _)| word.chars().any(is_letter));
        let found = candidates.filter(|(word, n)| self.abbreviation_score(word, *n) >= ABBREVIATION);
        found.map(|(word, _)| word.into()).collect()
    }

    /// `with_stop`: occurrences of `word` with a final full stop.
    fn abbreviation_score(&self, word: &str, with_stop: u64) -> f64 {
        let without_stop = self.of(word);
        let inner_stops = word.matches('.').count();
        let length = (word.chars().count() - inner_stops) as f64;
        let likelihood = abbreviation_likelihood(with_stop, without_stop, self.num_stopped, self.num_words);
        likelihood * (-length).exp() * (inner_stops + 1) as f64 * length.powf(-(without_stop as f64))
    }
}

/// What a text says about pairs of words, once the abbreviations that scores tell are known.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    orthography: HashMap<Box<str>, Orthography>,
    num_breaks: u64,
    /// Words after the clear end of a sentence.
    starters: HashMap<Box<str>, u64>,
    /// Initials and ordinals at what may be the end of a sentence, and the words after them.
    pairs: HashMap<(Box<str>, Box<str>), u64>,
    /// Rare words whose full stop is no end because a comma, colon or semicolon follows.
    abbreviations: HashSet<Box<str>>,
    /// Rare words with a full stop, and the lower-case words after them.
    before_lower: HashSet<(Box<str>, Box<str>)>,
}

impl Evidence {
    /// Adds the words of a paragraph. `previous`: the last word before it, none at the beginning of the text.
    /// Returns its last word, or `previous` if it has none.
    pub(super) fn add_paragraph<'t>(
        &mut self,
        text: &'t str,
        mut previous: Option<(Token<'t>, Mark)>,
        index: &Index,
        frequencies: &Frequencies,
    ) -> Option<(Token<'t>, Mark)> {
        for (number, text) in Words::new(text).enumerate() {
            let token = Token { text };
            let word = (token, index.mark(token));
            self.add_orthography(word, Place::after(previous, number == 0));
            self.num_breaks += u64::from(word.1 == Mark::Break);
            if let Some((before, Mark::Break)) = previous.filter(|(before, _)| before.ends_in_stop()) {
                self.add_pair(before, word, frequencies);
            }
            previous = Some(word);
        }
        previous
    }

    fn add_orthography(&mut self, word: (Token<'_>, Mark), place: Place) {
        let seen = match (place, word.0.starts_upper(), word.0.starts_lower()) {
            (Place::Beginning, true, _) => Orthography::UPPER_AT_BEGINNING,
            (Place::Inside, true, _) => Orthography::UPPER_INSIDE,
            (Place::Unknown, true, _) => Orthography::UPPER_SOMEWHERE,
            (Place::Beginning, _, true) => Orthography::LOWER_AT_BEGINNING,
            (Place::Inside, _, true) => Orthography::LOWER_INSIDE,
            (Place::Unknown, _, true) => Orthography::LOWER_SOMEWHERE,
            _ => return,
        };
        let mut buffer = Buffer::new();
        let kind = kind_in_sentence(word, &mut buffer);
        match self.orthography.get_mut(kind) {
            Some(places) => places.add(seen),
            None => drop(self.orthography.insert(kind.into(), seen)),
        }
    }

    /// `before` has a full stop that is not known to belong to an abbreviation; `word` follows it.
    fn add_pair(&mut self, before: Token<'_>, word: (Token<'_>, Mark), frequencies: &Frequencies) {
        let (mut buffer, mut word_buffer) = (Buffer::new(), Buffer::new());
        let before_kind = before.kind_without_stop(&mut buffer);
        if is_rare(before_kind, frequencies) {
            if word.0.text.starts_with([',', ':', ';']) {
                self.abbreviations.insert(before_kind.into());
            } else if word.0.starts_lower() {
                self.before_lower.insert((before_kind.into(), kind_in_sentence(word, &mut word_buffer).into()));
            }
        }
        if before_kind != NUMBER && !before.is_initial() {
            if word.0.is_alphabetic() {
                count(&mut self.starters, word.0.kind(&mut word_buffer), 1);
            }
        } else if word.0.is_non_punctuation() {
            let pair = (before_kind.into(), kind_in_sentence(word, &mut word_buffer).into());
            *self.pairs.entry(pair).or_default() += 1;
        }
    }

    pub(super) fn merge(self, other: Self) -> Self {
        let (mut orthography, fewer) = larger_first(self.orthography, other.orthography);
        fewer.into_iter().for_each(|(word, places)| orthography.entry(word).or_default().add(places));
        let (mut starters, fewer) = larger_first(self.starters, other.starters);
        fewer.into_iter().for_each(|(word, n)| *starters.entry(word).or_default() += n);
        let (mut pairs, fewer) = larger_first(self.pairs, other.pairs);
        fewer.into_iter().for_each(|(pair, n)| *pairs.entry(pair).or_default() += n);
        let (mut abbreviations, mut before_lower) = (self.abbreviations, self.before_lower);
        abbreviations.extend(other.abbreviations);
        before_lower.extend(other.before_lower);
        let num_breaks = self.num_breaks + other.num_breaks;
        Self { orthography, num_breaks, starters, pairs, abbreviations, before_lower }
    }

    /// The parameters, given the abbreviations found by scores.
    pub(super) fn parameters(self, mut abbreviations: BTreeSet<Box<str>>, frequencies: &Frequencies) -> Parameters {
        // A lower-case word after a full stop that is otherwise seen in upper case at the beginning of sentences, never
        // inside, begins no sentence here.
        let places = |word: &str| self.orthography.get(word).copied().unwrap_or_default();
        let begins = |word: &str| {
            places(word).has(Orthography::UPPER_AT_BEGINNING) && !places(word).has(Orthography::UPPER_INSIDE)
        };
        abbreviations.extend(self.before_lower.iter().filter(|(_, next)| begins(next)).map(|(word, _)| word.clone()));
        abbreviations.extend(self.abbreviations.iter().cloned());
        let is_starter = |word: &str, at_break: &u64| {
            let (occurrences, total) = (frequencies.of_both(word), frequencies.num_words);
            let likelihood = collocation_likelihood(self.num_breaks, occurrences, *at_break, total);
            let attracted = total as f64 / self.num_breaks as f64 > occurrences as f64 / *at_break as f64;
            (likelihood >= SENTENCE_STARTER && attracted).then(|| word.into())
        };
        let sentence_starters: BTreeSet<Box<str>> =
            self.starters.iter().filter_map(|(word, at_break)| is_starter(word, at_break)).collect();
        let is_collocation = |((first, second), together): (&(Box<str>, Box<str>), &u64)| {
            let (a, b, total) = (frequencies.of_both(first), frequencies.of_both(second), frequencies.num_words);
            let countable = a > 1 && b > 1 && *together > 1 && *together <= a.min(b);
            let attracted = total as f64 / a as f64 > b as f64 / *together as f64;
            let is = countable
                && !sentence_starters.contains(second)
                && collocation_likelihood(a, b, *together, total) >= COLLOCATION
                && attracted;
            is.then(|| (first.clone(), second.clone()))
        };
        let collocations = self.pairs.iter().filter_map(is_collocation).collect();
        let orthography = self.orthography.into_iter().collect();
        Parameters { abbreviations, collocations, sentence_starters, orthography }
    }
}

/// Section 4.3 of the paper, as NLTK has it: the type and the type without its last letter occur less than five times.
fn is_rare(word: &str, frequencies: &Frequencies) -> bool {
    let shorter = word.char_indices().next_back().map_or("", |(at, _)| &word[..at]);
    frequencies.of(word) + frequencies.of(shorter) < RARE
}

/// Where in a sentence a word stands.
#[derive(Clone, Copy)]
enum Place {
    Beginning,
    Inside,
    Unknown,
}

impl Place {
    /// The place after `previous`; a paragraph begins a sentence unless the last one ended in an abbreviation.
    fn after(previous: Option<(Token<'_>, Mark)>, begins_paragraph: bool) -> Self {
        match previous {
            Some((token, Mark::Break)) if !token.is_number() && !token.is_initial() => Self::Beginning,
            Some((_, Mark::Nothing)) if begins_paragraph => Self::Beginning,
            Some((_, Mark::Nothing)) => Self::Inside,
            _ => Self::Unknown,
        }
    }
}

/// Log-likelihood ratio by which a word and its full stop are one rather than met by chance (section 3.1, Dunning's
/// with a probability of 0.99 in place of the measured one).
fn abbreviation_likelihood(with_stop: u64, without_stop: u64, num_stopped: u64, num_words: u64) -> f64 {
    let hypothesis = |p: f64| with_stop as f64 * p.ln() + without_stop as f64 * (1.0 - p).ln();
    -2.0 * (hypothesis(num_stopped as f64 / num_words as f64) - hypothesis(0.99))
}

/// Dunning's log-likelihood ratio of two words that occur `a` and `b` times, together `both` times, among `total`.
fn collocation_likelihood(a: u64, b: u64, both: u64, total: u64) -> f64 {
    let [a, b, both, total] = [a, b, both, total].map(|n| n as f64);
    // A certain event is no evidence.
    let likely = |p: f64, hits: f64, misses: f64| {
        if p <= 0.0 || p >= 1.0 { 0.0 } else { hits * p.ln() + misses * (1.0 - p).ln() }
    };
    let (with, without) = ((both, a - both), (b - both, total - a - b + both));
    let p = b / total;
    let null = likely(p, with.0, with.1) + likely(p, without.0, without.1);
    let with = if a == both { 0.0 } else { likely(both / a, with.0, with.1) };
    let without = if b == both || total == a { 0.0 } else { likely((b - both) / (total - a), without.0, without.1) };
    -2.0 * (null - with - without)
}

fn count(counts: &mut HashMap<Box<str>, u64>, word: &str, n: u64) {
    match counts.get_mut(word) {
        Some(count) => *count += n,
        None => drop(counts.insert(word.into(), n)),
    }
}

fn larger_first<K, V>(a: HashMap<K, V>, b: HashMap<K, V>) -> (HashMap<K, V>, HashMap<K, V>) {
    if a.len() < b.len() { (b, a) } else { (a, b) }
}
