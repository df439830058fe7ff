"""Two published CIFAR-10 networks compared by every measure at every ReLU.

`pytest -m slow -s tests/test_tiny10.py` prints the table, next to the same numbers for
two random initialisations.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import shared

from analysis.tables import to_text
from symjax_lib import models, similarity, tracing
from train import data

MEASURES = {
    "Procrustes G_ReLU": lambda x, y: similarity.g_relu_procrustes(x, y).similarity,
    "centred": lambda x, y: similarity.g_relu_procrustes(x, y, center=True).similarity,
    "orthogonal": lambda x, y: similarity.orthogonal_procrustes(x, y).similarity,
    "CKA G_ReLU": similarity.g_relu_cka,
    "linear": similarity.linear_cka,
    "biased": lambda x, y: similarity.linear_cka(x, y, debiased=False),
    "unit channels": lambda x, y: similarity.linear_cka(x, y, channel_norm=True),
}
MEAN, STD = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2023, 0.1994, 0.2010])
MODEL = models.Tiny10()


@pytest.fixture(scope="module")
def images():
    dataset = data.load("cifar10", data_dir=shared("data/tfds"))
    return jnp.asarray((dataset.test_images[:1000] / 255 - MEAN) / STD, jnp.float32)


def compare(first, second, images):
    """Returns `{measure: [layers]}`."""
    run = jax.jit(tracing.taps(lambda v, x: MODEL.apply(v, x)))
    taps = [run(v, images)[1] for v in (first, second)]
    return {
        name: [float(measure(taps[0][tap], taps[1][tap])) for tap in MODEL.tap_names]
        for name, measure in MEASURES.items()
    }


@pytest.mark.slow
def test_trained_networks_are_closer_than_random_ones_where_a_measure_can_tell(images):
    trained = [
        models.convert.from_torch(
            MODEL,
            models.convert.read(shared(f"data/weights/tiny10_seed{seed:02}.npz")),
        )
        for seed in (0, 10)
    ]
    random = [MODEL.init(jax.random.key(seed), images[:1]) for seed in (0, 1)]
    tables = {
        "seeds 0 and 10": compare(trained[0], trained[1], images),
        "two random initialisations": compare(random[0], random[1], images),
    }
    for title, table in tables.items():
        rows = [
            {"layer": tap, **{name: values[i] for name, values in table.items()}}
            for i, tap in enumerate(MODEL.tap_names)
        ]
        print(f"\n{title}\n{to_text(rows)}")  # noqa: T201
    ours, chance = tables.values()
    for name in MEASURES:
        assert np.isfinite(ours[name]).all()
        assert min(ours[name]) > 0
    # Orthogonal Procrustes has random networks closer: not every measure can tell.
    for name in ("CKA G_ReLU", "linear"):
        assert ours[name][-1] > chance[name][-1]
