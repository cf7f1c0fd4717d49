# `just` lists the recipes. A recipe with arguments passes them on; without, it works on samples/.

set positional-arguments := true

prep := "cargo run --quiet --release --package cloze-prep --"
train := "cargo run --quiet --release --package cloze-train --"
demo := "python3 samples/demo.py"
demo_phase1 := "runs/demo/data/phase1"

[private]
default:
    @{{ just_executable() }} --list --unsorted

# libtorch for the trainer: CPU-only, or full where an NVIDIA driver is; CLOZE_TORCH=DIR takes an existing PyTorch
[group('set-up')]
setup:
    @sh train/setup.sh

# Compile both programs: target/release/cloze-prep and target/release/cloze-train
[group('set-up')]
build: setup
    cargo build --release --package cloze-prep --package cloze-train

# The whole path on samples/: vocabulary, corpus, both phases, fine-tuning, scores
[group('train')]
demo: build
    @{{ demo }} all

# Text to datasets: `just prep tokenize ...`, `just prep build ...`; alone, everything on samples/
[group('data')]
prep *arguments:
    @if [ $# -eq 0 ]; then cargo build --release --package cloze-prep && {{ demo }} prep; else {{ prep }} "$@"; fi

# What a dataset holds; with `--html FILE` as a report with plots
[group('data')]
inspect *dataset=demo_phase1:
    @{{ prep }} inspect "$@"

# Rows of a dataset as text
[group('data')]
show *dataset=demo_phase1:
    @{{ prep }} show "$@"

# Read all of a dataset and check it
[group('data')]
verify *dataset=demo_phase1:
    @{{ prep }} verify "$@"

# A dataset as the files of another tool: `just export DATASET --format nvidia-hdf5 --out OUT`
[group('data')]
export *arguments="--help":
    @{{ prep }} export "$@"

# A dataset of the files of another tool: `just import --format nvidia-hdf5 --input FILES --vocab VOCAB --out DATASET`
[group('data')]
import *arguments="--help":
    @{{ prep }} import "$@"

# How two datasets differ, down to the first row
[group('data')]
diff a b *flags:
    @{{ prep }} diff "$@"

# Pre-train: `just pretrain --data phase1 --out runs/p1 ...`; alone, both phases on samples/
[group('train')]
pretrain *arguments: setup
    @if [ $# -eq 0 ]; then {{ just_executable() }} build && {{ demo }} pretrain; else {{ train }} pretrain "$@"; fi

# Fine-tune: `just finetune squad ...`, `just finetune glue ...`; alone, both tasks on samples/
[group('train')]
finetune *arguments: setup
    @if [ $# -eq 0 ]; then {{ just_executable() }} build && {{ demo }} finetune; else {{ train }} finetune "$@"; fi

# Score a fine-tuned checkpoint: `just evaluate squad ...`, `just evaluate glue ...`
[group('train')]
evaluate *arguments: setup
    @{{ train }} evaluate "$@"

# A checkpoint of Hugging Face, PyTorch, NVIDIA or TensorFlow as a model: `just import-model --input FILE --out MODEL`
[group('train')]
import-model *arguments="--help": setup
    @{{ train }} import "$@"

# A checkpoint for another program: `just export-model RUN --format pytorch --out OUT`
[group('train')]
export-model *arguments="--help": setup
    @{{ train }} export "$@"

# The curves of runs as an HTML page: `just report RUN...`; alone, of the demo's phase 1
[group('train')]
report *runs="runs/demo/phase1": setup
    @{{ train }} report "$@"

# BERT-base on samples/ for a few steps on an NVIDIA GPU, to see that it runs there
[group('train')]
gpu-check: build
    @{{ demo }} gpu

# Some hundred steps of BERT-base in fp32, tf32, bf16 and fp16 on a GPU: runs/precision/*, whose loss curves should lie on each other
[group('train')]
gpu-precisions data=demo_phase1 steps="300": build
    @for p in fp32 tf32 bf16 fp16; do target/release/cloze-train pretrain --recipe bert-base-phase1 --data "{{ data }}" --out runs/precision/$p --precision $p --steps {{ steps }} --warmup-fraction 0.1 --device cuda || exit; done

# Speed and memory of preparation: `just bench-prep --text FILE.. --dump FILE --vocab FILE`; alone, on samples/, which are small
[group('check')]
bench-prep *arguments:
    @cargo run --quiet --release --package cloze-prep --example bench -- "$@"

# Speed of a training step; `just bench-train --python VENV/bin/python` also that of transformers and plain PyTorch, in turns
[group('check')]
bench-train *arguments: setup
    @cargo build --quiet --release --package cloze-train
    @if [ "${1:-}" = --python ]; then python=$2; shift 2; "$python" tests/interop/peer_train.py --cloze target/release/cloze-train "$@"; else {{ train }} bench train "$@"; fi

# BERT-large on a GPU: phase 1 and 2 dense, then with the lengths of a phase 2 dataset, then peers: `just bench-train-gpu DATASET PYTHON`
[group('check')]
bench-train-gpu lengths="" python="": setup
    @{{ train }} bench train --device cuda --model large --batch 128 --seq-len 128 --steps 30
    @{{ train }} bench train --device cuda --model large --batch 32 --seq-len 512 --steps 30
    @if [ -n "{{ lengths }}" ]; then {{ train }} bench train --device cuda --model large --batch 64 --lengths "{{ lengths }}" --steps 30; fi
    @if [ -n "{{ python }}" ]; then "{{ python }}" tests/interop/peer_train.py --device cuda --compile --model large --batch 128 --seq-len 128 --precision bf16; fi

# Several processes against one on this machine, and what a model foretells of clusters
[group('check')]
bench-scaling *arguments: setup
    @{{ train }} bench scaling "$@"

# Checkpoints to and from transformers, with a Python that has torch and transformers: the same logits on both sides
[group('check')]
check-transformers python: setup
    CLOZE_TRANSFORMERS_PYTHON="$1" cargo test --package cloze-train --test transformers -- --ignored --nocapture

# Checkpoints to TensorFlow, with a Python that has tensorflow or tensorflow-cpu: the same variables and values
[group('check')]
check-tensorflow python: setup
    CLOZE_TENSORFLOW_PYTHON="$1" cargo test --package cloze-train --test import_export tensorflow_reads -- --ignored --nocapture

# All tests
[group('check')]
test: setup
    cargo test --workspace

# Format, lints, documentation, fuzz targets
[group('check')]
lint: setup
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps
    @for fuzz in */fuzz; do (cd "$fuzz" && cargo fmt --check && cargo check --quiet) || exit; done

# Licences, bans and advisories of all dependencies; needs cargo-deny
[group('check')]
deny:
    cargo deny check

# Fuzz shard, wikitext, xml or tokenizer until stopped: `just fuzz shard -max_total_time=180`; findings go to */fuzz/artifacts
[group('check')]
fuzz target *arguments:
    @cd "$(dirname */fuzz/fuzz_targets/"$1".rs)/.." && mkdir -p corpus/"$1" artifacts && t=$1 && shift && cargo run --quiet --release --bin "$t" -- corpus/"$t" -artifact_prefix=artifacts/"$t"- "$@"

# Everything CI does
[group('check')]
ci:
    bash .ci/run
