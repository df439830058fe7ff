r"""How many scalings a function has, from its derivatives alone.

A fixed vector of exponents `e` gives the one-parameter group
:math:`\theta \mapsto \theta \exp(t e)`, entry by entry. It leaves a function of
:math:`\theta` and `x` unchanged when the derivative :math:`J(\theta, x)
\operatorname{diag}(\theta) e` is zero everywhere. Stacked over random points, these
matrices have no other null vectors, so their nullity counts the independent scalings.

Entries that have no influence each scale alone and are counted apart. The function has
to be continuous: a comparison that is not multiplied by anything has no derivative.
Functions with kinks, such as a ReLU, are differentiable at almost all points.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
POINTS = 60  # at least; a chain of rectifiers is off at most of them
ROWS = 2  # for each parameter
ZERO, NONZERO = 1e-11, 1e-7  # sizes of columns and singular values, to the largest


class Nullity(NamedTuple):
    """Numbers of independent scalings.

    Attributes:
      scalings: of the entries that have an influence on the outputs.
      free: of the others, each of which can be anything.
    """

    scalings: int
    free: int


def nullity(fn: Callable, variables: Any, *inputs: Any, seed: int = 0) -> Nullity:
    """Counts the independent one-parameter scalings of the variables.

    Args:
      fn: any function `fn(variables, *inputs)` that is differentiable almost anywhere.
      variables: a tree of floats, of which the shapes matter; those with "var" among
        the words of their path are drawn positive.
      *inputs: floats, of which the shapes matter, or whole numbers from 0 to the
        largest that occurs.
      seed: of the random points.

    Raises:
      ValueError: rounding does not tell zeros from others, or may not, as the function
        computes in less than float64.
    """
    with jax.enable_x64(True):
        matrix = _derivatives(fn, variables, inputs, np.random.default_rng(seed))
    sizes = np.linalg.norm(matrix, axis=0)
    seen = _nonzero("columns", sizes)
    values = np.linalg.svd(matrix[:, seen] / sizes[seen], compute_uv=False)
    rank = int(_nonzero("singular values", values).sum())
    return Nullity(int(seen.sum()) - rank, int(np.sum(~seen)))


def _nonzero(what: str, sizes: np.ndarray) -> np.ndarray:
    sizes = sizes / sizes.max()
    if len(unclear := sizes[(sizes > ZERO) & (sizes < NONZERO)]):
        raise ValueError(f"nullity: {what} of size {unclear} are neither 0 nor not.")
    return sizes >= NONZERO


def _derivatives(fn: Callable, variables: Any, inputs: Any, rng: Any) -> np.ndarray:
    """Returns derivatives in the logarithms of the variables, rows of length 1."""
    arguments = draw_variables(rng, variables), *(draw_input(rng, x) for x in inputs)
    start, unravel = ravel_pytree(arguments[0])

    def logarithmic(theta: jax.Array, xs: Any) -> jax.Array:
        outputs = lambda s: ravel_pytree(fn(unravel(theta * jnp.exp(s)), *xs))[0]
        return jax.jacrev(outputs)(jnp.zeros_like(theta))

    narrow = re.findall(r"\b(?:b?f16|f32)\[", str(jax.make_jaxpr(fn)(*arguments)))
    if narrow:
        raise ValueError(f"nullity: the function computes in {narrow[0][:-1]}.")
    compiled, blocks = jax.jit(logarithmic, compiler_options=QUICK), []
    while len(blocks) < POINTS or sum(map(len, blocks)) < ROWS * start.size:
        leaves = jax.tree.leaves(draw_variables(rng, variables))
        theta = np.concatenate([leaf.ravel() for leaf in leaves])
        xs = [draw_input(rng, x) for x in inputs]
        rows = np.asarray(compiled(theta, xs))
        sizes = np.linalg.norm(rows, axis=1, keepdims=True)
        blocks.append(rows / np.where(sizes > 0, sizes, 1))
    return np.concatenate(blocks)


def draw_variables(rng: np.random.Generator, variables: Any) -> Any:
    """Returns variables in general position, none of them close to 0."""

    def draw(path: Any, old: Any) -> np.ndarray:
        shape = np.shape(old)
        new = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.3, 1.5, shape)
        words = re.findall(r"\w+", jax.tree_util.keystr(path))
        return np.abs(new) if "var" in words else new

    return jax.tree_util.tree_map_with_path(draw, variables)


def draw_input(rng: np.random.Generator, x: Any) -> np.ndarray:
    """Returns another input of the same kind."""
    x = np.asarray(x)
    if np.issubdtype(x.dtype, np.integer):
        return rng.integers(0, x.max() + 1, x.shape)
    return 10 ** rng.uniform(-0.5, 1) * rng.normal(size=x.shape)  # far and near
