//! Checkpoints of other programs through `cloze-train import` and `export`, and inputs that are refused.
//!
//! The files of golden/checkpoints hold the weights of golden/bert.safetensors; golden/make_checkpoints.py made them with
//! PyTorch and TensorFlow.

mod common;
mod datasets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloze_train::interop::huggingface::{Missing, load_weights, read_config};
use cloze_train::interop::moments;
use cloze_train::interop::pytorch::{Checkpoint, Item, write_items};
use cloze_train::interop::safetensors::{read_tensors, write_tensors};
use cloze_train::model::config::Activation;
use cloze_train::model::{Bert, Head};
use common::{files_in, golden, golden_model};
use tch::{Device, Kind, Tensor};

fn checkpoints(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden/checkpoints", name].iter().collect()
}

fn call(line: &str, directory: &Path) -> Output {
    let place = |word: &str| {
        let word = word.replace("DIR", &directory.display().to_string());
        word.replace("GOLDEN", &checkpoints("").display().to_string())
    };
    let words: Vec<String> = line.split_whitespace().map(place).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloze-train"));
    command.current_dir(directory).args(words).output().unwrap()
}

/// The report of a call that succeeds.
fn report(line: &str, directory: &Path) -> serde_json::Value {
    let output = call(&format!("{line} --json"), directory);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line of a call that is refused.
fn refusal(line: &str, directory: &Path) -> String {
    let output = call(line, directory);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}: {text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

fn loaded(directory: &Path, head: Head) -> Bert {
    let mut model = Bert::new(read_config(directory).unwrap(), head, Device::Cpu, 3).unwrap();
    let report = load_weights(&mut model, directory, Missing::Forbidden).unwrap();
    assert!(report.missing.is_empty() && report.unexpected.is_empty(), "{report}");
    model
}

fn golden_pretraining() -> Bert {
    golden_model(&golden("bert.safetensors"), Activation::Gelu, Head::PreTraining)
}

/// A vocabulary of `num_tokens`, the special ones included.
fn write_vocabulary(path: &Path, num_tokens: usize) {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let words = (5..num_tokens).map(|id| format!("w{id}"));
    fs::write(path, special.into_iter().chain(words).collect::<Vec<_>>().join("\n") + "\n").unwrap();
}

#[test]
fn every_format_gives_the_same_model() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    write_vocabulary(&dir.join("tokens.txt"), 37);
    let expected = golden_pretraining();
    for (input, format) in
        [("zip.bin", "pytorch"), ("legacy.bin", "pytorch"), ("bert_model.ckpt", "tensorflow"), ("ckpt_7.pt", "nvidia")]
    {
        let report = report(&format!("import --input GOLDEN/{input} --vocab DIR/tokens.txt --out DIR/{input}"), dir);
        assert_eq!(
            (&report["format"], &report["tensors"], &report["parameters"]),
            (&format.into(), &46.into(), &5466.into())
        );
        assert_eq!(report["architecture"], "BertForPreTraining");
        let out = dir.join(input);
        let mut files = vec!["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"];
        if format == "nvidia" {
            files.insert(2, "moments.safetensors");
        }
        assert_eq!(files_in(&out), files);
        assert_eq!(report["moments"], format == "nvidia");
        let model = loaded(&out, Head::PreTraining);
        if format == "nvidia" {
            // f16 weights, 48 rows for 40.
            assert_eq!((&report["vocab_size"]["from"], &report["vocab_size"]["to"]), (&48.into(), &40.into()));
            assert_eq!(report["left_out"], serde_json::json!(["epoch", "files", "grad_scaler", "data_loader"]));
            let rounded = expected.parameters().flat().to_kind(Kind::Half).to_kind(Kind::Float);
            assert_eq!(model.parameters().flat(), &rounded);
        } else {
            assert_eq!(model.parameters().flat(), expected.parameters().flat(), "{input}");
        }
    }
}

#[test]
fn a_directory_with_pytorch_weights_is_a_model_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(checkpoints("zip.bin"), directory.path().join("pytorch_model.bin")).unwrap();
    fs::copy(checkpoints("config.json"), directory.path().join("config.json")).unwrap();
    let model = loaded(directory.path(), Head::PreTraining);
    assert_eq!(model.parameters().flat(), golden_pretraining().parameters().flat());
}

