"""One step of training and one of evaluation, both pure and for one seed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn, struct

from train import batch_norm, winograd
from train.configs import Config


@struct.dataclass
class TrainState:
    """What a step reads and writes.

    Attributes:
      variables: `{"params", "batch_stats"}`, the latter if the model has any.
      opt_state: of the optimiser, on `params`.
      step: `[]` int32, steps done since the start of training.
    """

    variables: Any
    opt_state: optax.OptState
    step: jax.Array


class Sums(NamedTuple):
    """Loss and number of correct answers, both `[]`, summed over images."""

    loss: jax.Array
    correct: jax.Array


def learning_rate(config: Config, steps_per_epoch: int) -> optax.Schedule:
    """Returns the schedule: halved after every `config.halve_every` epochs.

    Args:
      config: has the first learning rate and the period in epochs.
      steps_per_epoch: steps in an epoch.

    Returns:
      A function of the number of steps done.

    Example:
      >>> rate = learning_rate(Config(learning_rate=1e-3, halve_every=12), 100)
      >>> [round(float(rate(step)), 6) for step in (0, 1199, 1200, 2400)]
      [0.001, 0.001, 0.0005, 0.00025]
    """
    period = config.halve_every * steps_per_epoch
    return optax.exponential_decay(config.learning_rate, period, 0.5, staircase=True)


def make_optimiser(
    config: Config, steps_per_epoch: int
) -> optax.GradientTransformation:
    r"""Returns Adam with coupled weight decay, as PyTorch's `Adam(weight_decay=...)`.

    The gradient :math:`g + \lambda w` goes into both moments; `optax.adamw` instead
    takes :math:`\lambda w` off the weights. Only kernels decay.

    Args:
      config: has learning rate, its halving and the weight decay.
      steps_per_epoch: steps in an epoch.

    Returns:
      An optax transformation.
    """
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
        optax.adam(learning_rate(config, steps_per_epoch)),
    )


def _is_kernel(params: optax.Params) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1] == jax.tree_util.DictKey("kernel"), params
    )


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
        return TrainState(variables, opt_state, jnp.zeros((), jnp.int32))

    return init


def make_train_step(
    model: nn.Module,
    optimiser: optax.GradientTransformation,
    *,
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    normalise: Callable[[jax.Array], jax.Array],
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

    Returns:
      The function; it returns the next `TrainState` and the `Sums` over the batch,
      from before the update.
    """

    def train_step(
        state: TrainState,
        key: jax.Array,
        order: jax.Array,
        images: jax.Array,
        labels: jax.Array,
    ) -> tuple[TrainState, Sums]:
        batch = order[state.step % len(order)]
        y = labels[batch]
        x = normalise(augment(jax.random.fold_in(key, state.step), images[batch]))

        def mean_loss(params: Any) -> tuple[jax.Array, tuple[Sums, Any]]:
            variables = {**state.variables, "params": params}
            with (
                nn.intercept_methods(winograd.intercept),
                nn.intercept_methods(batch_norm.intercept),
            ):
                logits, updates = model.apply(
                    variables, x, train=True, mutable=["batch_stats"]
                )
            sums = _sums(logits, y)
            return sums.loss / len(y), (sums, updates)

        params = state.variables["params"]
        grads, (sums, updates) = jax.grad(mean_loss, has_aux=True)(params)
        updated, opt_state = optimiser.update(grads, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, updated), **updates}
        return TrainState(variables, opt_state, state.step + 1), sums

    return train_step


def make_evaluate(
    model: nn.Module, *, normalise: Callable[[jax.Array], jax.Array]
) -> Callable[[Any, jax.Array, jax.Array], Sums]:
    """Returns a pure `evaluate(variables, images, labels) -> Sums`.

    Args:
      model: a flax.linen module.
      normalise: images to float32 images.

    Returns:
      The function; images with label -1 only fill the batch and do not count.
    """

    def evaluate(variables: Any, images: jax.Array, labels: jax.Array) -> Sums:
        return _sums(model.apply(variables, normalise(images), train=False), labels)

    return evaluate


def _sums(logits: Any, labels: jax.Array) -> Sums:
    counts = labels >= 0
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = logits.argmax(axis=-1) == labels
    return Sums(jnp.sum(loss, where=counts), jnp.sum(correct, where=counts))
