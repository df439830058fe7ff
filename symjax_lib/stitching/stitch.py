r"""Fits a stitch between two networks.

The stitched network is :math:`S = \tilde f_{>l} \circ \varphi \circ f_{\leq l}`, and
its penalty :math:`(\mathrm{Acc} f + \mathrm{Acc} \tilde f) / 2 - \mathrm{Acc} S`. Only
:math:`\varphi` is trained, on training data; the back network's batch statistics are
then refreshed on training data, and test data serve for the final number alone.

As in the paper but for three points: the images are not augmented, the front runs in
evaluation mode (both so that its features are computed once), and the weights of a full
stitch do not decay.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from symjax_lib.stitching import halves
from symjax_lib.stitching.maps import Params, Stitch
from symjax_lib.stitching.network import Network


class Fitted(NamedTuple):
    """A fitted stitch between two networks.

    Attributes:
      params: of the stitch, after `finalize`.
      variables: of the back network, with batch statistics refreshed for `params`.
      losses: `[epochs]`, mean training loss (cross-entropy and penalty) of each.
      relaxed: the parameters before `finalize`; how much worse `params` are is the
        rounding gap. See `refresh`.
    """

    params: Params
    variables: Any
    losses: np.ndarray
    relaxed: Params


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
      labels: `[N]` integers, below the number of logits.
      epochs: passes over the images, at least 1.
      batch_size: a last batch that is not full is left out.
      optimizer: by default the authors' plain SGD with learning rate 1e-3, made for
        1,562 batches an epoch: small data need a larger one. Pass one object for many
        fits, as each one compiles anew.
      head_start: for stitches with "scale", epochs at the beginning in which the scale
        is not trained; by default half of them.

    Returns:
      The `Fitted` stitch, with the back's batch statistics refreshed by a pass over the
      training images through the final stitch; see `refresh`.

    Raises:
      ValueError: there are fewer images than one batch, images and labels differ in
        number, there is no such tap, the networks do not fit at the cut, the stitch has
        another width than the layer, or the loss becomes infinite or nan.

    Example:
      >>> from symjax_lib import models, stitching
      >>> model = models.MLP(features=(4,))
      >>> images, labels = jnp.eye(8), jnp.arange(8)
      >>> front, back = (
      ...     stitching.from_linen(model, model.init(jax.random.key(seed), images))
      ...     for seed in (0, 1)
      ... )
      >>> stitch, key = stitching.full(4), jax.random.key(2)
      >>> fitted = fit(
      ...     key, stitch, front, back, "dense1", images, labels, epochs=2, batch_size=8
      ... )
      >>> fitted.losses.shape, fitted.params["matrix"].shape
      ((2,), (4, 4))

    References:
      Godfrey et al. 2022, sections 4 and D.2.
    """
    halves.check_data("stitching.fit", images, labels, batch_size)
    if epochs < 1:
        raise ValueError(f"stitching.fit: epochs must be at least 1, got {epochs}.")
    optimizer = _PAPER if optimizer is None else optimizer
    head_start = epochs // 2 if head_start is None else head_start
    start, order = jax.random.split(key)
    features = halves.front_features(front, layer, images)
    params = stitch.init(start)
    _check_width(stitch, params, layer, features[0])
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
    losses = np.asarray(losses, dtype=np.float64)
    if not np.isfinite(losses).all():
        raise ValueError(
            f"stitching.fit: the loss at layer {layer!r} is not finite after epoch "
            f"{np.argmin(np.isfinite(losses)) + 1}; pass an optimizer with a smaller "
            "learning rate, and check images and labels."
        )
    final = stitch.finalize(params)
    key = jax.random.fold_in(order, epochs)
    batches = _refresh_batches(key, len(images), batch_size)
    variables = _pass(stitch, back, layer, final, features, images, batches)
    return Fitted(final, variables, losses, params)


def refresh(
    key: jax.Array,
    stitch: Stitch,
    params: Params,
    front: Network,
    back: Network,
    layer: str,
    images: jax.Array,
    *,
    batch_size: int = 32,
) -> Any:
    """Adapts the back network's batch statistics to a stitch, without gradients.

    It takes as many passes over the images as make 500 batches, so that averages that
    keep 0.99 of themselves, flax's default, have forgotten what they were; for the
    paper's data and batches that is one pass.

    `fit` does so for the final parameters. For others, such as `Fitted.relaxed`:
    `fitted._replace(params=p, variables=refresh(key, stitch, p, ...))`.

    Args:
      key: consumed, for the order of the batches.
      stitch: the class that `params` belong to.
      params: any of its maps.
      front: as in `fit`.
      back: likewise.
      layer: likewise.
      images: `[N, ...]` training images.
      batch_size: a last batch that is not full is left out.

    Returns:
      The variables of the back network, with statistics after the cut moved on.

    Raises:
      ValueError: there are fewer images than one batch, there is no such tap, or the
        networks do not fit at the cut.
    """
    halves.check_data(
        "stitching.refresh", images, np.zeros(len(images), int), batch_size
    )
    features = halves.front_features(front, layer, images)
    batches = _refresh_batches(key, len(images), batch_size)
    return _pass(stitch, back, layer, params, features, images, batches)


_PAPER = optax.sgd(1e-3)
_REFRESH = 500  # batches at least: 0.99 ** 500 is below 0.01


def _check_width(stitch: Stitch, params: Params, layer: str, value: Any) -> None:
    try:
        found = jax.eval_shape(stitch.apply, params, value).shape
    except (TypeError, ValueError):
        found = None
    if found != value.shape:
        raise ValueError(
            f"stitching.fit: layer {layer!r} has {value.shape[-1]} channels, and the "
            "stitch was made for another number; make it for that one."
        )


def _batches(key: jax.Array, n: int, size: int) -> jax.Array:
    order = jax.random.permutation(key, n)
    return order[: n // size * size].reshape(-1, size)


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
        logits, _ = halves.back_update(
            update, layer, stitched, rest, variables, images[batch]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch])
        return losses.mean() + stitch.penalty(params)

    loss, gradient = jax.value_and_grad(objective)(params)
    if "scale" in gradient:
        gradient["scale"] = jnp.where(hold_scale, 0, gradient["scale"])
    updates, state = optimizer.update(gradient, state, params)
    return stitch.project(optax.apply_updates(params, updates)), state, loss  # pyright: ignore


def _refresh_batches(key: jax.Array, n: int, size: int) -> jax.Array:
    passes = -(-_REFRESH // (n // size))
    keys = jax.random.split(key, passes)
    return jnp.concatenate([_batches(key, n, size) for key in keys])


def _pass(
    stitch: Stitch,
    back: Network,
    layer: str,
    params: Params,
    features: Any,
    images: jax.Array,
    batches: jax.Array,
) -> Any:
    variables = back.variables
    for batch in batches:
        variables = _refresh(
            stitch, back.update, layer, params, variables, features, images, batch
        )
    return variables


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
    return halves.back_update(update, layer, stitched, rest, variables, images[batch])[
        1
    ]