#[test]
fn exports_come_back_the_same_in_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    report("import --input GOLDEN/zip.bin --out DIR/model", dir);
    let expected = golden_pretraining();
    for (format, out, again) in [
        ("huggingface", "hf", "hf"),
        ("pytorch", "pt", "pt"),
        ("nvidia", "ckpt_0.pt", "ckpt_0.pt --config DIR/model/config.json"),
        ("tensorflow", "tf", "tf"),
    ] {
        let exported = report(&format!("export DIR/model --format {format} --out DIR/{out}"), dir);
        assert_eq!((&exported["tensors"], &exported["unexpected"]), (&46.into(), &serde_json::json!([])));
        report(&format!("import --input DIR/{again} --out DIR/{format}-back"), dir);
        let model = loaded(&dir.join(format!("{format}-back")), Head::PreTraining);
        assert_eq!(model.parameters().flat(), expected.parameters().flat(), "{format}");
    }
    assert_eq!(files_in(&dir.join("pt")), ["config.json", "pytorch_model.bin"]);
    let tensorflow = ["bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"];
    assert_eq!(files_in(&dir.join("tf")), tensorflow);
    let nvidia = Checkpoint::open(&dir.join("ckpt_0.pt")).unwrap();
    assert_eq!(nvidia.other_keys(), ["epoch", "data_loader"]);
    let names: Vec<String> = nvidia.state_dict().unwrap().into_iter().map(|(name, _)| name).collect();
    for name in [
        "bert.pooler.dense_act.weight",
        "cls.predictions.decoder.weight",
        "bert.encoder.layer.1.attention.output.dense.bias",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}");
    }
}

/// TensorFlow is too large to install for a test: `just check-tensorflow PYTHON` runs this where a Python has it.
#[test]
#[ignore = "needs a Python with TensorFlow"]
fn tensorflow_reads_what_we_export_for_it() {
    let python =
        std::env::var_os("CLOZE_TENSORFLOW_PYTHON").expect("CLOZE_TENSORFLOW_PYTHON names a Python with TensorFlow");
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../tests/interop/check_tensorflow.py"].iter().collect();
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let check = |export: &str, model: &str| {
        let output = Command::new(&python).arg(&script).args([dir.join(export), dir.join(model)]).output().unwrap();
        let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        if output.status.success() { Ok(text) } else { Err(text) }
    };
    report("import --input GOLDEN/zip.bin --out DIR/model", dir);
    let (weights, metadata) = read_tensors(&dir.join("model/model.safetensors")).unwrap();
    for (head, name, shape) in
        [("", "", vec![]), ("classifier", "classifier", vec![3, 16]), ("squad", "qa_outputs", vec![2, 16])]
    {
        // The same encoder with each head.
        let model = format!("model-{head}");
        fs::create_dir(dir.join(&model)).unwrap();
        let mut weights: Vec<_> = weights.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        if !name.is_empty() {
            weights.retain(|(name, _)| name.starts_with("bert.") && (head != "squad" || !name.contains("pooler")));
            weights.push((format!("{name}.weight"), Tensor::rand(&shape[..], (Kind::Float, Device::Cpu))));
            weights.push((format!("{name}.bias"), Tensor::rand(&shape[..1], (Kind::Float, Device::Cpu))));
        }
        write_tensors(&dir.join(&model).join("model.safetensors"), &weights, &metadata).unwrap();
        let config = dir.join("model/config.json").display().to_string();
        report(&format!("import --input DIR/{model} --config {config} --out DIR/{model}-in"), dir);
        report(&format!("export DIR/{model}-in --format tensorflow --out DIR/{model}-tf"), dir);
        eprintln!("{}", check(&format!("{model}-tf"), &format!("{model}-in")).unwrap());
    }
    // A check that cannot fail proves nothing: other weights must be noticed.
    let changed: Vec<_> = weights.into_iter().map(|(name, tensor)| (name, tensor * 0.99)).collect();
    write_tensors(&dir.join("model/model.safetensors"), &changed, &metadata).unwrap();
    assert!(check("model--tf", "model").unwrap_err().contains("expected other values"));
    assert!(check("model-squad-tf", "model").unwrap_err().contains("expected other variables"));
}

#[test]
fn google_s_scripts_read_their_configuration_and_the_kind_of_gelu_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let text = fs::read_to_string(checkpoints("config.json")).unwrap();
    assert!(text.contains("\"hidden_act\": \"gelu\""), "{text}");
    for (activation, note) in [("gelu", true), ("gelu_new", false)] {
        fs::write(dir.join("config.json"), text.replace("\"gelu\"", &format!("\"{activation}\""))).unwrap();
        let line = format!("import --input GOLDEN/zip.bin --config DIR/config.json --out DIR/{activation}");
        report(&line, dir);
        let exported = report(&format!("export DIR/{activation} --format tensorflow --out DIR/{activation}-tf"), dir);
        assert_eq!(exported.get("hidden_act").is_some(), note);
        let config = fs::read_to_string(dir.join(format!("{activation}-tf/bert_config.json"))).unwrap();
        // The only name that google-research/bert's modeling.get_activation knows of the two.
        assert!(config.contains("\"hidden_act\": \"gelu\""), "{config}");
        report(&format!("import --input DIR/{activation}-tf --out DIR/{activation}-back"), dir);
        let back = read_config(&dir.join(format!("{activation}-back"))).unwrap();
        assert_eq!(serde_json::to_value(back.hidden_act).unwrap(), activation);
    }
}

