import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.augment import augment

FILL = np.array([7, 8, 9], np.uint8)


def images(n=64, dtype=np.uint8):
    rng = np.random.default_rng(0)
    return jnp.array(rng.integers(10, 256, (n, 5, 6, 3)), dtype)


def jitted(*, flip, shift):
    return jax.jit(functools.partial(augment, flip=flip, shift=shift, fill=FILL))


def moved(image, down, right):
    """Plain NumPy: the pixel at (i, j) goes to (i + down, j + right)."""
    out = np.empty_like(image)
    out[...] = FILL
    height, width, _ = image.shape
    for i, j in itertools.product(range(height), range(width)):
        if 0 <= i + down < height and 0 <= j + right < width:
            out[i + down, j + right] = image[i, j]
    return out


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("flip", "shift"), [(False, 2), (True, 0), (True, 1)])
def test_every_image_is_one_of_the_allowed_ones_and_all_occur(flip, shift, dtype):
    before = images(400, dtype)
    run = jitted(flip=flip, shift=shift)
    after = np.asarray(run(jax.random.key(1), before))
    assert after.dtype == dtype
    moves = range(-shift, shift + 1)
    allowed = list(itertools.product([False, True][: 1 + flip], moves, moves))
    counts = dict.fromkeys(allowed, 0)
    for old, new in zip(np.asarray(before), after, strict=True):
        matches = [
            (mirror, down, right)
            for mirror, down, right in allowed
            if (moved(old[:, ::-1] if mirror else old, down, right) == new).all()
        ]
        assert len(matches) == 1
        counts[matches[0]] += 1
    # All equally likely: five standard deviations of a binomial count.
    mean = 400 / len(allowed)
    assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values()), counts


def test_nothing_asked_nothing_done():
    before = images()
    after = augment(jax.random.key(0), before, flip=False, shift=0, fill=FILL)
    np.testing.assert_array_equal(after, before)


def test_the_key_alone_decides():
    run, before = jitted(flip=True, shift=2), images()
    first, second, other = (run(jax.random.key(i), before) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    # Without jit too.
    plain = augment(jax.random.key(0), before, flip=True, shift=2, fill=FILL)
    np.testing.assert_array_equal(first, plain)


def test_images_of_a_batch_move_independently():
    same = jnp.tile(images(1), (32, 1, 1, 1))
    after = jitted(flip=True, shift=2)(jax.random.key(0), same)
    assert len(np.unique(np.asarray(after).reshape(32, -1), axis=0)) > 10
