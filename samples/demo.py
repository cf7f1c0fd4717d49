#!/usr/bin/env python3
"""The whole path on samples/, step by step: what `just demo` runs, and what `just prep`, `just pretrain` and
`just finetune` run when they are given no arguments. Everything it makes lies in runs/demo.

    python3 samples/demo.py all         start anew, do everything, end with a table
    python3 samples/demo.py prep        only what is missing of the datasets
    python3 samples/demo.py pretrain    only what is missing up to both phases
    python3 samples/demo.py finetune    only what is missing up to the scores
    python3 samples/demo.py gpu         a few steps at BERT-base size on a GPU
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREP = "target/release/cloze-prep"
TRAIN = "target/release/cloze-train"
SAMPLES = Path("samples")
RUNS = Path("runs/demo")
DATA = RUNS / "data"
VOCABULARY = DATA / "vocab.txt"
TEXT = ["--wikipedia", SAMPLES / "wiki/miniwiki.xml", "--books", SAMPLES / "books"]

PREP_STEPS = [
    # what it makes, title, command
    (VOCABULARY, "Learn a vocabulary", [PREP, "vocab", *TEXT, "--vocab-size", "4096", "--out", VOCABULARY]),
    (DATA / "corpus", "Text to a corpus", [PREP, "tokenize", *TEXT, "--vocab", VOCABULARY, "--out", DATA / "corpus"]),
    *(
        (
            DATA / f"phase{phase}",
            f"Corpus to the shards of phase {phase}",
            [PREP, "build", "--corpus", DATA / "corpus", "--phase", str(phase), "--dupe-factor", "5", "--held-out", "0.05",
             "--out", DATA / f"phase{phase}"],
        )
        for phase in (1, 2)
    ),
    *(
        (
            DATA / f"squad/{split}",
            f"SQuAD rows to windows, {split}",
            [PREP, "squad", "--input", SAMPLES / f"squad/{split}.json", "--vocab", VOCABULARY, "--max-seq-length", "256",
             "--out", DATA / f"squad/{split}"],
        )
        for split in ("train", "dev")
    ),
    (
        DATA / "glue/sst-2/dev",
        "SST-2 rows to examples",
        [PREP, "glue", "--task", "sst-2", "--dir", SAMPLES / "glue/SST-2", "--vocab", VOCABULARY,
         "--out", DATA / "glue/sst-2"],
    ),
]

LOOK_STEPS = [
    ("What phase 1 holds", [PREP, "inspect", DATA / "phase1"]),
    ("Two of its instances", [PREP, "show", DATA / "phase1", "--count", "2"]),
    ("Is it whole?", [PREP, "verify", DATA / "phase1"]),
]

PRETRAIN_STEPS = [
    (
        RUNS / f"phase{phase}",
        f"Pre-train, phase {phase}",
        [TRAIN, "pretrain", "--recipe", SAMPLES / f"recipes/phase{phase}.toml", "--data", DATA / f"phase{phase}",
         *(["--init", RUNS / "phase1"] if phase == 2 else []), "--out", RUNS / f"phase{phase}"],
    )
    for phase in (1, 2)
]

FINETUNE_STEPS = [
    (
        RUNS / name,
        f"Fine-tune and evaluate, {title}",
        [TRAIN, "finetune", task, "--recipe", SAMPLES / f"recipes/{name}.toml", "--data", DATA / data / "train",
         "--dev", DATA / data / "dev", "--init", RUNS / "phase2", "--out", RUNS / name],
    )
    for name, title, task, data in [("squad", "SQuAD", "squad", "squad"), ("sst-2", "SST-2", "glue", "glue/sst-2")]
]


def run(title, command):
    words = [str(word) for word in command]
    print(f"\n== {title}\n$ {' '.join(words)}", flush=True)
    code = subprocess.run(words, check=False).returncode
    if code != 0:
        sys.exit(code if code > 0 else 128 - code)


def is_made(what):
    """A dataset is finished when it has a manifest, a run when it has a summary."""
    return what.is_file() or (what / "manifest.json").is_file() or (what / "summary.json").is_file()


def make(steps):
    for what, title, command in steps:
        if is_made(what):
            print(f"\n== {title}\n{what} is there already", flush=True)
        else:
            what.parent.mkdir(parents=True, exist_ok=True)
            run(title, command)


def summary(name):
    path = RUNS / name / "summary.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def first_and_last(run_summary, key):
    """`8.32 -> 5.10` of a figure that a summary gives as its first and last value."""
    value = run_summary.get(key, {})
    return f"{value['first']:.2f} -> {value['last']:.2f}" if "first" in value else ""


def report(seconds):
    rows = [("what", "where", "loss, first -> last", "score", "time")]
    for what, name in [("corpus", "corpus"), ("phase 1 shards", "phase1"), ("phase 2 shards", "phase2")]:
        manifest = json.loads((DATA / name / "manifest.json").read_text())
        size = f"{manifest['statistics']['rows']:,} rows, {manifest['statistics']['tokens']:,} tokens"
        rows.append((what, str(DATA / name), "", size, ""))
    for phase in (1, 2):
        s = summary(f"phase{phase}")
        losses = f"MLM {first_and_last(s, 'masked_lm_loss')}, NSP {first_and_last(s, 'next_sentence_loss')}"
        held_out = f"held-out MLM {first_and_last(s, 'held_out_masked_lm_loss')}"
        rows.append((f"pre-training, phase {phase}", str(RUNS / f"phase{phase}"), losses, held_out, f"{s['seconds']:.0f} s"))
    s = summary("squad")
    scores = f"EM {s['exact_match']:.1f}, F1 {s['f1']:.1f}"
    rows.append(("SQuAD", str(RUNS / "squad"), first_and_last(s, "loss"), scores, f"{s['seconds']:.0f} s"))
    s = summary("sst-2")
    rows.append(("SST-2", str(RUNS / "sst-2"), first_and_last(s, "loss"), f"accuracy {s['accuracy']:.3f}", f"{s['seconds']:.0f} s"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    print("\n== What was made")
    for i, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        if i == 0:
            print("  ".join("-" * width for width in widths))
    print(f"\nAll in {seconds:.0f} s. The samples are tiny: these scores say that everything works, not how good it is.")


def gpu():
    """A few steps of BERT-base on samples/, on the GPU; prints what the run reports of its speed."""
    make(PREP_STEPS)
    out = RUNS / "gpu"
    shutil.rmtree(out, ignore_errors=True)
    run("BERT-base on the GPU", [TRAIN, "pretrain", "--data", DATA / "phase1", "--steps", "20", "--global-batch-size",
                                 "256", "--log-every", "5", "--device", "cuda", "--out", out])


def main():
    os.chdir(ROOT)
    what = sys.argv[1] if len(sys.argv) == 2 else ""
    started = time.monotonic()
    if what == "all":
        shutil.rmtree(RUNS, ignore_errors=True)
        make(PREP_STEPS)
        for title, command in LOOK_STEPS:
            run(title, command)
        make(PRETRAIN_STEPS + FINETUNE_STEPS)
        report(time.monotonic() - started)
    elif what == "prep":
        make(PREP_STEPS)
    elif what == "pretrain":
        make(PREP_STEPS + PRETRAIN_STEPS)
    elif what == "finetune":
        make(PREP_STEPS + PRETRAIN_STEPS + FINETUNE_STEPS)
    elif what == "gpu":
        gpu()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
