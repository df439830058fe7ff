"""Seconds for one Gram matrix of the max kernel, as `torch_max_cka.py` takes them.

    python -m benchmarks.max_gram --n 2000

Features are centred and divided per channel, then the matrix is computed. Prints one
JSON line.
"""

import argparse
import json
import statistics

import jax

from benchmarks import machine
from symjax_lib import similarity


def main() -> None:
    """Times it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("n", 2000), ("c", 64), ("h", 16), ("w", 16), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    shape = (args.n, args.h, args.w, args.c)
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), shape))
    times = machine.seconds(
        lambda: similarity.max_gram(x, unit=True), repeats=args.repeats
    )
    spent = statistics.median(times)  # as the baseline
    operations = args.n * (args.n + 1) * args.c * args.h * args.w
    record = {
        "bench": "max_cka_gram",
        "shape": shape,
        "seconds": round(spent, 4),
        "gflops": round(operations / spent / 1e9, 1),
        "peak_gflops": round(machine.peak_gflops(), 1),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
