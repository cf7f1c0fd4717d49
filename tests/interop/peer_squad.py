#!/usr/bin/env python3
r"""Fine-tunes BERT on SQuAD v1.1 with plain PyTorch and transformers, to hold beside `cloze-train finetune squad`.

    pip install torch transformers
    python tests/interop/peer_squad.py --checkpoint minilm/ --train train-v1.1.json --dev dev-v1.1.json \
        --out peer-squad/

Nothing here shares code with Cloze: windows, optimizer set-up, n-best search and scoring are written again from their
published descriptions, so that an agreement of the scores says something. Writes to --out:

    predictions.json   question id -> answer text
    scores.json        exact match, F1, seconds, and every hyper-parameter of the run

Legend: B windows of a batch, S tokens of the longest window in it.
"""

import argparse
import collections
import json
import math
import pathlib
import re
import string
import time

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertForQuestionAnswering


# ---------------------------------------------------------------------------------------------------------------- data

class Window:
    """One [CLS] question [SEP] context slice [SEP] and what is needed to turn its logits into text."""

    __slots__ = ("question", "input_ids", "segment_a_length", "offsets", "max_context", "start", "end")

    def __init__(self, question, input_ids, segment_a_length, offsets, max_context, start, end):
        self.question = question  # row in the list of questions
        self.input_ids = input_ids
        self.segment_a_length = segment_a_length  # [CLS], question, first [SEP]
        self.offsets = offsets  # character span in the context, one for each token of segment B but the last [SEP]
        self.max_context = max_context
        self.start = start
        self.end = end


def read_questions(path):
    """Rows of a SQuAD v1.1 file: dictionaries with id, question, context, answers [(text, start)]."""
    rows = []
    for entry in json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["data"]:
        for paragraph in entry["paragraphs"]:
            for qa in paragraph["qas"]:
                answers = [(a["text"], a["answer_start"]) for a in qa["answers"]]
                rows.append({"id": qa["id"], "question": qa["question"], "context": paragraph["context"],
                             "answers": answers})
    return rows


def slices(num_tokens, room, doc_stride):
    """(start, length) of the overlapping slices of a context, as in google-research/bert run_squad.py."""
    out, start = [], 0
    while True:
        length = min(num_tokens - start, room)
        out.append((start, length))
        if start + length == num_tokens:
            return out
        start += min(length, doc_stride)


def best_slice(spans, position):
    """The slice that gives the token at `position` the most context on its poorer side."""
    scores = [(min(position - start, start + length - 1 - position) + 0.01 * length, -i)
              for i, (start, length) in enumerate(spans) if start <= position < start + length]
    return -max(scores)[1]


def answer_tokens(offsets, text, answer_start):
    """First and last token that touch the characters of an answer."""
    answer_end = answer_start + len(text)
    touched = [i for i, (start, end) in enumerate(offsets) if start < answer_end and end > answer_start]
    return (touched[0], touched[-1]) if touched else None


def make_windows(rows, tokenizer, args, training):
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    questions = [tokenizer.encode(r["question"], add_special_tokens=False).ids for r in rows]
    contexts = list(dict.fromkeys(r["context"] for r in rows))
    encoded = tokenizer.encode_batch(contexts, add_special_tokens=False)
    by_context = {c: (e.ids, e.offsets) for c, e in zip(contexts, encoded)}
    windows = []
    for index, row in enumerate(rows):
        question = questions[index][:args.max_query_length]
        ids, offsets = by_context[row["context"]]
        answer = answer_tokens(offsets, *row["answers"][0]) if training else None
        spans = slices(len(ids), args.max_seq_length - len(question) - 3, args.doc_stride)
        for number, (first, length) in enumerate(spans):
            head = [cls] + question + [sep]
            start = end = 0  # [CLS]: this window does not hold the whole answer
            if answer and first <= answer[0] and answer[1] < first + length:
                start, end = answer[0] - first + len(head), answer[1] - first + len(head)
            flags = [] if training else [best_slice(spans, p) == number for p in range(first, first + length)]
            windows.append(Window(index, head + ids[first:first + length] + [sep], len(head),
                                  offsets[first:first + length], flags, start, end))
    return windows


def pad(batch, pad_id):
    """input_ids, attention_mask, token_type_ids `[B, S]`, padded to the longest window of the batch."""
    longest = max(len(w.input_ids) for w in batch)
    rows = [w.input_ids + [pad_id] * (longest - len(w.input_ids)) for w in batch]
    mask = [[1] * len(w.input_ids) + [0] * (longest - len(w.input_ids)) for w in batch]
    segments = [[0] * w.segment_a_length + [1] * (len(w.input_ids) - w.segment_a_length)
                + [0] * (longest - len(w.input_ids)) for w in batch]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask),
            "token_type_ids": torch.tensor(segments)}


