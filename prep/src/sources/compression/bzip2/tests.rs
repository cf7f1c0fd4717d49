//! Decoded bytes against the `bzip2` crate, and what damage leads to.

use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;

/// Something like text: words in an order without end.
fn prose(num_bytes: usize) -> Vec<u8> {
    let words = ["whale ", "the ", "of ", "harbour\n", "aaaaaaa", "and ", "Þorskur ", "ship. "];
    let (mut state, mut text) = (7u64, Vec::new());
    while text.len() < num_bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(words[(state >> 40) as usize % words.len()].as_bytes());
    }
    text
}

fn noise(num_bytes: usize) -> Vec<u8> {
    let mut state = 9u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(num_bytes).collect()
}

fn encode(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn counted(bytes: &[u8]) -> Counted<impl BufRead + Send + 'static> {
    // Small buffers, so that marks lie across their borders.
    let inner = BufReader::with_capacity(1_000, io::Cursor::new(bytes.to_vec()));
    Counted { inner, bytes: Arc::new(AtomicU64::new(0)) }
}

fn decode(bytes: &[u8], num_threads: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut decoder = Decoder::spawn(counted(bytes), num_threads).unwrap();
    decoder.read_to_end(&mut out).map(|_| out).map_err(|e| e.to_string())
}

#[test]
fn blocks_of_every_kind_and_any_number_of_streams_are_decoded() {
    let runs: Vec<u8> = (0..2_000u32).flat_map(|n| vec![(n % 7) as u8; (n * n % 600) as usize]).collect();
    let texts =
        [prose(450_000), noise(250_000), runs, vec![0; 3_000_000], b"a".to_vec(), Vec::new(), b"aaaaa".to_vec()];
    let mut streams = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        for level in [1, 9] {
            let encoded = encode(text, level);
            assert_eq!(decode(&encoded, 1 + i % 3).as_ref(), Ok(text), "text {i} at level {level}");
            streams.extend(encoded);
        }
    }
    let all = texts.iter().flat_map(|text| [&text[..], &text[..]].concat()).collect::<Vec<_>>();
    assert!(decode(&streams, 1).unwrap() == all && decode(&streams, 4).unwrap() == all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_come_back(bytes in prop::collection::vec(prop_oneof![Just(b'a'), Just(0u8), any::<u8>()], 0..3_000), repeat in 1usize..80) {
        let text = bytes.repeat(repeat);
        prop_assert_eq!(decode(&encode(&text, 1), 2).unwrap(), text);
    }

    /// A flipped bit never gives other bytes. Where it changes nothing (the code of a byte that does not occur), it may go
    /// unnoticed; so it may in the level, which says how much memory a decoder needs, and in the last byte, where padding may be.
    #[test]
    fn no_flipped_bit_gives_other_bytes(bit in 32usize..100_000) {
        let text = prose(250_000);
        let mut bytes = encode(&text, 1);
        let at = bit % (8 * bytes.len() - 8 - 32) + 32;
        bytes[at / 8] ^= 1 << (at % 8);
        prop_assert!(decode(&bytes, 2).map_or(true, |found| found == text), "bit {} of byte {}", at % 8, at / 8);
    }

    #[test]
    fn any_cut_is_found(at in 14usize..100_000) {
        let bytes = encode(&prose(250_000), 1);
        let message = decode(&bytes[..14 + at % (bytes.len() - 14)], 2).unwrap_err();
        prop_assert_eq!(message, "unexpected end of file");
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let one = encode(&prose(250_000), 1);
    let starts: Vec<Segment> = Segments::new(counted(&one)).map(Result::unwrap).collect();
    let second = starts[1].byte_of(starts[1].first);
    let flip = |at: usize| {
        let mut bytes = one.clone();
        bytes[at] ^= 0x10;
        decode(&bytes, 2).unwrap_err()
    };
    assert!(flip(second as usize + 3_000).starts_with(&format!("the block at byte {second}: ")));
    assert_eq!(flip(second as usize + 2), format!("neither a block nor the stream's end begins at byte {second}"));
    let followed = [&one[..], b"something else"].concat();
    assert_eq!(decode(&followed, 2).unwrap_err(), format!("something else follows at byte {}", one.len()));
}

/// 46 MB of one byte are a block of a few dozen bytes: decoded, one for each thread would take all memory.
#[test]
fn blocks_of_runs_are_decoded_when_they_are_due_and_not_before() {
    let text = [prose(100_000), vec![b'x'; 100_000_000], prose(100_000)].concat();
    let encoded = encode(&text, 9);
    assert!(decode(&encoded, 8).unwrap() == text);
    let starts: Vec<Segment> = Segments::new(counted(&encoded)).map(Result::unwrap).collect();
    let sizes = starts.iter().filter(|segment| !segment.ends_stream()).map(|segment| {
        let decode = |most| BlockDecoder::default().decode(&segment.bytes, segment.first, segment.end, most);
        let whole = decode(usize::MAX).map(|block| block.bytes.len()).unwrap();
        let waits = decode(MAX_WAITING_BYTES).map(|block| block.bytes.len());
        assert_eq!(waits, if whole > MAX_WAITING_BYTES { Err(Problem::Large) } else { Ok(whole) });
        whole
    });
    let sizes: Vec<usize> = sizes.collect();
    assert!(sizes.iter().filter(|&&size| size > 40_000_000).count() >= 1, "{sizes:?}");
    // Their damage is found as that of others is.
    let large = sizes.iter().position(|&size| size > 40_000_000).unwrap();
    let start = starts[large].byte_of(starts[large].first);
    let mut damaged = encoded.clone();
    damaged[start as usize + 8] ^= 1;
    assert_eq!(decode(&damaged, 2).unwrap_err(), format!("the block at byte {start}: its checksum differs"));
}

/// Compressed data may contain a mark by chance; here one is pretended.
#[test]
fn a_block_that_a_false_mark_cuts_in_two_is_put_together() {
    let text = prose(250_000);
    let encoded = encode(&text, 1);
    let segments: Vec<Segment> = Segments::new(counted(&encoded)).map(Result::unwrap).collect();
    for cut in [100, 5_001, 20_001] {
        let (sender, tickets) = sync_channel(100);
        for segment in &segments {
            let mut pieces = vec![segment.clone()];
            if !segment.ends_stream() {
                let (mut head, mut tail) = (segment.clone(), segment.clone());
                (head.end, head.at_end) = (segment.first + cut, false);
                head.bytes.truncate(head.end.div_ceil(8));
                tail.offset += (head.end / 8) as u64;
                tail.bytes.drain(..head.end / 8);
                (tail.first, tail.end) = (head.end % 8, segment.end - 8 * (head.end / 8));
                pieces = vec![head, tail];
            }
            for piece in pieces {
                let (result, decoded) = sync_channel(1);
                let ends = piece.ends_stream();
                let decoded_piece = BlockDecoder::default().decode(&piece.bytes, piece.first, piece.end, usize::MAX);
                result.send(decoded_piece).unwrap();
                sender.send(Ticket::Segment(Arc::new(piece), (!ends).then_some(decoded))).unwrap();
            }
        }
        drop(sender);
        let mut decoder = Decoder { tickets, ..Decoder::spawn(counted(&encoded), 1).unwrap() };
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).unwrap();
        assert!(out == text, "cut at {cut}");
    }
}
