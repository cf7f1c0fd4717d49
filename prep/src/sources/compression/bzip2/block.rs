//! One block of bzip2: Huffman codes, move-to-front, Burrows-Wheeler transform, run lengths.
//!
//! Source of the format: the files that bzip2 1.0.8 writes, and "bzip2: Format Specification" (J. Tsai, 2016).

use super::bits::Bits;
use super::crc::crc32;

/// What a block begins with.
pub(super) const BLOCK_MAGIC: u64 = 0x3141_5926_5359;
/// What a stream ends with.
pub(super) const END_MAGIC: u64 = 0x1772_4538_5090;
/// Bytes before the last run-length decoding.
const MAX_BYTES: usize = 900_000;
/// Symbols after which the Huffman table may change.
const SYMBOLS_PER_SELECTOR: usize = 50;
const LONGEST_CODE: u32 = 20;
/// Codes up to this length are decoded with one look.
const FAST_BITS: u32 = 10;

/// Why a block could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It goes on where the bits end.
    Short,
    /// It contradicts itself; in which way.
    Damaged(&'static str),
}

type Result<T> = std::result::Result<T, Problem>;

/// Decodes blocks; keeps its buffers for the next one.
#[derive(Default)]
pub(super) struct BlockDecoder {
    /// The last column of the sorted matrix.
    last: Vec<u8>,
    /// For each row the row of the next character (upper 24 bits) and its own first character.
    rows: Vec<u32>,
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
    /// Decodes the block that begins, with its magic, at bit `start` of `bytes`; bits from `end` on are not there.
    pub(super) fn decode(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<Block> {
        let mut bits = Bits::new(bytes, start, end);
        let decoded = self.decode_bits(&mut bits);
        // What was made of bits that are not there means nothing, be it an error or not.
        if bits.overrun() { Err(Problem::Short) } else { decoded }
    }

    fn decode_bits(&mut self, bits: &mut Bits<'_>) -> Result<Block> {
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
        let bytes = self.walk(origin);
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
            let position = (!bits.peek()).leading_zeros() as usize;
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

    /// Follows the rows from `origin`, undoing the run lengths of the very first step: four equal bytes are followed by
    /// the number of further ones.
    fn walk(&self, origin: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.rows.len() + self.rows.len() / 16);
        let rows = self.rows.as_slice();
        let (mut row, mut previous, mut equal) = (origin, 0u8, 0u32);
        for _ in 0..rows.len() {
            let link = rows[row];
            let byte = link as u8;
            row = (link >> 8) as usize;
            if equal == 4 {
                out.resize(out.len() + usize::from(byte), previous);
                equal = 0;
                continue;
            }
            equal = if byte == previous { equal + 1 } else { 1 };
            previous = byte;
            out.push(byte);
        }
        out
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

#[inline]
fn move_to_front(front: &mut [u8; 256], position: usize) -> u8 {
    let byte = front[position];
    if position < 16 {
        // Shorter than a call of `memmove`.
        for i in (1..=position).rev() {
            front[i] = front[i - 1];
        }
    } else {
        front.copy_within(0..position, 1);
    }
    front[0] = byte;
    byte
}

/// A canonical Huffman code.
#[derive(Clone)]
struct Table {
    /// By the next [`FAST_BITS`] bits: symbol and code length, or 0 for longer codes.
    fast: Vec<u16>,
    /// By code length: one more than the last code; smaller ones have this length, if no shorter one.
    limits: [u32; LONGEST_CODE as usize + 1],
    /// By code length: what leads from a code to its place in `symbols`.
    offsets: [i32; LONGEST_CODE as usize + 1],
    /// By code length, then by value.
    symbols: Vec<u16>,
}

impl Default for Table {
    fn default() -> Self {
        let (limits, offsets) = ([0; LONGEST_CODE as usize + 1], [0; LONGEST_CODE as usize + 1]);
        Self { fast: vec![0; 1 << FAST_BITS], limits, offsets, symbols: Vec::new() }
    }
}

impl Table {
    /// Reads the code lengths of `num_symbols` symbols.
    fn read(&mut self, bits: &mut Bits<'_>, num_symbols: usize) -> Result<()> {
        let mut lengths = [0u8; 258];
        let mut length = bits.take(5) as u32;
        for symbol_length in &mut lengths[..num_symbols] {
            while bits.take(1) == 1 {
                length = if bits.take(1) == 0 { length + 1 } else { length.wrapping_sub(1) };
                if !(1..=LONGEST_CODE).contains(&length) {
                    return Err(Problem::Damaged("a Huffman code has an impossible length"));
                }
            }
            *symbol_length = length as u8;
        }
        if !(1..=LONGEST_CODE).contains(&length) {
            return Err(Problem::Damaged("a Huffman code has an impossible length"));
        }
        self.assign(&lengths[..num_symbols])
    }

    fn assign(&mut self, lengths: &[u8]) -> Result<()> {
        self.fast.fill(0);
        self.symbols.clear();
        let mut code = 0u32;
        for length in 1..=LONGEST_CODE {
            self.offsets[length as usize] = self.symbols.len() as i32 - code as i32;
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| u32::from(**l) == length) {
                if code >> length != 0 {
                    return Err(Problem::Damaged("it has more Huffman codes than there can be"));
                }
                if length <= FAST_BITS {
                    let first = (code << (FAST_BITS - length)) as usize;
                    let entry = (symbol as u16) << 4 | length as u16;
                    self.fast[first..first + (1 << (FAST_BITS - length))].fill(entry);
                }
                self.symbols.push(symbol as u16);
                code += 1;
            }
            self.limits[length as usize] = code;
            code <<= 1;
        }
        Ok(())
    }

    #[inline]
    fn decode(&self, bits: &mut Bits<'_>) -> Result<u16> {
        let window = bits.peek();
        let entry = self.fast[(window >> (64 - FAST_BITS)) as usize];
        if entry != 0 {
            bits.skip(u32::from(entry & 15));
            return Ok(entry >> 4);
        }
        self.decode_long(bits, window)
    }

    #[cold]
    fn decode_long(&self, bits: &mut Bits<'_>, window: u64) -> Result<u16> {
        for length in FAST_BITS + 1..=LONGEST_CODE {
            let code = (window >> (64 - length)) as u32;
            if code < self.limits[length as usize] {
                bits.skip(length);
                let place = code as i32 + self.offsets[length as usize];
                return self.symbols.get(place as usize).copied().ok_or(Problem::Damaged("a code has no symbol"));
            }
        }
        Err(Problem::Damaged("a code has no symbol"))
    }
}
