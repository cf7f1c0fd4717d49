//! kill -9 at 50 random moments, and Ctrl-C: the same command ends with the same bytes, and nothing is left over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cloze_tests::{cloze_prep, files, prepare_samples, sample, succeed};

const KILLS: u32 = 25;

/// Sample prose, repeated with differences.
fn write_text(path: &Path, copies: usize) {
    let mut books: Vec<PathBuf> = fs::read_dir(sample("books")).unwrap().map(|e| e.unwrap().path()).collect();
    books.sort();
    let books: Vec<String> = books.iter().map(|book| fs::read_to_string(book).unwrap()).collect();
    let copy = |i: usize| books.iter().map(|b| b.replace(" the ", &format!(" the {i} "))).collect::<String>();
    fs::write(path, (0..copies).map(copy).collect::<String>()).unwrap();
}

fn words(line: &str, dir: &Path) -> Vec<String> {
    line.split_whitespace().map(|w| w.replace("DIR", &dir.display().to_string())).collect()
}

fn command(line: &str, dir: &Path) -> Command {
    let mut command = cloze_prep();
    command.args(words(line, dir)).args(["--threads", "2"]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Kills `line` [`KILLS`] times, each time at a random moment of what a whole run takes; a run that is over earlier is
/// compared with one that nobody disturbed, and the next one starts anew.
fn kill_at_random_moments(line: &str, dir: &Path, seed: u64) {
    let started = Instant::now();
    assert!(command(&format!("{line} --out DIR/undisturbed"), dir).status().unwrap().success());
    let duration = started.elapsed();
    let expected = files(&dir.join("undisturbed"));
    let killed = dir.join("killed");
    let line = format!("{line} --out DIR/killed");
    let mut state = seed;
    let (mut kills, mut resumed) = (0, 0);
    while kills < KILLS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = command(&line, dir).spawn().unwrap();
        std::thread::sleep(duration.mul_f64((state >> 33) as f64 / (1u64 << 31) as f64));
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            kills += 1;
        }
        if killed.join("manifest.json").exists() {
            check(&line, dir, &expected);
            fs::remove_dir_all(&killed).unwrap();
        } else {
            resumed += u32::from(killed.exists());
        }
    }
    assert!(resumed > KILLS / 4, "only {resumed} of {kills} runs were killed before they were done");
    if !killed.join("manifest.json").exists() {
        assert!(command(&line, dir).status().unwrap().success());
    }
    check(&line, dir, &expected);
}

/// The dataset is the expected one. Killed between publication and tidying up, it is tidied by the next call, which refuses
/// to make it again.
fn check(line: &str, dir: &Path, expected: &[(PathBuf, Vec<u8>)]) {
    if dir.join("killed/.building").exists() {
        assert_eq!(command(line, dir).status().unwrap().code(), Some(2));
    }
    let found = files(&dir.join("killed"));
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(expected));
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.1 == expected.1, "{} differs", found.0.display());
    }
}

#[test]
fn tokenize_killed_at_random_moments_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    prepare_samples(dir.path());
    ["a.txt", "b.txt", "c.txt"].iter().for_each(|name| write_text(&dir.path().join(name), 8));
    let tokenize = "tokenize --text DIR/a.txt DIR/b.txt DIR/c.txt --vocab DIR/vocab.txt \
                    --slice-bytes 1 --tokens-per-shard 30000";
    kill_at_random_moments(tokenize, dir.path(), 1);
}

#[test]
fn build_killed_at_random_moments_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    prepare_samples(dir.path());
    let build = "build --corpus DIR/corpus --masking static --dupe-factor 40 --num-shards 20 --held-out 0.1";
    kill_at_random_moments(build, dir.path(), 2);
}

#[test]
fn ctrl_c_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    let build = "build --corpus DIR/corpus --masking static --dupe-factor 200 --num-shards 50 --out DIR/";
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let child = command(&format!("{build}{signal}"), dir).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !dir.join(signal).join(".building/rank-00000/plan").exists() {
            assert!(Instant::now() < deadline, "build begins");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert_eq!(message, "interrupted; the same `cloze-prep build` command again goes on from here\n");
    }
    succeed(cloze_prep(), &words(&format!("{build}-INT"), dir));
    succeed(cloze_prep(), &words("verify DIR/-INT", dir));
}
