//! Files of torch.save and files that only look like one.

use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::*;

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden/checkpoints", name].iter().collect()
}

/// The pickle of a file of torch.save.
fn pickle_of(name: &str) -> Vec<u8> {
    let archive = Archive::open(&golden(name)).unwrap();
    let entry = archive.names().find(|name| name.ends_with("/data.pkl")).unwrap().to_owned();
    archive.read(&entry).unwrap()
}

fn state_dict(path: &Path) -> Result<StateDict> {
    Checkpoint::open(path)?.state_dict()
}

/// A small deterministic source of positions.
fn numbers(mut state: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    })
}

#[test]
fn both_formats_of_torch_save_hold_the_same_tensors() {
    let (zip, legacy) = (state_dict(&golden("zip.bin")).unwrap(), state_dict(&golden("legacy.bin")).unwrap());
    assert_eq!((zip.len(), &zip), (48, &legacy));
    let tensor = |name: &str| &zip.iter().find(|(found, _)| found == name).unwrap().1;
    // It was saved as a transposed view behind an offset.
    assert_eq!(tensor("bert.pooler.dense.weight").stride(), [1, 16]);
    let (decoder, table) = ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight");
    assert_eq!(tensor(decoder).data_ptr(), tensor(table).data_ptr(), "tied tensors share memory");
}

#[test]
fn what_lies_beside_the_weights_is_named_and_left() {
    let checkpoint = Checkpoint::open(&golden("ckpt_7.pt")).unwrap();
    assert_eq!(checkpoint.other_keys(), ["optimizer", "epoch", "files", "grad_scaler", "data_loader"]);
    let state = checkpoint.state_dict().unwrap();
    assert_eq!(state.len(), 46);
    assert!(state.iter().all(|(name, tensor)| name.starts_with("module.") && tensor.kind() == Kind::Float));
    assert!(Checkpoint::open(&golden("zip.bin")).unwrap().other_keys().is_empty());
}

#[test]
fn a_pickle_with_code_is_refused_by_name_and_never_run() {
    let error = Checkpoint::open(&golden("code.bin")).unwrap_err().to_string();
    assert!(error.contains("code.bin: expected weights only, found posix.system, code or an object"), "{error}");
    assert!(!Path::new("CODE-WAS-RUN").exists());
    for (module, name) in [("os", "system"), ("builtins", "eval"), ("torch.hub", "load"), ("torch", "load")] {
        let old = pickle::parse(format!("c{module}\n{name}\n.").as_bytes()).unwrap_err();
        assert!(old.contains(&format!("found {module}.{name}, code")), "{old}");
        // Protocol 4 takes the names from the stack.
        let short = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
        let new = pickle::parse(&[short(module), short(name), b"\x93.".to_vec()].concat()).unwrap_err();
        assert!(new.contains(&format!("found {module}.{name}, code")), "{new}");
    }
}

#[test]
fn what_we_write_comes_back_and_equal_weights_give_equal_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pytorch_model.bin");
    let state = state_dict(&golden("zip.bin")).unwrap();
    let contiguous: StateDict = state.iter().map(|(name, tensor)| (name.clone(), tensor.contiguous())).collect();
    write_items(&path, &Item::Tensors(&contiguous)).unwrap();
    assert_eq!(state_dict(&path).unwrap(), state);
    let first = std::fs::read(&path).unwrap();
    write_items(&path, &Item::Tensors(&contiguous)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    let storages = Archive::open(&path).unwrap().names().filter(|name| name.contains("/data/")).count();
    assert_eq!(storages, 46, "tied tensors are written once");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let wrapped =
        Item::Dict(vec![("epoch", Item::Int(-3)), ("model", Item::Tensors(&contiguous)), ("other", Item::None)]);
    write_items(&path, &wrapped).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(
        (checkpoint.state_dict().unwrap(), checkpoint.other_keys()),
        (state, vec!["epoch".into(), "other".into()])
    );
    let bools = [("mask".to_owned(), Tensor::zeros([2], (Kind::Bool, Device::Cpu)))];
    let error = write_items(&path, &Item::Tensors(&bools)).unwrap_err().to_string();
    assert!(error.ends_with("tensor mask: expected f32, f16, bf16 or i64, found Bool"), "{error}");
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["zip.bin", "legacy.bin"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        let path = directory.path().join(name);
        for len in (0..bytes.len()).filter(|len| *len < 300 || bytes.len() - len < 300 || len % 97 == 0) {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let error = state_dict(&path).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains('\n'), "{len}: {error}");
        }
    }
}

