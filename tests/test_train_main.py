import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from paths import ROOT
from zoos import TINY, arrays

from train import __main__ as command, configs, sources, zoo
from train.configs import UserError
from train.presets import PRESETS


def printed(capsys, *argv, code):
    with pytest.raises(SystemExit) as stopped:
        command.parse(argv)
    assert stopped.value.code == code
    out, err = capsys.readouterr()
    return " ".join((out + err).replace("│", " ").split())


def test_a_preset_and_what_overrides_it():
    argv = ["digits_quick", "--out", "runs/x", "--seeds", "7", "--resume", "--no-flip"]
    args = command.parse(argv)
    assert args.config == dataclasses.replace(PRESETS["digits_quick"], seeds=7)
    assert (args.out, args.resume, args.data_dir) == (Path("runs/x"), True, None)


def test_help_lists_presets_and_explains_every_option(capsys):
    overview = printed(capsys, "--help", code=0)
    assert all(name in overview for name in PRESETS)
    text = printed(capsys, "myrtle_cnn", "--help", code=0)
    fields = [field.name for field in dataclasses.fields(TINY)]
    for name in [*fields, "out", "resume", "data_dir"]:
        assert f"--{name.replace('_', '-')}" in text
    assert "Epochs after which the learning rate is halved" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "digits_quick, cifar10_small, myrtle_cnn"),
        (["digits_quick", "--out", "x", "--sedes", "3"], "--sedes"),
        (["digits_quick", "--out", "x", "--seeds", "three"], "invalid literal"),
        (["digits_quick", "--out", "x", "--model", "vgg"], "myrtle_cnn"),
        (["digits_quick"], "--out"),
    ],
)
def test_typos_are_errors(capsys, argv, message):
    assert message in printed(capsys, *argv, code=2)


def test_a_sweep_is_a_run_for_each_value():
    runs = command.runs(["resnet20_leaky", "--out", "x", "--seeds", "3"])
    slopes = [run.config.negative_slope for run in runs]
    assert slopes == [0.0, 0.01, 0.1, 0.5, 0.9, 1.0]
    assert runs[2].out == Path("x/negative_slope_0.1")
    assert {run.config.seeds for run in runs} == {3}
    with pytest.raises(UserError, match="leave --negative-slope out, or give it to"):
        command.runs(["resnet20_leaky", "--out", "x", "--negative-slope", "0.1"])
    (run,) = command.runs(["resnet20", "--out", "x"])
    assert (run.out, run.config) == (Path("x"), PRESETS["resnet20"])


def test_a_range_of_seeds():
    for argv in (["--seeds", "32:64"], ["--seeds=32:64"]):
        config = command.parse(["digits_quick", "--out", "x", *argv]).config
        assert list(config.numbers) == list(range(32, 64))
    config = command.parse(["digits_quick", "--out", "3:4", "--seeds", "0:2"]).config
    assert list(config.numbers) == [0, 1]
    with pytest.raises(UserError, match="--seeds 4:2 has no seed; A:B are those"):
        command.parse(["digits_quick", "--out", "x", "--seeds", "4:2"])
    with pytest.raises(UserError, match="seeds is -1"):
        configs.check(dataclasses.replace(config, seeds=-1))


def test_the_list_has_all_presets():
    done = subprocess.run(
        [sys.executable, "-m", "train", "--list"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(PRESETS)
    assert "100 for each negative_slope of 0.0, 0.01" in done.stdout


def test_an_unknown_config_is_one_line_with_the_known_ones():
    with pytest.raises(UserError, match=r"'digit_quick'; there are digits_quick, cif"):
        command.parse(["digit_quick", "--out", "x"])


def test_table_has_each_seed_then_mean_and_sd(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sources.BUILT_IN, "digits", arrays)
    args = command.Arguments(dataclasses.replace(TINY, epochs=1), tmp_path / "run")
    command.main(args)
    out = capsys.readouterr().out
    result = zoo.load(args.out)
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == [f"{args.out}:", "complete"]
    percent = 100 * result.test_accuracy
    for seed in (0, 1):
        assert rows[2 + seed][:2] == [str(seed), "0"]
        assert rows[2 + seed][-1] == f"{percent[seed]:.2f}%"
    assert (rows[4][0], rows[4][-1]) == ("mean", f"{percent.mean():.2f}%")
    assert (rows[5][0], rows[5][-1]) == ("sd", f"{np.std(percent, ddof=1):.2f}%")
    command.main(dataclasses.replace(args, resume=True))
    assert "complete, reusing\n" in capsys.readouterr().out
    lost = result._replace(test_accuracy=np.array([np.nan, 0.5]))
    lines = command.table(lost).splitlines()
    assert lines[1].split() == ["0", "diverged"]
    assert lines[-1].split()[-1] == "50.00%"


def test_a_run_that_diverged_as_a_whole_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sources.BUILT_IN, "digits", arrays)
    config = dataclasses.replace(TINY, epochs=1, learning_rate=1e30)
    with pytest.raises(UserError, match="every seed of .* diverged"):
        command.main(command.Arguments(config, tmp_path / "run"))


def start(*argv):
    code = [sys.executable, "-W", "error", "-m", "train", "digits_quick", *argv]
    return subprocess.Popen(
        code, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_for_good_and_resumed_from_the_shell(tmp_path):
    """SIGKILL, in real processes; the end is that of a run in this one, bit by bit."""
    argv = ["--model", "mlp", "--width", "32", "--epochs", "6", "--seeds", "2"]
    argv += ["--checkpoint-every", "1", "--out", str(tmp_path / "run")]
    process = start(*argv)
    awaited = tmp_path / "run" / "checkpoints" / "seed_001"
    while not awaited.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    refused = start(*argv)
    out, err = refused.communicate()
    assert (refused.returncode, out) == (1, "")
    assert err.startswith("train: ")
    assert err.endswith("or name another folder with --out.\n")
    resumed = start(*argv, "--resume")
    out, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert out.splitlines()[0] == f"{tmp_path / 'run'}: complete"
    config = command.parse(["digits_quick", *argv]).config
    straight = zoo.train(config, tmp_path / "straight")
    again = zoo.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, again.variables, straight.variables)
    np.testing.assert_array_equal(again.test_accuracy, straight.test_accuracy)
    assert again.test_accuracy.min() > 0.8
