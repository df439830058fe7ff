"""Functions that are not networks, or unusual ones: nothing is found that is not there.

For each the scalings by hand, with the reason; those of the derivatives; and a random
element and its inverse, which have to keep all outputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scaling_nullity import draw_variables, nullity
from thinned import some

from symjax_lib import groups, symmetry

relu = jax.nn.relu
TOKENS = np.array([[0, 1, 5], [2, 3, 6]])
ORDERS = np.array([[0, 1, 2], [3, 2, 1]])


class Case(NamedTuple):
    """A function `fn(v, x)`.

    Attributes:
      shapes: of the variables.
      fn: the function.
      scalings: those that are found.
      missed: those that there are besides, for the reason given.
      x: shape of the input, or tokens.
    """

    shapes: dict[str, tuple[int, ...]]
    fn: Callable
    scalings: int
    missed: int = 0
    x: Any = (5, 3)


IN_OUT = {"w": (3, 4), "u": (4, 2)}
IMAGES = (2, 4, 4, 4)
SEQUENCE = (6, 2, 3)


def conv(x, k, groups=1):
    return lax.conv_general_dilated(
        x, k, (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip


def mlp(v, x):
    return relu(x @ v["w"]) @ v["u"]


def loss(v, x):
    return (mlp(v, x) ** 2).sum()


def layers(kernels, x):
    """Returns the results of all layers of a stack."""

    def layer(h, kernel):
        h = relu(h @ kernel)
        return h, h

    return lax.scan(layer, x, kernels)[1]


# fmt: off
LOOKUPS = {
    # One number for both: the positions differ from case to case.
    "another order for each case": Case(
        {"w": (3, 2), "u": (3, 2)},
        lambda v, x: jnp.einsum(
            "bk,kc->bc",
            jax.vmap(lambda t, i: t[i])((x @ v["w"]).T, ORDERS),
            v["u"]),
        1),
    # A 1 stands next to rows of the kernel.
    "filled with 1": Case(
        IN_OUT,
        lambda v, x: relu(x @ jnp.take(
            v["w"], np.array([0, 7, 1]), axis=0, mode="fill", fill_value=1.0)) @ v["u"],
        0),
    "filled with 0": Case(
        IN_OUT,
        lambda v, x: relu(x @ jnp.take(
            v["w"], np.array([0, 7, 1]), axis=0, mode="fill", fill_value=0.0)) @ v["u"],
        4),
    # The channel that is read twice, and the other one, as one.
    "a channel twice": Case(
        {"w": (3, 4), "u": (3, 2)},
        lambda v, x: relu(x @ v["w"])[:, np.array([0, 0, 1])] @ v["u"],
        1, missed=1),
    # Each row of two has its own.
    "two indices": Case(
        {"w": (3, 4, 3), "u": (2, 2)},
        lambda v, x: relu(x @ v["w"][np.array([0, 1]), np.array([1, 2])].T) @ v["u"],
        1, missed=1),
    # 3 for each of 2 heads' tables against kernels, 4 for each of 2 behind.
    "another index for each head": Case(
        {"e": (2, 7, 3), "w": (2, 3, 4), "u": (8, 2)},
        lambda v, i: relu(jnp.einsum(
            "hnd,hdk->nhk", jax.vmap(lambda e, i: e[i])(v["e"], i), v["w"]
        )).reshape(3, -1) @ v["u"],
        6 + 8, x=TOKENS),
    # Of the diagonal's 4 only.
    "diagonal": Case(
        {"w": (3, 4, 4), "u": (4, 2)},
        lambda v, x: relu(jnp.einsum("nii->ni", jnp.tensordot(x, v["w"], 1))) @ v["u"],
        4),
}
SHAPES = {
    "a reshape that reorders": Case(
        {"w": (3, 4, 3), "u": (12, 2)},
        lambda v, x: relu(lax.reshape(
            jnp.tensordot(x, v["w"], 1), (5, 12), dimensions=(0, 2, 1))) @ v["u"],
        12),
    # The 3 that are not spread over positions.
    "pixel shuffle": Case(
        {"a": (3, 3, 4, 12), "u": (3, 2)},
        lambda v, x: relu(conv(x, v["a"])).reshape(2, 4, 4, 2, 2, 3)
        .transpose(0, 1, 3, 2, 4, 5).reshape(2, 8, 8, 3) @ v["u"],
        3, x=IMAGES),
    # Read at 4 positions each.
    "space to depth": Case(
        {"a": (3, 3, 4, 3), "u": (12, 2)},
        lambda v, x: relu(conv(x, v["a"])).reshape(2, 2, 2, 2, 2, 3)
        .transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 2, 12) @ v["u"],
        3, x=IMAGES),
    "resized": Case(
        {"a": (3, 3, 4, 6), "u": (6, 2)},
        lambda v, x: jax.image.resize(
            relu(conv(x, v["a"])), (2, 7, 7, 6), "bilinear") @ v["u"],
        6, x=IMAGES),
    "one vector of parameters": Case(
        {"h": (24,)},
        lambda v, x: relu(
            x @ v["h"][:12].reshape(3, 4) + v["h"][12:16]) @ v["h"][16:].reshape(4, 2),
        4),
    # A product of columns: both sides of each of 4.
    "column by column": Case(
        {"a": (4, 2), "b": (4, 3), "c": (4, 5)},
        lambda v, x: jnp.einsum(
            "ra,rb->rab", relu(v["a"]), v["b"]).reshape(4, 6).T @ v["c"] @ x,
        8),
    # Row i is column i: one for both; each pair of entries has one of its own.
    "added to its transpose": Case(
        {"w": (3, 4, 4), "u": (16, 2)},
        lambda v, x: (lambda h: relu(h + jnp.swapaxes(h, 1, 2)))(
            jnp.tensordot(x, v["w"], 1)).reshape(5, 16) @ v["u"],
        4, missed=6),
    # 4 before and 6 between; of these, products of one for each of 2 and of 3 places.
    "shuffled groups": Case(
        {"a": (1, 1, 4, 4), "k": (3, 3, 2, 6), "b": (1, 1, 2, 3)},
        lambda v, x: conv(
            relu(conv(relu(conv(x, v["a"])), v["k"], 2)).reshape(2, 4, 4, 2, 3)
            .swapaxes(3, 4).reshape(2, 4, 4, 6), v["b"], 3),
        8, missed=2, x=IMAGES),
    # The stream's 6; found are products of one for a group and one for a place in it.
    "groups around a shortcut": Case(
        {"a": (1, 1, 4, 6), "k": (3, 3, 3, 6), "b": (1, 1, 6, 2)},
        lambda v, x: (lambda h: conv(relu(h + conv(relu(h), v["k"], 2)), v["b"]))(
            conv(x, v["a"])),
        4, missed=2, x=IMAGES),
}
LOOPS = {
    "no iterations": Case(
        {"w": (0, 3, 3), "a": (3, 2)},
        lambda v, x: lax.scan(lambda c, w: (relu(c @ w), None), x, v["w"])[0] @ v["a"],
        0),
    # Two states that change places are transformed alike.
    "states that swap": Case(
        {"a": (4, 4), "w": (3, 4), "u": (4, 2)},
        lambda v, x: lax.scan(
            lambda c, x: ((c[1], relu(c[0] @ v["a"]) + relu(x @ v["w"])), c[0]),
            (jnp.zeros((2, 4)), jnp.zeros((2, 4))), x)[1] @ v["u"],
        4, x=SEQUENCE),
    "shift register": Case(
        IN_OUT,
        lambda v, x: lax.scan(
            lambda c, x: (jnp.append(c[:, 1:], relu(x @ v["w"])[:, None], 1), c),
            jnp.zeros((2, 4, 4)), x)[1][-1].sum(1) @ v["u"],
        4, x=SEQUENCE),
    # The factor is the same in all iterations: it has no scaling, the channels do.
    "state that decays": Case(
        IN_OUT | {"g": (4,)},
        lambda v, x: lax.scan(
            lambda c, _: (c * v["g"], c @ v["u"]), relu(x @ v["w"]), None, 3)[1],
        4),
    # The ones are no multiple of anything.
    "a state that starts with 1": Case(
        IN_OUT | {"a": (4, 4)},
        lambda v, x: lax.scan(
            lambda c, x: (relu(c @ v["a"] + x @ v["w"]), None), jnp.ones((2, 4)), x
        )[0] @ v["u"],
        0, x=SEQUENCE),
    "counted loop": Case(
        {"w": (3, 4), "u": (4, 3)},
        lambda v, x: lax.fori_loop(0, 3, lambda i, c: mlp(v, c), x),
        4),
    # 4 for each of 2 * 3 iterations.
    "loop in a loop": Case(
        {"w": (2, 3, 3, 4), "u": (2, 3, 4, 3)},
        lambda v, x: lax.scan(
            lambda c, wu: lax.scan(
                lambda c, wu: (c + relu(c @ wu[0]) @ wu[1], None), c, wu),
            x, (v["w"], v["u"]))[0],
        24),
    # Those of `w` hold in both: 4 in each of 2; 3 between the loops; 2 on whole arrays.
    "two loops over one stack": Case(
        {"w": (2, 3, 4), "u": (2, 4, 3), "t": (2, 4, 3)},
        lambda v, x: (lambda block, w: lax.scan(
            block, lax.scan(block, x, (w, v["u"]))[0], (w, v["t"]), reverse=True)[0])(
                lambda c, wu: (relu(c @ wu[0]) @ wu[1], None), v["w"]),
        13),
    # One result for each iteration would be one set of channels for each.
    "results of a loop in the next": Case(
        {"w": (3, 3, 3), "u": (3, 3, 2)},
        lambda v, x: lax.scan(
            lambda c, hw: (c + hw[0] @ hw[1], None), jnp.zeros((5, 2)),
            (layers(v["w"], x), v["u"]))[0],
        3, missed=6),
    "sums by a tree": Case(
        IN_OUT,
        lambda v, x: lax.associative_scan(jnp.add, relu(x @ v["w"]), axis=0) @ v["u"],
        4),
}
PRODUCTS = {
    # Only the sign, which goes around twice.
    "kernel and transpose": Case({"w": (3, 4)}, lambda v, x: x @ v["w"] @ v["w"].T, 0),
    "covariance": Case(
        {"w": (3, 4), "u": (16, 2)},
        lambda v, x: (lambda h: (h.T @ h).reshape(-1) @ v["u"])(relu(x @ v["w"])),
        4),
    "symmetric form": Case(
        {"w": (3, 4), "b": (4, 4)},
        lambda v, x: jnp.einsum(
            "nd,de,ne->n", relu(x @ v["w"]), v["b"] + v["b"].T, relu(x @ v["w"])),
        4),
    # GL(4), and one number three times against the kernel once.
    "third power of a kernel": Case(
        IN_OUT | {"m": (4, 4)},
        lambda v, x: x @ v["w"] @ jnp.linalg.matrix_power(v["m"], 3) @ v["u"],
        5),
    # Of 3 entries that are summed one number each has no meaning but with the others.
    "trace of a kernel": Case(
        {"w": (3, 3), "u": (3, 2)},
        lambda v, x: x * jnp.einsum("ii->i", v["w"]) @ v["u"],
        3),
    # A softmax over channels: queries and keys, values and outputs, as wholes.
    "attention over channels": Case(
        {"q": (3, 4), "k": (3, 4), "v": (3, 4), "o": (4, 2)},
        lambda v, x: jnp.einsum(
            "de,ne->nd", jax.nn.softmax((x @ v["q"]).T @ (x @ v["k"])), x @ v["v"]
        ) @ v["o"],
        2),
    # Values against outputs.
    "linear attention": Case(
        {"q": (3, 4), "k": (3, 4), "v": (3, 4), "o": (4, 2)},
        lambda v, x: (jax.nn.elu(x @ v["q"]) + 1)
        @ ((jax.nn.elu(x @ v["k"]) + 1).T @ (x @ v["v"])) @ v["o"],
        4),
    # Queries with keys and values with outputs in 2 heads of 4.
    "positions relative to each other": Case(
        {"q": (3, 2, 4), "k": (3, 2, 4), "v": (3, 2, 4), "b": (9, 2), "o": (8, 2)},
        lambda v, x: jnp.einsum(
            "hts,shd->thd",
            jax.nn.softmax(
                jnp.einsum("ti,ihd,sj,jhd->hts", x, v["q"], x, v["k"])
                + v["b"][4 + np.arange(5)[:, None] - np.arange(5)].transpose(2, 0, 1)),
            jnp.tensordot(x, v["v"], 1)).reshape(5, -1) @ v["o"],
        16),
    # GL(2) of the heads, the 4 in a head and the 5 new ones; one of them is a product.
    "heads that are mixed": Case(
        {"w": (3, 2, 4), "m": (2, 5), "u": (5, 4)},
        lambda v, x: jnp.einsum(
            "ngd,gd->n",
            relu(jnp.einsum("nhd,hg->ngd", jnp.tensordot(x, v["w"], 1), v["m"])),
            v["u"]),
        2 + 4 + 5 - 1),
    # The angles are the same for both pairs: GL(2) that acts on either half.
    "rotary, one frequency": Case(
        {"q": (3, 4), "k": (3, 4)},
        lambda v, x: (lambda r: jax.nn.softmax(r(x @ v["q"]) @ r(x @ v["k"]).T))(
            lambda y: jnp.concatenate([
                y[:, :2] * jnp.cos(x[:, :1]) - y[:, 2:] * jnp.sin(x[:, :1]),
                y[:, 2:] * jnp.cos(x[:, :1]) + y[:, :2] * jnp.sin(x[:, :1])], 1)),
        2),
    "kernel that a network makes": Case(
        {"h": (4, 24), "b": (6, 2)},
        lambda v, x: relu(x @ (x.mean(0) @ v["h"]).reshape(4, 6)) @ v["b"],
        6, x=(3, 4)),
    # The columns' lengths and shifts are nothing; gain and relu.
    "weight standardisation": Case(
        {"a": (3, 4), "g": (4,), "u": (4, 2)},
        lambda v, x: relu(
            x @ ((v["a"] - v["a"].mean(0)) / v["a"].std(0) * v["g"])) @ v["u"],
        8),
    "powers that are no fractions": Case(
        IN_OUT | {"a": ()},
        lambda v, x: jnp.abs(x @ v["w"]) ** 0.123 @ v["u"] * jnp.abs(v["a"]) ** 0.37,
        5),
    # The numbers are in a sum: no scaling.
    "state that is learnt": Case(
        {"a": (4, 4), "w": (3, 4), "h": (4,), "u": (4, 2)},
        lambda v, x: lax.scan(
            lambda h, x: (jnp.tanh(x @ v["w"] + h @ v["a"]), None),
            jnp.broadcast_to(v["h"], (2, 4)), x)[0] @ v["u"],
        0, x=SEQUENCE),
}
OUTPUTS = {
    # The gradients are outputs, which shrink where the variables grow.
    "gradients": Case(IN_OUT, lambda v, x: jax.grad(loss)(v, x), 0),
    "a step of descent": Case(
        IN_OUT,
        lambda v, x: jax.tree.map(
            lambda p, d: p - 0.1 * d, v, jax.grad(loss)(v, x)),
        0),
    # It is called as the kernel before, and is the one behind.
    "another variable's name": Case(
        {"w": (3, 4), "u": (4, 3)},
        lambda v, x: {"w": v["u"].T, "y": mlp(v, x)},
        0),
}
# fmt: on
CASES = {**LOOKUPS, **SHAPES, **LOOPS, **PRODUCTS, **OUTPUTS}


def start(name):
    case, rng = CASES[name], np.random.default_rng(0)
    shapes = {key: np.zeros(shape) for key, shape in case.shapes.items()}
    v = jax.tree.map(jnp.asarray, draw_variables(rng, shapes))
    x = case.x if isinstance(case.x, np.ndarray) else rng.normal(size=case.x)
    return case, v, jnp.asarray(x)


@pytest.mark.parametrize("name", some(CASES, every=3))
def test_elements_keep_the_function(name):
    with jax.enable_x64(True):
        case, v, x = start(name)
        spec = symmetry.trace(case.fn, v, x)
        assert spec.dimension == case.scalings
        g = symmetry.sample(jax.random.key(1), spec)
        for each in (g, groups.inverse(g)):
            options = {"tolerance": 1e-9, "spec": spec, "element": each}
            w = symmetry.act(spec, each, v)
            assert symmetry.certify(case.fn, v, w, x, **options).ok


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_scalings_are_those_of_the_derivatives(name):
    with jax.enable_x64(True):
        case, v, x = start(name)
    assert nullity(case.fn, v, x).scalings == case.scalings + case.missed


def test_updates_that_are_not_moved_alike_are_found_out():
    """An update that is scaled keeps the group, though as outputs they change."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        v = {key: jnp.asarray(rng.normal(size=s)) for key, s in IN_OUT.items()}
        x = jnp.asarray(rng.normal(size=(5, 3)))
        fn = lambda v, x: {"w": 2 * v["w"], "y": mlp(v, x)}
        spec = symmetry.trace(fn, v, x)
        assert spec.dimension == 4
        g, h = (symmetry.sample(jax.random.key(seed), spec) for seed in range(2))
        w = symmetry.act(spec, g, v)
        certify = symmetry.certify
        assert certify(fn, v, w, x, spec=spec, element=g).ok
        assert not certify(fn, v, w, x, spec=spec, element=h).ok
        assert not certify(fn, v, w, x).ok
