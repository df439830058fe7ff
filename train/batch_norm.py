"""BatchNorm whose gradient reads its values twice, for training on a CPU.

JAX derives the gradient step by step, through both moments; XLA makes of that many
passes over memory, which on a CPU take longer than the arithmetic.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@jax.custom_vjp
def batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""Normalises every channel by the moments of the batch.

    :math:`y = s \, (x - \mu) / \sqrt{v + \epsilon} + b`, with the moments that
    `flax.linen.BatchNorm` takes by default: :math:`v = \overline{x^2} - \mu^2`.

    Args:
      x: `[N, H, W, C]`.
      scale: `[C]`.
      bias: `[C]`.
      epsilon: is added to the variance; it has no gradient.

    Returns:
      `y` of the shape of `x`, mean and variance `[C]`, which have no gradient.

    Example:
      >>> x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
      >>> y, mean, variance = batch_norm(x, jnp.ones(1), jnp.zeros(1), 0.0)
      >>> y.ravel().tolist(), mean.tolist(), variance.tolist()
      ([-1.0, 1.0], [2.0], [1.0])
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[Any, Any]:
    mean = x.mean(axis=(0, 1, 2))
    variance = jnp.maximum((x * x).mean(axis=(0, 1, 2)) - mean * mean, 0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    y = (x - mean) * (inverse * scale) + bias
    return (y, mean, variance), (x, scale, mean, inverse)


def _backward(
    residuals: Any, gradients: Any
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    x, scale, mean, inverse = residuals
    dy = gradients[0]
    count = x.size // x.shape[-1]
    # One pass for two sums, another for a combination of dy and x.
    dbias = dy.sum(axis=(0, 1, 2))
    dscale = ((dy * x).sum(axis=(0, 1, 2)) - mean * dbias) * inverse
    along = -scale * inverse**2 * dscale / count
    constant = -scale * inverse * dbias / count - along * mean
    return dy * (scale * inverse) + x * along + constant, dscale, dbias, None


batch_norm.defvjp(_forward, _backward)


def intercept(
    call: Callable, args: tuple, kwargs: dict[str, Any], context: Any
) -> jax.Array:
    """Computes the BatchNorms of a model by `batch_norm`, on a CPU in training.

    For `flax.linen.intercept_methods`, around `apply` with mutable `batch_stats`.
    """
    layer = context.module
    if context.method_name != "__call__" or not _fits(layer, args, kwargs):
        return call(*args, **kwargs)
    scale, bias = (layer.get_variable("params", name) for name in ("scale", "bias"))
    y, *moments = batch_norm(args[0], scale, bias, layer.epsilon)
    for name, moment in zip(("mean", "var"), moments, strict=True):
        old = layer.get_variable("batch_stats", name)
        new = layer.momentum * old + (1 - layer.momentum) * moment
        layer.put_variable("batch_stats", name, new)
    return y


def _fits(layer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> bool:
    if type(layer) is not nn.BatchNorm or jax.default_backend() != "cpu":
        return False
    if layer.use_running_average is not False or layer.axis != -1 or kwargs:
        return False
    if not (layer.use_scale and layer.use_bias and layer.use_fast_variance):
        return False
    if layer.axis_name is not None or layer.dtype is not None or len(args) != 1:
        return False
    x = args[0]
    return x.ndim == 4 and x.dtype == layer.param_dtype == jnp.float32
