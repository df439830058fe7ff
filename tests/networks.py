"""What the tests of the models share."""

import jax
import jax.numpy as jnp
import numpy as np
from closeness import assert_close

from symjax_lib import tracing
from symjax_lib.models import convert

QUICK = {"xla_backend_optimization_level": 0}  # to compile; not for gradients


def shapes(model, shape):
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def started(model, shape, seed=0):
    """Variables whose biases and running statistics are not 0 and 1."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        scale = 1 / np.sqrt(np.prod(leaf.shape[:-1]))
        low = 0.5 if leaf.ndim == 1 else -1
        return jnp.asarray(scale * rng.uniform(low, 1, leaf.shape), leaf.dtype)

    return jax.tree.map(draw, shapes(model, shape))


def batch(shape, count=3):
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.normal(size=(count, *shape)), jnp.float32)


def apply(model, **options):
    return lambda variables, images: model.apply(variables, images, **options)


def run(fn, *args):
    return jax.jit(fn, compiler_options=QUICK)(*args)


def training(model, variables, images):
    """Returns the logits in training mode as a function of the seed of dropout."""

    def logits(key):
        rngs = {"dropout": key}
        return model.apply(variables, images, train=True, rngs=rngs)

    compiled = jax.jit(logits, compiler_options=QUICK)
    return lambda seed: np.asarray(compiled(jax.random.key(seed)))


def program(model, shape, **options):
    """Returns the equations of a model as text."""
    image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    return str(jax.make_jaxpr(apply(model, **options))(shapes(model, shape), image))


def largest(x):
    return float(jnp.abs(x).max())


def counted(model, shape, collection="params"):
    leaves = jax.tree.leaves(shapes(model, shape).get(collection, {}))
    return sum(leaf.size for leaf in leaves)


def in_float64(model, variables, images):
    """Returns logits and taps in order, which a dictionary from `jit` is not in."""
    names = []

    def values(variables, images):
        logits, named = tracing.taps(apply(model))(variables, images)
        names.extend(named)
        return logits, list(named.values())

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype(jnp.float64), (variables, images))
        logits, taps = run(values, *wide)
    return logits, dict(zip(names, taps, strict=True))


def assert_is_the_network(model, network, state, shape, count=2):
    """Compares a model to a network in NumPy, in logits and taps, in float64.

    `network(state, images)` returns logits and the taps in order, channels last.
    """
    x = batch(shape, count)
    logits, taps = network(state, x)
    variables = convert.from_torch(model, state, image_shape=shape)
    got, named = in_float64(model, variables, x)
    assert tuple(named) == model.tap_names == tuple(taps)
    for name, value in {"logits": logits, **taps}.items():
        actual = got if name == "logits" else named[name]
        assert np.std(value) > 0.01, f"{name} tells nothing"
        assert_close(actual, value, scale=np.abs(value).max())


def assert_vmaps(model, shape):
    """Two seeds at once are the two alone, and not each other."""
    seeds, images = [started(model, shape, seed) for seed in (0, 1)], batch(shape)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    predict = apply(model)
    together = run(jax.vmap(predict, in_axes=(0, None)), stacked, images)
    alone = jnp.stack([run(predict, variables, images) for variables in seeds])
    scale = largest(alone)
    assert_close(together, alone, scale=scale)
    assert largest(alone[0] - alone[1]) > 0.01 * scale
