//! Every compression reads the same, and damage is named.

use std::io::Write;

use super::*;

const TEXT: &str = "The quick brown fox jumps over the lazy dog.\n";

fn text() -> Vec<u8> {
    TEXT.repeat(20_000).into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

type Encoder = fn(&[u8]) -> Vec<u8>;
const ENCODERS: [(&str, Encoder); 4] = [("gzip", gzip), ("zstd", zstd), ("bzip2", bzip2), ("xz", xz)];

fn read(bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let mut stream = open(&path).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    loop {
        let block = stream.fill().map_err(|e| e.to_string())?;
        if block.is_empty() {
            assert_eq!(stream.bytes_read().load(Ordering::Relaxed), bytes.len() as u64);
            return Ok(out);
        }
        out.extend_from_slice(block);
        let used = block.len();
        stream.consume(used);
    }
}

#[test]
fn plain_and_empty_files_pass_through() {
    assert_eq!(read(&text()).unwrap(), text());
    assert_eq!(read(b"").unwrap(), b"");
    assert_eq!(read(b"BZh9 is how bzip2 begins").unwrap(), b"BZh9 is how bzip2 begins");
}

#[test]
fn all_members_of_a_compressed_file_are_read() {
    for (name, encode) in ENCODERS {
        let twice = [encode(&text()), encode(b"end")].concat();
        assert_eq!(read(&twice).unwrap(), [&text()[..], b"end"].concat(), "{name}");
        assert_eq!(read(&encode(b"")).unwrap(), b"", "{name}, empty");
    }
}

#[test]
fn a_stream_cut_short_is_named_as_such() {
    for (name, encode) in ENCODERS {
        let whole = encode(&text());
        for keep in [whole.len() / 2, whole.len() - 1] {
            let message = read(&whole[..keep]).unwrap_err();
            let expected = format!(
                "/file: {name} data ends early, after {keep} bytes: the file was cut short; restore the file or download it again"
            );
            assert!(message.ends_with(&expected), "{name} {keep}: {message}");
        }
    }
}

#[test]
fn a_flipped_byte_is_named_as_damage() {
    for (name, encode) in ENCODERS {
        let mut bytes = encode(&text());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        // zstd without a content checksum may decode to other bytes; its structure errors are what is caught.
        match read(&bytes) {
            Err(message) => assert!(message.contains("restore the file or download it again"), "{name}: {message}"),
            Ok(_) => assert_eq!(name, "zstd"),
        }
    }
}

#[test]
fn dropping_a_reader_early_ends_its_thread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.gz");
    std::fs::write(&path, gzip(&TEXT.repeat(200_000).into_bytes())).unwrap();
    let mut stream = open(&path).unwrap();
    assert!(!stream.fill().unwrap().is_empty());
    drop(stream);
}

#[test]
fn a_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open(dir.path()).err().unwrap().to_string().ends_with("expected a file, found a folder"));
}

#[test]
fn what_follows_compressed_data_is_named_with_its_place() {
    for (name, encode) in [("gzip", gzip as Encoder), ("bzip2", bzip2)] {
        let whole = encode(&text());
        let at = whole.len();
        let message = read(&[&whole[..], b"surplus"].concat()).unwrap_err();
        let expected = format!(
            "/file: {name} data ends at byte {at}, but something that is not {name} follows; cut it off with `head -c {at}`, or restore the file"
        );
        assert!(message.ends_with(&expected), "{message}");
    }
    // Tapes and some downloads are padded with zeros.
    assert_eq!(read(&[gzip(b"text"), vec![0; 700_000]].concat()).unwrap(), b"text");
}

#[test]
fn an_xz_file_that_needs_too_much_memory_is_refused() {
    let mut options = lzma_rust2::XzOptions::with_preset(0);
    options.lzma_options.dict_size = 400 << 20;
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(b"text").unwrap();
    let message = read(&encoder.finish().unwrap()).unwrap_err();
    assert!(message.ends_with("xz data needs more than 256 MiB to decode; compress it anew"), "{message}");
}
