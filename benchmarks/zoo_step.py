"""Images per second of the zoo's training steps, as `torch_zoo_step.py` takes them.

    python -m benchmarks.zoo_step --arch myrtle --width 16 --models 4

Random images, no augmentation; forward, backward and Adam's step of every model on a
batch. Prints one JSON line.
"""

import argparse
import dataclasses
import json
import statistics
from typing import Any

import jax
import numpy as np

from benchmarks import machine
from train import configs, data, devices, ensemble, grouping

ARCHITECTURES = {"myrtle": ("myrtle_cnn", 64), "resnet20": ("resnet20", 16)}
STEPS = 10


def main() -> None:
    """Times it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="myrtle")
    parser.add_argument("--width", type=int)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    devices.use_cores()
    model, width = ARCHITECTURES[args.arch]
    config = dataclasses.replace(
        configs.Config(),
        model=model,
        width=args.width or width,
        batch_size=args.batch,
        flip=False,
        shift=0,
        validation_fraction=0.2,
        seeds=args.models,
    )
    config = dataclasses.replace(config, devices_per_seed=_devices_per_seed(config))
    dataset = _random_images(args.batch * STEPS * 5 // 4)
    groups = _groups(config, ensemble.make_functions(config, dataset))
    times = machine.seconds(lambda: _epoch(groups), repeats=args.repeats)
    images = args.models * args.batch * STEPS
    record = {
        "bench": "zoo_step",
        "arch": args.arch,
        "width": config.width,
        "batch": args.batch,
        "models": args.models,
        "devices": jax.device_count(),
        "images_per_s": round(images / statistics.median(times), 1),
        "best_images_per_s": round(images / min(times), 1),
        "peak_memory_gib": round(machine.peak_memory_gib(), 2),
    }
    print(json.dumps(record))


def _devices_per_seed(config: configs.Config) -> int:
    """Shares the batches of a seed among devices that have none of their own."""
    free = max(1, jax.device_count() // config.seeds)
    return max(n for n in range(1, free + 1) if config.batch_size % n == 0)


def _random_images(n: int) -> data.Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(n, dtype=np.int32) % 10
    return data.Dataset(
        "random", images, labels, images, labels, np.zeros(3), np.ones(3), ""
    )


def _groups(config: configs.Config, functions: ensemble.Functions) -> list[Any]:
    groups = []
    for group in grouping.plan(config, range(config.seeds), functions.memory):
        keys = ensemble.seed_keys(config, group)
        groups.append([functions.train_epoch, functions.init(keys), keys])
    return groups


def _epoch(groups: list[Any]) -> None:
    """Trains every group for one epoch, whose metrics are waited for."""
    for group in groups:
        train_epoch, state, keys = group
        group[1], _ = train_epoch(state, keys, 0)


if __name__ == "__main__":
    main()
