"""3x3 convolutions with few multiplications, for training on a CPU.

XLA's convolutions reach the speed of a matrix product on a CPU and no more, their
kernels' gradients less. Winograd's F(4x4, 3x3) needs a quarter of the multiplications:
every tile of 6x6 pixels becomes 36 numbers per channel, which 36 matrix products take
to those of a tile of 4x4 results. Both gradients have the same form.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# y = A ((G k G') * (B d B')) A' for a tile d of 6x6, a kernel k of 3x3 and y of 4x4.
# Polynomials are multiplied by their values at 0, 1, -1, 2, -2 and infinity.
_A = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)
_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]])
_G = _G / 24


@jax.custom_vjp
def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Convolves with a kernel of 3x3 and a margin of one pixel of zeros.

    :math:`y_{hwo} = \sum_{ijc} k_{ijco} \, x_{h+i-1, w+j-1, c}`. In float32 the error
    is about 1e-6 of the largest sum of absolute terms, ten times that of `lax.conv`.

    Args:
      x: `[N, H, W, C]`, sides a multiple of 4.
      kernel: `[3, 3, C, O]`.

    Returns:
      `[N, H, W, O]`.

    Example:
      >>> kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(2.0)
      >>> y = conv3x3(jnp.ones((1, 4, 4, 1)), kernel)
      >>> y.shape, round(float(y.min()), 4), round(float(y.max()), 4)
      ((1, 4, 4, 1), 2.0, 2.0)

    References:
      Lavin and Gray, `Fast Algorithms for Convolutional Neural Networks
      <https://arxiv.org/abs/1509.09308>`_, 2016.
    """
    return _forward(x, kernel)[0]


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    tiles = _tiles(x)
    products = jnp.einsum("mtc,mco->mto", tiles, _kernels(kernel))
    return _results(products, x.shape), (tiles, kernel)


def _backward(residuals: Any, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    tiles, kernel = residuals
    rotated = _kernels(kernel[::-1, ::-1])
    dx = _results(jnp.einsum("mto,mco->mtc", _tiles(dy), rotated), dy.shape)
    return dx, _kernel_gradient(jnp.einsum("mtc,mto->mco", tiles, _spread(dy)))


conv3x3.defvjp(_forward, _backward)


def _tiles(x: jax.Array) -> jax.Array:
    """`[N, H, W, C]` to `[36, tiles, C]`: B d B' of overlapping tiles of 6x6."""
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = _combine(_B, lambda i: x[:, i : height - 3 + i : 4])
    x = _combine(_B, lambda j: x[:, :, :, j : width - 3 + j : 4])
    return x.reshape(36, -1, x.shape[-1])


def _spread(dy: jax.Array) -> jax.Array:
    """`[N, H, W, O]` to `[36, tiles, O]`: A' dy A of tiles of 4x4."""
    dy = _combine(_A.T, lambda i: dy[:, i::4])
    dy = _combine(_A.T, lambda j: dy[:, :, :, j::4])
    return dy.reshape(36, -1, dy.shape[-1])


def _kernels(kernel: jax.Array) -> jax.Array:
    """`[3, 3, C, O]` to `[36, C, O]`: G k G'."""
    rows = _combine(_G, lambda i: kernel[i])
    return _combine(_G, lambda j: rows[:, j]).reshape(36, *kernel.shape[2:])


def _kernel_gradient(products: jax.Array) -> jax.Array:
    """`[36, C, O]` to `[3, 3, C, O]`: G' m G."""
    x = products.reshape(6, 6, *products.shape[1:])
    x = _combine(_G.T, lambda j: x[j])
    return _combine(_G.T, lambda i: x[:, i])


def _results(products: jax.Array, shape: Sequence[int]) -> jax.Array:
    """`[36, tiles, O]` to `[N, H, W, O]`: A m A'."""
    n, height, width, _ = shape
    x = products.reshape(6, 6, n, height // 4, width // 4, -1)
    x = _combine(_A, lambda j: x[j], axis=4)
    x = _combine(_A, lambda i: x[i], axis=2)
    return x.reshape(n, height, width, -1)


def _combine(
    matrix: np.ndarray, part: Callable[[int], jax.Array], axis: int = 0
) -> jax.Array:
    """Stacks the combinations of parts whose coefficients are the matrix's rows."""
    parts = [part(i) for i in range(matrix.shape[1])]
    sums = []
    for row in matrix.tolist():
        terms = [c * p for c, p in zip(row, parts, strict=True) if c]
        sums.append(sum(terms[1:], terms[0]))
    # Else XLA would compute these sums anew wherever they are read.
    return jax.lax.optimization_barrier(jnp.stack(sums, axis))


def intercept(
    call: Callable, args: tuple, kwargs: dict[str, Any], context: Any
) -> jax.Array:
    """Computes the convolutions of a model by `conv3x3` where that is faster.

    For `flax.linen.intercept_methods`, around `apply`, on a CPU. All other layers, and
    convolutions of another kind, are computed as they are.
    """
    layer = context.module
    if context.method_name != "__call__" or not _is_faster(layer, args):
        return call(*args, **kwargs)
    y = conv3x3(args[0], layer.get_variable("params", "kernel"))
    return y + layer.get_variable("params", "bias") if layer.use_bias else y


def _is_faster(layer: nn.Module, args: tuple) -> bool:
    if type(layer) is not nn.Conv or jax.default_backend() != "cpu":
        return False
    if layer.kernel_size != (3, 3) or layer.padding not in (1, (1, 1), "SAME"):
        return False
    one = (None, 1, (1, 1))
    if layer.strides not in one or layer.input_dilation not in one:
        return False
    if layer.kernel_dilation not in one or layer.feature_group_count != 1:
        return False
    asked = (layer.mask, layer.dtype, layer.precision, layer.conv_general_dilated)
    if any(option is not None for option in asked) or len(args) != 1:
        return False
    x = args[0]
    if x.ndim != 4 or not x.dtype == layer.param_dtype == jnp.float32:
        return False
    height, width, channels = x.shape[1:]
    # Measured: for few channels or results, or large maps, the transformations take too
    # long.
    enough = channels >= (32 if height <= 16 else 64) and layer.features >= 64
    return height % 4 == width % 4 == 0 and enough
