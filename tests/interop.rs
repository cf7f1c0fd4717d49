//! Other programs open our files: arrow2's memory map, pyarrow.
#![allow(unsafe_code, reason = "arrow2 maps files with an unsafe function only")]

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow2::array::{ListArray, PrimitiveArray};
use arrow2::io::ipc::read::read_file_metadata;
use arrow2::mmap::{mmap_dictionaries_unchecked, mmap_unchecked};
use cloze_formats::Dataset;
use cloze_tests::{cloze_prep, prepare_samples, root, succeed};

/// A dataset of every kind and layout.
fn datasets(dir: &Path) -> Vec<PathBuf> {
    prepare_samples(dir);
    let call = |line: &str| {
        let place = |word: &str| {
            let word = word.replace("DIR", &dir.display().to_string());
            word.replace("SAMPLES", &root().join("samples").display().to_string())
        };
        succeed(cloze_prep(), &line.split_whitespace().map(place).collect::<Vec<_>>());
    };
    call("build --corpus DIR/corpus --masking static --num-shards 3 --out DIR/static");
    call("build --corpus DIR/corpus --phase 2 --out DIR/dynamic");
    call("squad --input SAMPLES/squad/dev.json --vocab DIR/vocab.txt --out DIR/squad");
    call("glue --task sst-2 --dir SAMPLES/glue/SST-2 --vocab DIR/vocab.txt --out DIR/glue");
    ["corpus", "static", "dynamic", "squad", "glue/train", "glue/dev"].map(|name| dir.join(name)).to_vec()
}

#[test]
fn arrow2_maps_our_shards_and_reads_the_same_tokens() {
    let dir = tempfile::tempdir().unwrap();
    for dir in datasets(dir.path()) {
        let dataset = Dataset::open(&dir).unwrap();
        let token_column = usize::from(dataset.manifest().kind == cloze_formats::Kind::Corpus);
        let mut row = 0;
        for shard in &dataset.manifest().shards {
            let path = dir.join(&shard.file);
            let metadata = read_file_metadata(&mut BufReader::new(File::open(&path).unwrap())).unwrap();
            let bytes = Arc::new(std::fs::read(&path).unwrap());
            for batch in 0..shard.batches.len() {
                // SAFETY: the file is whole (`Dataset` verified what it read of it) and valid Arrow, as arrow2 demands.
                let chunk = unsafe {
                    let dictionaries = mmap_dictionaries_unchecked(&metadata, Arc::clone(&bytes)).unwrap();
                    mmap_unchecked(&metadata, &dictionaries, Arc::clone(&bytes), batch).unwrap()
                };
                let lists = chunk.arrays()[token_column].as_any().downcast_ref::<ListArray<i32>>().unwrap();
                for list in lists.values_iter() {
                    let ids = list.as_any().downcast_ref::<PrimitiveArray<u16>>().unwrap();
                    let theirs: Vec<u32> = ids.values_iter().map(|&id| id.into()).collect();
                    assert_eq!(theirs, dataset.row(row).unwrap().tokens().to_vec(), "{} row {row}", dir.display());
                    row += 1;
                }
            }
        }
        assert_eq!(row, dataset.len());
    }
}

/// Python with pyarrow, in an environment of its own below target/, made when it is not there.
fn python_with_pyarrow() -> PathBuf {
    let environment = root().join("target/interop-pyarrow");
    let python = environment.join("bin/python");
    let has_pyarrow = || {
        let import = Command::new(&python).args(["-c", "import pyarrow"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if !has_pyarrow() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).status().unwrap();
        assert!(made.success(), "python3 makes a virtual environment");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pyarrow>=17"];
        let installed = Command::new(&python).args(pip).status().unwrap();
        assert!(installed.success() && has_pyarrow(), "pip installs pyarrow");
    }
    python
}

#[test]
fn pyarrow_maps_our_shards_and_finds_what_the_manifest_says() {
    let dir = tempfile::tempdir().unwrap();
    let python = python_with_pyarrow();
    let script = root().join("tests/interop/check_pyarrow.py");
    for dataset in datasets(dir.path()) {
        let output = Command::new(&python).arg(&script).arg(&dataset).output().unwrap();
        let streams = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned()).concat();
        assert!(output.status.success(), "{}: {streams}", dataset.display());
    }
    // A check that cannot fail proves nothing: a row count that is wrong must be noticed.
    let manifest = dir.path().join("glue/dev/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"rows\": 80", "\"rows\": 81")).unwrap();
    let output = Command::new(&python).arg(&script).arg(dir.path().join("glue/dev")).output().unwrap();
    assert!(!output.status.success(), "a manifest that lies about its rows is noticed");
}
