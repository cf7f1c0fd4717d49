//! bzip2's checksum: CRC-32 with the polynomial 0x04c11db7, most significant bit first, eight bytes a step.

const POLYNOMIAL: u32 = 0x04c1_1db7;

/// `TABLES[k][b]`: what byte `b` contributes when `k` more bytes follow.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut step = 1;
    while step < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[step - 1][byte];
            tables[step][byte] = before << 8 ^ tables[0][(before >> 24) as usize];
            byte += 1;
        }
        step += 1;
    }
    tables
}

/// Of `bytes`.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let high = crc ^ u32::from_be_bytes([eight[0], eight[1], eight[2], eight[3]]);
        let mut sum = 0;
        for (k, byte) in high.to_be_bytes().into_iter().chain([eight[4], eight[5], eight[6], eight[7]]).enumerate() {
            sum ^= TABLES[7 - k][usize::from(byte)];
        }
        crc = sum;
    }
    for byte in eights.remainder() {
        crc = crc << 8 ^ TABLES[0][(crc >> 24 ^ u32::from(*byte)) as usize];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_has_its_published_check_value() {
        // CRC-32/BZIP2 in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xfc89_1918);
        assert_eq!(crc32(b""), 0);
    }
}
