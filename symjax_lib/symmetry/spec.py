"""What is known of a function's symmetries: its spaces, and what each axis means."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np


class Factor(NamedTuple):
    """A factor of an axis: a space and how it acts there, or a fixed part.

    Attributes:
      size: number of positions.
      space: name of the space that permutes them, or None.
      scalings: exponent of each scaling of the space.
      signs: exponent, 0 or 1, of each sign of the space.
    """

    size: int
    space: str | None = None
    scalings: tuple[float, ...] = ()
    signs: tuple[int, ...] = ()


class ArraySpec(NamedTuple):
    """What the axes of one array mean.

    Attributes:
      axes: for each axis its factors, the outermost first; none if nothing acts on it.
    """

    axes: tuple[tuple[Factor, ...], ...]


class Space(NamedTuple):
    """A set of channels that are transformed together.

    Attributes:
      name: of the first tap in the space, or else of the first parameter.
      size: number of channels.
      kind: the group at the tap (or parameter) that names the space, one of
        `groups.KINDS`; this is the image of the activation's intertwiner group.
      scalings: number of independent positive scalings of each channel anywhere; more
        than at the tap where, for example, a BatchNorm undoes what a kernel does.
      signs: number of independent signs of each channel, likewise.
      touches: the parameters' axes and taps that it acts on, as "path:axis".
    """

    name: str
    size: int
    kind: str
    scalings: int
    signs: int
    touches: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class SymmetrySpec:
    """The symmetries of a function under changes of its variables.

    Attributes:
      spaces: by name, in the order in which the function computes them.
      variables: a tree like the variables, with an `ArraySpec` for each array.
      taps: the `ArraySpec` of each named value.
      fixed: for each axis of a parameter that is left alone, the reason.

    `dimension` counts independent scalings, not all dimensions of general linear
    groups; printing the specification shows the table of `describe`.
    """

    spaces: dict[str, Space]
    variables: Any
    taps: dict[str, ArraySpec]
    fixed: dict[str, str]

    @property
    def dimension(self) -> int:
        """Number of independent one-parameter scalings of the variables.

        Channels by scalings, less those combinations that move nothing: where one array
        has two spaces, a factor on all of one is undone by its inverse on the other.
        """
        total = sum(space.scalings * space.size for space in self.spaces.values())
        leaves = jax.tree.leaves(
            self.variables, is_leaf=lambda x: isinstance(x, ArraySpec)
        )
        # A combination that moves nothing is constant along every space.
        columns = {name: i for i, name in enumerate(self.spaces)}
        width = max((s.scalings for s in self.spaces.values()), default=0)
        rows = np.zeros((len(leaves), len(columns), width))
        for row, array in zip(rows, leaves, strict=True):
            for factor in (f for axis in array.axes for f in axis if f.space):
                row[columns[factor.space], : len(factor.scalings)] += factor.scalings
        unknowns = sum(space.scalings for space in self.spaces.values())
        rank = np.linalg.matrix_rank(rows.reshape(len(leaves), -1)) if rows.size else 0
        return total - (unknowns - int(rank))

    @property
    def log_permutations(self) -> float:
        """Natural logarithm of the number of permutations and signs.

        An upper bound: where one array has two spaces, two signs may undo each other.
        """
        return sum(
            math.lgamma(space.size + 1) + space.signs * space.size * math.log(2)
            for space in self.spaces.values()
        )

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """Returns a table of the spaces: size, group, and the axes that they touch."""
        rows = [("space", "size", "group", "scalings", "signs", "touches")]
        for s in self.spaces.values():
            touches = ", ".join(s.touches)
            rows.append(
                (s.name, str(s.size), s.kind, str(s.scalings), str(s.signs), touches)
            )
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join(
                [*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[5]]
            )
            for row in rows
        ]
        count = len(self.spaces)
        plural = "" if count == 1 else "s"
        total = f"{count} space{plural}, {self.dimension} independent scalings"
        return "\n".join([*lines, total])
