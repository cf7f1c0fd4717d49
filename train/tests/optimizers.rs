//! LAMB and AdamW against golden/make_optimizers.py; a tiny model overfits one batch with either.

mod common;

use std::collections::HashMap;

use cloze_train::model::config::{Activation, BertConfig};
use cloze_train::model::{Bert, Head};
use cloze_train::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule};
use cloze_train::parameters::{Init, Parameters, ParametersBuilder};
use cloze_train::recipe::Curve;
use cloze_train::step::pretrain_step;
use cloze_train::world::DataParallel;
use common::*;
use tch::{Device, Tensor};

const NUM_STEPS: i64 = 100;
const NUM_GRADIENTS: i64 = 10;

fn parameters(golden: &HashMap<String, Tensor>) -> Parameters {
    let mut builder = ParametersBuilder::default();
    let mut names: Vec<&str> = golden.keys().filter_map(|name| name.strip_prefix("start.")).collect();
    names.sort();
    for name in names {
        let shape = golden[&format!("start.{name}")].size();
        builder.add(name, &shape, name.ends_with(".weight") && !name.contains("LayerNorm"), Init::Zeros);
    }
    let parameters = builder.build(Device::Cpu, 0).unwrap();
    for entry in parameters.entries() {
        parameters.view(entry).unwrap().copy_(&golden[&format!("start.{}", entry.name)]);
    }
    parameters
}

fn set_gradient(parameters: &mut Parameters, golden: &HashMap<String, Tensor>, step: i64) {
    parameters.zero_gradient().unwrap();
    for entry in parameters.entries() {
        let gradient =
            golden[&format!("gradient.{}", entry.name)].get(step % NUM_GRADIENTS) * golden["scale"].get(step);
        parameters.gradient_view(entry).unwrap().copy_(&(gradient * parameters.gradient_scale()));
    }
}

/// Runs all golden steps, compares at those that are kept, and survives an export and import half-way.
fn assert_golden(name: &str, gradient_scale: f64, make: impl Fn(&Parameters) -> Box<dyn Optimizer>) {
    let golden = golden("optimizers.safetensors");
    let schedule = Schedule::new(Curve::Polynomial, 0.02, 0.3, NUM_STEPS as u64 + 1).unwrap();
    let mut parameters = parameters(&golden);
    parameters.set_gradient_scale(gradient_scale);
    let mut optimizer = make(&parameters);
    for step in 0..NUM_STEPS {
        let learning_rate = schedule.learning_rate(step as u64);
        assert!((learning_rate / golden["learning_rate"].double_value(&[step]) - 1.0).abs() < 1e-12);
        set_gradient(&mut parameters, &golden, step);
        let outcome = optimizer.step(&mut parameters, learning_rate).unwrap();
        assert!(outcome.gradient_norm > 0.1 && !outcome.skipped);
        if step == 4 {
            let state = optimizer.state();
            optimizer = make(&parameters);
            optimizer.load_state(&state).unwrap();
        }
        for entry in parameters.entries() {
            if let Some(expected) = golden.get(&format!("{name}.{}.{}", step + 1, entry.name)) {
                let error = relative_error(&parameters.view(entry).unwrap(), expected);
                assert!(error < 1e-6, "{name} step {}: {}: relative error {error:e}", step + 1, entry.name);
            }
        }
    }
    assert_eq!(optimizer.state().step, NUM_STEPS as u64);
}

fn lamb(parameters: &Parameters) -> Box<dyn Optimizer> {
    OptimizerConfig::new(OptimizerKind::Lamb).build(parameters).unwrap()
}

fn adamw(parameters: &Parameters) -> Box<dyn Optimizer> {
    OptimizerConfig::new(OptimizerKind::Adamw).build(parameters).unwrap()
}

#[test]
fn lamb_equals_the_reference_over_a_hundred_steps() {
    assert_golden("lamb", 1.0, lamb);
}

#[test]
fn adamw_equals_torch_s_over_a_hundred_steps() {
    assert_golden("adamw", 1.0, adamw);
}

#[test]
fn the_scale_of_gradients_does_not_change_what_is_learnt() {
    assert_golden("lamb", 65_536.0, lamb);
    assert_golden("adamw", 65_536.0, adamw);
}

