//! What the tests of models and steps share: the golden file, the model in it and its batches.

#![allow(dead_code)] // each test program uses a part

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cloze_formats::stream::{Cursor, GlobalBatch, GlueBatch, Labels, PretrainBatch, Sequences, SquadBatch};
use cloze_train::interop::safetensors::read_tensors;
use cloze_train::model::config::{Activation, BertConfig};
use cloze_train::model::{Bert, Head};
use tch::{Device, Kind, Tensor};

/// A file of golden values. Tests run side by side on tensors of a few hundred numbers, so each computes on one thread.
pub fn golden(name: &str) -> HashMap<String, Tensor> {
    tch::set_num_threads(1);
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "golden", name].iter().collect();
    read_tensors(&path).unwrap().0.into_iter().collect()
}

/// The configuration of golden/make_bert.py.
pub fn tiny_config(hidden_act: Activation) -> BertConfig {
    BertConfig {
        vocab_size: 40,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 24,
        hidden_act,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        max_position_embeddings: 12,
        ..BertConfig::default()
    }
}

/// The model of golden/make_bert.py with one of its heads.
pub fn golden_model(golden: &HashMap<String, Tensor>, hidden_act: Activation, head: Head) -> Bert {
    let model = Bert::new(tiny_config(hidden_act), head, Device::Cpu, 1).unwrap();
    for entry in model.parameters().entries() {
        let weight = &golden[&format!("weights.{}", entry.name)];
        model.parameters().view(entry).unwrap().copy_(weight);
    }
    model
}

pub fn ints(golden: &HashMap<String, Tensor>, name: &str) -> Vec<i64> {
    Vec::try_from(&golden[name]).unwrap()
}

/// Sequences `first .. last` of the golden batch.
pub fn sequences(golden: &HashMap<String, Tensor>, first: usize, last: usize) -> Sequences {
    let bounds = ints(golden, "cu_seqlens");
    let (start, end) = (bounds[first] as usize, bounds[last] as usize);
    let lens = bounds[first..=last].windows(2).map(|w| w[1] - w[0]);
    Sequences {
        input_ids: ints(golden, "input_ids")[start..end].to_vec(),
        segment_ids: ints(golden, "segment_ids")[start..end].to_vec(),
        cu_seqlens: bounds[first..=last].iter().map(|b| (b - bounds[first]) as i32).collect(),
        position_ids: lens.flat_map(|len| 0..len).collect(),
        rows: (first as u64..last as u64).collect(),
    }
}

pub fn pretrain_batch(golden: &HashMap<String, Tensor>, first: usize, last: usize) -> PretrainBatch {
    let bounds = ints(golden, "cu_seqlens");
    let (positions, ids) = (ints(golden, "masked_lm_positions"), ints(golden, "masked_lm_ids"));
    let here = positions.iter().zip(&ids).filter(|(p, _)| (bounds[first]..bounds[last]).contains(*p));
    let (masked_lm_positions, masked_lm_ids) = here.map(|(p, id)| (p - bounds[first], *id)).unzip();
    PretrainBatch {
        sequences: sequences(golden, first, last),
        masked_lm_positions,
        masked_lm_ids,
        next_sentence_labels: ints(golden, "next_sentence_labels")[first..last].to_vec(),
    }
}

pub fn glue_batch(golden: &HashMap<String, Tensor>, first: usize, last: usize) -> GlueBatch {
    GlueBatch {
        sequences: sequences(golden, first, last),
        labels: Some(Labels::Classes(ints(golden, "labels")[first..last].to_vec())),
    }
}

pub fn squad_batch(golden: &HashMap<String, Tensor>, first: usize, last: usize) -> SquadBatch {
    SquadBatch {
        sequences: sequences(golden, first, last),
        start_positions: ints(golden, "start_positions")[first..last].to_vec(),
        end_positions: ints(golden, "end_positions")[first..last].to_vec(),
    }
}

/// One step's batch from micro-batches of `num_instances` in all.
pub fn global<B>(micro_batches: Vec<B>, num_instances: u64, num_masked: u64) -> GlobalBatch<B> {
    GlobalBatch { micro_batches, num_instances, num_masked, num_tokens: 0, next: Cursor::default() }
}

/// Largest difference in units of the largest expected value.
pub fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let double = |t: &Tensor| t.detach().to_kind(Kind::Double);
    let scale = double(expected).abs().max().double_value(&[]).max(1e-12);
    (double(found) - double(expected)).abs().max().double_value(&[]) / scale
}

pub fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
    let error = relative_error(found, expected);
    assert!(error < 1e-5, "{what}: relative error {error:e}");
}

pub fn files_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
