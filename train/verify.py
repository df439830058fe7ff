"""Checks a run against its manifest: `python -m train verify RUN`."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train import checkpoints, data, ensemble, folder, group, metrics, zoo
from train.configs import UserError

# Of the accuracy; another machine may round a few images to the other side.
TOLERANCE = 1e-3


class Check(NamedTuple):
    """What was found.

    Attributes:
      what: was looked at.
      ok: whether it is as it should be; None if it could not be looked at.
      told: what was found.
    """

    what: str
    ok: bool | None
    told: str


def verify(run: str | Path, *, data_dir: str | Path | None = None) -> Iterator[Check]:
    """Checks that a finished run is what its manifest says.

    Args:
      run: its folder; nothing in it is changed.
      data_dir: see `data.load`; without the data their checks are left out.

    Yields:
      A `Check` for the config, the checkpoint of every seed, the metrics, the data, and
      the test accuracies, which are measured again.

    Raises:
      UserError: there is no run, it is not finished, or a file is damaged.
    """
    run = Path(run)
    if run.is_file():
        raise UserError(
            f"train: {run} is a file; verify checks a run's folder, and a file is "
            "checked against its manifest whenever it is read."
        )
    result = zoo.load(run)
    yield Check("config", True, "that of the manifest")
    yield from _checkpoints(run, result)
    stored = (run / "metrics.csv").exists() and (run / "metrics.csv").read_text()
    same = stored == metrics.text(result.metrics)
    yield Check("metrics.csv", same, f"{'' if same else 'not '}that of the checkpoints")
    try:
        dataset = data.load(result.config.dataset, data_dir=data_dir)
    except UserError as error:
        yield Check("data", None, str(error))
        return
    same = dataset.fingerprint == result.manifest["data_fingerprint"]
    yield Check("data", same, f"fingerprint {dataset.fingerprint[:12]}")
    if same:
        yield _accuracies(result, dataset)


def _checkpoints(run: Path, result: zoo.Zoo) -> Iterator[Check]:
    noted = result.manifest["checkpoints"]
    for seed in result.config.numbers:
        found = checkpoints.checksum(folder.seed_folder(run, seed) / group.FINAL)
        same = noted.get(str(seed)) == found
        told = f"checksum {found[:12]}, {'' if same else 'not '}that of the manifest"
        yield Check(f"seed {seed}", same, told)


def _accuracies(result: zoo.Zoo, dataset: data.Dataset) -> Check:
    test = ensemble.make_functions(result.config, dataset).test
    difference = test(result.variables)[:, 1] - result.test_accuracy
    worst = np.nanmax(np.abs(difference), initial=0.0)
    told = f"measured again, at most {worst:.2%} from those of the run"
    return Check("test accuracy", bool(worst <= TOLERANCE), told)
