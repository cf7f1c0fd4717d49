"""Makes metrics.json: predictions with their scores by scikit-learn and SciPy, and by SQuAD v2.0's rules written out anew.

The rules, from the description of SQuAD v2.0's evaluation: texts are lower-cased, lose ASCII punctuation and the words a, an, the, and
white space is collapsed; a question counts its best gold answer, or the empty text where it has none; two empty texts match. The best
threshold starts from answering nothing (a point per question without answer) and lets questions in by ascending null odds.
Run: python make_metrics.py (needs scikit-learn, scipy).
"""

import collections
import json
import pathlib
import random
import re
import string

from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

HERE = pathlib.Path(__file__).parent
WORDS = "the a an river bridge Old stone, north-east 1872 (ferry) Thorne's mill".split()


def classes(rng, rows, num_classes, agreement):
    labels = [rng.randrange(num_classes) for _ in range(rows)]
    predictions = [label if rng.random() < agreement else rng.randrange(num_classes) for label in labels]
    scores = {"accuracy": accuracy_score(labels, predictions), "mcc": matthews_corrcoef(labels, predictions)}
    if num_classes == 2:
        scores["f1"] = f1_score(labels, predictions)
    return {"predictions": predictions, "labels": labels, "scores": scores}


def scores(rng, rows, noise, digits):
    """Few digits make ties, as the gold scores of STS-B have them."""
    labels = [round(rng.uniform(0, 5), digits) for _ in range(rows)]
    predictions = [round(label + rng.gauss(0, noise), digits) for label in labels]
    values = {"pearson": pearsonr(predictions, labels)[0], "spearman": spearmanr(predictions, labels)[0]}
    return {"predictions": predictions, "labels": labels, "scores": values}


def tokens(text):
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def exact(gold, text):
    return float(tokens(gold) == tokens(text))


def f1(gold, text):
    gold, text = tokens(gold), tokens(text)
    if not gold or not text:
        return float(gold == text)
    same = sum((collections.Counter(gold) & collections.Counter(text)).values())
    return 2 * same / (len(gold) + len(text))


def best_threshold(points, has_answer, predictions, odds):
    current = best = sum(not has for has in has_answer.values())
    threshold = 0.0
    for question in sorted(odds, key=lambda question: (odds[question], question)):
        if has_answer[question]:
            current += points[question]
        elif predictions[question]:
            current -= 1
        if current > best:
            best, threshold = current, odds[question]
    return 100 * best / len(points), threshold


def squad_v2(rng, rows, impossible):
    text = lambda: " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))
    examples, predictions, odds = [], {}, {}
    for row in range(rows):
        question = f"q{row}"
        golds = [] if rng.random() < impossible else [text() for _ in range(rng.randint(1, 3))]
        predictions[question] = rng.choice([*golds, *golds, text(), ""])
        odds[question] = round(rng.gauss(0 if golds else 1, 2), 1)
        examples.append({"id": question, "context": "", "answers": [{"text": gold} for gold in golds]})
    has_answer = {example["id"]: bool(example["answers"]) for example in examples}
    points = {"exact": {}, "f1": {}}
    for example in examples:
        golds = [answer["text"] for answer in example["answers"] if tokens(answer["text"])] or [""]
        for name, score in (("exact", exact), ("f1", f1)):
            points[name][example["id"]] = max(score(gold, predictions[example["id"]]) for gold in golds)
    values = {}
    for prefix, wanted in (("", {True, False}), ("HasAns_", {True}), ("NoAns_", {False})):
        chosen = [question for question in has_answer if has_answer[question] in wanted]
        if chosen:
            values[prefix + "total"] = len(chosen)
            for name in points:
                values[prefix + name] = 100 * sum(points[name][question] for question in chosen) / len(chosen)
    for name in points:
        best, threshold = best_threshold(points[name], has_answer, predictions, odds)
        values[f"best_{name}"], values[f"best_{name}_thresh"] = best, threshold
    return {"examples": examples, "predictions": predictions, "null_odds": odds, "scores": values}


def main():
    rng = random.Random(20)
    golden = {
        "classes": [classes(rng, *case) for case in [(60, 2, 0.7), (41, 2, 0.0), (50, 3, 0.5), (7, 2, 1.0)]],
        "scores": [scores(rng, *case) for case in [(50, 1.0, 1), (50, 0.2, 3), (9, 5.0, 0)]],
        "squad_v2": [squad_v2(rng, *case) for case in [(40, 0.5), (30, 0.3), (12, 0.0), (12, 1.0), (1, 0.0)]],
    }
    (HERE / "metrics.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
