#!/usr/bin/env python3
"""Reads a Cloze dataset with pyarrow alone and checks that it says what its manifest says.

    pip install pyarrow
    python tests/interop/check_pyarrow.py DATASET_DIR

Every shard is opened through a memory map, its columns are printed, and every row is checked against the rules of
formats/SPEC.md, written here a second time. Exit status 1 with the first mismatch on stderr, 0 when all is well.
"""

import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.ipc

TYPES = {
    "u16": pa.uint16(), "u64": pa.uint64(), "i32": pa.int32(), "bool": pa.bool_(), "utf8": pa.string(),
    "list<u8>": pa.list_(pa.field("item", pa.uint8(), nullable=False)),
    "list<u16>": pa.list_(pa.field("item", pa.uint16(), nullable=False)),
    "list<u32>": pa.list_(pa.field("item", pa.uint32(), nullable=False)),
}


class Mismatch(Exception):
    """What was expected and what was found."""


def expect(condition, message):
    if not condition:
        raise Mismatch(message)


def equal(what, expected, found):
    expect(expected == found, f"{what}: expected {expected}, found {found}")


# ---------------------------------------------------------------------------------------------------------------- rows

def check_pair(row, special):
    """[CLS] A [SEP] or [CLS] A [SEP] B [SEP]; segment_a_length counts [CLS] and the first [SEP]."""
    ids, a = row["input_ids"], row["segment_a_length"]
    expect(len(ids) >= 2, f"input_ids has {len(ids)} tokens")
    equal("first token", special["cls"], ids[0])
    equal("last token", special["sep"], ids[-1])
    expect(2 <= a <= len(ids), f"segment_a_length {a} with {len(ids)} tokens")
    equal(f"token {a - 1}, the end of segment A", special["sep"], ids[a - 1])


def check_corpus(row, special, num_tokens):
    lengths = row["sentence_lengths"]
    expect(all(lengths), "an empty sentence")
    equal("sum of sentence_lengths", len(row["token_ids"]), sum(lengths))


def check_pretrain(row, special, num_tokens):
    check_pair(row, special)
    ids, a = row["input_ids"], row["segment_a_length"]
    expect(3 <= a < len(ids) - 1, f"a segment is empty: segment_a_length {a} of {len(ids)} tokens")
    if "masked_lm_positions" not in row:
        return
    positions, inputs = row["masked_lm_positions"], row["masked_lm_inputs"]
    equal("number of masked_lm_inputs", len(positions), len(inputs))
    expect(all(p < q for p, q in zip(positions, positions[1:])), f"masked positions not ascending: {positions}")
    expect(all(0 < p < len(ids) - 1 and p != a - 1 for p in positions),
           f"a masked position is outside the text: {positions}, segment_a_length {a}, {len(ids)} tokens")
    expect(all(t < num_tokens for t in inputs), "a masked_lm_input is not in the vocabulary")


def check_squad(row, special, num_tokens):
    check_pair(row, special)
    ids, a = row["input_ids"], row["segment_a_length"]
    starts, ends = row["context_starts"], row["context_ends"]
    equal("number of context_starts", len(ids) - a - 1, len(starts))
    equal("number of context_ends", len(starts), len(ends))
    equal("number of max_context flags", len(starts), len(row["max_context"]))
    expect(all(s <= e for s, e in zip(starts, ends)), "a token ends before it starts")
    expect(all(s <= t for s, t in zip(starts, starts[1:])), "context_starts go backwards")
    expect(set(row["max_context"]) <= {0, 1}, "a max_context flag that is neither 0 nor 1")
    first, last = row["start_position"], row["end_position"]
    expect((first, last) == (0, 0) or a <= first <= last < len(ids) - 1, f"answer {first}..{last} outside the window")


def check_glue(row, special, num_tokens):
    check_pair(row, special)


CHECKS = {"corpus": check_corpus, "pretrain": check_pretrain, "squad": check_squad, "glue": check_glue}


# -------------------------------------------------------------------------------------------------------------- shards

