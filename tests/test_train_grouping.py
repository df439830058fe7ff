import dataclasses

import jax
import pytest
from zoos import TINY, fake

from train import ensemble, grouping, memory

VMAPPED = dataclasses.replace(TINY, strategy="vmap")


def test_groups_and_strategies():
    assert grouping.groups([4, 7], "loop") == [[4], [7]]
    assert grouping.groups([4, 7], "vmap") == [[4, 7]]
    assert grouping.groups([], "vmap") == grouping.groups([], "loop") == []
    on_cpu = jax.default_backend() == "cpu"
    assert grouping.resolve("auto") == ("loop" if on_cpu else "vmap")
    assert [grouping.resolve(s) for s in ("loop", "vmap")] == ["loop", "vmap"]


def test_a_group_is_as_large_as_the_memory_unless_its_size_is_given(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 250)
    places = jax.device_count()
    seeds = list(range(4 * places))
    plan = grouping.plan(VMAPPED, seeds, lambda n: 100 * n)
    assert plan == [seeds[: 2 * places], seeds[2 * places :]]
    assert (
        len(grouping.plan(VMAPPED, seeds, lambda n: 1000 * n)) == 4
    )  # one on each device
    three = dataclasses.replace(VMAPPED, seeds_per_chunk=3)
    assert grouping.plan(three, seeds, _not_asked)[0] == [0, 1, 2]
    looped = dataclasses.replace(TINY, strategy="loop")
    assert grouping.plan(looped, seeds, _not_asked)[0] == seeds[:places]


def _not_asked(seeds):
    raise AssertionError(seeds)


def test_memory_is_linear_in_seeds():
    functions = ensemble.make_functions(VMAPPED, fake())
    state = jax.eval_shape(functions.init, ensemble.seed_keys(VMAPPED, [0]))
    leaves = jax.tree.leaves((state, state.variables, state.variables))
    at_least = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    one, many, more = map(functions.memory, (1, 8, 16))
    assert one > at_least
    assert more - many == pytest.approx(8 * one, rel=0.1)
    assert memory.available() > 16 * one
