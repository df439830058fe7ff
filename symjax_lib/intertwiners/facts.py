"""Three facts of the paper about rays, the max kernel, and capacities, as numbers."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


def fixes_rays(matrix: ArrayLike, rays: ArrayLike, *, tolerance: float = 1e-6) -> bool:
    r"""Whether an invertible matrix permutes a finite set of rays from the origin.

    The matrices that permute the rays :math:`\mathbb{R}_{\geq 0} e_i` are the
    intertwiner group of ReLU, the positive monomial matrices. A finite set of rays that
    all of that group permutes consists of rays through some :math:`\pm e_j`: Theorem
    3.3, the paper's reason to look at single channels.

    Args:
      matrix: `[n, n]`.
      rays: `[k, n]`, one vector other than 0 on each ray; two on the same count once.
      tolerance: on the distance between the unit vectors of two rays.

    Returns:
      True iff every ray is mapped to one of them, and each of them is reached.

    Raises:
      ValueError: the shapes do not fit, or a vector is 0.

    Example:
      >>> fixes_rays([[0.0, 3.0], [2.0, 0.0]], np.eye(2))
      True
      >>> fixes_rays([[0.0, -3.0], [2.0, 0.0]], np.eye(2))  # a sign is not in the group
      False
      >>> fixes_rays([[3.0, 0.0], [0.0, 2.0]], [[1.0, 1.0]])  # nor is (1, 1) an axis
      False

    References:
      Godfrey et al. 2022, Theorem 3.3.
    """
    matrix, rays = np.asarray(matrix, np.float64), np.asarray(rays, np.float64)
    n = rays.shape[-1]
    if rays.ndim != 2 or matrix.shape != (n, n):
        raise ValueError(
            f"fixes_rays: expected a matrix [n, n] and rays [k, n], got {matrix.shape} "
            f"and {rays.shape}."
        )
    if not np.linalg.norm(rays, axis=1).all():
        raise ValueError("fixes_rays: a vector is 0, which spans no ray; leave it out.")
    if np.linalg.matrix_rank(matrix) < n:
        return False
    directions, images = _unit(rays), _unit(rays @ matrix.T)
    gap = np.linalg.norm(images[:, None] - directions, axis=-1) <= tolerance
    return bool(gap.any(0).all() and gap.any(1).all())


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class MaxKernel(NamedTuple):
    """The max kernel on a few vectors.

    Attributes:
      vectors: `[N, C]`.
      gram: `[N, N]`, the kernel between them.
      determinant: of the Gram matrix.
      least_eigenvalue: of the Gram matrix; negative iff it is not positive
        semi-definite.
    """

    vectors: np.ndarray
    gram: np.ndarray
    determinant: float
    least_eigenvalue: float


def max_kernel_counterexample(*, unit_channels: bool = False) -> MaxKernel:
    r"""Returns vectors on which :math:`\max_c x_c y_c` is not positive semi-definite.

    They are (1, 1), (1, 0) and (0, 1). Two vectors never do: there the determinant is
    :math:`\max_c x_c^2 \max_c y_c^2 - (\max_c x_c y_c)^2 \geq 0`. As `G_ReLU`-CKA
    divides channels by their norms, the same is offered with channels of norm 1, which
    does not repair it.

    Args:
      unit_channels: divide each channel by its norm over the three vectors.

    Returns:
      A `MaxKernel` in float64.

    Example:
      >>> found = max_kernel_counterexample()
      >>> found.gram.tolist()
      [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
      >>> round(found.determinant, 12), round(found.least_eigenvalue, 6)
      (-1.0, -0.414214)
      >>> round(max_kernel_counterexample(unit_channels=True).determinant, 12)
      -0.125

    References:
      Godfrey et al. 2022, Remark 5.5 and Example E.44, courtesy of Derek Lim.
    """
    vectors = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    if unit_channels:
        vectors = vectors / np.linalg.norm(vectors, axis=0)
    gram = np.max(vectors[:, None] * vectors, axis=-1)
    least = float(np.linalg.eigvalsh(gram)[0])
    return MaxKernel(vectors, gram, float(np.linalg.det(gram)), least)


class Capacity(NamedTuple):
    """Logarithms of how many matrices two classes of stitches have on a grid.

    Attributes:
      g_relu: of the intertwiner group of ReLU, :math:`n! k^n`.
      low_rank: of the matrices of a rank, :math:`k^{2 n r - r^2}`.
    """

    g_relu: float
    low_rank: float


def capacity(n: int, levels: int, *, rank: int = 1) -> Capacity:
    r"""Compares the sizes of `G_ReLU` and of the matrices of a rank, on a grid.

    .. math:: \log(n! \, k^n) \quad \text{and} \quad (2 n r - r^2) \log k

    With `k` points for each real dimension. As :math:`n! \leq n^{n-1}`, the second is
    at least the first for every rank whenever :math:`k \geq n`: that stitching with
    `G_ReLU` does worse than with rank 1 may be because it is smaller.

    Args:
      n: number of channels.
      levels: `k`, the points of the grid in each real dimension.
      rank: `r`, from 1 to n.

    Returns:
      Natural logarithms, as the numbers themselves overflow.

    Raises:
      ValueError: the rank is not from 1 to n, or there is no point.

    Example:
      >>> small = capacity(2, 3)  # 2! * 3 ** 2 = 18 and 3 ** 3 = 27
      >>> round(math.exp(small.g_relu)), round(math.exp(small.low_rank))
      (18, 27)
      >>> few = capacity(64, 4)  # fewer points than channels: the other way round
      >>> few.g_relu > few.low_rank
      True

    References:
      Godfrey et al. 2022, section E.7, equations (E.29) to (E.43).
    """
    if not 1 <= rank <= n or levels < 1:
        raise ValueError(
            "capacity: the rank must be from 1 to n and levels at least 1, got rank "
            f"{rank}, n {n} and levels {levels}."
        )
    step = math.log(levels)
    return Capacity(math.lgamma(n + 1) + n * step, (2 * n * rank - rank**2) * step)
