"""A tiny config and data set to train on in tests."""

import numpy as np

from train import data
from train.configs import Config

TINY = Config(
    model="mlp",
    width=8,
    dataset="digits",
    epochs=4,
    batch_size=5,
    learning_rate=0.01,
    halve_every=2,
    flip=False,
    shift=1,
    seeds=2,
)


def arrays(size=8, channels=1, per_class=11, seed=0):
    """Two classes that brightness tells apart, as training and as test images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(2 * per_class, dtype=np.int32) % 2
    shape = (2, len(labels), size, size, channels)
    images = rng.integers(0, 128, shape, dtype=np.uint8)
    images += (labels * 100).astype(np.uint8)[:, None, None, None]
    return data.Arrays(images[0], labels, images[1], labels)


def fake(size=8, channels=1, per_class=11):
    parts = arrays(size, channels, per_class)
    mean, std = data._moments(parts.train_images)
    return data.Dataset("fake", *parts, mean, std, "0" * 64)
