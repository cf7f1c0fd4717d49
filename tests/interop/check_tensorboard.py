"""Whether TensorBoard's own reader finds in RUN/tensorboard the curves that RUN/metrics.jsonl holds, and no others.

    python check_tensorboard.py RUN
"""

import json
import sys
from pathlib import Path

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SPEED = {"sequences_per_s", "tokens_per_s", "padded_tokens_per_s", "mfu", "data_wait_share"}
NO_CURVES = {"step", "time", "seconds", "data_wait_s"}
GROUPS = {"step": "train", "held_out": "held_out", "evaluation": "evaluation"}

run = Path(sys.argv[1])
expected = {}
for line in (run / "metrics.jsonl").read_text().splitlines():
    row = json.loads(line)
    if row["kind"] not in GROUPS:
        continue
    for key, value in row.items():
        if isinstance(value, (int, float)) and key not in NO_CURVES:
            tag = f"speed/{key}" if key in SPEED else f"{GROUPS[row['kind']]}/{key}"
            expected.setdefault(tag, {})[row["step"]] = numpy.float32(value)

events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
assert set(tags["scalars"]) == set(expected), (sorted(tags["scalars"]), sorted(expected))
for tag, values in expected.items():
    found = [(event.step, numpy.float32(event.value)) for event in events.Scalars(tag)]
    assert found == sorted(values.items()), (tag, found, values)
recipe = events.Tensors("recipe")[0].tensor_proto.string_val[0].decode()
assert '"learning_rate"' in recipe, recipe
print(f"{len(expected)} curves, {sum(map(len, expected.values()))} values")
