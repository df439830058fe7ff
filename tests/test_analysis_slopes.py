"""Figure 8 and table 3 on small networks of two slopes."""

import csv
import dataclasses

import numpy as np
import pytest

from analysis import __main__ as command, slopes, statistics
from train import presets, zoo
from train.configs import UserError

CONFIG = dataclasses.replace(
    presets.PRESETS["digits_quick"],
    model="mlp", width=6, epochs=2, seeds=2, shift=0,
)  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    for slope in (0.5, 0.0):
        config = dataclasses.replace(CONFIG, negative_slope=slope)
        zoo.train(config, tmp_path / f"negative_slope_{slope}")
    return tmp_path


def test_penalties_and_accuracies_of_every_slope(sweep, capsys):
    arguments = command.Arguments(
        "figure8", sweep, sweep / "out",
        images=50, stitch_images=200, stitch_epochs=1, classes=("full", "rank 1"),
    )  # fmt: skip
    command.main(arguments)
    assert "slope  accuracy" in capsys.readouterr().out
    read = lambda name: list(
        csv.DictReader((sweep / "out" / name).read_text().splitlines())
    )
    rows = read("slopes_accuracy.csv")
    assert [float(row["slope"]) for row in rows] == [0, 0.5]  # in increasing order
    runs = slopes.load(sweep).runs
    for row, run in zip(rows, runs, strict=True):
        values = statistics.summarise(run.zoo.test_accuracy)
        assert float(row["mean"]) == pytest.approx(values.mean, abs=1e-5)
        assert float(row["sd"]) == pytest.approx(values.sd, abs=1e-5)
    cells = read("slopes_cells.csv")
    assert len(cells) == 2 * 2 * 2  # slopes, layers, classes of one pair
    for row in read("slopes.csv"):
        names = "slope", "layer", "stitch"
        (cell,) = [c for c in cells if all(c[n] == row[n] for n in names)]
        clean = next(r for r in rows if r["slope"] == row["slope"])["mean"]
        expected = float(clean) - float(cell["test"])
        assert float(row["mean"]) == pytest.approx(expected, abs=1e-5)
    assert {p.name for p in (sweep / "out").glob("*.svg")} == {
        "slopes_1.svg", "slopes_2.svg",
    }  # fmt: skip
    kept = sorted(path.name for path in (sweep / "out").glob("kept_*/*"))
    assert kept == ["negative_slope_0.0", "negative_slope_0.5"]


def test_what_is_no_sweep_is_refused(sweep):
    with pytest.raises(UserError, match="holds no runs of several slopes; make some"):
        command.main(command.Arguments("figure8", sweep / "negative_slope_0.5"))
    runs = slopes.load(sweep, images=50).runs
    other = runs[1]._replace(layers=runs[1].layers[:1])
    with pytest.raises(UserError, match="must have the same layers"):
        slopes.compute(slopes.Sweep((runs[0], other)))
    assert np.isfinite(runs[0].zoo.test_accuracy).all()
