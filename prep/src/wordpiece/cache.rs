//! A small, bounded memory from chunks of text to their ids.
//!
//! Two-way set-associative like a processor's cache: it never grows, a new chunk pushes out the older of the two that
//! share its place, and a lookup touches one cache line. Small enough for a core's own cache: four times the size has
//! fewer misses and is slower (LOG.md).

/// Chunks up to this many bytes can be remembered.
pub(super) const MAX_KEY_BYTES: usize = 16;
/// 16-bit words for ids in a slot: seven ids of most vocabularies, three of those with more than 65,536 tokens.
const ID_WORDS: usize = 7;
const WAYS: usize = 2;
const LOG2_SETS: u32 = 14;

/// Half a cache line: key, ids, and how many of them (0: empty).
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Slot {
    key: u128,
    ids: [u16; ID_WORDS],
    num_ids: u16,
}

const EMPTY: Slot = Slot { key: 0, ids: [0; ID_WORDS], num_ids: 0 };

/// Chunk (its bytes, little-endian, zero-padded) to ids; 1 MiB.
pub(super) struct Cache {
    sets: Vec<[Slot; WAYS]>,
    /// Ids take two words each.
    wide: bool,
}

impl Cache {
    /// An empty cache for a vocabulary of `num_tokens`.
    pub(super) fn new(num_tokens: usize) -> Self {
        Self { sets: vec![[EMPTY; WAYS]; 1 << LOG2_SETS], wide: num_tokens > 1 << u16::BITS }
    }

    /// Appends the ids of `key` if they are known.
    #[inline]
    pub(super) fn get(&self, key: u128, out: &mut Vec<u32>) -> bool {
        let set = &self.sets[place(key)];
        let Some(slot) = set.iter().find(|slot| slot.key == key && slot.num_ids > 0) else { return false };
        let end = out.len() + usize::from(slot.num_ids);
        // All of the slot, then cut: a copy of fixed size costs less than a call that looks at the length.
        if self.wide {
            let pairs = slot.ids.as_chunks::<2>().0;
            out.extend(pairs.iter().map(|&[low, high]| u32::from(low) | u32::from(high) << 16));
        } else {
            out.extend(slot.ids.iter().map(|&id| u32::from(id)));
        }
        out.truncate(end);
        true
    }

    /// Remembers `ids` for `key`; nothing happens when they are too many, or none.
    pub(super) fn insert(&mut self, key: u128, ids: &[u32]) {
        let words_per_id = if self.wide { 2 } else { 1 };
        if ids.len() * words_per_id > ID_WORDS || ids.is_empty() {
            return;
        }
        let mut slot = Slot { key, num_ids: ids.len() as u16, ..EMPTY };
        for (words, &id) in slot.ids.chunks_mut(words_per_id).zip(ids) {
            words[0] = id as u16;
            if let Some(high) = words.get_mut(1) {
                *high = (id >> 16) as u16;
            }
        }
        let set = &mut self.sets[place(key)];
        set.copy_within(..WAYS - 1, 1);
        set[0] = slot;
    }
}

/// The set a key belongs to: a folded 64 x 64 bit product.
#[inline]
fn place(key: u128) -> usize {
    let (low, high) = (key as u64, (key >> 64) as u64);
    let product = u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high.rotate_left(23) ^ 0xD1B5_4A32_D192_ED03);
    let folded = (product as u64) ^ ((product >> 64) as u64);
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - LOG2_SETS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(cache: &Cache, key: u128) -> Option<Vec<u32>> {
        let mut out = vec![9];
        cache.get(key, &mut out).then(|| out.split_off(1))
    }

    #[test]
    fn ids_of_either_width_come_back() {
        for (num_tokens, ids) in [(30_522, vec![1, 2, 3, 4, 5, 6, 30_521]), (119_547, vec![119_546, 7, 65_536])] {
            let mut cache = Cache::new(num_tokens);
            cache.insert(5, &ids);
            assert_eq!(look_up(&cache, 5), Some(ids));
            assert_eq!(look_up(&cache, 6), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_remembered() {
        let mut cache = Cache::new(119_547);
        cache.insert(5, &[1, 2, 3, 4]);
        cache.insert(6, &[]);
        assert_eq!((look_up(&cache, 5), look_up(&cache, 6)), (None, None));
    }

    #[test]
    fn the_oldest_of_a_set_goes_first() {
        let mut cache = Cache::new(100);
        let mates: Vec<u128> = (1u128..).filter(|&key| place(key) == place(1)).take(WAYS + 1).collect();
        mates.iter().for_each(|&key| cache.insert(key, &[key as u16 as u32]));
        assert_eq!(look_up(&cache, mates[0]), None);
        assert!(mates[1..].iter().all(|&key| look_up(&cache, key).is_some()));
    }
}
