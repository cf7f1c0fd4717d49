"""Makes bert.safetensors: weights, inputs, logits, losses and all gradients of a tiny random BERT.

An independent computation: plain torch operations in float64, attention, LayerNorm, GELU and losses written out by hand, nothing
shared with the trainer. Results are stored as float32. Run: python make_bert.py (needs torch 2.11, numpy, safetensors).
"""

import json
import math
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
CONFIG = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "model_type": "bert",
}
NUM_LABELS = 3
LENGTHS = [12, 7, 9, 5]
SEGMENT_A = [5, 7, 4, 3]


def make_weights(generator):
    def normal(*shape):
        return 0.2 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    h, f, v = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    w = {}

    def linear(name, n_in, n_out):
        w[name + ".weight"], w[name + ".bias"] = normal(n_out, n_in), normal(n_out)

    def layer_norm(name):
        w[name + ".weight"], w[name + ".bias"] = 1 + normal(h), normal(h)

    w["bert.embeddings.word_embeddings.weight"] = normal(v, h)
    w["bert.embeddings.position_embeddings.weight"] = normal(CONFIG["max_position_embeddings"], h)
    w["bert.embeddings.token_type_embeddings.weight"] = normal(CONFIG["type_vocab_size"], h)
    layer_norm("bert.embeddings.LayerNorm")
    for i in range(CONFIG["num_hidden_layers"]):
        p = f"bert.encoder.layer.{i}."
        for name in ("query", "key", "value"):
            linear(p + "attention.self." + name, h, h)
        linear(p + "attention.output.dense", h, h)
        layer_norm(p + "attention.output.LayerNorm")
        linear(p + "intermediate.dense", h, f)
        linear(p + "output.dense", f, h)
        layer_norm(p + "output.LayerNorm")
    linear("bert.pooler.dense", h, h)
    linear("cls.predictions.transform.dense", h, h)
    layer_norm("cls.predictions.transform.LayerNorm")
    w["cls.predictions.bias"] = normal(v)
    linear("cls.seq_relationship", h, 2)
    linear("classifier", h, NUM_LABELS)
    linear("qa_outputs", h, 2)
    # What is compared starts from what the file holds: float32 values.
    return {name: t.float().double() for name, t in w.items()}


def gelu(x, form):
    if form == "gelu":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, w, name):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + CONFIG["layer_norm_eps"]) * w[name + ".weight"] + w[name + ".bias"]


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def encode(w, ids, segments, form):
    """One sequence without padding: ids [S] to hidden states [S, H]."""
    s, heads = len(ids), CONFIG["num_attention_heads"]
    d = CONFIG["hidden_size"] // heads
    e = "bert.embeddings."
    x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:s]
    x = layer_norm(x + w[e + "token_type_embeddings.weight"][segments], w, e + "LayerNorm")
    for i in range(CONFIG["num_hidden_layers"]):
        p = f"bert.encoder.layer.{i}."
        q, k, v = (linear(x, w, p + "attention.self." + name) for name in ("query", "key", "value"))
        outs = []
        for n in range(heads):
            part = slice(n * d, (n + 1) * d)
            scores = torch.exp(q[:, part] @ k[:, part].T / math.sqrt(d))
            outs.append(scores / scores.sum(-1, keepdim=True) @ v[:, part])
        x = layer_norm(x + linear(torch.cat(outs, -1), w, p + "attention.output.dense"), w, p + "attention.output.LayerNorm")
        inner = gelu(linear(x, w, p + "intermediate.dense"), form)
        x = layer_norm(x + linear(inner, w, p + "output.dense"), w, p + "output.LayerNorm")
    return x


def cross_entropy(logits, label):
    return torch.log(torch.exp(logits).sum()) - logits[label]


def pooled(w, hidden):
    return torch.tanh(linear(hidden[0], w, "bert.pooler.dense"))


