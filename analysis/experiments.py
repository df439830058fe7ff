"""The experiments by name, and what each makes of a run."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import matplotlib
from matplotlib.figure import Figure

from analysis import (
    accuracy,
    all_measures,
    certificate,
    cka,
    penalties,
    planted,
    presets,
    procrustes,
    rotation,
    sensitivity,
    slopes,
    specificity,
    stitch_protocol,
)
from analysis.networks import Compared
from analysis.tables import Rows, to_csv
from symjax_lib.similarity import streaming

OF_RUNS: dict[str, Any] = {
    "accuracy": accuracy,
    "certificate": certificate,
    "procrustes": procrustes,
    "cka": cka,
}
"""What networks of others cannot be asked."""

COMPARED: dict[str, Any] = {
    "similarity": all_measures,
    "specificity": specificity,
    "sensitivity": sensitivity,
}
"""What any networks can be asked, by all measures; the report on networks of others."""

EXPERIMENTS: dict[str, Any] = {
    **OF_RUNS,
    **COMPARED,
    "penalties": penalties,
    "planted": planted,
    "figure4": rotation,
    "figure8": slopes,
    **{
        name: penalties if preset.classes else all_measures
        for name, preset in presets.PRESETS.items()
    },
}
"""Modules with TITLE, `compute`, `summary`, `tables`, `plot` and `caption`."""

REPORT = (*OF_RUNS, "penalties")
"""What is on the page of a run."""

ON_CORES = (
    "report", "penalties", "planted", "figure4", "figure8",
    *(name for name, preset in presets.PRESETS.items() if preset.classes),
)  # fmt: skip
"""Those that train or stitch, for which every core is a device."""

NEED_RUNS = (*OF_RUNS, "figure4", "figure8")


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


class Options(NamedTuple):
    """What single experiments can be told.

    Attributes:
      stitch_epochs: see `penalties.compute`.
      measures: see `all_measures.compute`.
      interval: likewise.
      classes: see `penalties.compute`.
      images: likewise.
      protocol: likewise.
      kept: folder of what experiments keep, to go on from.
    """

    stitch_epochs: int | None = None
    measures: tuple[str, ...] = ()
    interval: str = "models"
    classes: tuple[str, ...] = ()
    images: int = stitch_protocol.IMAGES
    protocol: str = "adam"
    kept: Path | None = None


DEFAULTS = Options()


def run(
    name: str,
    subject: Compared | slopes.Sweep,
    options: Options = DEFAULTS,
    progress: Callable[[str], None] = lambda what: None,
    found: streaming.Comparison | None = None,
) -> Result:
    """Runs one experiment.

    Args:
      name: one of `EXPERIMENTS`.
      subject: the run, or any networks for one of `COMPARED` or `presets.PRESETS`, or
        a sweep for `figure8`.
      options: of single experiments.
      progress: called with what is being done.
      found: similarities by all measures, which `similarity` and `specificity` need,
        where they have been computed.

    Raises:
      UserError: the run has too few networks for it, or they are of another
        architecture than the preset's.
    """
    progress(name)
    module, title = EXPERIMENTS[name], EXPERIMENTS[name].TITLE
    settings: dict[str, Any] = {}
    if module in (penalties, planted, slopes):
        settings |= {
            "classes": options.classes,
            "epochs": options.stitch_epochs,
            "images": options.images,
            "protocol": options.protocol,
            "kept": options.kept,
        }
    if module is rotation:
        settings["kept"] = options.kept
    if module is all_measures:
        settings |= {"measures": options.measures, "interval": options.interval}
    if name in ("similarity", "specificity"):
        settings["found"] = found
    if name in presets.PRESETS:
        presets.check(name, cast(Compared, subject))
        preset = presets.PRESETS[name]
        title = preset.title
        settings |= (
            {"classes": preset.classes}
            if preset.classes
            else {"measures": preset.measures}
        )
    if name not in OF_RUNS:
        settings["progress"] = progress
    return result(title, module, module.compute(subject, **settings))


def result(title: str, module: Any, record: Any) -> Result:
    """Returns what an experiment shows of its record.

    Args:
      title: of its section.
      module: see `EXPERIMENTS`.
      record: from its `compute`.
    """
    return Result(
        title=title,
        caption=module.caption(record),
        summary=module.summary(record),
        csv={f"{key}.csv": to_csv(rows) for key, rows in module.tables(record).items()},
        svg={f"{key}.svg": svg(fig) for key, fig in module.plot(record).items()},
    )


def svg(figure: Figure) -> str:
    """Returns a figure as the text of an SVG file.

    Args:
      figure: any.
    """
    text = io.StringIO()
    # The same figure gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "symjax_lib"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
