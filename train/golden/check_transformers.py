"""Checks the golden values, and optionally a model directory written by the trainer, against Hugging Face transformers.

    python check_transformers.py [MODEL_DIR]    (needs torch 2.11, safetensors, transformers)

Loads the weights of bert.safetensors into BertForPreTraining, BertForSequenceClassification and BertForQuestionAnswering, pads the
batch, and compares logits and gradients with the golden ones. MODEL_DIR must load without missing or unexpected weights.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors import safe_open

HERE = pathlib.Path(__file__).parent


def close(found, expected, what):
    error = float((found.detach().double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-3))
    assert error < 1e-5, (what, error)
    return error


def main():
    with safe_open(HERE / "bert.safetensors", "pt") as file:
        golden = {name: file.get_tensor(name) for name in file.keys()}
        config = json.loads(file.metadata()["config"])
    weights = {name[len("weights.") :]: t for name, t in golden.items() if name.startswith("weights.")}
    bounds = golden["cu_seqlens"].tolist()
    lens = [b - a for a, b in zip(bounds, bounds[1:])]
    grid = torch.tensor([b * max(lens) + i for b, n in enumerate(lens) for i in range(n)])

    def pad(packed):
        out = torch.zeros(len(lens) * max(lens), dtype=torch.long)
        out[grid] = packed
        return out.view(len(lens), max(lens))

    inputs = {
        "input_ids": pad(golden["input_ids"]),
        "token_type_ids": pad(golden["segment_ids"]),
        "attention_mask": pad(torch.ones_like(golden["input_ids"])),
    }
    mlm_labels = torch.full((len(lens) * max(lens),), -100)
    mlm_labels[grid[golden["masked_lm_positions"]]] = golden["masked_lm_ids"]

    def build(kind, **more):
        model = kind(transformers.BertConfig(**config, num_labels=3 if "Sequence" in kind.__name__ else 2, **more)).train()
        wanted = {n: t for n, t in weights.items() if n in model.state_dict()}
        if "cls.predictions.decoder.weight" in model.state_dict():
            wanted["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"]
            wanted["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"]
        model.load_state_dict(wanted, strict=True)
        return model

    def gradients(model, task):
        worst = 0.0
        for name, p in model.named_parameters():
            expected = golden[f"{task}.gradient.{name}"].clone()
            if name == "bert.embeddings.word_embeddings.weight":
                expected[0] = p.grad[0]  # transformers gives [PAD] no gradient from look-ups
            worst = max(worst, close(p.grad, expected, (task, name)))
        print(f"{task}: loss and {len(list(model.named_parameters()))} gradients agree, worst {worst:.1e}")

    for form in ("gelu", "gelu_new"):
        config["hidden_act"] = form
        task = f"pretraining.{form}"
        model = build(transformers.BertForPreTraining)
        out = model(**inputs, labels=mlm_labels.view(len(lens), -1), next_sentence_label=golden["next_sentence_labels"])
        close(out.prediction_logits.flatten(0, 1)[grid[golden["masked_lm_positions"]]], golden[task + ".masked_lm"], task)
        close(out.seq_relationship_logits, golden[task + ".next_sentence"], task)
        close(out.loss, golden[task + ".loss"], task)
        out.loss.backward()
        gradients(model, task)
    config["hidden_act"] = "gelu"
    model = build(transformers.BertForSequenceClassification)
    out = model(**inputs, labels=golden["labels"])
    close(out.logits, golden["classification.gelu.logits"], "classification")
    close(out.loss, golden["classification.gelu.loss"], "classification")
    out.loss.backward()
    gradients(model, "classification.gelu")
    model = build(transformers.BertForQuestionAnswering)
    out = model(**inputs)
    logits = torch.stack([out.start_logits, out.end_logits], -1).flatten(0, 1)[grid]
    close(logits, golden["question_answering.gelu.logits"], "question answering")
    print("question_answering.gelu: logits agree (transformers lets padding take part in the softmax of the loss; Cloze does not)")

    if len(sys.argv) > 1:
        kind = getattr(transformers, json.loads((pathlib.Path(sys.argv[1]) / "config.json").read_text())["architectures"][0])
        _, info = kind.from_pretrained(sys.argv[1], output_loading_info=True)
        assert not any(info.values()), info
        print(f"{sys.argv[1]}: {kind.__name__} loads it whole")


if __name__ == "__main__":
    main()
