//! Logits, losses and all gradients against golden/make_bert.py, an independent computation in float64.

mod common;

use cloze_formats::stream::{GlobalBatch, PretrainBatch};
use cloze_train::model::config::{Activation, BertConfig};
use cloze_train::model::{Bert, Head};
use cloze_train::step::{
    classification_step, evaluate_classification, evaluate_pretrain, pretrain_step, question_answering_logits,
    question_answering_step,
};
use cloze_train::world::DataParallel;
use common::*;
use std::collections::HashMap;
use tch::Tensor;

const CLASSIFICATION: Head = Head::SequenceClassification { num_labels: 3 };

/// The model's gradients are the golden ones, and it has no parameter that the golden computation does not use.
fn assert_gradients(model: &Bert, golden: &HashMap<String, Tensor>, task: &str) {
    for entry in model.parameters().entries() {
        let found = model.parameters().gradient_view(entry).unwrap();
        let expected = &golden[&format!("{task}.gradient.{}", entry.name)];
        // What a softmax does not see (the keys' bias, for one) has gradient 0 up to rounding, so no scale of its own.
        if expected.abs().max().double_value(&[]) < 1e-12 {
            assert!(found.abs().max().double_value(&[]) < 1e-7, "{}", entry.name);
        } else {
            assert_close(&found, expected, &format!("{task}: gradient of {}", entry.name));
        }
    }
    let used = golden.keys().filter(|name| name.starts_with(&format!("{task}.gradient."))).count();
    assert_eq!(model.parameters().entries().len(), used);
}

fn loss_of(golden: &HashMap<String, Tensor>, task: &str) -> f64 {
    golden[&format!("{task}.loss")].double_value(&[0])
}

#[test]
fn pretraining_equals_the_independent_computation_with_both_forms_of_gelu() {
    let golden = golden("bert.safetensors");
    for (form, activation) in [("gelu", Activation::Gelu), ("gelu_new", Activation::GeluNew)] {
        let task = format!("pretraining.{form}");
        let mut model = golden_model(&golden, activation, Head::PreTraining);
        let batch = pretrain_batch(&golden, 0, 4);
        let logits = model.pretraining_logits(&batch.sequences, &batch.masked_lm_positions, false).unwrap();
        assert_close(&logits.masked_lm, &golden[&format!("{task}.masked_lm")], "masked-LM logits");
        assert_close(&logits.next_sentence, &golden[&format!("{task}.next_sentence")], "next-sentence logits");
        let evaluated = evaluate_pretrain(&model, &batch).unwrap();
        let sums = pretrain_step(&mut model, &global(vec![batch], 4, 6), &DataParallel::alone()).unwrap();
        assert!((sums.loss() / loss_of(&golden, &task) - 1.0).abs() < 1e-6);
        assert_eq!((sums.num_masked, sums.num_instances), (6, 4));
        assert_eq!(evaluated, sums);
        assert_gradients(&model, &golden, &task);
    }
}

#[test]
fn classification_equals_the_independent_computation() {
    let golden = golden("bert.safetensors");
    let mut model = golden_model(&golden, Activation::Gelu, CLASSIFICATION);
    let (logits, sums) = evaluate_classification(&model, &glue_batch(&golden, 0, 4)).unwrap();
    assert_close(&Tensor::from_slice(&logits).view([4, 3]), &golden["classification.gelu.logits"], "logits");
    let trained =
        classification_step(&mut model, &global(vec![glue_batch(&golden, 0, 4)], 4, 0), &DataParallel::alone())
            .unwrap();
    assert!((trained.mean_loss() / loss_of(&golden, "classification.gelu") - 1.0).abs() < 1e-6);
    assert_eq!(sums, Some(trained));
    assert_gradients(&model, &golden, "classification.gelu");
}

#[test]
fn question_answering_equals_the_independent_computation_for_any_padding() {
    let golden = golden("bert.safetensors");
    let mut model = golden_model(&golden, Activation::Gelu, Head::QuestionAnswering);
    let (start, end) = question_answering_logits(&model, &sequences(&golden, 0, 4)).unwrap();
    let logits = Tensor::stack(&[Tensor::from_slice(&start), Tensor::from_slice(&end)], 1);
    assert_close(&logits, &golden["question_answering.gelu.logits"], "logits");
    let sums =
        question_answering_step(&mut model, &global(vec![squad_batch(&golden, 0, 4)], 4, 0), &DataParallel::alone())
            .unwrap();
    assert!((sums.mean_loss() / loss_of(&golden, "question_answering.gelu") - 1.0).abs() < 1e-6);
    assert_gradients(&model, &golden, "question_answering.gelu");
}

