#!/usr/bin/env python3
"""Opens a checkpoint of `cloze-train export --format tensorflow` with TensorFlow and compares every variable.

    pip install tensorflow-cpu
    python tests/interop/check_tensorflow.py EXPORT MODEL

EXPORT has bert_model.ckpt and bert_config.json; MODEL is a model directory with the same weights in model.safetensors. Exit status 1
when a variable is missing or unknown, or has another shape, type or any other value.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf


def weights(path):
    """Name and array of each f32 tensor of a safetensors file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        yield name, np.frombuffer(data[start + begin : start + end], "<f4").reshape(entry["shape"])


def variable(name, array):
    """Name and array as google-research/bert has them."""
    heads = {"cls.predictions.bias": "cls/predictions/output_bias",
             "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
             "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
             "classifier.weight": "output_weights", "classifier.bias": "output_bias",
             "qa_outputs.weight": "cls/squad/output_weights", "qa_outputs.bias": "cls/squad/output_bias"}
    if name in heads:
        return heads[name], array
    name = name.replace(".layer.", ".layer_").replace("_embeddings.weight", "_embeddings")
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    if name.endswith(".weight"):
        name, array = name.removesuffix("weight") + "kernel", array.T
    return name.replace(".", "/"), array


def main():
    export, model = map(pathlib.Path, sys.argv[1:])
    expected = dict(variable(name, array) for name, array in weights(model / "model.safetensors"))
    reader = tf.train.load_checkpoint(str(export / "bert_model.ckpt"))
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    if shapes.keys() != expected.keys():
        sys.exit(f"check_tensorflow: expected other variables, found {sorted(shapes.keys() ^ expected.keys())} on one side only")
    for name, array in expected.items():
        if shapes[name] != list(array.shape) or types[name] != tf.float32:
            sys.exit(f"check_tensorflow: {name}: expected float32 {array.shape}, found {types[name].name} {shapes[name]}")
        if not np.array_equal(reader.get_tensor(name), array):
            sys.exit(f"check_tensorflow: {name}: expected other values")
    config = json.loads((export / "bert_config.json").read_text())
    rows = shapes["bert/embeddings/word_embeddings"][0]
    if config["vocab_size"] != rows or config["hidden_act"] not in ("gelu", "relu"):
        sys.exit(f"check_tensorflow: bert_config.json: expected {rows} tokens and an activation that Google's scripts know")
    print(f"{len(shapes)} variables are the same, read by TensorFlow {tf.__version__}")


if __name__ == "__main__":
    main()
