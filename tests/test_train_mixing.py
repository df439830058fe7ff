import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import mixing

N, SIDE, CLASSES = 6, 8, 3


def batch():
    """Image `i` is `i` everywhere, with a label of its own distribution."""
    images = jnp.broadcast_to(jnp.arange(float(N))[:, None, None, None], (N, 8, 8, 1))
    targets = jax.nn.one_hot(jnp.arange(N) % CLASSES, CLASSES)
    return images, targets


def weights(mixed):
    """The part of the partner in every image, known from the values of both."""
    own = np.arange(N)
    return (np.asarray(mixed).mean(axis=(1, 2, 3)) - own) / (own[::-1] - own)


@pytest.mark.parametrize("mix", [mixing.mixup(1.0), mixing.cutmix(1.0)])
def test_targets_are_mixed_as_images_are(mix):
    images, targets = batch()
    seen = []
    for seed in range(20):
        mixed, labels = jax.jit(mix)(jax.random.key(seed), images, targets)
        part = weights(mixed)
        np.testing.assert_allclose(part, part[0], atol=1e-6)
        expected = (1 - part[0]) * targets + part[0] * targets[::-1]
        np.testing.assert_allclose(labels, expected, atol=1e-6)
        seen.append(part[0])
    assert 0 <= min(seen) < 0.2 < 0.4 < max(seen) <= 1


def test_mixups_weights_are_of_the_beta_distribution():
    """Its mean and variance, 1/2 and 1 / (4 (2 alpha + 1))."""
    images, targets = batch()
    for alpha in (0.2, 4.0):
        mixed, _ = jax.vmap(mixing.mixup(alpha), (0, None, None))(
            jax.random.split(jax.random.key(0), 4000), images, targets
        )
        part = np.asarray(mixed)[:, 0, 0, 0, 0] / (N - 1)
        variance = 1 / (4 * (2 * alpha + 1))
        assert abs(part.mean() - 0.5) < 5 * np.sqrt(variance / 4000)
        assert abs(part.var() / variance - 1) < 0.1


def test_cutmix_cuts_one_box():
    images, targets = batch()
    sizes = set()
    for seed in range(20):
        mixed, _ = mixing.cutmix(1.0)(jax.random.key(seed), images, targets)
        box = np.asarray(mixed[0, :, :, 0] != images[0, 0, 0, 0])
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == len(rows) * len(columns)
        for places in (rows, columns):
            assert (np.diff(places) == 1).all()
        sizes.add(int(box.sum()))
    assert len(sizes) > 5


@pytest.mark.slow
def test_either_is_one_of_both_and_of_each_at_times():
    images, targets = batch()
    both = mixing.make_mix(mixup_alpha=1.0, cutmix_alpha=1.0)
    keys = jax.random.split(jax.random.key(0), 200)
    mixed, _ = jax.vmap(both, (0, None, None))(keys, images, targets)
    whole = np.asarray(mixed)[:, 0, :, :, 0]  # of values 0 and 5
    cut = np.isin(whole, (0.0, N - 1)).all(axis=(1, 2))
    assert 70 < cut.sum() < 130


def test_none_mixes_nothing():
    images, targets = batch()
    nothing = mixing.make_mix(mixup_alpha=0, cutmix_alpha=0)
    assert nothing(jax.random.key(0), images, targets) == (images, targets)
    only = mixing.make_mix(mixup_alpha=0, cutmix_alpha=1.0)
    mixed, _ = only(jax.random.key(1), images, targets)
    assert set(np.unique(mixed)) <= set(range(N))
