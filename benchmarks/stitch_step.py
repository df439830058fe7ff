"""Images per second of a stitch's steps, as `torch_stitch_step.py` takes them.

    python -m benchmarks.stitch_step --layer 1 --stitch full --width 16

Random images, two Myrtle CNNs; the front in evaluation mode without gradients, the back
in training mode with its weights frozen, plain SGD on six stitches, searched as
`stitching.fit_all` does: on a CPU one after the other on each core. With `--front each`
the front runs at every step, as there; with `once` its features are kept for three
epochs, which the times include. Prints one JSON line.
"""

import argparse
import functools
import json
import statistics

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine
from symjax_lib import models, stitching
from symjax_lib.stitching import batches, halves, places, search, step
from train import devices, quick

EPOCHS, STEPS = 3, 10
CLASSES = {
    "full": lambda n: stitching.full(n, decay=1e-4),
    "perm": stitching.g_relu,
}


def main() -> None:
    """Times it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", type=int, choices=range(4), default=1)
    parser.add_argument("--stitch", choices=CLASSES, default="full")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--stitches", type=int, default=6, help="searched")
    parser.add_argument("--front", choices=("each", "once"), default="once")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    devices.use_cores()
    run = _searches(args)
    times = machine.seconds(run, repeats=args.repeats)
    images = args.batch * STEPS * EPOCHS * args.stitches
    record = {
        "bench": "stitch_step",
        "layer": args.layer,
        "stitch": args.stitch,
        "width": args.width,
        "batch": args.batch,
        "stitches": args.stitches,
        "front": args.front,
        "images_per_s": round(images / statistics.median(times), 1),
        "best_images_per_s": round(images / min(times), 1),
        "peak_memory_gib": round(machine.peak_memory_gib(), 2),
    }
    print(json.dumps(record))


def _searches(args: argparse.Namespace):
    model = models.MyrtleCNN(width=args.width)
    rng = np.random.default_rng(0)
    n = args.batch * STEPS
    images = jnp.asarray(rng.normal(size=(n, 32, 32, 3)), jnp.float32)
    labels = jnp.arange(n) % 10
    front, back = (
        stitching.from_linen(model, model.init(jax.random.key(seed), images[:1]))
        for seed in range(2)
    )
    front, back = (
        n._replace(predict=quick.quick(n.predict), update=quick.quick(n.update))
        for n in (front, back)
    )
    layer = model.tap_names[args.layer]
    cut = halves.cut_of(layer)
    augment = None if args.front == "once" else lambda key, x: x
    stitch = CLASSES[args.stitch](args.width * 2**args.layer)
    behind = step.Back(back.update, layer, training=True)
    searches = {i: search.Search(stitch) for i in range(args.stitches)}
    starts = {i: stitch.init(jax.random.key(i)) for i in searches}

    def run(place, key, starts, front, back, images, labels):
        read = batches.make_reader(front, back, cut, images, labels, augment, place)
        found = {}
        for names in place.parts:
            found |= search.run(
                key, {name: searches[name] for name in names}, starts, behind,
                back.variables, read, n, epochs=EPOCHS, batch_size=args.batch,
            )  # fmt: skip
        return found

    trees = jax.random.key(0), starts, front, back, images, labels
    return functools.partial(places.everywhere, run, tuple(searches), *trees)


if __name__ == "__main__":
    main()
