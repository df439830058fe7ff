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
_EQUAL, _NONE = 1e-6, 1e-9  # cosines, and sines


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
    # A step towards the nearest orthogonal matrix takes away what QR has rounded.
    with jax.default_matmul_precision("highest"):
        q = 1.5 * q - 0.5 * q @ (q.T @ q)
    # Changing the sign of a row takes one half of O(n) to the other.
    return q.at[0].multiply(jnp.where(jnp.linalg.det(q) < 0, -1, 1))


def rotation_power(q: ArrayLike, alpha: ArrayLike) -> jax.Array:
    r"""Returns powers of a rotation along the shortest path from the identity.

    :math:`Q^0 = I`, :math:`Q^1 = Q`, :math:`Q^{\alpha + \beta} = Q^\alpha Q^\beta`.
    Computed on the host in float64. Where eigenvalues are -1, the planes that turn by
    half a circle are not unique, and the power is on one of the shortest paths.

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
    for _ in range(3):  # from float32 to the nearest orthogonal matrix in float64
        matrix = 1.5 * matrix - 0.5 * matrix @ (matrix.T @ matrix)
    vectors, planes, angles = _planes(matrix)
    steps = np.asarray(alpha, np.float64)
    power = lambda step: _turn(vectors, planes, step * angles)
    same = np.eye(len(matrix))  # without rounding, for units as they are
    powers = [power(step) if step else same for step in steps.ravel()]
    dtype = jnp.promote_types(jnp.asarray(q).dtype, jnp.float32)
    return jnp.asarray(np.reshape(powers, (*steps.shape, *matrix.shape)), dtype)


def _planes(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns an orthogonal basis, pairs `[k, 2]` of its vectors, and their angles.

    The symmetric part of a rotation has the cosines of its angles as eigenvalues, each
    of them twice or more often; between vectors of equal ones, few, a Schur form finds
    the planes. One of the whole matrix would take much longer.
    """
    cosines, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    edges = np.flatnonzero(np.diff(cosines) > _EQUAL) + 1
    planes, angles = [], []
    for at in np.split(np.arange(len(matrix)), edges):
        inside = vectors[:, at].T @ matrix @ vectors[:, at]
        form, basis, *_ = scipy.linalg.schur(inside, output="real")
        vectors[:, at] = vectors[:, at] @ basis
        below, above = np.diag(form, -1), np.diag(form, 1)
        first = np.flatnonzero(np.abs(below) > _NONE)
        sines, cosine = (below[first] - above[first]) / 2, np.diag(form)
        planes += [(at[i], at[i + 1]) for i in first]
        angles += np.arctan2(sines, cosine[first]).tolist()
        alone = np.setdiff1d(np.arange(len(at)), [*first, *(first + 1)])
        half = at[alone[cosine[alone] < 0]]  # in pairs, turned by half a circle
        planes += half.reshape(-1, 2).tolist()
        angles += [np.pi] * (len(half) // 2)
    return vectors, np.reshape(planes, (-1, 2)).astype(int), np.array(angles)


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
