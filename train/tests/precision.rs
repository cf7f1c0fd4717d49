//! Mixed precision beside fp32, on the CPU: gradients, loss curves, and the dynamic loss scale of fp16.

mod common;
mod datasets;

use cloze_train::model::config::{Activation, BertConfig};
use cloze_train::model::{Bert, Head};
use cloze_train::optim::{OptimizerConfig, OptimizerKind};
use cloze_train::precision::Precision;
use cloze_train::step::pretrain_step;
use cloze_train::world::DataParallel;
use common::*;
use tch::{Device, Kind, Tensor};

/// A model of the golden batch with that precision, without dropout.
fn model(precision: Precision) -> Bert {
    let mut bert = Bert::new(tiny_config(Activation::Gelu), Head::PreTraining, Device::Cpu, 3).unwrap();
    bert.set_precision(precision);
    bert
}

/// Gradient of the golden batch, divided by `scale` after backward.
fn gradient(precision: Precision, scale: f64) -> Tensor {
    let golden = golden("bert.safetensors");
    let batch = global(vec![pretrain_batch(&golden, 0, 4)], 4, 6);
    let mut bert = model(precision);
    bert.parameters_mut().set_gradient_scale(scale);
    pretrain_step(&mut bert, &batch, &DataParallel::alone()).unwrap();
    bert.parameters().gradient().copy() / scale
}

fn norm(t: &Tensor) -> f64 {
    t.to_kind(Kind::Double).norm().double_value(&[])
}

#[test]
fn gradients_of_16_bits_are_near_those_of_fp32() {
    let exact = gradient(Precision::Fp32, 1.0);
    // bf16 rounds to 2^-9, fp16 to 2^-12, in each of some thirty products one after the other.
    for (precision, scale, bound) in [(Precision::Bf16, 1.0, 0.03), (Precision::Fp16, 1024.0, 0.004)] {
        let found = gradient(precision, scale);
        let error = norm(&(&found - &exact)) / norm(&exact);
        assert!(error < bound, "{precision:?}: {error}");
        assert!(error > 1e-6, "{precision:?} computed in fp32");
    }
}

#[test]
fn a_scale_of_the_loss_is_a_scale_of_the_gradient() {
    let (one, many) = (gradient(Precision::Fp32, 1.0), gradient(Precision::Fp32, 65_536.0));
    assert!(norm(&(&many - &one)) < 1e-6 * norm(&one));
}

#[test]
fn loss_curves_of_16_bits_follow_that_of_fp32_over_30_steps() {
    let golden = golden("bert.safetensors");
    let batch = global(vec![pretrain_batch(&golden, 0, 2), pretrain_batch(&golden, 2, 4)], 4, 6);
    let curve = |precision: Precision| -> Vec<f64> {
        let mut bert = model(precision);
        bert.parameters_mut().set_gradient_scale(if precision == Precision::Fp16 { 1024.0 } else { 1.0 });
        let mut optimizer = OptimizerConfig::new(OptimizerKind::Lamb).build(bert.parameters()).unwrap();
        (0..30)
            .map(|_| {
                let loss = pretrain_step(&mut bert, &batch, &DataParallel::alone()).unwrap().loss();
                assert!(!optimizer.step(bert.parameters_mut(), 0.01).unwrap().skipped);
                loss
            })
            .collect()
    };
    let exact = curve(Precision::Fp32);
    assert!(exact[29] < exact[0] - 0.5, "{exact:?}");
    for (precision, bound) in [(Precision::Bf16, 0.02), (Precision::Fp16, 0.005)] {
        let found = curve(precision);
        let worst = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < bound * exact[0], "{precision:?}: {worst}\n{found:?}\n{exact:?}");
    }
}

