"""Which network `dissect` takes: of a file, of a run of `train`, or untrained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from analysis import output, vision
from analysis.subject import root_key, stream
from train import archive
from train.configs import UserError

UNTRAINED = "random"


class Source(NamedTuple):
    """A network that is not loaded yet.

    Attributes:
      name: of the file or run, and what was chosen of it.
      hash: of its weights.
      load: from height and width of the images to the network.
    """

    name: str
    hash: str
    load: Callable[[tuple[int, int]], vision.Network]


def find(
    network: str, *, model: str, number: int, data_dir: Path | None, seed: int
) -> Source:
    """Finds out what a network is.

    Args:
      network: `random`, a run's folder or the file of its archive, or another file.
      model: of a file, or untrained.
      number: of the seed of a run.
      data_dir: of the data of a run.
      seed: of an untrained network.

    Raises:
      UserError: it is nothing of these.
    """
    path = Path(network)
    if network == UNTRAINED:
        key = stream(root_key(seed), "untrained")
        load: Any = lambda size: vision.untrained(model, size, key=key)
        return Source(f"{model}, {UNTRAINED}", "none", load)
    if _is_run(path):
        load = lambda size: vision.load_run(path, number=number, data_dir=data_dir)
        return Source(f"{path.name}, seed {number}", output.hash_of_run(path), load)
    if path.is_file():
        load = lambda size: vision.load(path, model, size)
        return Source(f"{model}, {path.name}", output.hash_of([path]), load)
    what = f"{path} is a folder without a run"
    raise UserError(
        f"analysis: {what if path.is_dir() else f'there is no file {path}'}; name a "
        f"file of weights, a run of `train`, or {UNTRAINED}."
    )


def _is_run(path: Path) -> bool:
    if path.suffix == archive.SUFFIX and path.is_file():
        return archive.manifest_of(path).is_file()
    return (path / "config.json").is_file()
