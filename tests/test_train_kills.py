"""A run that is killed twenty times, by SIGKILL, in real processes."""

import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from paths import ROOT

from train import zoo

KILLS = 20


def start(run, *argv):
    command = [sys.executable, "-m", "train", "digits_quick", "--out", str(run)]
    command += ["--model", "mlp", "--width", "64", "--epochs", "150", "--seeds", "2"]
    command += ["--checkpoint-every", "1", *argv]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def until(process, condition):
    while process.poll() is None and not condition():
        time.sleep(0.001)


def state(run):
    return sorted(path.name for path in run.glob("checkpoints/*/*"))


@pytest.mark.slow
def test_killed_at_twenty_moments_is_the_same_to_the_bit(tmp_path):
    straight, run = tmp_path / "straight", tmp_path / "killed"
    process = start(straight)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    rng = np.random.default_rng(0)
    inside = 0
    for kill in range(KILLS):
        process, before = start(run, "--resume"), state(run)
        until(process, lambda before=before: state(run) != before)
        time.sleep(rng.uniform(0, 1))
        if kill % 2:  # inside a write
            until(process, lambda: any(run.glob("checkpoints/*/*.partial/*")))
        process.kill()
        out, _ = process.communicate()
        assert process.returncode != 0, "it was finished before: take more epochs"
        writing = [name for name in state(run) if name.endswith(".partial")]
        inside += bool(writing)
        print(f"kill {kill + 1}: {', '.join(state(run))}")  # noqa: T201
        assert "Error" not in out, out
    assert inside >= KILLS // 4
    process = start(run, "--resume")
    out, _ = process.communicate()
    assert process.returncode == 0, out
    one, other = zoo.load(straight), zoo.load(run)
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    for name in one.metrics.keys() - {"seconds"}:
        np.testing.assert_array_equal(one.metrics[name], other.metrics[name])
    assert one.manifest["checkpoints"].keys() == other.manifest["checkpoints"].keys()
