r"""Elements of the groups that act on channels, and one set of verbs for them all.

An element is an immutable pytree: `Permutation`, `Monomial` (the paper's :math:`PD`)
or `General` (any invertible matrix); a dictionary of elements is one of their product.
The verbs are `identity`, `sample`, `compose`, `inverse`, `act` and `as_matrix`.
Everything is written for one element; put `vmap` at the edge for many.

Conventions:
  `as_matrix(compose(g, h)) == as_matrix(g) @ as_matrix(h)`;
  `act(g, x, axis)` is `as_matrix(g) @ x` along `axis`, computed by gather and multiply.

Example:
  >>> g = Monomial(Permutation(jnp.array([1, 0])), jnp.array([2.0, 3.0]))
  >>> as_matrix(g).tolist()
  [[0.0, 3.0], [2.0, 0.0]]
  >>> act(g, jnp.array([1.0, 10.0])).tolist()
  [30.0, 2.0]
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

KINDS = (
    "general_linear",
    "orthogonal",
    "permutation",
    "positive_monomial",
    "signed_permutation",
    "monomial",
)


@struct.dataclass
class Permutation:
    """The matrix `P` with `(P x)_i = x[indices[i]]`; `indices` `[n]`, integers."""

    indices: jax.Array


@struct.dataclass
class Monomial:
    """The matrix `P @ diag(scale)`, the paper's `PD`; `scale` `[n]`, nowhere zero."""

    permutation: Permutation
    scale: jax.Array


@struct.dataclass
class General:
    """Any invertible matrix; `matrix` `[n, n]`."""

    matrix: jax.Array


Element = Permutation | Monomial | General


# The type follows the kind, which a signature can only say with an overload for each.
def identity(kind: str, n: int) -> Any:
    """Returns the neutral element of a group.

    Args:
      kind: one of `KINDS`.
      n: number of channels.

    Returns:
      An element of the type that `sample` returns for this kind.

    Raises:
      ValueError: the kind is unknown.

    Example:
      >>> identity("monomial", 2).scale.tolist()
      [1.0, 1.0]
    """
    _check_kind("identity", kind)
    if kind in ("general_linear", "orthogonal"):
        return General(jnp.eye(n))
    permutation = Permutation(jnp.arange(n))
    return permutation if kind == "permutation" else Monomial(permutation, jnp.ones(n))


def sample(key: jax.Array, kind: str, n: int) -> Any:
    r"""Draws a random element of a group.

    Permutations are uniform, signs are fair coins, orthogonal matrices follow the Haar
    measure. Positive scales are :math:`e^{z - 1/2}` with :math:`z \sim N(0, 1)`, of
    mean 1 as in the paper's rotation experiment. A general matrix is :math:`Q_1 \,
    \mathrm{diag}(s) \, Q_2` with such scales :math:`s`, so it is never near singular.

    Args:
      key: consumed.
      kind: one of `KINDS`.
      n: number of channels.

    Returns:
      A `Permutation`, `Monomial` or `General`.

    Raises:
      ValueError: the kind is unknown.

    Example:
      >>> g = sample(jax.random.key(0), "signed_permutation", 3)
      >>> sorted(g.permutation.indices.tolist()), jnp.abs(g.scale).tolist()
      ([0, 1, 2], [1.0, 1.0, 1.0])
    """
    _check_kind("sample", kind)
    first, second, third = jax.random.split(key, 3)
    if kind == "orthogonal":
        return General(_haar(first, n))
    scale = jnp.exp(jax.random.normal(second, (n,)) - 0.5)
    if kind == "general_linear":
        return General((_haar(first, n) * scale) @ _haar(third, n))
    permutation = Permutation(jax.random.permutation(first, n))
    if kind == "permutation":
        return permutation
    if kind == "positive_monomial":
        return Monomial(permutation, scale)
    sign = jax.random.rademacher(third, (n,), dtype=scale.dtype)
    return Monomial(permutation, sign if kind == "signed_permutation" else sign * scale)


def _haar(key: jax.Array, n: int) -> jax.Array:
    q, r = jnp.linalg.qr(jax.random.normal(key, (n, n)))
    # Without the signs of R, QR does not give the uniform distribution.
    return q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0)


def _check_kind(caller: str, kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"{caller}: no group {kind!r}; the kinds are {KINDS}.")


@functools.singledispatch
def width(g: Any) -> int:
    """Returns the number of channels that an element acts on."""
    raise TypeError(f"groups: {type(g).__name__} is not a group element.")


@functools.singledispatch
def as_matrix(g: Any) -> jax.Array:
    """Returns the dense matrix `[n, n]` of an element: for tests and for people.

    Example:
      >>> as_matrix(Permutation(jnp.array([1, 0]))).tolist()
      [[0.0, 1.0], [1.0, 0.0]]
    """
    raise TypeError(f"as_matrix: {type(g).__name__} is not a group element.")


@functools.singledispatch
def inverse(g: Any) -> Any:
    """Returns the element that composes with `g` to the identity, of the same type.

    Example:
      >>> inverse(Permutation(jnp.array([1, 2, 0]))).indices.tolist()
      [2, 0, 1]
    """
    raise TypeError(f"inverse: {type(g).__name__} is not a group element.")


