"""Two small networks, trained on handwritten digits, for tests of stitching."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

from symjax_lib import stitching
from symjax_lib.tracing import tap


class Net(nn.Module):
    """A plain layer and a residual block, with BatchNorm, for 8x8 images."""

    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, train=False):
        norm = functools.partial(
            nn.BatchNorm, use_running_average=not train, momentum=self.momentum
        )
        x = nn.Conv(8, (3, 3), strides=2, name="conv1")(x)
        x = tap(nn.relu(norm(name="bn1")(x)), "one")
        y = tap(
            nn.relu(norm(name="bn2")(nn.Conv(6, (3, 3), name="conv2")(x))), "inside"
        )
        x = tap(nn.relu(x + nn.Conv(8, (3, 3), name="conv3")(y)), "out")
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


NET = Net()
WIDTHS = {"one": 8, "inside": 6, "out": 8}


@functools.cache
def digits():
    """Returns images `[N, 8, 8, 1]` and labels."""
    images, labels = load_digits(return_X_y=True)
    images = (jnp.asarray(images, jnp.float32).reshape(-1, 8, 8, 1) - 4.9) / 6.0
    return images, jnp.asarray(labels)


@functools.cache
def networks():
    """Two networks trained for a few epochs on 1,024 digits."""
    images, labels = (a[:1024] for a in digits())
    adam = optax.adam(5e-3)
    update = stitching.from_linen(NET, {}).update

    @jax.jit
    def step(v, state, x, y):
        def loss(params):
            logits, new = update({**v, "params": params}, x)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean(), new

        gradient, new = jax.grad(loss, has_aux=True)(v["params"])
        updates, state = adam.update(gradient, state)
        return {**new, "params": optax.apply_updates(v["params"], updates)}, state

    trained = []
    for seed in range(2):
        v = NET.init(jax.random.key(seed), images[:1])
        state = adam.init(v["params"])
        for epoch in range(5):
            order = jax.random.permutation(jax.random.key(10 * seed + epoch), 1024)
            for batch in order.reshape(-1, 64):
                v, state = step(v, state, images[batch], labels[batch])
        trained.append(stitching.from_linen(NET, v))
    return trained