#[test]
fn parameters_and_gradients_stay_fp32_and_dropout_works_in_16_bits() {
    let golden = golden("bert.safetensors");
    let batch = global(vec![pretrain_batch(&golden, 0, 4)], 4, 6);
    for precision in [Precision::Bf16, Precision::Fp16] {
        let config =
            BertConfig { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1, ..tiny_config(Activation::Gelu) };
        let mut bert = Bert::new(config, Head::PreTraining, Device::Cpu, 3).unwrap();
        bert.set_precision(precision);
        assert!(pretrain_step(&mut bert, &batch, &DataParallel::alone()).unwrap().loss().is_finite());
        assert_eq!(bert.parameters().flat().kind(), Kind::Float);
        assert_eq!(bert.parameters().gradient().kind(), Kind::Float);
    }
}

/// Whole runs of the program.
mod runs {
    use super::datasets::*;

    #[test]
    fn fp16_backs_its_scale_off_until_gradients_are_finite_and_resumes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (data, whole, halves) = (dir.path().join("data"), dir.path().join("whole"), dir.path().join("halves"));
        pretrain(&data, 200, "");
        let tiny = recipe(dir.path());
        // So large a scale overflows fp16 for certain.
        let scale = "[run]\ninitial_loss_scale = 1073741824.0\nloss_scale_growth_interval = 12\nprecision = \"fp16\"";
        let text_of_recipe = std::fs::read_to_string(&tiny).unwrap().replacen("[run]", scale, 1);
        std::fs::write(&tiny, text_of_recipe).unwrap();
        let arguments = |out| ["pretrain", "--recipe", text(&tiny), "--data", text(&data), "--out", out];
        let output = run(&arguments(text(&whole)));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert!(
            stderr.contains("not finite; the step is skipped (1 in a row), the loss scale is 536870912 now"),
            "{stderr}"
        );
        let steps = metrics(&whole, "step");
        let skipped = steps[0]["num_skipped"].as_u64().unwrap();
        assert!(skipped >= 5, "{skipped}");
        assert_eq!(steps[0]["loss_scale"], (1u64 << (30 - skipped)) as f64);
        // Twelve clean steps double it once more.
        let scales: Vec<f64> = steps.iter().map(|row| row["loss_scale"].as_f64().unwrap()).collect();
        assert!(scales.windows(2).any(|pair| pair[1] == 2.0 * pair[0]), "{scales:?}");
        assert_eq!(steps.last().unwrap()["step"], 40, "a skipped step does not count");
        super::stop_and_resume(&data, &halves, &arguments(text(&halves)));
        let state = |run| json(&checkpoints(run).last().unwrap().join("state.json"))["position"].clone();
        for key in ["loss_scale", "num_skipped", "step", "recent_loss"] {
            assert_eq!(state(&whole)[key], state(&halves)[key], "{key}");
        }
    }

    #[test]
    fn a_run_in_bf16_learns_as_one_in_fp32() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        pretrain(&data, 200, "");
        let tiny = recipe(dir.path());
        let loss = |precision: &str| {
            let out = dir.path().join(precision);
            let data = ["pretrain", "--recipe", text(&tiny), "--data", text(&data), "--out", text(&out)];
            succeed(&[&data[..], &["--precision", precision]].concat());
            metrics(&out, "step").last().unwrap()["masked_lm_loss"].as_f64().unwrap()
        };
        let (fp32, bf16) = (loss("fp32"), loss("bf16"));
        assert!((fp32 - bf16).abs() < 0.05 * fp32, "{fp32} {bf16}");
        assert_ne!(fp32, bf16);
    }
}

/// Runs to the end in two halves: the first ends as by a crash after checkpoint 20, the second resumes there.
fn stop_and_resume(data: &std::path::Path, out: &std::path::Path, arguments: &[&str]) {
    use datasets::*;
    succeed(&[arguments, &["--steps", "40"]].concat());
    let newest = checkpoints(out).pop().unwrap();
    std::fs::remove_dir_all(newest).unwrap();
    succeed(&["pretrain", "--data", text(data), "--out", text(out), "--resume"]);
}
