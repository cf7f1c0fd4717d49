//! Models to and from Hugging Face transformers: the same weights and the same logits on both sides.
//!
//! torch and transformers are too large to install for a test, so this one is run by itself where a Python has them:
//! `just check-transformers PYTHON`. Without them, import_export.rs reads what they wrote.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use cloze_formats::stream::Sequences;
use cloze_train::interop::export::{self, ExportOptions};
use cloze_train::interop::huggingface::{Missing, load_weights, read_config};
use cloze_train::interop::import::{self, Format, ImportOptions};
use cloze_train::interop::safetensors::{read_tensors, write_tensors};
use cloze_train::model::{Bert, Head};
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-5;

fn python(arguments: &[&Path]) -> Result<String, String> {
    let python = std::env::var_os("CLOZE_TRANSFORMERS_PYTHON")
        .expect("CLOZE_TRANSFORMERS_PYTHON names a Python with torch, transformers and safetensors");
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../tests/interop/check_checkpoints.py"].iter().collect();
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn import(input: &Path, out: &Path) {
    let options = ImportOptions {
        input: input.to_owned(),
        format: None,
        config: None,
        vocabulary: None,
        vocab_size: None,
        out: out.to_owned(),
    };
    import::run(&options).unwrap();
}

fn export(checkpoint: &Path, format: Format, class: &str, vocab_size: Option<i64>, out: &Path) {
    let architecture = Some(class.parse().unwrap());
    let (checkpoint, out) = (checkpoint.to_owned(), out.to_owned());
    export::run(&ExportOptions { checkpoint, format, architecture, vocab_size, out }).unwrap();
}

fn map(path: &Path) -> HashMap<String, Tensor> {
    read_tensors(path).unwrap().0.into_iter().collect()
}

/// The padded inputs of the script, packed.
fn sequences(inputs: &HashMap<String, Tensor>) -> Sequences {
    let real = inputs["attention_mask"].to_kind(Kind::Bool);
    let packed = |name: &str| Vec::<i64>::try_from(inputs[name].masked_select(&real)).unwrap();
    let lens = Vec::<i64>::try_from(inputs["attention_mask"].sum_dim_intlist(1i64, false, Kind::Int64)).unwrap();
    let mut bounds = vec![0i32];
    bounds.extend(lens.iter().scan(0, |end, len| {
        *end += *len as i32;
        Some(*end)
    }));
    Sequences {
        input_ids: packed("input_ids"),
        segment_ids: packed("token_type_ids"),
        cu_seqlens: bounds,
        position_ids: lens.iter().flat_map(|len| 0..*len).collect(),
        rows: (0..lens.len() as u64).collect(),
    }
}

/// What this crate computes of `class`, under transformers' names; nothing where it has no such head.
fn outputs(directory: &Path, class: &str, sequences: &Sequences) -> Vec<(String, Tensor)> {
    let head = match class {
        "BertForPreTraining" | "BertForMaskedLM" | "BertForNextSentencePrediction" => Head::PreTraining,
        "BertForSequenceClassification" => Head::SequenceClassification { num_labels: 3 },
        "BertForQuestionAnswering" => Head::QuestionAnswering,
        _ => return Vec::new(),
    };
    let mut model = Bert::new(read_config(directory).unwrap(), head, Device::Cpu, 2).unwrap();
    let is_part = matches!(class, "BertForMaskedLM" | "BertForNextSentencePrediction");
    let missing = if is_part { Missing::HeadMayBeNew } else { Missing::Forbidden };
    load_weights(&mut model, directory, missing).unwrap();
    let _without_gradient = tch::no_grad_guard();
    match head {
        Head::PreTraining => {
            let all: Vec<i64> = (0..sequences.input_ids.len() as i64).collect();
            let logits = model.pretraining_logits(sequences, &all, false).unwrap();
            let (words, next) = (logits.masked_lm, logits.next_sentence);
            match class {
                "BertForMaskedLM" => vec![("logits".to_owned(), words)],
                "BertForNextSentencePrediction" => vec![("logits".to_owned(), next)],
                _ => vec![("prediction_logits".to_owned(), words), ("seq_relationship_logits".to_owned(), next)],
            }
        }
        Head::SequenceClassification { .. } => {
            vec![("logits".to_owned(), model.classification_logits(sequences, false).unwrap())]
        }
        Head::QuestionAnswering => {
            let logits = model.question_answering_logits(sequences, false).unwrap();
            vec![("start_logits".to_owned(), logits.select(1, 0)), ("end_logits".to_owned(), logits.select(1, 1))]
        }
    }
}

/// Largest difference in the columns that both have: a padded vocabulary has more.
fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    let columns = *theirs.size().last().unwrap();
    (ours.narrow(-1, 0, columns) - theirs).abs().max().double_value(&[])
}

