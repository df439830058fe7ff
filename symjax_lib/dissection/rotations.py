r"""Rotations of the units of a layer, and their powers.

A rotation of n units turns planes by angles,
:math:`Q = V \, \mathrm{diag}(R(\theta_1), \dots, R(\theta_k), 1) \, V^T` with
:math:`\theta_i \in (-\pi, \pi]`, and its power turns them a part of the way,
:math:`Q^\alpha = V \, \mathrm{diag}(R(\alpha \theta_1), \dots) \, V^T`: the shortest
path in SO(n) from the identity to Q.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.typing import ArrayLike

from symjax_lib import groups

_TOLERANCE = 1e-3  # of orthogonality; float32 products of 2,048 units stay below


def random_rotation(key: jax.Array, n: int) -> jax.Array:
    """Samples a rotation, uniform on SO(n).

    Args:
      key: consumed.
      n: number of units.

    Returns:
      `[n, n]` orthogonal, of determinant 1.

    Example:
      >>> q = random_rotation(jax.random.key(0), 5)
      >>> round(float(jnp.linalg.det(q)), 4)
      1.0

    References:
      Mezzadri, `How to generate random matrices from the classical compact groups
      <https://arxiv.org/abs/math-ph/0609050>`_, 2007.
    """
    q = groups.sample(key, "orthogonal", n).matrix
    # Changing the sign of a row takes one half of O(n) to the other.
    return q.at[0].multiply(jnp.where(jnp.linalg.det(q) < 0, -1, 1))


def rotation_power(q: ArrayLike, alpha: ArrayLike) -> jax.Array:
    r"""Returns powers of a rotation along the shortest path from the identity.

    :math:`Q^0 = I`, :math:`Q^1 = Q`, :math:`Q^{\alpha + \beta} = Q^\alpha Q^\beta`.
    Computed on the host in float64 from the real Schur form. Where eigenvalues are -1,
    the planes that turn by half a circle are not unique, and a pair of vectors that the
    Schur form gives makes one; the power is then one of the shortest paths.

    Args:
      q: `[n, n]` orthogonal, of determinant 1.
      alpha: any shape, usually between 0 and 1.

    Returns:
      `[..., n, n]`, orthogonal, a matrix for each entry of `alpha`.

    Raises:
      ValueError: `q` is not square, not orthogonal, or has determinant -1.

    Example:
      >>> q = jnp.array([[0.0, -1.0], [1.0, 0.0]])
      >>> bool(jnp.allclose(rotation_power(q, 2.0), -jnp.eye(2), atol=1e-6))
      True

    References:
      Godfrey et al. 2022, section 6.
    """
    matrix = np.asarray(q, np.float64)
    _check(matrix)
    form, vectors, *_ = scipy.linalg.schur(matrix, output="real")
    cosines, sines = np.diag(form).copy(), np.zeros(len(form))
    first = np.flatnonzero(np.abs(np.diag(form, -1)) > 1e-9)
    sines[first] = (np.diag(form, -1)[first] - np.diag(form, 1)[first]) / 2
    alone = np.setdiff1d(np.arange(len(form)), [*first, *(first + 1)])
    turned = alone[cosines[alone] < 0].reshape(-1, 2)  # in pairs, by half a circle
    planes = np.concatenate([np.stack([first, first + 1], axis=1), turned])
    angles = np.arctan2(sines[planes[:, 0]], cosines[planes[:, 0]])
    steps = np.asarray(alpha, np.float64)
    power = lambda step: _turn(vectors, planes, step * angles)
    same = np.eye(len(matrix))  # without rounding, for units as they are
    powers = [power(step) if step else same for step in steps.ravel()]
    dtype = jnp.promote_types(jnp.asarray(q).dtype, jnp.float32)
    return jnp.asarray(np.reshape(powers, (*steps.shape, *matrix.shape)), dtype)


def _turn(vectors: np.ndarray, planes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Returns the rotation of planes, which pairs of columns span, by angles."""
    first, second = vectors[:, planes[:, 0]], vectors[:, planes[:, 1]]
    turned = vectors.copy()
    turned[:, planes[:, 0]] = first * np.cos(angles) + second * np.sin(angles)
    turned[:, planes[:, 1]] = second * np.cos(angles) - first * np.sin(angles)
    return turned @ vectors.T


def _check(matrix: np.ndarray) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"rotation_power: q must be square, got {matrix.shape}.")
    error = np.abs(matrix.T @ matrix - np.eye(len(matrix))).max(initial=0)
    if not error < _TOLERANCE:
        raise ValueError(
            f"rotation_power: q must be orthogonal; Q'Q differs from I by {error:.2g}."
        )
    if np.linalg.slogdet(matrix)[0] < 0:
        raise ValueError(
            "rotation_power: q has determinant -1, and no path of rotations leads from "
            "the identity to it; change the sign of one row."
        )
