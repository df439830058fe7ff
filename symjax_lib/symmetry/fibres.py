"""Which spaces may be transformed otherwise at each position of another axis.

Heads of attention are an example: the channels of a head are never seen without the
axis of heads beside them, so every head may have an element of its own.
"""

import itertools
from collections.abc import Iterable, Sequence

from symjax_lib.symmetry.axes import Axes, Axis, Product
from symjax_lib.symmetry.graph import Graph

Branch = tuple[Axis, ...]
"""The leaves at one kind of position along an axis."""


def outer_axes(graph: Graph, leaves: Sequence[Axis]) -> dict[Axis, tuple[Axis, ...]]:
    """Returns for each leaf the leaves that it varies over, the outermost first.

    A leaf varies over another if that is beside it, once, wherever it is seen, and its
    positions are not mixed. If two are always beside each other the first is the outer.

    Args:
      graph: of the whole function.
      leaves: those of parameters, in order; outer ones are among them too.
    """
    order = {leaf: i for i, leaf in enumerate(leaves)}
    allowed = {
        leaf
        for leaf in leaves
        if graph.axes.size[leaf] > 1 and not graph.axes.mixed(leaf)
    }
    beside: dict[Axis, set[Axis]] = {leaf: set(allowed) for leaf in leaves}
    for roots in {tuple(map(graph.axes.find, value)) for value in graph.seen}:
        _meet(beside, [branches(graph.axes, root) for root in roots])
    over = {
        leaf: {
            o for o in outer - {leaf} if leaf not in beside[o] or order[o] < order[leaf]
        }
        for leaf, outer in beside.items()
    }
    depth = lambda o: (len(over[o]), order[o])
    return {leaf: tuple(sorted(outer, key=depth)) for leaf, outer in over.items()}


def _meet(beside: dict[Axis, set[Axis]], value: Sequence[Sequence[Branch]]) -> None:
    """Keeps for each leaf those that are beside it in this value as well."""
    for i, axis in enumerate(value):
        others = [branch for k, other in enumerate(value) if k != i for branch in other]
        elsewhere = set(itertools.chain.from_iterable(others))
        # On another axis it must be at every position.
        everywhere = {
            leaf
            for k, other in enumerate(value)
            if k != i
            for leaf in set(other[0])
            if all(branch.count(leaf) == 1 for branch in other)
        }
        twice = {
            leaf
            for leaf in everywhere
            if sum(
                any(leaf in b for b in other) for k, other in enumerate(value) if k != i
            )
            > 1
        }
        for branch in axis:
            here = {leaf for leaf in branch if branch.count(leaf) == 1}
            companions = (here - elsewhere) | (everywhere - twice - set(branch))
            for leaf in set(branch) & beside.keys():
                alone = leaf in here and leaf not in elsewhere
                beside[leaf] &= companions if alone else set()


def branches(axes: Axes, axis: Axis) -> list[Branch]:
    """Returns the leaves of an axis for each kind of position that it has."""
    form = axes.form(axis)
    if form is None:
        return [(axes.find(axis),)]
    inner: Iterable[list[Branch]] = (branches(axes, part) for part in form.parts)
    if isinstance(form, Product):
        return [sum(choice, ()) for choice in itertools.product(*inner)]
    return list(itertools.chain.from_iterable(inner))
