import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from thinned import some

from symjax_lib import groups

SIZES = (0, 1, 2, 5, 16)


@pytest.fixture(params=[False, True], ids=["float32", "float64"], autouse=True)
def _precision(request):
    with jax.enable_x64(request.param):
        yield


def elements(kind, n, count=3):
    keys = jax.random.split(jax.random.key(n), count)
    return [groups.sample(key, kind, n) for key in keys]


def test_all_permutations_of_up_to_four():
    """Against tuples: (P x)_i = x[indices[i]]."""
    for n in range(5):
        everything = list(itertools.permutations(range(n)))
        for p in everything:
            g = groups.Permutation(jnp.array(p, dtype=int))
            x = jnp.arange(n) * 10.0
            assert groups.act(g, x).tolist() == [10.0 * i for i in p]
            undone = groups.compose(groups.inverse(g), g)
            assert undone.indices.tolist() == list(range(n))
            for q in everything if n < 4 else everything[::5]:
                h = groups.Permutation(jnp.array(q, dtype=int))
                product = groups.compose(g, h)
                assert product.indices.tolist() == [q[i] for i in p]


@pytest.mark.parametrize("kind", groups.KINDS)
@pytest.mark.parametrize("n", some(SIZES, every=2))
def test_laws_against_dense_matrices(kind, n):
    g, h, k = elements(kind, n)
    dense = groups.as_matrix
    size = 1 + max(float(jnp.abs(dense(e)).sum(initial=0)) for e in (g, h, k)) ** 3
    assert_close(dense(groups.compose(g, h)), dense(g) @ dense(h), scale=size)
    left = groups.compose(groups.compose(g, h), k)
    right = groups.compose(g, groups.compose(h, k))
    assert_close(dense(left), dense(right), scale=size)
    one = groups.identity(kind, n)
    assert_close(dense(groups.compose(g, one)), dense(g), scale=size)
    assert_close(dense(groups.compose(one, g)), dense(g), scale=size)
    inverse = groups.inverse(g)
    assert_close(dense(groups.compose(g, inverse)), jnp.eye(n), scale=100 * size)
    assert type(inverse) is type(g) is type(one)


@pytest.mark.parametrize("kind", groups.KINDS)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_action_is_multiplication_along_the_axis(kind, axis):
    g, h, _ = elements(kind, 5)
    x = jax.random.normal(jax.random.key(1), (5, 5, 5))
    dense = np.asarray(groups.as_matrix(g))
    expected = np.moveaxis(np.tensordot(dense, np.asarray(x), (1, axis)), 0, axis)
    assert_close(groups.act(g, x, axis), expected, scale=50)
    both = groups.act(g, groups.act(h, x, axis), axis)
    assert_close(groups.act(groups.compose(g, h), x, axis), both, scale=500)


def test_mixed_types_compose_to_the_larger():
    permutation, monomial, general = (
        groups.sample(jax.random.key(i), kind, 4)
        for i, kind in enumerate(("permutation", "monomial", "general_linear"))
    )
    for g, h, kind in (
        (permutation, monomial, groups.Monomial),
        (monomial, permutation, groups.Monomial),
        (general, monomial, groups.General),
        (permutation, general, groups.General),
    ):
        product = groups.compose(g, h)
        assert isinstance(product, kind)
        expected = groups.as_matrix(g) @ groups.as_matrix(h)
        assert_close(groups.as_matrix(product), expected, scale=50)


def test_samples_are_in_their_group():
    for kind in groups.KINDS:
        g = groups.sample(jax.random.key(7), kind, 12)
        matrix = np.asarray(groups.as_matrix(g))
        entries = matrix[np.abs(matrix) > 1e-6]
        if kind == "orthogonal":
            assert_close(matrix @ matrix.T, np.eye(12), scale=10)
        elif kind != "general_linear":
            assert len(entries) == 12
            assert ((matrix != 0).sum(0) == 1).all()
            assert ((matrix != 0).sum(1) == 1).all()
        if kind == "permutation":
            assert (entries == 1).all()
        if kind == "positive_monomial":
            assert (entries > 0).all()
            assert len(set(entries.tolist())) == 12
        if kind == "signed_permutation":
            assert set(entries.tolist()) == {-1.0, 1.0}
        if kind == "monomial":
            assert (entries < 0).any()
            assert (entries > 0).any()


def test_orthogonal_samples_have_both_determinants():
    """Without the sign fix of QR the first column would favour one side."""
    keys = jax.random.split(jax.random.key(0), 400)
    matrices = jax.vmap(lambda k: groups.sample(k, "orthogonal", 3).matrix)(keys)
    signs = np.sign(np.linalg.det(np.asarray(matrices)))
    assert abs(signs.mean()) < 0.2
    # The mean of a uniform unit vector is 0 and its second moment 1/3.
    assert np.abs(np.asarray(matrices).mean(axis=0)).max() < 0.12
    assert np.abs((np.asarray(matrices) ** 2).mean(axis=0) - 1 / 3).max() < 0.06


def test_scales_have_mean_one():
    scale = groups.sample(jax.random.key(0), "positive_monomial", 200_000).scale
    # e^(z - 1/2) has variance e - 1, so the standard error is 0.003.
    assert abs(float(scale.mean()) - 1) < 0.012


@pytest.mark.parametrize("kind", groups.KINDS)
def test_jit_vmap_and_pytree_round_trip(kind):
    keys = jax.random.split(jax.random.key(3), 2)
    many = jax.vmap(lambda key: groups.sample(key, kind, 6))(keys)
    x = jax.random.normal(jax.random.key(4), (2, 6))
    verbs = lambda g, x: groups.act(groups.inverse(groups.compose(g, g)), x)
    batched = jax.jit(jax.vmap(verbs))(many, x)
    for i in range(2):
        single = jax.tree.map(lambda leaf, i=i: leaf[i], many)
        assert_close(batched[i], verbs(single, x[i]), scale=2000)
    leaves, tree = jax.tree.flatten(many)
    assert type(jax.tree.unflatten(tree, leaves)) is type(many)


def test_products_of_groups_multiply_by_name():
    g = {"a": groups.sample(jax.random.key(0), "monomial", 3)}
    both = groups.compose(g, groups.inverse(g))
    assert_close(groups.as_matrix(both["a"]), jnp.eye(3), scale=10)
    with pytest.raises(ValueError, match="the names differ"):
        groups.compose(g, {"b": g["a"]})


def test_errors_name_both_sides():
    g = groups.identity("permutation", 64)
    with pytest.raises(ValueError, match="64 channels and the right one on 128"):
        groups.compose(g, groups.identity("permutation", 128))
    with pytest.raises(ValueError, match=r"acts on 64 channels, x has shape \(2, 3\)"):
        jax.jit(groups.act)(g, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="no group 'affine'; the kinds are"):
        groups.sample(jax.random.key(0), "affine", 3)
    with pytest.raises(TypeError, match="ndarray|Array"):
        groups.act(jnp.ones(3), jnp.ones(3))


def test_stacks_of_elements_are_refused_outside_vmap():
    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.vmap(lambda key: groups.sample(key, "permutation", 3))(keys)
    for call in (
        lambda: groups.act(many, jnp.ones((2, 3))),
        lambda: groups.compose(many, many),
    ):
        with pytest.raises(ValueError, match=r"got shape \(2, 3\); put vmap around"):
            call()
