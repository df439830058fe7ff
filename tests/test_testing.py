"""That the checks we ship pass where they should, and fail where they should."""

import jax
import jax.numpy as jnp
import pytest
from flax import struct

from symjax_lib import groups, symmetry, testing
from symjax_lib.symmetry import certificate
from symjax_lib.tracing import tap


@pytest.mark.parametrize("kind", groups.KINDS)
def test_group_laws_hold(kind):
    keys = jax.random.split(jax.random.key(1), 3)
    testing.assert_group_laws(*(groups.sample(key, kind, 7) for key in keys))


@struct.dataclass
class Shear:
    """Not closed under its own product, which adds where it should multiply."""

    matrix: jax.Array


@groups.width.register
def _(g: Shear) -> int:
    return g.matrix.shape[-1]


@groups.as_matrix.register
def _(g: Shear) -> jax.Array:
    return g.matrix


@groups.inverse.register
def _(g: Shear) -> Shear:
    return Shear(jnp.linalg.inv(g.matrix))


@groups.multiply.register
def _(g: Shear, h: Shear) -> Shear:
    return Shear((g.matrix @ h.matrix + h.matrix @ g.matrix) / 2)


@groups._act.register
def _(g: Shear, x: jax.Array, axis: int) -> jax.Array:
    return groups._act(groups.General(g.matrix), x, axis)


def test_group_laws_find_a_type_that_breaks_them():
    keys = jax.random.split(jax.random.key(1), 3)
    elements = [groups.sample(key, "general_linear", 3) for key in keys]
    testing.assert_group_laws(*elements)
    with pytest.raises(AssertionError, match=r"\(g h\) k|matrix of g h"):
        testing.assert_group_laws(*(Shear(g.matrix) for g in elements))


def mlp(v, x):
    return tap(jax.nn.relu(x @ v["in"] + v["bias"]), "hidden") @ v["out"]


V = {
    name: jax.random.normal(jax.random.key(i), shape)
    for i, (name, shape) in enumerate(
        {"in": (3, 5), "bias": (5,), "out": (5, 2)}.items()
    )
}
X = jax.random.normal(jax.random.key(9), (20, 3))


def test_preserves_function():
    spec = testing.assert_preserves_function(jax.random.key(0), mlp, V, X)
    assert spec.dimension == 5


def test_finds_an_action_that_does_not_preserve(monkeypatch):
    act = symmetry.act
    forget = lambda spec, g, v: {**act(spec, g, v), "bias": v["bias"]}
    monkeypatch.setattr(symmetry, "act", forget)
    with pytest.raises(AssertionError, match="NOT the same function"):
        testing.assert_preserves_function(jax.random.key(0), mlp, V, X)


def test_finds_a_tap_that_is_not_as_predicted(monkeypatch):
    monkeypatch.setattr(certificate, "act_on_tap", lambda spec, g, name, value: value)
    with pytest.raises(AssertionError, match="NOT the same function"):
        testing.assert_preserves_function(jax.random.key(0), mlp, V, X)


def test_a_function_without_symmetries_cannot_pass():
    with pytest.raises(AssertionError, match="no symmetry was found"):
        testing.assert_preserves_function(
            jax.random.key(0), lambda v, x: x @ v, jnp.ones((3, 2)), X
        )
