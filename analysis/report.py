"""One self-contained page on a run: figures, tables, and the numbers as CSV."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from analysis import stitching
from analysis.experiments import Result
from analysis.subject import Subject
from analysis.tables import Rows, cell

# Which columns of which summary make the main table, and what they are called there.
_MAIN = {
    ("procrustes", "G_ReLU"): "Procrustes G_ReLU",
    ("procrustes", "orthogonal"): "Procrustes orthogonal",
    ("cka", "G_ReLU"): "CKA G_ReLU",
    ("cka", "linear"): "CKA linear",
    ("stitching", "full 1x1"): "penalty full, %",
    ("stitching", "G_ReLU"): "penalty G_ReLU, %",
    ("stitching", stitching.RELAXED): "before rounding, %",
}

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


def main_table(results: Mapping[str, Result]) -> Rows:
    """Returns the main numbers: one row for each layer, mean ± sd over pairs.

    Args:
      results: by the experiment's name.
    """
    rows = []
    for i, first in enumerate(results["procrustes"].summary[0]):
        values = {
            title: results[experiment].summary[0][i][column]
            for (experiment, column), title in _MAIN.items()
        }
        rows.append({"layer": first["layer"], "channels": first["channels"], **values})
    return rows


def page(
    subject: Subject, results: Mapping[str, Result], made_of: Mapping[str, Any]
) -> str:
    """Returns the page, which has all figures, tables and CSV files in it.

    Args:
      subject: the run.
      results: by the experiment's name.
      made_of: options and versions, shown at the end of the page.
    """
    main = main_table(results)
    csv = {name: text for r in results.values() for name, text in r.csv.items()}
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(_TEMPLATE.read_text())
    return template.render(
        subject=subject,
        config=subject.zoo.config,
        main=main,
        results=results,
        made_of=made_of,
        csv=csv,
        cell=cell,
        data_uri=_data_uri,
    )


def _data_uri(text: str, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"
