"""What all Procrustes similarities share: normalise, find the best element, measure."""

import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax_lib import assignment, groups
from symjax_lib.similarity import features

Element = TypeVar("Element", groups.Permutation, groups.Monomial, groups.General)


class ProcrustesResult(NamedTuple, Generic[Element]):
    """How close two features are up to a group.

    Attributes:
      similarity: `[]`, from 0 to 1, higher is closer.
      distance: `[]`, the residual left by the best element.
      element: that element, on the larger width: `groups.act(element, y)` is closest to
        x, both normalised.
      dead_channels: `[2]`, how many channels of x and of y are zero everywhere (with
        `center`, constant). Channels added by padding do not count.
      live_similarity: `[]`, the similarity as it is without dead channels.
    """

    similarity: jax.Array
    distance: jax.Array
    element: Element
    dead_channels: jax.Array
    live_similarity: jax.Array


def aligned(
    caller: str,
    x: ArrayLike,
    y: ArrayLike,
    best: Callable[[jax.Array, jax.Array], tuple[Any, jax.Array]],
    *,
    center: bool,
    by_channel: bool,
) -> ProcrustesResult[Any]:
    """Brings y as close to x as a group can; the similarity is 1 - distance / 2 size.

    Args:
      caller: the public function to name in an error.
      x: `[N, ..., C]` features.
      y: `[N, ..., C']` features on the same inputs.
      best: from normalised `[observations, C]` the closest element, and what it leaves.
      center: subtract from every channel its mean first.
      by_channel: divide every channel by its norm, so that the size is the root of the
        number of channels; or all by their norm, so that it is 1.
    """
    x, y = features.check(caller, x, y)
    widths = x.shape[-1], y.shape[-1]
    x, y = features.match(caller, x, y)
    return _aligned(x, y, widths, best, center, by_channel)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _aligned(
    x: jax.Array,
    y: jax.Array,
    widths: tuple[int, int],
    best: Callable,
    center: bool,
    by_channel: bool,
) -> ProcrustesResult[Any]:
    x, y = features.flatten(x), features.flatten(y)
    x, y = (features.centered(z) if center else z for z in (x, y))
    live = jnp.array([jnp.any(z != 0, axis=0).sum() for z in (x, y)])
    x, y = (features.unit(z, 0 if by_channel else None) for z in (x, y))
    element, distance = best(x, y)
    size = lambda channels: jnp.sqrt(channels) if by_channel else 1.0
    live_similarity = 1 - distance / (2 * size(live.max()))
    return ProcrustesResult(
        similarity=1 - distance / (2 * size(x.shape[-1])),
        distance=distance,
        element=element,
        dead_channels=jnp.array(widths) - live,
        live_similarity=jnp.where(live.max() > 0, live_similarity, jnp.nan),
    )


def permutation(x: jax.Array, y: jax.Array) -> tuple[groups.Permutation, jax.Array]:
    """Returns the permutation that brings y closest to x, and what is left."""
    element = groups.Permutation(assignment.hungarian(_product(x.T, y)))
    # Not sqrt(2 C - 2 tr): in float32 it cancels, and equal inputs come out at 0.9998.
    return element, jnp.linalg.norm(x - groups.act(element, y))


def signed_permutation(x: jax.Array, y: jax.Array) -> tuple[groups.Monomial, jax.Array]:
    """Returns the permutation and signs that bring y closest to x, and what is left."""
    score = _product(x.T, y)
    order = groups.Permutation(assignment.hungarian(jnp.abs(score)))
    matched = jnp.take_along_axis(score, order.indices[:, None], axis=1)[:, 0]
    signs = jnp.where(matched < 0, -1.0, 1.0).astype(x.dtype)
    element = groups.Monomial(order, groups.act(groups.inverse(order), signs))
    return element, jnp.linalg.norm(x - groups.act(element, y))


def rotation(x: jax.Array, y: jax.Array) -> tuple[groups.General, jax.Array]:
    """Returns the orthogonal matrix that brings y closest to x, and what is left."""
    # The product squares the condition number: in float32 one decomposition leaves
    # equal inputs up to 3e-4 apart. In the bases it finds the product is graded, and
    # there a decomposition of high relative accuracy gets the rest right.
    u, v = _singular_bases(_product(x.T, y))
    x, y = _product(x, u), _product(y, v.T)
    fine_u, fine_v = _accurate_singular_bases(_product(x.T, y))
    x, y = _product(x, fine_u), _product(y, fine_v.T)
    matrix = _product(_product(u, fine_u), _product(fine_v, v))
    # Not sqrt(2 - 2 nuclear norm): it cancels, as above.
    return groups.General(matrix), jnp.linalg.norm(x - y)


def _singular_bases(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    u, _, v = jnp.linalg.svd(a)
    return u, v


def _accurate_singular_bases(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    def by_qr(a: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, _, v = jax.lax.linalg.svd(a, algorithm=jax.lax.linalg.SvdAlgorithm.QR)
        return u, v

    # TPUs have one algorithm only.
    return jax.lax.platform_dependent(a, tpu=_singular_bases, default=by_qr)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")
