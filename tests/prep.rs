//! `cloze-prep` from text to shards, run as a program.

use std::path::Path;

use cloze_formats::{Dataset, Kind};
use cloze_tests::{cloze_prep, files, finish, prepare_samples, refuse, sample, succeed};

fn words(line: &str, dir: &Path) -> Vec<String> {
    line.split_whitespace().map(|w| w.replace("DIR", &dir.display().to_string())).collect()
}

fn prep(line: &str, dir: &Path) -> String {
    succeed(cloze_prep(), &words(line, dir))
}

#[test]
fn shards_are_the_same_bytes_for_1_2_and_8_threads() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    let wiki = sample("wiki/miniwiki.xml").display().to_string();
    let books = sample("books").display().to_string();
    for threads in [1, 2, 8] {
        prep(
            &format!(
                "tokenize --threads {threads} --wikipedia {wiki} --books {books} --vocab DIR/vocab.txt \
                 --tokens-per-shard 10000 --out DIR/{threads}/corpus"
            ),
            dir,
        );
        for masking in ["static", "dynamic"] {
            prep(
                &format!(
                    "build --threads {threads} --corpus DIR/{threads}/corpus --masking {masking} --num-shards 5 \
                     --held-out 0.1 --out DIR/{threads}/{masking}"
                ),
                dir,
            );
        }
    }
    let one = files(&dir.join("1"));
    assert!(one.len() > 20, "corpus, two datasets, two held-out parts: {}", one.len());
    for threads in ["2", "8"] {
        let other = files(&dir.join(threads));
        for ((path, bytes), (other_path, other_bytes)) in one.iter().zip(&other) {
            assert_eq!(path, other_path);
            assert!(bytes == other_bytes, "{} differs between 1 and {threads} threads", path.display());
        }
        assert_eq!(one.len(), other.len());
    }
}

#[test]
fn every_document_goes_to_exactly_one_part() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    prep("build --corpus DIR/corpus --held-out 0.2 --out DIR/phase1", dir);
    prep("build --corpus DIR/corpus --held-out 0.2 --phase 2 --seed 7 --out DIR/phase2", dir);
    // A rare word that only one document has is in the same part in both phases.
    let text = |part: &str| prep(&format!("show DIR/{part} -n 100000 --json"), dir);
    for (train, held_out) in [("phase1", "phase1/held-out"), ("phase2", "phase2/held-out")] {
        assert!(!Dataset::open(dir.join(held_out)).unwrap().is_empty());
        assert!(Dataset::open(dir.join(train)).unwrap().len() > Dataset::open(dir.join(held_out)).unwrap().len());
    }
    let ids = |text: &str| -> std::collections::HashSet<String> {
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|row| !row["next_sentence_label"].as_bool().unwrap())
            .map(|row| {
                row["tokens"].as_array().unwrap()[1..8]
                    .iter()
                    .map(|t| t.as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    };
    let held_out = ids(&text("phase1/held-out"));
    assert!(!held_out.is_empty());
    assert!(held_out.is_disjoint(&ids(&text("phase1"))));
    assert!(held_out.is_disjoint(&ids(&text("phase2"))));
}

#[test]
fn instances_have_berts_shape() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    prep("build --corpus DIR/corpus --masking static --dupe-factor 10 --out DIR/phase1", dir);
    let dataset = Dataset::open_kind(dir.join("phase1"), Kind::Pretrain).unwrap();
    let statistics = &dataset.manifest().statistics;
    let random = statistics.random_next as f64 / statistics.rows as f64;
    assert!((0.45..0.62).contains(&random), "half of the pairs, and all one-sentence ones, are random: {random}");
    let masked = statistics.masked;
    let share = |part: u64| part as f64 / masked.total() as f64;
    assert!((share(masked.mask) - 0.8).abs() < 0.01);
    assert!((share(masked.kept) - 0.1).abs() < 0.01);
    for i in 0..dataset.len() {
        let row = dataset.pretrain_row(i).unwrap();
        let expected = ((row.input_ids.len() as f64 * 0.15).round_ties_even() as usize).clamp(1, 20);
        assert_eq!(row.masked.unwrap().positions.len(), expected.min(row.input_ids.len() - 3));
        assert!(row.input_ids.len() <= 128);
    }
}

