"""Makes python_random.json: what Python's `random.Random` returns for some seeds and calls.

Run: python make_python_random.py (Python 3.2 or later, nothing else). Floats are stored as their hexadecimal digits.
"""

import json
import pathlib
import random

SEEDS = [0, 1, 12345, 2**32 - 1, 2**32, 0x0123456789ABCDEF, 2**64 - 1]
BITS = [1, 5, 31, 32, 33, 63, 64]
RANGES = [(0, 0), (1, 2), (2, 125), (0, 30521), (0, 2**32 - 1), (0, 2**32), (7, 2**40)]


def calls(seed):
    """Draws in a fixed order from one generator."""
    rng = random.Random(seed)
    drawn = {"seed": seed}
    drawn["random"] = [rng.random().hex() for _ in range(5)]
    drawn["getrandbits"] = [[bits, rng.getrandbits(bits)] for bits in BITS]
    drawn["randint"] = [[low, high, rng.randint(low, high)] for low, high in RANGES]
    drawn["shuffle"] = list(range(100))
    rng.shuffle(drawn["shuffle"])
    # The state has 624 words; this goes through it several times.
    for _ in range(2000):
        rng.getrandbits(32)
    drawn["random_later"] = rng.random().hex()
    return drawn


def main():
    path = pathlib.Path(__file__).with_name("python_random.json")
    lines = ",\n".join(json.dumps(calls(seed)) for seed in SEEDS)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
