"""The classes of stitch that experiments compare, and how each is searched."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import optax

from symjax_lib import groups, stitching
from symjax_lib.stitching import Params, Stitch
from train.configs import UserError


class Class(NamedTuple):
    """A class of stitches.

    Attributes:
      variants: makes a stitch from the channels of front and back, by the name of a
        setting; where there are several, held-out images choose.
      start: makes the parameters from features of front and back, `[N, ..., n]` and
        `[N, ..., m]`, in closed form; nothing is then searched.
      group: whether it is made of a permutation, and needs equal widths.
    """

    variants: Mapping[str, Callable[[int, int], Stitch]]
    start: Callable[[jax.Array, jax.Array], Params] | None = None
    group: bool = False


def _one(make: Callable[[int, int], Stitch]) -> Mapping[str, Callable]:
    return {"": make}


def _rank(rank: int) -> Class:
    limit = lambda n, m: stitching.low_rank(n, min(rank, n, m), m)
    return Class(_one(limit))


def _matched(x: jax.Array, y: jax.Array) -> Params:
    found = stitching.matching(x, y)
    return {"matrix": groups.as_matrix(found)}


ALPHAS = (0.001, 0.01, 0.1, 1.0)
LAMBDAS = (1e-3, 1e-2, 1e-1)
RELAXATIONS = ("entropic", "euclidean", "straight_through")

CLASSES: dict[str, Class] = {
    "full": Class(_one(lambda n, m: stitching.full(n, m))),
    "rank 1": _rank(1),
    "rank 2": _rank(2),
    "rank 4": _rank(4),
    "G_ReLU": Class(_one(lambda n, m: stitching.g_relu(n)), group=True),
    "permutation": Class(_one(lambda n, m: stitching.permutation(n)), group=True),
    "SoftSort": Class(_one(lambda n, m: stitching.softsort(n)), group=True),
    "orthogonal": Class(_one(lambda n, m: stitching.orthogonal(n)), group=True),
    "least squares": Class(
        _one(lambda n, m: stitching.full(n, m)), start=stitching.least_squares
    ),
    "matching": Class(_one(lambda n, m: stitching.full(n, m)), _matched, group=True),
    "G_ReLU, chosen alpha": Class(
        {
            f"{alpha:g}": lambda n, m, alpha=alpha: stitching.g_relu(n, alpha=alpha)
            for alpha in ALPHAS
        },
        group=True,
    ),
    **{
        f"L1 {penalty:g}": Class(
            _one(lambda n, m, penalty=penalty: stitching.lasso(n, penalty, m))
        )
        for penalty in LAMBDAS
    },
    **{
        f"G_ReLU, {name}": Class(
            _one(lambda n, m, name=name: stitching.g_relu(n, relaxation=name)),
            group=True,
        )
        for name in RELAXATIONS
    },
}
"""By name; searches of one class differ in their variant alone."""

DEFAULT = (
    "full", "rank 1", "rank 2", "rank 4", "G_ReLU", "permutation", "least squares",
)  # fmt: skip

# On held-out training images of CIFAR-10, after conv2 of two networks of
# `zoo/cifar10_small.npz`, the best or next to it for full, rank 4 and G_ReLU, among
# Adam with 3e-3 to 1e-1 and SGD with 0.1 and 1.
ADAM = optax.adam(1e-2)
PAPER = optax.sgd(1e-3)
OPTIMIZERS = {"adam": ADAM, "paper": PAPER}


def check(names: tuple[str, ...], epochs: int = 1) -> None:
    """Raises a `UserError` if there is no class of a name, or no epoch to fit in."""
    if epochs < 1:
        raise UserError(f"analysis: --stitch-epochs is {epochs}, it must be 1 or more.")
    if unknown := [name for name in names if name not in CLASSES]:
        raise UserError(
            f"analysis: --classes {unknown} are unknown, there are {list(CLASSES)}; "
            "quote those with spaces."
        )