#[test]
fn inspect_show_and_verify_tell_of_each_kind() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    prep("build --corpus DIR/corpus --masking static --out DIR/phase1", dir);
    let squad = sample("squad/dev.json").display().to_string();
    prep(&format!("squad --input {squad} --vocab DIR/vocab.txt --out DIR/squad"), dir);
    let glue = sample("glue/SST-2").display().to_string();
    prep(&format!("glue --task sst-2 --dir {glue} --vocab DIR/vocab.txt --out DIR/glue"), dir);
    for (dataset, expected, row) in [
        ("corpus", "corpus dataset, format 1", "document 0:"),
        ("phase1", "static:", "[MASK:"),
        ("squad", "windows", "question: "),
        ("glue/dev", "negative: 40, positive: 40", "example 0: label "),
    ] {
        assert!(prep(&format!("inspect DIR/{dataset}"), dir).contains(expected), "{dataset}");
        assert!(prep(&format!("show DIR/{dataset}"), dir).contains(row), "{dataset}");
        assert!(prep(&format!("verify DIR/{dataset}"), dir).contains(": whole: "), "{dataset}");
        let json: serde_json::Value =
            serde_json::from_str(&prep(&format!("inspect DIR/{dataset} --json"), dir)).unwrap();
        assert_eq!(json["rows"], Dataset::open(dir.join(dataset)).unwrap().len());
    }
}

#[test]
fn the_dataset_may_stand_after_the_flags_of_show() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    assert!(prep("show --rows 1 DIR/corpus", dir).starts_with("document 1: "));
    assert!(prep("show --rows 0,2-3 DIR/corpus", dir).matches("document ").count() >= 3);
    assert_eq!(prep("show --random DIR/corpus", dir), prep("show DIR/corpus --random=0", dir));
    assert!(prep("show --color always DIR/corpus -n 1", dir).starts_with("\u{1b}[1mdocument 0"));
    assert!(prep("show DIR/corpus -n 1", dir).starts_with("document 0"));
    for line in
        ["show --rows 1 --random DIR/corpus", "show --rows 5-1 DIR/corpus", "show --find sea --document 1 DIR/corpus"]
    {
        let mut command = cloze_prep();
        command.args(words(line, dir));
        let output = finish(command);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: "), "{line}");
    }
}

#[test]
fn diff_ends_with_exit_code_1_where_datasets_differ() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    for (out, seed) in [("a", 1), ("b", 1), ("c", 2)] {
        prep(&format!("build --corpus DIR/corpus --seed {seed} --out DIR/{out}"), dir);
    }
    assert!(prep("diff DIR/a DIR/b", dir).ends_with("\nequal\n"));
    let mut command = cloze_prep();
    command.args(words("diff DIR/a DIR/c --json", dir));
    let output = finish(command);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["equal"], false);
    let seed = serde_json::json!({"part": "configuration", "key": "seed", "a": 1, "b": 2});
    assert!(json["differences"].as_array().unwrap().contains(&seed));
    assert!(json["rows"]["first_difference"]["a"]["tokens"].is_array());
    assert!(refuse(cloze_prep(), &words("diff DIR/a DIR/nothing", dir)).contains("found nothing by that name"));
}

#[test]
fn inspect_shows_the_manifest_of_a_damaged_dataset_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    prep("inspect DIR/corpus --html DIR/whole.html", dir);
    let path = dir.join("corpus/shard-00000-of-00001.arrow");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(path, bytes).unwrap();
    let mut command = cloze_prep();
    command.args(words("inspect DIR/corpus --html DIR/damaged.html", dir));
    let output = finish(command);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stderr).unwrap().contains("record batch 0: crc32c"));
    assert!(String::from_utf8(output.stdout).unwrap().contains("corpus dataset, format 1"));
    let report = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert!(
        report("whole.html").contains("Most frequent tokens")
            && !report("damaged.html").contains("Most frequent tokens")
    );
    assert!(report("damaged.html").contains("the rows could not be read"));
}

