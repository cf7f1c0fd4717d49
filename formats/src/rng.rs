//! Random draws that depend on what they are for, never on who makes them or when.

/// What a draw decides; draws for different purposes are independent.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Purpose {
    Plan = 1,
    Truncate = 2,
    StaticMask = 3,
    DynamicMask = 4,
    Deal = 5,
    Order = 6,
    HeldOut = 7,
    RandomNext = 8,
    Dropout = 9,
}

/// A counter-based generator: the stream is a pure function of (seed, purpose, a, b).
///
/// The counter is passed through the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014; constants: Stafford's mix 13).
#[derive(Clone, Debug)]
pub struct KeyedRng {
    counter: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl KeyedRng {
    /// The generator of (`seed`, `purpose`, `a`, `b`): for example seed, masking, instance, epoch.
    pub fn new(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let parts = [purpose as u64, a, b];
        let counter = parts.into_iter().fold(mix(seed.wrapping_add(GOLDEN)), |key, part| {
            mix((key ^ part).wrapping_mul(GOLDEN).wrapping_add(part.rotate_left(32) ^ GOLDEN))
        });
        Self { counter }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(GOLDEN);
        mix(self.counter)
    }

    /// Uniform in `0..bound`, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    ///
    /// # Panics
    /// `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            let low = wide as u64;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A fair coin.
    pub fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_keys_differ() {
        let first = |seed, purpose, a, b| KeyedRng::new(seed, purpose, a, b).next_u64();
        let mut seen = std::collections::HashSet::new();
        for seed in 0..8 {
            for a in 0..8 {
                for b in 0..8 {
                    assert!(seen.insert(first(seed, Purpose::Plan, a, b)));
                    assert!(seen.insert(first(seed, Purpose::StaticMask, a, b)));
                }
            }
        }
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = KeyedRng::new(1, Purpose::Plan, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        // Five standard deviations of a binomial with p = 1/7.
        assert!(counts.iter().all(|&c| (c as f64 - 10_000.0).abs() < 5.0 * 92.6), "{counts:?}");
    }
}
