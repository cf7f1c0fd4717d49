//! Model directories in Hugging Face's layout: written, read back, and refused when they do not fit.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use cloze_train::interop::huggingface::{Missing, load_weights, read_config, write_model};
use cloze_train::interop::safetensors::{read_tensors, write_tensors};
use cloze_train::model::config::Activation;
use cloze_train::model::{Bert, Head};
use common::*;
use tch::{Device, Kind, Tensor};

const CLASSIFICATION: Head = Head::SequenceClassification { num_labels: 3 };

fn new(head: Head) -> Bert {
    Bert::new(tiny_config(Activation::Gelu), head, Device::Cpu, 9).unwrap()
}

/// A directory with the golden pre-training model.
fn saved() -> (tempfile::TempDir, Bert) {
    let directory = tempfile::tempdir().unwrap();
    let model = golden_model(&golden("bert.safetensors"), Activation::Gelu, Head::PreTraining);
    write_model(&model, directory.path()).unwrap();
    (directory, model)
}

/// Rewrites the weights of a saved model.
fn edit(directory: &Path, change: impl FnOnce(Vec<(String, Tensor)>) -> Vec<(String, Tensor)>) {
    let path = directory.join("model.safetensors");
    let tensors = change(read_tensors(&path).unwrap().0);
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
}

fn error_of(directory: &Path, head: Head, missing: Missing) -> String {
    let text = load_weights(&mut new(head), directory, missing).unwrap_err().to_string();
    text.split_once("model.safetensors: ").map_or(text.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn a_saved_model_comes_back_bit_for_bit() {
    let (directory, model) = saved();
    assert_eq!(files_in(directory.path()), ["config.json", "model.safetensors"]);
    let config = read_config(directory.path()).unwrap();
    assert_eq!(config.other["architectures"][0], "BertForPreTraining");
    let mut again = Bert::new(config, Head::PreTraining, Device::Cpu, 5).unwrap();
    let report = load_weights(&mut again, directory.path(), Missing::Forbidden).unwrap();
    assert_eq!(again.parameters().flat(), model.parameters().flat());
    assert_eq!((report.missing.len(), report.unexpected.len()), (0, 0));
    assert_eq!(report.to_string(), format!("{} weights loaded", model.parameters().entries().len()));
}

#[test]
fn fine_tuning_reports_the_new_head_and_the_weights_it_leaves() {
    let (directory, model) = saved();
    let mut classifier = new(CLASSIFICATION);
    let fresh = classifier.parameters().get("classifier.weight").unwrap().unwrap().copy();
    let report = load_weights(&mut classifier, directory.path(), Missing::HeadMayBeNew).unwrap();
    assert_eq!(report.missing, ["classifier.weight", "classifier.bias"]);
    assert_eq!(report.unexpected.len(), 7);
    assert!(report.unexpected.iter().all(|name| name.starts_with("cls.")));
    assert_eq!(classifier.parameters().get("classifier.weight").unwrap().unwrap(), fresh);
    let name = "bert.encoder.layer.1.attention.self.value.weight";
    assert_eq!(classifier.parameters().get(name).unwrap(), model.parameters().get(name).unwrap());
    assert_eq!(
        error_of(directory.path(), CLASSIFICATION, Missing::Forbidden),
        "expected every weight of the model, found no classifier.weight, classifier.bias; fine-tune or pre-train it first"
    );
    let config_labels = {
        write_model(&classifier, directory.path()).unwrap();
        read_config(directory.path()).unwrap().num_labels()
    };
    assert_eq!(config_labels, 3);
}

#[test]
fn old_names_bare_names_half_precision_buffers_and_tied_copies_are_understood() {
    let (directory, model) = saved();
    edit(directory.path(), |tensors| {
        let map: HashMap<String, Tensor> = tensors.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let mut out: Vec<(String, Tensor)> = tensors
            .into_iter()
            .map(|(name, t)| {
                let name = name.strip_prefix("bert.").map_or(name.clone(), str::to_owned);
                let name =
                    name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
                (name, t)
            })
            .collect();
        let copy = |name: &str| map[name].copy();
        out.push(("cls.predictions.decoder.weight".into(), copy("bert.embeddings.word_embeddings.weight")));
        out.push(("cls.predictions.decoder.bias".into(), copy("cls.predictions.bias")));
        out.push(("embeddings.position_ids".into(), Tensor::arange(12, (Kind::Int64, Device::Cpu)).view([1, 12])));
        out
    });
    let mut again = new(Head::PreTraining);
    let report = load_weights(&mut again, directory.path(), Missing::Forbidden).unwrap();
    assert_eq!((report.missing.len(), report.unexpected.len()), (0, 0));
    assert_eq!(again.parameters().flat(), model.parameters().flat());
}

#[test]
fn half_precision_weights_become_f32() {
    let (directory, model) = saved();
    let path = directory.path().join("model.safetensors");
    for kind in [Kind::Half, Kind::BFloat16] {
        let entries = model.parameters().entries();
        let halves: Vec<_> =
            entries.iter().map(|e| (e.name.as_str(), model.parameters().view(e).unwrap().to_kind(kind))).collect();
        Tensor::write_safetensors(&halves, &path).unwrap();
        let mut again = new(Head::PreTraining);
        load_weights(&mut again, directory.path(), Missing::Forbidden).unwrap();
        let name = "bert.pooler.dense.weight";
        let expected = model.parameters().get(name).unwrap().unwrap().to_kind(kind).to_kind(Kind::Float);
        assert_eq!(again.parameters().get(name).unwrap().unwrap(), expected);
    }
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let without = |name: &'static str| {
        let (directory, _) = saved();
        edit(directory.path(), |tensors| tensors.into_iter().filter(|(found, _)| found != name).collect());
        error_of(directory.path(), Head::PreTraining, Missing::HeadMayBeNew)
    };
    let with = |name: &'static str, tensor: Tensor| {
        let (directory, _) = saved();
        edit(directory.path(), |mut tensors| {
            tensors.retain(|(found, _)| found != name);
            tensors.push((name.to_owned(), tensor));
            tensors
        });
        error_of(directory.path(), Head::PreTraining, Missing::HeadMayBeNew)
    };
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    assert_eq!(
        without("bert.encoder.layer.0.output.dense.bias"),
        "expected every weight of the encoder, found no bert.encoder.layer.0.output.dense.bias (1 missing)"
    );
    assert_eq!(
        with("bert.pooler.dense.weight", zeros(&[16, 8])),
        "bert.pooler.dense.weight: expected shape [16, 16] by config.json, found [16, 8]"
    );
    assert_eq!(
        with("encoder.layer.2.output.dense.bias", zeros(&[16])),
        "encoder.layer.2.output.dense.bias: expected no such weight by config.json, found one; the two files do not go together"
    );
    assert_eq!(
        with("pooler.dense.bias", zeros(&[16])),
        "bert.pooler.dense.bias: expected once, found as bert.pooler.dense.bias and as pooler.dense.bias"
    );
    assert_eq!(
        with("cls.predictions.decoder.weight", zeros(&[40, 16])),
        "cls.predictions.decoder.weight: expected the same as bert.embeddings.word_embeddings.weight (tied), found other values"
    );
}

