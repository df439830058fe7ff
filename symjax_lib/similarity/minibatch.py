"""Debiased CKA from the Gram matrices of batches, in memory that does not grow."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from symjax_lib.similarity import features, independence


class MinibatchCKA(NamedTuple):
    """CKA from batches, in float64.

    Attributes:
      similarity: `[]`, from -1 to 1, higher is closer; nan where undefined.
      standard_error: `[]`; nan with one batch only, or where undefined.
      batches: `[]`, how many there were after short ones were merged.
      samples: `[]`, in all batches.
    """

    similarity: np.ndarray
    standard_error: np.ndarray
    batches: np.ndarray
    samples: np.ndarray


def cka(
    batches: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    kernel: Callable[[jax.Array], jax.Array],
) -> MinibatchCKA:
    r"""Compares features by CKA with the mean unbiased HSIC of batches.

    :math:`\bar H(K, L) / \sqrt{\bar H(K, K) \, \bar H(L, L)}` with :math:`\bar H =
    \sum_b n_b HSIC_1(K_b, L_b) / \sum_b n_b`, which is unbiased for any sizes of the
    batches. The weights are :math:`n_b` since the variance of :math:`HSIC_1` falls like
    :math:`1 / n_b`, save for unrelated features. Nothing is clamped; where all centred
    Gram matrices are zero up to rounding (constant features) the result is nan.

    Batches of fewer than 4 samples are merged with what follows, the last with the one
    before. Of each three numbers stay; features of no more than a few are in memory.
    The standard error, of the jackknife that leaves out one batch (of unequal sizes),
    assumes independent samples: shuffle them. It is rough with few batches.

    Args:
      batches: pairs of features `[B, ..., C]` and `[B, ..., C']` on the same inputs, of
        any sizes B but 0. They are read once.
      kernel: from features to their Gram matrix `[B, B]`, such as `linear_gram`. One
        that normalises inside a batch (`unit_channels`, a median width) changes what is
        estimated: scale channels by statistics fixed beforehand, and pass `sigma`.

    Returns:
      A `MinibatchCKA`.

    Raises:
      ValueError: fewer than 4 samples in all; a batch, which is named, empty, not
        finite, of unequal numbers of samples, or of other shapes than the first; or a
        kernel that returns another shape.

    Example:
      >>> from symjax_lib.similarity import linear_gram
      >>> x = jax.random.normal(jax.random.key(0), (10, 32, 3))
      >>> found = cka(zip(x, 2 * x[..., ::-1] + 1), kernel=linear_gram)
      >>> round(found.similarity.item(), 4), found.batches.item(), found.samples.item()
      (1.0, 10, 320)

    References:
      Nguyen et al., 2021 and Song et al., 2012, as in `linear_cka` and `hsic`; Busing
      et al., Delete-m Jackknife for Unequal m, 1999.
    """
    gram, rows, sizes = jax.jit(kernel), [], []
    for parts in _merged(batches):
        x, y = map(jnp.concatenate, zip(*parts, strict=True))
        k, l = gram(x), gram(y)
        if not k.shape == l.shape == 2 * x.shape[:1]:
            raise ValueError(
                f"minibatch.cka: kernel must return Gram matrices {2 * x.shape[:1]}, "
                f"got {k.shape} and {l.shape}."
            )
        with jax.enable_x64(True):
            rows.append(np.asarray(_hsics(k, l)))
        sizes.append(x.shape[0])
    counts = np.array(sizes)
    value, error = _jackknife(counts[:, None] * np.stack(rows), counts)
    return MinibatchCKA(*map(np.asarray, (value, error, len(rows), counts.sum())))


def _merged(batches: Iterable) -> Iterator[list[tuple[jax.Array, jax.Array]]]:
    held, short = [], []
    for batch in _checked(batches):
        short.append(batch)
        if sum(len(x) for x, _ in short) >= 4:
            if held:
                yield held
            held, short = short, []
    n = sum(len(x) for x, _ in held + short)
    independence.check_samples("minibatch.cka", n, debiased=True, way_out="")
    yield held + short


def _checked(batches: Iterable) -> Iterator[tuple[jax.Array, jax.Array]]:
    first = None
    for i, (x, y) in enumerate(batches):
        caller = f"minibatch.cka, batch {i}"
        x, y = features.check(caller, x, y)
        shapes = x.shape[1:], y.shape[1:]
        first = first or shapes
        if shapes != first:
            raise ValueError(
                f"{caller}: samples have shapes {shapes}, those of batch 0 {first}."
            )
        yield x, y


@jax.jit
def _hsics(k: jax.Array, l: jax.Array) -> jax.Array:
    k, l = map(_without_rounding, (k, l))
    return jnp.stack([independence.hsic(*p) for p in ((k, l), (k, k), (l, l))])


def _without_rounding(k: jax.Array) -> jax.Array:
    eps = jnp.finfo(jnp.promote_types(k.dtype, jnp.float32)).eps
    k = jnp.where(jnp.eye(k.shape[0], dtype=bool), 0, k.astype(jnp.float64))
    # The root is the size of a typical entry, centred. Any nan in it is kept.
    is_zero = jnp.sqrt(independence.hsic(k, k)) <= 16 * eps * jnp.max(jnp.abs(k))
    return jnp.where(is_zero, 0, k)


def _jackknife(rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    whole = _ratio(rows.sum(axis=0))
    if len(rows) == 1:
        return whole, np.array(np.nan)
    # Sums before and after each batch: the whole minus one could cancel.
    padded = np.pad(rows, ((1, 1), (0, 0)))
    before, after = padded.cumsum(axis=0), padded[::-1].cumsum(axis=0)[::-1]
    without = _ratio(before[:-2] + after[2:])
    inverse = counts.sum() / counts
    pseudo = inverse * whole - (inverse - 1) * without
    center = len(rows) * whole - ((1 - 1 / inverse) * without).sum()
    return whole, np.sqrt(np.mean((pseudo - center) ** 2 / (inverse - 1)))


def _ratio(sums: np.ndarray) -> np.ndarray:
    kl, kk, ll = np.moveaxis(sums, -1, 0)
    size = np.sqrt(kk) * np.sqrt(ll)
    return np.where(size > 0, kl / np.where(size > 0, size, 1), np.nan)
