"""Write inference.py, inference.ipynb, and the metadata with which Kaggle's client uploads dataset and notebook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kit.core.files import write_json

SCRIPT = Path(__file__).with_name("script.py")
MAX_SLUG_LENGTH = 50  # characters of a slug or title at Kaggle


def write_notebook(folder: Path, owner: str, name: str, slug: str | None, uses_networks: bool) -> dict[str, Any]:
    """Write script, notebook and both metadata files; return OWNER/SLUG of ``dataset`` and ``kernel``.

    `name` is the dataset's, the notebook's has ``-inference`` behind it; `uses_networks` is whether a GPU is of use.
    """
    script = SCRIPT.read_text(encoding="utf-8")
    (folder / "inference.py").write_text(script, encoding="utf-8")
    write_json(folder / "inference.ipynb", _as_notebook(script))
    dataset, kernel = slug_of(name), slug_of(name, "-inference")
    title = dataset.replace("-", " ")
    write_json(
        folder / "dataset-metadata.json",
        {"id": f"{owner}/{dataset}", "title": title, "licenses": [{"name": "other"}]},
    )
    facts = {
        "id": f"{owner}/{kernel}",
        "title": kernel.replace("-", " "),
        "code_file": "inference.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": uses_networks,
        "enable_tpu": False,
        "enable_internet": False,
        "dataset_sources": [f"{owner}/{dataset}"],
        "competition_sources": [slug] if slug else [],
        "kernel_sources": [],
        "model_sources": [],
    }
    write_json(folder / "kernel-metadata.json", facts)
    return {"dataset": f"{owner}/{dataset}", "kernel": f"{owner}/{kernel}"}


def slug_of(name: str, ending: str = "") -> str:
    """Return a name as Kaggle's addresses have it: 6 to 50 lower-case letters, digits and hyphens."""
    plain = re.sub(r"[^a-z0-9]+", "-", f"kit {name}".lower()).strip("-")
    return plain[: MAX_SLUG_LENGTH - len(ending)].strip("-").ljust(6, "0") + ending


def _as_notebook(script: str) -> dict[str, Any]:
    """Return the script as a notebook of one explaining and one working cell (nbformat 4.5)."""
    text = "Predicts the competition's test images from the attached bundle, without internet, and checks its output."
    cells = [
        {"cell_type": "markdown", "id": "what", "metadata": {}, "source": text},
        {
            "cell_type": "code",
            "id": "predict",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": script,
        },
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
