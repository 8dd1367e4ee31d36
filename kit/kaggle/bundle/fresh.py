"""Predict new images by finished runs, here and now: what a bundle would predict of them, without one being kept.

Reads finished runs; writes into a temporary folder alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from kit.data.prepared import Prepared
from kit.kaggle.bundle.inference import as_competition, predict_table
from kit.kaggle.bundle.members import choose_members
from kit.kaggle.bundle.writing import describe_contents, gather
from kit.runs.store import Result
from kit.scoring.predictions import Predictions


def predict_fresh(prepared: Prepared, results: list[Result], table: pd.DataFrame) -> tuple[Predictions, Predictions]:
    """Predict images by the folds' models of one run, or of an ensemble's members.

    Parameters
    ----------
    table
        Columns ``id`` and ``path``.

    Returns
    -------
    tuple
        The mixture, of the images that can be read, and the decisions, of all: images that cannot be read get the
        class prior; one half is the threshold where an image may have several labels.

    Raises
    ------
    InputError
        When a run cannot predict new images: it was imported, refitted on everything, or has lost its weights.
    """
    members, whole = choose_members(prepared, results, drop=False, task="predict")
    with tempfile.TemporaryDirectory(prefix="predict-") as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        contents, parts, decision = gather(prepared, members, whole, folder)
        bundle = describe_contents(prepared, contents, parts, decision, "predict", folder, {})
        competition = as_competition(bundle, folder, prepared.competition.root, Path(scratch))
        return predict_table(bundle, competition, table.assign(split="test").astype(object))
