"""One step of training and one of evaluation, both pure and for one seed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn, struct

from train import batch_norm, devices, mixing, winograd


@struct.dataclass
class TrainState:
    """What a step reads and writes.

    Attributes:
      variables: `{"params", "batch_stats"}`, the latter if the model has any.
      opt_state: of the optimiser, on `params`.
      step: `[]` int32, steps done since the start of training.
      diverged: `[]` bool, whether a loss or a gradient was not finite; from then on
        variables and optimiser stay what they were before.
    """

    variables: Any
    opt_state: optax.OptState
    step: jax.Array
    diverged: jax.Array


class Sums(NamedTuple):
    """Loss and number of correct answers, both `[]`, summed over images."""

    loss: jax.Array
    correct: jax.Array


def make_init(
    model: nn.Module, optimiser: optax.GradientTransformation, image: jax.Array
) -> Callable[[jax.Array], TrainState]:
    """Returns a pure `init(key) -> TrainState`.

    Args:
      model: a flax.linen module.
      optimiser: an optax transformation.
      image: `[H, W, C]` float32; only its shape counts.

    Returns:
      The function; it consumes its key.
    """

    def init(key: jax.Array) -> TrainState:
        variables = model.init(key, image[None], train=False)
        opt_state = optimiser.init(variables["params"])
        zero, never = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return TrainState(variables, opt_state, zero, never)

    return init


def make_train_step(
    model: nn.Module,
    optimiser: optax.GradientTransformation,
    *,
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    normalise: Callable[[jax.Array], jax.Array],
    num_classes: int,
    mix: mixing.Mix = mixing.none,
    label_smoothing: float = 0.0,
    devices_per_seed: int = 1,
    precision: str = "float32",
) -> Callable[..., tuple[TrainState, Sums]]:
    """Returns a pure `train_step(state, key, order, images, labels)`.

    It takes row `state.step % len(order)` of `order` `[steps, batch]` as the indices of
    its batch in `images` `[N, H, W, C]` uint8 and `labels` `[N]`, so that a loop over
    steps moves no data from the host; `key` `[]` is the epoch's, the step folds its
    number in.

    Args:
      model: a flax.linen module.
      optimiser: an optax transformation.
      augment: `(key, images)` to images.
      normalise: images to float32 images.
      num_classes: of the data set.
      mix: of `mixing`, after `normalise`.
      label_smoothing: part of each label that all classes share.
      devices_per_seed: share the batch; see `devices.on_each`.
      precision: of the model's arithmetic and its gradient's; what is kept between
        steps, statistics of the batch and the loss are float32.

    Returns:
      The function; it returns the next `TrainState` and the `Sums` over the batch, from
      before the update: the loss that it descends, nan once it has diverged, and how
      often the model's answer is the main label.
    """

    def train_step(
        state: TrainState,
        key: jax.Array,
        order: jax.Array,
        images: jax.Array,
        labels: jax.Array,
    ) -> tuple[TrainState, Sums]:
        batch = order[state.step % len(order)]
        batch = devices.share_batch(batch, devices_per_seed)
        key = jax.random.fold_in(key, state.step)
        augment_key, mix_key, dropout_key = jax.random.split(key, 3)
        y = jax.nn.one_hot(labels[batch], num_classes)
        x = normalise(augment(augment_key, images[batch]))
        x, y = mix(mix_key, x, y)
        y = optax.smooth_labels(y, label_smoothing)

        def mean_loss(params: Any) -> tuple[jax.Array, tuple[Sums, Any]]:
            variables = {**state.variables, "params": _cast(params, precision)}
            with (
                nn.intercept_methods(winograd.intercept),
                nn.intercept_methods(batch_norm.intercept),
            ):
                logits, updates = model.apply(
                    variables,
                    _cast(x, precision),
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": dropout_key},
                )
            sums = _mixed_sums(_cast(logits, "float32"), y)
            return sums.loss / len(y), (sums, updates)

        params = state.variables["params"]
        grads, (sums, updates) = jax.grad(mean_loss, has_aux=True)(params)
        updated, opt_state = optimiser.update(grads, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, updated), **updates}
        diverged = state.diverged | ~_finite((sums.loss, grads))
        variables, opt_state = jax.tree.map(
            lambda new, old: jnp.where(diverged, old, new),
            (variables, opt_state),
            (state.variables, state.opt_state),
        )
        sums = Sums(jnp.where(diverged, jnp.nan, sums.loss), sums.correct)
        return TrainState(variables, opt_state, state.step + 1, diverged), sums

    return train_step


def make_evaluate(
    model: nn.Module,
    *,
    normalise: Callable[[jax.Array], jax.Array],
    devices_per_seed: int = 1,
) -> Callable[[Any, jax.Array, jax.Array], Sums]:
    """Returns a pure `evaluate(variables, images, labels) -> Sums`.

    Args:
      model: a flax.linen module.
      normalise: images to float32 images.
      devices_per_seed: share the batch; see `devices.on_each`.

    Returns:
      The function; images with label -1 only fill the batch and do not count.
    """

    def evaluate(variables: Any, images: jax.Array, labels: jax.Array) -> Sums:
        images = devices.share_batch(images, devices_per_seed)
        return _sums(model.apply(variables, normalise(images), train=False), labels)

    return evaluate


def _finite(tree: Any) -> jax.Array:
    parts = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(parts).all()


def _cast(tree: Any, precision: str) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(precision), tree)


def _mixed_sums(logits: jax.Array, targets: jax.Array) -> Sums:
    loss = optax.softmax_cross_entropy(logits, targets)
    correct = logits.argmax(axis=-1) == targets.argmax(axis=-1)
    return Sums(jnp.sum(loss), jnp.sum(correct))


def _sums(logits: Any, labels: jax.Array) -> Sums:
    counts = labels >= 0
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = logits.argmax(axis=-1) == labels
    return Sums(jnp.sum(loss, where=counts), jnp.sum(correct, where=counts))
