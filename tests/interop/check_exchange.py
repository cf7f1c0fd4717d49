#!/usr/bin/env python3
"""Reads what `cloze-prep export` wrote with the tool it is for, and compares every row with the dataset's shards.

    pip install pyarrow h5py tfrecord datasets
    python tests/interop/check_exchange.py DATASET_DIR FORMAT EXPORT [DATASET_DIR FORMAT EXPORT]...

The shards are read with pyarrow. Exit status 1 with the first difference on stderr, 0 when all rows are the same.
"""

import io
import json
import os
import pathlib
import sys

# `datasets` must not look for the network.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq


class Mismatch(Exception):
    """What was expected and what was found."""


def equal(what, expected, found):
    if expected != found:
        raise Mismatch(f"{what}: expected {expected}, found {found}")


def rows_of(directory, manifest):
    """The rows of a Cloze dataset."""
    for shard in manifest["shards"]:
        with pa.memory_map(str(directory / shard["file"])) as source:
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                yield from reader.get_batch(i).to_pylist()


# ------------------------------------------------------------------------------------------------------- padded arrays

def hdf5_rows(path):
    import h5py
    types = {"input_ids": "<i4", "input_mask": "i1", "segment_ids": "i1", "masked_lm_positions": "<i4",
             "masked_lm_ids": "<i4", "next_sentence_labels": "i1"}
    for name in files(path, ".hdf5"):
        with h5py.File(name) as file:
            equal(f"{name}: arrays", set(types), set(file))
            for key, dtype in types.items():
                equal(f"{name}: type of {key}", np.dtype(dtype), file[key].dtype)
                equal(f"{name}: compression of {key}", ("gzip", 4), (file[key].compression, file[key].compression_opts))
            arrays = {key: file[key][:] for key in types}
        for i in range(len(arrays["input_ids"])):
            yield {key: array[i].tolist() for key, array in arrays.items()}


def tfrecord_rows(path):
    from tfrecord.reader import tfrecord_loader
    names = ["input_ids", "input_mask", "segment_ids", "masked_lm_positions", "masked_lm_ids", "next_sentence_labels"]
    for name in files(path, ".tfrecord"):
        for row in tfrecord_loader(str(name), None, {**dict.fromkeys(names, "int"), "masked_lm_weights": "float"}):
            found = {key: np.asarray(row[key]).tolist() for key in names}
            masked = sum(position > 0 for position in found["masked_lm_positions"])
            weights = [1.0] * masked + [0.0] * (len(found["masked_lm_ids"]) - masked)
            equal("masked_lm_weights", weights, np.asarray(row["masked_lm_weights"]).tolist())
            found["next_sentence_labels"] = found["next_sentence_labels"][0]
            yield found


def check_padded(number, row, found, config):
    ids, a = row["input_ids"], row["segment_a_length"]
    s, p = config["max_seq_length"], config["max_predictions_per_seq"]
    for key, length in (("input_ids", s), ("masked_lm_positions", p), ("masked_lm_ids", p)):
        equal(f"row {number}: length of {key}", length, len(found[key]))
    equal(f"row {number}: input_mask", [1] * len(ids) + [0] * (s - len(ids)), found["input_mask"])
    segments = [0] * a + [1] * (len(ids) - a) + [0] * (s - len(ids))
    equal(f"row {number}: segment_ids", segments, found["segment_ids"])
    equal(f"row {number}: next_sentence_labels", int(row["next_sentence_label"]), found["next_sentence_labels"])
    masked = [(q, i) for q, i in zip(found["masked_lm_positions"], found["masked_lm_ids"]) if q]
    if not masked:
        raise Mismatch(f"row {number}: nothing is masked")
    clean = list(found["input_ids"])
    for position, label in masked:
        clean[position] = label
    equal(f"row {number}: input_ids with the labels put back", ids + [0] * (s - len(ids)), clean)
    if "masked_lm_positions" in row:
        equal(f"row {number}: masked_lm_positions", row["masked_lm_positions"], [q for q, _ in masked])
        seen = [found["input_ids"][q] for q, _ in masked]
        equal(f"row {number}: what the model sees", row["masked_lm_inputs"], seen)


# ---------------------------------------------------------------------------------------------------------------- LDDL

