//! A double-array trie over bytes, for the longest match of a set of keys.
//!
//! Node `n` reaches its child by byte `b` at `base[n] + b`, if `check` there names `n`: one load per byte of text.
//! Source: J. Aoe, "An efficient digital search algorithm by using a double-array structure", 1989.

/// A node's place in the arrays.
pub(super) type NodeId = u32;

const NONE: u32 = u32::MAX;
/// Different bytes, and so children at most.
const BYTES: usize = 256;
/// How far back the search for a place of several children starts; only children go into the holes before that.
const SEARCH_BACK: usize = 4 * BYTES;

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where this node's children start.
    base: u32,
    /// The parent, or [`NONE`] while the place is free.
    parent: u32,
    /// The value of the key that ends here, or [`NONE`].
    value: u32,
}

const FREE: Node = Node { base: 0, parent: NONE, value: NONE };

/// Several key sets in one pair of arrays, each under its own root.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

impl Trie {
    /// Builds one trie per set of (key, value); empty keys are ignored, of equal keys the last one counts.
    pub(super) fn build<const N: usize>(sets: [Vec<(&[u8], u32)>; N]) -> (Self, [NodeId; N]) {
        // Places below 256 are out of reach of most bytes: with holes there, every search would start at them.
        const { assert!(N <= BYTES, "roots take the first places") };
        let mut builder = Builder { nodes: vec![FREE; BYTES], first_free: BYTES };
        let mut roots = [0; N];
        for ((root, mut keys), place) in roots.iter_mut().zip(sets).zip(0..) {
            builder.nodes[place as usize].parent = place;
            *root = place;
            keys.retain(|(key, _)| !key.is_empty());
            keys.sort_by_key(|&(key, _)| key);
            builder.children(place, &keys, 0);
        }
        (Self { nodes: builder.nodes }, roots)
    }

    /// The longest key under `root` that `text` starts with: its value and length in bytes.
    #[inline]
    pub(super) fn longest(&self, root: NodeId, text: &[u8]) -> Option<(u32, usize)> {
        let mut best = None;
        let mut node = root;
        let mut base = self.nodes[root as usize].base;
        for (position, &byte) in text.iter().enumerate() {
            let child = base + u32::from(byte);
            let Some(found) = self.nodes.get(child as usize).filter(|found| found.parent == node) else { break };
            if found.value != NONE {
                best = Some((found.value, position + 1));
            }
            node = child;
            base = found.base;
        }
        best
    }
}

struct Builder {
    nodes: Vec<Node>,
    /// No free place lies before this one.
    first_free: usize,
}

impl Builder {
    /// Places the children of `node`, whose keys (sorted, sharing `depth` bytes) are `keys`.
    fn children(&mut self, node: NodeId, keys: &[(&[u8], u32)], depth: usize) {
        let ended = keys.iter().take_while(|(key, _)| key.len() == depth).count();
        if let Some(&(_, value)) = keys[..ended].last() {
            self.nodes[node as usize].value = value;
        }
        let groups: Vec<_> = keys[ended..].chunk_by(|(a, _), (b, _)| a[depth] == b[depth]).collect();
        if groups.is_empty() {
            return;
        }
        let bytes: Vec<u8> = groups.iter().map(|group| group[0].0[depth]).collect();
        let base = self.place(&bytes);
        self.nodes[node as usize].base = base;
        for &byte in &bytes {
            self.nodes[(base + u32::from(byte)) as usize].parent = node;
        }
        for (group, byte) in groups.into_iter().zip(bytes) {
            self.children(base + u32::from(byte), group, depth + 1);
        }
    }

    /// The first base at which all of `bytes` find a free place.
    fn place(&mut self, bytes: &[u8]) -> u32 {
        while self.nodes.get(self.first_free).is_some_and(|node| node.parent != NONE) {
            self.first_free += 1;
        }
        let from = if bytes.len() == 1 { 0 } else { self.nodes.len().saturating_sub(SEARCH_BACK) };
        let mut base = self.first_free.max(from) - usize::from(bytes[0]);
        let is_free = |nodes: &[Node], place: usize| nodes.get(place).is_none_or(|node| node.parent == NONE);
        while !bytes.iter().all(|&byte| is_free(&self.nodes, base + usize::from(byte))) {
            base += 1;
        }
        let end = base + usize::from(bytes[bytes.len() - 1]) + 1;
        if end > self.nodes.len() {
            self.nodes.resize(end, FREE);
        }
        u32::try_from(base).expect("a vocabulary's trie has fewer than 2^32 nodes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_wins_and_sets_do_not_mix() {
        let a: Vec<(&[u8], u32)> = vec![(b"a", 0), (b"abc", 1), (b"b", 2), (b"", 9)];
        let b: Vec<(&[u8], u32)> = vec![(b"ab", 7), (b"\xff", 8)];
        let (trie, [first, second]) = Trie::build([a, b]);
        assert_eq!(trie.longest(first, b"abcd"), Some((1, 3)));
        assert_eq!(trie.longest(first, b"abd"), Some((0, 1)));
        assert_eq!(trie.longest(first, b"c"), None);
        assert_eq!(trie.longest(first, b""), None);
        assert_eq!(trie.longest(second, b"abcd"), Some((7, 2)));
        assert_eq!(trie.longest(second, b"\xff\xff"), Some((8, 1)));
        assert_eq!(trie.longest(second, b"b"), None);
    }
}
