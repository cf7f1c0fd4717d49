//! One block of bzip2: Huffman codes, move-to-front, Burrows-Wheeler transform, run lengths.
//!
//! Source of the format: the files that bzip2 1.0.8 writes, and "bzip2: Format Specification" (J. Tsai, 2016).

use super::Problem;
use super::bits::Bits;
use super::crc::crc32;
use super::huffman::{LONGEST_CODE, Table};
use super::paths::Paths;

/// What a block begins with.
pub(super) const BLOCK_MAGIC: u64 = 0x3141_5926_5359;
/// What a stream ends with.
pub(super) const END_MAGIC: u64 = 0x1772_4538_5090;
/// Bytes before the last run-length decoding.
const MAX_BYTES: usize = 900_000;
/// Symbols after which the Huffman table may change.
const SYMBOLS_PER_SELECTOR: usize = 50;

type Result<T> = std::result::Result<T, Problem>;

/// Decodes blocks; keeps its buffers for the next one.
#[derive(Default)]
pub(super) struct BlockDecoder {
    /// The last column of the sorted matrix.
    last: Vec<u8>,
    /// For each row the row of the next character (upper 24 bits) and its own first character.
    rows: Vec<u32>,
    paths: Paths,
    selectors: Vec<u8>,
    tables: Vec<Table>,
}

/// What a block came to.
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) crc: u32,
    /// The bit behind it.
    pub(super) end: usize,
}

impl BlockDecoder {
    /// Decodes the block that begins, with its magic, at bit `start` of `bytes`; bits from `end` on are not there. It is
    /// given up as [`Problem::Large`] where runs make more than `most` bytes of it.
    pub(super) fn decode(&mut self, bytes: &[u8], start: usize, end: usize, most: usize) -> Result<Block> {
        let mut bits = Bits::new(bytes, start, end);
        match self.decode_bits(&mut bits, most) {
            // What was made of bits that are not there means nothing, be it an error or not.
            _ if bits.overrun() => Err(Problem::Short),
            // All of its bits were there.
            Err(Problem::Large) => Err(Problem::Large),
            Err(_) if bits.position() + LONGEST_CODE as usize > end => Err(Problem::Short),
            decoded => decoded,
        }
    }

    fn decode_bits(&mut self, bits: &mut Bits<'_>, most: usize) -> Result<Block> {
        if bits.take(48) != BLOCK_MAGIC {
            return Err(Problem::Damaged("no block begins here"));
        }
        let crc = bits.take(32) as u32;
        if bits.take(1) == 1 {
            return Err(Problem::Damaged("randomised, as before bzip2 0.9.5"));
        }
        let origin = bits.take(24) as usize;
        let symbols = read_symbols(bits)?;
        self.read_selectors(bits)?;
        for table in &mut self.tables {
            table.read(bits, symbols.len() + 2)?;
        }
        let counts = self.read_last_column(bits, symbols)?;
        if origin >= self.last.len() {
            return Err(Problem::Damaged("its origin lies outside"));
        }
        self.link_rows(&counts);
        let bytes = self.walk(origin, most)?;
        if crc32(&bytes) != crc {
            return Err(Problem::Damaged("its checksum differs"));
        }
        Ok(Block { bytes, crc, end: bits.position() })
    }

    fn read_selectors(&mut self, bits: &mut Bits<'_>) -> Result<()> {
        let num_tables = bits.take(3) as usize;
        let num_selectors = bits.take(15);
        if !(2..=6).contains(&num_tables) || num_selectors == 0 {
            return Err(Problem::Damaged("its number of Huffman tables is impossible"));
        }
        self.tables.resize_with(num_tables, Table::default);
        self.selectors.clear();
        let mut order: [u8; 6] = [0, 1, 2, 3, 4, 5];
        for _ in 0..num_selectors {
            let position = (!bits.peek(7)).leading_zeros() as usize;
            if position >= num_tables {
                return Err(Problem::Damaged("it selects a Huffman table that it does not have"));
            }
            bits.skip(position as u32 + 1);
            order[..=position].rotate_right(1);
            self.selectors.push(order[0]);
        }
        Ok(())
    }

