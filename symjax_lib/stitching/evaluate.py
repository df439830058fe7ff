"""What a stitched network is worth: its accuracy, the penalty, the cost of rounding."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from symjax_lib.stitching import batches, halves, places, step
from symjax_lib.stitching.fitting import Fitted
from symjax_lib.stitching.maps import Params, Stitch, as_matrix
from symjax_lib.stitching.network import Network
from symjax_lib.stitching.statistics import refresh_many

Name = TypeVar("Name")


def accuracy(
    stitch: Stitch,
    fitted: Fitted,
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    labels: jax.Array,
) -> float:
    """Returns the accuracy of a stitched network, a fraction.

    Args:
      stitch: the class that `fitted` belongs to.
      fitted: from `fit`.
      front: the same networks as in `fit`.
      back: likewise; its variables are those of `fitted`.
      layer: likewise.
      images: `[N, ...]`.
      labels: `[N]`.
    """
    one = {"": (stitch, fitted)}
    return accuracies(one, front, back, layer, images, labels)[""]


def accuracies(
    stitched: Mapping[Name, tuple[Stitch, Fitted]],
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    labels: jax.Array,
) -> dict[Name, float]:
    """Returns the accuracies of many stitches at one cut; the front runs once for all.

    Args:
      stitched: classes with what was fitted, by name.
      front: see `accuracy`, as for all other arguments.
      back: likewise.
      layer: likewise.
      images: likewise.
      labels: likewise.
    """
    halves.check_data("stitching.accuracy", images, labels, 1)
    if not stitched:
        return {}
    cut = halves.cut_of(layer)
    flags = halves.moved(back.update, cut[1], back.variables, images[:1])

    def run(
        place: places.Place, params: Any, moved: Any, front: Network, back: Network,
        images: jax.Array, labels: jax.Array,
    ) -> dict[Name, jax.Array]:  # fmt: skip
        features = halves.make_front(front, back, cut)
        hits: dict[Name, Any] = dict.fromkeys(params, 0)
        for chunk in halves.chunks(len(images)):
            place.alive()
            value, rest = features(images[chunk])
            data = batches.Batch(value, rest, images[chunk], labels[chunk])
            for names in place.parts:
                stitches = tuple(stitched[name][0] for name in names)
                leaves = jax.tree.map(
                    lambda *x: jnp.stack(x), *(moved[n] for n in names)
                )
                new = _hits(
                    back.predict, back.update, cut[1], back.variables, leaves,
                    step.apply(stitches, [params[name] for name in names], value), data,
                )  # fmt: skip
                hits |= {n: hits[n] + more for n, more in zip(names, new, strict=True)}
        return {name: hits[name] for names in place.parts for name in names}

    params = {name: fitted.params for name, (_, fitted) in stitched.items()}
    moved = {
        name: halves.take(fitted.variables, flags)
        for name, (_, fitted) in stitched.items()
    }
    hits = places.everywhere(
        run, tuple(stitched), params, moved, front, back, images, labels
    )
    return {name: int(count) / len(images) for name, count in hits.items()}


def penalty(front_accuracy: float, back_accuracy: float, stitched: float) -> float:
    """Returns the stitching penalty, a fraction: what the stitched network loses.

    Example:
      >>> penalty(0.75, 0.25, 0.25)
      0.25

    References:
      Godfrey et al. 2022, equation (4.3).
    """
    return (front_accuracy + back_accuracy) / 2 - stitched


class Rounding(NamedTuple):
    """What it costs to round a relaxed permutation.

    Attributes:
      distance: Frobenius norm between the two matrices, scales left out.
      loss_before: mean cross-entropy of the stitched network with the relaxed matrix,
        the back's statistics refreshed for it.
      loss_after: likewise with the rounded one.
    """

    distance: float
    loss_before: float
    loss_after: float


def rounding(
    key: jax.Array,
    stitch: Stitch,
    fitted: Fitted,
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    labels: jax.Array,
    *,
    batch_size: int = 32,
) -> Rounding:
    """Measures a fitted stitch before and after its rounding, on training data.

    Args:
      key: consumed, for the order of the batches that statistics are refreshed with.
      stitch: the class that `fitted` belongs to.
      fitted: from `fit`.
      front: the same networks as in `fit`.
      back: likewise.
      layer: likewise.
      images: `[N, ...]` training images.
      labels: `[N]`.
      batch_size: for the refresh.
    """
    halves.check_data("stitching.rounding", images, labels, batch_size)
    cut = halves.cut_of(layer)
    both = [fitted.relaxed, fitted.params]
    variables = refresh_many(
        key, dict(enumerate((stitch, params) for params in both)),
        front, back, layer, images, batch_size=batch_size,
    )  # fmt: skip
    read = batches.make_reader(front, back, cut, images, labels)
    width = read(key, 0, np.arange(1)).value.shape[-1]
    losses = np.zeros(2)
    for chunk in halves.chunks(len(images)):
        data = read(key, 0, np.arange(chunk.start, chunk.stop))
        for i, params in enumerate(both):
            losses[i] += _loss(stitch, back.predict, cut[1], params, variables[i], data)
    before, after = (losses / len(images)).tolist()
    return Rounding(rounding_distance(stitch, fitted, width), before, after)


def rounding_distance(stitch: Stitch, fitted: Fitted, n: int) -> float:
    """Returns the Frobenius norm between relaxed and rounded matrix, without scales.

    Args:
      stitch: the class that `fitted` belongs to.
      fitted: from `fit`.
      n: channels that it takes.
    """
    both = (as_matrix(stitch, _unscaled(fitted.relaxed), n),
            as_matrix(stitch, _unscaled(fitted.params), n))  # fmt: skip
    return float(jnp.linalg.norm(both[0] - both[1]))


def _unscaled(params: Params) -> Params:
    ones = {"scale": jnp.ones_like, "log_scale": jnp.zeros_like}
    return {name: ones.get(name, lambda x: x)(leaf) for name, leaf in params.items()}


def refreshed(
    key: jax.Array,
    stitched: Mapping[Name, tuple[Stitch, Fitted]],
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    *,
    batch_size: int = 32,
) -> dict[Name, tuple[Stitch, Fitted]]:
    """Refreshes the statistics of many stitches at one cut for other parameters.

    Such as `fitted._replace(params=fitted.relaxed)`, before the rounding.

    Args:
      key: consumed, for the order of the batches.
      stitched: classes with what was fitted, by name.
      front: the same networks as in `fit`.
      back: likewise.
      layer: likewise.
      images: `[N, ...]` training images.
      batch_size: for the refresh.

    Returns:
      As `stitched`, for `accuracies`.
    """
    pairs = {
        name: (stitch, fitted.params) for name, (stitch, fitted) in stitched.items()
    }
    variables = refresh_many(
        key, pairs, front, back, layer, images, batch_size=batch_size
    )
    return {
        name: (stitch, fitted._replace(variables=variables[name]))
        for name, (stitch, fitted) in stitched.items()
    }


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _hits(
    predict: Callable,
    update: Callable,
    layer: str,
    variables: Any,
    moved: list[jax.Array],
    stitched: jax.Array,
    data: batches.Batch,
) -> jax.Array:
    flags = halves.moved(update, layer, variables, data.images)

    def logits(stitched: jax.Array, leaves: list[jax.Array]) -> jax.Array:
        there = halves.put(variables, flags, leaves)
        return halves.run_evaluation(
            predict, layer, there, stitched, data.rest, data.images
        )

    out = jax.vmap(logits)(stitched, moved)
    return (out.argmax(axis=-1) == data.labels).sum(axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _loss(
    stitch: Stitch,
    predict: Callable,
    layer: str,
    params: Params,
    variables: Any,
    data: batches.Batch,
) -> jax.Array:
    stitched = stitch.apply(params, data.value)
    logits = halves.run_evaluation(
        predict, layer, variables, stitched, data.rest, data.images
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, data.labels)
    return losses.sum()
