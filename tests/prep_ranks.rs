//! `cloze-prep` as several processes: the bytes of one, whatever the order, and clear words where something is missing.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use cloze_tests::{cloze_prep, files, prepare_samples, refuse, sample, succeed};

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    /// A vocabulary, and a corpus and a dataset that one process made.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare_samples(dir.path());
        let scene = Self { dir };
        scene.succeeds(&scene.tokenize("DIR/one/corpus"));
        scene.succeeds(&scene.build("DIR/one/phase1"));
        scene
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Slices and shards small enough that several of each come of the sample texts.
    fn tokenize(&self, out: &str) -> String {
        let (wiki, books) = (sample("wiki/miniwiki.xml"), sample("books"));
        format!(
            "tokenize --wikipedia {} --books {} --vocab DIR/vocab.txt --tokens-per-shard 5000 --slice-bytes 30000 --out {out}",
            wiki.display(),
            books.display()
        )
    }

    fn build(&self, out: &str) -> String {
        format!("build --corpus DIR/one/corpus --masking static --held-out 0.1 --num-shards 7 --out {out}")
    }

    fn words(&self, line: &str) -> Vec<String> {
        line.split_whitespace().map(|w| w.replace("DIR", &self.path().display().to_string())).collect()
    }

    fn succeeds(&self, line: &str) -> String {
        succeed(cloze_prep(), &self.words(line))
    }

    fn refuses(&self, line: &str, expected: &[&str]) {
        let message = refuse(cloze_prep(), &self.words(line));
        for part in expected {
            assert!(message.contains(part), "{line}: expected {part:?} in {message:?}");
        }
    }

    /// Runs all ranks but the last at the same time, told by the environment, and the last one before them by flags.
    fn run_ranks(&self, line: &str, world_size: u32) {
        let last = world_size - 1;
        let said = self.succeeds(&format!("{line} --rank {last} --world-size {world_size}"));
        assert!(said.contains(&format!("rank {last} of {world_size} is done; after the others: cloze-prep finish")));
        let start = |rank: u32| {
            let mut command = cloze_prep();
            command.args(self.words(line)).env("RANK", rank.to_string()).env("WORLD_SIZE", world_size.to_string());
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let children: Vec<_> = (0..last).map(start).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
    }

    fn assert_same(&self, one: &str, other: &str) {
        let [one, other] = [one, other].map(|name| files(&self.path().join(name)));
        let names = |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&one), names(&other));
        for (a, b) in one.iter().zip(&other) {
            assert!(a.1 == b.1, "{} differs", a.0.display());
        }
    }
}

#[test]
fn a_corpus_is_the_same_bytes_for_any_number_of_processes() {
    let scene = Scene::new();
    let shards = files(&scene.path().join("one/corpus"));
    assert!(shards.iter().filter(|f| f.0.extension().is_some_and(|e| e == "arrow")).count() > 5);
    // 20 are more than there are slices: some have nothing to do.
    for world_size in [2, 3, 20] {
        let out = format!("DIR/{world_size}/corpus");
        scene.run_ranks(&scene.tokenize(&out), world_size);
        assert!(!scene.path().join(format!("{world_size}/corpus/manifest.json")).exists());
        scene.succeeds(&format!("finish {out}"));
        scene.assert_same("one/corpus", &format!("{world_size}/corpus"));
    }
    scene.succeeds("verify DIR/3/corpus");
}

#[test]
fn shards_are_the_same_bytes_for_any_number_of_processes() {
    let scene = Scene::new();
    for world_size in [2, 3, 9] {
        let out = format!("DIR/{world_size}/phase1");
        scene.run_ranks(&scene.build(&out), world_size);
        scene.succeeds(&format!("finish {out}"));
        scene.assert_same("one/phase1", &format!("{world_size}/phase1"));
    }
    scene.refuses("finish DIR/2/phase1", &["a finished dataset is here already"]);
}

