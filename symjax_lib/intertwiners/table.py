r"""Table 1 of the paper: intertwiner groups of common activations and their `phi`.

The intertwiner group of an activation :math:`\sigma` applied to `n` channels is

.. math:: G_{\sigma_n} = \{A \in GL_n : \exists B \in GL_n, \;
          \sigma_n \circ A = B \circ \sigma_n\},

and :math:`\phi_\sigma(A) = B` is a homomorphism on it, so
:math:`\sigma(A x) = \phi_\sigma(A) \, \sigma(x)`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike

from symjax_lib import groups


class Intertwiner(NamedTuple):
    r"""One activation and its intertwiner group.

    Attributes:
      sigma: the activation, elementwise.
      kind: its group, one of `groups.KINDS`.
      on_scale: what `phi` does to the diagonal: :math:`\phi(PD) = P \, \phi(D)`.
    """

    sigma: Callable[[jax.Array], jax.Array]
    kind: str
    on_scale: Callable[[jax.Array], jax.Array]

    def phi(self, g: groups.Element) -> groups.Element:
        r"""Returns :math:`\phi_\sigma(g)`, the map that `g` becomes after `sigma`.

        Args:
          g: an element of the group; any `Element` for the identity, a `Permutation`
            or a `Monomial` with scales as the kind allows otherwise. The scales are
            checked where they are known, so not under `jit`.

        Returns:
          An element of the same type.

        Raises:
          TypeError: the element's type is outside the group.
          ValueError: its scales are.

        Example:
          >>> swap = groups.Permutation(jnp.array([1, 0]))
          >>> g = groups.Monomial(swap, jnp.array([-1.0, 3.0]))
          >>> polynomial(2).phi(g).scale.tolist()
          [1.0, 9.0]
        """
        check_element(self.kind, g)
        if self.kind == "general_linear" or not isinstance(g, groups.Monomial):
            return g
        return groups.Monomial(g.permutation, self.on_scale(g.scale))


def leaky_relu(slope: float) -> Intertwiner:
    """Returns the row of LeakyReLU with a slope other than 1 and -1.

    Raises:
      ValueError: slope 1 is the identity, slope -1 the absolute value; other groups.

    Example:
      >>> leaky_relu(0.5).sigma(jnp.array([-2.0, 3.0])).tolist()
      [-1.0, 3.0]
    """
    if abs(slope) == 1:
        raise ValueError(
            f"leaky_relu: slope {slope} is the identity or the absolute value, whose "
            "groups are larger; use TABLE['identity'] or classify(jnp.abs)."
        )
    sigma = lambda x: jnp.where(x >= 0, x, slope * x)
    return Intertwiner(sigma, "positive_monomial", lambda scale: scale)


def polynomial(degree: int) -> Intertwiner:
    """Returns the row of the polynomial activation `x ** degree`, of degree at least 2.

    Raises:
      ValueError: degree 1 is the identity and degree 0 a constant.

    Example:
      >>> polynomial(2).kind, float(polynomial(2).sigma(3.0))
      ('monomial', 9.0)
    """
    if degree < 2:
        raise ValueError(f"polynomial: the degree must be at least 2, got {degree}.")
    power = lambda x: x**degree
    return Intertwiner(power, "monomial", power)


# The paper's six rows; `classify` finds the group of any other activation.
TABLE: dict[str, Intertwiner] = {
    "identity": Intertwiner(lambda x: x, "general_linear", lambda scale: scale),
    "sigmoid": Intertwiner(jax.nn.sigmoid, "permutation", lambda scale: scale),
    "relu": Intertwiner(jax.nn.relu, "positive_monomial", lambda scale: scale),
    "leaky_relu": leaky_relu(0.01),
    "gaussian_rbf": Intertwiner(
        lambda x: jnp.exp(-(x**2) / 2) / jnp.sqrt(2 * jnp.pi),
        "signed_permutation",
        jnp.abs,
    ),
    "polynomial": polynomial(3),
}


def phi(sigma: Callable[[jax.Array], jax.Array], matrix: ArrayLike) -> jax.Array:
    r"""Returns the only matrix that can follow `sigma` in place of `matrix` before it.

    .. math:: \phi_\sigma(A) = \sigma(A) \, \sigma(I_n)^{-1}

    If `A` is in the intertwiner group, then :math:`\sigma(A x) = \phi_\sigma(A)
    \sigma(x)`; for other matrices the formula has a value too, but no meaning.

    Args:
      sigma: an elementwise activation.
      matrix: `[n, n]`.

    Returns:
      `[n, n]`.

    Raises:
      ValueError: the matrix is not square, or :math:`\sigma(I_n)` is singular, which
        is so iff :math:`\sigma(1) = \sigma(0)` or :math:`\sigma(1) = -(n-1)\sigma(0)`
        (for n = 1: iff :math:`\sigma(1) = 0`).

    Example:
      >>> phi(jax.nn.relu, jnp.array([[0.0, 3.0], [2.0, 0.0]])).tolist()
      [[0.0, 3.0], [2.0, 0.0]]

    References:
      Godfrey et al. 2022, Lemma 3.1 and equation (E.8).
    """
    matrix = jnp.asarray(matrix)
    matrix = matrix.astype(jnp.result_type(matrix, float))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"phi: expected a square matrix, got shape {matrix.shape}.")
    n = matrix.shape[0]
    with jax.ensure_compile_time_eval():
        at_zero, at_one = sigma(jnp.array([0.0, 1.0], matrix.dtype)).tolist()
    gap, total = at_one - at_zero, at_one + (n - 1) * at_zero
    tiny = 10 * float(jnp.finfo(matrix.dtype).eps) * (abs(at_one) + n * abs(at_zero))
    if n == 1:  # there is no zero in I_1
        gap, total, at_zero = at_one, at_one, 0.0
    if abs(gap) <= tiny or abs(total) <= tiny:
        raise ValueError(
            f"phi: sigma(I) is singular for n = {n}, as sigma(0) = {at_zero:g} and "
            f"sigma(1) = {at_one:g}; Lemma 3.1 does not apply to this activation."
        )
    # sigma(I) = gap I + sigma(0) 1 1^T, inverted by Sherman-Morrison.
    values = sigma(matrix)
    return (values - values.sum(axis=1, keepdims=True) * at_zero / total) / gap


def check_element(kind: str, g: groups.Element) -> None:
    """Refuses an element outside the intertwiner group of an activation.

    Args:
      kind: of the group.
      g: any element; scales are checked where they are known, so not under `jit`.

    Raises:
      TypeError: the element's type is outside the group.
      ValueError: its scales are.
    """
    if kind == "general_linear" or isinstance(g, groups.Permutation):
        return
    if kind == "permutation" or not isinstance(g, groups.Monomial):
        raise TypeError(
            f"phi: this activation's group is {kind}, got {type(g).__name__}; "
            "pass an element of that group."
        )
    if isinstance(g.scale, Tracer):
        return
    inside = {
        "positive_monomial": g.scale > 0,
        "signed_permutation": jnp.abs(g.scale) == 1,
        "monomial": g.scale != 0,
    }[kind]
    if not inside.all():
        raise ValueError(
            f"phi: this activation's group is {kind}, whose scales are "
            f"{_ALLOWED[kind]}; got {g.scale[~inside][0]:g}."
        )


_ALLOWED = {
    "positive_monomial": "positive",
    "signed_permutation": "1 or -1",
    "monomial": "not zero",
}
