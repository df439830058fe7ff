"""Layers by their definitions: NumPy, float64, and PyTorch's layouts and names.

A network written with them fills the state that it is run on, and so tells which names
and shapes its authors' code has.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf


class State(dict):
    """From PyTorch's names to arrays; those not given are drawn when asked for.

    No value hides a mistake: gains and variances are from 0.5 to 1.5, all others of
    either sign. They are exact in float32, so that a model can have the same.
    """

    def __init__(self, given=(), *, seed=0):
        super().__init__(given)
        self._rng = np.random.default_rng(seed)

    def positive(self, name, size):
        return self._get(name, (size,), lambda: self._rng.uniform(0.5, 1.5, size))

    def normal(self, name, *shape):
        fan_in = np.prod(shape[1:], dtype=int)
        draw = lambda: self._rng.normal(size=shape) / np.sqrt(fan_in)
        return self._get(name, shape, draw)

    def _get(self, name, shape, draw):
        if name not in self:
            self[name] = np.float32(draw())
        assert self[name].shape == shape, name
        return np.float64(self[name])


def correlate(x, kernel, bias=0.0, *, stride=1, padding=0, groups=1):
    """`[N, C, H, W]` with `[O, C / groups, h, w]`."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, kernel.shape[2:], axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, 1), np.split(kernel, groups), strict=True)
    sums = [np.einsum("nchwij,ocij->nohw", *part, optimize=True) for part in parts]
    return np.concatenate(sums, 1) + np.reshape(bias, (-1, 1, 1))


def conv(state, name, x, outputs, side, *, bias=False, **options):
    inputs = x.shape[1] // options.get("groups", 1)
    kernel = state.normal(f"{name}.weight", outputs, inputs, side, side)
    added = state.normal(f"{name}.bias", outputs) if bias else 0.0
    return correlate(x, kernel, added, **options)


def batch_norm(state, name, x, *, epsilon=1e-5):
    column = lambda values: values[:, None, None]
    size = x.shape[1]
    gain, bias = (
        state.positive(f"{name}.weight", size),
        state.normal(f"{name}.bias", size),
    )
    mean = state.normal(f"{name}.running_mean", size)
    var = state.positive(f"{name}.running_var", size)
    return (x - column(mean)) / np.sqrt(column(var) + epsilon) * column(gain) + column(
        bias
    )


def layer_norm(state, name, x, *, epsilon):
    """Over the last axis."""
    size = x.shape[-1]
    gain, bias = (
        state.positive(f"{name}.weight", size),
        state.normal(f"{name}.bias", size),
    )
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gain + bias
    )


def linear(state, name, x, outputs, *, bias=True):
    y = x @ state.normal(f"{name}.weight", outputs, x.shape[-1]).T
    return y + state.normal(f"{name}.bias", outputs) if bias else y


def relu(x):
    return np.maximum(x, 0)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def softmax(x, axis):
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def max_pool(x, *, padding):
    """Windows of 3x3 at every other pixel of `[N, C, H, W]`."""
    x = np.pad(x, ((0, 0), (0, 0), padding, padding), constant_values=-np.inf)
    return sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max((4, 5))


def channels_first(images):
    return np.moveaxis(np.asarray(images, np.float64), -1, 1)


def channels_last(x):
    return np.moveaxis(x, 1, -1)
