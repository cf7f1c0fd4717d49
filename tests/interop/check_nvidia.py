#!/usr/bin/env python3
"""Compares a Cloze pretrain dataset with what NVIDIA's create_pretraining_data.py wrote, row by row, all six columns.

    pip install h5py pyarrow
    python tests/interop/check_nvidia.py NVIDIA.hdf5 DATASET_DIR

For a dataset of `cloze-prep build --compat nvidia`: the rows must be the same ones in the same order. NVIDIA's rows are padded and
their input_ids corrupted; ours are the clean text beside its masks, so NVIDIA's columns are derived from them here as
formats/SPEC.md says. Exit status 1 with the first difference on stderr, 0 when there is none.
"""

import json
import pathlib
import sys

import h5py
import numpy
import pyarrow as pa
import pyarrow.ipc

COLUMNS = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions", "masked_lm_ids", "next_sentence_labels")


def rows(directory):
    """All rows of a dataset, shard after shard."""
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["shards"]:
        with pa.memory_map(str(directory / entry["file"])) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield from reader.get_batch(number).to_pylist()


def padded(values, length):
    return list(values) + [0] * (length - len(values))


def as_nvidia(row, max_seq_length, max_predictions):
    """One of our rows in NVIDIA's six columns."""
    clean, a = row["input_ids"], row["segment_a_length"]
    positions, seen = row["masked_lm_positions"], row["masked_lm_inputs"]
    input_ids = list(clean)
    for position, token in zip(positions, seen):
        input_ids[position] = token
    return {
        "input_ids": padded(input_ids, max_seq_length),
        "input_mask": padded([1] * len(clean), max_seq_length),
        "segment_ids": padded([0] * a + [1] * (len(clean) - a), max_seq_length),
        "masked_lm_positions": padded(positions, max_predictions),
        "masked_lm_ids": padded([clean[position] for position in positions], max_predictions),
        "next_sentence_labels": int(row["next_sentence_label"]),
    }


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: check_nvidia.py NVIDIA.hdf5 DATASET_DIR")
    with h5py.File(sys.argv[1], "r") as file:
        theirs = {name: file[name][:] for name in COLUMNS}
    num_rows, max_seq_length = theirs["input_ids"].shape
    max_predictions = theirs["masked_lm_positions"].shape[1]
    found = 0
    for number, row in enumerate(rows(pathlib.Path(sys.argv[2]))):
        found += 1
        if number >= num_rows:
            continue
        ours = as_nvidia(row, max_seq_length, max_predictions)
        for name in COLUMNS:
            if not numpy.array_equal(theirs[name][number], ours[name]):
                expected = theirs[name][number].tolist()
                sys.exit(f"check_nvidia: row {number}, {name}:\n  expected {expected}\n  found    {ours[name]}")
    if found != num_rows:
        sys.exit(f"check_nvidia: expected {num_rows} rows, found {found}")
    print(f"{num_rows} rows of {len(COLUMNS)} columns are the same")


if __name__ == "__main__":
    main()