def check_schema(schema, manifest):
    equal("columns", manifest["columns"], [f"{f.name}: {type_name(f)}" for f in schema])
    metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    equal("cloze.kind in the schema", manifest["kind"], metadata.get("cloze.kind"))
    equal("cloze.vocabulary.sha256 in the schema", manifest["vocabulary"]["sha256"],
          metadata.get("cloze.vocabulary.sha256"))


def type_name(field):
    expect(not field.nullable, f"column {field.name} is nullable")
    names = [name for name, ty in TYPES.items() if ty == field.type]
    expect(names, f"column {field.name} has the unknown type {field.type}")
    return names[0]


def check_rows(batch, first_row, manifest):
    """Checks the rows of one record batch; returns their number of tokens."""
    special, num_tokens = manifest["vocabulary"]["special"], manifest["vocabulary"]["num_tokens"]
    check, column = CHECKS[manifest["kind"]], "token_ids" if manifest["kind"] == "corpus" else "input_ids"
    tokens = 0
    for number, row in enumerate(batch.to_pylist()):
        try:
            expect(all(t < num_tokens for t in row[column]), f"a token is not below {num_tokens}: {max(row[column])}")
            check(row, special, num_tokens)
        except Mismatch as problem:
            raise Mismatch(f"row {first_row + number}: {problem}") from None
        tokens += len(row[column])
    return tokens


def check_shard(path, entry, manifest, out):
    with pa.memory_map(str(path)) as source:
        equal("bytes", entry["bytes"], source.size())
        reader = pa.ipc.open_file(source)
        check_schema(reader.schema, manifest)
        equal("record batches", len(entry["batches"]), reader.num_record_batches)
        rows = tokens = 0
        before = pa.total_allocated_bytes()
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        # Zero-copy: getting the batches must not have allocated anything like their size.
        expect(pa.total_allocated_bytes() - before < 1 << 16, "pyarrow had to copy the columns")
        for batch, promised in zip(batches, entry["batches"]):
            batch.validate(full=True)
            equal("rows of a record batch", promised["rows"], batch.num_rows)
            tokens += check_rows(batch, rows, manifest)
            rows += batch.num_rows
        del batches, batch
    equal("rows", entry["rows"], rows)
    equal("tokens", entry["tokens"], tokens)
    out.write(f"{path.name}: {rows} rows, {tokens} tokens in {len(entry['batches'])} record batches\n")
    return rows, tokens


def check_dataset(directory, out):
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    equal("format", "cloze-dataset", manifest["format"])
    equal("version", 1, manifest["version"])
    vocabulary = (directory / "vocab.txt").read_text(encoding="utf-8").split("\n")
    equal("tokens in vocab.txt", manifest["vocabulary"]["num_tokens"], len([t for t in vocabulary if t]))
    for name, token in (("cls", "[CLS]"), ("sep", "[SEP]"), ("mask", "[MASK]"), ("pad", "[PAD]"), ("unk", "[UNK]")):
        equal(f"id of {token}", vocabulary.index(token), manifest["vocabulary"]["special"][name])
    out.write(f"{directory}: {manifest['kind']}\n")
    for column in manifest["columns"]:
        out.write(f"  {column}\n")
    rows = tokens = 0
    for entry in manifest["shards"]:
        try:
            found = check_shard(directory / entry["file"], entry, manifest, out)
        except (Mismatch, pa.ArrowInvalid, OSError) as problem:
            raise Mismatch(f"{directory / entry['file']}: {problem}") from None
        rows, tokens = rows + found[0], tokens + found[1]
    equal(f"{directory}: statistics.rows", manifest["statistics"]["rows"], rows)
    equal(f"{directory}: statistics.tokens", manifest["statistics"]["tokens"], tokens)
    out.write(f"pyarrow {pa.__version__} agrees: {rows} rows, {tokens} tokens\n")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check_pyarrow.py DATASET_DIR")
    try:
        check_dataset(pathlib.Path(sys.argv[1]), sys.stdout)
    except (Mismatch, OSError, ValueError, KeyError) as problem:
        sys.exit(f"check_pyarrow: {problem if not isinstance(problem, KeyError) else f'missing {problem}'}")


if __name__ == "__main__":
    main()
