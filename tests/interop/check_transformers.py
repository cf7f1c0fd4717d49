#!/usr/bin/env python3
"""Loads a Cloze checkpoint in Hugging Face transformers and compares its logits.

    pip install torch transformers safetensors
    python tests/interop/check_transformers.py CHECKPOINT_DIR [--expect logits.safetensors]

Prints which weights BertForPreTraining missed in the checkpoint and which it did not know, then the logits of a sample.
The file of --expect holds what Cloze computed:

    input_ids                [B, S] int64
    token_type_ids           [B, S] int64, optional: 0
    attention_mask           [B, S] int64 or bool, optional: 1
    prediction_logits        [B, S, V] float32, optional
    seq_relationship_logits  [B, 2] float32, optional
    pooled_output            [B, H] float32, optional

Exit status 1 when a weight is missing or unknown, or a logit at a real token is further off than --tolerance times the
largest logit.
"""

import argparse
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import BertForPreTraining

# Not stored by everybody: a buffer of old versions, and the copies of the tied word embeddings and their bias.
DERIVED = ("position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")


def load(directory):
    """The model in evaluation mode, the missing and the unknown weights."""
    model, info = BertForPreTraining.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32,
                                                     output_loading_info=True)
    found = [sorted(k for k in info[kind] if not k.endswith(DERIVED)) for kind in ("missing_keys", "unexpected_keys")]
    return model.eval(), *found


def sample(config):
    """Two rows of fixed ids, the second one padded."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, config.vocab_size, (2, 16), generator=generator)
    segments = (torch.arange(16) >= 8).long().repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    return {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask}


@torch.no_grad()
def compute(model, inputs):
    ids = inputs["input_ids"].long()
    segments = inputs.get("token_type_ids", torch.zeros_like(ids)).long()
    mask = inputs.get("attention_mask", torch.ones_like(ids)).long()
    hidden, pooled = model.bert(input_ids=ids, token_type_ids=segments, attention_mask=mask)[:2]
    predictions, relationship = model.cls(hidden, pooled)
    return {"prediction_logits": predictions, "seq_relationship_logits": relationship, "pooled_output": pooled}, mask


def difference(name, expected, found, mask):
    """Largest difference at real tokens, relative to the largest value."""
    if expected.shape != found.shape:
        sys.exit(f"check_transformers: {name}: expected shape {tuple(expected.shape)}, found {tuple(found.shape)}")
    if name == "prediction_logits":
        expected, found = expected[mask.bool()], found[mask.bool()]
    return float((expected.float() - found).abs().max() / found.abs().max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="directory with config.json and model.safetensors")
    parser.add_argument("--expect", help="safetensors file with inputs and Cloze's logits")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--partial", action="store_true", help="do not mind missing heads")
    args = parser.parse_args()
    if not (pathlib.Path(args.checkpoint) / "config.json").is_file():
        sys.exit(f"check_transformers: {args.checkpoint}: no config.json")
    model, missing, unexpected = load(args.checkpoint)
    inputs = load_file(args.expect) if args.expect else sample(model.config)
    computed, mask = compute(model, inputs)
    report = {"missing": missing, "unexpected": unexpected,
              "sample": {name: value.flatten()[:8].tolist() for name, value in computed.items()}}
    differences = {name: difference(name, inputs[name], value, mask)
                   for name, value in computed.items() if name in inputs}
    if args.expect:
        report["relative_difference"] = differences
    print(json.dumps(report, indent=1))
    if (missing or unexpected) and not args.partial:
        sys.exit(f"check_transformers: {args.checkpoint}: missing {missing}, unexpected {unexpected}")
    worst = max(differences.values(), default=0.0)
    if args.expect and not differences:
        sys.exit(f"check_transformers: {args.expect}: no logits in it to compare with")
    if not worst <= args.tolerance:
        sys.exit(f"check_transformers: expected a difference of at most {args.tolerance}, found {worst:.3g}")


if __name__ == "__main__":
    main()
