#!/usr/bin/env python3
"""Fine-tunes BERT on SST-2 with plain PyTorch and transformers, to hold beside `cloze-train finetune glue`.

    pip install torch transformers
    python tests/interop/peer_sst2.py --checkpoint minilm/ --data SST-2/ --out peer-sst2/

Nothing here shares code with Cloze. Writes scores.json to --out: dev accuracy and seconds of every epoch and every
hyper-parameter of the run.

Legend: B sentences of a batch, S tokens of the longest of them.
"""

import argparse
import json
import math
import pathlib
import time

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertForSequenceClassification


def read_rows(path):
    """Sentences and labels of a tab separated file with the header `sentence<TAB>label`."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    columns = lines[0].split("\t")
    sentence, label = columns.index("sentence"), columns.index("label")
    cells = [line.split("\t") for line in lines[1:] if line]
    return [c[sentence] for c in cells], [int(c[label]) for c in cells]


def encode(sentences, labels, tokenizer, max_seq_length):
    tokenizer.enable_truncation(max_seq_length)
    return [(e.ids, label) for e, label in zip(tokenizer.encode_batch(sentences), labels)]


def pad(batch, pad_id):
    """input_ids and attention_mask `[B, S]`, labels `[B]`, padded to the longest sentence of the batch."""
    longest = max(len(ids) for ids, _ in batch)
    rows = [ids + [pad_id] * (longest - len(ids)) for ids, _ in batch]
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask),
            "labels": torch.tensor([label for _, label in batch])}


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


@torch.no_grad()
def accuracy(model, rows, pad_id, args, device):
    model.eval()
    ordered, right = sorted(rows, key=lambda r: -len(r[0])), 0
    for at in range(0, len(ordered), args.batch_size):
        inputs = {k: v.to(device) for k, v in pad(ordered[at:at + args.batch_size], pad_id).items()}
        labels = inputs.pop("labels")
        right += int((model(**inputs).logits.argmax(-1) == labels).sum())
    return right / len(rows)


def train(model, train_rows, dev_rows, pad_id, args, device):
    """Trains; returns what happened in each epoch."""
    steps_per_epoch = math.ceil(len(train_rows) / args.batch_size)
    num_steps = steps_per_epoch * args.epochs
    warmup_steps = int(num_steps * args.warmup)
    optimizer = make_optimizer(model, args)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: learning_rate_factor(s, num_steps, warmup_steps))
    generator = torch.Generator().manual_seed(args.seed)
    epochs, step, started = [], 0, time.time()
    for epoch in range(args.epochs):
        model.train()
        epoch_started, total = time.time(), 0.0
        order = torch.randperm(len(train_rows), generator=generator).tolist()
        for at in range(0, len(order), args.batch_size):
            batch = pad([train_rows[i] for i in order[at:at + args.batch_size]], pad_id)
            loss = model(**{k: v.to(device) for k, v in batch.items()}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            total += loss.item()
            if step % args.log_every == 0 or step == 1:
                pace = (time.time() - started) / step
                print(f"step {step}/{num_steps} loss {loss.item():.4f} {pace:.2f} s/step", flush=True)
        seconds = round(time.time() - epoch_started, 1)
        epochs.append({"loss": total / steps_per_epoch, "accuracy": accuracy(model, dev_rows, pad_id, args, device),
                       "seconds": seconds})
        print(f"epoch {epoch + 1}: mean loss {epochs[-1]['loss']:.4f}, dev accuracy "
              f"{epochs[-1]['accuracy']:.4f}, {seconds} s", flush=True)
    return epochs


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="directory with config.json, model.safetensors, vocab.txt")
    parser.add_argument("--data", required=True, help="directory with train.tsv and dev.tsv")
    parser.add_argument("--out", required=True, help="directory for scores.json")
    parser.add_argument("--max-seq-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--warmup", type=float, default=0.1, help="fraction of all steps")
    parser.add_argument("--weight-decay", type=float, default=0.01, help="not on biases and LayerNorm")
    parser.add_argument("--eps", type=float, default=1e-6, help="AdamW's epsilon")
    parser.add_argument("--clip", type=float, default=1.0, help="largest global gradient norm")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=0, help="0: torch decides")
    parser.add_argument("--cased", action="store_true")
    parser.add_argument("--log-every", type=int, default=20)
    return parser.parse_args()


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint, data = pathlib.Path(args.checkpoint), pathlib.Path(args.data)
    tokenizer = BertWordPieceTokenizer(str(checkpoint / "vocab.txt"), lowercase=not args.cased)
    pad_id = tokenizer.token_to_id("[PAD]")
    model = BertForSequenceClassification.from_pretrained(checkpoint, num_labels=2, attn_implementation="eager")
    train_rows = encode(*read_rows(data / "train.tsv"), tokenizer, args.max_seq_length)
    dev_rows = encode(*read_rows(data / "dev.tsv"), tokenizer, args.max_seq_length)
    print(f"train {len(train_rows)} sentences, dev {len(dev_rows)}; {device}", flush=True)
    epochs = train(model.to(device), train_rows, dev_rows, pad_id, args, device)

    settings = {k: v for k, v in vars(args).items() if k not in ("checkpoint", "data", "out")}
    settings |= {"optimizer": "AdamW, betas 0.9 0.999", "schedule": "linear warm-up, linear decay to 0",
                 "dropout": model.config.hidden_dropout_prob, "padding": "longest of the batch", "precision": "fp32",
                 "torch": torch.__version__, "device": device}
    result = {"accuracy": epochs[-1]["accuracy"], "epochs": epochs, "train_seconds": sum(e["seconds"] for e in epochs),
              "hyper_parameters": settings}
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "scores.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
