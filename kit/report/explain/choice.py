"""Which images to explain: those that the user names, or the most confident mistakes and a few right ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.core.errors import InputError, some
from kit.data.prepared import Prepared
from kit.runs.store import Result, oof_rows
from kit.scoring.metrics import decide

N_RIGHT = 3  # images that the run is right about, beside the mistakes
SPLITS = ("labeled", "test", "unlabeled")  # an id that stands in several means the first


@dataclass(frozen=True)
class Case:
    """Hold an image to explain.

    Parameters
    ----------
    row
        Its position in the pool.
    fold
        The fold whose model is asked: the one that held the image out; for images without a label the first.
    split
        Where it lies.
    """

    row: int
    fold: int
    split: str


def choose_cases(prepared: Prepared, result: Result, n: int) -> list[Case]:
    """Return the `n` most confident mistakes of a run, fewer where there are not so many, and a few right ones."""
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    predicted = decide(proba, labels.ndim == 2)
    if labels.ndim == 2:
        wrong, sureness = (predicted != labels).any(axis=1), np.abs(proba - labels).max(axis=1)
    else:
        wrong, sureness = predicted != labels, proba.max(axis=1)
    order = np.argsort(-sureness, kind="stable")
    mistakes = order[wrong[order]][:n]
    right = np.random.default_rng(0).permutation(np.flatnonzero(~wrong))[:N_RIGHT]
    rows = prepared.scored_rows[np.concatenate([mistakes, right])]
    return [Case(int(prepared.labeled[row]), int(prepared.folds[row]), "labeled") for row in rows]


def find_cases(prepared: Prepared, ids: Sequence[str]) -> list[Case]:
    """Return the images with these ids, in their order.

    Raises
    ------
    InputError
        When an id is none of the competition's, or lies in a fold that every model learned from.
    """
    pool = prepared.pool
    rows = {}
    for split in reversed(SPLITS):
        rows |= {pool.ids[row]: (int(row), split) for row in prepared.split(split)}
    unknown = [image_id for image_id in ids if image_id not in rows]
    if unknown:
        example = some([repr(name) for name in pool.ids[:2]])
        raise InputError(
            f"--ids: no usable image of {prepared.competition.name} has the id {some(map(repr, unknown))}; ids look "
            f"like {example}"
        )
    fold_of = dict(zip(prepared.labeled.tolist(), prepared.folds.tolist(), strict=True))
    cases = [
        Case(row, fold_of.get(row, prepared.scored[0]), split) for row, split in (rows[image_id] for image_id in ids)
    ]
    for case in cases:
        if case.fold not in prepared.scored:
            raise InputError(
                f"--ids: {pool.ids[case.row]!r} lies in fold {case.fold}, which is not scored: every model learned "
                "from it, and it would be explained by heart"
            )
    return cases
