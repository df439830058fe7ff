"""One small function per rule: which spaces are found, and that they are symmetries.

An element of a group that is too large changes the function, one that is too small is
seen in the list of spaces: `(kind, size, scalings, signs)` for each, by hand.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from thinned import some

from symjax_lib import symmetry

relu = jax.nn.relu
X = np.random.default_rng(0).normal(size=(16, 3))
IMAGES = np.random.default_rng(0).normal(size=(2, 6, 6, 4))
RELU, LINEAR = ("positive_monomial", 6, 1, 0), ("general_linear", 6, 1, 1)
WHOLE = ("positive_diagonal", 1, 1, 0)
MONOMIAL, PERMUTATION = ("monomial", 6, 1, 1), ("permutation", 6, 0, 0)


def three(x, w):
    return jnp.einsum("ni,iab->nab", x, w)


def conv(x, k, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=numbers, **options
    )


# Shapes of the variables, the function, and the spaces that it has.
IN_OUT = {"w": (3, 6), "u": (6, 2)}
TABLE = {
    "linear": (IN_OUT, lambda v, x: x @ v["w"] @ v["u"], [LINEAR]),
    "relu": (IN_OUT, lambda v, x: relu(x @ v["w"]) @ v["u"], [RELU]),
    "maximum over an axis has no signs": (
        {"w": (3, 2, 6), "u": (6, 2)},
        # The other axis is only permuted.
        lambda v, x: three(x, v["w"]).max(axis=1) @ v["u"],
        [("permutation", 2, 0, 0), RELU],
    ),
    "comparison has no signs": (
        IN_OUT | {"z": (3, 6)},
        lambda v, x: (x @ v["w"] > x @ v["z"]).astype(x.dtype) @ v["u"],
        [RELU],
    ),
    "maximum of two has no signs": (
        IN_OUT | {"z": (3, 6)},
        lambda v, x: jnp.maximum(x @ v["w"], x @ v["z"]) @ v["u"],
        [RELU],
    ),
    "product of two lets no matrices pass": (
        IN_OUT | {"z": (3, 6)},
        lambda v, x: (lambda h: (h + h * (x @ v["z"])) @ v["u"])(x @ v["w"]),
        [MONOMIAL],
    ),
    "quotient": (
        IN_OUT | {"g": (6,)},
        lambda v, x: (x @ v["w"] / v["g"]) @ v["u"],
        [("monomial", 6, 2, 2)],
    ),
    "one number for all channels": (
        IN_OUT | {"s": ()},
        lambda v, x: relu(x @ v["w"] + v["s"]) @ v["u"],
        [PERMUTATION, WHOLE],
    ),
    "one number, repeated": (
        IN_OUT | {"s": (1,)},
        lambda v, x: relu(x @ v["w"] + jnp.broadcast_to(v["s"], (16, 6))) @ v["u"],
        [PERMUTATION, WHOLE],
    ),
    "sum over channels": (
        {"w": (3, 6)}, lambda v, x: relu(x @ v["w"]).sum(axis=-1), [PERMUTATION],
    ),
    "power": (
        IN_OUT | {"p": (6,)},
        lambda v, x: jnp.abs(x @ v["w"]) ** v["p"] @ v["u"],
        [("signed_permutation", 6, 0, 1)],
    ),
    "choice": (
        IN_OUT | {"a": (6,)},
        lambda v, x: (lambda h: jnp.where(h > 0, h, v["a"] * h) @ v["u"])(x @ v["w"]),
        [RELU],
    ),
    "choice by a constant": (
        IN_OUT,
        lambda v, x: (
            lambda h: jnp.where(jnp.zeros((16, 6), bool), h, relu(h)) @ v["u"]
        )(x @ v["w"]),
        [RELU],
    ),
    "an axis of size 1 that goes by reshape": (
        {"w": (3, 1)}, lambda v, x: relu(x @ v["w"]).reshape(-1), [],
    ),
    "an axis of size 1 that goes by squeeze": (
        {"w": (3, 1)}, lambda v, x: jnp.squeeze(relu(x @ v["w"]), 1), [],
    ),
    "an axis of size 1 that goes by an index": (
        {"w": (3, 1)}, lambda v, x: relu(x @ v["w"])[:, 0], [],
    ),
    "reshapes that overlap": (
        {"w": (3, 12), "u": (12, 2)},
        lambda v, x: (
            relu(x @ v["w"]).reshape(16, 2, 6).reshape(16, 4, 3).reshape(16, 12)
            @ v["u"]
        ),
        [WHOLE],
    ),
    "three spaces on one axis": (
        {"w": (3, 24), "u": (2, 3, 4, 5)},
        lambda v, x: jnp.einsum(
            "nabc,abck->nk", relu(x @ v["w"]).reshape(16, 2, 3, 4), v["u"]
        ),
        # Always together: each entry of the outer two has elements of its own.
        [("permutation", 2, 0, 0), ("permutation", 3, 0, 0),
         ("positive_monomial", 4, 1, 0)],
    ),
    "grouped convolution": (
        {"w": (4, 4), "k": (3, 3, 2, 6), "u": (6, 2)},
        lambda v, x: (
            relu(conv(relu(x @ v["w"]), v["k"], feature_group_count=2)) @ v["u"]
        ),
        [("permutation", 2, 0, 0), ("positive_monomial", 2, 1, 0),
         ("positive_monomial", 3, 1, 0)],
    ),
    "grouped batch": (
        {"k": (3, 3, 4, 6)},
        lambda v, x: conv(x, v["k"], batch_group_count=2).reshape(-1),
        [],
    ),
    "convolution": (
        {"k": (3, 3, 4, 6), "u": (6, 2)},
        lambda v, x: relu(conv(x, v["k"])) @ v["u"],
        [RELU],
    ),
    "dilated windows": (
        IN_OUT,
        lambda v, x: (
            lax.reduce_window(
                relu(x @ v["w"]), 0.0, lax.add, (1, 1), (1, 1), "VALID", (1, 2)
            )[:, ::2]
            @ v["u"]
        ),
        [WHOLE],
    ),
    "weights used twice": (
        IN_OUT | {"m": (6, 6)},
        lambda v, x: x @ v["w"] @ v["m"] @ v["m"] @ v["u"],
        [LINEAR, ("diagonal", 1, 1, 1)],  # m by a, u by 1 / a ** 2
    ),
    "a constant that varies": (
        IN_OUT,
        lambda v, x: relu(x @ v["w"]) * jnp.arange(6.0) @ v["u"],
        [("positive_diagonal", 6, 1, 0)],
    ),
    "a constant that is nan somewhere": (
        IN_OUT,
        lambda v, x: jnp.fmax(jnp.array([jnp.nan, 5, 0, 0, 0, 0]), x @ v["w"]) @ v["u"],
        [("permutation", 4, 0, 0)],  # where it is 0
    ),
    "an empty constant": (
        IN_OUT | {"e": (0,)},
        lambda v, x: relu(x @ v["w"]) @ v["u"] + (v["e"] + jnp.zeros(0)).sum(),
        [RELU],
    ),
    "complex values between": (
        IN_OUT,
        lambda v, x: jnp.imag(
            (lambda h: h**2 + 1j * jnp.tanh(h))(x @ v["w"]) @ v["u"]
        ),
        [PERMUTATION],
    ),
    "a function that is not odd at 0": (
        {"w": (3, 6), "u": (6, 2)},
        lambda v, x: jnp.where(x @ v["w"] >= 0, 1.0, -1.0) @ v["u"],
        [RELU],
    ),
    "a function that is not homogeneous at 0": (
        IN_OUT,
        lambda v, x: (
            lambda h: jnp.where(h == 0, 1.0, h) @ v["u"]
        )(relu(x @ v["w"]) * (jnp.abs(x[:, :1]) > 0.5)),
        [PERMUTATION],
    ),
    "a constant key": (
        IN_OUT,
        lambda v, x: (
            relu(x @ v["w"])
            * jax.random.bernoulli(
                jax.random.fold_in(jax.random.key(0), x.shape[0]), 0.5, (16, 6)
            )
            @ v["u"]
        ),
        [("positive_diagonal", 6, 1, 0)],
    ),
}  # fmt: skip


def drawn(shapes, seed=1):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=s)) for name, s in shapes.items()}


@pytest.mark.parametrize("name", some(TABLE, every=3))
def test_rule(name):
    shapes, fn, expected = TABLE[name]
    with jax.enable_x64(True):
        v = drawn(shapes)
        x = jnp.asarray(IMAGES if "k" in shapes else X)
        spec = symmetry.trace(fn, v, x)
        found = [(s.kind, s.size, s.scalings, s.signs) for s in spec.spaces.values()]
        assert sorted(found) == sorted(expected)
        for seed in range(2):
            g = symmetry.sample(jax.random.key(seed), spec)
            moved = symmetry.act(spec, g, v)
            certificate = symmetry.certify(fn, v, moved, x, tolerance=1e-9)
            assert certificate.ok, certificate


def test_batched_dot():
    """Batch dimensions of a product are channels too; certified, whatever they are."""

    def fn(v, x):
        h = relu(jnp.einsum("nca,cab->ncb", three(x, v["w"]), v["k"]))
        return jnp.einsum("ncb,cbd->nd", h, v["u"])

    with jax.enable_x64(True):
        v = drawn({"w": (3, 2, 5), "k": (2, 5, 4), "u": (2, 4, 3)})
        spec = symmetry.trace(fn, v, X)
        assert {space.size for space in spec.spaces.values()} == {2, 4, 5}
        g = symmetry.sample(jax.random.key(0), spec)
        assert symmetry.certify(fn, v, symmetry.act(spec, g, v), X, tolerance=1e-9).ok


def test_whole_numbers_are_permuted_only():
    fn = lambda v, x: ((x @ v["w"]) @ v["u"]).astype(jnp.float32)
    v = {"w": jnp.arange(15).reshape(3, 5), "u": jnp.arange(10).reshape(5, 2)}
    x = jnp.arange(12).reshape(4, 3)
    spec = symmetry.trace(fn, v, x)
    assert [(s.kind, s.size) for s in spec.spaces.values()] == [("permutation", 5)]
    moved = symmetry.act(spec, symmetry.sample(jax.random.key(0), spec), v)
    assert symmetry.certify(fn, v, moved, x, tolerance=0.0).ok
    # Numbers that float32 does not have.
    large = {"t": jnp.array([16777217, 16777219, 33554433, 5])}
    total = lambda v, x: ((v["t"] % 1000).sum() * x).astype(jnp.float32)
    spec = symmetry.trace(total, large, jnp.ones(()))
    moved = symmetry.act(spec, symmetry.sample(jax.random.key(1), spec), large)
    assert sorted(moved["t"].tolist()) == [5, 16777217, 16777219, 33554433]


@pytest.mark.parametrize(
    ("fn", "shapes", "expected"),
    [
        # Two axes that are always together have a scaling for each pair.
        (
            lambda v, x: jnp.einsum("nab,abk->nk", relu(three(x, v["w"])), v["u"]),
            {"w": (3, 4, 2), "u": (4, 2, 5)},
            4 * 2,
        ),
        (lambda v, x: relu(x @ v["w"]) @ v["u"], {"w": (3, 6), "u": (6, 2)}, 6),
        (
            lambda v, x: relu(relu(x @ v["w"]) @ v["m"]) @ v["u"],
            {"w": (3, 6), "m": (6, 5), "u": (5, 2)},
            11,
        ),
    ],
)
def test_dimension_is_the_rank_of_the_scalings(fn, shapes, expected):
    """Against the rank of the logarithms of what random elements do."""
    with jax.enable_x64(True):
        v = {name: jnp.ones(shape) for name, shape in shapes.items()}
        spec = symmetry.trace(fn, v, X)
        moves = []
        for seed in range(30):
            element: Any = symmetry.sample(jax.random.key(seed), spec)
            still = jax.tree.map(
                lambda one, drawn: one if drawn.dtype == int else drawn,
                symmetry.identity(spec),
                element,
            )
            leaves = jax.tree.leaves(symmetry.act(spec, still, v))
            moves.append(np.concatenate([np.log(np.abs(x)).ravel() for x in leaves]))
        assert (
            spec.dimension == expected == np.linalg.matrix_rank(np.array(moves), 1e-8)
        )


def test_certify_looks_at_every_output():
    ones = jnp.ones(3)
    certify = symmetry.certify
    nan = lambda v, x: (v * x, jnp.full(3, jnp.nan) * v)
    assert not certify(nan, jnp.array(1.0), jnp.array(1.0), ones).ok
    hidden = lambda v, x: (v["a"] * x, v["b"] * 1e6)
    assert not certify(hidden, {"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, ones).ok
    counted = lambda v, x: (x, jnp.int32(v["a"]))
    assert certify(counted, {"a": 1.2}, {"a": 1.4}, ones).ok
    assert not certify(counted, {"a": 1.0}, {"a": 2.0}, ones).ok
    imaginary = lambda v, x: v["a"] * x * 1j
    assert not certify(imaginary, {"a": 1.0}, {"a": 2.0}, ones).ok
    half = lambda v, x: v["a"] * x
    coarse = [{"a": jnp.bfloat16(a)} for a in (1.0, -5.0)]
    assert not certify(half, *coarse, ones.astype(jnp.bfloat16)).ok
    dead = lambda v, x: relu(v["a"] * x)
    assert certify(dead, {"a": -1.0}, {"a": -2.0}, ones).ok
    assert not certify(dead, {"a": -1.0}, {"a": 2.0}, ones).ok


def test_paths_that_are_equal_are_refused():
    v = {"a": {"b": jnp.ones(3)}, "a/b": jnp.ones(3)}
    with pytest.raises(ValueError, match="two variables have one path"):
        symmetry.trace(lambda v, x: (v["a"]["b"] * v["a/b"]).sum() * x, v, jnp.ones(()))


def test_flax_heads_without_bias():
    """A critic's last layer: one output, which goes by squeeze."""

    class Critic(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(5)(x))
            return nn.Dense(1, use_bias=False)(x).squeeze(-1)

    x = jnp.asarray(X, jnp.float32)
    v = Critic().init(jax.random.key(0), x)
    spec = symmetry.trace(Critic().apply, v, x)
    assert [space.size for space in spec.spaces.values()] == [5]
    moved = symmetry.act(spec, symmetry.sample(jax.random.key(1), spec), v)
    assert symmetry.certify(Critic().apply, v, moved, x).ok