#[test]
fn padding_is_trimmed_and_put_back_and_no_token_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    write_vocabulary(&dir.join("vocab.txt"), 37);
    report("import --input GOLDEN/zip.bin --vocab DIR/vocab.txt --out DIR/model", dir);
    let exported = report("export DIR/model --vocab-size 37 --out DIR/trimmed", dir);
    assert_eq!((&exported["vocab_size"]["from"], &exported["vocab_size"]["to"]), (&40.into(), &37.into()));
    let trimmed = loaded(&dir.join("trimmed"), Head::PreTraining);
    assert_eq!(trimmed.config().vocab_size, 37);
    report("import --input DIR/trimmed --out DIR/padded", dir);
    let (before, padded) = (golden_pretraining(), loaded(&dir.join("padded"), Head::PreTraining));
    assert_eq!(padded.config().vocab_size, 40);
    for entry in before.parameters().entries() {
        let [old, new] = [&before, &padded].map(|model| model.parameters().get(&entry.name).unwrap().unwrap());
        let rows = if entry.shape[0] == 40 { 37 } else { entry.shape[0] };
        assert_eq!(old.narrow(0, 0, rows), new.narrow(0, 0, rows), "{}", entry.name);
    }
    let error = refusal("export DIR/model --vocab-size 36 --out DIR/no", dir);
    assert!(error.contains("--vocab-size: expected at least 37, the tokens of"), "{error}");
    let error = refusal("import --input DIR/trimmed --vocab-size 36 --out DIR/no", dir);
    assert!(error.contains("--vocab-size: expected at least 37"), "{error}");
    assert!(!dir.join("no").exists());
}

#[test]
fn a_class_gets_the_weights_it_has_a_use_for() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    report("import --input GOLDEN/zip.bin --out DIR/model", dir);
    for (class, tensors, unexpected) in [
        ("BertForPreTraining", 46, 0),
        ("BertModel", 39, 7),
        ("BertForMaskedLM", 42, 4),
        ("BertForNextSentencePrediction", 41, 5),
    ] {
        let exported = report(&format!("export DIR/model --architecture {class} --out DIR/{class}"), dir);
        assert_eq!((&exported["architecture"], &exported["tensors"]), (&class.into(), &tensors.into()));
        assert_eq!(exported["unexpected"].as_array().unwrap().len(), unexpected, "{class}");
        let config = read_config(&dir.join(class)).unwrap();
        assert_eq!(config.other["architectures"], serde_json::json!([class]));
        let names: Vec<String> = read_tensors(&dir.join(class).join("model.safetensors"))
            .unwrap()
            .0
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names.iter().any(|name| name.starts_with("bert.")), class != "BertModel");
        // Back again, it is found out which class it is.
        let imported = report(&format!("import --input DIR/{class} --out DIR/{class}-back"), dir);
        assert_eq!(imported["architecture"], class);
    }
    let error = refusal("export DIR/model --architecture BertForQuestionAnswering --out DIR/no", dir);
    assert!(error.ends_with("expected every weight of BertForQuestionAnswering, found no qa_outputs.weight, qa_outputs.bias; nothing was written"), "{error}");
    let output = call("export DIR/model --architecture RobertaModel --out DIR/no", dir);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected one of BertForPreTraining, BertModel,"));
}

