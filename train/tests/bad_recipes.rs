//! Recipes, datasets and checkpoints that cannot be used: one line, exit code 2, nothing left behind.

mod datasets;

use std::fs;
use std::path::{Path, PathBuf};

use datasets::*;

struct Place {
    dir: tempfile::TempDir,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        pretrain(&data, 60, "");
        Self { dir, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the program says of the recipe `toml` and of `flags`; nothing must be left behind.
    fn refused(&self, toml: &str, flags: &[&str]) -> String {
        let (recipe, out) = (self.path("recipe.toml"), self.path("run"));
        fs::write(&recipe, toml).unwrap();
        let begin = ["pretrain", "--recipe", text(&recipe), "--data", text(&self.data), "--out", text(&out)];
        let message = fail(&[&begin[..], flags].concat());
        assert!(!out.exists(), "{toml}: something is left behind");
        message.replace(&format!("{}/", self.dir.path().display()), "")
    }

    /// A finished run of two steps.
    fn run(&self, name: &str) -> PathBuf {
        let out = self.path(name);
        let recipe = recipe(self.dir.path());
        let begin = ["pretrain", "--recipe", text(&recipe), "--data", text(&self.data), "--out", text(&out)];
        succeed(&[&begin[..], &["--steps", "2"]].concat());
        out
    }
}

#[test]
fn each_impossible_recipe_is_told_in_one_line() {
    let place = Place::new();
    let cases = [
        ("[run]\nsteps = 5\n", "recipe.toml: line 2: unknown field `steps`, expected one of `seed`, `device`, "),
        ("[optimiser]\n", "recipe.toml: line 1: unknown field `optimiser`, expected one of `run`, `model`, `data`, "),
        ("[run\n", "recipe.toml: line 1: "),
        (
            "[run]\nprecision = \"fp8\"\n",
            "recipe.toml: line 2: unknown variant `fp8`, expected one of `auto`, `fp32`, ",
        ),
        (
            "[run]\nprecision = \"tf32\"\ndevice = \"cpu\"\n",
            "run.precision: expected fp32, bf16 or fp16 on a CPU, found tf32",
        ),
        ("[run]\nmax_loss_spike = 0.5\n", "run.max_loss_spike: expected a number between 1 and "),
        ("[run]\ninitial_loss_scale = 0.0\n", "run.initial_loss_scale: expected a number between 1 and "),
        (
            "[run]\ncheckpoint_every = 10\nkeep_checkpoint_every = 15\n",
            "run.keep_checkpoint_every: expected a multiple of run.checkpoint_every (10), found 15",
        ),
        (
            "[model]\nhidden_size = 100\nnum_attention_heads = 3\n",
            "model.num_attention_heads: expected a divisor of hidden_size 100, found 3",
        ),
        ("[model]\nhidden_size = 0\n", "model.hidden_size: expected at least 1, found 0"),
        ("[model]\nhidden_act = \"relu\"\n", "model.hidden_act: expected gelu or gelu_new, found relu"),
        (
            "[model]\nmax_position_embeddings = 8\n",
            "data: expected rows of at most 8 tokens (max_position_embeddings), found one of 1",
        ),
        ("[data]\nglobal_batch_size = 0\n", "data.global_batch_size: expected 1 to 4294967296, found 0"),
        ("[data]\nmasked_lm_prob = 1.5\n", "data.masked_lm_prob: expected a number between 0 and 1, found 1.5"),
        ("[optimizer]\nkind = \"sgd\"\n", "recipe.toml: line 2: unknown variant `sgd`, expected `lamb` or `adamw`"),
        (
            "[optimizer]\nlearning_rate = nan\n",
            "optimizer.learning_rate: expected a number between 0 and 1000, found NaN",
        ),
        ("[optimizer]\nmax_grad_norm = -1.0\n", "optimizer.max_grad_norm: expected a number from 0 up, found -1"),
        ("[optimizer]\nmax_grad_norm = nan\n", "optimizer.max_grad_norm: expected a number from 0 up, found NaN"),
        ("[optimizer]\nbeta2 = 1.0\n", "optimizer.beta2: expected a number between 0 and 0.9999999999999998, found 1"),
        ("[schedule]\nsteps = 0\n", "schedule.steps: expected at least 1, found 0"),
        (
            "[schedule]\nwarmup_fraction = 1.5\n",
            "schedule.warmup_fraction: expected a number between 0 and 1, found 1.5",
        ),
        (
            "[schedule]\nwarmup_fraction = nan\n",
            "schedule.warmup_fraction: expected a number between 0 and 1, found NaN",
        ),
        (
            "[schedule]\ncurve = \"step\"\n",
            "recipe.toml: line 2: unknown variant `step`, expected one of `polynomial`, ",
        ),
    ];
    for (toml, expected) in cases {
        let message = place.refused(toml, &[]);
        assert!(message.starts_with(expected), "{toml}\n{message}\n{expected}");
    }
}

#[test]
fn each_dataset_that_does_not_fit_is_told_in_one_line() {
    let place = Place::new();
    let (squad_data, longer) = (place.path("squad"), place.path("other-words"));
    squad(&squad_data, 5);
    pretrain(&longer, 20, "x");
    let phase1 = place.run("p1");
    let out = place.path("out");
    let message = fail(&["pretrain", "--data", text(&squad_data), "--out", text(&out)]);
    assert_eq!(message, format!("{}: expected a pretrain dataset, found squad", squad_data.display()));
    let begin = ["pretrain", "--data", text(&place.data), "--out", text(&out)];
    let message = fail(&[&begin[..], &["--held-out", text(&longer)]].concat());
    assert!(message.contains("expected a dataset built with the vocabulary of"), "{message}");
    let checkpoint = checkpoints(&phase1).pop().unwrap();
    // The same words, with their case kept.
    let tokenizer = checkpoint.join("tokenizer_config.json");
    let model = place.path("model");
    copy(&checkpoint, &model);
    fs::write(model.join("tokenizer_config.json"), fs::read_to_string(&tokenizer).unwrap().replace("true", "false"))
        .unwrap();
    let message = fail(&[&begin[..], &["--init", text(&model)]].concat());
    let expected =
        format!("{}: expected cased text, as {} has it, found uncased; ", place.data.display(), model.display());
    assert!(message.starts_with(&expected), "{message}");
    assert!(!out.exists());
}

/// A model directory of the files of a checkpoint, without its state.
fn copy(checkpoint: &Path, model: &Path) {
    fs::create_dir(model).unwrap();
    for name in ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"] {
        fs::copy(checkpoint.join(name), model.join(name)).unwrap();
    }
}

