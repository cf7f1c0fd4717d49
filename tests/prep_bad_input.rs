//! Bad input to `cloze-prep`: one clear line, exit code 2, nothing half-published.

use std::fs;
use std::path::Path;

use cloze_tests::{cloze_prep, prepare_samples, refuse, sample, succeed};

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    /// A folder with a vocabulary and a corpus.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare_samples(dir.path());
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn refuses(&self, line: &str, expected: &[&str]) {
        let words: Vec<String> =
            line.split_whitespace().map(|w| w.replace("DIR", &self.path().display().to_string())).collect();
        let message = refuse(cloze_prep(), &words);
        for part in expected {
            let part = part.replace("DIR", &self.path().display().to_string());
            assert!(message.contains(&part), "{line}: expected {part:?} in {message:?}");
        }
        assert!(!self.path().join("out/manifest.json").exists(), "{line}: nothing is published");
    }
}

#[test]
fn text_that_cannot_be_read() {
    let scene = Scene::new();
    scene.refuses("tokenize --text DIR/none.txt --vocab DIR/vocab.txt --out DIR/out", &["DIR/none.txt"]);
    scene.file("latin1.txt", b"caf\xe9 au lait\n");
    scene.refuses("tokenize --text DIR/latin1.txt --vocab DIR/vocab.txt --out DIR/out", &["DIR/latin1.txt", "UTF-8"]);
    scene.file("empty.txt", "");
    scene.refuses("tokenize --text DIR/empty.txt --vocab DIR/vocab.txt --out DIR/out", &["found none"]);
    scene.refuses("tokenize --text DIR/*.nothing --vocab DIR/vocab.txt --out DIR/out", &["DIR/*.nothing"]);
}

#[test]
fn a_truncated_bz2_dump() {
    let scene = Scene::new();
    let script = "import bz2, sys; sys.stdout.buffer.write(bz2.compress(open(sys.argv[1], 'rb').read()))";
    let output =
        std::process::Command::new("python3").args(["-c", script]).arg(sample("wiki/miniwiki.xml")).output().unwrap();
    assert!(output.status.success());
    scene.file("whole.xml.bz2", &output.stdout);
    let words = ["tokenize", "--wikipedia", "DIR/whole.xml.bz2", "--vocab", "DIR/vocab.txt", "--out", "DIR/whole"];
    let words = words.map(|w| w.replace("DIR", &scene.path().display().to_string()));
    succeed(cloze_prep(), &words);
    scene.file("cut.xml.bz2", &output.stdout[..output.stdout.len() / 2]);
    scene.refuses("tokenize --wikipedia DIR/cut.xml.bz2 --vocab DIR/vocab.txt --out DIR/out", &["DIR/cut.xml.bz2"]);
    // Mended, the same command needs no cleaning up.
    scene.file("cut.xml.bz2", &output.stdout);
    let words = words.map(|w| w.replace("whole.xml.bz2", "cut.xml.bz2").replace("/whole", "/out"));
    succeed(cloze_prep(), &words);
}

#[test]
fn a_vocabulary_without_mask() {
    let scene = Scene::new();
    scene.file("v.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n");
    let wiki = sample("wiki/miniwiki.xml").display().to_string();
    scene.refuses(
        &format!("tokenize --wikipedia {wiki} --vocab DIR/v.txt --out DIR/out"),
        &["DIR/v.txt: expected a token [MASK], found none among 5"],
    );
}

#[test]
fn a_corpus_that_is_missing_damaged_or_of_another_version() {
    let scene = Scene::new();
    scene.refuses("build --corpus DIR/none --out DIR/out", &["DIR/none"]);
    scene.refuses("build --corpus DIR --out DIR/out", &["no manifest.json here"]);
    let manifest = scene.path().join("corpus/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"version\": 1,", "\"version\": 2,")).unwrap();
    scene.refuses("build --corpus DIR/corpus --out DIR/out", &["format version 2, this program reads version 1"]);
    fs::write(&manifest, &text).unwrap();
    let shard = scene.path().join("corpus/shard-00000-of-00001.arrow");
    let good = fs::read(&shard).unwrap();
    let mut bad = good.clone();
    let at = bad.len() / 3;
    bad[at] ^= 1;
    fs::write(&shard, bad).unwrap();
    scene.refuses("build --corpus DIR/corpus --out DIR/out", &["shard-00000-of-00001.arrow: record batch 0: crc32c"]);
    fs::write(&shard, &good[..1000]).unwrap();
    scene.refuses("build --corpus DIR/corpus --out DIR/out", &["manifest promises", "the file has 1000"]);
}