def main():
    generator = torch.Generator().manual_seed(20)
    out = {}
    weights = make_weights(generator)
    ids = [torch.randint(5, CONFIG["vocab_size"], (n,), generator=generator) for n in LENGTHS]
    segments = [(torch.arange(n) >= a).long() for n, a in zip(LENGTHS, SEGMENT_A)]
    masked = [[1, 4, 10], [6], [2, 3], []]  # positions within each sequence
    masked_ids = [[7, 39, 0], [12], [5, 30], []]
    next_sentence = [1, 0, 0, 1]
    labels = [2, 0, 1, 1]
    starts, ends = [3, 0, 8, 1], [5, 0, 8, 4]
    bounds = [sum(LENGTHS[:i]) for i in range(len(LENGTHS) + 1)]
    out["input_ids"], out["segment_ids"] = torch.cat(ids), torch.cat(segments)
    out["cu_seqlens"] = torch.tensor(bounds)
    out["masked_lm_positions"] = torch.tensor([bounds[b] + p for b, ps in enumerate(masked) for p in ps])
    out["masked_lm_ids"] = torch.tensor([i for row in masked_ids for i in row])
    out["next_sentence_labels"], out["labels"] = torch.tensor(next_sentence), torch.tensor(labels)
    out["start_positions"], out["end_positions"] = torch.tensor(starts), torch.tensor(ends)

    def record(task, form, logits_and_loss):
        w = {name: t.clone().requires_grad_() for name, t in weights.items()}
        hidden = [encode(w, i, s, form) for i, s in zip(ids, segments)]
        logits, loss = logits_and_loss(w, hidden)
        loss.backward()
        out[task + ".loss"] = loss.detach().reshape(1)
        for name, t in logits.items():
            out[f"{task}.{name}"] = t.detach().contiguous()
        for name, t in w.items():
            if t.grad is not None:
                out[f"{task}.gradient.{name}"] = t.grad.contiguous()

    def pretraining(w, hidden, form):
        chosen = torch.stack([hidden[b][p] for b, ps in enumerate(masked) for p in ps])
        x = gelu(linear(chosen, w, "cls.predictions.transform.dense"), form)
        x = layer_norm(x, w, "cls.predictions.transform.LayerNorm")
        lm = x @ w["bert.embeddings.word_embeddings.weight"].T + w["cls.predictions.bias"]
        ns = torch.stack([linear(pooled(w, x), w, "cls.seq_relationship") for x in hidden])
        lm_loss = sum(cross_entropy(row, i) for row, i in zip(lm, out["masked_lm_ids"])) / len(lm)
        ns_loss = sum(cross_entropy(row, i) for row, i in zip(ns, next_sentence)) / len(ns)
        return {"masked_lm": lm, "next_sentence": ns}, lm_loss + ns_loss

    def classification(w, hidden):
        logits = torch.stack([linear(pooled(w, x), w, "classifier") for x in hidden])
        return {"logits": logits}, sum(cross_entropy(row, i) for row, i in zip(logits, labels)) / len(logits)

    def question_answering(w, hidden):
        logits = [linear(x, w, "qa_outputs") for x in hidden]
        loss = sum(
            (cross_entropy(x[:, 0], s) + cross_entropy(x[:, 1], e)) / 2 for x, s, e in zip(logits, starts, ends)
        ) / len(logits)
        return {"logits": torch.cat(logits)}, loss

    for form in ("gelu", "gelu_new"):
        record(f"pretraining.{form}", form, lambda w, hidden: pretraining(w, hidden, form))
    record("classification.gelu", "gelu", classification)
    record("question_answering.gelu", "gelu", question_answering)
    out |= {f"weights.{name}": t for name, t in weights.items()}
    out = {name: t.float() if t.is_floating_point() else t for name, t in out.items()}
    save_file(out, HERE / "bert.safetensors", {"config": json.dumps(CONFIG)})
    print({name: round(t.item(), 6) for name, t in out.items() if name.endswith(".loss")})


if __name__ == "__main__":
    main()
