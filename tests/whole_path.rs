//! From text to scores through both programs, in small.

use std::path::Path;

use cloze_tests::{cloze_prep, cloze_train, prepare_samples, refuse, root, succeed};

fn words(line: &str, dir: &Path) -> Vec<String> {
    let place = |word: &str| {
        let word = word.replace("DIR", &dir.display().to_string());
        word.replace("SAMPLES", &root().join("samples").display().to_string())
    };
    line.split_whitespace().map(place).collect()
}

fn summary(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("summary.json")).unwrap()).unwrap()
}

const MODEL: &str = "
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 128
";

const REST: &str = "
[data]
global_batch_size = 16

[optimizer]
learning_rate = 0.01

[schedule]
steps = 100
warmup_fraction = 0.2

[run]
log_every = 10
";

#[test]
fn text_becomes_a_pretrained_fine_tuned_and_scored_model() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare_samples(dir);
    std::fs::write(dir.join("phase1.toml"), format!("{MODEL}{REST}")).unwrap();
    // Phase 2 takes the model's shape from the checkpoint.
    std::fs::write(dir.join("phase2.toml"), REST).unwrap();
    let prep = |line: &str| succeed(cloze_prep(), &words(line, dir));
    let train = |line: &str| succeed(cloze_train(), &words(line, dir));
    prep("build --corpus DIR/corpus --held-out 0.1 --out DIR/phase1");
    prep("build --corpus DIR/corpus --max-seq-length 96 --masking static --seed 2 --out DIR/phase2");
    prep("squad --input SAMPLES/squad/dev.json --vocab DIR/vocab.txt --max-seq-length 128 --out DIR/squad");
    prep("glue --task sst-2 --dir SAMPLES/glue/SST-2 --vocab DIR/vocab.txt --out DIR/glue");
    train("pretrain --recipe DIR/phase1.toml --data DIR/phase1 --out DIR/p1");
    train("pretrain --recipe DIR/phase2.toml --data DIR/phase2 --init DIR/p1 --out DIR/p2");
    let one = summary(&dir.join("p1"));
    let (first, last) = (&one["masked_lm_loss"]["first"], &one["masked_lm_loss"]["last"]);
    assert!(last.as_f64().unwrap() < first.as_f64().unwrap() - 0.5, "the loss falls: {one}");
    assert!(one["held_out_masked_lm_loss"]["last"].as_f64().is_some(), "{one}");
    // Phase 2 goes on from the weights of phase 1: it starts well below an untrained model.
    let two = summary(&dir.join("p2"));
    assert!(two["masked_lm_loss"]["first"].as_f64().unwrap() < first.as_f64().unwrap() - 0.3, "{two}");
    train("finetune squad --data DIR/squad --dev DIR/squad --init DIR/p2 --epochs 1 --out DIR/qa");
    train("finetune glue --data DIR/glue/train --dev DIR/glue/dev --init DIR/p2 --epochs 1 --out DIR/sst-2");
    let (qa, sst) = (summary(&dir.join("qa")), summary(&dir.join("sst-2")));
    assert!(qa["f1"].as_f64().is_some() && qa["exact_match"].as_f64().is_some(), "{qa}");
    assert!((0.0..=1.0).contains(&sst["accuracy"].as_f64().unwrap()), "{sst}");
    for file in ["predictions.json", "nbest_predictions.json"] {
        let predictions: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.join("qa").join(file)).unwrap()).unwrap();
        assert_eq!(predictions.as_object().unwrap().len(), 41, "one entry per question in {file}");
    }
    // The vocabulary is part of the contract between data and weights.
    prep("vocab --text SAMPLES/books/on_mending.txt --vocab-size 500 --out DIR/other.txt");
    prep("glue --task sst-2 --dir SAMPLES/glue/SST-2 --vocab DIR/other.txt --out DIR/other");
    let line = "finetune glue --data DIR/other/train --init DIR/p2 --out DIR/refused";
    let message = refuse(cloze_train(), &words(line, dir));
    assert!(message.contains("vocab"), "{message}");
    assert!(!dir.join("refused/checkpoints").exists());
}
