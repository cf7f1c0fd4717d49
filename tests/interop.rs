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

/// Python with pyarrow and the readers of other tools, in an environment of its own below target/, made when it is not
/// there: 420 MB, most of it what `datasets` wants.
fn python() -> PathBuf {
    // Tests may run at once, in one process or several; the second one waits here for the first.
    let lock = File::create(root().join("target/interop-python.lock")).unwrap();
    lock.lock().unwrap();
    let environment = root().join("target/interop-python");
    let python = environment.join("bin/python");
    let is_complete = || {
        let import = Command::new(&python).args(["-c", "import pyarrow, h5py, tfrecord, datasets"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if !is_complete() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).status().unwrap();
        assert!(made.success(), "python3 makes a virtual environment");
        let packages = ["pyarrow>=17", "h5py>=3", "tfrecord>=1.14", "datasets>=3"];
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        assert!(pip.status().unwrap().success() && is_complete(), "pip installs {packages:?}");
    }
    python
}

#[test]
fn pyarrow_maps_our_shards_and_finds_what_the_manifest_says() {
    let dir = tempfile::tempdir().unwrap();
    let python = python();
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

/// (dataset, format, export) of every kind and format that go together, made in `dir`.
fn exports(dir: &Path) -> Vec<[String; 3]> {
    let mut exports = Vec::new();
    for dataset in datasets(dir) {
        let kind = Dataset::open(&dataset).unwrap().manifest().kind;
        for format in ["nvidia-hdf5", "lddl-parquet", "tfrecord", "parquet", "arrow-stream"] {
            let columns = matches!(format, "parquet" | "arrow-stream");
            if !columns && kind != cloze_formats::Kind::Pretrain {
                continue;
            }
            let out = dir.join("exports").join(exports.len().to_string());
            let export = [dataset.display().to_string(), format.to_owned(), out.display().to_string()];
            succeed(cloze_prep(), &["export", &export[0], "--format", format, "--out", &export[2]]);
            exports.push(export);
        }
    }
    let bins = ["--bin-size", "64", "--num-files", "5"];
    let binned = [dir.join("static"), "lddl-parquet".into(), dir.join("exports/binned")];
    let binned = binned.map(|word| word.display().to_string());
    let words = ["export", &binned[0], "--format", &binned[1], "--out", &binned[2]];
    succeed(cloze_prep(), &[&words[..], &bins[..]].concat());
    exports.push(binned);
    exports
}

#[test]
fn other_tools_read_what_we_export_and_we_read_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let script = root().join("tests/interop/check_exchange.py");
    let exports = exports(dir.path());
    let check = |arguments: &[String]| Command::new(python()).arg(&script).args(arguments).output().unwrap();
    let output = check(&exports.concat());
    let streams = [&output.stdout, &output.stderr].map(|s| String::from_utf8_lossy(s).into_owned()).concat();
    assert!(output.status.success(), "{streams}");
    // A check that cannot fail proves nothing: the rows of another dataset must be noticed.
    let other = [exports[0][0].replace("corpus", "glue/dev"), exports[0][1].clone(), exports[0][2].clone()];
    assert!(!check(&other).status.success(), "the rows of another dataset are noticed");
    for [dataset, format, export] in exports {
        let (vocabulary, back) = (format!("{dataset}/vocab.txt"), format!("{export}-back"));
        let words = ["import", "--format", &format, "--input", &export, "--vocab", &vocabulary, "--out", &back];
        succeed(cloze_prep(), &words);
        succeed(cloze_prep(), &["verify", &back]);
        let rows = |path: &str| Dataset::open(path).unwrap().len();
        assert_eq!(rows(&back), rows(&dataset), "{format} of {dataset}");
    }
}