#[test]
fn knobs_out_of_range() {
    let scene = Scene::new();
    let build = "build --corpus DIR/corpus --out DIR/out";
    scene.refuses(&format!("{build} --dupe-factor 0"), &["dupe_factor: expected at least 1, found 0"]);
    scene.refuses(&format!("{build} --max-seq-length 4"), &["max_seq_length: expected at least 5, found 4"]);
    scene.refuses(&format!("{build} --held-out 1.5"), &["held_out: expected 0 to below 1, found 1.5"]);
    scene.refuses(&format!("{build} --held-out 0.0001"), &["expected documents on both sides of --held-out 0.0001"]);
    scene.refuses(
        &format!("{build} --masked-lm-prob 0"),
        &["masked_lm_prob: expected more than 0 and at most 1, found 0"],
    );
    scene.refuses(&format!("{build} --num-shards 100000"), &["num_shards: expected at most one per instance"]);
}

#[test]
fn a_finished_dataset_is_left_alone() {
    let scene = Scene::new();
    let before = fs::read(scene.path().join("corpus/manifest.json")).unwrap();
    scene.refuses("build --corpus DIR/corpus --out DIR/corpus", &["a finished dataset is here already"]);
    assert_eq!(fs::read(scene.path().join("corpus/manifest.json")).unwrap(), before);
}

#[test]
fn held_out_documents_never_end_up_in_a_dataset_that_holds_none_out() {
    let scene = Scene::new();
    // What a run that holds documents out leaves when it is killed half-way.
    let path = |name: &str| scene.path().join(name).display().to_string();
    let call = ["build", "--corpus", &path("corpus"), "--held-out", "0.2", "--out", &path("whole")];
    succeed(cloze_prep(), &call);
    fs::create_dir(scene.path().join("out")).unwrap();
    fs::rename(scene.path().join("whole/held-out"), scene.path().join("out/held-out")).unwrap();
    scene.refuses("build --corpus DIR/corpus --out DIR/out", &["an interrupted run here held documents out"]);
    scene.refuses("build --corpus DIR/corpus --held-out 0.3 --out DIR/out", &["out/held-out: a finished dataset"]);
    let call = ["build", "--corpus", &path("corpus"), "--held-out", "0.2", "--out", &path("out")];
    succeed(cloze_prep(), &call);
}

#[test]
fn a_vocabulary_that_is_there_is_not_replaced() {
    let scene = Scene::new();
    let before = fs::read(scene.path().join("vocab.txt")).unwrap();
    let book = sample("books/on_mending.txt").display().to_string();
    scene.refuses(&format!("vocab --text {book} --vocab-size 500 --out DIR/vocab.txt"), &["there is something here"]);
    assert_eq!(fs::read(scene.path().join("vocab.txt")).unwrap(), before);
}

