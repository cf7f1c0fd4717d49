//! A small, bounded memory from chunks of text to their ids.
//!
//! Two-way set-associative like a processor's cache: it never grows, a new chunk pushes out the older of the two that
//! share its place, and a lookup touches two neighbouring cache lines at most.

/// Chunks up to this many bytes can be remembered.
pub(super) const MAX_KEY_BYTES: usize = 16;
const MAX_IDS: usize = 11;
const LOG2_SETS: u32 = 15;

/// One cache line: key, ids, and how many of them (0: empty).
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slot {
    key: u128,
    ids: [u32; MAX_IDS],
    num_ids: u32,
}

const EMPTY: Slot = Slot { key: 0, ids: [0; MAX_IDS], num_ids: 0 };

/// Chunk (its bytes, little-endian, zero-padded) to ids; 4 MiB.
pub(super) struct Cache {
    sets: Vec<[Slot; 2]>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { sets: vec![[EMPTY; 2]; 1 << LOG2_SETS] }
    }

    /// Appends the ids of `key` if they are known.
    #[inline]
    pub(super) fn get(&self, key: u128, out: &mut Vec<u32>) -> bool {
        let set = &self.sets[place(key)];
        for slot in set {
            if slot.key == key && slot.num_ids > 0 {
                out.extend_from_slice(&slot.ids[..slot.num_ids as usize]);
                return true;
            }
        }
        false
    }

    /// Remembers `ids` for `key`; nothing happens when they are too many, or none.
    pub(super) fn insert(&mut self, key: u128, ids: &[u32]) {
        if ids.len() > MAX_IDS || ids.is_empty() {
            return;
        }
        let set = &mut self.sets[place(key)];
        set[1] = set[0];
        set[0].key = key;
        set[0].num_ids = ids.len() as u32;
        set[0].ids[..ids.len()].copy_from_slice(ids);
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
