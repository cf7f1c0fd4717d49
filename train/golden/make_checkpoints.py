"""Makes checkpoints/: the weights of bert.safetensors as other programs keep them.

    python make_checkpoints.py              needs torch 2.11, safetensors
    python make_checkpoints.py tensorflow   needs tensorflow 2.21, safetensors: another environment

zip.bin and legacy.bin are torch.save's two formats; ckpt_7.pt is what the run_pretraining.py of NVIDIA's BERT for PyTorch saves in the
middle of an epoch: f16 weights, optimizer, scaler, a data loader with its data. bert_model.ckpt is one of google-research/bert's
run_pretraining.py, written by TensorFlow. code.bin is a pickle that would run a command.
"""

import json
import os
import pathlib
import sys

from safetensors import safe_open

HERE = pathlib.Path(__file__).parent
OUT = HERE / "checkpoints"


def read(framework):
    with safe_open(HERE / "bert.safetensors", framework) as file:
        config = json.loads(file.metadata()["config"])
        weights = {n[len("weights.") :]: file.get_tensor(n) for n in file.keys() if n.startswith("weights.")}
    return config, {n: t for n, t in weights.items() if not n.startswith(("classifier", "qa_outputs"))}


def with_torch():
    import collections

    import torch

    config, weights = read("pt")
    (OUT / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    state = collections.OrderedDict(weights)
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"]
    # A view with strides and an offset, and a parameter, as some scripts save them.
    pooler = state["bert.pooler.dense.weight"]
    state["bert.pooler.dense.weight"] = torch.cat([torch.zeros(1, 16), pooler.T])[1:].T
    state["bert.pooler.dense.bias"] = torch.nn.Parameter(state["bert.pooler.dense.bias"])
    torch.save(state, OUT / "zip.bin")
    torch.save(state, OUT / "legacy.bin", _use_new_zipfile_serialization=False)

    def nvidia(name):
        activated = (".intermediate.dense.", ".pooler.dense.", ".transform.dense.")
        return "module." + (name.replace(".dense.", ".dense_act.") if any(a in name for a in activated) else name)

    halves = collections.OrderedDict((nvidia(n), t.half()) for n, t in weights.items())
    padded = torch.zeros(48, 16, dtype=torch.half)
    padded[:40] = halves["module.bert.embeddings.word_embeddings.weight"]
    halves["module.bert.embeddings.word_embeddings.weight"] = padded
    halves["module.cls.predictions.bias"] = torch.cat([halves["module.cls.predictions.bias"], torch.zeros(8, dtype=torch.half)])
    parameters = {n: torch.nn.Parameter(t.float()) for n, t in halves.items()}
    without_decay = [n for n in parameters if any(part in n for part in ("bias", "gamma", "beta", "LayerNorm"))]
    groups = [{"params": [p for n, p in parameters.items() if n not in without_decay], "weight_decay": 0.01},
              {"params": [parameters[n] for n in without_decay], "weight_decay": 0.0}]
    # Its state is named as FusedLAMB's. The gradient is twice the parameter: moments are 0.2 p and 0.004 p^2.
    optimizer = torch.optim.AdamW(groups, lr=4e-3)
    sum((p**2).sum() for p in parameters.values()).backward()
    optimizer.step()
    dataset = torch.utils.data.TensorDataset(torch.arange(6).reshape(3, 2))
    sampler = torch.utils.data.RandomSampler(dataset)
    loader = torch.utils.data.DataLoader(dataset, sampler=sampler, batch_size=2, num_workers=0, pin_memory=False)
    torch.save({"model": halves, "optimizer": optimizer.state_dict(), "epoch": 0, "files": [1, "shard_0.hdf5"],
                "grad_scaler": {"scale": 65536.0, "_growth_tracker": 7}, "data_loader": loader}, OUT / "ckpt_7.pt")

    class Code:
        def __reduce__(self):
            return os.system, ("touch CODE-WAS-RUN",)

    torch.save({"bert.pooler.dense.bias": weights["bert.pooler.dense.bias"], "innocent": Code()}, OUT / "code.bin")


def with_tensorflow():
    import numpy as np
    import tensorflow.compat.v1 as tf

    _, weights = read("np")
    tf.disable_eager_execution()

    def variable(name):
        if name == "cls.predictions.bias":
            return "cls/predictions/output_bias"
        if name.startswith("cls.seq_relationship"):
            return "cls/seq_relationship/output_" + ("weights" if name.endswith("weight") else "bias")
        name = name.replace("_embeddings.weight", "_embeddings").replace("LayerNorm.weight", "LayerNorm.gamma")
        name = name.replace("LayerNorm.bias", "LayerNorm.beta").replace(".layer.", ".layer_").replace(".weight", ".kernel")
        return name.replace(".", "/")

    variables = [tf.get_variable("global_step", initializer=np.int64(7))]
    for name, value in weights.items():
        name = variable(name)
        value = np.ascontiguousarray(value.T if name.endswith("/kernel") else value)
        variables.append(tf.get_variable(name, initializer=value))
        if name.endswith("beta"):  # one kind is enough to see that moments are left out
            variables.append(tf.get_variable(name + "/adam_m", initializer=0 * value))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        tf.train.Saver(variables).save(session, str(OUT / "bert_model.ckpt"), write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    with_tensorflow() if sys.argv[1:] == ["tensorflow"] else with_torch()
