//! Python's `random.Random`: the Mersenne Twister and the functions that `random` builds on it.

use crate::pairs::Draws;

const STATE_WORDS: usize = 624;
const SHIFT: usize = 397;

/// `random.Random(seed)` of Python 3.2 and later.
///
/// Source: Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random number
/// generator", 1998, with their seeding by array of 2002; what Python makes of its words is in the documentation of each
/// function here.
#[derive(Clone, Debug)]
pub(super) struct PythonRandom {
    state: [u32; STATE_WORDS],
    /// What comes of the state, all at once: the processor makes several of them at a time.
    words: [u32; STATE_WORDS],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`: seeding by array, with the seed's 32-bit words, lowest first.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        Self::from_key(if words[1] == 0 { &words[..1] } else { &words })
    }

    fn from_key(key: &[u32]) -> Self {
        let mut state = [0u32; STATE_WORDS];
        state[0] = 19_650_218;
        for i in 1..STATE_WORDS {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = previous.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let stir = |state: &mut [u32; STATE_WORDS], i: usize, factor: u32| {
            state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(factor)
        };
        let mut i = 1;
        let advance = |state: &mut [u32; STATE_WORDS], i: &mut usize| {
            *i += 1;
            if *i == STATE_WORDS {
                state[0] = state[STATE_WORDS - 1];
                *i = 1;
            }
        };
        for j in 0..STATE_WORDS.max(key.len()) {
            let j = j % key.len();
            state[i] = stir(&mut state, i, 1_664_525).wrapping_add(key[j]).wrapping_add(j as u32);
            advance(&mut state, &mut i);
        }
        for _ in 1..STATE_WORDS {
            state[i] = stir(&mut state, i, 1_566_083_941).wrapping_sub(i as u32);
            advance(&mut state, &mut i);
        }
        state[0] = 1 << 31;
        Self { state, words: [0; STATE_WORDS], next: STATE_WORDS }
    }

    /// All words of the state anew.
    fn twist(&mut self) {
        let mixed = |high: u32, low: u32| {
            let y = (high & 0x8000_0000) | (low & 0x7fff_ffff);
            (y >> 1) ^ (if y & 1 == 1 { 0x9908_b0df } else { 0 })
        };
        let s = &mut self.state;
        for i in 0..STATE_WORDS - SHIFT {
            s[i] = s[i + SHIFT] ^ mixed(s[i], s[i + 1]);
        }
        for i in STATE_WORDS - SHIFT..STATE_WORDS - 1 {
            s[i] = s[i + SHIFT - STATE_WORDS] ^ mixed(s[i], s[i + 1]);
        }
        s[STATE_WORDS - 1] = s[SHIFT - 1] ^ mixed(s[STATE_WORDS - 1], s[0]);
        for (word, &state) in self.words.iter_mut().zip(&*s) {
            let mut y = state;
            y ^= y >> 11;
            y ^= (y << 7) & 0x9d2c_5680;
            y ^= (y << 15) & 0xefc6_0000;
            *word = y ^ (y >> 18);
        }
        self.next = 0;
    }

    #[inline]
    fn next_u32(&mut self) -> u32 {
        if self.next == STATE_WORDS {
            self.twist();
        }
        let word = self.words[self.next];
        self.next += 1;
        word
    }

    /// `random()`: uniform in `[0, 1)`, 53 bits of two words.
    pub fn random(&mut self) -> f64 {
        let (high, low) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// `getrandbits(bits)`: whole words from the lowest on, the last one shifted down to the bits that are left.
    ///
    /// # Panics
    /// `bits` is not 1 to 64.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        assert!((1..=64).contains(&bits), "one or two words are all that is needed here");
        if bits <= 32 {
            return u64::from(self.next_u32() >> (32 - bits));
        }
        let low = u64::from(self.next_u32());
        low | u64::from(self.next_u32() >> (64 - bits)) << 32
    }

    /// `shuffle(items)`: from the last one on, each changes places with one of those up to itself.
    ///
    /// # Panics
    /// There are 2^32 items or more, of which one word could not choose.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        assert!(u32::try_from(items.len()).is_ok(), "one word a draw");
        let mut i = items.len().saturating_sub(1);
        while i > 0 {
            // `below(i + 1)`, but a draw that is not below changes nothing: as often as not, a branch would be foretold wrongly.
            let drawn = (self.next_u32() >> (i as u32 + 1).leading_zeros()) as usize;
            let is_below = drawn <= i;
            items.swap(i, std::hint::select_unpredictable(is_below, drawn, i));
            i -= usize::from(is_below);
        }
    }
}

impl Draws for PythonRandom {
    fn unit(&mut self) -> f64 {
        self.random()
    }

    /// `randrange(bound)`, and what `randint` and `shuffle` are made of: draws as many bits as `bound` has until they are below it.
    fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        let bits = u64::BITS - bound.leading_zeros();
        loop {
            let drawn = self.getrandbits(bits);
            if drawn < bound {
                return drawn;
            }
        }
    }

    fn coin(&mut self) -> bool {
        self.random() < 0.5
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Made by golden/make_python_random.py; floats as C's `%a` has them.
    #[derive(Deserialize)]
    struct Golden {
        seed: u64,
        random: Vec<String>,
        getrandbits: Vec<(u32, u64)>,
        randint: Vec<(u64, u64, u64)>,
        shuffle: Vec<u32>,
        random_later: String,
    }

    /// `0x1.DIGITSp-N`, which all of Python's random numbers but 0 are.
    fn float(text: &str) -> f64 {
        let (digits, exponent) = text.strip_prefix("0x1.").and_then(|t| t.split_once("p-")).unwrap();
        let fraction = u64::from_str_radix(digits, 16).unwrap() as f64 / (1u64 << (4 * digits.len())) as f64;
        (1.0 + fraction) * 2f64.powi(-exponent.parse::<i32>().unwrap())
    }

    #[test]
    fn draws_are_those_of_python() {
        let golden: Vec<Golden> = serde_json::from_str(include_str!("../../golden/python_random.json")).unwrap();
        assert_eq!(golden.len(), 7);
        for golden in golden {
            let seed = golden.seed;
            let mut rng = PythonRandom::new(seed);
            for expected in golden.random {
                assert_eq!(rng.random(), float(&expected), "random() of seed {seed}");
            }
            for (bits, expected) in golden.getrandbits {
                assert_eq!(rng.getrandbits(bits), expected, "getrandbits({bits}) of seed {seed}");
            }
            for (low, high, expected) in golden.randint {
                assert_eq!(rng.between(low, high), expected, "randint({low}, {high}) of seed {seed}");
            }
            let mut shuffled: Vec<u32> = (0..100).collect();
            rng.shuffle(&mut shuffled);
            assert_eq!(shuffled, golden.shuffle, "shuffle of seed {seed}");
            (0..2_000).for_each(|_| {
                rng.getrandbits(32);
            });
            assert_eq!(rng.random(), float(&golden.random_later), "random() of seed {seed} after 2,000 words");
        }
    }
}