#[test]
fn what_is_missing_is_named_with_its_rank() {
    let scene = Scene::new();
    let (tokenize, build) = (scene.tokenize("DIR/parts"), scene.build("DIR/phase1"));
    scene.refuses("finish DIR/parts", &["expected a dataset that ranks have been at work on, found none"]);
    scene.succeeds(&format!("{tokenize} --rank 0 --world-size 3"));
    scene.refuses(
        "finish DIR/parts",
        &["slices are missing, of rank 1, 2; run them again with --rank R --world-size 3"],
    );
    scene.succeeds(&format!("{tokenize} --rank 2 --world-size 3"));
    scene.refuses("finish DIR/parts", &["slices are missing, of rank 1; run them again with --rank 1 --world-size 3"]);
    for rank in [0, 1] {
        scene.succeeds(&format!("{build} --rank {rank} --world-size 3"));
    }
    scene.refuses("finish DIR/phase1", &["of 7 shards are missing, of rank 2; run them again with --rank 2"]);
    // A shard that vanished or was cut short is missed, and only its rank is asked for.
    scene.succeeds(&format!("{build} --rank 2 --world-size 3"));
    let shard = scene.path().join("phase1/.building/rank-00001/shard-00000-00003.arrow");
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
    scene.refuses("finish DIR/phase1", &["1 of 7 shards are missing, of rank 1;"]);
    assert!(!scene.path().join("phase1/manifest.json").exists());
    scene.succeeds(&format!("{build} --rank 1 --world-size 3"));
    scene.succeeds("finish DIR/phase1");
    scene.assert_same("one/phase1", "phase1");
}

#[test]
fn ranks_that_do_not_fit_together_are_refused() {
    let scene = Scene::new();
    let build = scene.build("DIR/phase1");
    scene.succeeds(&format!("{build} --rank 1 --world-size 2"));
    scene.refuses(&format!("{build} --rank 1 --world-size 3"), &["made with another world size (2 processes, now 3)"]);
    scene.refuses(&build, &["made with another world size (2 processes, now 1)"]);
    scene.refuses(&format!("{build} --seed 7 --rank 0 --world-size 2"), &["made with another configuration"]);
    scene.refuses(&format!("{build} --rank 2 --world-size 2"), &["expected a rank below the world size 2, found 2"]);
    scene.refuses(&format!("{build} --rank 0"), &["--rank needs --world-size"]);

    // Of the held-out part, which is made first: the locks of a process at work.
    let work = scene.path().join("phase1/held-out/.building");
    let (all, rank) = (File::open(work.join("lock")).unwrap(), File::open(work.join("rank-00001/lock")).unwrap());
    all.try_lock_shared().unwrap();
    rank.try_lock().unwrap();
    scene.refuses(&format!("{build} --rank 1 --world-size 2"), &["another process is writing rank 1 here"]);
    scene.succeeds(&format!("{build} --rank 0 --world-size 2"));
    scene.refuses("finish DIR/phase1", &["rank 1 is writing here; wait for it"]);
    drop((all, rank));
    scene.succeeds("finish DIR/phase1");
    scene.assert_same("one/phase1", "phase1");
}

#[test]
fn an_input_that_changed_between_runs_of_a_rank_is_noticed() {
    let scene = Scene::new();
    let text = scene.path().join("text.txt");
    let content = "A ship sailed out of the harbour at night. The sea was calm.\n\n".repeat(2_000);
    fs::write(&text, &content).unwrap();
    let tokenize = "tokenize --text DIR/text.txt --vocab DIR/vocab.txt --tokens-per-shard 5000 --out DIR/parts";
    scene.succeeds(&format!("{tokenize} --rank 0 --world-size 2"));
    // The same length, other words.
    fs::write(&text, content.replace("night", "seven")).unwrap();
    let expected = "made with another set of inputs";
    scene.refuses(&format!("{tokenize} --rank 0 --world-size 2"), &[expected]);
    scene.succeeds(&format!("{tokenize} --rank 1 --world-size 2"));
    scene.succeeds(&format!("{tokenize} --rank 0 --world-size 2 --restart"));
    scene.succeeds("finish DIR/parts");
    assert!(scene.succeeds("show DIR/parts -n 1").contains("seven"));
}
