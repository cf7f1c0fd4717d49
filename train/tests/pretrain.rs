//! `cloze-train pretrain` as its users run it.

mod datasets;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use datasets::*;

fn model_bytes(run: &Path) -> Vec<u8> {
    fs::read(checkpoints(run).last().unwrap().join("model.safetensors")).unwrap()
}

#[test]
fn a_tiny_bert_learns_and_leaves_a_whole_run_behind() {
    let place = Place::new(TINY);
    pretrain(&place.data.join("held-out"), 50, "");
    let out = place.out("run");
    let summary = succeed(&place.arguments(&out, &["--json"]));
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary, json(&out.join("summary.json")));
    assert_eq!(summary["steps"], 40);
    let (first, last) = (&summary["masked_lm_loss"]["first"], &summary["masked_lm_loss"]["last"]);
    assert!(last.as_f64().unwrap() < first.as_f64().unwrap() - 0.2, "{summary}");
    let steps: Vec<u64> = metrics(&out, "step").iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 5, 10, 15, 20, 25, 30, 35, 40]);
    let held_out: Vec<u64> = metrics(&out, "held_out").iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(held_out, [20, 40]);
    let names: Vec<String> =
        checkpoints(&out).iter().map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["step-00000030", "step-00000040"]);
    for file in [
        "config.json",
        "vocab.txt",
        "tokenizer_config.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ] {
        assert!(checkpoints(&out)[1].join(file).is_file(), "{file}");
    }
}

