#!/usr/bin/env python3
"""Compares cloze-prep's Punkt, training and splitting, with NLTK's on the same text.

    pip install nltk==3.8.1
    python tests/interop/check_punkt.py CLOZE_PREP TEXT... [--agreement PUNKT_AGREEMENT]

Every TEXT (UTF-8, each line a paragraph) is learned by `CLOZE_PREP punkt`, at one thread and at eight, and by NLTK's
PunktTrainer: the four sets of parameters must be equal. Then both split the text with them: the numbers of sentences must be
equal; with the path of the example `punkt_agreement`, every span. Exit status 1 with the differences on stderr, 0 when all
is well.

NLTK is given the text with typographic quotation marks as ASCII ones, and a blank line between paragraphs: this is how
cloze-prep reads any text.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer

QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛‹›", "'"), **dict.fromkeys("“”„‟«»", '"')})
# NLTK's orthographic context flags, in the order of the letters in parameter files.
FLAGS = ((2, "B"), (4, "M"), (8, "U"), (16, "b"), (32, "m"), (64, "u"))
SECTIONS = ("abbreviations", "collocations", "sentence starters", "orthography")


def paragraphs(text):
    """One line each, in an order that is kept."""
    lines = text.lstrip("\ufeff").replace("\r", "").split("\n")
    # Ideographic marks end sentences here and not in NLTK: a named difference, left out.
    return [line.strip() for line in lines if line.strip() and not re.search("[。！？｡]", line)]


def nltk_parameters(lines):
    trainer = PunktTrainer()
    trainer.train("\n\n".join(lines).translate(QUOTES), finalize=True)
    return trainer.get_params()


def sections_of_nltk(parameters):
    letters = {word: "".join(letter for flag, letter in FLAGS if context & flag)
               for word, context in parameters.ortho_context.items()}
    # A look-up leaves an empty entry in NLTK's table.
    orthography = {(word, places) for word, places in letters.items() if places}
    return dict(zip(SECTIONS, ({(word,) for word in parameters.abbrev_types}, set(parameters.collocations),
                               {(word,) for word in parameters.sent_starters}, orthography)))


def unescape(field):
    escapes = {"s": " ", "\\": "\\"}
    return re.sub(r"\\(?:u\{([0-9a-f]+)\}|(.))", lambda m: chr(int(m[1], 16)) if m[1] else escapes[m[2]], field)


def sections_of_file(path):
    """The parameter file, read a second time here from its description in prep/src/sentences/file.rs."""
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[0] != "cloze-punkt 1" or lines[-1]:
        sys.exit(f"{path}: not a parameter file")
    sections, current = {}, None
    for line in lines[1:-1]:
        if line.startswith("["):
            current = sections.setdefault(line[1:-1], [])
        elif current is not None:
            current.append(tuple(map(unescape, line.split(" "))))
    for name, entries in sections.items():
        if entries != sorted(set(entries)):
            sys.exit(f"{path}: [{name}] is not sorted")
    return {name: set(entries) for name, entries in sections.items()}


def call(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def compare_parameters(ours, theirs, name):
    """Prints the sizes; returns the number of entries that only one side has."""
    differences = 0
    for section in SECTIONS:
        only = ours[section] ^ theirs[section]
        differences += len(only)
        print(f"{name}: {section}: cloze {len(ours[section])}, NLTK {len(theirs[section])}, differing {len(only)}")
        for entry in sorted(only)[:10]:
            print(f"  only {'cloze' if entry in ours[section] else 'NLTK'}: {entry}", file=sys.stderr)
    return differences


def check(program, path, agreement, work):
    lines = paragraphs(path.read_text(encoding="utf-8"))
    text, vocabulary, models = work / "text.txt", work / "vocab.txt", [work / "1.punkt", work / "8.punkt"]
    text.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", encoding="utf-8")
    for model, threads in zip(models, (1, 8)):
        call(program, "punkt", "--text", text, "--out", model, "--threads", threads)
    if models[0].read_bytes() != models[1].read_bytes():
        sys.exit(f"{path}: the parameter files of 1 and 8 threads differ")
    parameters = nltk_parameters(lines)
    bad = compare_parameters(sections_of_file(models[0]), sections_of_nltk(parameters), path.name)

    tokenizer = PunktSentenceTokenizer()
    tokenizer._params = parameters
    spans = [list(tokenizer.span_tokenize(line.translate(QUOTES))) for line in lines]
    summary = json.loads(call(program, "--json", "tokenize", "--text", text, "--vocab", vocabulary,
                              "--sentence-model", models[0], "--out", work / "corpus"))
    theirs = sum(map(len, spans))
    print(f"{path.name}: sentences: cloze {summary['sentences']}, NLTK {theirs}")
    bad += summary["sentences"] != theirs
    if agreement:
        rows = work / "spans.jsonl"
        with rows.open("w", encoding="utf-8") as out:
            for line, row in zip(lines, spans):
                out.write(json.dumps({"source": path.name, "text": line, "spans": row}) + "\n")
        report = call(agreement, rows, "--model", models[0], "--differences", 5)
        print(report, end="")
        bad += "spans: " not in report or " F1 1.0000 " not in report or "OURS" in report or "THEIRS" in report
    return bad


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("texts", type=pathlib.Path, nargs="+")
    arguments.add_argument("--agreement", type=pathlib.Path)
    given = arguments.parse_args()
    bad = 0
    for path in given.texts:
        with tempfile.TemporaryDirectory() as work:
            bad += check(given.program, path, given.agreement, pathlib.Path(work))
    if bad:
        sys.exit(f"check_punkt: {bad} differences")
    print("cloze-prep and NLTK agree")


if __name__ == "__main__":
    main()
