import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from zoos import TINY, arrays

from train import __main__ as command, sources, verify, zoo
from train.configs import UserError


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(sources.BUILT_IN, "digits", arrays)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sources.BUILT_IN, "digits", arrays)
        return run, zoo.train(TINY, run)


@pytest.fixture
def run(straight, tmp_path):
    return shutil.copytree(straight[0], tmp_path / "run")


def wrong(run):
    return [check.what for check in verify.verify(run) if not check.ok]


def test_a_good_run_is_good(straight, capsys):
    run, _ = straight
    checks = list(verify.verify(run))
    assert [check.what for check in checks] == [
        "config", "seed 0", "seed 1", "metrics.csv", "data", "test accuracy"
    ]  # fmt: skip
    assert all(check.ok for check in checks)
    command.check_run(run)
    assert capsys.readouterr().out.count("ok ") == 6


def test_the_manifest_says_what_made_the_run(straight):
    _, result = straight
    assert len(result.manifest["environment"]["git_revision"]) >= 7
    assert result.manifest["diverged"] == []
    assert list(result.manifest["checkpoints"]) == ["0", "1"]


def test_seeds_that_changed_places_are_found(run):
    """Each is whole; only the manifest knows."""
    first, second, aside = (
        run / "checkpoints" / name for name in ("seed_000", "seed_001", "aside")
    )
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    assert wrong(run) == ["seed 0", "seed 1", "metrics.csv"]
    with pytest.raises(UserError, match="is not what its manifest says: seed 0, seed"):
        command.check_run(run)


def test_metrics_that_were_edited_are_found(run):
    path = run / "metrics.csv"
    path.write_text(path.read_text().replace("test", "validation"))
    assert wrong(run) == ["metrics.csv"]
    path.unlink()
    assert wrong(run) == ["metrics.csv"]


def test_other_data_are_found_and_absent_ones_skipped(run, monkeypatch):
    monkeypatch.setitem(sources.BUILT_IN, "digits", lambda: arrays(seed=1))
    assert wrong(run) == ["data"]

    def absent():
        raise UserError("load: no digits here")

    monkeypatch.setitem(sources.BUILT_IN, "digits", absent)
    last = list(verify.verify(run))[-1]
    assert last == ("data", None, "load: no digits here")


def test_accuracies_that_are_not_those_of_the_weights_are_found(run, monkeypatch):
    load = zoo.load

    def flattered(path):
        result = load(path)
        return result._replace(test_accuracy=result.test_accuracy + 0.01)

    monkeypatch.setattr(zoo, "load", flattered)
    assert wrong(run) == ["test accuracy"]


def test_a_damaged_checkpoint_is_an_error_that_names_it(run):
    final = run / "checkpoints" / "seed_001" / "final"
    (final / "sha256").write_text("0")
    with pytest.raises(UserError, match=f"{final} is damaged"):
        list(verify.verify(run))


def test_diverged_seeds_are_in_the_manifest(tmp_path):
    config = dataclasses.replace(TINY, learning_rate=1e30, epochs=2)
    result = zoo.train(config, tmp_path / "run")
    assert np.isnan(result.test_accuracy).all()
    noted = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert noted["diverged"] == result.manifest["diverged"] == [0, 1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.variables))
    assert wrong(tmp_path / "run") == []


def test_a_file_is_said_to_be_checked_when_it_is_read(straight, tmp_path):
    zoo.export(straight[0], tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a.npz is a file; verify checks"):
        next(iter(verify.verify(tmp_path / "a.npz")))
