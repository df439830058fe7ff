"""Figure 4 on a small network: what is frozen stays, and a P D can be undone."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import rotated, rotation, subject
from symjax_lib import groups, models
from train import data, ensemble, presets, zoo
from train.configs import UserError

CONFIG = dataclasses.replace(
    presets.PRESETS["digits_quick"],
    model=rotation.MODEL,
    width=4,
    seeds=2,
    epochs=2,
    batch_size=64,
)


@pytest.fixture
def loaded(tmp_path):
    zoo.train(CONFIG, tmp_path / "run")
    return subject.load(tmp_path / "run", images=50)


def outputs(model: Any, params: Any, images: jax.Array) -> jax.Array:
    return model.apply({"params": params}, images)


def test_a_map_after_a_layer():
    model = models.MyrtleCNN(width=4, norm=False)
    images = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    inside = model.init(jax.random.key(1), images)["params"]
    g = groups.sample(jax.random.key(2), "positive_monomial", 8)
    matrix = groups.as_matrix(g)
    with_map = rotated.Rotated(model, "conv2", 8)
    params = {"model": inside, "rotation": matrix}
    logits = outputs(with_map, params, images)
    # It is undone by the next layer, as it commutes with ReLU.
    kernel = inside["conv3"]["kernel"]
    undone = jnp.einsum("hwio,ij->hwjo", kernel, jnp.linalg.inv(matrix))
    params["model"] = {**inside, "conv3": {**inside["conv3"], "kernel": undone}}
    repaired = outputs(with_map, params, images)
    plain = outputs(model, inside, images)
    np.testing.assert_allclose(repaired, plain, rtol=1e-3, atol=1e-4)
    assert float(jnp.abs(logits - plain).max()) > 0.01
    # A rotation is not.
    q = groups.sample(jax.random.key(3), "orthogonal", 8).matrix
    undone = jnp.einsum("hwio,ij->hwjo", kernel, q.T)
    params = {
        "model": {**inside, "conv3": {**inside["conv3"], "kernel": undone}},
        "rotation": q,
    }
    wrong = outputs(with_map, params, images)
    assert float(jnp.abs(wrong - plain).max()) > 0.01


def test_only_later_layers_learn_on():
    inner = models.MyrtleCNN(width=4, norm=False)
    functions = ensemble.make_functions(
        CONFIG, data.load("digits"), model=rotated.Rotated(inner, "conv2", 8),
        adapt=lambda o: rotated.freeze(o, rotation.LAYERS, "conv2"),
    )  # fmt: skip
    keys = jax.random.split(jax.random.key(0), 2)
    variables = jax.vmap(lambda key: inner.init(key, jnp.zeros((1, 8, 8, 1))))(keys)
    begun = rotated.start(functions, variables, keys, "orthogonal")
    seeds = ensemble.seed_keys(CONFIG, [0, 1])
    before = jax.device_get(begun.init(seeds).variables["params"])
    state, _ = functions.train_epoch(begun.init(seeds), seeds, 0)
    after = jax.device_get(state.variables["params"])
    same = jax.tree.map(np.array_equal, before, after)
    learns = {name: not any(part.values()) for name, part in same["model"].items()}
    assert learns == {
        "conv1": False, "conv2": False, "conv3": True, "conv4": True, "fc": True,
    }  # fmt: skip
    assert same["rotation"]
    q = before["rotation"]
    np.testing.assert_allclose(q[0] @ q[0].T, np.eye(8), atol=1e-5)
    assert not np.allclose(q[0], q[1])
    at_first = jax.device_get(variables["params"])
    assert jax.tree.all(jax.tree.map(np.array_equal, before["model"], at_first))


@pytest.mark.slow
def test_penalties_and_resume(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(rotation, "AFTER", ("conv2",))
    record = rotation.compute(loaded, epochs=1, kept=tmp_path)
    assert {name: x.shape for name, x in record.after.items()} == {
        "positive_monomial": (2, 1),
        "orthogonal": (2, 1),
    }
    np.testing.assert_array_equal(record.before, loaded.zoo.test_accuracy)
    (rows,) = rotation.tables(record).values()
    assert rows[0]["penalty"] == pytest.approx(
        record.before[0] - record.after["positive_monomial"][0, 0]
    )
    assert "1 epochs" in rotation.caption(record)
    assert len(rotation.summary(record)[0]) == 1
    assert list(rotation.plot(record)) == ["rotation_penalties"]
    monkeypatch.setattr(rotation.group, "train", pytest.fail)  # all is there
    again = rotation.compute(loaded, epochs=1, kept=tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.after, record.after)


def test_errors():
    of: Any = lambda config: SimpleNamespace(zoo=SimpleNamespace(config=config))
    with pytest.raises(UserError, match="needs a folder for its checkpoints"):
        rotation.compute(of(CONFIG))
    other = of(dataclasses.replace(CONFIG, model="mlp"))
    with pytest.raises(UserError, match="this run is of mlp; train one by `python -m"):
        rotation.compute(other)
