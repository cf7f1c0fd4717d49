//! A pre-training run that is killed with SIGKILL at fifty random moments and resumed each time ends as one that never was.

mod datasets;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_train::machine::ENVIRONMENT;
use datasets::*;
use serde_json::{Map, Value};

const NUM_KILLS: u64 = 50;
const CHECKPOINT_EVERY: u64 = 10;
/// More than fifty attempts of a few rows each get done.
const NUM_STEPS: &str = "1000";
/// What of a row is computed, not timed.
const COMPUTED: [&str; 11] = [
    "kind",
    "step",
    "loss",
    "masked_lm_loss",
    "masked_lm_accuracy",
    "masked_lm_perplexity",
    "next_sentence_loss",
    "learning_rate",
    "gradient_norm",
    "num_skipped",
    "epoch",
];

fn rows(run: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let row = |line: &str| -> Map<String, Value> {
        let row: Map<String, Value> = serde_json::from_str(line).unwrap();
        row.into_iter().filter(|(key, _)| COMPUTED.contains(&key.as_str())).collect()
    };
    // One of kind "run" begins each attempt.
    text.lines().map(row).filter(|row| row["kind"] != "run").collect()
}

/// Steps of the published checkpoints, ascending.
fn saved(run: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut steps: Vec<u64> = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
    steps.sort();
    steps
}

struct Attempts<'a> {
    arguments: Vec<&'a str>,
    resume: Vec<&'a str>,
    run: &'a Path,
    stderr: std::path::PathBuf,
}

impl Attempts<'_> {
    /// Starts or resumes the run, as it stands.
    fn start(&self) -> Child {
        let arguments = if saved(self.run).is_empty() { &self.arguments } else { &self.resume };
        let stderr = File::create(&self.stderr).unwrap();
        // What the program would otherwise set itself and start again for, in each attempt.
        command(arguments).envs(ENVIRONMENT).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
    }

    /// Waits until the attempt has appended to its log so many times.
    fn wait_for_rows(&self, child: &mut Child, mut count: u64) {
        let len = || fs::metadata(self.run.join("metrics.jsonl")).map_or(0, |metadata| metadata.len());
        let (mut before, started) = (len(), Instant::now());
        loop {
            let now = len();
            count -= u64::from(now > before);
            if count == 0 {
                return;
            }
            // It drops the rows after the checkpoint first.
            before = now;
            assert!(started.elapsed() < Duration::from_secs(60), "no row");
            assert!(child.try_wait().unwrap().is_none(), "{}", fs::read_to_string(&self.stderr).unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn fifty_kills_cost_no_more_than_the_steps_since_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (data, whole, killed) = (dir.path().join("data"), dir.path().join("whole"), dir.path().join("killed"));
    pretrain(&data, 200, "");
    pretrain(&data.join("held-out"), 20, "");
    let tiny = recipe(dir.path());
    let begin = ["pretrain", "--recipe", text(&tiny), "--data", text(&data)];
    let flags =
        ["--steps", NUM_STEPS, "--log-every", "7", "--held-out-every", "50", "--optimizer", "adamw", "--no-mfu"];
    succeed(&[&begin[..], &flags[..], &["--out", text(&whole)]].concat());
    let attempts = Attempts {
        arguments: [&begin[..], &flags[..], &["--out", text(&killed)]].concat(),
        resume: vec!["pretrain", "--data", text(&data), "--out", text(&killed), "--resume"],
        run: &killed,
        stderr: dir.path().join("stderr"),
    };
    let mut newest = 0;
    for kill in 0..NUM_KILLS {
        let mut child = attempts.start();
        let mut rng = KeyedRng::new(11, Purpose::Plan, kill, 0);
        // Every fifth one at any moment since the start, the others while the run computes, logs or saves.
        if kill % 5 == 4 {
            std::thread::sleep(Duration::from_millis(rng.below(400)));
        } else {
            attempts.wait_for_rows(&mut child, 1 + rng.below(5));
            std::thread::sleep(Duration::from_micros(rng.below(10_000)));
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it ended before the kill: give it more steps");
        let stderr = fs::read_to_string(&attempts.stderr).unwrap();
        if let Some((_, resumed)) = stderr.split_once("resuming after step ") {
            let step: u64 = resumed.split_whitespace().next().unwrap().parse().unwrap();
            assert_eq!(step, newest, "it went on from another checkpoint than the newest");
        }
        let now = saved(&killed).last().copied().unwrap_or(0);
        let logged = metrics(&killed, "step").last().map_or(0, |row| row["step"].as_u64().unwrap());
        assert!(now >= newest, "checkpoint {newest} was lost");
        assert!(logged <= now + CHECKPOINT_EVERY, "logged to step {logged}, saved at {now}");
        newest = now;
    }
    assert!(newest > CHECKPOINT_EVERY, "the attempts got nowhere");
    succeed(&attempts.resume);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &Path| fs::read(checkpoints(run).last().unwrap().join(file)).unwrap();
        assert!(bytes(&whole) == bytes(&killed), "{file} differs");
    }
    let (expected, found) = (rows(&whole), rows(&killed));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
}
