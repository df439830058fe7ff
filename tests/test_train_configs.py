import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoos import TINY, fake

from train import configs, ensemble
from train.configs import MODELS, PRESETS, UserError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_two_steps(name):
    preset = PRESETS[name]
    configs.check(preset)
    size, channels = (8, 1) if preset.dataset == "digits" else (32, 3)
    config = dataclasses.replace(preset, batch_size=4)
    dataset = fake(size, channels, per_class=5)
    functions = ensemble.make_functions(
        dataclasses.replace(config, validation_fraction=0.2), dataset
    )
    keys = ensemble.seed_keys(config, [0])
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
    model = configs.make_model(dataclasses.replace(TINY, model=name, width=4), 2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert ("batch_stats" in shapes) == (name in MODELS_WITH_NORM)


MODELS_WITH_NORM = {"myrtle_cnn", "myrtle_cnn_constant_width"}


def test_unknown_model_is_refused_with_a_list():
    wrong = dataclasses.replace(TINY, model="vgg")  # pyright: ignore
    with pytest.raises(UserError, match=r"'vgg'.*myrtle_cnn.*mlp"):
        configs.make_model(wrong, 2)


@pytest.mark.parametrize("name", ["epochs", "seeds", "batch_size", "checkpoint_every"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(UserError, match=f"{name} is 0"):
        configs.check(dataclasses.replace(TINY, **{name: 0}))
