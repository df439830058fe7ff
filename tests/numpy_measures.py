"""All measures in float64 NumPy, straight from their definitions and for small data."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


def similarity(name, x, y):
    """Returns the measure that `similarity.streaming` has under this name."""
    x, y = np.float64(x), np.float64(y)
    options = set(name.split(", ")[1:])
    base = name.split(", ")[0]
    if base.endswith("_procrustes"):
        x, y = matched(x, y)
        return procrustes(base[: -len("_procrustes")], x, y, "centred" in options)
    kernel = base if "channel_norm" not in options else "channel_norm"
    k, l = (gram(kernel, z) for z in (x, y))
    return cka(k, l, biased="biased" in options)


def matched(x, y):
    """Repeats the smaller map, and gives the narrower channels of zeros."""
    for axis in range(1, x.ndim - 1):
        size = max(x.shape[axis], y.shape[axis])
        x, y = (z.repeat(size // z.shape[axis], axis) for z in (x, y))
    width = max(x.shape[-1], y.shape[-1])
    flat = [z.reshape(-1, z.shape[-1]) for z in (x, y)]
    return [np.pad(z, [(0, 0), (0, width - z.shape[1])]) for z in flat]


def procrustes(kind, x, y, center):
    """The residual itself, for the best element."""
    if center:
        x, y = (z - z.mean(0) for z in (x, y))
    axis = 0 if kind == "g_relu" else None
    x, y = (z / nonzero(np.sqrt((z**2).sum(axis))) for z in (x, y))
    score = x.T @ y
    if kind == "orthogonal":
        u, _, v = np.linalg.svd(score)
        element = (u @ v).T
    else:
        signed = kind == "signed_permutation"
        rows, columns = linear_sum_assignment(abs(score) if signed else score, True)
        element = np.zeros_like(score)
        signs = np.where(score[rows, columns] < 0, -1, 1) if signed else 1
        element[columns, rows] = signs
    size = np.sqrt(x.shape[1]) if kind == "g_relu" else 1
    return 1 - np.linalg.norm(x - y @ element) / (2 * size)


def gram(kernel, x):
    """The Gram matrix of `[N, ..., C]` features."""
    x = x.reshape(len(x), -1, x.shape[-1])
    centred = x - x.mean((0, 1))
    unit = centred / nonzero(np.sqrt((centred**2).sum((0, 1))))
    # Entries of a constant channel are rounding.
    unit[..., np.ptp(x, axis=(0, 1)) == 0] = 0
    flat, flat_unit = centred.reshape(len(x), -1), unit.reshape(len(x), -1)
    products = lambda: np.einsum("ipc,jpc->ijc", unit, unit)
    return {
        "g_relu_cka": lambda: products().max(-1),
        "median_cka": lambda: np.quantile(products(), 0.5, axis=-1, method="lower"),
        "linear_cka": lambda: flat @ flat.T,
        "channel_norm": lambda: flat_unit @ flat_unit.T,
        "rbf_cka": lambda: gaussian(cdist(flat, flat)),
        "laplace_cka": lambda: laplace(cdist(flat_unit, flat_unit, "cityblock")),
    }[kernel]()


def gaussian(distances):
    return np.exp(-(distances**2) / (2 * np.median(distances**2)))


def laplace(distances):
    return np.exp(-distances / np.median(distances))


def cka(k, l, *, biased):
    products = hsic(k, l, biased), hsic(k, k, biased), hsic(l, l, biased)
    return products[0] / np.sqrt(products[1] * products[2])


def hsic(k, l, biased):
    """HSIC_0 with the centring matrix, HSIC_1 by the formula of Song et al."""
    n = len(k)
    if biased:
        h = np.eye(n) - 1 / n
        return np.trace(k @ h @ l @ h)
    k, l = (m - np.diag(np.diag(m)) for m in (k, l))
    return (
        np.trace(k @ l)
        + k.sum() * l.sum() / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (k @ l).sum()
    )


def nonzero(x):
    return np.where(x > 0, x, 1)
