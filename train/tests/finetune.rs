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

/// Fine-tunes on `train` with these evaluation sets and returns the summary.
fn finetune(task: &str, init: &Path, train: &Path, dev: &[&Path], out: &Path, epochs: &str) -> serde_json::Value {
    let mut arguments =
        vec!["finetune", task, "--data", text(train), "--init", text(init), "--out", text(out), "--dev"];
    arguments.extend(dev.iter().map(|dev| text(dev)));
    let summary = succeed(&[&arguments[..], &LEARNING[..], &["--epochs", epochs, "--json"]].concat());
    serde_json::from_str(&summary).unwrap()
}

/// Evaluates `checkpoint` on `data` into `out`, with these flags beside.
fn evaluate(task: &str, checkpoint: &Path, data: &Path, out: &Path, flags: &[&str]) {
    let arguments = ["evaluate", task, "--data", text(data), "--checkpoint", text(checkpoint), "--out", text(out)];
    succeed(&[&arguments[..], &["--threads", "1"], flags].concat());
}

#[test]
fn scores_are_learnt_by_regression() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let (train, dev, out) = (dir.path().join("train"), dir.path().join("dev"), dir.path().join("run"));
    scores(&train, 400);
    scores(&dev, 60);
    let summary = finetune("glue", &init, &train, &[&dev], &out, "8");
    for score in ["pearson", "spearman"] {
        assert!(summary[score].as_f64().unwrap() > 0.9, "{summary}");
    }
    let evaluation = json(&out.join("eval.json"));
    assert!(evaluation["loss"].as_f64().unwrap() < 1.0 && evaluation.get("accuracy").is_none(), "{evaluation}");
    let config = json(&checkpoints(&out).last().unwrap().join("config.json"));
    assert_eq!((&config["problem_type"], config["id2label"].as_object().unwrap().len()), (&"regression".into(), 1));
    let again = dir.path().join("again");
    evaluate("glue", &out, &dev, &again, &[]);
    assert_eq!(json(&again.join("eval.json")), evaluation);
    // A model of scores cannot tell classes.
    let classes = dir.path().join("classes");
    pairs(&classes, 10, 1, true);
    let (data, out) = (text(&classes), text(&out));
    let message = fail(&["evaluate", "glue", "--data", data, "--checkpoint", out, "--out", text(&again)]);
    assert!(message.ends_with("expected a dataset of scores, like the model's, found 3 classes"), "{message}");
}

#[test]
fn several_development_sets_are_scored_apart_and_a_test_set_becomes_a_submission() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let path = |name: &str| dir.path().join(name);
    pairs(&path("train"), 300, 1, true);
    pairs(&path("dev_matched"), 40, 2, true);
    pairs(&path("dev_mismatched"), 30, 3, true);
    pairs(&path("test_matched"), 20, 2, false);
    let out = path("run");
    let dev = [path("dev_matched"), path("dev_mismatched")];
    let summary = finetune("glue", &init, &path("train"), &[&dev[0], &dev[1]], &out, "5");
    for (name, rows) in [("dev_matched", 40), ("dev_mismatched", 30)] {
        let evaluation = json(&out.join(name).join("eval.json"));
        assert_eq!(evaluation["num_examples"], rows);
        assert_eq!(summary[format!("{name}/accuracy")], evaluation["accuracy"]);
        assert!(evaluation["accuracy"].as_f64().unwrap() > 0.9, "{evaluation}");
    }
    let config = json(&checkpoints(&out).last().unwrap().join("config.json"));
    assert_eq!(config["id2label"], serde_json::json!({"0": "contradiction", "1": "entailment", "2": "neutral"}));

    let test = path("submission");
    evaluate("glue", &out, &path("test_matched"), &test, &[]);
    let predictions = fs::read_to_string(test.join("predictions.tsv")).unwrap();
    let named = predictions.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        format!("{}\t{}\n", fields[0], PAIR_LABELS[fields[1].parse::<usize>().unwrap()])
    });
    let submission = fs::read_to_string(test.join("MNLI-m.tsv")).unwrap();
    assert_eq!(submission, format!("index\tprediction\n{}", named.collect::<String>()));
    assert_eq!(json(&test.join("eval.json")), serde_json::json!({"num_examples": 20}));
}