#[test]
fn bad_checkpoints_are_one_clear_line_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let config = "--config GOLDEN/config.json --out DIR/out";
    let error = refusal(&format!("import --input GOLDEN/code.bin {config}"), dir);
    assert!(error.contains("code.bin: expected weights only, found posix.system, code"), "{error}");
    assert!(!dir.join("CODE-WAS-RUN").exists() && !dir.join("out").exists());

    let bytes = fs::read(checkpoints("zip.bin")).unwrap();
    fs::write(dir.join("cut.bin"), &bytes[..bytes.len() / 2]).unwrap();
    let error = refusal(&format!("import --input DIR/cut.bin {config}"), dir);
    assert!(error.contains("cut.bin: expected a whole PyTorch file, found 17"), "{error}");

    fs::write(dir.join("cut.safetensors"), [&[0, 1, 0, 0, 0, 0, 0, 0], &b"{}"[..]].concat()).unwrap();
    let error = refusal(&format!("import --input DIR/cut.safetensors {config}"), dir);
    assert!(error.contains("cut.safetensors: expected a whole safetensors file, found 10 bytes"), "{error}");

    fs::copy(checkpoints("zip.bin"), dir.join("lone.bin")).unwrap();
    let error = refusal("import --input DIR/lone.bin --out DIR/out", dir);
    assert!(error.contains("expected a config.json or bert_config.json beside the weights, found neither; give the model's with --config"), "{error}");

    let text = fs::read_to_string(checkpoints("config.json")).unwrap();
    for (from, to, expected) in [
        (
            "\"intermediate_size\": 24",
            "\"intermediate_size\": 32",
            "intermediate.dense.weight: expected shape [32, 16] by the configuration, found [24, 16]",
        ),
        ("\"vocab_size\": 40", "\"vocab_size\": 30522", "word_embeddings.weight: expected 30522 rows (vocab_size of"),
        (
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 3",
            "found no bert.encoder.layer.2.attention.self.query.weight",
        ),
    ] {
        fs::write(dir.join("other.json"), text.replace(from, to)).unwrap();
        let error = refusal("import --input GOLDEN/zip.bin --config DIR/other.json --out DIR/out", dir);
        assert!(error.contains(expected), "{error}");
    }

    let other = [("lm_head.weight".to_owned(), Tensor::from_slice(&[1f32]))];
    write_items(&dir.join("other.bin"), &Item::Tensors(&other)).unwrap();
    let error = refusal(&format!("import --input DIR/other.bin {config}"), dir);
    assert!(
        error.ends_with("expected BERT's weights (bert.embeddings.word_embeddings.weight ...), found lm_head.weight"),
        "{error}"
    );

    let mut untied = Checkpoint::open(&checkpoints("zip.bin")).unwrap().state_dict().unwrap();
    untied.retain(|(name, _)| name != "cls.predictions.decoder.weight");
    untied.push(("cls.predictions.decoder.weight".to_owned(), Tensor::zeros([40, 16], (Kind::Float, Device::Cpu))));
    let untied: Vec<_> = untied.into_iter().map(|(name, tensor)| (name, tensor.contiguous())).collect();
    write_tensors(&dir.join("untied.safetensors"), &untied, &BTreeMap::new()).unwrap();
    let error = refusal(&format!("import --input DIR/untied.safetensors {config}"), dir);
    assert!(
        error.contains(
            "cls.predictions.decoder.weight: expected the same as bert.embeddings.word_embeddings.weight (tied)"
        ),
        "{error}"
    );

    assert!(!dir.join("out").exists());
    let error = refusal("import --input DIR --config GOLDEN/config.json --out DIR/out", dir);
    assert!(error.contains("expected one checkpoint, found cut.bin, cut.safetensors, lone.bin, other.bin, untied.safetensors; give one of them"), "{error}");
    let error = refusal("import --input DIR/absent --out DIR/out", dir);
    assert!(error.contains("expected a checkpoint, found no such file or directory"), "{error}");
    let error =
        refusal(&format!("import --input GOLDEN/zip.bin --config GOLDEN/config.json --out {}", dir.display()), dir);
    assert!(error.contains("expected a new directory, found something there"), "{error}");
    let error = refusal("export DIR --out DIR/out", dir);
    assert!(error.contains("bring another program's checkpoint into this form with cloze-train import"), "{error}");
}

#[test]
fn a_vocabulary_of_another_model_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    write_vocabulary(&dir.join("vocab.txt"), 41);
    let error = refusal("import --input GOLDEN/zip.bin --vocab DIR/vocab.txt --out DIR/out", dir);
    assert!(
        error.contains("vocab.txt: expected 40 tokens (or up to 63 fewer, where rows are padded), found 41"),
        "{error}"
    );
}