# ------------------------------------------------------------------------------------------------------------ training

def make_optimizer(model, args):
    plain, decayed = [], []
    for name, parameter in model.named_parameters():
        (plain if name.endswith("bias") or "LayerNorm" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.learning_rate, betas=(0.9, 0.999), eps=args.eps)


def learning_rate_factor(step, num_steps, warmup_steps):
    """Linear warm-up from 0, then linear decay to 0; `step` counts from 0."""
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup_steps))


def micro_batches(batch, num_windows):
    """The batch in pieces of `num_windows`, shortest windows first: the same gradient with less padding."""
    batch = sorted(batch, key=lambda w: len(w.input_ids)) if num_windows < len(batch) else batch
    return [batch[at:at + num_windows] for at in range(0, len(batch), num_windows)]


def train(model, windows, pad_id, args, device, evaluate):
    """Trains, calls `evaluate()` after every epoch, returns what was measured."""
    steps_per_epoch = math.ceil(len(windows) / args.batch_size)
    num_steps = steps_per_epoch * args.epochs
    warmup_steps = int(num_steps * args.warmup)
    optimizer = make_optimizer(model, args)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: learning_rate_factor(s, num_steps, warmup_steps))
    generator = torch.Generator().manual_seed(args.seed)
    seconds, scores, step, started, real_tokens, padded_tokens = [], [], 0, time.time(), 0, 0
    for epoch in range(args.epochs):
        model.train()
        epoch_started, total, order = time.time(), 0.0, torch.randperm(len(windows), generator=generator).tolist()
        for at in range(0, len(order), args.batch_size):
            batch, loss = [windows[i] for i in order[at:at + args.batch_size]], 0.0
            for micro in micro_batches(batch, args.micro_batch or args.batch_size):
                inputs = pad(micro, pad_id)
                real_tokens += int(inputs["attention_mask"].sum())
                padded_tokens += inputs["input_ids"].numel()
                out = model(**{k: v.to(device) for k, v in inputs.items()},
                            start_positions=torch.tensor([w.start for w in micro], device=device),
                            end_positions=torch.tensor([w.end for w in micro], device=device))
                share = out.loss * (len(micro) / len(batch))
                share.backward()
                loss += share.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            total += loss
            if step % args.log_every == 0 or step == 1:
                pace = (time.time() - started) / step
                print(f"step {step}/{num_steps} loss {loss:.4f} {pace:.2f} s/step, "
                      f"{pace * (num_steps - step) / 60:.1f} min left", flush=True)
            if step == args.max_steps:
                return {"steps": step, "stopped_early": True, "train_seconds": time.time() - started}
        seconds.append(round(time.time() - epoch_started, 1))
        print(f"epoch {epoch + 1}: mean loss {total / steps_per_epoch:.4f}, {seconds[-1]} s", flush=True)
        scores.append(evaluate())
        print(f"epoch {epoch + 1}: dev {json.dumps(scores[-1])}", flush=True)
    return {"steps": num_steps, "warmup_steps": warmup_steps, "steps_per_epoch": steps_per_epoch,
            "epoch_seconds": seconds, "epoch_scores": scores, "train_seconds": round(sum(seconds), 1),
            "real_tokens": real_tokens, "padded_tokens": padded_tokens}


# ---------------------------------------------------------------------------------------------------------- prediction

@torch.no_grad()
def logits_of(model, windows, pad_id, args, device):
    """Start and end logits of every window, computed longest first, returned in the windows' order."""
    model.eval()
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i].input_ids))
    logits = [None] * len(windows)
    for at in range(0, len(order), args.batch_size):
        rows = order[at:at + args.batch_size]
        out = model(**{k: v.to(device) for k, v in pad([windows[i] for i in rows], pad_id).items()})
        for i, start, end in zip(rows, out.start_logits.cpu().tolist(), out.end_logits.cpu().tolist()):
            logits[i] = (start, end)
    return logits


def top(values, size, n_best):
    return sorted(range(size), key=lambda i: -values[i])[:n_best]


