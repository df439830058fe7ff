import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoos import TINY, arrays

from analysis import subject
from train import __main__ as command, archive, sources, zoo
from train.configs import UserError


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(sources.BUILT_IN, "digits", arrays)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sources.BUILT_IN, "digits", arrays)
        zoo.train(dataclasses.replace(TINY, first_seed=3), run)
    return run


def test_an_archive_is_the_run_in_half_precision(run, tmp_path, capsys):
    path = tmp_path / "zoo" / "tiny.npz"
    command.export(run, path)
    assert str(path) in capsys.readouterr().out
    whole, half = zoo.load(run), zoo.load(path)
    assert half.config == whole.config
    assert half.model == whole.model
    for name, column in whole.metrics.items():
        np.testing.assert_array_equal(half.metrics[name], column)
    np.testing.assert_array_equal(half.test_accuracy, whole.test_accuracy)
    np.testing.assert_array_equal(half.best_epoch, whole.best_epoch)
    assert half.manifest.items() >= whole.manifest.items()
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x, y.astype(jnp.float16)),
        half.variables,
        whole.variables,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(half.variables)} == {np.dtype("f4")}
    # What analyses run on.
    assert subject.load(path, images=8).seeds == subject.load(run, images=8).seeds


def test_what_cannot_be_written_or_read_is_refused(run, tmp_path):
    path = tmp_path / "tiny.npz"
    with pytest.raises(UserError, match=r"tiny.zip must be the name of a file in .npz"):
        zoo.export(run, tmp_path / "tiny.zip")
    zoo.export(run, path)
    with pytest.raises(UserError, match="tiny.npz is there already"):
        zoo.export(run, path)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="tiny.npz is damaged.*tiny.json beside"):
        zoo.load(path)
    path.unlink()
    with pytest.raises(UserError, match="tiny.npz cannot be read"):
        zoo.load(path)
    archive.manifest_of(path).unlink()
    with pytest.raises(UserError, match="tiny.json cannot be read"):
        zoo.load(path)
    large = {"params": {"kernel": np.full((1, 2), 1e5)}}
    with pytest.raises(UserError, match="params/kernel has numbers that half"):
        archive.write(path, large, {}, {})
    assert not list(tmp_path.glob("tiny.*"))


def test_no_pickle_is_loaded(run, tmp_path):
    path = tmp_path / "tiny.npz"
    zoo.export(run, path)
    np.savez(path, x=np.array([{}], object))
    manifest = json.loads(archive.manifest_of(path).read_text())
    manifest["sha256"] = archive.hashlib.sha256(path.read_bytes()).hexdigest()
    archive.manifest_of(path).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="allow_pickle"):
        zoo.load(path)
