"""The paper's comparison of two networks: all test images, all layers, four measures.

    python -m benchmarks.full_scale --model myrtle --data-dir ../shared/data/tfds

Weights are random: neither time nor memory depends on them. Prints one JSON line with
seconds, peak resident memory and the share of the matrix product's peak, which is
measured before and after in the same process.

So that the peak is what is really held, make glibc give back what is freed, in large
pages: `GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1048576`.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine
from symjax_lib import models
from symjax_lib.similarity import streaming
from train import data

MODELS = {"myrtle": models.MyrtleCNN, "resnet20": models.ResNet20}


def main() -> None:
    """Runs the comparison and prints what it took."""
    args = _parse()
    dataset = data.load("cifar10", data_dir=args.data_dir)
    images = dataset.test_images[: args.images]
    model = MODELS[args.model]()
    apply = lambda v, x: model.apply(v, data.normalise(dataset, x), train=False)
    init = lambda seed: model.init(jax.random.key(seed), jnp.zeros((1, 32, 32, 3)))
    networks = [streaming.Taps(apply, init(s), model.tap_names) for s in range(2)]
    batches = np.split(images, range(args.batch, len(images), args.batch))
    peaks = [machine.peak_gflops()]
    start = time.perf_counter()
    found = streaming.compare(
        networks,
        batches,
        memory=args.memory,
        tile=args.tile,
        spill=args.spill,
        progress=_say(start),
    )
    spent = time.perf_counter() - start
    peaks.append(machine.peak_gflops())
    operations = _operations(networks, len(images))
    record = {
        "bench": "full_scale",
        "model": args.model,
        "images": len(images),
        "layers": len(found.layers[0]),
        "seconds": round(spent, 1),
        "peak_memory_gib": round(machine.peak_memory_gib(), 2),
        "peak_gflops": [round(peak, 1) for peak in peaks],
        "gram_tflop": round(operations / 1e12, 2),
        "share_of_peak": round(operations / spent / 1e9 / np.mean(peaks).item(), 3),
        "memory_option": args.memory,
        "spilled": args.spill is not None,
    }
    print(json.dumps(record), flush=True)
    if args.out:
        Path(args.out).write_text(found.to_json())


def _operations(networks: list[streaming.Taps], n: int) -> float:
    """Multiplications and additions of half of all Gram matrices, nothing else."""
    values = jax.eval_shape(networks[0], jax.ShapeDtypeStruct((1, 32, 32, 3), "uint8"))
    return len(networks) * n * (n + 1.0) * sum(x.size for x in values.values())


def _say(start: float):
    def say(what: str) -> None:
        elapsed = time.perf_counter() - start
        peak = machine.peak_memory_gib()
        print(f"{elapsed:7.1f} s  {peak:.2f} GiB  {what}", flush=True)

    return say


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="myrtle")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--tile", type=int, default=500)
    parser.add_argument("--memory", type=float, default=3.1, help="GiB")
    parser.add_argument("--spill", help="folder for features, 24 GB for myrtle")
    parser.add_argument("--data-dir", help="of TensorFlow Datasets")
    parser.add_argument("--out", help="file for the values, JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
