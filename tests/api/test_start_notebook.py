"""The notebook to start from runs as it is, in a real kernel, and is committed without what it printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
from support.kernel import run_notebook

from kit.config.competition import HOME
from kit.core.names import CHECKOUT

NOTEBOOK = HOME / "digits" / "start.ipynb"


def test_the_start_notebook_is_committed_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")


def test_in_the_checkout_the_start_notebook_writes_where_the_command_line_does(monkeypatch):
    cell = next(each.source for each in nbformat.read(NOTEBOOK, as_version=4).cells if "kit.open" in each.source)
    monkeypatch.chdir(NOTEBOOK.parent)
    names = {"Path": Path}
    exec(cell, names)
    assert names["WORKSPACE"] == CHECKOUT


def test_the_start_notebook_ends_with_a_submission(tmp_path: Path):
    notebook = shutil.copy(NOTEBOOK, tmp_path)
    outputs = run_notebook(Path(notebook), tmp_path, PYTHONPATH=str(HOME.parents[1]), PYTHONWARNINGS="ignore")
    shown = [output["data"] for cell in outputs for output in cell if "data" in output]
    assert (tmp_path / "submission.csv").read_text().count("\n") == 798
    assert any("image/png" in data for data in shown) and any("text/html" in data for data in shown)
