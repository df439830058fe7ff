"""What is known of a function's symmetries: its spaces, and what each axis means."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from symjax_lib.symmetry import counting


class Factor(NamedTuple):
    """A space and how it acts on an axis, or on a part of it; or a part left alone.

    Attributes:
      size: number of positions.
      label: name of the space, or else of the fixed part if other spaces vary over it.
      scalings: exponent of each scaling of the space; None if there is no space.
      signs: exponent, 0 or 1, of each sign of the space.
    """

    size: int
    label: str = ""
    scalings: tuple[float, ...] | None = None
    signs: tuple[int, ...] = ()


class Product(NamedTuple):
    """An axis over all tuples of its parts, the last the fastest."""

    parts: tuple[Any, ...]


class Pieces(NamedTuple):
    """An axis with parts side by side: each with its positions along the axis."""

    parts: tuple[Any, ...]
    positions: tuple[np.ndarray, ...]


AxisSpec = Factor | Product | Pieces
Entry = tuple[Factor, ...]
"""The factors that act on one kind of entry of an array, outer axes first."""


def size(axis: AxisSpec) -> int:
    """Returns the number of positions along an axis."""
    if isinstance(axis, Factor):
        return axis.size
    sizes = [size(part) for part in axis.parts]
    return math.prod(sizes) if isinstance(axis, Product) else sum(sizes)


def factors(axis: AxisSpec) -> Iterator[Factor]:
    """Returns the factors of an axis and of its parts, in order."""
    if isinstance(axis, Factor):
        yield axis
    else:
        for part in axis.parts:
            yield from factors(part)


def map_factors(fn: Callable[[Factor], Factor], axis: AxisSpec) -> AxisSpec:
    """Returns an axis with a function applied to its factors."""
    if isinstance(axis, Factor):
        return fn(axis)
    return axis._replace(parts=tuple(map_factors(fn, part) for part in axis.parts))


def kind_of(scaled: bool, signed: bool, *, permuted: bool) -> str:
    """Returns the group of permutations, scalings and signs, or some of them."""
    if not permuted:
        scales = "diagonal" if signed else "positive_diagonal"
        return scales if scaled else "signs"
    if scaled:
        return "monomial" if signed else "positive_monomial"
    return "signed_permutation" if signed else "permutation"


def moves(axis: AxisSpec) -> bool:
    """Tells whether anything acts on an axis."""
    return any(factor.scalings is not None for factor in factors(axis))


def branches(axis: AxisSpec) -> list[Entry]:
    """Returns the factors at each kind of position along an axis."""
    if isinstance(axis, Factor):
        return [(axis,)]
    inner = [branches(part) for part in axis.parts]
    if isinstance(axis, Product):
        return [sum(choice, ()) for choice in itertools.product(*inner)]
    return list(itertools.chain.from_iterable(inner))


class ArraySpec(NamedTuple):
    """What the axes of one array mean.

    Attributes:
      axes: for each axis, in order.
      whole: what scales all of the array beside that; of size 1.
      slices: if the array is stacked for a loop over layers, the specification of each
        slice along the first axis, in place of all else.
    """

    axes: tuple[AxisSpec, ...]
    whole: Factor = Factor(1)
    slices: tuple["ArraySpec", ...] = ()


class Space(NamedTuple):
    """A set of channels that are transformed together.

    Attributes:
      name: of the first tap in the space, or else of the first parameter.
      size: number of channels.
      kind: the group at the tap (or parameter) that names the space, one of
        `groups.KINDS`; this is the image of the activation's intertwiner group. Where
        the channels keep their places: "positive_diagonal", "diagonal" or "signs", as
        the group acts anywhere.
      scalings: number of independent positive scalings of each channel anywhere; more
        than at the tap where, for example, a BatchNorm undoes what a kernel does.
      signs: number of independent signs of each channel, likewise.
      touches: the parameters' axes and taps that it acts on, as "path:axis".
      permuted: whether the channels may change places.
      over: the axes, as spaces or as "path:axis", at each position of which there is an
        element of its own, such as heads or stacked layers; the outermost first.
      shape: number of positions of each of those axes.
      code: where the first activation on the space is, as "file:line", if any.
    """

    name: str
    size: int
    kind: str
    scalings: int
    signs: int
    touches: tuple[str, ...]
    permuted: bool = True
    over: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    code: str = ""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class SymmetrySpec:
    """The symmetries of a function under changes of its variables.

    Attributes:
      spaces: by name, in the order in which the function computes them.
      variables: a tree like the variables, with an `ArraySpec` for each array.
      taps: the `ArraySpec` of each named value.
      outputs: likewise of each output that is an updated variable, by the output's
        path; other outputs stay as they are.
      fixed: for each axis of a parameter that is left alone, the reason.

    `dimension` counts independent scalings, not all dimensions of general linear
    groups; printing the specification shows the table of `describe`. It is a pytree
    without leaves, and static under `jit`: trace once and keep it, as a function is
    compiled anew for another one.
    """

    spaces: dict[str, Space]
    variables: Any
    taps: dict[str, ArraySpec]
    outputs: dict[str, ArraySpec]
    fixed: dict[str, str]

    @property
    def dimension(self) -> int:
        """Number of independent one-parameter scalings of the variables.

        Channels by scalings, less those combinations that move nothing: where one array
        has two spaces, a factor on all of one is undone by its inverse on the other. A
        general linear space counts with its diagonal matrices.
        """
        is_array = lambda x: isinstance(x, ArraySpec)
        arrays = jax.tree.leaves(self.variables, is_leaf=is_array)
        return counting.dimension(self.spaces, [combinations(a) for a in arrays])

    @property
    def log_permutations(self) -> float:
        """Natural logarithm of the number of components of the group.

        Permutations and signs, and the two signs of the determinant of a general linear
        matrix. An upper bound: where one array has two spaces, two signs may undo each
        other.
        """
        return sum(
            math.prod(space.shape) * _log_components(space)
            for space in self.spaces.values()
        )

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, touches: int | None = 4) -> str:
        """Returns a table of the spaces, their groups, and the axes that they touch.

        Below it stands what fixed the other axes of the variables.

        Args:
          touches: how many axes to name for each space and reason; None for all.
        """
        head = "space", "size", "group", "scalings", "signs", "over", "code", "touches"
        rows = [head, *(_row(space, touches) for space in self.spaces.values())]
        used = [i for i in range(len(head)) if any(row[i] for row in rows[1:])]
        widths = {i: max(len(row[i]) for row in rows) for i in used[:-1]}
        lines = [
            "  ".join(row[i].ljust(widths.get(i, 0)) for i in used).rstrip()
            for row in rows
        ]
        count = len(self.spaces)
        plural = "" if count == 1 else "s"
        total = f"{count} space{plural}, {self.dimension} independent scalings"
        reasons: dict[str, list[str]] = {}
        for place, reason in self.fixed.items():
            reasons.setdefault(reason, []).append(place)
        fixed = [f"fixed by {r}: {_some(p, touches)}" for r, p in reasons.items()]
        return "\n".join([*lines, total, *fixed])


def _log_components(space: Space) -> float:
    if space.kind == "general_linear":
        return math.log(2)
    orders = math.lgamma(space.size + 1) if space.permuted else 0.0
    return orders + space.signs * space.size * math.log(2)


def _row(space: Space, touches: int | None) -> tuple[str, ...]:
    return (
        space.name,
        str(space.size),
        space.kind,
        str(space.scalings),
        str(space.signs),
        ", ".join(space.over),
        space.code,
        _some(space.touches, touches),
    )


def _some(places: Sequence[str], limit: int | None) -> str:
    shown = ", ".join(places[:limit])
    rest = 0 if limit is None else len(places) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def combinations(array: ArraySpec) -> list[Entry]:
    """Returns the factors that act on each kind of entry of an array."""
    if array.slices:
        return [entry for part in array.slices for entry in combinations(part)]
    inner = [branches(axis) for axis in (*array.axes, array.whole)]
    return [sum(choice, ()) for choice in itertools.product(*inner)]
