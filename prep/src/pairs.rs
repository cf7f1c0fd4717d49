//! Segment pairs of a document, as google-research/bert makes them.

use std::ops::Range;

use cloze_formats::rng::KeyedRng;

/// A pair to be: sentences of the document for A, and for B either the sentences that follow or a random document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Sentences of segment A.
    pub a: Range<usize>,
    /// Where segment B comes from.
    pub b: SegmentB,
}

/// Source of segment B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentB {
    /// The sentences that follow A.
    Next(Range<usize>),
    /// A random place of a random document, up to this many tokens.
    Random {
        /// Tokens wanted: the target length less segment A.
        target: usize,
    },
}

/// Knobs of pair making.
#[derive(Clone, Copy, Debug)]
pub struct PairConfig {
    /// Tokens of both segments at most: `max_seq_length` less `[CLS]` and two `[SEP]`.
    pub max_num_tokens: usize,
    /// Probability of a shorter target length.
    pub short_seq_prob: f64,
}

/// The draws that pair making needs.
pub trait Draws {
    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64;

    /// Uniform in `0..bound`; panics where that is empty.
    fn below(&mut self, bound: u64) -> u64;

    /// A fair coin.
    fn coin(&mut self) -> bool;

    /// Uniform in `low..=high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
}

impl Draws for KeyedRng {
    fn unit(&mut self) -> f64 {
        self.unit()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.below(bound)
    }

    fn coin(&mut self) -> bool {
        self.coin()
    }
}

/// Calls `emit` for each pair of a document whose sentences have `sentence_lengths` tokens.
///
/// Sentences are gathered until they reach a target length (usually `max_num_tokens`); the chunk is cut into A and B at a
/// random sentence; half of the time, and always for a chunk of one sentence, B is random instead and the unused
/// sentences go back. Which random document is drawn elsewhere, so that planning reads lengths only; `emit` is given the
/// generator for those who draw it from the same one.
///
/// Source: `create_instances_from_document`, google-research/bert; the order of the draws too.
///
/// # Errors
/// Those of `emit`.
pub fn pair_document<R: Draws, E>(
    sentence_lengths: &[u16],
    config: PairConfig,
    rng: &mut R,
    mut emit: impl FnMut(Pair, &mut R) -> Result<(), E>,
) -> Result<(), E> {
    let longest = config.max_num_tokens;
    let target = if rng.unit() < config.short_seq_prob { rng.between(2, longest as u64) as usize } else { longest };
    let mut start = 0;
    let mut chunk_tokens = 0;
    let mut i = 0;
    while i < sentence_lengths.len() {
        chunk_tokens += usize::from(sentence_lengths[i]);
        i += 1;
        if chunk_tokens < target && i < sentence_lengths.len() {
            continue;
        }
        let sentences = i - start;
        let a_sentences = if sentences >= 2 { rng.between(1, sentences as u64 - 1) as usize } else { 1 };
        let a = start..start + a_sentences;
        let b = if sentences == 1 || rng.coin() {
            let a_tokens: usize = sentence_lengths[a.clone()].iter().map(|&l| usize::from(l)).sum();
            i = a.end;
            // A of the target length or longer still gets one sentence for B; truncation makes both fit.
            SegmentB::Random { target: target.saturating_sub(a_tokens) }
        } else {
            SegmentB::Next(a.end..i)
        };
        emit(Pair { a, b }, rng)?;
        start = i;
        chunk_tokens = 0;
    }
    Ok(())
}

/// Sentences `from..` of a document until they hold `target` tokens: at least one, at most all.
pub fn take_sentences(sentence_lengths: &[u16], from: usize, target: usize) -> Range<usize> {
    let mut tokens = 0;
    let mut end = from;
    while end < sentence_lengths.len() && (tokens < target || end == from) {
        tokens += usize::from(sentence_lengths[end]);
        end += 1;
    }
    from..end
}

/// How many tokens to drop at (front of A, back of A, front of B, back of B) so that both fit `max_num_tokens`.
///
/// One token at a time goes from the longer segment (B where they are equal), from its front where `from_front` says so.
///
/// Source: `truncate_seq_pair`, google-research/bert.
pub fn truncate_pair(
    mut a: usize,
    mut b: usize,
    max_num_tokens: usize,
    mut from_front: impl FnMut() -> bool,
) -> [usize; 4] {
    let mut dropped = [0; 4];
    while a + b > max_num_tokens {
        let longer_is_a = a > b;
        *(if longer_is_a { &mut a } else { &mut b }) -= 1;
        dropped[usize::from(!longer_is_a) * 2 + usize::from(!from_front())] += 1;
    }
    dropped
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use cloze_formats::rng::Purpose;

    use super::*;

    const CONFIG: PairConfig = PairConfig { max_num_tokens: 125, short_seq_prob: 0.1 };

    fn pairs(lengths: &[u16], key: u64) -> Vec<Pair> {
        let mut pairs = Vec::new();
        let Ok(()) = pair_document(lengths, CONFIG, &mut KeyedRng::new(1, Purpose::Plan, key, 0), |pair, _| {
            pairs.push(pair);
            Ok::<_, Infallible>(())
        });
        pairs
    }

    #[test]
    fn every_sentence_is_used_once_and_in_order() {
        let lengths: Vec<u16> = (0..200).map(|i| 5 + i % 37).collect();
        for key in 0..50 {
            let mut next = 0;
            for pair in pairs(&lengths, key) {
                assert_eq!(pair.a.start, next);
                next = match pair.b {
                    SegmentB::Next(b) => {
                        assert_eq!(b.start, pair.a.end);
                        b.end
                    }
                    SegmentB::Random { .. } => pair.a.end,
                };
            }
            assert_eq!(next, lengths.len());
        }
    }

    #[test]
    fn a_single_sentence_gets_a_random_second_segment() {
        assert_eq!(pairs(&[10], 3), [Pair { a: 0..1, b: SegmentB::Random { target: 115 } }]);
        assert_eq!(pairs(&[400], 3), [Pair { a: 0..1, b: SegmentB::Random { target: 0 } }]);
    }

    #[test]
    fn half_of_the_multi_sentence_chunks_have_a_random_second_segment() {
        let lengths = vec![20u16; 100_000];
        let all = pairs(&lengths, 9);
        let random = all.iter().filter(|p| matches!(p.b, SegmentB::Random { .. })).count() as f64;
        let n = all.len() as f64;
        // Five standard deviations of a fair coin; the last chunk alone may have one sentence.
        assert!((random / n - 0.5).abs() < 2.5 / n.sqrt(), "{random} of {n}");
    }

    #[test]
    fn random_segments_take_at_least_one_sentence() {
        assert_eq!(take_sentences(&[5, 5, 5, 5], 1, 0), 1..2);
        assert_eq!(take_sentences(&[5, 5, 5, 5], 1, 6), 1..3);
        assert_eq!(take_sentences(&[5, 5, 5, 5], 3, 600), 3..4);
    }

    #[test]
    fn truncation_leaves_both_segments_and_the_exact_length() {
        let mut rng = KeyedRng::new(4, Purpose::Truncate, 0, 0);
        for (a, b) in [(300, 10), (10, 300), (63, 63), (1, 125), (125, 1), (70_000, 2)] {
            let [af, ab, bf, bb] = truncate_pair(a, b, 125, || rng.coin());
            let (a, b) = (a - af - ab, b - bf - bb);
            assert!(a >= 1 && b >= 1 && a + b == 125, "{a} {b}");
        }
        assert_eq!(truncate_pair(60, 65, 125, || rng.coin()), [0; 4]);
    }
}