#[test]
fn a_flipped_bit_of_an_archive_is_an_error_or_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.bin");
    let bytes = std::fs::read(golden("zip.bin")).unwrap();
    let expected = state_dict(&golden("zip.bin")).unwrap();
    let mut refused = 0;
    for number in numbers(1).take(1500) {
        let mut flipped = bytes.clone();
        let bit = number as usize % (bytes.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &flipped).unwrap();
        match state_dict(&path) {
            // Padding, times and the like are under no checksum and mean nothing.
            Ok(found) => assert_eq!(found, expected, "bit {bit}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 900, "{refused}");
}

/// Loads every tensor of a pickle of zip.bin that may have been forged, from the storages of zip.bin.
fn load_forged(bytes: &[u8]) -> usize {
    let Ok((pickle, _)) = pickle::parse(bytes) else { return 0 };
    let path = golden("zip.bin");
    let storages = Storages::Zip(Archive::open(&path).unwrap(), "zip/data/".to_owned());
    let checkpoint = Checkpoint { path, pickle, storages, loaded: RefCell::default() };
    let state = checkpoint.state_dict().unwrap_or_default();
    for (_, tensor) in &state {
        // Reads every element: a view that left its storage would be seen by the allocator, or by the system.
        let _ = tensor.to_kind(Kind::Float).sum(Kind::Float).double_value(&[]);
    }
    state.len()
}

#[test]
fn forged_pickles_neither_panic_nor_leave_their_storages() {
    let bytes = pickle_of("zip.bin");
    assert_eq!(load_forged(&bytes), 48);
    let mut numbers = numbers(2);
    let mut next = |below: usize| numbers.next().unwrap() as usize % below;
    for _ in 0..4000 {
        let mut forged = bytes.clone();
        for _ in 0..=next(4) {
            let at = next(forged.len());
            forged[at] = if next(2) == 0 { next(256) as u8 } else { forged[at] ^ (1 << next(8)) };
        }
        load_forged(&forged);
    }
    for len in 0..bytes.len() {
        assert!(pickle::parse(&bytes[..len]).is_err(), "cut at {len}");
    }
    // Any bytes at all, mostly opcodes that are known.
    let known = b"()]}tlde.NKMJGXcRbQaseuqrhj012\x80\x81\x85\x86\x87\x88\x8a\x8c\x93\x94\x95";
    for _ in 0..20_000 {
        let noise: Vec<u8> =
            (0..next(60)).map(|_| if next(8) == 0 { next(256) as u8 } else { known[next(known.len())] }).collect();
        let _ = pickle::parse(&noise);
    }
}

#[test]
fn many_views_of_one_storage_in_half_precision_lie_in_memory_once() {
    use crate::interop::source::Source;
    // A thousand weights that all are the same megabyte of f16: two gigabytes, if each became f32 on its own.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pytorch_model.bin");
    let shared = Tensor::ones([1 << 19], (Kind::Half, Device::Cpu));
    let tensors: Vec<_> = (0..1000).map(|number| (format!("x{number}"), shared.shallow_clone())).collect();
    write_items(&path, &Item::Tensors(&tensors)).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 2 << 20);
    let source = Source::read_file(&path).unwrap();
    let places: HashSet<_> = source.weights.values().map(|weight| weight.tensor.data_ptr()).collect();
    assert_eq!((source.weights.len(), places.len()), (1000, 1));
    assert!(source.weights.values().all(|weight| weight.tensor.kind() == Kind::Float));
}

#[test]
fn nesting_and_copies_cannot_exhaust_memory_or_stack() {
    // A million lists in each other, and a tuple that holds itself twice, 30 times over.
    let deep = [vec![b']'; 1_000_000], vec![b'a'; 999_999], vec![b'.']].concat();
    drop(pickle::parse(&deep).unwrap());
    let doubled = [&b")"[..], &b"2\x86".repeat(30), b"."].concat();
    drop(pickle::parse(&doubled).unwrap());
    // A list of pairs that is copied into ever new dicts.
    let copy = b"ccollections\nOrderedDict\nh\0\x85R0".repeat(1000);
    let error =
        pickle::parse(&[&b"]q\0("[..], &b"K\x01K\x02\x86".repeat(1000), b"e0", &copy, b"N."].concat()).unwrap_err();
    assert_eq!(error, "it grows beyond its size");
    let memo = pickle::parse(b"Nr\xff\xff\xff\x7f.").unwrap_err();
    assert_eq!(memo, "memo 2147483647 is out of range");
}

fn view(num_elements: u64, offset: u64, size: &[u64], stride: &[u64]) -> TensorView {
    let storage = Storage { key: 0, kind: globals::StorageType(Kind::Float), num_elements };
    TensorView { storage, offset, size: size.to_vec(), stride: stride.to_vec() }
}

#[test]
fn views_are_checked_against_their_storage_without_overflow() {
    let last = |view: TensorView| last_element(&view);
    assert_eq!(last(view(12, 2, &[2, 5], &[5, 1])), Some(Some(11)));
    assert_eq!(last(view(12, 3, &[2, 5], &[5, 1])), Some(Some(12)), "the caller compares");
    assert_eq!(last(view(12, 12, &[0, 5], &[5, 1])), Some(None));
    let max = u64::MAX;
    for bad in [
        view(12, 0, &[max, 2], &[1, 1]),
        view(12, 0, &[4, 4], &[1, 1]),
        view(12, 0, &[13], &[0]),
        view(12, 0, &[2, 2], &[1]),
        view(12, max, &[2], &[1]),
        view(12, 0, &[2], &[max]),
        view(12, 0, &[1], &[max]),
        view(12, max, &[0], &[1]),
        view(max, 0, &[2], &[1]),
    ] {
        assert_eq!(last(bad), None);
    }
}

#[test]
fn other_files_are_told_from_those_of_torch_save() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.bin");
    let error_of = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        state_dict(&path).unwrap_err().to_string()
    };
    assert!(error_of(b"\x89HDF\r\n").contains("expected a file of torch.save"));
    assert!(error_of(b"").contains("expected a file of torch.save"));
    assert!(error_of(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").contains("a zip archive without data.pkl"));
    let tensors = [("a".to_owned(), Tensor::from_slice(&[1f32]))];
    write_items(&path, &Item::Dict(vec![("epoch", Item::Int(1))])).unwrap();
    let error = state_dict(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("expected a dict of tensors by name (model.state_dict()), found a dict without any"),
        "{error}"
    );
    write_items(&path, &Item::Tensors(&tensors)).unwrap();
    assert_eq!(state_dict(&path).unwrap(), tensors);
}
