//! Which sources are tokenized together, and by which process: decided by their sizes alone, so that the bytes of a corpus
//! do not depend on the number of processes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Input;
use super::state::Summary;
use crate::world::World;

/// A source file as every process sees it without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) format: String,
    pub(super) bytes: u64,
}

/// Sources in order, cut into slices: consecutive ones until they reach `slice_bytes`; a larger one stands alone.
pub(super) fn cut(sources: &[Listed], slice_bytes: u64) -> Vec<Range<usize>> {
    let mut slices: Vec<Range<usize>> = Vec::new();
    let mut open_bytes = u64::MAX;
    for (number, source) in sources.iter().enumerate() {
        let joined = open_bytes.saturating_add(source.bytes);
        match slices.last_mut() {
            Some(slice) if joined <= slice_bytes => {
                slice.end += 1;
                open_bytes = joined;
            }
            _ => {
                slices.push(number..number + 1);
                open_bytes = source.bytes;
            }
        }
    }
    slices
}

/// The rank of each slice, balanced by bytes.
pub(super) fn deal(slices: &[Range<usize>], sources: &[Listed], world: World) -> Vec<u32> {
    let bytes = |slice: &Range<usize>| sources[slice.clone()].iter().map(|source| source.bytes).sum();
    world.deal(&slices.iter().map(bytes).collect::<Vec<u64>>())
}

/// What came of a slice; kept in the work directory of its rank once all its shards are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SliceRecord {
    /// Shards; none if no document had text.
    pub(super) num_shards: u32,
    /// Its sources with their hashes.
    pub(super) inputs: Vec<Input>,
    /// Documents that each of them gave.
    pub(super) documents_per_source: Vec<u64>,
    pub(super) summary: Summary,
}

/// File name of a [`SliceRecord`].
pub(super) fn record_name(slice: u32) -> String {
    format!("slice-{slice:05}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(bytes: &[u64]) -> Vec<Listed> {
        bytes.iter().map(|&bytes| Listed { name: String::new(), format: String::new(), bytes }).collect()
    }

    #[test]
    fn small_files_share_a_slice_and_large_ones_stand_alone() {
        assert_eq!(cut(&sources(&[3, 4, 3, 1, 50, 2, 2]), 10), [0..3, 3..4, 4..5, 5..7]);
        assert_eq!(cut(&sources(&[0, 0, 11]), 10), [0..2, 2..3]);
        assert!(cut(&sources(&[]), 10).is_empty());
    }

    #[test]
    fn the_heaviest_slices_are_dealt_first() {
        let sources = sources(&[3, 4, 3, 1, 50, 2, 2]);
        let world = World::new(0, 2).unwrap();
        assert_eq!(deal(&cut(&sources, 10), &sources, world), [1, 1, 0, 1]);
    }
}
