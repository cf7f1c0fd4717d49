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
fn names_of_fine_tuned_models_are_known() {
    let named = [
        ("output_weights", "classifier.weight"),
        ("cls/squad/output_bias", "qa_outputs.bias"),
        ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight"),
        ("bert/encoder/layer_11/output/LayerNorm/gamma", "bert.encoder.layer.11.output.LayerNorm.weight"),
        ("bert/embeddings/token_type_embeddings", "bert.embeddings.token_type_embeddings.weight"),
    ];
    for (tensorflow, torch) in named {
        assert_eq!(torch_name(tensorflow), torch);
    }
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
