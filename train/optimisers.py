"""Optimisers and their learning rates, as a config names them."""

from typing import Any

import jax
import optax

from train.configs import Config

MOMENTUM = 0.9


def learning_rate(config: Config, steps_per_epoch: int) -> optax.Schedule:
    """Returns the schedule of the learning rate.

    It rises from 0 for `config.warm_up` epochs, then falls as `config.schedule` says:
    halved after every `config.halve_every` epochs, or along half a cosine or a line to
    0 at the end of training.

    Args:
      config: has the highest learning rate, its schedule and the number of epochs.
      steps_per_epoch: steps in an epoch.

    Returns:
      A function of the number of steps done.

    Example:
      >>> rate = learning_rate(Config(learning_rate=1e-3, halve_every=12), 100)
      >>> [round(float(rate(step)), 6) for step in (0, 1199, 1200, 2400)]
      [0.001, 0.001, 0.0005, 0.00025]
      >>> rate = learning_rate(Config(schedule="linear", warm_up=1, epochs=3), 10)
      >>> [round(float(rate(step)), 6) for step in (0, 5, 10, 20, 30)]
      [0.0, 0.0005, 0.001, 0.0005, 0.0]
    """
    peak = config.learning_rate
    up = config.warm_up * steps_per_epoch
    down = max(config.epochs * steps_per_epoch - up, 1)
    period = config.halve_every * steps_per_epoch
    fall = {
        "halving": optax.exponential_decay(peak, period, 0.5, staircase=True),
        "cosine": optax.cosine_decay_schedule(peak, down),
        "linear": optax.linear_schedule(peak, 0.0, down),
    }[config.schedule]
    if not up:
        return fall
    return optax.join_schedules([optax.linear_schedule(0.0, peak, up), fall], [up])


def make_optimiser(
    config: Config, steps_per_epoch: int
) -> optax.GradientTransformation:
    r"""Returns the optimiser; only kernels decay.

    For Adam and SGD the gradient is :math:`g + \lambda w`, as in PyTorch; AdamW takes
    :math:`\lambda w` off the weights instead, times the learning rate.

    Args:
      config: has its name, learning rate and weight decay.
      steps_per_epoch: steps in an epoch.

    Returns:
      An optax transformation.
    """
    rate, decay = learning_rate(config, steps_per_epoch), config.weight_decay
    if config.optimiser == "adamw":
        return optax.adamw(rate, weight_decay=decay, mask=_is_kernel)
    coupled = optax.add_decayed_weights(decay, mask=_is_kernel)
    if config.optimiser == "sgd":
        return optax.chain(coupled, optax.sgd(rate, MOMENTUM, nesterov=True))
    return optax.chain(coupled, optax.adam(rate))


def _is_kernel(params: optax.Params) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1] == jax.tree_util.DictKey("kernel"), params
    )