def predict(rows, windows, logits, args):
    """question id -> text of the best admissible span over all windows of the question."""
    best = {}
    for window, (start_logits, end_logits) in zip(windows, logits):
        first, num = window.segment_a_length, len(window.offsets)
        for start in top(start_logits, len(window.input_ids), args.n_best_size):
            for end in top(end_logits, len(window.input_ids), args.n_best_size):
                inside = first <= start <= end < first + num
                if not inside or end - start + 1 > args.max_answer_length or not window.max_context[start - first]:
                    continue
                score = start_logits[start] + end_logits[end]
                if score > best.get(window.question, (-math.inf,))[0]:
                    span = (window.offsets[start - first][0], window.offsets[end - first][1])
                    best[window.question] = (score, span)
    predictions = {}
    for index, row in enumerate(rows):
        _, span = best.get(index, (None, (0, 0)))
        predictions[row["id"]] = row["context"][span[0]:span[1]]
    return predictions


# ------------------------------------------------------------------------------------------------------------- scoring

def normalize(text):
    """Lower case, no ASCII punctuation, no articles, single spaces: the official SQuAD normalisation."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1_of(prediction, gold):
    ours, theirs = normalize(prediction).split(), normalize(gold).split()
    shared = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def score(rows, predictions):
    exact = f1 = 0.0
    for row in rows:
        golds, prediction = [text for text, _ in row["answers"]], predictions[row["id"]]
        exact += max(normalize(prediction) == normalize(g) for g in golds)
        f1 += max(f1_of(prediction, g) for g in golds)
    return {"exact_match": 100.0 * exact / len(rows), "f1": 100.0 * f1 / len(rows)}


# ---------------------------------------------------------------------------------------------------------------- main

def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="directory with config.json, model.safetensors, vocab.txt")
    parser.add_argument("--train", required=True, help="SQuAD v1.1 training file")
    parser.add_argument("--dev", required=True, help="SQuAD v1.1 file to score on")
    parser.add_argument("--out", required=True, help="directory for predictions.json and scores.json")
    parser.add_argument("--max-seq-length", type=int, default=384)
    parser.add_argument("--doc-stride", type=int, default=128)
    parser.add_argument("--max-query-length", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--micro-batch", type=int, default=None,
                        help="accumulate the batch's gradient over length-sorted pieces of so many windows")
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--warmup", type=float, default=0.1, help="fraction of all steps")
    parser.add_argument("--weight-decay", type=float, default=0.01, help="not on biases and LayerNorm")
    parser.add_argument("--eps", type=float, default=1e-6, help="AdamW's epsilon")
    parser.add_argument("--clip", type=float, default=1.0, help="largest global gradient norm")
    parser.add_argument("--n-best-size", type=int, default=20)
    parser.add_argument("--max-answer-length", type=int, default=30)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=0, help="0: torch decides")
    parser.add_argument("--cased", action="store_true")
    parser.add_argument("--max-steps", type=int, default=None, help="stop after so many steps, to measure the pace")
    parser.add_argument("--log-every", type=int, default=10)
    return parser.parse_args()


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = pathlib.Path(args.checkpoint)
    tokenizer = BertWordPieceTokenizer(str(checkpoint / "vocab.txt"), lowercase=not args.cased)
    pad_id = tokenizer.token_to_id("[PAD]")
    model = BertForQuestionAnswering.from_pretrained(checkpoint, attn_implementation="eager").to(device)
    train_rows, dev_rows = read_questions(args.train), read_questions(args.dev)
    train_windows = make_windows(train_rows, tokenizer, args, training=True)
    dev_windows = make_windows(dev_rows, tokenizer, args, training=False)
    print(f"train: {len(train_rows)} questions, {len(train_windows)} windows; "
          f"dev: {len(dev_rows)} questions, {len(dev_windows)} windows; {device}", flush=True)

    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    def evaluate():
        logits = logits_of(model, dev_windows, pad_id, args, device)
        predictions = predict(dev_rows, dev_windows, logits, args)
        text = json.dumps(predictions, indent=1, ensure_ascii=False)
        (out / "predictions.json").write_text(text, encoding="utf-8")
        return score(dev_rows, predictions)

    report = train(model, train_windows, pad_id, args, device, evaluate)
    if report.get("stopped_early"):
        return
    settings = {k: v for k, v in vars(args).items() if k not in ("checkpoint", "train", "dev", "out")}
    settings |= {"optimizer": "AdamW, betas 0.9 0.999", "schedule": "linear warm-up, linear decay to 0",
                 "dropout": model.config.hidden_dropout_prob,
                 "attention_dropout": model.config.attention_probs_dropout_prob,
                 "classifier_init": "normal(0, %g), bias 0" % model.config.initializer_range,
                 "padding": "longest of the micro-batch", "precision": "fp32",
                 "torch": torch.__version__, "device": device,
                 "train_questions": len(train_rows), "train_windows": len(train_windows),
                 "dev_questions": len(dev_rows), "dev_windows": len(dev_windows)}
    result = report["epoch_scores"][-1] | report | {"hyper_parameters": settings}
    (out / "scores.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
