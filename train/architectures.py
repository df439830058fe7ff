"""The models that a config names."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from symjax_lib import models
from train.configs import Config, UserError

_MYRTLE = models.MyrtleCNN

MODELS: dict[str, Callable[..., nn.Module]] = {
    "myrtle_cnn": _MYRTLE,
    "myrtle_cnn_without_norm": functools.partial(_MYRTLE, norm=False),
    "myrtle_cnn_constant_width": functools.partial(_MYRTLE, constant_width=True),
    "resnet20": models.ResNet20,
    "resnet18": models.ResNet18,
    "resnet50": models.ResNet50,
    "resnet50_no_residual_relu": functools.partial(
        models.ResNet50, residual_activation=False
    ),
    "cct": models.CCT,
    "mlp": lambda width, **options: models.MLP(features=(width, width), **options),
}


def check(config: Config, num_classes: int, image_shape: tuple[int, ...]) -> None:
    """Refuses images that a model does not take.

    Args:
      config: names the model.
      num_classes: of the data set.
      image_shape: `(H, W, C)`.

    Raises:
      UserError: says what the model takes.
    """
    model = make_model(config, num_classes)
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    try:
        jax.eval_shape(model.init, jax.random.key(0), image)
    except ValueError as error:
        raise UserError(
            f"train: {config.model} does not take images of {config.dataset}, "
            f"{image_shape}: {error}"
        ) from error


def make_model(config: Config, num_classes: int) -> nn.Module:
    """Returns the untrained model of a config.

    Args:
      config: names the architecture, its width and its activation.
      num_classes: of the data set.

    Returns:
      A flax.linen module.

    Raises:
      UserError: the architecture is unknown.
    """
    if config.model not in MODELS:
        raise UserError(
            f"make_model: no model {config.model!r}; there are {', '.join(MODELS)}."
        )
    make = functools.partial(
        MODELS[config.model], width=config.width, num_classes=num_classes
    )
    if slope := config.negative_slope:
        return make(activation=functools.partial(nn.leaky_relu, negative_slope=slope))
    return make()
