"""Theorem 3.3, the max kernel and the capacities, by brute force and whole numbers."""

import itertools
import math

import jax
import numpy as np
import pytest

from symjax_lib import groups, intertwiners, similarity


def element(kind, n):
    return groups.as_matrix(groups.sample(jax.random.key(0), kind, n))


@pytest.mark.parametrize("n", [1, 5])
def test_the_group_of_relu_fixes_the_coordinate_rays(n):
    matrix = element("positive_monomial", n)
    assert intertwiners.fixes_rays(matrix, np.eye(n))
    assert intertwiners.fixes_rays(matrix, np.concatenate([np.eye(n), -3 * np.eye(n)]))
    # Scaling the vectors or repeating them leaves the rays.
    assert intertwiners.fixes_rays(matrix, np.concatenate([0.1 * np.eye(n), np.eye(n)]))


@pytest.mark.parametrize("kind", ["general_linear", "orthogonal"])
def test_other_matrices_do_not(kind):
    assert not intertwiners.fixes_rays(element(kind, 5), np.eye(5))


def test_signs_fix_the_rays_of_both_signs_only():
    both = np.concatenate([np.eye(3), -np.eye(3)])
    signed = np.diag([2.0, -1.0, 1.0])
    assert not intertwiners.fixes_rays(signed, np.eye(3))
    assert intertwiners.fixes_rays(signed, both)
    # So the stabiliser of both is larger than the group of ReLU.


@pytest.mark.parametrize(("n", "entries"), [(2, (-1, 0, 1, 3)), (3, (-1, 0, 2))])
def test_stabiliser_by_brute_force(n, entries):
    """Of all small matrices exactly the positive monomial ones fix the rays."""
    found = 0
    for flat in itertools.product(entries, repeat=n * n):
        matrix = np.reshape(flat, (n, n))
        monomial = all((matrix != 0).sum(axis).tolist() == [1] * n for axis in (0, 1))
        expected = monomial and (matrix >= 0).all()
        if monomial or sum(map(abs, flat)) < 2 * n:  # all of interest, and others
            assert intertwiners.fixes_rays(matrix, np.eye(n)) == expected
        found += expected
    assert found == math.factorial(n) * sum(e > 0 for e in entries) ** n


def test_a_ray_off_the_axes_has_an_infinite_orbit():
    """The second half of Theorem 3.3: each diag(l, 1, ...) moves it to another."""
    ray = np.array([1.0, 2.0, 0.0])
    scales = np.arange(1, 50)
    images = np.array([np.diag([l, 1, 1]) @ ray for l in scales])
    for i, j in itertools.combinations(range(len(scales)), 2):
        minor = images[i, 0] * images[j, 1] - images[i, 1] * images[j, 0]
        assert minor != 0  # (E.24)
    for rays in ([ray], np.concatenate([np.eye(3), [ray]]), images):
        assert not intertwiners.fixes_rays(element("positive_monomial", 3), rays)
    axis = np.array([[0.0, -7.0, 0.0]])
    assert intertwiners.fixes_rays(np.diag([5.0, 0.1, 2.0]), axis)


def test_singular_matrices_and_refusals_of_rays():
    assert not intertwiners.fixes_rays(np.diag([1.0, 0.0]), np.eye(2)[:1])
    with pytest.raises(ValueError, match="^fixes_rays: a vector is 0"):
        intertwiners.fixes_rays(np.eye(2), [[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"got \(2, 2\) and \(1, 3\)"):
        intertwiners.fixes_rays(np.eye(2), [[1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match=r"got \(2, 2\) and \(2,\)"):
        intertwiners.fixes_rays(np.eye(2), [1.0, 0.0])


def test_max_kernel_is_that_of_the_measure():
    for unit in (False, True):
        found = intertwiners.max_kernel_counterexample(unit_channels=unit)
        with jax.enable_x64(True):
            np.testing.assert_allclose(similarity.max_gram(found.vectors), found.gram)
        norms = np.linalg.norm(found.vectors, axis=0)
        assert np.allclose(norms, 1) == unit
        np.testing.assert_array_equal(found.vectors > 0, [[1, 1], [1, 0], [0, 1]])


def test_max_kernel_has_a_negative_direction():
    """By Leibniz in whole numbers, and by a vector v with v K v < 0."""
    found = intertwiners.max_kernel_counterexample()
    k = found.gram.astype(int).tolist()
    assert k == [[1, 1, 1], [1, 1, 0], [1, 0, 1]]
    signs = {(0, 1, 2): 1, (1, 2, 0): 1, (2, 0, 1): 1}
    leibniz = sum(
        signs.get((a, b, c), -1) * k[0][a] * k[1][b] * k[2][c]
        for a, b, c in itertools.permutations(range(3))
    )
    assert leibniz == -1 == pytest.approx(found.determinant)
    # The eigenvalues of K are 1 and 1 plus or minus the root of 2.
    assert found.least_eigenvalue == pytest.approx(1 - math.sqrt(2))
    unit = intertwiners.max_kernel_counterexample(unit_channels=True)
    np.testing.assert_allclose(2 * unit.gram, found.gram)  # both channels have norm^2 2
    assert unit.determinant == pytest.approx(-1 / 8)
    direction = np.array([-math.sqrt(2), 1.0, 1.0])
    assert direction @ found.gram @ direction < -1


def test_max_kernel_of_two_vectors_is_no_counterexample():
    rng = np.random.default_rng(0)
    for _ in range(200):
        x = rng.normal(size=(2, 4)) * rng.exponential(size=4)
        gram = np.max(x[:, None] * x, axis=-1)
        assert np.linalg.eigvalsh(gram)[0] > -1e-12


@pytest.mark.parametrize("n", [1, 2, 5, 12])
@pytest.mark.parametrize("levels", [2, 5, 12, 300])
def test_capacity_in_whole_numbers(n, levels):
    for rank in range(1, n + 1):
        found = intertwiners.capacity(n, levels, rank=rank)
        g_relu = math.factorial(n) * levels**n
        low_rank = levels ** (2 * n * rank - rank**2)
        assert found.g_relu == pytest.approx(math.log(g_relu), rel=1e-14)
        assert found.low_rank == pytest.approx(math.log(low_rank), rel=1e-14)
        if levels >= n:  # the conclusion of section E.7, (E.43)
            assert low_rank >= g_relu
    # All matrices, and not more, at full rank.
    full = intertwiners.capacity(n, levels, rank=n).low_rank
    assert full == pytest.approx(n**2 * math.log(levels))


def test_capacity_without_its_condition():
    """With fewer levels than channels the group can be the larger class."""
    assert math.factorial(64) * 4**64 > 4 ** (2 * 64 - 1)
    found = intertwiners.capacity(64, 4)
    assert found.g_relu > found.low_rank
    assert intertwiners.capacity(64, 4, rank=2).low_rank > found.g_relu
    for arguments, rank in [((3, 2), 4), ((3, 2), 0), ((3, 0), 1)]:
        with pytest.raises(ValueError, match="^capacity: the rank must be from 1 to n"):
            intertwiners.capacity(*arguments, rank=rank)