#[test]
fn impossible_questions_are_told_from_the_others_by_a_threshold() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let (train, dev, out) = (dir.path().join("train"), dir.path().join("dev"), dir.path().join("run"));
    squad_v2(&train, 400, true);
    squad_v2(&dev, 60, true);
    let summary = finetune("squad", &init, &train, &[&dev], &out, "8");
    assert!(summary["f1"].as_f64().unwrap() > 85.0, "{summary}");
    let evaluation = json(&out.join("eval.json"));
    let total = |part: &str| evaluation[format!("{part}_total")].as_u64().unwrap();
    assert_eq!(total("HasAns") + total("NoAns"), 60);
    assert!(evaluation["best_f1"].as_f64() >= evaluation["f1"].as_f64(), "{evaluation}");
    let (odds, predictions) = (json(&out.join("null_odds.json")), json(&out.join("predictions.json")));
    for (id, odds) in odds.as_object().unwrap() {
        assert_eq!(odds.as_f64().unwrap() > 0.0, predictions[id] == "", "{id}");
    }
    assert!(json(&out.join("nbest_predictions.json"))["q0"].as_array().unwrap().iter().any(|best| best["text"] == ""));

    let bold = dir.path().join("bold");
    evaluate("squad", &out, &dev, &bold, &["--null-score-diff-threshold", "1000"]);
    let predictions = json(&bold.join("predictions.json"));
    assert!(predictions.as_object().unwrap().values().all(|answer| answer != ""));
    assert_eq!(json(&bold.join("eval.json"))["NoAns_f1"], 0.0);
    let shy = dir.path().join("shy");
    evaluate("squad", &out, &dev, &shy, &["--null-score-diff-threshold", "-1000"]);
    assert_eq!(json(&shy.join("eval.json"))["NoAns_exact"], 100.0);
}

#[test]
fn questions_without_any_answer_are_nothing_to_learn_from() {
    let dir = tempfile::tempdir().unwrap();
    let train = dir.path().join("train");
    squad_v2(&train, 10, false);
    let init = pretrained(dir.path());
    let out = dir.path().join("run");
    let arguments = ["finetune", "squad", "--data", text(&train), "--init", text(&init), "--out", text(&out)];
    let message = fail(&arguments);
    assert!(message.contains("train: expected windows that hold an answer to learn from, found none"), "{message}");
    assert!(!out.exists());
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
    let expected = "expected a model (config.json and model.safetensors) or a run directory, found neither; check the path, or \
                    bring another program's checkpoint into this form with cloze-train import";
    assert_eq!(message, format!("{}: {expected}", train.display()));
    assert_eq!(fail(&arguments), "expected --init MODEL to fine-tune (or --resume), found neither");
    assert!(!out.exists());
}

#[test]
fn either_optimizer_and_16_bits_serve_fine_tuning_too() {
    let dir = tempfile::tempdir().unwrap();
    let init = pretrained(dir.path());
    let (classes, questions) = (dir.path().join("classes"), dir.path().join("questions"));
    glue(&classes, 200, "");
    squad(&questions, 100);
    for (task, data, precision) in [("glue", &classes, "bf16"), ("squad", &questions, "fp16")] {
        let out = dir.path().join(task);
        let arguments = ["finetune", task, "--data", text(data), "--init", text(&init), "--out", text(&out)];
        let flags = ["--optimizer", "lamb", "--curve", "constant", "--precision", precision, "--epochs", "3"];
        succeed(&[&arguments[..], &LEARNING[..], &flags[..], &["--log-every", "1"]].concat());
        let state = json(&checkpoints(&out).last().unwrap().join("state.json"));
        assert_eq!(state["optimizer"]["kind"], "lamb");
        assert_eq!(state["recipe"]["run"]["precision"], precision);
        let rows = metrics(&out, "step");
        // One step's loss has its luck with batch and dropout; that of an epoch has less.
        let epoch = rows.len() / 3;
        let loss = |rows: &[serde_json::Value]| rows.iter().map(|row| row["loss"].as_f64().unwrap()).sum::<f64>();
        let (first, last) = (loss(&rows[..epoch]), loss(&rows[rows.len() - epoch..]));
        assert!(last < first, "{task}: {first} {last}");
        assert_eq!(rows[0].get("loss_scale").is_some(), precision == "fp16");
    }
}
