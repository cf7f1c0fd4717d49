//! Where blocks and streams may begin and end: 48-bit marks at any bit.

use std::io::{self, BufRead};
use std::sync::LazyLock;

use super::super::Counted;
use super::block::{BLOCK_MAGIC, END_MAGIC};

/// Longer than any block compresses to; nothing that is whole goes on for so long without a mark.
const MAX_SEGMENT_BYTES: usize = 2 << 20;
/// Bytes that a mark touches at most.
const MARK_BYTES: usize = 7;
const MARK_MASK: u64 = (1 << 48) - 1;

/// By the fourth byte that a mark touches: the shifts at which either mark may stand there, one bit each.
static SHIFTS: LazyLock<[u8; 256]> = LazyLock::new(|| {
    let mut shifts = [0; 256];
    for (mark, shift) in [BLOCK_MAGIC, END_MAGIC].into_iter().flat_map(|mark| (0..8).map(move |shift| (mark, shift))) {
        shifts[(mark >> (16 + shift) & 0xff) as usize] |= 1 << shift;
    }
    shifts
});

/// Compressed bits from one mark up to the next.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) bytes: Vec<u8>,
    /// The bit of `bytes` at which the mark begins.
    pub(super) first: usize,
    /// The bit of `bytes` before which the segment ends.
    pub(super) end: usize,
    /// The byte of the file with which `bytes` begins.
    pub(super) offset: u64,
    /// It was ended by the end of the file, not by a mark.
    pub(super) at_end: bool,
}

impl Segment {
    /// The byte of the file in which bit `at` of `bytes` lies.
    pub(super) fn byte_of(&self, at: usize) -> u64 {
        self.offset + (at / 8) as u64
    }

    /// Whether it begins with the mark of a stream's end.
    pub(super) fn ends_stream(&self) -> bool {
        mark_at(&self.bytes, self.first) == Some(END_MAGIC)
    }

    /// Takes in what follows it.
    pub(super) fn append(&mut self, next: &Segment) {
        let shared = (next.offset - self.offset) as usize;
        self.bytes.truncate(shared);
        self.bytes.extend_from_slice(&next.bytes);
        self.end = 8 * shared + next.end;
        self.at_end = next.at_end;
    }
}

/// The 48 bits at bit `at`, if they are there.
fn mark_at(bytes: &[u8], at: usize) -> Option<u64> {
    let mut window = [0; 8];
    let touched = bytes.get(at / 8..)?;
    let len = touched.len().min(MARK_BYTES);
    window[..len].copy_from_slice(&touched[..len]);
    let enough = 8 * len >= at % 8 + 48;
    enough.then(|| u64::from_be_bytes(window) >> (16 - at % 8) & MARK_MASK)
}

/// The first mark at a bit from `8 * from` on; if there is none, the byte from which on none was looked for.
fn find_mark(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let shifts = &*SHIFTS;
    let end = bytes.len().saturating_sub(MARK_BYTES - 1).max(from);
    for at in from..end {
        let candidates = shifts[usize::from(bytes[at + 3])];
        if candidates == 0 {
            continue;
        }
        let found = (0..8).filter(|shift| candidates >> shift & 1 == 1).map(|shift| 8 * at + shift);
        for bit in found {
            if matches!(mark_at(bytes, bit), Some(BLOCK_MAGIC | END_MAGIC)) {
                return Ok(bit);
            }
        }
    }
    Err(end)
}

/// Cuts a bzip2 file into segments, beginning after the first stream's header of four bytes.
pub(super) struct Segments<R> {
    input: Counted<R>,
    /// Bytes from the one on in which the current segment begins.
    bytes: Vec<u8>,
    offset: u64,
    first: usize,
    /// Marks were looked for in the bytes before this one.
    searched: usize,
    ended: bool,
}

impl<R: BufRead> Segments<R> {
    pub(super) fn new(input: Counted<R>) -> Self {
        Self { input, bytes: Vec::new(), offset: 0, first: 32, searched: 4, ended: false }
    }

    fn next_segment(&mut self) -> io::Result<Option<Segment>> {
        if self.ended {
            return Ok(None);
        }
        loop {
            match find_mark(&self.bytes, self.searched) {
                Ok(mark) if mark == self.first => self.searched = mark / 8 + 1,
                Ok(mark) => return Ok(Some(self.cut(mark))),
                Err(searched) => {
                    self.searched = searched;
                    if self.bytes.len() > MAX_SEGMENT_BYTES {
                        self.ended = true;
                        return Ok(Some(self.segment(8 * self.bytes.len(), false)));
                    }
                    if !self.read()? {
                        self.ended = true;
                        return Ok(Some(self.segment(8 * self.bytes.len(), true)));
                    }
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<bool> {
        let block = self.input.fill_buf()?;
        let used = block.len();
        self.bytes.extend_from_slice(block);
        self.input.consume(used);
        Ok(used > 0)
    }

    /// Ends the current segment before bit `mark`, where the next one begins.
    fn cut(&mut self, mark: usize) -> Segment {
        let segment = self.segment(mark, false);
        self.bytes.drain(..mark / 8);
        self.offset += (mark / 8) as u64;
        self.first = mark % 8;
        // Two marks cannot overlap.
        self.searched = 1;
        segment
    }

    fn segment(&self, end: usize, at_end: bool) -> Segment {
        let bytes = self.bytes[..end.div_ceil(8)].to_vec();
        Segment { bytes, first: self.first, end, offset: self.offset, at_end }
    }
}

impl<R: BufRead> Iterator for Segments<R> {
    type Item = io::Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_segment().transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_is_found_at_any_bit(before in prop::collection::vec(any::<u8>(), 1..40), after in prop::collection::vec(any::<u8>(), 0..20), shift in 0usize..8, end in any::<bool>()) {
            let mark = if end { END_MAGIC } else { BLOCK_MAGIC };
            let mut bytes = before.clone();
            let at = 8 * before.len() - shift;
            let last = bytes.last_mut().unwrap();
            *last = *last >> shift << shift | (mark >> (48 - shift)) as u8;
            bytes.extend_from_slice(&(mark << (16 + shift)).to_be_bytes()[..6]);
            *bytes.last_mut().unwrap() |= after.first().map_or(0, |byte| byte >> (8 - shift).min(7) >> u8::from(shift == 0));
            bytes.extend(after);
            if bytes.len() >= at / 8 + MARK_BYTES {
                prop_assert_eq!(find_mark(&bytes, 0), Ok(at));
            }
            prop_assert_eq!(mark_at(&bytes, at), Some(mark));
        }
    }
}
