"""Many seeds: lifts the functions of one seed, and runs a group of seeds for an epoch.

Every random number of a seed comes from `(base_seed, seed, epoch, step)` by `fold_in`,
so a seed's result does not depend on which others are trained, or in which order.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from train import (
    architectures,
    augment,
    configs,
    data,
    devices,
    epoch,
    grouping,
    memory,
    mixing,
    optimisers,
    step,
)
from train.configs import Config


def lift(
    fn: Callable,
    strategy: str,
    in_axes: Sequence[int | None],
    devices_per_seed: int = 1,
) -> Callable:
    """Lifts a function of one seed to arguments that are stacked over seeds.

    Devices share the seeds.

    Args:
      fn: any function of arrays or pytrees.
      strategy: `vmap`, or `loop` for a program with one copy of `fn` for each seed.
      in_axes: for each argument 0 if it is stacked, None if all seeds share it.
      devices_per_seed: see `devices.on_each`.

    Returns:
      A function whose results are stacked along axis 0.
    """
    if strategy == "vmap":
        vmapped = jax.vmap(fn, tuple(in_axes))
        return devices.on_each(vmapped, in_axes, devices_per_seed)

    def looped(*args: Any) -> Any:
        stacked = [arg for arg, axis in zip(args, in_axes, strict=True) if axis == 0]
        results = []
        for i in range(len(jax.tree.leaves(stacked)[0])):
            at = functools.partial(jax.tree.map, lambda leaf, i=i: leaf[i])
            pairs = zip(args, in_axes, strict=True)
            results.append(fn(*(at(arg) if axis == 0 else arg for arg, axis in pairs)))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return devices.on_each(looped, in_axes, devices_per_seed)


def jit_once(fn: Callable) -> Callable:
    """Compiles a function that runs once: on a CPU in a hurry, without optimisation.

    Not for the gradient of a maximum: then XLA computes its operand twice, differently.

    Args:
      fn: any function that JAX can trace.

    Returns:
      The jitted function.
    """
    if jax.default_backend() != "cpu":  # other compilers do not know the option
        return jax.jit(fn)
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": 0})


def seed_keys(config: Config, seeds: Sequence[int]) -> jax.Array:
    """Returns one key for each seed, from the config's base seed.

    Args:
      config: has the base seed.
      seeds: the seeds' numbers.

    Returns:
      Keys `[S]`.
    """
    base = jax.random.key(config.base_seed)
    return jax.vmap(functools.partial(jax.random.fold_in, base))(jnp.array(seeds))


Adapt = Callable[[optax.GradientTransformation], optax.GradientTransformation]


class Functions(NamedTuple):
    """What a training is made of; `[S]` marks a leading axis of seeds in every leaf.

    Attributes:
      init: `keys [S] -> TrainState [S]`.
      train_epoch: `(TrainState [S], keys [S], epoch) -> (TrainState [S], loss and
        accuracy [S, 2])`, the means over the epoch; it reuses the state's memory.
      validate: `variables [S] -> [S, 2]`, likewise, on the held-out training images.
      test: `variables [S] -> [S, 2]` on the test images.
      images_per_epoch: that a seed is trained on.
      memory: `seeds -> int`, the bytes that so many need; see `memory.needed`.
    """

    init: Callable[[jax.Array], step.TrainState]
    train_epoch: Callable[..., tuple[step.TrainState, np.ndarray]]
    validate: Callable[[Any], np.ndarray]
    test: Callable[[Any], np.ndarray]
    images_per_epoch: int
    memory: Callable[[int], int]


def make_functions(
    config: Config,
    dataset: data.Dataset,
    *,
    model: nn.Module | None = None,
    adapt: Adapt = lambda optimiser: optimiser,
) -> Functions:
    """Builds the functions that train and evaluate a group of seeds.

    Args:
      config: the hyper-parameters.
      dataset: it is moved to the device, as uint8.
      model: by default the config's.
      adapt: changes the config's optimiser, such as to leave some parameters alone.

    Returns:
      `Functions`; each compiles when it is first called.

    Raises:
      UserError: the validation fraction leaves too few images for a batch, or none to
        validate with; or the shift moves images out of sight.
    """
    rest, held_out = data.split(dataset.train_labels, config.validation_fraction)
    if len(rest) < config.batch_size:
        raise configs.UserError(
            f"train: the {len(rest)} training images of {dataset.name} do not fill a "
            f"batch of {config.batch_size}; choose a smaller --batch-size."
        )
    if config.shift >= min(dataset.image_shape[:2]):
        raise configs.UserError(
            f"train: shift is {config.shift}, the images of {dataset.name} are "
            f"{dataset.image_shape[0]}x{dataset.image_shape[1]}; choose a smaller one."
        )
    strategy, per_seed = grouping.resolve(config.strategy), config.devices_per_seed
    if config.batch_size % per_seed:
        raise configs.UserError(
            f"train: devices_per_seed is {per_seed}, which does not divide the batch "
            f"of {config.batch_size}."
        )
    model = model or architectures.make_model(config, dataset.num_classes)
    steps = len(rest) // config.batch_size
    optimiser = adapt(optimisers.make_optimiser(config, steps))
    normalise = functools.partial(data.normalise, dataset)
    image = normalise(dataset.train_images[0])
    evaluate = step.make_evaluate(model, normalise=normalise, devices_per_seed=per_seed)
    options = devices.compiler_options()
    evaluate = lift(evaluate, strategy, (0, None, None), per_seed)
    evaluate = jax.jit(evaluate, compiler_options=options)
    train_step = step.make_train_step(
        model,
        optimiser,
        augment=functools.partial(
            augment.augment,
            flip=config.flip,
            shift=config.shift,
            fill=np.round(dataset.mean * 255),
        ),
        normalise=normalise,
        num_classes=dataset.num_classes,
        mix=mixing.make_mix(mixup_alpha=config.mixup, cutmix_alpha=config.cutmix),
        label_smoothing=config.label_smoothing,
        devices_per_seed=per_seed,
        precision=config.precision,
    )
    train_step = lift(train_step, strategy, (0, 0, 0, None, None), per_seed)
    train_step = jax.jit(train_step, donate_argnums=0, compiler_options=options)
    init = lift(step.make_init(model, optimiser, image), strategy, (0,))
    on_all = functools.partial(epoch.make_evaluate, evaluate, devices_per_seed=per_seed)
    return Functions(
        init=jit_once(init),
        train_epoch=epoch.make_train_epoch(
            train_step,
            dataset,
            rest,
            config.batch_size,
            devices_per_seed=per_seed,
            # XLA's CPU convolutions are slow inside a loop of its own.
            scan=jax.default_backend() != "cpu",
        ),
        validate=on_all(dataset.train_images[held_out], dataset.train_labels[held_out]),
        test=on_all(dataset.test_images, dataset.test_labels),
        images_per_epoch=steps * config.batch_size,
        memory=functools.partial(_memory, config, init, train_step, dataset),
    )


def _memory(
    config: Config, init: Callable, train_step: Any, dataset: data.Dataset, seeds: int
) -> int:
    keys = seed_keys(config, range(seeds))
    state = jax.eval_shape(init, keys)
    order = jax.ShapeDtypeStruct((seeds, 1, config.batch_size), jnp.int32)
    images, labels = dataset.train_images, dataset.train_labels
    return memory.needed(train_step, state, keys, order, images, labels)