#[test]
fn a_limit_of_0_clips_nothing() {
    let golden = golden("optimizers.safetensors");
    let moment = |max_gradient_norm: f64| {
        let mut parameters = parameters(&golden);
        let config = OptimizerConfig { max_gradient_norm, ..OptimizerConfig::new(OptimizerKind::Lamb) };
        let mut optimizer = config.build(&parameters).unwrap();
        set_gradient(&mut parameters, &golden, 0);
        let _ = parameters.gradient().shallow_clone().fill_(1.0);
        let norm = optimizer.step(&mut parameters, 0.1).unwrap().gradient_norm;
        (norm, optimizer.state().tensors[0].1.max().double_value(&[]))
    };
    let (norm, unclipped) = moment(0.0);
    assert!((unclipped - 0.1).abs() < 1e-6, "{unclipped}");
    let (_, clipped) = moment(1.0);
    assert!((clipped * norm - 0.1).abs() < 1e-6, "{clipped} {norm}");
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let golden = golden("optimizers.safetensors");
    for make in [lamb, adamw] {
        let mut parameters = parameters(&golden);
        let mut optimizer = make(&parameters);
        set_gradient(&mut parameters, &golden, 0);
        let _ = parameters.gradient().narrow(0, 3, 1).fill_(f64::INFINITY);
        let before = parameters.flat().copy();
        let outcome = optimizer.step(&mut parameters, 0.1).unwrap();
        assert!(outcome.skipped && !outcome.gradient_norm.is_finite());
        assert_eq!(parameters.flat(), &before);
        assert_eq!(optimizer.state().step, 0);
        assert_eq!(optimizer.state().tensors[0].1.abs().max().double_value(&[]), 0.0);
    }
}

#[test]
fn a_state_of_another_optimizer_or_model_is_refused_and_phase_2_keeps_the_moments() {
    let golden = golden("optimizers.safetensors");
    let mut parameters = parameters(&golden);
    let mut first = lamb(&parameters);
    set_gradient(&mut parameters, &golden, 9);
    first.step(&mut parameters, 0.1).unwrap();
    let mut second = lamb(&parameters);
    second.load_state(&first.state()).unwrap();
    second.reset_step();
    assert_eq!(second.state().step, 0);
    assert_eq!(second.state().tensors, first.state().tensors);
    let error = adamw(&parameters).load_state(&first.state()).unwrap_err().to_string();
    assert_eq!(error, "optimizer state: expected one of adamw, found one of lamb");
    let other = Bert::new(tiny_config(Activation::Gelu), Head::PreTraining, Device::Cpu, 1).unwrap();
    let error = lamb(other.parameters()).load_state(&first.state()).unwrap_err().to_string();
    assert!(error.starts_with("optimizer state: expected parameter layout "), "{error}");
}

#[test]
fn a_tiny_model_overfits_one_batch_with_dropout_and_without() {
    let golden = golden("bert.safetensors");
    for (dropout, learning_rate, make) in
        [(0.0, 0.02, lamb as fn(&Parameters) -> Box<dyn Optimizer>), (0.05, 0.005, adamw)]
    {
        let config = BertConfig {
            hidden_dropout_prob: dropout,
            attention_probs_dropout_prob: dropout,
            ..tiny_config(Activation::Gelu)
        };
        let mut model = Bert::new(config, Head::PreTraining, Device::Cpu, 3).unwrap();
        let mut optimizer = make(model.parameters());
        let batch = global(vec![pretrain_batch(&golden, 0, 2), pretrain_batch(&golden, 2, 4)], 4, 6);
        let first = pretrain_step(&mut model, &batch, &DataParallel::alone()).unwrap();
        assert!((first.mean_masked_lm_loss() - 40f64.ln()).abs() < 0.3, "{first:?}");
        let mut last = first;
        for _ in 0..150 {
            optimizer.step(model.parameters_mut(), learning_rate).unwrap();
            last = pretrain_step(&mut model, &batch, &DataParallel::alone()).unwrap();
        }
        assert!(last.mean_masked_lm_loss() < 0.3 && last.mean_next_sentence_loss() < 0.3, "{last:?}");
        assert!(last.masked_lm_correct >= 5 && last.next_sentence_correct == 4, "{last:?}");
    }
}
