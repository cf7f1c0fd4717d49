"""Makes expected-*.txt: the instances that NVIDIA's create_pretraining_data.py would make of sentences.txt.

An independent implementation, written from the description of the algorithm with Python's own `random`; nothing is shared with
Cloze. A tiny vocabulary (vocab.txt, made here too) and a WordPiece tokenizer of a few lines keep it small. The same way of drawing, in
Rust, was compared with files of the script itself (tests/interop/check_nvidia.py).

Run: python make_expected.py (Python 3.2 or later, nothing else). A line per instance: label, tokens of [CLS] A [SEP], clean ids, masked
positions, what the model sees there.
"""

import pathlib
import random
import re

HERE = pathlib.Path(__file__).parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the of and in on by was were had she it there that day stone jars clock left ##ing ##ed ##er ##th ##on".split()
CASES = {
    # name: (documents, max_seq_length, max_predictions_per_seq, masked_lm_prob, short_seq_prob, dupe_factor, seed)
    "several": (None, 40, 6, 0.15, 0.1, 3, 12345),
    "short": (None, 24, 3, 0.3, 0.9, 2, 2**40 + 7),
    "one-document": (1, 32, 20, 0.15, 0.1, 8, 5),
}


def make_vocabulary():
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    return SPECIAL + [".", ","] + letters + ["##" + c for c in letters] + WORDS


def tokenize(line, ids):
    """Lower case, words and punctuation apart, greedy longest match."""
    tokens = []
    for word in re.findall(r"\w+|[^\w\s]", line.lower()):
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next(e for e in range(len(word), start, -1) if prefix + word[start:e] in ids)
            tokens.append(ids[prefix + word[start:end]])
            start = end
    return tokens


class Maker:
    def __init__(self, documents, ids, max_seq_length, max_predictions, masked_lm_prob, short_seq_prob, seed):
        self.rng = random.Random(seed)
        self.documents = list(documents)
        self.rng.shuffle(self.documents)
        self.ids = ids
        self.room = max_seq_length - 3
        self.max_predictions, self.masked_lm_prob = max_predictions, masked_lm_prob
        self.short_seq_prob = short_seq_prob

    def all(self, dupe_factor):
        instances = []
        for _ in range(dupe_factor):
            for number in range(len(self.documents)):
                instances += self.of_document(number)
        self.rng.shuffle(instances)
        return instances

    def of_document(self, number):
        document = self.documents[number]
        target = self.room
        if self.rng.random() < self.short_seq_prob:
            target = self.rng.randint(2, self.room)
        at = 0
        while at < len(document):
            chunk = [document[at]]
            while at + len(chunk) < len(document) and sum(map(len, chunk)) < target:
                chunk.append(document[at + len(chunk)])
            cut = self.rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
            a = sum(chunk[:cut], [])
            if len(chunk) == 1 or self.rng.random() < 0.5:
                b, is_random = self.random_segment(number, target - len(a))
                at += cut
            else:
                b, is_random = sum(chunk[cut:], []), False
                at += len(chunk)
            yield self.instance(*self.truncated(a, b), is_random)

    def random_segment(self, number, wanted):
        for _ in range(10):
            other = self.rng.randint(0, len(self.documents) - 1)
            if other != number:
                break
        document = self.documents[other]
        segment = []
        for sentence in document[self.rng.randint(0, len(document) - 1):]:
            segment = segment + sentence
            if len(segment) >= wanted:
                break
        return segment, other != number

    def truncated(self, a, b):
        while len(a) + len(b) > self.room:
            front = self.rng.random() < 0.5
            if len(a) > len(b):
                a = a[1:] if front else a[:-1]
            else:
                b = b[1:] if front else b[:-1]
        return a, b

    def instance(self, a, b, is_random):
        cls, sep, mask = (self.ids[token] for token in ("[CLS]", "[SEP]", "[MASK]"))
        clean = [cls] + a + [sep] + b + [sep]
        candidates = [p for p, token in enumerate(clean) if token not in (cls, sep)]
        self.rng.shuffle(candidates)
        count = min(self.max_predictions, max(1, round(len(clean) * self.masked_lm_prob)))
        masks = []
        for position in candidates[:count]:
            if self.rng.random() < 0.8:
                seen = mask
            elif self.rng.random() < 0.5:
                seen = clean[position]
            else:
                seen = self.rng.randint(0, len(self.ids) - 1)
            masks.append((position, seen))
        return int(is_random), len(a) + 2, clean, sorted(masks)


def main():
    vocabulary = make_vocabulary()
    ids = {token: number for number, token in enumerate(vocabulary)}
    (HERE / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    text = (HERE / "sentences.txt").read_text(encoding="utf-8")
    documents = [[tokenize(line, ids) for line in block.splitlines()] for block in text.strip().split("\n\n")]
    for name, (num_documents, length, most, prob, short, dupe_factor, seed) in CASES.items():
        maker = Maker(documents[:num_documents], ids, length, most, prob, short, seed)
        with open(HERE / f"expected-{name}.txt", "w", encoding="utf-8") as out:
            for label, a, clean, masks in maker.all(dupe_factor):
                columns = [clean, [p for p, _ in masks], [seen for _, seen in masks]]
                print(label, a, *(",".join(map(str, column)) for column in columns), file=out)


if __name__ == "__main__":
    main()
