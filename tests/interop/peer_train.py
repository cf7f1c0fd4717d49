#!/usr/bin/env python3
"""Speed of a pre-training step of `transformers` and of plain PyTorch, to hold beside `cloze-train bench train`.

    pip install torch transformers
    python tests/interop/peer_train.py --cloze target/release/cloze-train

All contestants take turns on the same cores, each round in a process of its own, so that another program's load hits all of
them alike; medians over the rounds are reported. On a CPU a contestant runs twice: as PyTorch comes, and with the environment
that cloze-train gives itself ("tuned"). Nothing here shares code with Cloze.

- eager: BertForPreTraining with eager attention, as its documentation uses it: logits of every token, AdamW.
- plain: the same model written out for speed: one projection for queries, keys and values, scaled_dot_product_attention or
  eager attention, whichever is faster here, the masked-LM head on masked positions only, fused AdamW.
- compile: plain under torch.compile (--compile).

Legend: B sequences, S tokens of each, H hidden, N heads, M masked positions of the batch, V vocabulary.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

# layers, hidden, as `cloze-train bench train --model` has them; heads are 64 wide.
MODELS = {"mini": (4, 256), "small": (4, 512), "medium": (8, 512), "base": (12, 768), "large": (24, 1024)}
VOCAB = 30_528
TUNED = {"GOMP_SPINCOUNT": "30000", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184",
         "MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def make_batch(args, device):
    """ids, segments, labels `[B, S]` (-100 where nothing is masked), masked positions `[M]`, next-sentence labels `[B]`."""
    import torch
    shape, generator = (args.batch, args.seq_len), torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCAB, shape, generator=generator)
    segments = (torch.arange(args.seq_len) >= args.seq_len // 2).long().expand(shape).contiguous()
    columns = torch.arange(args.masked) * args.seq_len // args.masked
    positions = (torch.arange(args.batch)[:, None] * args.seq_len + columns).flatten()
    labels = torch.full(shape, -100)
    labels.view(-1)[positions] = torch.randint(0, VOCAB, positions.shape, generator=generator)
    batch = (ids, segments, labels, positions, torch.arange(args.batch) % 2)
    return [t.to(device) for t in batch]


def eager_model(args):
    from transformers import BertConfig, BertForPreTraining
    layers, hidden = MODELS[args.model]
    config = BertConfig(vocab_size=VOCAB, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 64,
                        intermediate_size=4 * hidden, attn_implementation="eager")
    model = BertForPreTraining(config)

    def loss(batch):
        ids, segments, labels, _, next_sentence = batch
        return model(input_ids=ids, token_type_ids=segments, attention_mask=ids.new_ones(ids.shape), labels=labels,
                     next_sentence_label=next_sentence).loss
    return model, loss


def plain_model(args, attention):
    import torch
    from torch import nn
    from torch.nn import functional as F
    num_layers, hidden = MODELS[args.model]
    heads, dropout = hidden // 64, 0.1

    def attend(q, k, v, p):
        if attention == "sdpa":
            return F.scaled_dot_product_attention(q, k, v, dropout_p=p)
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
        return F.dropout(scores.softmax(-1), p) @ v

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
            self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
            self.norm1, self.norm2 = nn.LayerNorm(hidden, eps=1e-12), nn.LayerNorm(hidden, eps=1e-12)

        def forward(self, x):
            b, s, _ = x.shape
            q, k, v = self.qkv(x).view(b, s, 3, heads, 64).permute(2, 0, 3, 1, 4)
            attended = attend(q, k, v, dropout if self.training else 0.0).transpose(1, 2).reshape(b, s, hidden)
            x = self.norm1(x + F.dropout(self.out(attended), dropout, self.training))
            return self.norm2(x + F.dropout(self.down(F.gelu(self.up(x))), dropout, self.training))

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.position, self.segment = (nn.Embedding(n, hidden) for n in (VOCAB, 512, 2))
            self.norm, self.layers = nn.LayerNorm(hidden, eps=1e-12), nn.ModuleList(Layer() for _ in range(num_layers))
            self.pooler, self.next_sentence = nn.Linear(hidden, hidden), nn.Linear(hidden, 2)
            self.transform, self.head_norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps=1e-12)
            self.bias = nn.Parameter(torch.zeros(VOCAB))
            for module in self.modules():
                if isinstance(module, (nn.Linear, nn.Embedding)):
                    nn.init.normal_(module.weight, std=0.02)

        def forward(self, ids, segments, positions):
            x = self.word(ids) + self.segment(segments) + self.position.weight[: ids.shape[1]]
            x = F.dropout(self.norm(x), dropout, self.training)
            for layer in self.layers:
                x = layer(x)
            masked = self.head_norm(F.gelu(self.transform(x.flatten(0, 1)[positions])))
            pooled = self.pooler(x[:, 0]).tanh()
            return F.linear(masked, self.word.weight, self.bias), self.next_sentence(pooled)

    model = Plain()
    forward = torch.compile(model) if args.contestant == "compile" else model

    def loss(batch):
        ids, segments, labels, positions, next_sentence = batch
        masked_lm, next_logits = forward(ids, segments, positions)
        targets = labels.view(-1)[positions]
        return F.cross_entropy(masked_lm.float(), targets) + F.cross_entropy(next_logits.float(), next_sentence)
    return model, loss


def time_steps(model, loss, args, steps, warmup):
    """Seconds of each of `steps` steps."""
    import torch
    device = torch.device(args.device)
    model.to(device).train()
    batch = make_batch(args, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    seconds = []
    for step in range(warmup + steps):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            value = loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value.item()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if step >= warmup:
            seconds.append(time.perf_counter() - started)
    return seconds


def contest(args):
    """One contestant in this process: prints the median step as JSON."""
    import torch
    torch.manual_seed(1)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    if args.contestant == "eager":
        model, loss = eager_model(args)
        seconds = time_steps(model, loss, args, args.steps, args.warmup)
        how = "eager"
    else:
        # The faster form of attention: two steps of each decide.
        trials = {how: plain_model(args, how) for how in ("sdpa", "eager")}
        first = {how: min(time_steps(*trial, args, 2, 2)) for how, trial in trials.items()}
        how = min(first, key=first.get)
        seconds = time_steps(*trials[how], args, args.steps, 1)
    versions = f"torch {torch.__version__}"
    if args.contestant == "eager":
        import transformers
        versions += f", transformers {transformers.__version__}"
    print(json.dumps({"step_s": statistics.median(seconds), "attention": how, "versions": versions}))


def run_peer(args, contestant, tuned):
    command = [sys.executable, __file__, "--contestant", contestant]
    for name in ("model", "batch", "seq_len", "masked", "steps", "warmup", "device", "threads", "precision"):
        command += ["--" + name.replace("_", "-"), str(getattr(args, name))]
    environment = {k: v for k, v in os.environ.items() if k not in TUNED} | (TUNED if tuned else {})
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def run_cloze(args):
    command = [args.cloze, "bench", "train", "--json", "--model", args.model, "--batch", str(args.batch), "--seq-len",
               str(args.seq_len), "--masked", str(args.masked), "--steps", str(args.steps), "--warmup-steps",
               str(args.warmup), "--device", args.device] + args.cloze_flags.split()
    if args.threads:
        command += ["--threads", str(args.threads)]
    environment = {k: v for k, v in os.environ.items() if k not in TUNED}
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def load():
    path = pathlib.Path("/proc/loadavg")
    return float(path.read_text().split()[0]) if path.exists() else None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cloze", help="path of cloze-train; without it only the peers run")
    parser.add_argument("--cloze-flags", default="", help="more flags for `cloze-train bench train`, in one string")
    parser.add_argument("--model", choices=MODELS, default="mini")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--masked", type=int, default=20, help="masked tokens of each sequence")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each contestant per round")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="0: each decides")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="of the peers")
    parser.add_argument("--compile", action="store_true", help="also plain under torch.compile")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contestant", choices=["eager", "plain", "compile"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    if args.contestant:
        return contest(args)
    names = ["eager", "plain"] + (["compile"] if args.compile else [])
    peers = [(name, tuned) for name in names for tuned in ([False, True] if args.device == "cpu" else [False])]
    times, notes, loads = {}, {}, []
    for number in range(args.rounds):
        loads.append(load())
        results = {"cloze": run_cloze(args)} if args.cloze else {}
        for name, tuned in peers:
            results[name + (" tuned" if tuned else "")] = run_peer(args, name, tuned)
        for name, result in results.items():
            times.setdefault(name, []).append(result["step_s"])
            notes[name] = ", ".join(str(result[k]) for k in ("versions", "attention") if k in result)
        print(f"round {number + 1}/{args.rounds}: " + ", ".join(f"{n} {args.batch / t[-1]:.1f}" for n, t in times.items())
              + f" sequences/s; load {loads[-1]}", file=sys.stderr, flush=True)
    report(args, times, notes, loads)


def report(args, times, notes, loads):
    rates = {name: args.batch / statistics.median(seconds) for name, seconds in times.items()}
    # Rounds are compared one by one: what else ran then hit both.
    ratios = {name: statistics.median(peer / own for peer, own in zip(seconds, times["cloze"]))
              for name, seconds in times.items() if "cloze" in times}
    if args.json:
        print(json.dumps({"sequences_per_s": rates, "cloze_over": ratios, "step_s": times, "load": loads,
                          "settings": {k: getattr(args, k) for k in ("model", "batch", "seq_len", "masked", "device")}}))
        return
    print(f"{args.model}, {args.batch} x {args.seq_len}, {args.masked} masked, {args.device}, peers in {args.precision}: "
          f"medians of {args.rounds} rounds of {args.steps} steps; load {min(loads)} to {max(loads)}")
    for name, rate in rates.items():
        over = f"   cloze is {ratios[name]:.2f} times as fast" if name in ratios and name != "cloze" else ""
        print(f"{name:16}{rate:8.1f} sequences/s{over}   ({notes[name]})")


if __name__ == "__main__":
    main()
