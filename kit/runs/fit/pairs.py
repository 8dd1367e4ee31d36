"""Fit the models of pairs of folds: what saw neither fold chooses for both.

Writes ``runs/NAME/RUN/KEY/pairs/J_K/``: what the model was fitted on, its weights, its sweep over both folds' images,
and fitted.json last. A killed run goes on at the next pair.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from kit.config.competition import Run
from kit.core.files import read_object, write_atomic, write_json
from kit.core.shapes import Proba
from kit.core.tensors import read_tensors, write_tensors
from kit.data.images import Images
from kit.data.prepared import Prepared
from kit.models.model import Model
from kit.runs.fit.fold import WEIGHTS_FILE, finish, fit_model, provenance, read_fitted_in
from kit.runs.fit.restore import restore_model
from kit.runs.store.pairs import list_pairs, merge_folds, pair_folder


def list_waiting(prepared: Prepared, folder: Path) -> list[tuple[int, int]]:
    """Return every two scored folds whose model is not fitted yet."""
    return [pair for pair in list_pairs(prepared) if read_fitted_in(pair_folder(folder, *pair)) is None]


def fit_pair(prepared: Prepared, run: Run, folder: Path, first: int, second: int) -> None:
    """Fit one pair's model, on the images of neither fold, and write its sweep over both."""
    home, started = pair_folder(folder, first, second), time.perf_counter()
    merged = merge_folds(prepared, first, second)
    model, labeled, _ = fit_model(merged, run, first, home)
    write_json(home / "provenance.json", provenance(labeled), indent=None)
    write_tensors(home / WEIGHTS_FILE, model.tensors())
    with write_atomic(home / "sweep.npy") as file:
        np.save(file, sweep_pair(model, merged.held_out(first)))
    finish(prepared, run, home, folder.name, ["provenance.json", WEIGHTS_FILE, "sweep.npy"], started)


def sweep_pair(model: Model, images: Images) -> Proba:
    """Return a pair's probabilities at every value of the swept setting, (n_values, n_images, n_classes) float32.

    A model without such a setting has one value.
    """
    swept = model.predict_sweep(images) if model.is_swept else model.predict_proba(images)[None]
    return swept.astype(np.float32)


def restore_pair(prepared: Prepared, run: Run, folder: Path, first: int, second: int) -> Model:
    """Return a pair's model with the weights that it has kept; damaged ones raise DamagedFile."""
    return restore_model(prepared, run, first, read_tensors(pair_folder(folder, first, second) / WEIGHTS_FILE))


def seconds_of_pairs(prepared: Prepared, folder: Path) -> float:
    """Return how long the pairs of a run were fitted; 0 where it has none."""
    noted = [read_object(pair_folder(folder, *pair) / "fitted.json", "seconds") for pair in list_pairs(prepared)]
    return sum(each["seconds"] for each in noted if each)
