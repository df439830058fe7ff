"""Runs every notebook from top to bottom in a small mode; they are stored stripped."""

import os

import nbformat
import pytest
from nbclient import NotebookClient
from paths import ROOT, shared

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONG = "01_groups_and_actions", "02_symmetries_of_your_model", "04_stitching"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=pytest.mark.slow if path.stem in LONG else ()
        )
        for path in NOTEBOOKS
    ],
)
# Jupyter's client warns of its own event loop and of fields it fills in.
@pytest.mark.filterwarnings("default")
def test_runs(path, monkeypatch):
    monkeypatch.setenv("NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", os.fspath(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if path.stem == "04_stitching":
        monkeypatch.setenv("TFDS_DATA_DIR", os.fspath(shared("data/tfds")))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_without_output(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
