"""Metrics as events of TensorBoard, a folder for each seed."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from train.configs import UserError
from train.group import Progress

FOLDER = "tensorboard"


@contextlib.contextmanager
def events(run: Path) -> Iterator[Progress]:
    """Gives a progress function that writes loss and accuracy of every epoch.

    `tensorboard --logdir RUN` shows them. Epochs that a killed session had written and
    that are trained again are there twice; TensorBoard shows the last.

    Args:
      run: the folder of the run.

    Raises:
      UserError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError(
            "train: --tensorboard needs tensorboardX; install it with `pip install "
            "tensorboardX`."
        ) from error
    writers: dict[int, SummaryWriter] = {}

    def progress(seed: int, done: int, metrics: Mapping[str, Any]) -> None:
        if not metrics:
            return
        if seed not in writers:  # not before the run's folder is there
            writers[seed] = SummaryWriter(str(run / FOLDER / f"seed_{seed:03d}"))
        for split in ("train", "validation"):
            for name, value in zip(("loss", "accuracy"), metrics[split], strict=False):
                writers[seed].add_scalar(f"{split}/{name}", value, done)
        writers[seed].flush()

    try:
        yield progress
    finally:
        for writer in writers.values():
            writer.close()
