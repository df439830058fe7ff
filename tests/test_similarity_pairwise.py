"""All pairs in one call are the pairs one by one, also on eight devices."""

import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from symjax_lib import similarity

X = jax.random.normal(jax.random.key(0), (5, 12, 2, 3))


@pytest.mark.parametrize("at_once", [3, 100])
def test_pairs_one_by_one(at_once):
    pairs = [(0, 1), (3, 2), (4, 4), (0, 1)]
    found = similarity.all_pairs(
        similarity.g_relu_procrustes, X, pairs=pairs, pairs_at_once=at_once
    )
    for k, (i, j) in enumerate(pairs):
        one = similarity.g_relu_procrustes(X[i], X[j])
        assert found.similarity[k] == pytest.approx(float(one.similarity), abs=2e-6)
        np.testing.assert_array_equal(
            found.element.indices[k], np.asarray(one.element.indices)
        )


def test_what_is_refused():
    all_pairs = similarity.all_pairs
    refused: list[tuple[dict[str, Any], str]] = [
        ({"pairs": [(0, 5)]}, "numbers of the 5 networks"),
        ({"pairs": []}, "at least one"),
        ({"pairs_at_once": 0}, "must be positive"),
    ]
    for options, message in refused:
        with pytest.raises(ValueError, match=message):
            all_pairs(similarity.linear_cka, X, **options)
    with pytest.raises(ValueError, match="stack the networks"):
        all_pairs(similarity.linear_cka, X[0, :, 0])


_ON_EIGHT = """
import jax
from symjax_lib import similarity
assert len(jax.devices()) == 8
x = jax.random.normal(jax.random.key(0), (5, 12, 2, 3))
found = similarity.all_pairs(similarity.g_relu_cka, x)
used = similarity.pairwise._compare(similarity.g_relu_cka, 2, tuple(jax.devices()))
index = jax.numpy.zeros((16, 2), int)
assert len(used(index, x).sharding.device_set) == 8
print(found.tolist())
"""


def test_pairs_are_sharded_over_eight_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **flags}
    done = subprocess.run(
        [sys.executable, "-c", _ON_EIGHT],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    expected = [float(similarity.g_relu_cka(X[i], X[j])) for i, j in pairs]
    found = np.fromstring(done.stdout.strip("[]\n"), sep=",")
    np.testing.assert_allclose(found, expected, atol=2e-6)
