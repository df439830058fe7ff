"""Milliseconds of dissection for each image: the forward pass, and one more basis.

    python -m benchmarks.dissect

An untrained ResNet-50 of half the width on random images of 224x224, the outputs of its
four stages, thresholds and overlaps as `dissection.dissect` counts them. Prints one
JSON line.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

from analysis import vision
from benchmarks import machine
from symjax_lib.dissection import Concepts, Labelled, dissect
from train import devices

SIZE, LABELS, CONCEPTS = 224, 112, 12
FEW, MANY = 1, 5


def main() -> None:
    """Times it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    devices.keep_freed_memory()
    key = jax.random.key(0)
    features = vision.untrained("thin_resnet50", (SIZE, SIZE), key=key).features
    data = _random(args.images)
    images = np.stack([data.read(i).image for i in range(8)])
    forward = min(machine.seconds(lambda: features(images), repeats=args.repeats)) / 8
    times = {count: _dissection(features, data, count, args) for count in (FEW, MANY)}
    extra = (times[MANY] - times[FEW]) / (MANY - FEW) / args.images
    record = {
        "bench": "dissect",
        "images": args.images,
        "forward_ms": round(1e3 * forward, 1),
        "basis_ms": round(1e3 * extra, 1),
        "one_basis_ms": round(1e3 * times[FEW] / args.images, 1),
        "peak_memory_gib": round(machine.peak_memory_gib(), 2),
    }
    print(json.dumps(record))


def _dissection(features, data: Concepts, count: int, args) -> float:
    maps = jax.eval_shape(features, data.read(0).image[None])
    bases = {}
    for name in vision.MODELS["thin_resnet50"].layers:
        n = maps[name].shape[-1]
        draw = jax.random.orthogonal(jax.random.key(1), n, (count,))
        bases[name] = jnp.asarray(draw)
    run = lambda: dissect(features, data, bases)["layer1.2"].both
    return min(machine.seconds(run, repeats=args.repeats))


def _random(count: int) -> Concepts:
    def read(i: int) -> Labelled:
        rng = np.random.default_rng(i)
        owner = rng.integers(CONCEPTS, size=(LABELS, LABELS))
        masks = owner == np.arange(CONCEPTS)[:, None, None]
        image = rng.integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)
        return Labelled(image, np.arange(CONCEPTS), masks)

    names = tuple(map(str, range(CONCEPTS)))
    return Concepts(names, ("color",), np.zeros(CONCEPTS, int), count, read)


if __name__ == "__main__":
    main()