def check_lddl(rows, path, vocabulary):
    """As LDDL's loader takes them: white space between tokens, positions that count [CLS] and the first [SEP]."""
    names = sorted(name for name in path.iterdir() if ".parquet" in name.suffix)
    counts = json.loads((path / ".num_samples.json").read_text())
    equal("files in .num_samples.json", sorted(counts), sorted(name.name for name in names))
    ids = {token: i for i, token in enumerate(vocabulary)}
    found, bins = [], {}
    for name in names:
        table = pq.read_table(name)
        equal(f"{name}: rows", counts[name.name], len(table))
        bins.setdefault(name.suffix, []).append(len(table))
        equal(f"{name}: num_tokens", pa.uint16(), table.schema.field("num_tokens").type)
        for row in table.to_pylist():
            if "_" in name.suffix:
                equal(f"{name}: bin_id", int(name.suffix.split("_")[1]), row["bin_id"])
            a, b = row["A"].split(), row["B"].split()
            tokens = [ids[token] for token in ["[CLS]", *a, "[SEP]", *b, "[SEP]"]]
            equal(f"{name}: num_tokens", len(tokens), row["num_tokens"])
            instance = {"segment_a_length": len(a) + 2, "next_sentence_label": row["is_random_next"]}
            if "masked_lm_positions" in row:
                positions = np.load(io.BytesIO(row["masked_lm_positions"]))
                equal(f"{name}: type of masked_lm_positions", np.dtype("<u2"), positions.dtype)
                instance["masked_lm_positions"] = positions.tolist()
                instance["masked_lm_inputs"] = [tokens[q] for q in positions]
                for position, label in zip(positions, row["masked_lm_labels"].split(), strict=True):
                    tokens[position] = ids[label]
            found.append({"input_ids": tokens, **instance})
    for suffix, lengths in bins.items():
        equal(f"{suffix}: files that differ by one row at most", True, max(lengths) - min(lengths) <= 1)
    equal("bins", sorted(bins), sorted(".parquet" if len(bins) == 1 and ".parquet" in bins else f".parquet_{i}"
                                       for i in range(len(bins))))
    key = json.dumps
    equal("rows", len(rows), len(found))
    for expected, row in zip(sorted(rows, key=key), sorted(({k: row[k] for k in rows[0]} for row in found), key=key)):
        equal("row", expected, row)


# ------------------------------------------------------------------------------------------------------------- columns

def parquet_rows(path):
    for name in files(path, ".parquet"):
        metadata = pq.read_metadata(name)
        equal(f"{name}: compression", "ZSTD", metadata.row_group(0).column(0).compression)
        yield from pq.read_table(name).to_pylist()


def datasets_rows(path):
    import datasets
    loaded = datasets.load_from_disk(str(path))
    first = datasets.Dataset.from_file(str(files(path, ".arrow")[0]))
    equal("columns of one file", loaded.column_names, first.column_names)
    for row in loaded:
        yield row


def files(path, suffix):
    return [path] if path.is_file() else sorted(name for name in path.iterdir() if name.suffix == suffix)


def check(directory, form, path):
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    rows = list(rows_of(directory, manifest))
    if form == "lddl-parquet":
        vocabulary = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
        check_lddl(rows, path, vocabulary)
    else:
        reader = {"nvidia-hdf5": hdf5_rows, "tfrecord": tfrecord_rows, "parquet": parquet_rows,
                  "arrow-stream": datasets_rows}[form]
        number = 0
        for number, (row, found) in enumerate(zip(rows, reader(path), strict=True)):
            if form in ("nvidia-hdf5", "tfrecord"):
                check_padded(number, row, found, manifest["configuration"])
            else:
                equal(f"row {number}", row, found)
        equal("last row", len(rows) - 1, number)
    print(f"{path}: {form}, {len(rows)} rows are those of {directory}")


def main():
    arguments = sys.argv[1:]
    if not arguments or len(arguments) % 3:
        sys.exit("usage: check_exchange.py DATASET_DIR FORMAT EXPORT [DATASET_DIR FORMAT EXPORT]...")
    try:
        for directory, form, path in zip(*[iter(arguments)] * 3):
            check(pathlib.Path(directory), form, pathlib.Path(path))
    except (Mismatch, OSError, ValueError, KeyError) as problem:
        sys.exit(f"check_exchange: {path}: {problem!r}")


if __name__ == "__main__":
    main()
