//! What `cloze-train` saves, keeps and comes back to, whatever goes wrong.

mod datasets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use datasets::*;

/// A finished run of 20 steps with checkpoints 10 and 20, and its dataset.
fn finished(dir: &Path) -> (PathBuf, PathBuf) {
    let (data, out) = (dir.join("data"), dir.join("run"));
    pretrain(&data, 200, "");
    let recipe = recipe(dir);
    succeed(&["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", text(&out), "--steps", "20"]);
    assert_eq!(names(&out), ["step-00000010", "step-00000020"]);
    (data, out)
}

fn names(run: &Path) -> Vec<String> {
    checkpoints(run).iter().map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn model(checkpoint: &Path) -> Vec<u8> {
    fs::read(checkpoint.join("model.safetensors")).unwrap()
}

fn resume<'a>(data: &'a Path, out: &'a Path) -> [&'a str; 6] {
    ["pretrain", "--data", text(data), "--out", text(out), "--resume"]
}

#[test]
fn the_checkpoint_just_published_outlives_damaged_ones_of_later_steps() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = finished(dir.path());
    fs::rename(out.join("checkpoints/step-00000020"), out.join("checkpoints/step-00000030")).unwrap();
    let output = run(&[&resume(&data, &out)[..], &["--keep-checkpoints", "1"]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("step-00000030/state.json: expected step 30, as the directory's name says, found 20"),
        "{stderr}"
    );
    assert_eq!(names(&out), ["step-00000020"]);
}

#[test]
fn a_failed_evaluation_throws_no_training_away() {
    let dir = tempfile::tempdir().unwrap();
    let (_, init) = finished(dir.path());
    let (train, dev) = (dir.path().join("train"), dir.path().join("dev"));
    glue(&train, 100, "");
    glue(&dev, 30, "");
    let (whole, failed) = (dir.path().join("whole"), dir.path().join("failed"));
    let arguments = |out| {
        let data = ["finetune", "glue", "--data", text(&train), "--dev", text(&dev), "--out", out];
        let flags = ["--init", text(&init), "--global-batch-size", "16", "--threads", "1", "--device", "cpu"];
        [&data[..], &flags[..], &["--epochs", "2"]].concat()
    };
    succeed(&arguments(text(&whole)));
    let shard = dev.join("shard-00000-of-00001.arrow");
    let intact = fs::read(&shard).unwrap();
    flip(&shard, intact.len() / 2);
    let message = fail(&arguments(text(&failed)));
    assert!(message.starts_with(&format!("{}: ", shard.display())), "{message}");
    assert_eq!(names(&failed), ["step-00000007"]);
    fs::write(&shard, intact).unwrap();
    succeed(&["finetune", "glue", "--data", text(&train), "--dev", text(&dev), "--out", text(&failed), "--resume"]);
    assert!(model(checkpoints(&whole).last().unwrap()) == model(checkpoints(&failed).last().unwrap()));
    let scores = |run: &Path| {
        let mut rows = metrics(run, "evaluation");
        rows.iter_mut().for_each(|row| drop(row["time"].take()));
        rows
    };
    assert_eq!(scores(&whole), scores(&failed));
    assert_eq!(metrics(&failed, "evaluation").len(), 2);
    // So that, resumed at its end, it would not evaluate again.
    let state = json(&checkpoints(&failed).last().unwrap().join("state.json"));
    assert_eq!(state["position"]["measured_step"], state["position"]["step"]);
}

#[test]
fn a_damaged_training_shard_throws_no_training_away() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("run"));
    pretrain_in_two_shards(&data, 200);
    let shard = data.join("shard-00001-of-00002.arrow");
    let intact = fs::read(&shard).unwrap();
    flip(&shard, intact.len() / 2);
    let recipe = recipe(dir.path());
    let flags = ["--checkpoint-every", "1000", "--steps", "20"];
    let arguments =
        |out| [&["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", out][..], &flags[..]].concat();
    let message = fail(&arguments(text(&out)));
    assert!(message.starts_with(&format!("{}: ", shard.display())), "{message}");
    let step = json(&checkpoints(&out)[0].join("state.json"))["position"]["step"].as_u64().unwrap();
    assert!((1..20).contains(&step));
    assert_eq!(metrics(&out, "step").last().unwrap()["step"], step);
    fs::write(&shard, intact).unwrap();
    succeed(&resume(&data, &out));
    let whole = dir.path().join("whole");
    succeed(&arguments(text(&whole)));
    assert!(model(checkpoints(&whole).last().unwrap()) == model(checkpoints(&out).last().unwrap()));
}

#[test]
fn a_run_with_only_damaged_checkpoints_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = finished(dir.path());
    for checkpoint in checkpoints(&out) {
        fs::remove_file(checkpoint.join("vocab.txt")).unwrap();
    }
    let output = run(&resume(&data, &out));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let expected = "expected a whole checkpoint, found only damaged ones; restore a file or give another --out";
    assert!(stderr.ends_with(&format!("error: {}: {expected}\n", out.display())), "{stderr}");
    assert_eq!(stderr.matches("trying the checkpoint before it").count(), 1, "{stderr}");
}

#[test]
fn a_checkpoint_of_another_version_is_neither_passed_over_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = finished(dir.path());
    let last = checkpoints(&out).pop().unwrap();
    let state = fs::read_to_string(last.join("state.json")).unwrap();
    fs::write(last.join("state.json"), state.replacen("\"version\": 1", "\"version\": 2", 1)).unwrap();
    let message = fail(&resume(&data, &out));
    assert!(message.ends_with("found \"cloze-checkpoint\" of version 2; use the Cloze that wrote it"), "{message}");
    assert_eq!(checkpoints(&out).pop().unwrap(), last);
}