#[test]
fn one_micro_batch_of_8_and_8_of_1_have_the_same_loss_and_gradient() {
    let golden = golden("bert.safetensors");
    let mut model = golden_model(&golden, Activation::Gelu, Head::PreTraining);
    let together = pretrain_batch(&golden, 0, 4);
    let twice = [together.clone(), together];
    let mut joined = twice[0].clone();
    let num_tokens = joined.sequences.num_tokens();
    joined.masked_lm_positions.extend(twice[1].masked_lm_positions.iter().map(|p| p + num_tokens as i64));
    joined.masked_lm_ids.extend(&twice[1].masked_lm_ids);
    joined.next_sentence_labels.extend(&twice[1].next_sentence_labels);
    let s = &mut joined.sequences;
    s.input_ids.extend(&twice[1].sequences.input_ids);
    s.segment_ids.extend(&twice[1].sequences.segment_ids);
    s.position_ids.extend(&twice[1].sequences.position_ids);
    s.cu_seqlens.extend(twice[1].sequences.cu_seqlens[1..].iter().map(|c| c + num_tokens as i32));
    s.rows.extend(4..8);
    let one = pretrain_step(&mut model, &global(vec![joined], 8, 12), &DataParallel::alone()).unwrap();
    let gradient = model.parameters().gradient().copy();

    let singles: Vec<_> = (0..8).map(|i| pretrain_batch(&golden, i % 4, i % 4 + 1)).collect();
    assert!(singles.iter().any(|batch| batch.masked_lm_ids.is_empty()), "a micro-batch without masked positions");
    let eight = pretrain_step(&mut model, &global(singles, 8, 12), &DataParallel::alone()).unwrap();
    assert!((one.loss() / eight.loss() - 1.0).abs() < 1e-6, "{one:?} {eight:?}");
    assert_eq!(
        (one.masked_lm_correct, one.next_sentence_correct),
        (eight.masked_lm_correct, eight.next_sentence_correct)
    );
    assert_close(model.parameters().gradient(), &gradient, "gradient");

    let mut model = golden_model(&golden, Activation::Gelu, Head::QuestionAnswering);
    let one =
        question_answering_step(&mut model, &global(vec![squad_batch(&golden, 0, 4)], 4, 0), &DataParallel::alone())
            .unwrap();
    let gradient = model.parameters().gradient().copy();
    let singles = (0..4).map(|i| squad_batch(&golden, i, i + 1)).collect();
    let four = question_answering_step(&mut model, &global(singles, 4, 0), &DataParallel::alone()).unwrap();
    assert!((one.loss / four.loss - 1.0).abs() < 1e-6);
    assert_close(model.parameters().gradient(), &gradient, "gradient");
}

#[test]
fn workers_find_the_gradient_that_one_finds_and_again_after_an_update() {
    let golden = golden("bert.safetensors");
    let singles = || global((0..4).map(|i| pretrain_batch(&golden, i, i + 1)).collect(), 4, 6);
    let mut alone = golden_model(&golden, Activation::Gelu, Head::PreTraining);
    let step = |model: &mut Bert| pretrain_step(model, &singles(), &DataParallel::alone()).unwrap();
    for num_workers in [2, 3, 7] {
        let mut model = golden_model(&golden, Activation::Gelu, Head::PreTraining);
        model.set_workers(num_workers).unwrap();
        for _ in 0..2 {
            let (found, expected) = (step(&mut model), step(&mut alone));
            assert!((found.loss() / expected.loss() - 1.0).abs() < 1e-6, "{found:?} {expected:?}");
            assert_eq!((found.masked_lm_correct, found.num_masked), (expected.masked_lm_correct, expected.num_masked));
            assert_close(model.parameters().gradient(), alone.parameters().gradient(), "gradient");
            for model in [&mut model, &mut alone] {
                let update = model.parameters().gradient() * -0.05;
                let _ = model.parameters().flat().shallow_clone().f_add_(&update).unwrap();
            }
        }
        alone = golden_model(&golden, Activation::Gelu, Head::PreTraining);
    }
}

