"""Pairs of folds: heads fitted without either, so that what they choose for one fold its labels had no say in.

The models of the other folds learned from a fold's labels: a setting that their oof chooses for the fold is not wholly
nested. A pair's model saw neither fold: its sweep on the rows of one chooses for the other. Pairs are fitted where that
is cheap: of heads that keep their weights and have no teachers. They lie in ``RUN/KEY/pairs/J_K/``, written by
`kit.runs.fit.pairs`. Reads the disk; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.errors import DamagedFile
from kit.core.files import read_object, remedy_for
from kit.core.shapes import Proba
from kit.data.prepared import Prepared
from kit.models.model import Model
from kit.runs.store.result import Result

BY_PAIRS, BY_FOLDS = "pairs", "folds"  # how a choice is nested
Apart = Callable[[int], Proba]  # of a fold: the scored rows outside it, by models that did not see the fold either
MOST_SECONDS = 600.0  # of all pairs of a run, as estimated; beyond, the other folds' oof chooses
MOST_BYTES = 1e9  # of all pairs' sweeps
FEATURES = 1000  # numbers of an image, as estimated, for each encoder
NEAR_SECONDS = 1e-10  # of a number of two images that are compared: one core, 20 thousand million steps a second
FLOW_SECONDS = 2e-7  # of one probability that flows over the graph until it rests
LEARN_SECONDS = 2e-8  # of a number of an image in a regression that learns one class


@dataclass(frozen=True)
class Pairs:
    """Read what the models of pairs of folds say of a run's images."""

    prepared: Prepared
    folder: Path

    def sweep(self, of: int, apart: int) -> Proba:
        """Return probabilities of the fold `of`, by the model that saw neither it nor `apart`.

        Of the shape (n_values, n_images, n_classes), in the order of the fold's images; a missing or damaged file
        raises DamagedFile.
        """
        folds = self.prepared.folds
        both = folds[np.isin(folds, (of, apart))]
        path = pair_folder(self.folder, of, apart) / "sweep.npy"
        try:
            sweep = np.load(path, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise DamagedFile(f"{path}: cannot be read as a sweep ({error}); {remedy_for(path)}") from error
        if sweep.ndim != 3 or sweep.shape[1:] != (len(both), len(self.prepared.classes)):
            raise DamagedFile(f"{path}: has shape {sweep.shape}, not that of two folds; {remedy_for(path)}")
        return sweep[:, both == of]


def pair_folder(folder: Path, first: int, second: int) -> Path:
    """Return the folder of the model that was fitted without two folds, in whichever order they are named."""
    return folder / "pairs" / f"{min(first, second)}_{max(first, second)}"


def list_pairs(prepared: Prepared) -> list[tuple[int, int]]:
    """Return every two scored folds."""
    return list(combinations(sorted(prepared.scored), 2))


def merge_folds(prepared: Prepared, first: int, second: int) -> Prepared:
    """Return a competition in which two folds are one, of the first's number: both are held out together."""
    return replace(prepared, folds=np.where(prepared.folds == second, first, prepared.folds))


def wants_pairs(prepared: Prepared, run: Run, model: Model) -> bool:
    """Return whether a run's pairs of folds are fitted; the same on every machine, since it decides predictions.

    Not of a single hold-out, of two folds in all, of networks, of models that keep no weights, and of runs with
    teachers, whose own models saw what the pair must not.
    """
    if len(prepared.scored) < 2 or len(np.unique(prepared.folds)) < 3:
        return False
    if not model.keeps_weights or model.resumes or run.pseudo is not None:
        return False
    if not prepared.fits_idle_pairs and len(model.sweep_values()) < 2:
        return False
    return estimate_seconds(prepared, run, model) <= MOST_SECONDS and _count_bytes(prepared, model) <= MOST_BYTES


def estimate_seconds(prepared: Prepared, run: Run, model: Model) -> float:
    """Return about how many seconds of one core all pairs of a run take; the graph of neighbours costs most."""
    options, n_values, n_classes = model.options(), max(len(model.sweep_values()), 1), len(prepared.classes)
    numbers, n_nodes = FEATURES * max(len(model.encoders_used), 1), len(prepared.labels)
    each = LEARN_SECONDS * n_nodes * numbers * n_classes
    if options.get("smooth", 0) != 0:
        n_nodes += sum(len(prepared.split(split)) for split in (("unlabeled", "test")[: 1 + run.use_test_images]))
        each += NEAR_SECONDS * n_nodes**2 * numbers + n_values * FLOW_SECONDS * n_nodes * n_classes
        if options.get("self_training", 0):
            each += n_values * LEARN_SECONDS * n_nodes * numbers * n_classes
    return len(list_pairs(prepared)) * run.n_copies * each


def _count_bytes(prepared: Prepared, model: Model) -> float:
    """Return the size of all pairs' sweeps: every image is in as many pairs as there are other folds."""
    n_values, n_rows = max(len(model.sweep_values()), 1), len(prepared.scored_rows) * (len(prepared.scored) - 1)
    return 4.0 * n_values * n_rows * len(prepared.classes)


def read_pairs(prepared: Prepared, folder: Path) -> Pairs | None:
    """Return the pairs of a finished run; None where it has none, or not all of them."""
    homes = [pair_folder(folder, *pair) for pair in list_pairs(prepared)]
    is_whole = bool(homes) and all(read_object(home / "fitted.json", "files") is not None for home in homes)
    return Pairs(prepared, folder) if is_whole else None


def predict_apart(prepared: Prepared, results: Sequence[Result], fold: int) -> np.ndarray:
    """Return what runs say of the other folds' images by models that did not see `fold` either.

    Of the shape (n_runs, n_images, n_classes), in the order of the scored rows outside the fold, each run at the
    setting that was chosen for the fold. Every run has pairs.
    """
    return np.stack([apart_in(prepared, result.folder, result.record.chosen)(fold) for result in results])


def apart_in(prepared: Prepared, folder: Path, chosen: dict[str, Any]) -> Apart:
    """Return what gives the scored rows outside a fold, (n_images, n_classes), by a run's models of pairs of folds.

    The run lies in `folder`, its settings are those that were `chosen`, as in run.json.
    """
    folds = prepared.folds[prepared.scored_rows]

    def apart(fold: int) -> Proba:
        whole = np.empty((len(folds), len(prepared.classes)), dtype=np.float32)
        for other in prepared.scored:
            if other != fold:
                whole[folds == other] = settle_pair(prepared, folder, chosen, other, fold)
        return whole[folds != fold]

    return apart


def pairs_of(prepared: Prepared, result: Result) -> Pairs | None:
    """Return the pairs of a run whose settings they chose, or would have; None of others."""
    return read_pairs(prepared, result.folder) if result.record.pairs and not result.record.rounds else None


def settle_pair(
    prepared: Prepared, folder: Path, chosen: dict[str, Any], of: int, apart: int, is_own: bool = False
) -> Proba:
    """Return the probabilities of a pair's model for the fold `of`, (n_images, n_classes).

    They are at the setting that was `chosen`, as in run.json, for `apart`; for `of` itself with `is_own`.
    """
    sweep, position = Pairs(prepared, folder).sweep(of, apart), 0
    if chosen:
        per_fold = {str(fold): value for fold, value in chosen["per_fold"].items()}
        position = chosen["values"].index(per_fold[str(of if is_own else apart)])
    proba = sweep[position]
    return proba if prepared.hierarchy is None else prepared.hierarchy.make_consistent(proba)
