//! `cloze-train finetune` and `evaluate` as their users run them.

mod datasets;

use std::fs;
use std::path::{Path, PathBuf};

use datasets::*;

/// A pre-trained model to start from.
fn pretrained(dir: &Path) -> PathBuf {
    let (data, out) = (dir.join("phase1"), dir.join("pretrained"));
    pretrain(&data, 100, "");
    succeed(&["pretrain", "--recipe", text(&recipe(dir)), "--data", text(&data), "--out", text(&out), "--steps", "5"]);
    out
}

const LEARNING: [&str; 8] =
    ["--learning-rate", "3e-3", "--global-batch-size", "16", "--threads", "1", "--device", "cpu"];

#[test]
fn a_classification_task_is_learnt_scored_and_scored_again_from_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let (train, dev, out) = (dir.path().join("train"), dir.path().join("dev"), dir.path().join("run"));
    glue(&train, 400, "");
    glue(&dev, 101, "");
    let arguments =
        ["finetune", "glue", "--data", text(&train), "--dev", text(&dev), "--init", text(&init), "--out", text(&out)];
    let summary = succeed(&[&arguments[..], &LEARNING[..], &["--epochs", "6", "--json"]].concat());
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert!(summary["accuracy"].as_f64().unwrap() > 0.9, "{summary}");
    assert_eq!(summary["steps"], 150);
    assert_eq!(metrics(&out, "evaluation").len(), 6);
    let predictions = fs::read_to_string(out.join("predictions.tsv")).unwrap();
    assert_eq!(predictions.lines().count(), 102);
    assert!(predictions.starts_with("index\tprediction\tlabel\tlogits\n0\t"), "{predictions}");
    let config = json(&checkpoints(&out).last().unwrap().join("config.json"));
    assert_eq!(config["architectures"][0], "BertForSequenceClassification");

    let again = dir.path().join("again");
    succeed(&[
        "evaluate",
        "glue",
        "--data",
        text(&dev),
        "--checkpoint",
        text(&out),
        "--out",
        text(&again),
        "--threads",
        "1",
    ]);
    assert_eq!(json(&again.join("eval.json")), json(&out.join("eval.json")));
    assert_eq!(fs::read_to_string(again.join("predictions.tsv")).unwrap(), predictions);
}

#[test]
fn answers_are_found_scored_and_cut_from_the_original_text() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let (train, dev, out) = (dir.path().join("train"), dir.path().join("dev"), dir.path().join("run"));
    squad(&train, 300);
    squad(&dev, 40);
    let arguments =
        ["finetune", "squad", "--data", text(&train), "--dev", text(&dev), "--init", text(&init), "--out", text(&out)];
    let summary = succeed(&[&arguments[..], &LEARNING[..], &["--epochs", "8", "--json"]].concat());
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert!(summary["f1"].as_f64().unwrap() > 90.0, "{summary}");
    let predictions = json(&out.join("predictions.json"));
    assert_eq!(predictions.as_object().unwrap().len(), 40);
    let n_best = json(&out.join("nbest_predictions.json"));
    assert_eq!(n_best["q0"][0]["text"], predictions["q0"]);
    let total: f64 =
        n_best["q0"].as_array().unwrap().iter().map(|answer| answer["probability"].as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-9);
    let config = json(&checkpoints(&out).last().unwrap().join("config.json"));
    assert_eq!(config["architectures"][0], "BertForQuestionAnswering");

    let again = dir.path().join("again");
    succeed(&[
        "evaluate",
        "squad",
        "--data",
        text(&dev),
        "--checkpoint",
        text(&out),
        "--out",
        text(&again),
        "--threads",
        "1",
    ]);
    assert_eq!(json(&again.join("eval.json")), json(&out.join("eval.json")));
    assert_eq!(json(&again.join("predictions.json")), predictions);
}

#[test]
fn a_damaged_end_is_trained_again_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let (train, dev, out) = (dir.path().join("train"), dir.path().join("dev"), dir.path().join("run"));
    glue(&train, 100, "");
    glue(&dev, 30, "");
    let data = ["finetune", "glue", "--data", text(&train), "--dev", text(&dev), "--out", text(&out)];
    let flags = ["--epochs", "2", "--checkpoint-every", "6", "--init", text(&init)];
    succeed(&[&data[..], &LEARNING[..], &flags[..]].concat());
    let last = checkpoints(&out).pop().unwrap();
    let whole = fs::read(last.join("model.safetensors")).unwrap();
    let evaluation = json(&out.join("eval.json"));
    fs::remove_file(last.join("model.safetensors")).unwrap();
    succeed(&[&data[..], &["--resume"]].concat());
    assert!(whole == fs::read(last.join("model.safetensors")).unwrap());
    assert_eq!(evaluation, json(&out.join("eval.json")));
    assert_eq!(metrics(&out, "evaluation").len(), 2);
}

#[test]
fn another_vocabulary_and_a_missing_model_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let (train, dev, out) = (dir.path().join("train"), dir.path().join("dev"), dir.path().join("run"));
    glue(&train, 10, "");
    glue(&dev, 10, "x");
    let arguments = ["finetune", "glue", "--data", text(&train), "--dev", text(&dev), "--out", text(&out)];
    let message = fail(&[&arguments[..], &["--init", text(&init)]].concat());
    assert!(
        message.starts_with(&format!("{}: expected a dataset built with the vocabulary of ", dev.display())),
        "{message}"
    );
    let message = fail(&[&arguments[..], &["--init", text(&train)]].concat());
    let expected =
        "expected a model (config.json and model.safetensors) or a run directory, found neither; check the path";
    assert_eq!(message, format!("{}: {expected}", train.display()));
    assert_eq!(fail(&arguments), "expected --init MODEL to fine-tune (or --resume), found neither");
    assert!(!out.exists());
}
