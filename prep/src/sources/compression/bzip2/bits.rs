//! Bits, most significant first, from a slice that may end anywhere.

/// Reads bits of `bytes`; behind the end there are zeros, and [`Bits::overrun`] tells.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to load.
    next: usize,
    /// Loaded bits, left-aligned.
    window: u64,
    loaded: u32,
    end: usize,
}

impl<'a> Bits<'a> {
    /// From bit `start` to before bit `end` of `bytes`.
    pub(super) fn new(bytes: &'a [u8], start: usize, end: usize) -> Self {
        let mut bits = Self { bytes, next: start / 8, window: 0, loaded: 0, end };
        bits.take((start % 8) as u32);
        bits
    }

    /// Number of the next bit.
    pub(super) fn position(&self) -> usize {
        8 * self.next - self.loaded as usize
    }

    /// Whether bits were taken that are not there.
    pub(super) fn overrun(&self) -> bool {
        self.position() > self.end
    }

    /// At least `bits` bits (up to 56), left-aligned, not taken yet.
    #[inline]
    pub(super) fn peek(&mut self, bits: u32) -> u64 {
        if self.loaded < bits {
            self.refill();
        }
        self.window
    }

    #[inline]
    fn refill(&mut self) {
        if let Some(eight) = self.bytes.get(self.next..self.next + 8) {
            let loaded = u64::from_be_bytes(eight.try_into().expect("eight bytes"));
            self.window |= loaded >> self.loaded;
            let bytes = (63 - self.loaded) / 8;
            self.next += bytes as usize;
            self.loaded += 8 * bytes;
            // What was loaded beyond whole bytes is loaded again next time.
            self.window &= u64::MAX << (64 - self.loaded);
        } else {
            while self.loaded <= 56 {
                let byte = self.bytes.get(self.next).copied().unwrap_or(0);
                self.window |= u64::from(byte) << (56 - self.loaded);
                self.next += 1;
                self.loaded += 8;
            }
        }
    }

    /// Takes bits that were peeked at.
    #[inline]
    pub(super) fn skip(&mut self, bits: u32) {
        self.window <<= bits;
        self.loaded -= bits;
    }

    /// Takes up to 48 bits.
    #[inline]
    pub(super) fn take(&mut self, bits: u32) -> u64 {
        if bits == 0 {
            return 0;
        }
        let value = self.peek(bits) >> (64 - bits);
        self.skip(bits);
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bits_are_read_as_they_stand(bytes in prop::collection::vec(any::<u8>(), 0..60), start in 0usize..40, sizes in prop::collection::vec(0u32..=48, 0..12)) {
            let end = 8 * bytes.len();
            prop_assume!(start <= end);
            let mut bits = Bits::new(&bytes, start, end);
            let bit = |at: usize| u64::from(bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1));
            let mut at = start;
            for size in sizes {
                let expected = (at..at + size as usize).fold(0, |value, at| value << 1 | bit(at));
                prop_assert_eq!(bits.take(size), expected);
                at += size as usize;
                prop_assert_eq!(bits.position(), at);
                prop_assert_eq!(bits.overrun(), at > end);
            }
        }
    }
}
