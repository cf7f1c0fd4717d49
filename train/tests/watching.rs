//! What a run leaves behind to be watched by, as other programs read it: TensorBoard, the report.

mod datasets;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use datasets::*;

/// A run of 40 steps in `dir` whose last ones were lost and made again.
fn resumed_run(dir: &Path) -> PathBuf {
    let (data, out) = (dir.join("phase1"), dir.join("run"));
    pretrain(&data, 200, "");
    pretrain(&data.join("held-out"), 50, "");
    let recipe = recipe(dir);
    let arguments = ["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", text(&out)];
    succeed(&arguments);
    flip(&checkpoints(&out).last().unwrap().join("model.safetensors"), 3);
    succeed(&[&arguments[..], &["--resume"]].concat());
    out
}

/// Python with TensorBoard's reader, in an environment of its own below target/, made when it is not there. Of what
/// TensorBoard wants, its server's libraries are left out: 23 MB remain.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let lock = File::create(target.join("tensorboard-python.lock")).unwrap();
    lock.lock().unwrap();
    let environment = target.join("tensorboard-python");
    let python = environment.join("bin/python");
    let is_complete = || {
        let reader = "import tensorboard.backend.event_processing.event_accumulator";
        Command::new(&python).args(["-c", reader]).output().is_ok_and(|output| output.status.success())
    };
    if !is_complete() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).status().unwrap();
        assert!(made.success(), "python3 makes a virtual environment");
        let packages = ["tensorboard>=2.18", "protobuf>=5", "numpy", "absl-py"];
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]).args(packages);
        assert!(pip.status().unwrap().success() && is_complete(), "pip installs {packages:?}");
    }
    python
}

#[test]
fn tensorboard_reads_the_curves_of_a_resumed_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = resumed_run(dir.path());
    assert_eq!(fs::read_dir(run.join("tensorboard")).unwrap().count(), 2, "one file per attempt");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/check_tensorboard.py");
    let check = || Command::new(python()).arg(&script).arg(&run).output().unwrap();
    let output = check();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A check that cannot fail proves nothing: a row that TensorBoard does not have must be noticed.
    let log = run.join("metrics.jsonl");
    let more = fs::read_to_string(&log).unwrap() + "{\"kind\":\"step\",\"step\":41,\"loss\":1.5}\n";
    fs::write(&log, more).unwrap();
    assert!(!check().status.success());
}

#[test]
fn a_run_begins_with_what_it_is_and_is_reported_with_its_resumption() {
    let dir = tempfile::tempdir().unwrap();
    let run = resumed_run(dir.path());
    let attempts = metrics(&run, "run");
    let steps: Vec<_> = attempts.iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 30]);
    let row = &attempts[0];
    assert_eq!(
        (&row["task"], &row["total_steps"], &row["world"]["world_size"]),
        (&"pretrain".into(), &40.into(), &1.into())
    );
    assert_eq!(row["data"]["num_instances"], 200);
    let lengths = row["data"]["length_histogram"].as_array().unwrap();
    assert_eq!(lengths.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 200);
    for row in metrics(&run, "step") {
        let mfu = row["mfu"].as_f64().unwrap();
        assert!(mfu > 0.0 && mfu < 1.5, "{row}");
    }
    let summary = succeed(&["report", text(&run), "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["report"], text(&run.join("report.html")));
    let html = fs::read_to_string(run.join("report.html")).unwrap();
    for part in ["Masked-LM loss", "class=\"mark resumed\"", "schedule.steps", "Lengths"] {
        assert!(html.contains(part), "{part}");
    }
    let two = dir.path().join("two.html");
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::copy(run.join("metrics.jsonl"), other.join("metrics.jsonl")).unwrap();
    succeed(&["report", text(&run), text(&other), "--out", text(&two)]);
    assert!(fs::read_to_string(&two).unwrap().contains("curve c2"));
}

#[test]
fn a_report_of_what_is_no_run_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    let message = fail(&["report", text(&run)]);
    assert!(message.contains("expected a run directory, found no metrics.jsonl in it"), "{message}");
    fs::write(run.join("metrics.jsonl"), "{\"kind\":\"step\",\"step\":1}\n{\"step\":\n").unwrap();
    let message = fail(&["report", text(&run)]);
    assert!(message.contains("metrics.jsonl: line 2: expected a JSON object with kind and step"), "{message}");
    fs::write(run.join("metrics.jsonl"), "{\"kind\":\"step\",\"step\":1,\"loss\":1.5}\n").unwrap();
    let message = fail(&["report", text(&run), text(&run)]);
    assert!(message.contains("expected different runs, found this one twice"), "{message}");
    assert_eq!(files(&run), ["metrics.jsonl"], "nothing is left behind");
}

#[test]
fn without_tensorboard_and_mfu_a_run_does_without() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("phase1"), dir.path().join("run"));
    pretrain(&data, 50, "");
    let recipe = recipe(dir.path());
    let flags = ["--steps", "2", "--no-tensorboard", "--no-mfu"];
    let arguments = ["pretrain", "--recipe", text(&recipe), "--data", text(&data), "--out", text(&out)];
    succeed(&[&arguments[..], &flags].concat());
    assert!(!out.join("tensorboard").exists());
    assert!(metrics(&out, "step").iter().all(|row| row.get("mfu").is_none()));
}

fn files(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
