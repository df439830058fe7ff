r"""Fits a stitch between two networks and measures what it costs in accuracy.

The stitched network is :math:`S = f_{>l} \circ \varphi \circ \tilde f_{\leq l}`, and
its penalty :math:`(\mathrm{Acc} f + \mathrm{Acc} \tilde f) / 2 - \mathrm{Acc} S`. Only
:math:`\varphi` is trained, on training data; the back network's batch statistics are
then refreshed on training data, and test data serve for the final number alone.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from symjax_lib import tracing
from symjax_lib.stitching.maps import Params, Stitch
from symjax_lib.stitching.network import Network


class Fitted(NamedTuple):
    """A fitted stitch between two networks.

    Attributes:
      params: of the stitch, after `finalize`.
      variables: of the back network, with refreshed batch statistics.
      losses: `[epochs]`, mean training loss (cross-entropy and penalty) of each.
    """

    params: Params
    variables: Any
    losses: np.ndarray


def fit(
    key: jax.Array,
    stitch: Stitch,
    front: Network,
    back: Network,
    layer: str,
    images: jax.Array,
    labels: jax.Array,
    *,
    epochs: int = 20,
    batch_size: int = 32,
    optimizer: optax.GradientTransformation | None = None,
    head_start: int | None = None,
) -> Fitted:
    """Fits a stitch by stochastic gradient on training data.

    Args:
      key: consumed, for the start and the order of the batches.
      stitch: the class of maps, of the width of the layer.
      front: the network whose features are used, in evaluation mode.
      back: the network that goes on from them, in training mode.
      layer: name of a tap that both have; values at the cut must agree in shape.
      images: `[N, ...]` training images, as the networks take them.
      labels: `[N]` integers.
      epochs: passes over the images.
      batch_size: a last batch that is not full is left out.
      optimizer: by default the authors' plain SGD with learning rate 1e-3; pass one
        object for many fits, as each one compiles anew.
      head_start: for stitches with "scale", epochs at the beginning in which the scale
        is not trained; by default half of them.

    Returns:
      The `Fitted` stitch, with the back's batch statistics refreshed by one pass over
      the training images through the final stitch.

    Raises:
      ValueError: there are fewer images than one batch, images and labels differ in
        number, there is no such tap, or the networks do not fit at the cut.
    """
    _check_data("stitching.fit", images, labels, batch_size)
    optimizer = _PAPER if optimizer is None else optimizer
    head_start = epochs // 2 if head_start is None else head_start
    start, order = jax.random.split(key)
    features = _front_features(front, layer, images)
    params = stitch.init(start)
    state = optimizer.init(params)
    step = functools.partial(_step, stitch, back.update, layer, optimizer)
    losses = []
    for epoch in range(epochs):
        batches = _batches(jax.random.fold_in(order, epoch), len(images), batch_size)
        total = jnp.zeros(())
        for batch in batches:
            params, state, loss = step(
                params, state, back.variables, features, images, labels, batch,
                epoch < head_start,
            )  # fmt: skip
            total += loss
        losses.append(total / len(batches))
    params = stitch.finalize(params)
    variables = back.variables
    for batch in _batches(jax.random.fold_in(order, epochs), len(images), batch_size):
        variables = _refresh(
            stitch, back.update, layer, params, variables, features, images, batch
        )
    return Fitted(params, variables, np.asarray(losses, dtype=np.float64))


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
    _check_data("stitching.accuracy", images, labels, 1)
    hits = 0
    for chunk in _chunks(len(images)):
        value, rest = _run_front(front.predict, layer, front.variables, images[chunk])
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


_PAPER = optax.sgd(1e-3)
_CHUNK = 500


def _check_data(caller: str, images: Any, labels: Any, batch_size: int) -> None:
    if len(images) != len(labels):
        raise ValueError(f"{caller}: {len(images)} images but {len(labels)} labels.")
    if len(images) < batch_size:
        raise ValueError(
            f"{caller}: {len(images)} images do not fill a batch of {batch_size}; pass "
            "more images or a smaller batch_size."
        )


def _batches(key: jax.Array, n: int, size: int) -> jax.Array:
    order = jax.random.permutation(key, n)
    return order[: n // size * size].reshape(-1, size)


def _chunks(n: int) -> list[slice]:
    return [slice(i, min(i + _CHUNK, n)) for i in range(0, n, _CHUNK)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run_front(predict: Callable, layer: str, variables: Any, images: jax.Array) -> Any:
    return tracing.split(predict, layer)[0](variables, images)


def _front_features(front: Network, layer: str, images: jax.Array) -> Any:
    """Runs the front once over all images, as it does not change while fitting."""
    parts = [
        _run_front(front.predict, layer, front.variables, images[chunk])
        for chunk in _chunks(len(images))
    ]
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _step(
    stitch: Stitch,
    update: Callable,
    layer: str,
    optimizer: optax.GradientTransformation,
    params: Params,
    state: Any,
    variables: Any,
    features: Any,
    images: jax.Array,
    labels: jax.Array,
    batch: jax.Array,
    hold_scale: bool,
) -> tuple[Params, Any, jax.Array]:
    value, rest = jax.tree.map(lambda x: x[batch], features)

    def objective(params: Params) -> jax.Array:
        stitched = stitch.apply(params, value)
        logits, _ = _back_update(
            update, layer, stitched, rest, variables, images[batch]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch])
        return losses.mean() + stitch.penalty(params)

    loss, gradient = jax.value_and_grad(objective)(params)
    if "scale" in gradient:
        gradient["scale"] = jnp.where(hold_scale, 0, gradient["scale"])
    updates, state = optimizer.update(gradient, state, params)
    return stitch.project(optax.apply_updates(params, updates)), state, loss  # pyright: ignore


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _refresh(
    stitch: Stitch,
    update: Callable,
    layer: str,
    params: Params,
    variables: Any,
    features: Any,
    images: jax.Array,
    batch: jax.Array,
) -> Any:
    value, rest = jax.tree.map(lambda x: x[batch], features)
    stitched = stitch.apply(params, value)
    return _back_update(update, layer, stitched, rest, variables, images[batch])[1]


def _back_update(
    update: Callable,
    layer: str,
    value: jax.Array,
    rest: Any,
    variables: Any,
    images: jax.Array,
) -> tuple[jax.Array, Any]:
    """Runs the back in training mode; statistics from before the cut stay as they are.

    Those are the front's, which runs in evaluation mode and has none to give.
    """
    later = tracing.downstream(update, layer)(variables, images)

    def moved(variables: Any, images: jax.Array) -> list[jax.Array]:
        outputs = jax.tree.leaves(update(variables, images))
        flags = jax.tree.leaves(later)
        return [out for out, flag in zip(outputs, flags, strict=True) if flag]

    outputs = iter(tracing.split(moved, layer)[1](value, rest, variables, images))
    take = lambda flag, old: next(outputs) if flag else old
    return jax.tree.map(take, later, (jnp.zeros(()), variables))


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
