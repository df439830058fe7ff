"""Random architectures: what the tracer finds is a symmetry of the function.

Properties of whatever lists of blocks Hypothesis comes up with. A random element of
the group changes no output, and every block's result becomes what the specification
says; there are as many scalings as the derivatives have. Then some elements that are
outside, so that the check is known to be one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import Architecture
from compounds import Attention, Gate, Residual, SplitActs
from hypothesis import HealthCheck, assume, given, reject, settings, strategies as st
from layers import Act, BatchNorm, Conv, Dense, GlobalPool, Reverse
from scaling_nullity import QUICK, Nullity, nullity
from strategies import HEAD, architectures, plain

from symjax_lib import symmetry, tracing

TOLERANCE = 1e-9
settings.register_profile(
    "symmetry",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
QUIET = settings.get_profile("symmetry")


def assert_symmetric(net: Architecture, seed: int) -> symmetry.SymmetrySpec:
    """Asserts that a random element keeps the outputs and moves the taps as stated."""
    with jax.enable_x64(True):
        v, x = net.init(seed), net.example(seed)
        spec = symmetry.trace(net.apply, v, x)
        named = jax.jit(tracing.taps(net.apply), compiler_options=QUICK)
        out, before = named(v, x)
        assume(all(np.isfinite(tap).all() for tap in before.values()))

        def action(g: symmetry.Element) -> Any:
            on_tap = lambda name: symmetry.act_on_tap(spec, g, name, before[name])
            return symmetry.act(spec, g, v), {name: on_tap(name) for name in before}

        g = symmetry.sample(jax.random.key(seed), spec)
        w, expected = jax.jit(action, compiler_options=QUICK)(g)
        moved, after = named(w, x)
        assert_close("output", moved, out)
        for name, value in after.items():
            assert_close(f"tap {name!r}", value, expected[name])
    return spec


def assert_close(what: str, actual: jax.Array, expected: jax.Array) -> None:
    error = float(jnp.abs(actual - expected).max(initial=0))
    size = float(jnp.abs(expected).max(initial=0))
    assert error <= TOLERANCE * size, f"{what} is off by {error} of {size}"


@given(architectures, st.integers(0, 3))
@settings(QUIET, max_examples=8)
def test_random_architectures(net, seed):
    assert_symmetric(net, seed)


@pytest.mark.slow
@given(architectures, st.integers(0, 3))
@settings(QUIET, max_examples=500)
def test_many_random_architectures(net, seed):
    assert_symmetric(net, seed)


def numbers(net: Architecture, seed: int) -> tuple[int, Nullity]:
    """Returns the scalings that are found, and those of the derivatives."""
    with jax.enable_x64(True):
        v, x = net.init(seed), net.example(seed)
        found = symmetry.trace(net.apply, v, x).dimension
    try:
        return found, nullity(net.apply, v, x, seed=seed)
    except ValueError:  # Rounding does not tell.
        reject()


@pytest.mark.slow
@given(architectures, st.integers(0, 3))
@settings(QUIET, max_examples=200)
def test_no_more_scalings_than_there_are(net, seed):
    found, (scalings, free) = numbers(net, seed)
    assert found <= scalings + free


@pytest.mark.slow
@given(plain, st.integers(0, 3))
@settings(QUIET, max_examples=12)
def test_all_scalings(net, seed):
    found, (scalings, free) = numbers(net, seed)
    assert scalings <= found <= scalings + free


@pytest.mark.slow
@given(plain, st.integers(0, 3))
@settings(QUIET, max_examples=600)
def test_all_scalings_of_many(net, seed):
    found, (scalings, free) = numbers(net, seed)
    assert scalings <= found <= scalings + free


# Pairs of architectures with the same parameters: the first has symmetries that the
# second has not.
TWINS = {
    "relu, tanh": [(Dense(4), Act(name), HEAD) for name in ("relu", "tanh")],
    "abs, relu": [(Dense(4), Act(name), HEAD) for name in ("abs", "relu")],
    "identity, relu": [(Dense(4), Act(name), HEAD) for name in ("identity", "relu")],
    "gates": [(Gate(4, name), HEAD) for name in ("relu", "silu")],
    "halves": [
        (Dense(4), SplitActs("relu", second), HEAD) for second in ("relu", "tanh")
    ],
    "mean, maximum": [
        (Dense(4), GlobalPool(kind), HEAD) for kind in ("mean", "max")
    ],
    "rotary": [
        (Attention(1, size=4, rotary=rotary), GlobalPool(), HEAD)
        for rotary in (False, True)
    ],
    "grouped": [
        (Dense(4), Reverse() if free else Residual((Reverse(),)), HEAD)
        for free in (True, False)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_another_functions_symmetries_are_none(name):
    """The same check fails for elements of a group that is too large."""
    shape = (9, 4, 3) if name in ("mean, maximum", "rotary") else (30, 3)
    larger, smaller = (Architecture(shape, tuple(blocks)) for blocks in TWINS[name])
    with jax.enable_x64(True):
        v, x = smaller.init(), smaller.example()
        spec = symmetry.trace(larger.apply, v, x)
        w = symmetry.act(spec, symmetry.sample(jax.random.key(0), spec), v)
        assert symmetry.certify(larger.apply, v, w, x, tolerance=TOLERANCE).ok
        found = symmetry.certify(smaller.apply, v, w, x, tolerance=TOLERANCE)
        assert found.max_rel_error > 1e-3


# Every parameter has an influence, and there are enough inputs that no unit is dead.
EXAMPLES = {
    "dense": Architecture((30, 3), (Dense(4), Act("relu"), HEAD)),
    "batch norm": Architecture((30, 3), (Dense(4), BatchNorm(), Act("relu"), HEAD)),
    "attention": Architecture(
        (9, 4, 3), (Attention(2, biases="qv"), GlobalPool(), HEAD)
    ),
    "padding": Architecture(
        (30, 3),
        (Dense(2), Residual((Dense(3), Act("relu"), Dense(4)), "pad"), HEAD),
    ),
    "groups": Architecture(
        (2, 4, 4, 2),
        (Conv(4), Act("relu"), Conv(4, groups=2), Act("relu"), GlobalPool(), HEAD),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_one_axis_alone_is_no_symmetry(name):
    """One channel of one axis of one parameter by 1.5, or two of them swapped."""
    net = EXAMPLES[name]
    with jax.enable_x64(True):
        v, x = net.init(), net.example()
        run = jax.jit(net.apply)
        before = run(v, x)
        for path, array in v.items():
            for axis in range(array.ndim):
                first = (slice(None),) * axis + (0,)
                grown = array.at[first].multiply(1.5)
                order = np.arange(array.shape[axis])
                order[:2] = order[:2][::-1]
                swapped = jnp.take(array, order, axis=axis)
                for wrong in (grown, swapped):
                    after = run({**v, path: wrong}, x)
                    assert float(jnp.abs(after - before).max()) > 1e-6, (path, axis)
