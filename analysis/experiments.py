"""The experiments by name, and what each makes of a run."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import matplotlib
from matplotlib.figure import Figure

from analysis import (
    accuracy,
    all_measures,
    certificate,
    cka,
    procrustes,
    sensitivity,
    specificity,
    stitching,
)
from analysis.networks import Compared
from analysis.subject import Subject
from analysis.tables import Rows, to_csv

OF_RUNS: dict[str, Any] = {
    "accuracy": accuracy,
    "certificate": certificate,
    "procrustes": procrustes,
    "cka": cka,
    "stitching": stitching,
}
"""What a report has; needs a run."""

COMPARED: dict[str, Any] = {
    "similarity": all_measures,
    "specificity": specificity,
    "sensitivity": sensitivity,
}
"""What any networks can be asked, by all measures."""

EXPERIMENTS: dict[str, Any] = {**OF_RUNS, **COMPARED}
"""Modules with TITLE, `compute`, `summary`, `tables`, `plot` and `caption`."""


class Result(NamedTuple):
    """What an experiment shows.

    Attributes:
      title: of its section.
      caption: of its figure.
      summary: the tables that are read.
      csv: all its numbers, CSV text by file name.
      svg: its figures, SVG text by file name.
    """

    title: str
    caption: str
    summary: list[Rows]
    csv: dict[str, str]
    svg: dict[str, str]

    def files(self) -> dict[str, str]:
        """Returns what is written for this experiment alone."""
        return {**self.csv, **self.svg}


def run(
    name: str,
    subject: Compared,
    *,
    stitch_epochs: int = stitching.EPOCHS,
    stitch_learning_rate: float | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Result:
    """Runs one experiment.

    Args:
      name: one of `EXPERIMENTS`.
      subject: the run.
      stitch_epochs: see `stitching.compute`.
      stitch_learning_rate: likewise.
      progress: called with what is being done.

    Raises:
      UserError: the run has too few networks for it.
    """
    progress(name)
    module = EXPERIMENTS[name]
    if name == "stitching":
        record = stitching.compute(
            cast(Subject, subject),
            epochs=stitch_epochs,
            learning_rate=stitch_learning_rate,
            progress=progress,
        )
    elif name in COMPARED:
        record = module.compute(subject, progress)
    else:
        record = module.compute(subject)
    return Result(
        title=module.TITLE,
        caption=module.caption(record),
        summary=module.summary(record),
        csv={f"{key}.csv": to_csv(rows) for key, rows in module.tables(record).items()},
        svg={f"{key}.svg": _svg(fig) for key, fig in module.plot(record).items()},
    )


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    # The same figure gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "symjax_lib"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