#[test]
fn verify_ends_with_exit_code_1_and_names_every_damaged_shard() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    prep("build --corpus DIR/corpus --num-shards 3 --out DIR/phase1", dir);
    for shard in ["shard-00000-of-00003.arrow", "shard-00002-of-00003.arrow"] {
        let path = dir.join("phase1").join(shard);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(path, bytes).unwrap();
    }
    let mut command = cloze_prep();
    command.args(words("verify DIR/phase1", dir));
    let output = finish(command);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("shard-00000-of-00003.arrow: record batch 0: crc32c"), "{text}");
    assert!(text.contains("shard-00002-of-00003.arrow: record batch 0: crc32c"), "{text}");
    assert!(!text.contains("shard-00001"), "{text}");
    assert!(text.ends_with("2 problems\n"), "{text}");
}

#[test]
fn splits_of_a_glue_task_that_are_made_already_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    let glue =
        format!("glue --task sst-2 --dir {} --vocab DIR/vocab.txt --out DIR/glue", sample("glue/SST-2").display());
    prep(&glue, dir);
    let whole = files(&dir.join("glue"));
    std::fs::remove_dir_all(dir.join("glue/dev")).unwrap();
    prep(&glue, dir);
    assert!(files(&dir.join("glue")) == whole);
    refuse(cloze_prep(), &words(&glue, dir));
}

#[test]
fn a_vocabulary_of_more_than_65536_tokens_gives_the_same_dataset_with_wide_ids() {
    const SURPLUS: usize = 70_000;
    const SPECIAL: usize = 5;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    let narrow = std::fs::read_to_string(dir.join("vocab.txt")).unwrap();
    let (special, words): (Vec<_>, Vec<_>) = narrow.lines().enumerate().partition(|(id, _)| *id < SPECIAL);
    let unused = (0..SURPLUS).map(|number| format!("[unused{number}]"));
    let named = |lines: Vec<(usize, &str)>| lines.into_iter().map(|(_, line)| line.to_owned()).collect::<Vec<_>>();
    let wide = [named(special), unused.collect(), named(words)].concat().join("\n") + "\n";
    std::fs::write(dir.join("wide.txt"), wide).unwrap();
    let text = format!("--wikipedia {} --books {}", sample("wiki/miniwiki.xml").display(), sample("books").display());
    prep(&format!("tokenize {text} --vocab DIR/wide.txt --out DIR/wide-corpus"), dir);
    prep("build --corpus DIR/corpus --out DIR/narrow", dir);
    prep("build --corpus DIR/wide-corpus --out DIR/wide", dir);
    prep("build --corpus DIR/wide-corpus --masking static --out DIR/masked", dir);
    for name in ["wide-corpus", "wide", "masked"] {
        prep(&format!("verify DIR/{name}"), dir);
    }
    let [narrow, wide] = ["narrow", "wide"].map(|name| Dataset::open(dir.join(name)).unwrap());
    assert_eq!(narrow.len(), wide.len());
    for row in 0..narrow.len() {
        let widened = |&id: &u32| if (id as usize) < SPECIAL { id } else { id + SURPLUS as u32 };
        let expected: Vec<u32> = narrow.row(row).unwrap().tokens().to_vec().iter().map(widened).collect();
        assert_eq!(wide.row(row).unwrap().tokens().to_vec(), expected, "row {row}");
    }
    let shown = ["corpus", "wide-corpus"].map(|name| prep(&format!("show DIR/{name} --rows 3 --color never"), dir));
    assert!(shown[0].len() > 200 && shown[0] == shown[1], "{}\n{}", shown[0], shown[1]);
    // Out to another tool and back: not a byte of a row is lost.
    for format in ["parquet", "arrow-stream", "lddl-parquet", "nvidia-hdf5", "tfrecord"] {
        prep(&format!("export DIR/masked --format {format} --out DIR/{format}"), dir);
        prep(
            &format!("import --format {format} --input DIR/{format} --vocab DIR/wide.txt --out DIR/{format}-back"),
            dir,
        );
        let [masked, back] =
            ["masked".to_owned(), format!("{format}-back")].map(|name| Dataset::open(dir.join(name)).unwrap());
        assert_eq!(back.len(), masked.len());
        for row in 0..masked.len() {
            let [expected, found] = [&masked, &back].map(|dataset| format!("{:?}", dataset.row(row).unwrap()));
            assert_eq!(found, expected, "{format}, row {row}");
        }
    }
}
