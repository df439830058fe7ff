"""The images on which another runtime ran the thin ResNet-50, and what it found."""

import numpy as np
from paths import shared

from symjax_lib.models import convert

WEIGHTS = "data/weights/thin_resnet50_open_nsfw_f16.npz"
REFERENCE = "data/weights/thin_resnet50_open_nsfw_reference.npz"


def images():
    """`[2, 224, 224, 3]` float32, blue, green, red, less their means."""
    draw = np.random.RandomState(0)  # noqa: NPY002, that of the reference
    return draw.uniform(-120, 120, (2, 224, 224, 3)).astype(np.float32)


def weights():
    return convert.read(shared(WEIGHTS))


def reference():
    return convert.read(shared(REFERENCE))
