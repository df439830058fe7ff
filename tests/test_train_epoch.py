import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from zoos import TINY, fake

from train import data, ensemble, epoch

CONFIG = dataclasses.replace(TINY, strategy="vmap", mixup=0.4, cutmix=1.0)


@pytest.fixture
def scanned(monkeypatch):
    """Functions of a CPU, those of an accelerator, and the traces of their step."""
    looped, traces = ensemble.make_functions(CONFIG, fake()), []
    make, make_step = epoch.make_train_epoch, ensemble.step.make_train_step

    def counted(*args, **options):
        train_step = make_step(*args, **options)

        def traced(*args):
            traces.append(None)
            return train_step(*args)

        return traced

    monkeypatch.setattr(ensemble.step, "make_train_step", counted)
    monkeypatch.setattr(
        epoch,
        "make_train_epoch",
        lambda *args, **options: make(*args, **{**options, "scan": True}),
    )
    return looped, ensemble.make_functions(CONFIG, fake()), traces


def test_one_program_for_an_epoch_is_the_loop_over_its_steps(scanned):
    looped, functions, _ = scanned
    keys = ensemble.seed_keys(CONFIG, [0, 1])
    state, metrics = functions.train_epoch(functions.init(keys), keys, 0)
    dataset = fake()
    rest, _ = data.split(dataset.train_labels, CONFIG.validation_fraction)
    assert state.step.tolist() == [len(rest) // CONFIG.batch_size] * 2
    expected, same = looped.train_epoch(looped.init(keys), keys, 0)
    np.testing.assert_allclose(metrics, same, rtol=1e-5)
    jax.tree.map(assert_close, state.variables, expected.variables)


def test_nothing_is_traced_again_or_moved_inside_of_an_epoch(scanned, monkeypatch):
    _, functions, traces = scanned
    keys = ensemble.seed_keys(CONFIG, [0, 1])
    state = functions.init(keys)
    state, _ = functions.train_epoch(state, keys, 0)
    first = len(traces)
    assert first
    monkeypatch.setattr(epoch, "_mean", lambda sums, count: sums)  # it reads them
    put, moved = jax.device_put, []

    def counted(*args):
        moved.append(args)
        return put(*args)

    monkeypatch.setattr(jax, "device_put", counted)
    with jax.transfer_guard("disallow"):
        for number in (1, 2):
            state, _ = functions.train_epoch(state, keys, number)
    assert len(traces) == first
    from_host = [x for x, *_ in moved if isinstance(x, np.generic | np.ndarray)]
    assert from_host == [1, 2]  # the epochs' numbers; the rest is there already
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="[Dd]isallow"):
        jnp.sin(np.ones(3))  # the guard does guard