    /// Undoes Huffman codes, zero runs and move-to-front; returns how often each byte occurs.
    fn read_last_column(&mut self, bits: &mut Bits<'_>, symbols: Symbols) -> Result<[u32; 256]> {
        const TOO_LONG: Problem = Problem::Damaged("it is longer than blocks can be");
        self.last.clear();
        self.last.reserve(MAX_BYTES + SYMBOLS_PER_SELECTOR);
        let mut counts = [0u32; 256];
        let mut front = symbols.bytes;
        let end_of_block = symbols.len() as u16 + 1;
        let (mut run, mut run_weight) = (0usize, 1usize);
        for &selector in &self.selectors {
            let table = &self.tables[usize::from(selector)];
            for _ in 0..SYMBOLS_PER_SELECTOR {
                let symbol = table.decode(bits)?;
                if symbol <= 1 {
                    run += run_weight << symbol;
                    run_weight <<= 1;
                    if run > MAX_BYTES {
                        return Err(TOO_LONG);
                    }
                    continue;
                }
                if run > 0 {
                    self.last.resize(self.last.len() + run, front[0]);
                    counts[usize::from(front[0])] += run as u32;
                    (run, run_weight) = (0, 1);
                }
                if symbol == end_of_block {
                    return if self.last.len() > MAX_BYTES { Err(TOO_LONG) } else { Ok(counts) };
                }
                let byte = move_to_front(&mut front, usize::from(symbol) - 1);
                self.last.push(byte);
                counts[usize::from(byte)] += 1;
            }
            if bits.overrun() {
                return Err(Problem::Short);
            }
            if self.last.len() > MAX_BYTES {
                return Err(TOO_LONG);
            }
        }
        Err(Problem::Damaged("it does not end"))
    }

    fn link_rows(&mut self, counts: &[u32; 256]) {
        let mut next_row = [0u32; 256];
        let mut sum = 0;
        for (row, count) in next_row.iter_mut().zip(counts) {
            *row = sum;
            sum += count;
        }
        self.rows.resize(self.last.len(), 0);
        for (i, &byte) in self.last.iter().enumerate() {
            let row = &mut next_row[usize::from(byte)];
            self.rows[*row as usize] = (i as u32) << 8 | u32::from(byte);
            *row += 1;
        }
    }

    /// Follows the rows from `origin` once for each, undoing the run lengths of the very first step: four equal bytes are
    /// followed by the number of further ones.
    fn walk(&mut self, origin: usize, most: usize) -> Result<Vec<u8>> {
        self.paths.walk_all(&mut self.rows, origin);
        let mut out = Vec::with_capacity(self.rows.len() + self.rows.len() / 16);
        let (mut previous, mut equal) = (0u8, 0u32);
        // `try_for_each` goes through the pieces one after the other; a `for` asks for the next piece at each byte.
        self.paths.chain(self.rows.len()).try_for_each(|byte| {
            if equal == 4 {
                out.resize(out.len() + usize::from(byte), previous);
                equal = 0;
                return if out.len() > most { Err(Problem::Large) } else { Ok(()) };
            }
            equal = if byte == previous { equal + 1 } else { 1 };
            previous = byte;
            out.push(byte);
            Ok(())
        })?;
        Ok(out)
    }
}

/// The bytes that occur in a block, ascending.
struct Symbols {
    bytes: [u8; 256],
    len: usize,
}

impl Symbols {
    fn len(&self) -> usize {
        self.len
    }
}

fn read_symbols(bits: &mut Bits<'_>) -> Result<Symbols> {
    let mut symbols = Symbols { bytes: [0; 256], len: 0 };
    let ranges = bits.take(16);
    for range in (0..16u8).filter(|range| ranges >> (15 - range) & 1 == 1) {
        let used = bits.take(16);
        for low in (0..16u8).filter(|low| used >> (15 - low) & 1 == 1) {
            symbols.bytes[symbols.len] = 16 * range + low;
            symbols.len += 1;
        }
    }
    if symbols.len == 0 { Err(Problem::Damaged("it has no symbols")) } else { Ok(symbols) }
}

/// Moves the byte at `position` to the front, sixteen of those before it at once: most positions are too small for a call of
/// `memmove`, and a loop over bytes ends where no processor can foresee it.
#[inline]
fn move_to_front(front: &mut [u8; 256], position: usize) -> u8 {
    let byte = front[position];
    let mut moved = u128::from(byte);
    let (groups, _) = front.as_chunks_mut::<16>();
    for group in &mut groups[..position / 16] {
        let old = u128::from_le_bytes(*group);
        *group = (old << 8 | moved).to_le_bytes();
        moved = old >> 120;
    }
    let group = &mut groups[position / 16];
    let old = u128::from_le_bytes(*group);
    let reached = u128::MAX >> (120 - 8 * (position % 16));
    *group = (old & !reached | (old << 8 | moved) & reached).to_le_bytes();
    byte
}
