"""What people see while a zoo trains: one line for all seeds."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from train.configs import Config
from train.group import Progress

_PAUSE = 30  # seconds between two lines


@contextlib.contextmanager
def line(config: Config, *, quiet: bool = False) -> Iterator[Progress]:
    """Gives a progress function that keeps one line up to date.

    It shows how many epochs of all seeds are done and the time left, and quantiles over
    seeds of the latest loss and accuracy on the held-out images. Where standard error
    is not a terminal it writes a new line, at most two a minute.

    Args:
      config: of the run.
      quiet: shows nothing.
    """
    epochs: dict[int, int] = {}
    latest: dict[int, Mapping[str, Any]] = {}
    total = config.seeds * config.epochs
    terminal = sys.stderr.isatty()
    told = time.monotonic()
    with tqdm(total=total, unit="epoch", disable=quiet or not terminal) as bar:

        def progress(seed: int, done: int, metrics: Mapping[str, Any]) -> None:
            nonlocal told
            epochs[seed] = done
            if metrics:  # there are none for a seed that was finished before
                latest[seed] = metrics
                bar.set_postfix_str(postfix(latest), refresh=False)
            bar.update(sum(epochs.values()) - bar.n)
            if not (terminal or quiet) and latest and time.monotonic() - told > _PAUSE:
                told = time.monotonic()
                number = sum(epochs.values())
                sys.stderr.write(f"{number} of {total} epochs, {postfix(latest)}\n")

        yield progress


def postfix(latest: Mapping[int, Mapping[str, Any]]) -> str:
    """Returns the latest metrics of all seeds in a line.

    Args:
      latest: by seed, see `group.Progress`.

    Example:
      >>> row = {"train": [0.6, 0.8, 9.0], "validation": [0.5, 0.81, 1.0]}
      >>> row["images_per_second"] = 900.0
      >>> postfix({0: row, 1: {**row, "validation": [0.7, 0.79, 1.0]}})
      'loss 0.600 (0.500 to 0.700), validation 80.0% (79.0% to 81.0%), 900 images/s'
    """
    rows = np.array([metrics["validation"][:2] for metrics in latest.values()])
    rows = rows[[np.isfinite(metrics["train"][0]) for metrics in latest.values()]]
    lost = len(latest) - len(rows)
    if not len(rows):
        return f"{lost} diverged"
    loss, accuracy = np.quantile(rows, [0.5, 0, 1], axis=0).T
    speed = np.mean([metrics["images_per_second"] for metrics in latest.values()])
    return (
        f"loss {loss[0]:.3f} ({loss[1]:.3f} to {loss[2]:.3f}), "
        f"validation {accuracy[0]:.1%} ({accuracy[1]:.1%} to {accuracy[2]:.1%}), "
        f"{speed:,.0f} images/s" + (f", {lost} diverged" if lost else "")
    )
