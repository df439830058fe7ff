r"""One representative for all variables that a symmetry group makes of each other.

An element :math:`h(v)` is found from the variables such that :math:`h(g v) = h(v)
g^{-1}`, and :math:`h(v) \, v` is the representative.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from symjax_lib import groups
from symjax_lib.symmetry import linear
from symjax_lib.symmetry.action import act, variable_specs, with_paths
from symjax_lib.symmetry.apply import transform
from symjax_lib.symmetry.blocks import blocks, rows
from symjax_lib.symmetry.elements import Channels, Wreath, identity, neutral, positions
from symjax_lib.symmetry.spec import Entry, Space, SymmetrySpec


class Block(NamedTuple):
    """A part of a variable, and the factors of its axes."""

    entry: Entry
    value: jax.Array


def canonicalize(spec: SymmetrySpec, variables: Any) -> Any:
    r"""Returns the canonical form of variables: the same for all that `act` makes.

    - Positive scalings: each channel's incoming weights have norm 1. Incoming is, for
      each scaling of a space, the first variable in the order of use that it scales and
      whose other spaces are settled before.
    - Signs: the sum of the cubes of the incoming weights is positive, likewise.
    - General linear spaces: the incoming matrices have orthonormal columns, the
      outgoing ones orthogonal rows in falling order, signs as above.
    - Permutations: channels are sorted by the sums of the cubes of all their weights.

    Channels that tie keep their order, and a channel whose incoming weights are all 0
    keeps its scale: for such variables, and where two sums differ by rounding only, the
    form is a representative but not the same one for all.

    Args:
      spec: of the function.
      variables: a tree of the structure and shapes that `spec` was traced with.

    Returns:
      A tree like `variables`, with which the function is the same.

    Raises:
      ValueError: spaces depend on each other in a circle, or general linear spaces meet
        in one variable, so that there is nothing to begin with.

    Example:
      >>> from symjax_lib import symmetry
      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.array([[3.0, 0.0], [4.0, 2.0]]), "out": jnp.eye(2)}
      >>> spec = symmetry.trace(mlp, v, jnp.ones((1, 2)))
      >>> w = canonicalize(spec, v)
      >>> [[round(float(x), 3) for x in row] for row in w["in"]]
      [[0.0, 0.6], [1.0, 0.8]]
    """
    settled = {s.name for s in spec.spaces.values() if not _is_scaled(s)}
    while pending := [s for s in spec.spaces.values() if s.name not in settled]:
        before = len(settled)
        for space in pending:
            element = _settle(space, _blocks(spec, space, variables), settled)
            if element is not None:
                variables = _act_alone(spec, space, element, variables)
                settled.add(space.name)
        if len(settled) == before:
            raise ValueError(
                "canonicalize: no variable fixes the scalings of "
                f"{[space.name for space in pending]}, as they depend on each other."
            )
    return act(spec, _sorting(spec, variables), variables)


def distance(spec: SymmetrySpec, variables: Any, others: Any) -> jax.Array:
    r"""Returns an upper bound on how far two sets of variables are up to symmetry.

    .. math:: \inf_g \| v - g w \| \le \| c(v) - c(w) \|

    for variables in canonical form; 0 if they are equal up to symmetry. To shift one
    channel may change the order, so it is not continuous, and no metric.

    Args:
      spec: of the function.
      variables: a tree of the structure and shapes that `spec` was traced with.
      others: another one.

    Returns:
      A scalar: the norm of all differences.

    Raises:
      ValueError: as `canonicalize`.

    Example:
      >>> from symjax_lib import symmetry
      >>> mlp = lambda v, x: jax.nn.relu(x @ v["in"]) @ v["out"]
      >>> v = {"in": jnp.array([[3.0, 0.0], [4.0, 2.0]]), "out": jnp.eye(2)}
      >>> spec = symmetry.trace(mlp, v, jnp.ones((1, 2)))
      >>> w = symmetry.act(spec, symmetry.sample(jax.random.key(0), spec), v)
      >>> bool(distance(spec, v, w) < 1e-5), bool(jnp.abs(v["in"] - w["in"]).max() > 1)
      (True, True)
    """
    left, right = (canonicalize(spec, each) for each in (variables, others))
    squares = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a - b)), left, right)
    return jnp.sqrt(sum(jax.tree.leaves(squares)))


def _is_scaled(space: Space) -> bool:
    return bool(space.scalings or space.signs)


def _act_alone(spec: SymmetrySpec, space: Space, element: Any, variables: Any) -> Any:
    """Acts with an element of one space."""
    specs, g = variable_specs(spec), {space.name: element}
    moved = [
        transform("canonicalize", path, specs[path], g, x, {space.name: space})
        for path, x in with_paths(variables)
    ]
    return jax.tree.unflatten(jax.tree.structure(variables), moved)


def _settle(space: Space, blocks: Sequence[Block], settled: set[str]) -> Any | None:
    """Returns the element that brings a space to its form, None if it is too early."""
    free = [block for block in blocks if _others(block, space) <= settled]
    one = neutral(space)
    inner = one.inner if isinstance(one, Wreath) else one
    if isinstance(inner, groups.General):
        inner = _orthogonal(space, free)
    else:
        inner = _unit(space, free, inner)
    if inner is None or not isinstance(one, Wreath):
        return inner
    return Wreath(one.outer, inner)


def _others(block: Block, space: Space) -> set[str]:
    """Returns the other spaces that scale a block, or change its signs."""
    return {
        factor.label
        for factor in block.entry
        if factor.label != space.name
        and (any(factor.scalings or ()) or any(factor.signs))
    }


def _unit(space: Space, blocks: Sequence[Block], one: Channels) -> Channels | None:
    """Returns the scales and signs that make incoming weights positive unit vectors."""
    # Where a channel is there twice it has no size of its own.
    alone = [b for b in blocks if sum(f.label == space.name for f in b.entry) == 1]
    powers, incoming = _independent(space, alone, "scalings")
    parities, signed = _independent(space, alone, "signs")
    if len(incoming) < space.scalings or len(signed) < space.signs:
        return None
    scale, sign = one.scale, one.sign
    if incoming:
        squares = jnp.stack([jnp.sum(rows(space, *b) ** 2, axis=-1) for b in incoming])
        logarithms = jnp.log(jnp.where(squares > 0, squares, 1)) / 2
        logarithms = jnp.tensordot(np.linalg.inv(powers), logarithms, axes=1)
        scale = jnp.moveaxis(jnp.exp(-logarithms), 0, -2)
    if signed:
        cubes = jnp.stack([jnp.sum(rows(space, *b) ** 3, axis=-1) for b in signed])
        odd = linear.inverse_modulo_2(parities) @ jnp.moveaxis(cubes < 0, 0, -2)
        sign = jnp.asarray(1.0 - 2.0 * (odd % 2))
    return Channels(one.permutation, scale, sign)


def _independent(
    space: Space, blocks: Sequence[Block], of: str
) -> tuple[np.ndarray, list[Block]]:
    """Returns the exponents of a space on the first blocks that fix all its modes."""
    powers: list[Any] = []
    picked = []
    for block in blocks:
        (row,) = (getattr(f, of) for f in block.entry if f.label == space.name)
        more = np.array([*powers, row])
        if row and linear.rank(more, 2 if of == "signs" else 0) > len(powers):
            powers.append(row)
            picked.append(block)
    return np.array(powers), picked


def _orthogonal(space: Space, blocks: Sequence[Block]) -> groups.General | None:
    """Returns what makes incoming weights orthonormal and outgoing ones orthogonal."""
    sides: list[Any] = []
    for power in (1.0, -1.0):
        found = [
            rows(space, *block)
            for block in blocks
            if all(f.scalings == (power,) for f in block.entry if f.label == space.name)
        ]
        if not found:
            return None
        sides.append(jnp.concatenate(found, axis=-1))
    incoming, outgoing = sides
    left, size, _ = jnp.linalg.svd(incoming, full_matrices=False)
    _check_full(space, "incoming", size)
    after = jnp.swapaxes(left * size[..., None, :], -1, -2) @ outgoing
    turn, falling, _ = jnp.linalg.svd(after, full_matrices=False)
    _check_full(space, "outgoing", falling)
    matrix = jnp.swapaxes((left / size[..., None, :]) @ turn, -1, -2)
    negative = jnp.sum((matrix @ incoming) ** 3, axis=-1) < 0
    return groups.General(matrix * jnp.where(negative, -1.0, 1.0)[..., None])


def _check_full(space: Space, which: str, size: jax.Array) -> None:
    few = size.shape[-1] < space.size
    if not few and not isinstance(size, Tracer):
        tiny = space.size * float(jnp.finfo(size.dtype).eps)
        few = bool((size[..., -1] <= tiny * size[..., 0]).any())
    if few:
        raise ValueError(
            f"canonicalize: the {which} weights of the general linear space "
            f"{space.name!r} span less than its {space.size} channels, so that it has "
            "no canonical form."
        )


def _sorting(spec: SymmetrySpec, variables: Any) -> dict[str, Any]:
    """Returns the permutations that sort the channels of all spaces."""
    elements: dict[str, Any] = dict(identity(spec))
    for space in sorted(spec.spaces.values(), key=lambda space: len(space.over)):
        one = elements[space.name]
        inner = one.inner if isinstance(one, Wreath) else one
        if space.permuted and isinstance(inner, Channels):
            keys = [
                jnp.sum(rows(space, *block) ** 3, axis=-1) / (i + 1)
                for i, block in enumerate(_blocks(spec, space, variables))
            ]
            order = groups.Permutation(jnp.argsort(jnp.asarray(sum(keys)), axis=-1))
            inner = Channels(order, inner.scale, inner.sign)
        if isinstance(one, Wreath):
            inner = Wreath(positions(elements, space, spec), inner)
        elements[space.name] = inner
    return elements


def _blocks(spec: SymmetrySpec, space: Space, variables: Any) -> list[Block]:
    """Returns the blocks of variables that have a space, in the order of their use."""
    specs = variable_specs(spec)
    found: list[tuple[int, Block]] = []
    for path, value in with_paths(variables):
        touched = [
            i for i, place in enumerate(space.touches) if _is_within(place, path)
        ]
        for entry, block in blocks(specs[path], value):
            if any(factor.label == space.name for factor in entry):
                found.append((min(touched, default=0), Block(entry, block)))
    return [block for _, block in sorted(found, key=lambda pair: pair[0])]


def _is_within(place: str, path: str) -> bool:
    """Tells whether a place, "path", "path:axis" or "path/slice:axis", is of a path."""
    return place == path or place.startswith((f"{path}:", f"{path}/"))
