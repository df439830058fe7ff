import contextlib
import csv
import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thinned import some
from zoos import TINY, arrays

from train import data, ensemble, files, folder, group, sources, zoo
from train.configs import UserError


@pytest.fixture(scope="module")
def compiled():
    """`make_functions` that compiles once for configs that give the same functions."""
    make, known = ensemble.make_functions, {}

    def make_once(config, dataset):
        plain = dataclasses.replace(config, seeds=1, epochs=1, checkpoint_every=1)
        key = plain, dataset.fingerprint
        known[key] = known.get(key) or make(config, dataset)
        return known[key]

    return make_once


@contextlib.contextmanager
def tiny(compiled):
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sources.BUILT_IN, "digits", arrays)
        patched.setattr(ensemble, "make_functions", compiled)
        yield


@pytest.fixture(autouse=True)
def _tiny(compiled):
    with tiny(compiled):
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory, compiled):
    """One run of `TINY`, never stopped, for tests that only read it."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    with tiny(compiled):
        return run, zoo.train(TINY, run)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, compiled):
    """See `unfinished`, which is a copy of it."""
    run = tmp_path_factory.mktemp("runs") / "killed"
    with tiny(compiled), pytest.raises(Killed):
        zoo.train(TINY, run, progress=killed_after(5))
    return run


def contents(root):
    files = (path for path in root.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def assert_same_zoo(one, other):
    """To the last bit, but for the clock."""
    assert jax.tree.structure(one.variables) == jax.tree.structure(other.variables)
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    for name in one.metrics.keys() - {"seconds"}:
        np.testing.assert_array_equal(one.metrics[name], other.metrics[name])


class Killed(BaseException):
    pass


def killed_after(count):
    """A progress function that kills the training when it is called the n-th time."""
    calls = []

    def progress(seed, epochs, accuracy):
        calls.append((seed, epochs))
        if len(calls) == count:
            raise Killed

    return progress


@pytest.mark.parametrize(
    ("strategy", "every", "kills"),
    some(
        [
            ("loop", 3, (2, 4)),
            ("loop", 1, (2, 1, 3)),
            ("vmap", 1, (3, 2)),
            ("vmap", 2, (5,)),
        ],
        every=2,
    ),
)
def test_killed_and_resumed_is_the_same_as_not_stopped(
    tmp_path, strategy, every, kills
):
    config = dataclasses.replace(TINY, strategy=strategy, checkpoint_every=every)
    whole = zoo.train(config, tmp_path / "whole")
    run = tmp_path / "killed"
    for count in kills:
        with pytest.raises(Killed):
            zoo.train(config, run, resume=True, progress=killed_after(count))
        with pytest.raises(UserError, match="not finished.*--resume"):
            zoo.load(run)
    seen = []
    resumed = zoo.train(
        config, run, resume=True, progress=lambda *args: seen.append(args)
    )
    assert_same_zoo(resumed, whole)
    assert len(seen) < config.seeds * config.epochs  # it did not start again
    assert len(resumed.manifest["resumed"]) == len(kills)


def test_a_kill_between_the_saves_of_two_seeds(tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, strategy="vmap")
    whole = zoo.train(config, tmp_path / "whole")
    replace, run = group.checkpoints.os.replace, tmp_path / "killed"

    def killed_in_epoch_3(old, new):
        if new.parts[-2:] == ("seed_001", "epoch_3"):
            raise Killed
        replace(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(group.checkpoints.os, "replace", killed_in_epoch_3)
        with pytest.raises(Killed):
            zoo.train(config, run)
    names = {path.parent.name: path.name for path in run.glob("checkpoints/*/epoch_3")}
    assert names == {"seed_000": "epoch_3"}
    assert_same_zoo(zoo.train(config, run, resume=True), whole)


def test_a_kill_while_an_old_checkpoint_is_removed(tmp_path, monkeypatch, straight):
    run = tmp_path / "killed"

    def killed_half_way(path, **_):
        files = [file for file in path.rglob("*") if file.is_file()]
        if path.name.startswith("epoch_1") and files:
            files[0].unlink()
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(group.checkpoints.shutil, "rmtree", killed_half_way)
        with pytest.raises(Killed):
            zoo.train(TINY, run)
    assert_same_zoo(zoo.train(TINY, run, resume=True), straight[1])


def test_more_seeds_train_the_missing_ones_only(tmp_path, straight):
    seen = []
    zoo.train(dataclasses.replace(TINY, seeds=1), tmp_path / "run")
    grown = zoo.train(
        TINY, tmp_path / "run", resume=True, progress=lambda *args: seen.append(args)
    )
    assert [(seed, epochs) for seed, epochs, _ in seen] == [
        (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)
    ]  # fmt: skip
    assert_same_zoo(grown, straight[1])
    assert grown.config == TINY


def test_the_command_that_adds_seeds_goes_on_after_a_stop(tmp_path, straight):
    run = tmp_path / "run"
    zoo.train(dataclasses.replace(TINY, seeds=1), run)
    more = dataclasses.replace(TINY, first_seed=1, seeds=1)

    def stop(seed, epochs, _):
        if (seed, epochs) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.train(more, run, resume=True, progress=stop)
    with pytest.raises(UserError, match="1 of the 2 seeds"):
        zoo.load(run)
    assert_same_zoo(zoo.train(more, run, resume=True), straight[1])
    assert_same_zoo(zoo.train(more, run, resume=True), straight[1])


def test_the_folder_of_a_sweep_is_said_to_be_one(tmp_path):
    zoo.train(dataclasses.replace(TINY, seeds=1, epochs=1), tmp_path / "sweep" / "a")
    with pytest.raises(UserError, match="sweep is a sweep; name one of its runs: a"):
        zoo.load(tmp_path / "sweep")


def test_images_that_a_model_does_not_take_leave_no_folder(tmp_path):
    run = tmp_path / "run"
    np.savez(tmp_path / "small.npz", **arrays(size=3)._asdict())
    config = dataclasses.replace(
        TINY, model="myrtle_cnn", dataset=str(tmp_path / "small.npz")
    )
    with pytest.raises(UserError, match=r"take images .*\(3, 3, 1\): .* at least 8x8"):
        zoo.train(config, run)
    assert not run.exists()


def test_seeds_that_come_later_or_before_are_those_of_one_run(tmp_path):
    """In one folder and in two; a seed is the same whatever is trained beside it."""
    four = dataclasses.replace(TINY, seeds=4)
    whole = zoo.train(four, tmp_path / "whole")
    late = dataclasses.replace(TINY, first_seed=2)
    apart = zoo.train(late, tmp_path / "apart")
    for one, other in (
        (apart.variables, whole.variables), (apart.test_accuracy, whole.test_accuracy)
    ):  # fmt: skip
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[2:]), one, other)
    assert sorted(set(apart.metrics["seed"])) == [2, 3]
    assert list(apart.manifest["checkpoints"]) == ["2", "3"]
    assert_same_zoo(zoo.train(TINY, tmp_path / "apart", resume=True), whole)
    zoo.train(dataclasses.replace(TINY, seeds=1), tmp_path / "grown")
    three = dataclasses.replace(TINY, first_seed=1, seeds=3)
    assert_same_zoo(zoo.train(three, tmp_path / "grown", resume=True), whole)
    assert zoo.load(tmp_path / "grown").config == four
    far = dataclasses.replace(TINY, first_seed=9)
    refused(tmp_path / "grown", "0:4 there and 9:11 here, with a gap", far, resume=True)


def test_a_finished_run_is_reused(straight, monkeypatch):
    run, whole = straight
    monkeypatch.setattr(ensemble, "make_functions", None)  # must not be needed
    before = contents(run)
    assert_same_zoo(zoo.train(TINY, run, resume=True), whole)
    assert_same_zoo(zoo.load(run), whole)
    assert contents(run) == before


def test_what_a_zoo_has(straight):
    """Accuracies are those of the stacked variables; the best epoch is the best."""
    run, result = straight
    dataset = data.load("digits")
    x = data.normalise(dataset, dataset.test_images)
    logits = jax.vmap(lambda v: result.model.apply(v, x, train=False))(result.variables)
    accuracy = (logits.argmax(-1) == dataset.test_labels).mean(axis=1)
    np.testing.assert_allclose(result.test_accuracy, accuracy, rtol=1e-6)
    assert accuracy.min() > 0.7  # it learns
    columns = result.metrics
    assert len(columns["seed"]) == TINY.seeds * (2 * TINY.epochs + 1)
    for seed in range(TINY.seeds):
        rows = {
            split: (columns["seed"] == seed) & (columns["split"] == split)
            for split in ("train", "validation", "test")
        }
        for split in ("train", "validation"):
            assert columns["epoch"][rows[split]].tolist() == [0, 1, 2, 3]
        pairs = zip(
            columns["accuracy"][rows["validation"]],
            -columns["loss"][rows["validation"]],
            strict=True,
        )
        ranked = sorted(range(4), key=list(pairs).__getitem__, reverse=True)
        assert columns["epoch"][rows["test"]].item() == ranked[0]
        assert result.best_epoch[seed] == ranked[0]
    np.testing.assert_allclose(
        columns["learning_rate"], 0.01 * 0.5 ** (columns["epoch"] // 2)
    )
    assert (columns["seconds"] > 0).all()
    with (run / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert table[0].keys() == columns.keys()
    for name in columns.keys() - {"split"}:
        written = [float(row[name]) for row in table]
        np.testing.assert_allclose(written, columns[name], rtol=1e-5)
    assert [row["split"] for row in table] == columns["split"].tolist()


def test_the_files_of_a_run(straight):
    run, result = straight
    names = sorted(path.name for path in run.iterdir())
    assert names == ["checkpoints", "config.json", "manifest.json", "metrics.csv"]
    assert json.loads((run / "config.json").read_text()) == dataclasses.asdict(TINY)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest == result.manifest
    assert manifest["config"] == dataclasses.asdict(TINY)
    assert manifest["data_fingerprint"] == data.load("digits").fingerprint
    assert manifest["environment"]["jax"] == jax.__version__
    assert manifest["environment"]["backend"] == jax.default_backend()
    seeds = {path.parent.name: path.name for path in run.glob("checkpoints/*/*")}
    assert seeds == {"seed_000": "final", "seed_001": "final"}


def test_the_kept_variables_are_those_after_the_best_epoch(straight):
    """A second run that ends there has them as its last."""
    _, result = straight
    functions = ensemble.make_functions(TINY, data.load("digits"))
    keys = ensemble.seed_keys(TINY, [1])
    state = functions.init(keys)
    for epoch in range(result.best_epoch[1] + 1):
        state, _ = functions.train_epoch(state, keys, epoch)
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x[0], y[1]),
        state.variables,
        result.variables,
    )


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([(0.5, 0.8), (0.4, 0.9), (0.3, 0.7)], 1),
        ([(0.5, 0.9), (0.4, 0.9), (0.6, 0.9)], 1),
        ([(0.5, 0.9), (0.5, 0.9)], 0),
        ([(np.nan, 1.0), (0.9, 0.1), (np.inf, 1.0)], 1),
    ],
)
def test_best_epoch_by_accuracy_then_loss_then_time(rows, best):
    assert group.best_epoch(np.array(rows)) == best


def test_the_test_images_are_used_once_for_each_seed(tmp_path, monkeypatch, compiled):
    tested = []

    def watched(config, dataset):
        functions = compiled(config, dataset)

        def test(variables):
            tested.append(len(jax.tree.leaves(variables)[0]))
            return functions.test(variables)

        return functions._replace(test=test)

    monkeypatch.setattr(ensemble, "make_functions", watched)
    with pytest.raises(Killed):
        zoo.train(TINY, tmp_path / "run", progress=killed_after(3))
    zoo.train(TINY, tmp_path / "run", resume=True)
    assert tested == [1, 1]


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_a_seed_that_diverges_is_marked_and_the_others_go_on(
    tmp_path, monkeypatch, compiled, strategy
):
    config = dataclasses.replace(TINY, strategy=strategy)
    keys = ensemble.seed_keys(config, [0, 1])

    def spoiling(config, dataset):
        functions = compiled(config, dataset)

        def train_epoch(state, group_keys, epoch):
            if epoch == 2:  # for seed 0
                spoiled = jax.random.key_data(group_keys) == jax.random.key_data(
                    keys[0]
                )
                factor = jnp.where(spoiled.all(axis=-1), jnp.nan, 1.0)
                params = jax.tree.map(
                    lambda x: x * factor.reshape(-1, *[1] * (x.ndim - 1)),
                    state.variables,
                )
                state = state.replace(variables=params)
            return functions.train_epoch(state, group_keys, epoch)

        return functions._replace(train_epoch=train_epoch)

    healthy = zoo.train(config, tmp_path / "healthy")
    monkeypatch.setattr(ensemble, "make_functions", spoiling)
    result = zoo.train(config, tmp_path / "spoiled")
    assert np.isnan(result.test_accuracy).tolist() == [True, False]
    columns = result.metrics
    lost = ~np.isfinite(columns["loss"])
    assert set(columns["seed"][lost]) == {0}
    assert (lost & (columns["split"] == "train")).sum() == 2  # the last two of four
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x[1], y[1]),
        result.variables,
        healthy.variables,
    )
    assert "nan" in (tmp_path / "spoiled" / "metrics.csv").read_text()
    assert_same_zoo(zoo.load(tmp_path / "spoiled"), result)


def refused(run, match, config=TINY, *, resume):
    """Checks that training is refused, with this message, and that nothing changes."""
    before = contents(run)
    with pytest.raises(UserError, match=match):
        zoo.train(config, run, resume=resume)
    assert contents(run) == before


def test_a_run_is_not_overwritten(straight):
    refused(straight[0], "holds a run of this config.*--resume.*--out", resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_of_another_config_is_refused_with_the_differences(straight, resume):
    other = dataclasses.replace(TINY, width=9, learning_rate=0.02)
    refused(
        straight[0],
        "width is 8 there and 9 here, learning_rate is 0.01 there and 0.02 here",
        other,
        resume=resume,
    )


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(tmp_path, "is no run", resume=True)
    with pytest.raises(UserError, match="is no run"):
        zoo.train(TINY, tmp_path / "thesis.tex", resume=True)


@pytest.fixture
def unfinished(tmp_path, killed):
    """A run with seed 0 finished and seed 1 after its first epoch."""
    return shutil.copytree(killed, tmp_path / "run")


def test_other_data_are_refused(unfinished, monkeypatch):
    monkeypatch.setitem(sources.BUILT_IN, "digits", lambda: arrays(seed=1))
    refused(unfinished, "other|fingerprint", resume=True)


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
@pytest.mark.parametrize("text", ["", '{"model": "mlp"', '{"colour": 1}', "[]"])
def test_damaged_descriptions_are_refused(unfinished, name, text):
    (unfinished / name).write_text(text)
    refused(unfinished, name, resume=True)


@pytest.mark.parametrize("path", ["seed_000/final", "seed_001/epoch_1"])
def test_a_damaged_checkpoint_is_refused_and_named(unfinished, path, straight):
    checkpoint = unfinished / "checkpoints" / path
    files = [file for file in checkpoint.rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    refused(unfinished, f"{checkpoint} is damaged", resume=True)
    shutil.rmtree(checkpoint)  # the way out that the message names
    assert_same_zoo(zoo.train(TINY, unfinished, resume=True), straight[1])


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, straight):
    run = tmp_path / "run"
    with pytest.raises(Killed):
        zoo.train(TINY, run, progress=killed_after(7))
    seed = run / "checkpoints" / "seed_001"
    assert {path.name for path in seed.iterdir()} == {"epoch_2", "epoch_3"}
    (seed / "epoch_3" / "sha256").unlink()
    seen = []
    with pytest.warns(UserWarning, match=f"{seed}/epoch_3 is damaged; seed 1.*epoch_2"):
        resumed = zoo.train(
            TINY, run, resume=True, progress=lambda *args: seen.append(args[:2])
        )
    assert_same_zoo(resumed, straight[1])
    assert seen == [(0, 4), (1, 3), (1, 4)]


def test_an_interrupt_saves_the_epoch_it_ends(tmp_path, straight):
    """As Ctrl-C does; without a checkpoint that is due."""
    config = dataclasses.replace(TINY, checkpoint_every=4)

    def interrupted(seed, epochs, accuracy):
        if (seed, epochs) == (1, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.train(config, tmp_path / "run", progress=interrupted)
    names = {path.name for path in (tmp_path / "run/checkpoints/seed_001").iterdir()}
    assert names == {"epoch_3"}
    assert_same_zoo(zoo.train(config, tmp_path / "run", resume=True), straight[1])


def test_an_error_of_a_save_stops_the_training_and_keeps_what_is_there(
    tmp_path, monkeypatch, straight
):
    run, save = tmp_path / "run", group.checkpoints.save

    def full(trees):
        if any(path.name == "epoch_3" for path in trees):
            raise UserError("The checkpoint cannot be written: no space left")
        save(trees)

    with monkeypatch.context() as patched:
        patched.setattr(group.checkpoints, "save", full)
        with pytest.raises(UserError, match="no space left"):
            zoo.train(TINY, run)
    assert [path.name for path in (run / "checkpoints/seed_000").iterdir()]
    assert_same_zoo(zoo.train(TINY, run, resume=True), straight[1])


def test_a_config_that_was_edited_is_refused(unfinished, straight):
    path = unfinished / "config.json"
    path.write_text(path.read_text().replace('"width": 8', '"width": 9'))
    other = dataclasses.replace(TINY, width=9)
    refused(unfinished, "width is 9 there and 8 in manifest.json", other, resume=True)
    fields = json.loads((straight[0] / "config.json").read_text())
    path.write_text(json.dumps({**fields, "learning_rate": "fast"}))
    refused(
        unfinished, "learning_rate is 'fast'.*manifest.json has a copy", resume=True
    )


def test_networks_of_another_run_are_refused(tmp_path, straight):
    other, run = tmp_path / "other", tmp_path / "run"
    zoo.train(dataclasses.replace(TINY, width=9, seeds=1, epochs=1), other)
    shutil.copytree(straight[0], run)
    final = run / "checkpoints" / "seed_001" / "final"
    shutil.rmtree(final)
    shutil.copytree(other / "checkpoints" / "seed_000" / "final", final)
    with pytest.raises(UserError, match=f"{final} has other arrays"):
        zoo.load(run)


def test_files_of_people_stay(unfinished, straight):
    seed = unfinished / "checkpoints" / "seed_001"
    (seed / ".DS_Store").write_text("a file")
    (seed / "my_notes").mkdir()
    shutil.copytree(seed / "epoch_1", seed / "epoch_1_backup")
    before = contents(seed / "epoch_1_backup")
    assert_same_zoo(zoo.train(TINY, unfinished, resume=True), straight[1])
    names = {path.name for path in seed.iterdir()}
    assert names == {"final", ".DS_Store", "my_notes", "epoch_1_backup"}
    assert contents(seed / "epoch_1_backup") == before


def test_a_second_training_in_the_same_folder_is_refused(unfinished, straight):
    with folder.lock(unfinished):
        refused(unfinished, "another process is training in", resume=True)
    assert_same_zoo(zoo.train(TINY, unfinished, resume=True), straight[1])


def test_who_is_refused_does_not_take_the_folder_away(tmp_path, monkeypatch):
    """Both processes found no folder; one made it and has written nothing yet."""
    run = tmp_path / "run"
    with folder.lock(run):
        with monkeypatch.context() as patched:
            patched.setattr(type(run), "exists", lambda _: False)
            with pytest.raises(UserError, match="another process"), folder.lock(run):
                pass
        assert run.is_dir()


def test_metrics_that_were_lost_are_written_again(tmp_path, straight):
    run = shutil.copytree(straight[0], tmp_path / "run")
    (run / "metrics.csv").unlink()
    zoo.train(TINY, run, resume=True)
    expected = (straight[0] / "metrics.csv").read_text()
    assert (run / "metrics.csv").read_text() == expected


@pytest.mark.parametrize("count", range(4))
def test_a_kill_while_the_folder_is_begun(tmp_path, monkeypatch, straight, count):
    """At each of the first writes; there is nothing to lose yet."""
    replace, calls, run = files.os.replace, [], tmp_path / "run"

    def killed(old, new):
        calls.append(new)
        if len(calls) > count:
            raise Killed
        replace(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", killed)
        with pytest.raises(Killed):
            zoo.train(TINY, run)
    assert_same_zoo(zoo.train(TINY, run, resume=True), straight[1])


def test_checkpoints_may_come_more_often_when_resumed(unfinished, straight):
    often = dataclasses.replace(TINY, checkpoint_every=2)
    assert_same_zoo(zoo.train(often, unfinished, resume=True), straight[1])
    assert zoo.load(unfinished).config.checkpoint_every == 2


def test_growing_an_unfinished_vmap_run_keeps_its_progress(tmp_path):
    config = dataclasses.replace(TINY, strategy="vmap")
    with pytest.raises(Killed):
        zoo.train(config, tmp_path / "run", progress=killed_after(5))
    seen, grown = [], dataclasses.replace(config, seeds=3)
    zoo.train(
        grown, tmp_path / "run", resume=True, progress=lambda *a: seen.append(a[:2])
    )
    assert min(epochs for seed, epochs in seen if seed < 2) > 1
    assert (2, 1) in seen


def test_a_training_that_cannot_start_leaves_no_folder(tmp_path):
    with pytest.raises(UserError, match="no cifar10"):
        zoo.train(
            dataclasses.replace(TINY, dataset="cifar10"), tmp_path / "new",
            data_dir=tmp_path,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_loading_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no run"):
        zoo.load(tmp_path)