#[test]
fn each_checkpoint_that_does_not_fit_is_told_in_one_line() {
    let place = Place::new();
    let phase1 = place.run("p1");
    let shape =
        "[model]\nhidden_size = 64\nnum_attention_heads = 2\nnum_hidden_layers = 2\nmax_position_embeddings = 32\n";
    let message = place.refused(shape, &["--init", text(&phase1)]);
    let expected = "p1/checkpoints/step-00000002: expected hidden_size = 64, as the recipe's [model] has it, found 32; give \
                    another --init, or leave [model] out";
    assert_eq!(message, expected);
    let glue_data = place.path("glue");
    glue(&glue_data, 20, "");
    let fine = place.path("fine");
    let begin = ["finetune", "glue", "--data", text(&glue_data), "--init", text(&phase1), "--out", text(&fine)];
    succeed(&[&begin[..], &["--epochs", "1", "--threads", "1", "--device", "cpu"]].concat());
    let message = fail(&["pretrain", "--data", text(&place.data), "--out", text(&fine), "--resume"]);
    assert!(message.contains("expected a run of pretrain, found one of glue; give its own command"), "{message}");
    // A vocab.txt with more tokens than the model has rows.
    let model = place.path("model");
    copy(checkpoints(&phase1).last().unwrap(), &model);
    let vocabulary = model.join("vocab.txt");
    fs::write(&vocabulary, fs::read_to_string(&vocabulary).unwrap() + "one\ntwo\n").unwrap();
    let message = place.refused("", &["--init", text(&model)]);
    assert_eq!(
        message,
        "model/vocab.txt: expected at most 64 tokens (vocab_size in config.json), found 66; give the model its own vocab.txt"
    );
    let message = place.refused("", &["--init", text(&place.path("nothing"))]);
    assert!(message.starts_with("nothing: expected a model (config.json and model.safetensors) or a run"), "{message}");
}

