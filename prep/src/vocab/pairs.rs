//! Merging the most frequent pair of pieces, again and again, the same way on every run.
//!
//! This is byte-pair encoding as `tokenizers` trains WordPiece vocabularies. Ours exists because theirs numbers the initial
//! pieces in the order of a hash map with a random seed and breaks ties between pairs by these numbers: two runs on the
//! same text give different vocabularies. Here pieces are numbered in code point order and ties go to the pair whose
//! pieces were there first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::wordpiece::CONTINUATION;

/// Two neighbouring pieces, by number.
type Pair = (u32, u32);

/// A word as pieces, and how often it occurs.
struct Word {
    pieces: Vec<u32>,
    count: u64,
}

/// All words, and what is known about the pairs in them.
pub(super) struct Merger {
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
    words: Vec<Word>,
    counts: HashMap<Pair, u64>,
    /// Words that hold the pair, or did once; ascending within each merge.
    places: HashMap<Pair, Vec<u32>>,
    /// Counts may be out of date: they only ever are too high.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Merger {
    /// Starts from single characters: `initial` pieces in their final order, words with their counts in any order that
    /// is the same on every run.
    pub(super) fn new(initial: Vec<String>, words: &[(String, u64)]) -> Self {
        let ids = initial.iter().cloned().zip(0u32..).collect();
        let mut this = Self {
            pieces: initial,
            ids,
            words: Vec::with_capacity(words.len()),
            counts: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for (word, count) in words {
            this.add_word(word, *count);
        }
        this.queue = this.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        this
    }

    /// Adds a word; one with a character outside the initial pieces would be `[UNK]` as a whole and teaches nothing.
    fn add_word(&mut self, word: &str, count: u64) {
        let mut pieces = Vec::new();
        for (position, char) in word.chars().enumerate() {
            let prefix = if position == 0 { "" } else { CONTINUATION };
            let Some(&id) = self.ids.get(&format!("{prefix}{char}")) else { return };
            pieces.push(id);
        }
        let index = self.words.len() as u32;
        for pair in pieces.windows(2) {
            let pair = (pair[0], pair[1]);
            *self.counts.entry(pair).or_default() += count;
            push_place(self.places.entry(pair).or_default(), index);
        }
        self.words.push(Word { pieces, count });
    }

    /// Merges until there are `num_pieces`, or no pair occurs `min_frequency` times. `tick` is called for every new piece.
    pub(super) fn run(mut self, num_pieces: usize, min_frequency: u64, mut tick: impl FnMut()) -> Vec<String> {
        while self.pieces.len() < num_pieces {
            let Some((count, Reverse(pair))) = self.queue.pop() else { break };
            let actual = self.counts.get(&pair).copied().unwrap_or(0);
            if actual != count {
                if actual > 0 {
                    self.queue.push((actual, Reverse(pair)));
                }
                continue;
            }
            if count < min_frequency.max(1) {
                break;
            }
            let before = self.pieces.len();
            self.merge(pair);
            if self.pieces.len() > before {
                tick();
            }
        }
        self.pieces
    }

    fn merge(&mut self, pair: Pair) {
        let second = &self.pieces[pair.1 as usize];
        let joined = format!("{}{}", self.pieces[pair.0 as usize], second.strip_prefix(CONTINUATION).unwrap_or(second));
        let next = self.pieces.len() as u32;
        // Two different pairs may join to the same piece.
        let piece = *self.ids.entry(joined).or_insert_with_key(|joined| {
            self.pieces.push(joined.clone());
            next
        });
        self.counts.remove(&pair);
        let mut changed = Vec::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            self.merge_in_word(index, pair, piece, &mut changed);
        }
        changed.sort_unstable();
        changed.dedup();
        for pair in changed {
            if let Some(&count) = self.counts.get(&pair) {
                self.queue.push((count, Reverse(pair)));
            }
        }
    }

    /// Replaces `pair` in one word; pairs that have become more frequent are appended to `grown`.
    fn merge_in_word(&mut self, index: u32, pair: Pair, piece: u32, grown: &mut Vec<Pair>) {
        let Word { pieces, count } = &mut self.words[index as usize];
        if !pieces.windows(2).any(|two| (two[0], two[1]) == pair) {
            return;
        }
        let old = std::mem::take(pieces);
        let mut position = 0;
        while position < old.len() {
            if position + 1 < old.len() && (old[position], old[position + 1]) == pair {
                pieces.push(piece);
                position += 2;
            } else {
                pieces.push(old[position]);
                position += 1;
            }
        }
        for two in old.windows(2).map(|two| (two[0], two[1])).filter(|&two| two != pair) {
            if let Some(total) = self.counts.get_mut(&two) {
                *total -= *count;
            }
        }
        for two in pieces.windows(2).map(|two| (two[0], two[1])) {
            *self.counts.entry(two).or_default() += *count;
            if two.0 == piece || two.1 == piece {
                push_place(self.places.entry(two).or_default(), index);
                grown.push(two);
            }
        }
    }
}

/// Notes `index` once, if it is the last one.
fn push_place(places: &mut Vec<u32>, index: u32) {
    if places.last() != Some(&index) {
        places.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(words: &[(&str, u64)], num_pieces: usize, min_frequency: u64) -> Vec<String> {
        let initial = ["a", "b", "c", "##a", "##b", "##c"].map(str::to_owned).to_vec();
        let words: Vec<_> = words.iter().map(|&(word, count)| (word.to_owned(), count)).collect();
        Merger::new(initial, &words).run(num_pieces, min_frequency, || {})[6..].to_vec()
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first_and_ties_go_to_earlier_pieces() {
        assert_eq!(train(&[("abc", 3), ("cb", 5)], 9, 1), ["cb", "ab", "abc"]);
        assert_eq!(train(&[("ba", 2), ("ab", 2)], 7, 1), ["ab"]);
    }

    #[test]
    fn rare_pairs_and_unknown_characters_teach_nothing() {
        assert_eq!(train(&[("ab", 1), ("bax", 9)], 9, 2), Vec::<String>::new());
    }

    #[test]
    fn counts_follow_repeated_letters_and_pieces_reached_in_two_ways() {
        assert_eq!(train(&[("aaaa", 4), ("aaa", 1)], 20, 1), ["##aa", "aaa", "aaaa"]);
        let pieces = train(&[("abc", 5), ("cabc", 4), ("aabc", 3), ("bc", 20), ("ab", 30)], 40, 1);
        let distinct: std::collections::HashSet<_> = pieces.iter().collect();
        assert_eq!(distinct.len(), pieces.len());
        assert!(
            ["abc", "cabc", "aabc", "bc", "ab"].iter().all(|word| pieces.contains(&word.to_string())),
            "{pieces:?}"
        );
    }
}
