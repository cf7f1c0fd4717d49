//! One-dimensional arrays of positions as `numpy.save` writes them: LDDL keeps them in a binary column.
//!
//! Source: numpy.lib.format, versions 1.0 to 3.0.

const MAGIC: &[u8] = b"\x93NUMPY";
/// Header and data are aligned to this.
const ALIGNMENT: usize = 64;

/// A version 1.0 file of type `<u2`.
pub(super) fn write(values: &[u16]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<u2', 'fortran_order': False, 'shape': ({},), }}", values.len());
    let before = MAGIC.len() + 4;
    let padding = (ALIGNMENT - (before + header.len() + 1) % ALIGNMENT) % ALIGNMENT;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut blob = [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    blob.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    blob
}

/// The values of a little-endian array of integers, whatever their width.
///
/// # Errors
/// Not such a file, or a value above 65,535; the text says what was expected.
pub(super) fn read(blob: &[u8]) -> Result<Vec<u16>, String> {
    let rest = blob.strip_prefix(MAGIC).ok_or("expected a .npy array of masked_lm_positions, found other bytes")?;
    let length_bytes = if rest.first() == Some(&1) { 2 } else { 4 };
    let header_and_data = || {
        let (length, rest) = rest.get(2..)?.split_at_checked(length_bytes)?;
        let length = length.iter().rev().fold(0usize, |n, &byte| n << 8 | usize::from(byte));
        rest.split_at_checked(length)
    };
    let (header, data) = header_and_data().ok_or("expected a whole .npy array, found a truncated one")?;
    let header = String::from_utf8_lossy(header);
    let width = match header.split("'descr':").nth(1).and_then(|d| d.split('\'').nth(1)) {
        Some("|u1" | "|i1") => 1,
        Some("<u2" | "<i2") => 2,
        Some("<u4" | "<i4") => 4,
        Some("<u8" | "<i8") => 8,
        other => return Err(format!("expected a .npy array of integers ('<u2'), found {}", other.unwrap_or("none"))),
    };
    if !data.len().is_multiple_of(width) {
        return Err(format!("expected a .npy array of {width}-byte integers, found {} bytes", data.len()));
    }
    let value = |bytes: &[u8]| {
        let value = bytes.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
        u16::try_from(value).map_err(|_| format!("expected masked_lm_positions below 65536, found {value}"))
    };
    data.chunks_exact(width).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_aligned_and_read_back() {
        for n in 0..100 {
            let values: Vec<u16> = (0..n).map(|v| v * 7).collect();
            let blob = write(&values);
            assert_eq!((blob.len() - 2 * values.len()) % ALIGNMENT, 0);
            assert_eq!(read(&blob).unwrap(), values);
        }
    }

    #[test]
    fn other_widths_are_read_and_other_bytes_refused() {
        let wide = [&b"\x93NUMPY\x01\x00\x10\x00{'descr': '<i8'}"[..], &5u64.to_le_bytes()].concat();
        assert_eq!(read(&wide).unwrap(), [5]);
        assert!(read(&wide[..wide.len() - 1]).is_err());
        assert!(read(b"\x93NUMPY\x01\x00\xff\xff{}").is_err());
        assert!(read(b"\x93NUMPY").is_err());
        assert!(read(b"").is_err());
    }
}