#[test]
fn a_directory_that_is_no_model_and_a_truncated_file_are_refused() {
    let (directory, _) = saved();
    let path = directory.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = error_of(directory.path(), Head::PreTraining, Missing::Forbidden);
    assert!(
        error.starts_with(&format!("expected a whole safetensors file, found {} bytes", bytes.len() / 2)),
        "{error}"
    );
    write_tensors(&path, &[("lm_head.weight".to_owned(), Tensor::from_slice(&[1f32]))], &BTreeMap::new()).unwrap();
    assert_eq!(
        error_of(directory.path(), Head::PreTraining, Missing::HeadMayBeNew),
        "expected BERT's weights (bert.embeddings.word_embeddings.weight ...), found lm_head.weight"
    );
    std::fs::rename(&path, directory.path().join("pytorch_model.bin")).unwrap();
    let error = error_of(directory.path(), Head::PreTraining, Missing::Forbidden);
    assert!(error.contains("pytorch_model.bin: expected a file of torch.save"), "{error}");
    std::fs::remove_file(directory.path().join("pytorch_model.bin")).unwrap();
    let error = error_of(directory.path(), Head::PreTraining, Missing::Forbidden);
    assert!(error.ends_with("model.safetensors (or pytorch_model.bin), found no weights"), "{error}");
    std::fs::remove_file(directory.path().join("config.json")).unwrap();
    let error = read_config(directory.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("expected a model directory with config.json and model.safetensors, found no config.json"),
        "{error}"
    );
}

#[test]
fn a_decoder_of_its_own_matters_only_where_it_is_used() {
    let (directory, model) = saved();
    edit(directory.path(), |mut tensors| {
        tensors.push(("cls.predictions.decoder.weight".into(), Tensor::zeros([40, 16], (Kind::Float, Device::Cpu))));
        tensors
    });
    let mut classifier = new(CLASSIFICATION);
    load_weights(&mut classifier, directory.path(), Missing::HeadMayBeNew).unwrap();
    let name = "bert.embeddings.word_embeddings.weight";
    assert_eq!(classifier.parameters().get(name).unwrap(), model.parameters().get(name).unwrap());
}

#[test]
fn weights_in_several_files_are_one_model() {
    let (directory, model) = saved();
    let path = directory.path().join("model.safetensors");
    let tensors = read_tensors(&path).unwrap().0;
    std::fs::remove_file(&path).unwrap();
    let file = |index: usize| format!("model-0000{}-of-00002.safetensors", index + 1);
    let mut map = serde_json::Map::new();
    for (index, part) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        write_tensors(&directory.path().join(file(index)), part, &BTreeMap::new()).unwrap();
        map.extend(part.iter().map(|(name, _)| (name.clone(), file(index).into())));
    }
    let write_index = |map: &serde_json::Map<String, serde_json::Value>| {
        let json = serde_json::json!({ "metadata": {}, "weight_map": map });
        std::fs::write(directory.path().join("model.safetensors.index.json"), json.to_string()).unwrap();
    };
    write_index(&map);
    let mut again = new(Head::PreTraining);
    load_weights(&mut again, directory.path(), Missing::Forbidden).unwrap();
    assert_eq!(again.parameters().flat(), model.parameters().flat());
    let refused = |name: &str, file: &str| {
        let mut map = map.clone();
        map.insert(name.to_owned(), file.into());
        write_index(&map);
        load_weights(&mut new(Head::PreTraining), directory.path(), Missing::Forbidden).unwrap_err().to_string()
    };
    let error = refused("cls.more", &file(1));
    assert!(error.ends_with("found no cls.more in \"model-00002-of-00002.safetensors\""), "{error}");
    let error = refused("cls.more", "../model.safetensors");
    assert!(error.ends_with("found no file name for cls.more"), "{error}");
    let error = refused("cls.more", "model-00003-of-00002.safetensors");
    assert!(error.contains("model-00003-of-00002.safetensors: No such file"), "{error}");
}
