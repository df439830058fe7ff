import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train import checkpoints
from train.configs import UserError
from train.step import TrainState


def state(seed=0):
    """With all that a training state has: nested, named and empty parts, 0-d arrays."""
    rng = np.random.default_rng(seed)
    params = {
        "b": {"kernel": rng.normal(size=(3, 4))},
        "a": {"bias": rng.normal(size=4)},
    }
    params = jax.tree.map(lambda x: jnp.array(x, jnp.float32), params)
    optimiser = optax.chain(optax.add_decayed_weights(0.1), optax.adam(lambda _: 0.1))
    _, opt_state = optimiser.update(params, optimiser.init(params), params)
    return {
        "state": TrainState(
            {"params": params}, opt_state, jnp.int32(7), jnp.bool_(False)
        ),
        "history": np.array([[1 / 3, np.nan], [np.inf, -0.0]]),
    }


def assert_same(restored, tree):
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    for got, expected in zip(*map(jax.tree.leaves, (restored, tree)), strict=True):
        assert got.dtype == expected.dtype
        assert got.tobytes() == np.asarray(expected).tobytes()


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def test_round_trip_is_exact(tmp_path):
    checkpoints.save({tmp_path / "epoch_3": state()})
    restored = checkpoints.restore(tmp_path / "epoch_3", like=state(seed=1))
    assert_same(restored, state())
    plain = checkpoints.restore(tmp_path / "epoch_3")
    kernel = plain["state"]["variables"]["params"]["b"]["kernel"]
    np.testing.assert_array_equal(
        kernel, state()["state"].variables["params"]["b"]["kernel"]
    )
    assert checkpoints.epochs(tmp_path) == {3}


def test_a_killed_save_leaves_nothing_and_does_not_hinder_the_next(
    tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save({tmp_path / "epoch_1": state()})
    assert contents(tmp_path)  # it was on the way
    assert checkpoints.epochs(tmp_path) == set()
    checkpoints.save({tmp_path / "epoch_1": state()})
    assert checkpoints.epochs(tmp_path) == {1}
    assert_same(checkpoints.restore(tmp_path / "epoch_1", like=state()), state())


def test_every_damage_is_one_error_that_names_the_checkpoint(tmp_path):
    path = tmp_path / "epoch_1"
    checkpoints.save({path: state()})
    good = contents(path)
    rng = np.random.default_rng(0)
    for file, content in good.items():
        changed = bytearray(content or b"x")
        changed[rng.integers(len(changed))] ^= 128
        for damage in (content[: len(content) // 2], bytes(changed), None):
            if damage is None:
                file.unlink()
            elif damage == content:
                continue  # half of an empty file
            else:
                file.write_bytes(damage)
            before = contents(tmp_path)
            with pytest.raises(UserError, match=rf"{path} is damaged.*--resume"):
                checkpoints.restore(path, like=state())
            assert contents(tmp_path) == before
            file.write_bytes(content)
    assert_same(checkpoints.restore(path, like=state()), state())


def test_arrays_of_another_network_are_refused(tmp_path):
    path = tmp_path / "epoch_1"
    checkpoints.save({path: state()})
    wider, renamed, double = state(), state(), state()
    wider["history"] = np.zeros((3, 2))
    renamed["past"] = renamed.pop("history")
    double["history"] = np.zeros((2, 2), np.float32)
    for like in (wider, renamed, double):
        with pytest.raises(UserError, match=f"{path} has other arrays"):
            checkpoints.restore(path, like=like)


def test_epochs_are_those_of_whole_checkpoints(tmp_path):
    assert checkpoints.epochs(tmp_path / "absent") == set()
    for name in ("epoch_2", "epoch_10", "epoch_11.partial", "final", "epoch_x"):
        (tmp_path / name).mkdir()
    assert checkpoints.epochs(tmp_path) == {2, 10}
