r"""Ways to search the permutations by gradient, through the doubly stochastic matrices.

Each is a `Relaxation`. None of them is exact: a fit ends at a matrix that is near a
permutation, or not, and is rounded to the best one; `stitching.rounding` says what that
costs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symjax_lib import assignment, groups


class Relaxation(NamedTuple):
    """How a permutation is searched.

    Attributes:
      init: `(key, n) -> raw [n, n]`.
      dense: `raw -> [n, n]`, the matrix that is applied, with a gradient; itself at a
        permutation that `from_permutation` gives.
      project: `raw -> raw`, after each step.
      from_permutation: `[n, n] -> raw`.
    """

    init: Callable[[jax.Array, int], jax.Array]
    dense: Callable[[jax.Array], jax.Array]
    project: Callable[[jax.Array], jax.Array]
    from_permutation: Callable[[jax.Array], jax.Array]


def nearest(matrix: jax.Array) -> jax.Array:
    """Returns the permutation matrix that is closest to a matrix."""
    return groups.as_matrix(groups.Permutation(assignment.hungarian(matrix)))


def _same(matrix: jax.Array) -> jax.Array:
    return matrix


def _uniform(key: jax.Array, n: int) -> jax.Array:
    return assignment.sinkhorn(jax.random.uniform(key, (n, n)), iterations=100)


def _scaled(matrix: jax.Array) -> jax.Array:
    return assignment.sinkhorn(jax.nn.relu(matrix), iterations=16)


def _exp(logits: jax.Array) -> jax.Array:
    return jnp.exp(assignment.log_sinkhorn(logits))


def _straight_through(matrix: jax.Array) -> jax.Array:
    """The nearest permutation, with the gradient of the matrix itself."""
    return matrix + jax.lax.stop_gradient(nearest(matrix) - matrix)


RELAXATIONS = {
    # The paper's: a scaling of rows and columns, not the nearest point.
    "sinkhorn": Relaxation(_uniform, _same, _scaled, _same),
    # Logarithms are stepped along, and scaled on the way.
    "entropic": Relaxation(
        lambda key, n: jnp.log(_uniform(key, n)),
        _exp,
        assignment.log_sinkhorn,
        jnp.log,
    ),
    "euclidean": Relaxation(_uniform, _same, assignment.birkhoff_projection, _same),
    # Every step is taken at a permutation.
    "straight_through": Relaxation(_uniform, _straight_through, _same, _same),
}
