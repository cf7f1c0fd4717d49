#!/usr/bin/env python3
"""Makes models with Hugging Face transformers, and compares models that came back from Cloze with what they compute.

    python check_checkpoints.py make DIR              (needs torch, transformers, safetensors)
    python check_checkpoints.py check MODEL EXPECTED [MODEL EXPECTED ..]

`make` writes DIR/inputs.safetensors and, for each class, DIR/CLASS/safetensors and DIR/CLASS/bin (the same model in both formats)
and DIR/CLASS/outputs.safetensors. `check` loads each MODEL as the class that its config.json names, which must find every weight and know
every one, and compares each output that EXPECTED holds; a pytorch_model.bin is loaded by torch itself, strictly.

Outputs are packed: rows [T, ..] of real tokens only, or [B, ..] of sequences. Vocabularies may differ in their padding: the
first columns count.
"""

import argparse
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

CLASSES = ("BertForPreTraining", "BertModel", "BertForMaskedLM", "BertForNextSentencePrediction", "BertForSequenceClassification",
           "BertForQuestionAnswering", "BertForTokenClassification", "BertForMultipleChoice")
LENGTHS = (12, 7, 9, 3)
# Not a multiple of 8: Cloze pads it.
SHAPE = dict(vocab_size=37, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
             max_position_embeddings=16, initializer_range=0.3)
TOLERANCE = 1e-5


def inputs():
    generator = torch.Generator().manual_seed(5)
    longest = max(LENGTHS)
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in LENGTHS])
    ids = torch.randint(1, SHAPE["vocab_size"], mask.shape, generator=generator) * mask
    segments = (torch.arange(longest) >= torch.tensor([[n // 2] for n in LENGTHS])).long() * mask
    return {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask}


@torch.no_grad()
def outputs(model, inputs):
    """Every output of the model, packed."""
    real = inputs["attention_mask"].bool()
    if isinstance(model, transformers.BertForMultipleChoice):
        inputs = {name: value.unsqueeze(0) for name, value in inputs.items()}
    out = model.eval()(**inputs)
    packed = {}
    for name, value in out.items():
        per_token = value.shape[:2] == real.shape
        packed[name] = (value[real] if per_token else value).contiguous()
    return packed


def build(name):
    config = transformers.BertConfig(**SHAPE)
    if name in ("BertForSequenceClassification", "BertForTokenClassification"):
        config.num_labels = 3
    model = getattr(transformers, name)(config).eval()
    generator = torch.Generator().manual_seed(len(name))
    for parameter in model.parameters():  # biases and LayerNorm of a new model are 0 and 1, which would hide mistakes
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def make(directory):
    given = inputs()
    save_file(given, directory / "inputs.safetensors")
    for name in CLASSES:
        model = build(name)
        place = directory / name
        model.save_pretrained(place / "safetensors")
        (place / "bin").mkdir()
        torch.save(model.state_dict(), place / "bin/pytorch_model.bin")
        (place / "bin/config.json").write_text((place / "safetensors/config.json").read_text())
        save_file(outputs(model, given), place / "outputs.safetensors")


def load(directory):
    """The model and what did not fit."""
    config = json.loads((directory / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0])
    if (directory / "pytorch_model.bin").exists():
        model = kind(transformers.BertConfig.from_pretrained(directory))
        state = torch.load(directory / "pytorch_model.bin", weights_only=True)
        model.load_state_dict(state, strict=True)
        return model, {}
    return kind.from_pretrained(directory, output_loading_info=True)


def check(directory, expected):
    model, info = load(directory)
    wrong = {what: sorted(map(str, found)) for what, found in info.items() if found}
    if wrong:
        sys.exit(f"check_checkpoints: {directory}: {wrong}")
    given = load_file(expected.parent.parent / "inputs.safetensors")
    wanted, found = load_file(expected), outputs(model, given)
    exact = outputs(model.double(), given)
    if not wanted or wanted.keys() - found.keys():
        sys.exit(f"check_checkpoints: {expected}: expected some of {sorted(found)}, found {sorted(wanted)}")
    for name, value in wanted.items():
        size = min(value.shape[-1], found[name].shape[-1], SHAPE["vocab_size"])
        worst = float((value[..., :size] - found[name][..., :size]).abs().max())
        if not worst <= TOLERANCE:
            sys.exit(f"check_checkpoints: {directory}: {name}: expected a difference of at most {TOLERANCE}, found {worst:.3g}")
        # What float32 costs, and how large the values are: differences mean something beside these.
        rounding = float((value[..., :size] - exact[name][..., :size]).abs().max())
        print(f"{type(model).__name__} {name}: {worst:.1e} from float32, {rounding:.1e} from float64, largest {value.abs().max():.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("make", "check"))
    parser.add_argument("paths", type=pathlib.Path, nargs="+")
    args = parser.parse_args()
    if args.what == "make":
        make(args.paths[0])
        print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    else:
        for directory, expected in zip(args.paths[::2], args.paths[1::2], strict=True):
            check(directory, expected)


if __name__ == "__main__":
    main()