def compose(g: Any, h: Any) -> Any:
    """Returns the product, `g` after `h`: its matrix is `as_matrix(g) @ as_matrix(h)`.

    Args:
      g: the element that acts last.
      h: the element that acts first, on as many channels; both may be dictionaries of
        elements under the same names, which multiply name by name.

    Returns:
      An element of the larger of the two types: `Permutation`, `Monomial`, `General`.

    Raises:
      ValueError: the elements act on different widths, or the names differ.

    Example:
      >>> swap = Permutation(jnp.array([1, 0]))
      >>> double = Monomial(identity("permutation", 2), jnp.array([2.0, 1.0]))
      >>> compose(swap, double).scale.tolist(), compose(double, swap).scale.tolist()
      ([2.0, 1.0], [1.0, 2.0])
    """
    if isinstance(g, Mapping) and isinstance(h, Mapping):
        if g.keys() != h.keys():
            raise ValueError(f"compose: the names differ, {list(g)} and {list(h)}.")
        return {name: compose(g[name], h[name]) for name in g}
    if width(g) != width(h):
        raise ValueError(
            f"compose: the left element acts on {width(g)} channels and the right one "
            f"on {width(h)}; both must act on one width."
        )
    if type(g) is not type(h):
        widest = max((g, h), key=lambda element: _ORDER.index(type(element)))
        g, h = _promote(g, type(widest)), _promote(h, type(widest))
    return multiply(g, h)


@functools.singledispatch
def multiply(g: Any, h: Any) -> Any:
    """Returns the product of two elements of one type and width; see `compose`."""
    raise TypeError(f"compose: {type(g).__name__} is not a group element.")


def act(g: Any, x: ArrayLike, axis: int = -1) -> jax.Array:
    """Applies an element along one axis of an array: `as_matrix(g) @ x` on that axis.

    Args:
      g: an element on `n` channels.
      x: any shape with `n` entries along `axis`.
      axis: the axis of the channels.

    Returns:
      An array of the shape of `x`.

    Raises:
      ValueError: the axis has another size than the element.

    Example:
      >>> act(Permutation(jnp.array([1, 2, 0])), jnp.array([10, 20, 30])).tolist()
      [20, 30, 10]
    """
    x = jnp.asarray(x)
    if not -x.ndim <= axis < x.ndim or x.shape[axis] != width(g):
        raise ValueError(
            f"act: the element acts on {width(g)} channels, x has shape {x.shape}; "
            f"axis {axis} must be an axis of that size."
        )
    return _act(g, x, axis)


@functools.singledispatch
def _act(g: Any, x: jax.Array, axis: int) -> jax.Array:
    raise TypeError(f"act: {type(g).__name__} is not a group element.")


_ORDER = (Permutation, Monomial, General)


def _promote(g: Any, kind: type) -> Any:
    """Returns an element as one of a type that contains its own."""
    if isinstance(g, kind):
        return g
    return General(as_matrix(g)) if kind is General else as_monomial(g)


def _size(kind: str, array: jax.Array, ndim: int) -> int:
    if jnp.ndim(array) != ndim:
        raise ValueError(
            f"groups: a {kind} has an array of {ndim} axes, got shape "
            f"{jnp.shape(array)}; put vmap around for a stack of elements."
        )
    return array.shape[-1]


def as_monomial(g: Permutation | Monomial | General) -> Monomial | General:
    """Returns a permutation as a monomial with scales 1; others as they are."""
    return Monomial(g, jnp.ones(width(g))) if isinstance(g, Permutation) else g


@width.register
def _(g: Permutation) -> int:
    return _size("Permutation", g.indices, 1)


@as_matrix.register
def _(g: Permutation) -> jax.Array:
    return jnp.eye(width(g))[g.indices]


@inverse.register
def _(g: Permutation) -> Permutation:
    return Permutation(jnp.argsort(g.indices))


@multiply.register
def _(g: Permutation, h: Permutation) -> Permutation:
    return Permutation(h.indices[g.indices])


@_act.register
def _(g: Permutation, x: jax.Array, axis: int) -> jax.Array:
    return jnp.take(x, g.indices, axis=axis)


@width.register
def _(g: Monomial) -> int:
    return _size("Monomial", g.scale, 1)


@as_matrix.register
def _(g: Monomial) -> jax.Array:
    return as_matrix(g.permutation).astype(g.scale.dtype) * g.scale


@inverse.register
def _(g: Monomial) -> Monomial:
    return Monomial(inverse(g.permutation), act(g.permutation, 1 / g.scale))


@multiply.register
def _(g: Monomial, h: Monomial) -> Monomial:
    # P D Q E = (P Q) (Q^-1 D Q) E.
    scale = act(inverse(h.permutation), g.scale) * h.scale
    return Monomial(compose(g.permutation, h.permutation), scale)


@_act.register
def _(g: Monomial, x: jax.Array, axis: int) -> jax.Array:
    scale = jnp.expand_dims(g.scale, [i for i in range(x.ndim) if i != axis % x.ndim])
    return jnp.take(x * scale, g.permutation.indices, axis=axis)


@width.register
def _(g: General) -> int:
    return _size("General", g.matrix, 2)


@as_matrix.register
def _(g: General) -> jax.Array:
    return g.matrix


@inverse.register
def _(g: General) -> General:
    return General(jnp.linalg.inv(g.matrix))


@multiply.register
def _(g: General, h: General) -> General:
    return General(g.matrix @ h.matrix)


@_act.register
def _(g: General, x: jax.Array, axis: int) -> jax.Array:
    return jnp.moveaxis(jnp.moveaxis(x, axis, -1) @ g.matrix.T, -1, axis)


@inverse.register
def _(g: Mapping) -> dict:
    return {name: inverse(element) for name, element in g.items()}
