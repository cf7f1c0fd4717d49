//! A checkpoint that TensorFlow wrote, and damaged ones.

use std::path::PathBuf;

use super::*;
use crate::interop::safetensors::read_tensors;

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", name].iter().collect()
}

/// A copy of the golden checkpoint that may be changed: its directory and its index.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    for name in ["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"] {
        std::fs::copy(golden("checkpoints").join(name), directory.path().join(name)).unwrap();
    }
    let index = directory.path().join("bert_model.ckpt.index");
    (directory, index)
}

#[test]
fn what_tensorflow_wrote_is_the_golden_model() {
    let (weights, left_out) = read(&golden("checkpoints/bert_model.ckpt.index")).unwrap();
    let (expected, _) = read_tensors(&golden("bert.safetensors")).unwrap();
    assert_eq!(weights.len(), 46);
    for (name, own_name, tensor) in &weights {
        let (_, expected) = expected.iter().find(|(found, _)| *found == format!("weights.{name}")).unwrap();
        assert_eq!(tensor, expected, "{own_name}");
    }
    assert_eq!(left_out.len(), 7);
    assert!(left_out.iter().all(|name| name == "global_step" || name.ends_with("/adam_m")));
}

#[test]
fn the_index_we_write_is_that_of_tensorflow_byte_by_byte() {
    let bytes = std::fs::read(golden("checkpoints/bert_model.ckpt.index")).unwrap();
    let rows = table::rows(&bytes).unwrap();
    assert!(table::table(&rows) == bytes);
    for (name, message) in &rows[1..] {
        assert_eq!(&proto::entry(message).unwrap().encode(), message, "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(rows[0], (Vec::new(), proto::HEADER.to_vec()));
}

#[test]
fn tables_of_many_blocks_come_back() {
    let rows: Vec<table::Row> = (0..20_000u32)
        .map(|number| (format!("bert/layer_{number:06}/kernel").into_bytes(), number.to_le_bytes().repeat(9)))
        .collect();
    let bytes = table::table(&rows);
    assert!(bytes.len() > 3 << 18);
    assert!(table::rows(&bytes).unwrap() == rows);
    assert!(table::rows(&table::table(&[])).unwrap().is_empty());
}

#[test]
fn what_we_write_comes_back_and_equal_weights_give_equal_bytes() {
    let (weights, _) = read(&golden("checkpoints/bert_model.ckpt.index")).unwrap();
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let tensors: Vec<_> = weights.iter().map(|(name, _, tensor)| (name.clone(), tensor.shallow_clone())).collect();
    let written = directories.each_ref().map(|directory| {
        write(directory.path(), &tensors).unwrap();
        let index = directory.path().join("bert_model.ckpt.index");
        let (again, left_out) = read(&index).unwrap();
        assert!(again == weights && left_out.is_empty());
        [index, directory.path().join("bert_model.ckpt.data-00000-of-00001")].map(|path| std::fs::read(path).unwrap())
    });
    assert!(written[0] == written[1]);
    assert_eq!(std::fs::read_dir(directories[0].path()).unwrap().count(), 2);
}

#[test]
fn tensors_that_share_bytes_are_refused_before_any_is_read() {
    // A thousand names for the same four kilobytes, each of which alone is sound.
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("bert_model.ckpt.index");
    let data = vec![7u8; 4096];
    std::fs::write(directory.path().join("bert_model.ckpt.data-00000-of-00001"), &data).unwrap();
    let crc32c = table::masked(cloze_formats::checksum::Crc32c::of(&data));
    let entry = proto::Entry { dtype: proto::FLOAT, shape: vec![1024], len: 4096, crc32c, ..Default::default() };
    let forge = |num_names: usize| {
        let names = (0..num_names).map(|number| (format!("bert/{number:04}").into_bytes(), entry.encode()));
        let rows: Vec<_> = std::iter::once((Vec::new(), proto::HEADER.to_vec())).chain(names).collect();
        std::fs::write(&index, table::table(&rows)).unwrap();
        read(&index)
    };
    assert_eq!(forge(1).unwrap().0.len(), 1);
    let error = forge(1000).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "data-00000-of-00001: expected 4096000 bytes, the tensors of its index, found 4096; copy it again"
        ),
        "{error}"
    );
}

#[test]
fn a_flipped_bit_or_a_cut_is_an_error() {
    let (directory, index) = copy();
    let data = directory.path().join("bert_model.ckpt.data-00000-of-00001");
    let mut read_despite = 0;
    for (path, step) in [(&index, 1), (&data, 211)] {
        let bytes = std::fs::read(path).unwrap();
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(path, &damaged).unwrap();
            // The filler of the footer and the data of moments, which are left out, mean nothing here.
            read_despite += usize::from(read(&index).is_ok());
            std::fs::write(path, &bytes[..at]).unwrap();
            let error = read(&index).unwrap_err().to_string();
            assert!(error.contains("bert_model.ckpt") && !error.contains('\n'), "{error}");
        }
        std::fs::write(path, &bytes).unwrap();
    }
    assert!(read_despite < 60, "{read_despite}");
    std::fs::remove_file(&data).unwrap();
    let error = read(&index).unwrap_err().to_string();
    assert!(error.contains("data-00000-of-00001: No such file"), "{error}");
}

#[test]
fn forged_blocks_neither_panic_nor_grow() {
    use super::table::{masked, rows};
    use cloze_formats::checksum::Crc32c;
    // A table of one block, which is its own index, with a right checksum over whatever is in it.
    let table = |block: &[u8]| {
        let mut bytes = [block, &[0]].concat();
        bytes.extend(masked(Crc32c::of(&bytes)).to_le_bytes());
        let mut footer = vec![0, 0, 0, block.len() as u8 & 0x7F];
        footer.resize(40, 0);
        bytes.extend(footer);
        bytes.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
        bytes
    };
    let mut state = 7u64;
    for _ in 0..20_000 {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let len = next() as usize % 40;
        let block: Vec<u8> = (0..len).map(|_| if next() < 128 { next() % 4 } else { next() }).collect();
        let _ = rows(&table(&block));
    }
    assert!(rows(&[]).is_err());
}
