"""What a stitched network is worth: its accuracy, and the penalty."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from symjax_lib import tracing
from symjax_lib.stitching import halves
from symjax_lib.stitching.maps import Params, Stitch
from symjax_lib.stitching.network import Network
from symjax_lib.stitching.stitch import Fitted


def accuracy(
    stitch: Stitch,
    fitted: Fitted,
    front: Network,
    back: Network,
    layer: str,
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
    halves.check_data("stitching.accuracy", images, labels, 1)
    hits = 0
    for chunk in halves.chunks(len(images)):
        value, rest = halves.run_front(
            front.predict, layer, front.variables, images[chunk]
        )
        hits += _hits(
            stitch, back.predict, layer, fitted.params, fitted.variables,
            value, rest, images[chunk], labels[chunk],
        )  # fmt: skip
    return float(hits) / len(images)


def penalty(front_accuracy: float, back_accuracy: float, stitched: float) -> float:
    """Returns the stitching penalty, a fraction: what the stitched network loses.

    Example:
      >>> penalty(0.75, 0.25, 0.25)
      0.25

    References:
      Godfrey et al. 2022, equation (4.3).
    """
    return (front_accuracy + back_accuracy) / 2 - stitched


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _hits(
    stitch: Stitch,
    predict: Callable,
    layer: str,
    params: Params,
    variables: Any,
    value: jax.Array,
    rest: Any,
    images: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    back = tracing.split(predict, layer)[1]
    logits = back(stitch.apply(params, value), rest, variables, images)
    return (logits.argmax(axis=-1) == labels).sum()
