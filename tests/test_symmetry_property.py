"""Random architectures: what the tracer finds is a symmetry of the function.

Two properties of whatever lists of blocks Hypothesis comes up with. A random element of
the group changes no output, and every block's result becomes what the specification
says. Then some elements that are outside, so that the check is known to be one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import ACTIVATIONS, Architecture
from compounds import (
    Attention,
    Autoencoder,
    Branches,
    Concat,
    Embed,
    Experts,
    Gate,
    HiddenTensor,
    Recurrent,
    Residual,
    Scan,
    SplitActs,
    SqueezeExcite,
    TiedHead,
    Twice,
)
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from layers import (
    Act,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Depthwise,
    Flatten,
    GlobalPool,
    GroupNorm,
    LayerNorm,
    LayerNormOfAll,
    LayerScale,
    MaxPool,
    Positions,
    Reverse,
    RMSNorm,
    ScalarGain,
    SequencePool,
    Shuffle,
    Slice,
    Transposed,
    WeightNorm,
)
from scaling_nullity import QUICK, nullity

from symjax_lib import symmetry, tracing

TOLERANCE = 1e-9
VOCABULARY = 5
settings.register_profile(
    "symmetry",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
QUIET = settings.get_profile("symmetry")

# Architectures, the simplest first, as examples shrink towards it.
widths = st.sampled_from([2, 3, 4, 6, 1])
small = st.sampled_from([2, 3, 1])
yes_or_no = st.booleans()
names = st.sampled_from(list(ACTIVATIONS))
# Where a function is applied many times its results should stay finite.
tame = st.sampled_from(["relu", "tanh", "abs", "leaky_relu", "identity", "gelu"])
acts = st.builds(Act, names)
anywhere = st.one_of(
    acts,
    st.builds(Dense, widths, yes_or_no),
    st.builds(BatchNorm, yes_or_no),
    st.builds(LayerNorm, yes_or_no),
    st.builds(RMSNorm),
    st.builds(GroupNorm, small),
    st.builds(Gate, widths, names, yes_or_no),
    st.builds(LayerScale),
    st.builds(Transposed, widths),
    st.builds(Reverse),
    st.builds(Slice),
    st.builds(Shuffle, small),
    st.builds(SplitActs, names, names),
    st.builds(ScalarGain),
    st.builds(WeightNorm, widths),
    st.builds(Twice, tame, yes_or_no),
    st.builds(Autoencoder, widths, tame),
    st.builds(Scan, small, tame, st.sampled_from([0, 3])),
    st.builds(HiddenTensor, small, small, tame),
    st.builds(Experts, small, small, tame),
)
# No window is smaller than its input here: shortcuts add and join what comes out.
convolutions = st.one_of(
    st.builds(Conv, widths, st.sampled_from([3, 1]), groups=small, bias=yes_or_no),
    st.builds(Conv, widths, dilation=st.just(2)),
    st.builds(Depthwise, small),
)
attention = st.builds(
    Attention,
    heads=st.sampled_from([2, 1, 4]),
    kv_heads=st.sampled_from([0, 1, 2]),
    size=small,
    width=st.sampled_from([0, 4]),
    biases=st.sampled_from(["", "q", "v", "qkvo"]),
    rotary=yes_or_no,
    causal=yes_or_no,
    fused=yes_or_no,
)


def some(blocks: Any, least: int = 1, most: int = 3) -> Any:
    return st.lists(blocks, min_size=least, max_size=most).map(tuple)


def composite(blocks: Any) -> Any:
    """Blocks, and sums and concatenations of them."""
    inner = some(blocks)
    return st.one_of(
        blocks,
        st.builds(Residual, inner, st.sampled_from(["identity", "pad", "projection"])),
        st.builds(Concat, inner),
        st.builds(Branches, inner, inner),
    )


def chain(shape: tuple, blocks: Any, *ends: Any, vocabulary: int = 0) -> Any:
    """A first layer of parameters, some blocks, and one of the ends."""
    first = st.builds(Embed, st.just(vocabulary), widths)
    parts = [some(first if vocabulary else st.builds(Dense, widths), 1, 1)]
    parts += [some(blocks, 1, 4), st.sampled_from(ends)]
    return st.tuples(*parts).map(
        lambda lists: Architecture(shape, sum(lists, ()), vocabulary)
    )


HEAD = Dense(2)
sequential = st.one_of(anywhere, attention, st.builds(SqueezeExcite, small, names))
pictorial = st.one_of(convolutions, anywhere, st.builds(SqueezeExcite, small, names))
positioned = st.one_of(composite(sequential), st.builds(Positions, yes_or_no))
pooled = st.sampled_from([AvgPool(), MaxPool(), Conv(3, stride=2)])
POOLED = (GlobalPool(), HEAD), (GlobalPool("max"), HEAD), (Flatten(), HEAD), (HEAD,)
architectures = st.one_of(
    chain((5, 3), composite(anywhere), (HEAD,), ()),
    chain(
        (3, 4, 3),
        positioned,
        *POOLED,
        (SequencePool(), HEAD),
        (Recurrent(3, "relu"), HEAD),
        (LayerNormOfAll(), Flatten(), HEAD),
    ),
    chain((2, 4, 4, 2), st.one_of(composite(pictorial), pooled), *POOLED),
    chain((3, 4), positioned, *POOLED, (TiedHead(VOCABULARY),), vocabulary=VOCABULARY),
)


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
@settings(QUIET, max_examples=40)
def test_random_architectures(net, seed):
    assert_symmetric(net, seed)


@pytest.mark.slow
@given(architectures, st.integers(0, 3))
@settings(QUIET, max_examples=500)
def test_many_random_architectures(net, seed):
    assert_symmetric(net, seed)


@pytest.mark.slow
@given(architectures, st.integers(0, 3))
@settings(QUIET, max_examples=200)
def test_no_more_scalings_than_there_are(net, seed):
    """The derivatives have as many, with those of entries without influence."""
    with jax.enable_x64(True):
        v, x = net.init(seed), net.example(seed)
        found = symmetry.trace(net.apply, v, x).dimension
    try:
        counts = nullity(net.apply, v, x, seed=seed)
    except ValueError:  # Rounding does not tell.
        assume(False)
    assert found <= sum(counts)


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
