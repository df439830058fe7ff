"""Stitches spread over devices are those that one device finds."""

import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np
from digit_networks import digits, networks

from symjax_lib import stitching
from symjax_lib.stitching import Search, places

_ON_THREE = """
import jax, numpy as np, pytest
from digit_networks import digits, networks
from symjax_lib import stitching
from symjax_lib.stitching import Search, places

assert len(jax.devices()) == 3
front, back = networks()
images, labels = (x[:128] for x in digits())
at = front, back, "one", images, labels
searches = {
    "full": Search(stitching.full(8)),
    "G_ReLU": Search(stitching.g_relu(8)),
    "rank 2": Search(stitching.low_rank(8, 2)),
    "rank 1": Search(stitching.low_rank(8, 1)),
}
results = []
for device in (None, jax.devices()[1]):
    with jax.default_device(device):
        fitted = stitching.fit_all(jax.random.key(0), searches, *at, epochs=2)
        pairs = {name: (searches[name].stitch, fitted[name]) for name in searches}
        results.append((fitted, stitching.accuracies(pairs, *at)))
(spread, many), (single, one) = results
assert list(spread) == list(searches)
for leaf, known in zip(jax.tree.leaves(spread), jax.tree.leaves(single), strict=True):
    np.testing.assert_allclose(leaf, known, atol=1e-5)
for name, known in one.items():
    assert abs(many[name] - known) <= 1 / 128
there = jax.device_put(np.ones(8, np.float32), jax.devices()[2])
assert spread["full"].params["matrix"] @ there is not None  # bound to no device

used = []

def run(place, x):
    used.append((x.device, [len(part) for part in place.parts]))
    if x.device == jax.devices()[2]:
        raise ValueError("the third")
    while True:
        place.alive()

with pytest.raises(ValueError, match="the third"):
    places.everywhere(run, "abcd", images[0])
assert {device for device, _ in used} == set(jax.devices())
assert sorted(parts for _, parts in used) == [[1], [1], [1, 1]]
print("seen")
"""


def test_three_devices_find_what_one_finds():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **flags}
    environment["PYTHONPATH"] = os.pathsep.join([".", "tests"])
    found = subprocess.run(
        [sys.executable, "-c", _ON_THREE], env=environment, text=True, timeout=600,
        capture_output=True,
    )  # fmt: skip
    assert found.stdout == "seen\n", found.stderr


def test_one_device_works_in_the_same_thread():
    result = places.everywhere(
        lambda place, x: {n: x + n for part in place.parts for n in part}, (1, 2), 3
    )
    assert result == {1: 4, 2: 5}


def test_an_accelerator_takes_all_at_once_and_a_cpu_one():
    assert places._parts("ab", cpu=False) == [["a", "b"]]
    assert places._parts("ab", cpu=True) == [["a"], ["b"]]


def test_at_once_is_one_by_one(monkeypatch):
    images, labels = (x[:128] for x in digits())
    at: Any = *networks(), "one", images, labels
    searches = {n: Search(stitching.low_rank(8, n)) for n in (2, 1)}
    found, parts = [], places._parts
    for cpu in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(places, "_parts", lambda names, _, c=cpu: parts(names, c))
            fitted = stitching.fit_all(jax.random.key(0), searches, *at, epochs=1)
            pairs = {n: (searches[n].stitch, fitted[n]) for n in searches}
            found.append((fitted, stitching.accuracies(pairs, *at)))
    (single, one), (together, many) = found
    assert not np.allclose(single[1].params["left"], single[2].params["left"][:, :1])
    for leaves in zip(*map(jax.tree.leaves, (single, together)), strict=True):
        np.testing.assert_allclose(*leaves, atol=1e-5)
    assert all(abs(one[n] - many[n]) <= 1 / 128 for n in searches)


def test_arrays_move_and_the_rest_stays():
    device = jax.devices()[0]
    function, array = jax.tree.map(places._to(device), (print, np.ones(2)))
    assert function is print
    assert array.device == device