#[test]
fn dropout_depends_on_its_seed_and_the_micro_batch_and_not_on_who_computes_it() {
    let golden = golden("bert.safetensors");
    let config = BertConfig { hidden_dropout_prob: 0.3, ..tiny_config(Activation::Gelu) };
    // Twice the same instance, so that its dropout is all that differs.
    let twice = || global(vec![pretrain_batch(&golden, 0, 1), pretrain_batch(&golden, 0, 1)], 2, 4);
    let once = || global(vec![pretrain_batch(&golden, 0, 1)], 2, 4);
    let loss = |num_workers: u32, seed: u64, batch: GlobalBatch<PretrainBatch>| {
        let mut model = Bert::new(config.clone(), Head::PreTraining, tch::Device::Cpu, 3).unwrap();
        model.set_workers(num_workers).unwrap();
        model.set_dropout_seed(seed);
        pretrain_step(&mut model, &batch, &DataParallel::alone()).unwrap().masked_lm_loss
    };
    let expected = loss(1, 5, twice());
    assert_eq!(loss(2, 5, twice()), expected);
    assert_eq!(loss(2, 5, twice()), expected);
    assert_ne!(loss(2, 6, twice()), expected);
    assert_ne!(2.0 * loss(1, 5, once()), expected);
}

#[test]
fn a_seed_decides_the_weights_and_leaves_the_global_generator_alone() {
    let make = |seed| Bert::new(tiny_config(Activation::Gelu), Head::PreTraining, tch::Device::Cpu, seed).unwrap();
    let draw = || Tensor::rand([4], (tch::Kind::Float, tch::Device::Cpu));
    tch::manual_seed(1);
    let next = draw();
    tch::manual_seed(1);
    let (a, b, c) = (make(1), make(1), make(2));
    assert_eq!(draw(), next);
    assert_eq!(a.parameters().flat(), b.parameters().flat());
    assert_ne!(a.parameters().flat(), c.parameters().flat());
    assert_eq!(a.parameters().layout(), c.parameters().layout());
    let get = |name: &str| a.parameters().get(name).unwrap().unwrap();
    let deviation = get("bert.embeddings.word_embeddings.weight").std(true).double_value(&[]);
    assert!((deviation / 0.02 - 1.0).abs() < 0.1, "{deviation}");
    assert_eq!(get("bert.encoder.layer.1.output.LayerNorm.weight").min().double_value(&[]), 1.0);
    assert_eq!(get("cls.predictions.bias").abs().max().double_value(&[]), 0.0);
}

#[test]
fn what_does_not_fit_the_model_is_named() {
    let golden = golden("bert.safetensors");
    let mut model = golden_model(&golden, Activation::Gelu, Head::PreTraining);
    let text = |result: cloze_train::Result<cloze_train::step::PretrainSums>| result.unwrap_err().to_string();
    let batch = || pretrain_batch(&golden, 0, 4);
    let mut wrong = batch();
    wrong.sequences.input_ids[3] = 40;
    assert_eq!(
        text(evaluate_pretrain(&model, &wrong)),
        "token id 40: the model's vocab_size is 40; the dataset was built with another vocabulary"
    );
    let mut wrong = batch();
    wrong.masked_lm_ids[0] = -1;
    assert_eq!(
        text(evaluate_pretrain(&model, &wrong)),
        "masked token id: expected at least 0 and less than 40, found -1"
    );
    let mut wrong = batch();
    wrong.sequences.cu_seqlens = vec![0, 33];
    assert!(
        text(evaluate_pretrain(&model, &wrong))
            .starts_with("sequence of 33 tokens: the model's max_position_embeddings is 12")
    );
    let error = classification_step(&mut model, &global(vec![glue_batch(&golden, 0, 4)], 4, 0), &DataParallel::alone())
        .unwrap_err();
    assert_eq!(error.to_string(), "expected a model with a head for sequence classification, found PreTraining");
    let mut classifier = golden_model(&golden, Activation::Gelu, CLASSIFICATION);
    let mut unlabelled = glue_batch(&golden, 0, 4);
    unlabelled.labels = None;
    let error =
        classification_step(&mut classifier, &global(vec![unlabelled], 4, 0), &DataParallel::alone()).unwrap_err();
    assert!(error.to_string().starts_with("training needs labels"));
}

#[test]
fn dropout_that_drops_nothing_changes_nothing() {
    let golden = golden("bert.safetensors");
    // Too small to drop anything, but it takes the path of training with dropout.
    let config = BertConfig { attention_probs_dropout_prob: 1e-10, ..tiny_config(Activation::Gelu) };
    let mut model = Bert::new(config, Head::PreTraining, tch::Device::Cpu, 1).unwrap();
    model
        .parameters()
        .flat()
        .shallow_clone()
        .copy_(golden_model(&golden, Activation::Gelu, Head::PreTraining).parameters().flat());
    let sums =
        pretrain_step(&mut model, &global(vec![pretrain_batch(&golden, 0, 4)], 4, 6), &DataParallel::alone()).unwrap();
    assert!((sums.loss() / loss_of(&golden, "pretraining.gelu") - 1.0).abs() < 1e-6);
    assert_gradients(&model, &golden, "pretraining.gelu");
}
