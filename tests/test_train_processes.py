"""Two processes of one job on this machine, found as on SLURM."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from paths import ROOT

from train import __main__ as command, devices, processes, verify, zoo
from train.configs import UserError

ARGV = ["digits_quick", "--model", "mlp", "--width", "16", "--epochs", "2"]
ARGV += ["--seeds", "5"]


def together(*argv):
    """Runs the command in two processes and returns what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tasks = []
    for index in ("0", "1"):
        slurm = {
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": index,
            "SLURM_LOCALID": index,
            "JAX_COORDINATOR_PORT": str(port),
        }
        task = subprocess.Popen(
            [sys.executable, "-m", "train", *argv, "--distributed"],
            cwd=ROOT, env=os.environ | slurm, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        tasks.append(task)
    told = [task.communicate(timeout=300) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], told
    return [out for out, _ in told]


def test_two_processes_train_the_seeds_of_one_run(tmp_path):
    """The same to the bit as one process, as each seed is on a device of its own."""
    run = tmp_path / "run"
    first, second = together(*ARGV, "--out", str(run))
    assert f"{run}: complete\nseed" in first
    assert "complete" not in second
    config = command.parse([*ARGV, "--out", "x"]).config
    one, two = zoo.train(config, tmp_path / "one"), zoo.load(run)
    jax.tree.map(np.testing.assert_array_equal, one.variables, two.variables)
    for name in one.metrics.keys() - {"seconds"}:
        np.testing.assert_array_equal(one.metrics[name], two.metrics[name])
    assert all(check.ok for check in verify.verify(run))


@pytest.mark.slow
def test_two_processes_share_the_batches_of_one_seed(tmp_path):
    """Every step then adds gradients of both."""
    places = 2 * devices.cores()
    run = tmp_path / "run"
    argv = [*ARGV, "--seeds", "1", "--batch-size", str(8 * places)]
    together(*argv, "--devices-per-seed", str(places), "--out", str(run))
    config = command.parse([*argv, "--out", "x"]).config
    one, two = zoo.train(config, tmp_path / "one"), zoo.load(run)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(two.metrics[name], one.metrics[name], atol=0.01)
    first, second = (ravel_pytree(zoo.variables)[0] for zoo in (one, two))
    assert 0 < abs(first - second).max() < 1e-2


def test_without_a_job_there_is_nothing_to_join(monkeypatch):
    def nothing():
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", nothing)
    with pytest.raises(UserError, match="no job to join: coordinator.*srun"):
        processes.start()


def test_one_process_does_everything_and_waits_for_none():
    processes.wait("here")
    assert processes.is_first()
