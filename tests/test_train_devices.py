"""Groups of seeds on eight virtual devices, in a process of their own.

Optimised, and wide enough for Winograd's convolutions, as in a real training.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT

from train import grouping

CODE = """
import functools, json, dataclasses
import jax, numpy as np
from zoos import TINY, fake
from train import devices, ensemble

def flat(tree, i):
    leaves = [np.asarray(leaf)[i].ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves).astype(float).tolist()

@functools.cache
def made(strategy, model, options):
    config = dataclasses.replace(
        TINY, model=model, width=16, strategy=strategy, validation_fraction=0.2
    )
    config = dataclasses.replace(config, **dict(options))
    return config, ensemble.make_functions(config, fake())

def trained(strategy, seeds, model="myrtle_cnn", **options):
    config, functions = made(strategy, model, tuple(options.items()))
    keys = ensemble.seed_keys(config, seeds)
    state, metrics = functions.train_epoch(functions.init(keys), keys, 0)
    used = jax.tree.leaves(state)[0].sharding.device_set
    results = [
        flat((state, metrics, functions.validate(state.variables)), i)
        for i in range(len(seeds))
    ]
    return len(used), results

print(json.dumps({
    "devices": jax.device_count(),
    "meshes": [devices.mesh(seeds).size for seeds in range(1, 17)],
    "together": trained("loop", [3, 1, 4]),
    "alone": [trained("loop", [seed]) for seed in (3, 1, 4)],
    "mlps": trained("loop", [3, 1, 4], "mlp"),
    "vmap": trained("vmap", [3, 1, 4, 1], "mlp"),
    "whole": trained("vmap", [3, 1], "mlp", batch_size=4),
    "shared": trained("vmap", [3, 1], "mlp", batch_size=4, devices_per_seed=4),
    "looped": trained("loop", [3], "myrtle_cnn", batch_size=8, devices_per_seed=8),
    "one": trained("loop", [3], "myrtle_cnn", batch_size=8),
}))
"""


@pytest.fixture(scope="module")
def found():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_seed_has_a_device(found):
    assert found["devices"] == 8
    assert found["together"][0] == 3
    assert [alone[0] for alone in found["alone"]] == [1, 1, 1]
    assert found["vmap"][0] == 4


def test_a_seed_does_not_depend_on_those_on_other_devices(found):
    together = np.array(found["together"][1])
    alone = np.array([alone[1][0] for alone in found["alone"]])
    np.testing.assert_array_equal(together, alone)
    assert abs(together[0] - together[1]).max() > 1e-3


def test_vmap_on_several_devices_gives_the_same_seeds(found):
    vmap = np.array(found["vmap"][1])
    np.testing.assert_array_equal(vmap[1], vmap[3])
    np.testing.assert_allclose(vmap[:3], found["mlps"][1], atol=2e-5)


@pytest.mark.parametrize(
    ("shared", "whole", "used"), [("shared", "whole", 8), ("looped", "one", 8)]
)
def test_devices_share_the_batches_of_a_seed(found, shared, whole, used):
    """The second: with BatchNorm over all devices and convolutions of Winograd's."""
    assert found[shared][0] == used
    np.testing.assert_allclose(found[shared][1], found[whole][1], atol=1e-4, rtol=1e-3)


def test_devices_have_equal_parts(found):
    """The largest divisor of the number of seeds, from 1 to 16, that is at most 8."""
    assert found["meshes"] == [1, 2, 3, 4, 5, 6, 7, 8, 3, 5, 1, 6, 1, 7, 5, 8]


def test_groups_have_a_seed_for_each_device():
    assert grouping.groups([3, 1, 4], "loop", devices=1) == [[3], [1], [4]]
    assert grouping.groups([3, 1, 4], "loop", devices=2) == [[3, 1], [4]]
    assert grouping.groups([3, 1, 4], "vmap", devices=2) == [[3, 1, 4]]