#[test]
fn a_checkpoint_is_not_written_again_where_nothing_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = finished(dir.path());
    let last = out.join("checkpoints/step-00000020");
    let written =
        || ["state.json", "model.safetensors"].map(|n| fs::metadata(last.join(n)).unwrap().modified().unwrap());
    let before = written();
    succeed(&resume(&data, &out));
    assert_eq!(written(), before);
}

#[test]
fn a_crash_while_a_checkpoint_is_replaced_loses_neither() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = finished(dir.path());
    let [first, last] = ["step-00000010", "step-00000020"].map(|name| out.join("checkpoints").join(name));
    fs::remove_dir_all(first).unwrap();
    // Between the two renames, with the new one still unfinished.
    fs::rename(&last, last.with_file_name(".step-00000020.old")).unwrap();
    fs::create_dir(last.with_file_name(".step-00000020.tmp")).unwrap();
    succeed(&resume(&data, &out));
    assert_eq!(names(&out), ["step-00000020"]);
    // After them.
    fs::create_dir(last.with_file_name(".step-00000020.old")).unwrap();
    succeed(&resume(&data, &out));
    assert_eq!(names(&out), ["step-00000020"]);
}

#[test]
fn a_changed_digit_in_state_json_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = finished(dir.path());
    let path = out.join("checkpoints/step-00000020/state.json");
    let state = fs::read_to_string(&path).unwrap();
    assert!(state.starts_with("{\n  \"checksum\": \""), "{state}");
    let offset = json(&path)["position"]["cursor"]["offset"].to_string();
    let changed = state.replace(&format!("\"offset\": {offset}"), &format!("\"offset\": {offset}0"));
    assert_ne!(changed, state);
    fs::write(&path, changed).unwrap();
    let output = run(&resume(&data, &out));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("state.json: expected checksum "), "{stderr}");
    assert!(stderr.contains("step-00000010: resuming after step 10"), "{stderr}");
}

#[test]
fn a_resumed_run_takes_no_other_weights() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = finished(dir.path());
    let message = fail(&[&resume(&data, &out)[..], &["--init", text(&out)]].concat());
    assert_eq!(message, "expected --init or --resume, found both; a resumed run has its own weights: leave --init out");
}

fn send(signal: &str, child: &Child) {
    let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

#[test]
fn a_second_signal_of_the_other_kind_ends_the_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("run"));
    pretrain(&data, 200, "");
    let recipe = recipe(dir.path());
    // A step of seconds, so that the run cannot have noticed the first signal.
    let flags = ["--global-batch-size", "32768", "--steps", "1000", "--log-every", "1"];
    let arguments = ["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", text(&out)];
    let mut child =
        command(&[&arguments[..], &flags[..]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while metrics(&out, "step").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "no steps");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Into the middle of the second step: between two of them a signal is noticed.
    std::thread::sleep(Duration::from_millis(300));
    send("-INT", &child);
    std::thread::sleep(Duration::from_millis(50));
    send("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!out.join("checkpoints").exists(), "it saved first");
}

#[test]
fn sigusr1_saves_and_exits_as_slurm_s_warning_wants() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("run"));
    pretrain(&data, 200, "");
    let recipe = recipe(dir.path());
    let flags = ["--steps", "100000", "--checkpoint-every", "100000"];
    let arguments = ["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", text(&out)];
    let stderr = dir.path().join("stderr");
    let file = fs::File::create(&stderr).unwrap();
    let mut child = command(&[&arguments[..], &flags[..]].concat()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
    let started = Instant::now();
    while metrics(&out, "step").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "no steps");
        std::thread::sleep(Duration::from_millis(5));
    }
    send("-USR1", &child);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 10));
    let stderr = fs::read_to_string(stderr).unwrap();
    assert!(stderr.contains("stopped by SIGUSR1; saved "), "{stderr}");
    assert_eq!(names(&out).len(), 1);
    assert_eq!(json(&out.join("summary.json"))["stopped_by_signal"], 10);
}

#[test]
fn the_newest_checkpoints_stay_and_those_at_the_long_interval_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("run"));
    pretrain(&data, 200, "");
    let recipe = recipe(dir.path());
    let arguments = ["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", text(&out)];
    let keep = ["--checkpoint-every", "5", "--keep-checkpoints", "2", "--keep-checkpoint-every", "15"];
    succeed(&[&arguments[..], &keep[..], &["--steps", "40"]].concat());
    assert_eq!(names(&out), ["step-00000015", "step-00000030", "step-00000035", "step-00000040"]);
}

#[test]
fn a_run_stopped_between_two_rows_of_its_log_has_the_rows_of_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let (data, whole, halves) = (dir.path().join("data"), dir.path().join("whole"), dir.path().join("halves"));
    pretrain(&data, 200, "");
    let recipe = recipe(dir.path());
    let arguments = |out| ["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", text(out)];
    // Checkpoints at 8, 16 and 20, rows at 1, 5, 10, 15 and 20.
    let flags = ["--steps", "20", "--checkpoint-every", "8"];
    for out in [&whole, &halves] {
        succeed(&[&arguments(out)[..], &flags[..]].concat());
    }
    fs::remove_dir_all(halves.join("checkpoints/step-00000020")).unwrap();
    assert_eq!(names(&halves), ["step-00000016"]);
    succeed(&resume(&data, &halves));
    let computed = |run: &Path| -> Vec<_> {
        let row = |row: &serde_json::Value| {
            ["step", "masked_lm_loss", "next_sentence_loss", "gradient_norm"].map(|key| row[key].clone())
        };
        metrics(run, "step").iter().map(row).collect()
    };
    assert_eq!(computed(&whole), computed(&halves));
}
