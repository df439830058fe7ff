"""One self-contained page on networks: figures, tables, and the numbers as CSV."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from analysis.experiments import Result
from analysis.networks import Compared, Networks, model_of
from analysis.tables import Rows, cell

# Which columns of which summary make the main table, and what they are called there.
_MAIN = {
    ("procrustes", "G_ReLU"): "Procrustes G_ReLU",
    ("procrustes", "orthogonal"): "Procrustes orthogonal",
    ("cka", "G_ReLU"): "CKA G_ReLU",
    ("cka", "linear"): "CKA linear",
}

CLASSES = "full", "G_ReLU"
"""Of stitches, unless others are asked for."""

_USUAL = "g_relu_procrustes", "orthogonal_procrustes", "g_relu_cka", "linear_cka"
_TEMPLATE = Path(__file__).with_name("report.html.jinja")


class Main(NamedTuple):
    """The table at the top of the page, and what its numbers are."""

    rows: Rows
    note: str


def main(results: Mapping[str, Result]) -> Main:
    """Returns the main numbers.

    Args:
      results: by the experiment's name, of a run or of networks of others.
    """
    if "similarity" in results:
        (rows,) = results["similarity"].summary
        usual = [row for row in rows if row["measure"] in _USUAL]
        return Main(
            usual or rows,
            "Similarity of each layer with the same layer of another network: mean "
            "over pairs, and in brackets the interval that is explained below; 1 is "
            "equal up to the group, higher is closer.",
        )
    return Main(
        _by_layer(results),
        "Mean ± standard deviation over pairs of networks, or mean and interval. "
        "Similarities: 1 is equal up to the group, higher is closer. Penalties: points "
        "of accuracy that a stitched network loses, lower is closer.",
    )


def _by_layer(results: Mapping[str, Result]) -> Rows:
    rows = []
    for i, stitched in enumerate(results["penalties"].summary[0]):
        row = {name: stitched[name] for name in ("layer", "channels")}
        for (experiment, column), title in _MAIN.items():
            row[title] = results[experiment].summary[0][i][column]
        penalties = {f"penalty {k}, %": v for k, v in stitched.items() if k not in row}
        rows.append(row | penalties)
    return rows


def of_networks(
    subject: Compared, results: Mapping[str, Result], made_of: Mapping[str, Any]
) -> str:
    """Returns the page on networks that are compared.

    Args:
      subject: the networks.
      results: by the experiment's name.
      made_of: options and versions, shown at the end of the page.
    """
    return page(
        heading="Which symmetries, and how do the networks relate under them?",
        title=f"{model_of(subject)} on {_data_of(subject)}",
        lead=_lead(subject),
        main=main(results),
        results=results,
        made_of=made_of,
    )


def page(
    *,
    heading: str,
    title: str,
    lead: str,
    main: Main,
    results: Mapping[str, Result],
    made_of: Mapping[str, Any],
) -> str:
    """Returns a page which has all figures, tables and CSV files in it.

    Args:
      heading: at the top.
      title: of the browser's window.
      lead: below the heading.
      main: the first table.
      results: by the experiment's name, a section each.
      made_of: options and versions, shown at the end.
    """
    csv = {name: text for r in results.values() for name, text in r.csv.items()}
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(_TEMPLATE.read_text())
    return template.render(
        heading=heading,
        title=title,
        lead=lead,
        main=main,
        results=results,
        made_of=made_of,
        csv=csv,
        cell=cell,
        data_uri=_data_uri,
    )


def _data_of(subject: Compared) -> str:
    return "cifar10" if isinstance(subject, Networks) else subject.zoo.config.dataset


def _lead(subject: Compared) -> str:
    measured = f"Features are measured on {len(subject.measured.images)} test images."
    count = len(subject.networks)
    if isinstance(subject, Networks):
        return f"{count} networks {subject.model} on {_data_of(subject)}. {measured}"
    config = subject.zoo.config
    lead = (
        f"{count} networks {config.model} of width {config.width}, trained on "
        f"{config.dataset} for {config.epochs} epochs; they differ in their seed only."
    )
    if diverged := config.seeds - count:
        lead += f" {diverged} more diverged and are left out."
    return f"{lead} {measured}"


def _data_uri(text: str, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"
