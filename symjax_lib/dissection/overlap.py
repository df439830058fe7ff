"""Where units are above their thresholds and concepts are, in one image."""

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST
"""Of sums of units, so that a unit of the identity is the unit, on accelerators too."""
_CHUNK = 256  # units whose maps are enlarged at once
_ROUNDING = 8 * float(jnp.finfo(jnp.float32).eps)


@jax.jit
def overlaps(
    units: jax.Array, thresholds: jax.Array, masks: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Counts where units of one image are above their thresholds, by concept.

    Maps are brought to the size of the masks by bilinear interpolation. Units that stay
    below everywhere, which are most, are left out: no value between is larger. A place
    that exceeds its threshold by rounding alone does not count.

    Args:
      units: `[U, h, w]`.
      thresholds: `[U]`.
      masks: `[K, H, W]` bool.

    Returns:
      `[U, K]` places in both, and `[U]` places of the unit, both int32.
    """
    count, size = len(units), masks.shape[1:]
    rows, columns = (
        jax.image.resize(jnp.eye(n), (m, n), "linear")
        for n, m in zip(units.shape[1:], size, strict=True)
    )
    flat = masks.reshape(len(masks), -1).astype(jnp.float32)
    active = (units > thresholds[:, None, None]).any(axis=(1, 2))
    chunk = min(_CHUNK, count)
    order = jnp.nonzero(active, size=count + -count % chunk, fill_value=count)[0]

    def body(i: jax.Array, sums: tuple) -> tuple:
        both, area = sums
        at = jax.lax.dynamic_slice_in_dim(order, i * chunk, chunk)
        some = units.at[at].get(mode="fill", fill_value=0)
        large = jnp.einsum("Hh,Ww,uhw->uHW", rows, columns, some, precision=HIGHEST)
        never = jnp.inf  # of what fills up the last chunk
        limit = thresholds.at[at].get(mode="fill", fill_value=never)
        # Where a map is constant, interpolation rounds: it may exceed it by a bit.
        limit += _ROUNDING * jnp.abs(limit)
        above = large > limit[:, None, None]
        above = above.reshape(chunk, -1).astype(jnp.float32)
        # Sums of zeros and ones below 2^24 are exact.
        new = above @ flat.T, above.sum(axis=1)
        new = jax.tree.map(lambda x: x.astype(jnp.int32), new)
        return both.at[at].add(new[0], mode="drop"), area.at[at].add(
            new[1], mode="drop"
        )

    zero = jnp.zeros((count, len(masks)), jnp.int32), jnp.zeros(count, jnp.int32)
    blocks = -(-active.sum() // chunk)
    return jax.lax.fori_loop(0, blocks, body, zero)