#[test]
fn a_named_recipe_runs_and_an_unknown_name_lists_them() {
    let place = Place::new();
    let out = place.path("run");
    let begin = ["pretrain", "--data", text(&place.data), "--out", text(&out), "--recipe"];
    let message = fail(&[&begin[..], &["bert-huge"]].concat());
    assert!(message.starts_with("recipe bert-huge: expected a TOML file or one of bert-large-phase1, "), "{message}");
    assert!(!out.exists());
    let listed = succeed(&["recipes"]);
    assert!(listed.lines().count() > 10 && listed.contains("bert-large-phase2  "), "{listed}");
    let printed = succeed(&["recipes", "mini-phase1"]);
    let own = place.path("own.toml");
    fs::write(&own, printed).unwrap();
    let flags = ["--steps", "1", "--global-batch-size", "4", "--device", "cpu", "--threads", "1"];
    succeed(&[&begin[..], &[text(&own)], &flags[..]].concat());
    let config = json(&checkpoints(&out)[0].join("config.json"));
    assert_eq!((&config["num_hidden_layers"], &config["hidden_size"]), (&4.into(), &256.into()));
}

#[test]
fn a_dry_run_tells_the_plan_and_writes_nothing() {
    let place = Place::new();
    let tiny = recipe(place.dir.path());
    let before: Vec<_> = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let begin = ["pretrain", "--recipe", text(&tiny), "--data", text(&place.data), "--dry-run"];
    let plan: serde_json::Value = serde_json::from_str(&succeed(&[&begin[..], &["--json"]].concat())).unwrap();
    assert_eq!((&plan["dataset"], &plan["steps"], &plan["instances_per_step"]), (&60.into(), &40.into(), &16.into()));
    assert!((plan["epochs"].as_f64().unwrap() - 40.0 * 16.0 / 60.0).abs() < 1e-9, "{plan}");
    assert!((plan["work_in_all"].as_f64().unwrap() / plan["work_per_step"].as_f64().unwrap() - 40.0).abs() < 1e-9);
    assert!(plan["time"].as_f64().unwrap() > 0.0 && plan["memory"].as_f64().unwrap() > 1e5, "{plan}");
    assert_eq!(fail(&[&begin[..], &["--tflops", "0"]].concat()), "tflops: expected a positive number, found 0");
    // A given rate decides the time, and nothing is computed: BERT-large would take minutes here.
    let large = ["pretrain", "--recipe", "bert-large-phase1", "--data", text(&place.data), "--dry-run", "--json"];
    let plan = |flags: &[&str]| -> serde_json::Value {
        serde_json::from_str(&succeed(&[&large[..], flags].concat())).unwrap()
    };
    let (one, eight) =
        (plan(&["--tflops", "300", "--preset", "h100"]), plan(&["--tflops", "300", "--preset", "8xh100"]));
    let (one_s, eight_s) = (one["time"].as_f64().unwrap(), eight["time"].as_f64().unwrap());
    assert!((one_s / (one["work_in_all"].as_f64().unwrap() / 300e12) - 1.0).abs() < 1e-9, "{one}");
    assert!((one_s / eight_s - 8.0).abs() < 1e-9);
    assert_eq!(one["precision"], "bf16");
    let budget = |plan: &serde_json::Value| plan["micro_batch_tokens"].as_u64().unwrap();
    assert!((8_192..131_072).contains(&budget(&one)), "{one}");
    assert!(budget(&plan(&["--tflops", "300", "--preset", "h200"])) > budget(&one));
    assert_eq!(budget(&plan(&["--tflops", "300", "--preset", "h200", "--micro-batch-tokens", "4096"])), 4096);
    let after: Vec<_> = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(before, after);
}