#[test]
fn a_run_goes_out_in_every_format_and_training_starts_from_each_alike() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let path = |name: &str| dir.join(name);
    datasets::pretrain(&path("phase1"), 60, "");
    datasets::glue(&path("train"), 40, "");
    let recipe = datasets::recipe(dir).display().to_string();
    report(&format!("pretrain --recipe {recipe} --data DIR/phase1 --out DIR/run --steps 3 --threads 1"), dir);
    for (format, out) in [("huggingface", "hf"), ("pytorch", "pt"), ("nvidia", "nv/ckpt_3.pt"), ("tensorflow", "tf")] {
        let report = report(&format!("export DIR/run --format {format} --out DIR/{out}"), dir);
        assert!(report["checkpoint"].as_str().unwrap().ends_with("checkpoints/step-00000003"));
        assert_eq!(report["left_out"], serde_json::json!(["optimizer.safetensors", "state.json"]));
    }
    let model = ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"];
    assert_eq!(files_in(&path("hf")), model);
    assert_eq!(files_in(&path("pt")), model.map(|name| name.replace("model.safetensors", "pytorch_model.bin")));
    let beside = "--config DIR/hf/config.json --vocab DIR/hf/vocab.txt";
    report(&format!("import --input DIR/nv {beside} --out DIR/imported"), dir);
    report("import --input DIR/tf --out DIR/converted", dir);
    // A checkpoint of ours is a Hugging Face directory too; what lies beside its weights does not disturb.
    report("import --input DIR/run/checkpoints/step-00000003 --out DIR/plain", dir);
    let mut tuned = Vec::new();
    for init in ["run", "hf", "pt", "imported", "converted", "plain"] {
        let line =
            format!("finetune glue --data DIR/train --init DIR/{init} --out DIR/{init}-tuned --epochs 1 --threads 1");
        report(&line, dir);
        let last = datasets::checkpoints(&path(&format!("{init}-tuned"))).pop().unwrap();
        tuned.push(fs::read(last.join("model.safetensors")).unwrap());
    }
    assert!(tuned.iter().all(|weights| *weights == tuned[0]));
    for init in ["hf", "pt", "imported"] {
        report(&format!("pretrain --data DIR/phase1 --init DIR/{init} --out DIR/{init}-on --steps 3 --threads 1"), dir);
    }
    // With moments beside its weights, as an import of NVIDIA's has them, pre-training goes on with these.
    let weights = read_tensors(&path("hf/model.safetensors")).unwrap().0;
    let moments: Vec<_> = weights
        .iter()
        .flat_map(|(name, tensor)| {
            ["first", "second"].map(|which| (format!("{which}_moment.{name}"), tensor.full_like(0.5)))
        })
        .collect();
    write_tensors(&path("hf/moments.safetensors"), &moments, &BTreeMap::new()).unwrap();
    let output = call("pretrain --data DIR/phase1 --init DIR/hf --out DIR/moved --steps 3 --threads 1", dir);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && stderr.contains("moments of the imported checkpoint carried over"), "{stderr}");
    let after_steps =
        |run: &str| fs::read(datasets::checkpoints(&path(run)).pop().unwrap().join("model.safetensors")).unwrap();
    assert!(after_steps("pt-on") == after_steps("imported-on"));
    assert!(after_steps("moved") != after_steps("hf-on"));
    assert!(after_steps("hf-on") != fs::read(path("hf/model.safetensors")).unwrap(), "the steps learn");
    let classifier = report("export DIR/hf-tuned --format pytorch --out DIR/classifier", dir);
    assert_eq!(classifier["architecture"], "BertForSequenceClassification");
    report("export DIR/hf-tuned --format tensorflow --out DIR/classifier-tf", dir);
    let classifier = report("import --input DIR/classifier-tf --out DIR/classifier-back", dir);
    assert_eq!(classifier["architecture"], "BertForSequenceClassification");
}

#[test]
fn moments_of_nvidia_s_checkpoints_find_their_weights_again() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    report("import --input GOLDEN/ckpt_7.pt --out DIR/model", dir);
    let model = loaded(&dir.join("model"), Head::PreTraining);
    let state = moments::read(&dir.join("model"), model.parameters(), "lamb").unwrap().unwrap();
    // The gradient was twice the parameter in the only step, with AdamW's betas.
    let flat = model.parameters().flat();
    for ((name, moment), expected) in state.tensors.iter().zip([flat * 0.2, flat * flat * 0.004]) {
        assert!(moment.allclose(&expected, 1e-5, 1e-7, false), "{name}");
    }
    assert_eq!((state.step, state.layout), (0, model.parameters().layout()));
    // Without those of one weight they are none of this model.
    let path = dir.join("model/moments.safetensors");
    let mut tensors = read_tensors(&path).unwrap().0;
    tensors.retain(|(name, _)| name != "second_moment.bert.pooler.dense.bias");
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let error = moments::read(&dir.join("model"), model.parameters(), "lamb").unwrap_err().to_string();
    assert!(error.contains("expected second_moment.bert.pooler.dense.bias of shape [16], found none"), "{error}");
}
