//! One instance to be, as it lies on disk.

/// One instance to be, in token offsets; 32 bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Row over all shards.
    pub position: u64,
    /// Document of segment A.
    pub document: u32,
    /// First token of A in its document.
    pub a_start: u32,
    /// Tokens of A before truncation.
    pub a_len: u32,
    /// Document of segment B; the same as A's where B follows A.
    pub b_document: u32,
    /// First token of B.
    pub b_start: u32,
    /// Tokens of B before truncation; the highest bit says that B is random.
    pub(super) b_len_and_random: u32,
}

/// Bytes of a descriptor on disk.
pub(super) const PLANNED_BYTES: usize = 32;
/// Flag of `b_len_and_random`.
pub(super) const RANDOM: u32 = 1 << 31;

impl Planned {
    /// What no instance is.
    pub(super) const NONE: Self =
        Self { position: u64::MAX, document: 0, a_start: 0, a_len: 0, b_document: 0, b_start: 0, b_len_and_random: 0 };

    /// Tokens of B before truncation.
    pub fn b_len(&self) -> u32 {
        self.b_len_and_random & !RANDOM
    }

    /// Whether B is random.
    pub fn is_random(&self) -> bool {
        self.b_len_and_random & RANDOM != 0
    }

    pub(super) fn to_bytes(self) -> [u8; PLANNED_BYTES] {
        let mut bytes = [0; PLANNED_BYTES];
        bytes[..8].copy_from_slice(&self.position.to_le_bytes());
        let rest = [self.document, self.a_start, self.a_len, self.b_document, self.b_start, self.b_len_and_random];
        for (chunk, value) in bytes[8..].chunks_exact_mut(4).zip(rest) {
            chunk.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// The position alone of a descriptor.
    pub(super) fn position_of(bytes: &[u8; PLANNED_BYTES]) -> u64 {
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
    }

    pub(super) fn from_bytes(bytes: &[u8; PLANNED_BYTES]) -> Self {
        let word = |i: usize| u32::from_le_bytes(bytes[8 + 4 * i..12 + 4 * i].try_into().expect("four bytes"));
        Self {
            position: Self::position_of(bytes),
            document: word(0),
            a_start: word(1),
            a_len: word(2),
            b_document: word(3),
            b_start: word(4),
            b_len_and_random: word(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_survive_the_disk() {
        let planned = Planned {
            position: u64::MAX - 5,
            document: 1,
            a_start: 2,
            a_len: 3,
            b_document: 4,
            b_start: 5,
            b_len_and_random: 6 | RANDOM,
        };
        assert_eq!(Planned::from_bytes(&planned.to_bytes()), planned);
        assert!(planned.is_random() && planned.b_len() == 6);
    }
}