#[test]
fn a_run_stopped_by_sigterm_goes_on_bit_for_bit_on_two_workers() {
    let place = Place::new(TINY);
    let (whole, stopped) = (place.out("whole"), place.out("stopped"));
    succeed(&place.arguments(&whole, &["--steps", "400", "--threads", "2"]));
    let mut child = command(&place.arguments(&stopped, &["--steps", "400", "--threads", "2"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while metrics(&stopped, "step").len() < 4 {
        assert!(started.elapsed() < Duration::from_secs(60), "no steps");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let state = json(&checkpoints(&stopped).last().unwrap().join("state.json"));
    let step = state["position"]["step"].as_u64().unwrap();
    assert!((10..400).contains(&step), "stopped after {step}");
    succeed(&["pretrain", "--data", text(&place.data), "--out", text(&stopped), "--resume"]);
    assert!(model_bytes(&whole) == model_bytes(&stopped));
    let last = |run: &Path| metrics(run, "step").last().unwrap()["masked_lm_loss"].clone();
    assert_eq!(last(&whole), last(&stopped));
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_one_before_used() {
    let place = Place::new(TINY);
    let (whole, damaged) = (place.out("whole"), place.out("damaged"));
    succeed(&place.arguments(&whole, &[]));
    succeed(&place.arguments(&damaged, &[]));
    flip(&checkpoints(&damaged)[1].join("optimizer.safetensors"), 100);
    let output = run(&["pretrain", "--data", text(&place.data), "--out", text(&damaged), "--resume"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("optimizer.safetensors: expected") && stderr.contains("the checkpoint is damaged"),
        "{stderr}"
    );
    assert!(stderr.contains("step-00000030: resuming after step 30"), "{stderr}");
    assert!(model_bytes(&whole) == model_bytes(&damaged));
    let steps: Vec<u64> = metrics(&damaged, "step").iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 5, 10, 15, 20, 25, 30, 35, 40]);
}

#[test]
fn the_micro_batch_bound_does_not_change_what_is_learnt() {
    let place = Place::new(TINY);
    let without_dropout = place.dir.path().join("no-dropout.toml");
    let text_of_recipe = fs::read_to_string(&place.recipe).unwrap();
    let dropout = "[model]\nhidden_dropout_prob = 0\nattention_probs_dropout_prob = 0";
    fs::write(&without_dropout, text_of_recipe.replace("[model]", dropout)).unwrap();
    let loss = |tokens: &str| {
        let out = place.out(tokens);
        let recipe = text(&without_dropout);
        let data = text(&place.data);
        succeed(&[
            "pretrain",
            "--recipe",
            recipe,
            "--data",
            data,
            "--out",
            text(&out),
            "--micro-batch-tokens",
            tokens,
            "--steps",
            "5",
        ]);
        metrics(&out, "step").last().unwrap()["masked_lm_loss"].as_f64().unwrap()
    };
    let (one, sixteen) = (loss("100000"), loss("1"));
    assert!((one - sixteen).abs() < 1e-4 * one, "{one} {sixteen}");
}

#[test]
fn phase_2_takes_weights_and_moments_over_and_starts_at_step_0() {
    let place = Place::new(TINY);
    let (phase1, phase2) = (place.out("p1"), place.out("p2"));
    succeed(&place.arguments(&phase1, &[]));
    let data = text(&place.data);
    let arguments = ["pretrain", "--data", data, "--out", text(&phase2), "--init", text(&phase1)];
    let flags =
        ["--steps", "5", "--global-batch-size", "16", "--threads", "1", "--learning-rate", "0.001", "--log-every", "1"];
    let output = run(&[&arguments[..], &flags[..]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("moments of step 40 carried over, step back at 0"), "{stderr}");
    let end = metrics(&phase1, "step").last().unwrap()["masked_lm_loss"].as_f64().unwrap();
    let start = metrics(&phase2, "step")[0]["masked_lm_loss"].as_f64().unwrap();
    assert!((start - end).abs() < 0.5, "phase 1 ended at {end}, phase 2 began at {start}");
    let state = json(&checkpoints(&phase2).last().unwrap().join("state.json"));
    assert_eq!((&state["position"]["step"], &state["optimizer"]["step"]), (&5.into(), &5.into()));
}

#[test]
fn another_vocabulary_is_refused_by_name() {
    let place = Place::new(TINY);
    let phase1 = place.out("p1");
    succeed(&place.arguments(&phase1, &["--steps", "1"]));
    let other = place.out("other");
    pretrain(&other, 20, "x");
    let out = place.out("p2");
    let message = fail(&["pretrain", "--data", text(&other), "--out", text(&out), "--init", text(&phase1)]);
    let short = |salt: &str| vocabulary(salt).sha256()[..12].to_owned();
    assert_eq!(
        message,
        format!(
            "{}: expected a dataset built with the vocabulary of {} (sha256 {}), found another (sha256 {}); prepare the data with \
             that checkpoint's vocab.txt",
            other.display(),
            checkpoints(&phase1)[0].display(),
            short(""),
            short("x")
        )
    );
    assert!(!out.exists(), "nothing is left behind");
}

#[test]
fn a_shard_with_a_flipped_bit_ends_the_run_with_one_line() {
    let place = Place::new(TINY);
    let shard = place.data.join("shard-00000-of-00001.arrow");
    let len = fs::metadata(&shard).unwrap().len() as usize;
    flip(&shard, len / 2);
    let message = fail(&place.arguments(&place.out("run"), &[]));
    assert!(message.starts_with(&format!("{}: ", shard.display())), "{message}");
    assert!(message.contains("crc32c") && message.contains("the file is damaged"), "{message}");
}

#[test]
fn a_run_is_not_overwritten() {
    let place = Place::new(TINY);
    let out = place.out("run");
    succeed(&place.arguments(&out, &["--steps", "1"]));
    let message = fail(&place.arguments(&out, &["--steps", "1"]));
    let expected =
        "expected a new directory, found one with files in it; give --resume to continue a run, or another --out";
    assert_eq!(message, format!("{}: {expected}", out.display()));
}

#[test]
fn a_run_is_resumed_only_as_it_was_begun() {
    let place = Place::new(TINY);
    let out = place.out("run");
    succeed(&place.arguments(&out, &["--steps", "3"]));
    let checkpoint = checkpoints(&out)[0].display().to_string();
    let message = fail(&["pretrain", "--data", text(&place.data), "--out", text(&out), "--resume", "--seed", "1"]);
    assert_eq!(
        message,
        format!(
            "{checkpoint}: expected run.seed = 42, as this run was started, found 1; resume with the same settings or start anew"
        )
    );
    let other = place.out("other");
    pretrain(&other, 20, "");
    let message = fail(&["pretrain", "--data", text(&other), "--out", text(&out), "--resume"]);
    assert!(message.contains("expected data = 200 instances"), "{message}");
    let nothing = place.out("nothing");
    fs::create_dir(&nothing).unwrap();
    let message = fail(&["pretrain", "--data", text(&place.data), "--out", text(&nothing), "--resume"]);
    let expected = "expected a run with a whole checkpoint, found none; start it without --resume";
    assert_eq!(message, format!("{}: {expected}", nothing.display()));
}

#[test]
fn bad_input_is_one_line_and_nothing_is_left_behind() {
    let place = Place::new(TINY);
    let out = place.out("run");
    let missing = place.out("missing");
    let message = fail(&["pretrain", "--data", text(&missing), "--out", text(&out)]);
    assert!(message.starts_with(&format!("{}: ", missing.display())), "{message}");
    let glue_data = place.out("glue");
    glue(&glue_data, 5, "");
    let message = fail(&["pretrain", "--data", text(&glue_data), "--out", text(&out)]);
    assert_eq!(message, format!("{}: expected a pretrain dataset, found glue", glue_data.display()));
    fs::write(&place.recipe, "[model]\nmax_position_embeddings = 8\n").unwrap();
    let message = fail(&place.arguments(&out, &[]));
    assert!(
        message.contains("expected rows of at most 8 tokens (max_position_embeddings), found one of 1"),
        "{message}"
    );
    fs::write(&place.recipe, "[schedule]\nsteps = \"many\"\n").unwrap();
    let message = fail(&place.arguments(&out, &[]));
    assert!(message.starts_with(&format!("{}: line 2: ", place.recipe.display())), "{message}");
    assert!(!out.exists());
}

#[test]
fn a_run_that_explodes_skips_its_steps_and_stops() {
    let place = Place::new(TINY);
    let out = place.out("run");
    let message = fail(&place.arguments(
        &out,
        &["--learning-rate", "1e3", "--warmup-fraction", "0", "--steps", "4000", "--checkpoint-every", "4000"],
    ));
    assert!(message.contains("found 10 non-finite steps in a row after step"), "{message}");
    assert!(message.ends_with("start anew; no checkpoint had been saved"), "{message}");
    assert!(!out.join("checkpoints").exists());
}

/// Adds settings to the [run] section of the recipe.
fn with_run_settings(place: &Place, settings: &str) {
    let text_of_recipe = fs::read_to_string(&place.recipe).unwrap();
    fs::write(&place.recipe, text_of_recipe.replacen("[run]", &format!("[run]\n{settings}"), 1)).unwrap();
}

#[test]
fn steps_whose_loss_is_a_spike_are_skipped_and_the_run_goes_on() {
    let place = Place::new(TINY);
    // Every loss above the mean counts: about half of them, as the model hardly learns.
    with_run_settings(&place, "max_loss_spike = 1.0\nmax_nonfinite_steps = 1000");
    let out = place.out("run");
    let output = run(&place.arguments(&out, &["--learning-rate", "1e-6", "--steps", "20"]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains(", a spike above the recent mean "), "{stderr}");
    let state = json(&checkpoints(&out).last().unwrap().join("state.json"));
    assert_eq!(state["position"]["step"], 20);
    assert!(state["position"]["num_skipped"].as_u64().unwrap() > 0);
}

#[test]
fn a_run_whose_loss_shoots_up_for_good_stops_with_its_checkpoint_intact() {
    let place = Place::new(TINY);
    let out = place.out("run");
    let flags = ["--learning-rate", "10", "--warmup-fraction", "1", "--steps", "400", "--max-loss-spike", "1.5"];
    let message = fail(&place.arguments(&out, &flags));
    assert!(message.contains("found 10 loss spikes in a row after step "), "{message}");
    assert!(message.contains("/checkpoints/step-000000") && message.ends_with("which is intact"), "{message}");
}

#[test]
fn held_out_text_has_a_perplexity_and_adamw_with_a_cosine_learns_too() {
    let place = Place::new(TINY);
    pretrain(&place.data.join("held-out"), 50, "");
    let out = place.out("run");
    succeed(&place.arguments(&out, &["--optimizer", "adamw", "--curve", "cosine"]));
    let held_out = metrics(&out, "held_out");
    let (first, last) = (&held_out[0], held_out.last().unwrap());
    let perplexity = last["masked_lm_perplexity"].as_f64().unwrap();
    assert!((perplexity.ln() - last["masked_lm_loss"].as_f64().unwrap()).abs() < 1e-9);
    assert!(perplexity < first["masked_lm_perplexity"].as_f64().unwrap() && perplexity < 60.0, "{held_out:?}");
    let state = json(&checkpoints(&out).last().unwrap().join("state.json"));
    assert_eq!(state["optimizer"]["kind"], "adamw");
    assert_eq!(state["recipe"]["optimizer"]["epsilon"], 1e-8);
}
