"""Cells run in a real kernel of this Python, by a process of its own: a client of notebooks has warnings of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 300
RUN = """
import json, sys, warnings
warnings.simplefilter("ignore")
import nbclient, nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
client = nbclient.NotebookClient(notebook, timeout=int(sys.argv[2]), kernel_name="python3")
manager = client.create_kernel_manager()
manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
client.execute()
nbformat.write(notebook, sys.argv[1])
"""


def run_notebook(file: Path, cwd: Path, **environment: str) -> list[list[dict]]:
    """Run a notebook in place, in the folder `cwd`; return the outputs of each of its cells of code."""
    for package in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file), str(TIMEOUT_SECONDS)],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]


def run_cells(folder: Path, *cells: str, **environment: str) -> list[list[dict]]:
    """Run cells in one kernel, in `folder`; return the outputs of each."""
    nbformat = pytest.importorskip("nbformat")
    file = folder / "cells.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), file)
    return run_notebook(file, folder, **environment)


def text_of(outputs: list[dict]) -> str:
    """Return what a cell printed."""
    return "".join("".join(each["text"]) for each in outputs if each["output_type"] == "stream")