#[test]
#[ignore = "needs CLOZE_TRANSFORMERS_PYTHON: just check-transformers"]
fn transformers_and_cloze_compute_the_same_from_each_other_s_files() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    eprintln!("{}", python(&[Path::new("make"), dir]).unwrap());
    let sequences = sequences(&map(&dir.join("inputs.safetensors")));
    let mut classes: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    classes.retain(|path| path.is_dir());
    assert_eq!(classes.len(), 8);
    let mut checks = Vec::new();
    for place in &classes {
        let class = place.file_name().unwrap().to_str().unwrap();
        let theirs = map(&place.join("outputs.safetensors"));
        for kind in ["safetensors", "bin"] {
            let path = |name: &str| place.join(format!("{kind}-{name}"));
            import(&place.join(kind), &path("model"));
            // Theirs as it is, and imported, with the vocabulary padded.
            for model in [place.join(kind), path("model")] {
                for (name, ours) in outputs(&model, class, &sequences) {
                    let worst = difference(&ours, &theirs[&name]);
                    assert!(worst <= TOLERANCE, "{}: {name}: {worst:e}", model.display());
                    eprintln!("{class} from {kind}: {name} {worst:.1e}");
                }
            }
            let ours = outputs(&path("model"), class, &sequences);
            let expected = if ours.is_empty() { place.join("outputs.safetensors") } else { path("ours.safetensors") };
            if !ours.is_empty() {
                write_tensors(&expected, &ours, &BTreeMap::new()).unwrap();
            }
            for (format, vocab_size, out) in [
                (Format::Huggingface, None, path("huggingface")),
                (Format::Pytorch, None, path("pytorch")),
                (Format::Huggingface, Some(37), path("trimmed")),
            ] {
                export(&path("model"), format, class, vocab_size, &out);
                checks.extend([out, expected.clone()]);
            }
        }
    }
    let check = |pairs: &[PathBuf]| {
        python(&[&[Path::new("check")], &pairs.iter().map(PathBuf::as_path).collect::<Vec<_>>()[..]].concat())
    };
    eprintln!("{}", check(&checks).unwrap());
    // Nor can ours agree with anything: one weight of the first layer is moved a little.
    for class in ["BertForPreTraining", "BertForQuestionAnswering", "BertForSequenceClassification"] {
        let (place, moved) = (dir.join(class), dir.join(format!("{class}-moved")));
        std::fs::create_dir(&moved).unwrap();
        std::fs::copy(place.join("safetensors/config.json"), moved.join("config.json")).unwrap();
        let mut weights = map(&place.join("safetensors/model.safetensors"));
        let _ =
            weights.get_mut("bert.encoder.layer.0.attention.self.query.weight").unwrap().f_mul_scalar_(1.01).unwrap();
        let weights: Vec<_> = weights.into_iter().collect();
        write_tensors(&moved.join("model.safetensors"), &weights, &BTreeMap::new()).unwrap();
        let theirs = map(&place.join("outputs.safetensors"));
        for (name, ours) in outputs(&moved, class, &sequences) {
            let worst = difference(&ours, &theirs[&name]);
            eprintln!("{class} with a weight moved: {name} {worst:.1e}");
            assert!(worst > 10.0 * TOLERANCE, "{class}: {name}: {worst:e}");
        }
    }
    // A check that cannot fail proves nothing: other weights must be noticed.
    let classes = ["BertForMaskedLM", "BertForPreTraining"].map(|class| dir.join(class));
    let model = classes[0].join("bin-huggingface");
    let error = check(&[model.clone(), classes[1].join("outputs.safetensors")]).unwrap_err();
    assert!(error.contains("expected some of"), "{error}");
    let weights = model.join("model.safetensors");
    let changed = map(&weights).into_iter().map(|(name, tensor)| (name, tensor * 0.99)).collect::<Vec<_>>();
    write_tensors(&weights, &changed, &BTreeMap::new()).unwrap();
    let error = check(&[model, classes[0].join("outputs.safetensors")]).unwrap_err();
    assert!(error.contains("expected a difference of at most"), "{error}");
}
