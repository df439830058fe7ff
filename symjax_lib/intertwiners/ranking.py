"""The activations in use, ranked by how far they are from passing scalings."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from symjax_lib.intertwiners import homogeneity, samples, table
from symjax_lib.intertwiners.classifier import classify

_JAX = """
    celu elu hard_sigmoid hard_silu hard_tanh identity leaky_relu log_sigmoid mish relu
    relu6 selu sigmoid silu soft_sign softplus sparse_plus sparse_sigmoid squareplus
    tanh
"""

# Those of `jax.nn` and `flax.linen` that are defined on all of the line, one name for
# each, with their default arguments; and the paper's.
ACTIVATIONS: dict[str, samples.Scalar] = {
    **{name: getattr(jax.nn, name) for name in _JAX.split()},
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "gaussian_rbf": table.TABLE["gaussian_rbf"].sigma,
    "square": table.polynomial(2).sigma,
    "cube": table.polynomial(3).sigma,
    "squared_relu": lambda x: jax.nn.relu(x) ** 2,
    "abs": jnp.abs,
    "sin": jnp.sin,
    "cos": jnp.cos,
}


class Rank(NamedTuple):
    """One activation's distance from passing positive scalings; prints as a row.

    Attributes:
      name: of the activation.
      kind: of its group, one of `groups.KINDS`.
      worst: the largest `relative_defect` over the scales, from 0 to 1.
      mean: of the relative defects.
    """

    name: str
    kind: str
    worst: float
    mean: float

    def __str__(self) -> str:
        return f"{self.name:<16}{self.kind:<20}{self.worst:.6f}  {self.mean:.6f}"


def ranking(
    activations: Mapping[str, samples.Scalar] | None = None,
    *,
    scales: ArrayLike = (1 / 8, 1 / 4, 1 / 2, 2, 4, 8),
) -> tuple[Rank, ...]:
    r"""Ranks activations by their worst `relative_defect`, the most homogeneous first.

    The number depends on the scales: small ones see the function near 0, where most are
    nearly affine, large ones far from it. It is 0 for the homogeneous functions, of
    whatever degree.

    Args:
      activations: by name; `ACTIVATIONS` without it.
      scales: the multipliers tried, positive.

    Returns:
      A `Rank` for each; `print(*ranking(), sep="\n")` for a table.

    Raises:
      ValueError: as in `relative_defect` and `classify`.

    Example:
      >>> some = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": jax.nn.gelu}
      >>> print(*ranking(some), sep="\n")
      relu            positive_monomial   0.000000  0.000000
      tanh            signed_permutation  0.381348  0.246626
      gelu            permutation         0.508555  0.252474

    References:
      Godfrey et al. 2022, section E.2.1, which measures GELU.
    """
    scales = np.asarray(scales, dtype=np.float64)
    chosen = ACTIVATIONS if activations is None else activations
    ranks = [_rank(name, sigma, scales) for name, sigma in chosen.items()]
    # Rounding must not order those that are 0.
    return tuple(sorted(ranks, key=lambda rank: (round(rank.worst, 12), rank.name)))


def _rank(name: str, sigma: samples.Scalar, scales: np.ndarray) -> Rank:
    defects = homogeneity.relative_defect(sigma, scales)
    kind = classify(sigma).kind
    return Rank(name, kind, float(defects.max()), float(defects.mean()))
