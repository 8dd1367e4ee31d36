"""The thresholds of a run: for each fold's oof rows chosen on the other folds', for the test images on all of them."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

import numpy as np

from kit.core.errors import InputError, nearest, some
from kit.core.files import key_of
from kit.core.names import COMPETITION_FILE
from kit.core.shapes import Groups, Labels, Proba, Weights
from kit.data.folds import assign_folds
from kit.data.prepared import Prepared
from kit.runs.store.pairs import BY_FOLDS, BY_PAIRS, Apart
from kit.runs.store.result import Thresholds
from kit.scoring.predictions import Predictions
from kit.scoring.thresholds import ChosenThresholds, apply_thresholds, choose_thresholds, nest_thresholds

N_HOLD_OUT_BLOCKS = 5  # blocks in which a single published hold-out is cross-fitted


def check_decision(prepared: Prepared) -> None:
    """Refuse thresholds of other classes, and a class as the name of what shows none of them, before any work."""
    name = prepared.competition.decision.none_of_these
    if name in prepared.classes:
        file = prepared.competition.file
        raise InputError(f"{file}: [decision] none_of_these = {name!r} is a class of labelled images; rename it")
    decision_key(prepared)


def decision_key(prepared: Prepared) -> str | None:
    """Return the key of how several labels per image are decided for; None where an image has one."""
    if not prepared.pool.is_multilabel:
        return None
    fixed = read_thresholds(prepared)
    return key_of("nested, of heads by pairs of folds" if fixed is None else fixed.tolist())


def sent_key(prepared: Prepared, thresholds: Thresholds | None) -> str:
    """Return the key of what is decided of a run's test probabilities before they are sent; "" where nothing is."""
    if thresholds is not None:
        return key_of(thresholds.values)
    plan = prepared.competition.decision
    if plan.none_of_these is None:
        return ""
    return key_of(plan.none_of_these, plan.score, plan.encoder, plan.encoder_args, plan.accept_rate)


def read_thresholds(prepared: Prepared) -> Weights | None:
    """Return the thresholds that the user gave, (n_classes,); None where they are to be chosen.

    A file that cannot be read, other classes and a value that is no probability raise InputError.
    """
    competition, classes = prepared.competition, prepared.classes
    given, where = competition.decision.thresholds, f"{competition.file}: [decision] thresholds"
    if given == "nested":
        return None
    if isinstance(given, int | float):
        return np.full(len(classes), float(given))
    if isinstance(given, str):
        where = str(competition.folder / given)
        given = _read_file(prepared, given)
    if odd := sorted(set(given) - set(classes)):
        raise InputError(f"{where}: {some(map(repr, odd))} is not a class; {nearest(odd[0], classes)}")
    if missing := [name for name in classes if name not in given]:
        raise InputError(f"{where}: no threshold for {len(missing)} classes: {some(missing)}; is it of other classes?")
    for name, value in given.items():
        if not isinstance(value, float) or not 0 < value < 1:
            raise InputError(f"{where}: {name} = {value!r}; a threshold is a number above 0 and below 1")
    return np.array([given[name] for name in classes])


def _read_file(prepared: Prepared, name: str) -> dict[str, Any]:
    """Read a TOML file of thresholds."""
    path = prepared.competition.folder / name
    if not path.is_file():
        choices = ["nested", *(file.name for file in path.parent.glob("*.toml") if file.name != COMPETITION_FILE)]
        raise InputError(f"{path}: [decision] thresholds: no such file; {nearest(name, choices)}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}; write lines of class = 0.3") from error


def thresholds_of(prepared: Prepared, labels: Labels, proba: Proba, apart: Apart | None = None) -> Thresholds | None:
    """Return the thresholds for a run's predictions, those of each fold as the other folds choose them.

    Labels and probabilities are in the order of `scored_rows`; `apart` gives those of the rows outside a fold by models
    that did not see it either. None where an image has one label.
    """
    if not prepared.pool.is_multilabel:
        return None
    fixed, blocks = read_thresholds(prepared), scored_blocks(prepared)
    if fixed is None:
        arguments = (prepared.metric, labels, proba, blocks, prepared.hierarchy, prepared.scored_groups)
        chosen, nested = choose_thresholds(*arguments), nest_thresholds(*arguments, apart)
    else:
        chosen, nested = ChosenThresholds(fixed, None, None), dict.fromkeys(np.unique(blocks).tolist(), fixed)
    return Thresholds(
        values=chosen.thresholds.round(6).tolist(),
        gain=chosen.gain,
        gain_se=chosen.gain_se,
        per_fold={str(block): values.round(6).tolist() for block, values in nested.items()},
        nested=BY_FOLDS if apart is None else BY_PAIRS,
    )


def decide_oof(prepared: Prepared, proba: Proba, thresholds: Thresholds | None) -> Proba:
    """Return oof probabilities, in the order of `scored_rows`, for which one half is the threshold other folds chose.

    Without thresholds, where an image has one label, they stay as they are.
    """
    if thresholds is None:
        return proba
    shifted, blocks = np.empty(proba.shape), scored_blocks(prepared)
    for block in np.unique(blocks):
        is_here = blocks == block
        shifted[is_here] = apply_thresholds(
            proba[is_here], np.array(thresholds.per_fold[str(block)]), prepared.hierarchy
        )
    return shifted


def decide_test(prepared: Prepared, predictions: Predictions, thresholds: Thresholds | None) -> Predictions:
    """Return predictions of new images for which one half is the threshold that all oof rows chose."""
    if thresholds is None:
        return predictions
    proba = apply_thresholds(predictions.proba, np.array(thresholds.values), prepared.hierarchy)
    return dataclasses.replace(predictions, proba=proba)


def scored_blocks(prepared: Prepared) -> Groups:
    """Return the folds of the scored rows; a single hold-out is split into blocks for cross-fitting."""
    rows = prepared.scored_rows
    if len(prepared.scored) > 1:
        return prepared.folds[rows]
    ids, groups = prepared.pool.ids[prepared.labeled[rows]], prepared.pool.groups[prepared.labeled[rows]]
    n_blocks = min(N_HOLD_OUT_BLOCKS, len(np.unique(groups)))
    if n_blocks < 2:
        return np.zeros(len(rows), dtype=np.int64)
    # Not stratified: a class with one image in the hold-out is no reason to fail.
    return assign_folds(ids, np.zeros(len(rows), dtype=str), groups, n_blocks, seed=0)
