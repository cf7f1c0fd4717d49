//! The canonical Huffman codes of a block.

use super::Problem;
use super::bits::Bits;

pub(super) const LONGEST_CODE: u32 = 20;
/// Codes up to this length are decoded with one look.
const FAST_BITS: u32 = 10;

type Result<T> = std::result::Result<T, Problem>;

/// A canonical Huffman code.
#[derive(Clone)]
pub(super) struct Table {
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
    pub(super) fn read(&mut self, bits: &mut Bits<'_>, num_symbols: usize) -> Result<()> {
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
    pub(super) fn decode(&self, bits: &mut Bits<'_>) -> Result<u16> {
        let window = bits.peek(LONGEST_CODE);
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
