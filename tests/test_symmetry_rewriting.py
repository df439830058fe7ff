"""Programs with operations written as others still do the same, and show more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.core import eval_jaxpr
from thinned import some

from symjax_lib import jaxprs, symmetry
from symjax_lib.symmetry import rewriting

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 12)), jnp.float32)


def simplified(fn, *args):
    """Returns the names of the operations, and the results."""
    program = rewriting.simplified(jaxprs.trace(fn, *args))
    names = [eqn.primitive.name for eqn in program.jaxpr.eqns]
    results = eval_jaxpr(program.jaxpr, program.consts, *jax.tree.leaves(args))
    return names, jax.tree.unflatten(program.out_tree, results)


FUNCTIONS = {
    "split": lambda x: jnp.split(x, [2, 7], axis=-1),
    "unstack": lambda x: jnp.unstack(x, axis=1),
    "stack": lambda x: jnp.stack([x, 2 * x], axis=1),
    "tile": lambda x: jnp.tile(x, (2, 1, 3)),
    "first factor": lambda x: x.reshape(2, 3, 3, 4)[:, :, 1],
    "range of the first factor": lambda x: x.reshape(2, 3, 3, 4)[:, :, 1:],
    "middle factor": lambda x: x.reshape(2, 3, 2, 3, 2)[:, :, :, 2],
    "last factor": lambda x: x.reshape(2, 3, 4, 3)[..., 0],
    "two factors": lambda x: x.reshape(2, 3, 2, 3, 2)[:, :, 1, :2],
    "two axes": lambda x: x.reshape(2, 3, 3, 4)[1:, :, 1],
    "every other": lambda x: x.reshape(2, 3, 4, 3)[:, :, ::2],
    "transposed": lambda x: [*x.reshape(2, 3, 3, 2, 2).transpose(2, 0, 3, 1, 4)],
    "moved twice": lambda x: x.T.reshape(3, 4, 6).swapaxes(0, 1)[1:3, 2],
    "merged": lambda x: x.reshape(6, 12)[1:3],
    "merged and split": lambda x: x.reshape(3, 24)[:, 5:20],
    "size one": lambda x: x.reshape(2, 1, 3, 12)[:, :1, 1],
    "nothing": lambda x: x.reshape(2, 3, 3, 4)[:, :, 1:1],
    "reordered": lambda x: lax.reshape(x, (6, 12), (1, 0, 2))[2:3],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_does_the_same(name):
    names, found = simplified(FUNCTIONS[name], X)
    expected = FUNCTIONS[name](X)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert not {*names} & {*rewriting.EQUIVALENT}


@pytest.mark.parametrize("seed", some(range(30), every=3))
def test_random_slices_of_random_reshapes(seed):
    rng = np.random.default_rng(seed)
    shapes = [(2, 3, 12), (6, 12), (2, 36), (2, 3, 3, 4), (3, 2, 2, 6), (72,), (1, 72)]

    def fn(x):
        for _ in range(3):
            x = x.reshape(shapes[rng.integers(len(shapes))])
            x = x.transpose(rng.permutation(x.ndim))
        starts = [int(rng.integers(n)) for n in x.shape]
        limits = [
            int(rng.integers(a, n)) + 1 for a, n in zip(starts, x.shape, strict=True)
        ]
        return lax.slice(x, starts, limits, [int(rng.integers(1, 3)) for _ in starts])

    program = rewriting.simplified(jaxprs.trace(fn, X))
    rng = np.random.default_rng(seed)
    (found,) = eval_jaxpr(program.jaxpr, program.consts, X)
    np.testing.assert_array_equal(found, fn(X), strict=True)


def test_slices_come_before_reshapes():
    names, _ = simplified(lambda x: x.reshape(2, 3, 3, 4)[:, :, 1:] * 1.0, X)
    assert names.index("slice") < len(names) - 1 - names[::-1].index("reshape")


# How queries, keys and values are taken out of one product, heads behind.
FUSED = {
    "split": lambda y: [p.reshape(*p.shape[:2], 2, 3) for p in jnp.split(y, 3, -1)],
    "3, heads, d": lambda y: jnp.unstack(y.reshape(*y.shape[:2], 3, 2, 3), axis=2),
    "transposed": lambda y: [
        p.swapaxes(1, 2)
        for p in y.reshape(*y.shape[:2], 3, 2, 3).transpose(2, 0, 3, 1, 4)
    ],
    "heads, 3, d": lambda y: [
        y.reshape(*y.shape[:2], 2, 3, 3)[:, :, :, i] for i in range(3)
    ],
}


@pytest.mark.parametrize("name", FUSED)
def test_heads_of_a_fused_projection(name):
    def attention(v, x):
        q, k, u = FUSED[name](x @ v["qkv"])
        weights = jax.nn.softmax(jnp.einsum("nthd,nshd->nhts", q, k))
        y = jnp.einsum("nhts,nshd->nthd", weights, u)
        return y.reshape(*x.shape[:2], 6) @ v["out"]

    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        v = {"qkv": jnp.asarray(rng.normal(size=(4, 18)))}
        v["out"] = jnp.asarray(rng.normal(size=(6, 2)))
        x = jnp.asarray(rng.normal(size=(2, 5, 4)))
        spec = symmetry.trace(attention, v, x)
        kinds = [(s.kind, s.size, s.shape) for s in spec.spaces.values()]
        w = symmetry.act(spec, symmetry.sample(jax.random.key(0), spec), v)
        assert symmetry.certify(attention, v, w, x, tolerance=1e-9).ok
    heads = ("permutation", 2, ())
    assert kinds == [heads, *[("general_linear", 3, (2,))] * 2]
