import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoos import TINY, fake

from train import architectures, configs, ensemble
from train.architectures import MODELS
from train.configs import UserError
from train.presets import PRESETS


def functions_of(name):
    preset = PRESETS[name]
    configs.check(preset)
    size, channels = (8, 1) if preset.dataset == "digits" else (32, 3)
    config = dataclasses.replace(preset, batch_size=4, validation_fraction=0.2)
    functions = ensemble.make_functions(config, fake(size, channels, per_class=5))
    return functions, ensemble.seed_keys(config, [0])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_begin(name):
    functions, keys = functions_of(name)
    state = jax.eval_shape(functions.init, keys)
    assert state.step.shape == (1,)
    assert jax.tree.leaves(state.variables["params"])


QUICK = ("digits_quick", "cifar10_small", "myrtle_constant_width")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PRESETS],
)
def test_every_preset_takes_two_steps(name):
    functions, keys = functions_of(name)
    state, metrics = functions.train_epoch(functions.init(keys), keys, 0)
    assert state.step.tolist() == [2]
    assert np.isfinite(metrics).all()


def test_the_papers_preset_is_the_papers():
    paper = PRESETS["myrtle_cnn"]
    assert (paper.width, paper.seeds, paper.epochs) == (64, 100, 50)
    assert (paper.batch_size, paper.learning_rate, paper.halve_every) == (32, 1e-3, 12)
    assert (paper.weight_decay, paper.flip, paper.shift) == (1e-4, True, 2)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_made(name):
    model = architectures.make_model(dataclasses.replace(TINY, model=name, width=4), 2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert ("batch_stats" in shapes) == (name in MODELS_WITH_NORM)


MODELS_WITH_NORM = {
    "myrtle_cnn",
    "myrtle_cnn_constant_width",
    "resnet20",
    "resnet18",
    "resnet50",
    "resnet50_no_residual_relu",
}


def test_a_slope_is_that_of_the_activation():
    for name in ("myrtle_cnn", "resnet20", "mlp"):
        config = dataclasses.replace(TINY, model=name, width=4, negative_slope=0.5)
        model = architectures.make_model(config, 2)
        assert model.activation(jnp.array(-2.0)) == -1
    with pytest.raises(UserError, match="cct has GELU"):
        configs.check(dataclasses.replace(config, model="cct"))


def test_unknown_model_is_refused_with_a_list():
    wrong = dataclasses.replace(TINY, model="vgg")  # pyright: ignore
    with pytest.raises(UserError, match=r"'vgg'.*myrtle_cnn.*mlp"):
        architectures.make_model(wrong, 2)


@pytest.mark.parametrize("name", ["epochs", "seeds", "batch_size", "checkpoint_every"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(UserError, match=f"{name} is 0"):
        configs.check(dataclasses.replace(TINY, **{name: 0}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", -1.0, "is -1.0; it must be from 1e-30"),
        ("learning_rate", float("nan"), "is nan"),
        ("learning_rate", "a", "is 'a', not of type float"),
        ("weight_decay", -5.0, "is -5.0"),
        ("shift", -1, "is -1; it must be from 0"),
        ("validation_fraction", 2.0, "is 2.0"),
        ("base_seed", 2**32, "is 4294967296"),
        ("epochs", 2.5, "is 2.5, not of type int"),
        ("flip", "no", "is 'no', not of type bool"),
        ("strategy", "vmpa", "is 'vmpa'; there are auto, loop, vmap"),
        ("model", [], r"is \[\]; there are myrtle_cnn"),
        ("seeds", True, "is True, not of type int"),
    ],
)
def test_values_that_make_no_sense_are_refused(name, value, message):
    with pytest.raises(UserError, match=f"train: {name} {message}"):
        configs.check(dataclasses.replace(TINY, **{name: value}))


def test_a_shift_out_of_sight_is_refused():
    with pytest.raises(UserError, match="shift is 8, the images of fake are 8x8"):
        ensemble.make_functions(dataclasses.replace(TINY, shift=8), fake())