#[test]
fn squad_rows_that_contradict_themselves() {
    let scene = Scene::new();
    let good = fs::read_to_string(sample("squad/dev.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
    json["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 3.into();
    scene.file("moved.json", json.to_string());
    let id = json["data"][0]["paragraphs"][0]["qas"][0]["id"].as_str().unwrap().to_owned();
    scene.refuses("squad --input DIR/moved.json --vocab DIR/vocab.txt --out DIR/out", &["DIR/moved.json", &id]);
    scene.file("cut.json", &good[..good.len() / 2]);
    scene.refuses("squad --input DIR/cut.json --vocab DIR/vocab.txt --out DIR/out", &["DIR/cut.json", "line"]);
}

#[test]
fn glue_rows_that_are_not_rows() {
    let scene = Scene::new();
    let glue = "glue --task sst-2 --vocab DIR/vocab.txt --out DIR/out";
    scene.file("a/train.tsv", "sentence\tlabel\ngood\t1\n");
    scene.file("a/dev.tsv", "sentence\tlabel\nbad\t0\nno label here\n");
    scene.refuses(&format!("{glue} --dir DIR/a"), &["DIR/a/dev.tsv", "line 3"]);
    scene.file("b/train.tsv", "sentence\tlabel\ngood\t7\n");
    scene.file("b/dev.tsv", "sentence\tlabel\nbad\t0\n");
    scene.refuses(&format!("{glue} --dir DIR/b"), &["DIR/b/train.tsv", "line 2"]);
    scene.refuses("glue --task nothing --dir DIR/b --vocab DIR/vocab.txt --out DIR/out", &["nothing", "sst-2"]);
    for split in ["train", "dev"] {
        assert!(!scene.path().join("out").join(split).join("manifest.json").exists() || split == "train");
    }
}

#[test]
fn an_output_that_cannot_be_written() {
    let scene = Scene::new();
    scene.file("file", "in the way");
    scene.refuses("build --corpus DIR/corpus --out DIR/file/phase1", &["DIR/file/phase1"]);

    scene.refuses("build --corpus DIR/corpus --out /proc/cloze", &["/proc/cloze"]);
}

/// A limit on the size of files stands in for a full disk: the write that goes over it fails half-way, as it would there.
/// What is done by then stays; with room again, the same command goes on and ends well.
#[test]
fn a_disk_that_is_full() {
    let scene = Scene::new();
    let path = |name: &str| scene.path().join(name).display().to_string();
    let book = fs::read_to_string(sample("books/on_mending.txt")).unwrap();
    scene.file("a.txt", &book);
    scene.file("b.txt", book.repeat(20));
    let build = format!("build --corpus {} --masking static --out {}", path("corpus"), path("out"));
    // The first file fits, the second one does not.
    let tokenize = format!(
        "tokenize --text {} {} --vocab {} --slice-bytes 1 --out {}",
        path("a.txt"),
        path("b.txt"),
        path("vocab.txt"),
        path("tokens")
    );
    for (line, out) in [(build, "out"), (tokenize, "tokens")] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut limited = std::process::Command::new("bash");
        limited.args(["-c", "ulimit -f 64; trap '' XFSZ; exec \"$@\"", "limited"]).arg(cloze_prep().get_program());
        let message = refuse(limited, &words);
        assert!(message.contains(&format!("{out}/.building/")), "{message}");
        assert!(
            message.contains("File too large") && message.ends_with("then run the same command again"),
            "{message}"
        );
        assert!(!scene.path().join(out).join("manifest.json").exists());
        succeed(cloze_prep(), &words);
        succeed(cloze_prep(), &["verify", &path(out)]);
        assert!(!scene.path().join(out).join(".building").exists());
    }
}

#[test]
fn a_directory_that_another_process_writes() {
    let scene = Scene::new();
    scene.file("out/.building/lock", "");
    let lock = fs::File::open(scene.path().join("out/.building/lock")).unwrap();
    lock.lock().unwrap();
    scene.refuses("build --corpus DIR/corpus --out DIR/out", &["DIR/out: another process is writing here"]);
    scene.refuses("build --corpus DIR/corpus --out DIR/out --rank 0 --world-size 2", &["another process is writing"]);
    let book = sample("books/on_mending.txt").display().to_string();
    let tokenize = format!("tokenize --text {book} --vocab DIR/vocab.txt --out DIR/out");
    scene.refuses(&tokenize, &["DIR/out: another process is writing here"]);
    scene.refuses(&format!("{tokenize} --restart"), &["DIR/out: another process is writing here"]);
    drop(lock);
    let words = tokenize.replace("DIR", &scene.path().display().to_string());
    succeed(cloze_prep(), &words.split_whitespace().collect::<Vec<_>>());
}
