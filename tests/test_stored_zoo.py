"""The zoo in the repository: is it what its manifest says, and as good as it says?"""

import jax
import numpy as np
import pytest
from paths import ROOT, shared

from analysis import features
from analysis.subject import Images
from symjax_lib import stitching
from train import data, presets, zoo

STORED = ROOT / "zoo" / "cifar10_small.npz"


@pytest.fixture(scope="module")
def stored():
    return zoo.load(STORED)


def test_it_was_trained_by_the_preset(stored):
    assert STORED.stat().st_size < 5e6
    assert stored.config == presets.PRESETS["cifar10_small"]
    made = stored.manifest["environment"]
    assert len(made["git_revision"]) == 40  # of a clean checkout
    assert len(stored.manifest["checkpoints"]) == stored.config.seeds == 8
    assert stored.manifest["diverged"] == []
    assert stored.test_accuracy.mean() > 0.8
    first = jax.tree.leaves(stored.variables)[0]
    assert len(np.unique(np.asarray(first), axis=0)) == 8


@pytest.mark.parametrize("seed", [0, pytest.param(7, marks=pytest.mark.slow)])
def test_accuracy_on_real_images_is_what_was_measured(stored, seed):
    cifar10 = data.load("cifar10", data_dir=shared("data/tfds"))
    assert cifar10.fingerprint == stored.manifest["data_fingerprint"]
    variables = jax.tree.map(lambda leaf: leaf[seed], stored.variables)
    network = stitching.from_linen(stored.model, variables)
    test = Images(
        data.normalise(cifar10, cifar10.test_images),
        jax.numpy.asarray(cifar10.test_labels),
    )
    found = features.accuracy(network, test)
    # Weights were rounded to half precision when they were stored.
    assert found == pytest.approx(stored.test_accuracy[seed], abs=0.002)
    wrong = jax.tree.map(lambda leaf: leaf[0] - leaf[1], stored.variables)
    chance = features.accuracy(network._replace(variables=wrong), test)
    assert chance < 0.2
