"""Ensemble: a temperature per member, simplex weights by log-loss, shrunk to uniform; the score is nested.

Reads the members' oof and test predictions; writes ``runs/NAME/ensemble/KEY/`` in the form of a run. Temperatures,
weights and the strength of the shrinkage for fold k are chosen on the other folds' oof rows, so that the printed CV is
measured on rows that chose nothing; the weights for the test images are chosen on all rows. Shrunk all the way, the
weights are uniform: that is the fallback where learning them does not help.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from kit.competition import ENSEMBLE, FILE
from kit.errors import InputError, nearest, some
from kit.files import key_of, read_json
from kit.folds import assign_folds
from kit.mixing import FLOOR, fit_greedy, fit_shrunk, take_uniform
from kit.predictions import Predictions, write_predictions
from kit.prepare import Prepared
from kit.runs import Result, describe_run, find_usable, list_imported, oof_rows, stale_imports, write_result

N_HOLD_OUT_BLOCKS = 5  # blocks in which a single published hold-out is cross-fitted


def ensemble(prepared: Prepared, members: list[Result]) -> Result:
    """Combine finished runs; re-used when the same was combined before.

    Parameters
    ----------
    prepared
        The competition made ready.
    members
        At least one finished run, imported ones included.

    Returns
    -------
    Result
        The ensemble, in the form of a run.

    Raises
    ------
    InputError
        When there is no member, or a member's ids or classes are others.
    """
    if not members:
        raise InputError(f"the ensemble has no finished member; ./run.sh train {prepared.competition.name} makes them")
    found = find_ensemble(prepared, members)
    if found:
        return found
    method, key = prepared.competition.ensemble.method, _key(prepared, members)
    folder = prepared.competition.workspace.runs(prepared.competition.name) / ENSEMBLE / key
    started = time.perf_counter()
    oof, test, facts = combine(prepared, members, method)
    _write(folder, oof, test)
    facts = describe_run(prepared, ENSEMBLE, oof) | facts | {"key": key, "model": f"ensemble ({method})"}
    facts |= {"teachers": {}, "seconds": round(time.perf_counter() - started, 1)}
    return write_result(ENSEMBLE, folder, facts)


def find_ensemble(prepared: Prepared, members: list[Result]) -> Result | None:
    """Return the finished ensemble of exactly these members, or None."""
    folder = prepared.competition.workspace.runs(prepared.competition.name) / ENSEMBLE / _key(prepared, members)
    facts = read_json(folder / "run.json")
    return Result(ENSEMBLE, folder, facts) if facts else None


def _key(prepared: Prepared, members: list[Result]) -> str:
    """Return the key of what is combined and how."""
    method, metric = prepared.competition.ensemble.method, prepared.competition.facts.metric
    return key_of([(member.name, member.facts["key"]) for member in members], prepared.fold_key, method, metric)


def combine(prepared: Prepared, members: list[Result], method: str) -> tuple[Predictions, Predictions, dict[str, Any]]:
    """Return nested oof predictions, test predictions, and what was learned on all rows."""
    logs, labels = _member_logs(prepared, members)
    blocks = _blocks(prepared, labels)
    fit = fit_greedy(prepared.competition.facts.metric) if method == "greedy" else fit_shrunk
    if len(np.unique(blocks)) < 2:
        fit = take_uniform  # there are no other rows to learn weights on
    proba = np.empty(logs.shape[1:])
    for block in np.unique(blocks):
        rest, mine = blocks != block, blocks == block
        proba[mine] = fit(labels[rest], logs[:, rest], blocks[rest])(logs[:, mine])
    final = fit(labels, logs, blocks)
    test_ids = prepared.pool.ids[prepared.split("test")]
    test_logs = np.stack([_log(member.predictions("test").at(test_ids).proba) for member in members])
    ids = prepared.pool.ids[prepared.labeled[prepared.scored_rows]]
    oof = Predictions(ids, prepared.classes, proba)
    test = Predictions(test_ids, prepared.classes, final(test_logs))
    names = [member.name for member in members]
    return oof, test, {
        "weights": dict(zip(names, final.weights.round(6).tolist(), strict=True)),
        "temperatures": dict(zip(names, final.temperatures.round(6).tolist(), strict=True)),
        "shrinkage": final.shrinkage,
        "members": {member.name: member.facts["key"] for member in members},
    }  # fmt: skip


def members_of(prepared: Prepared) -> list[Result]:
    """Return the finished members of the ensemble, imported ones included, in the order of ``[ensemble] members``.

    Raises
    ------
    InputError
        When a member is neither a run nor an import.
    """
    return [result for name in check_members(prepared) if (result := find_usable(prepared, name))]


def check_members(prepared: Prepared) -> list[str]:
    """Return the names of the members.

    Raises
    ------
    InputError
        When a member is neither a run nor an import; names the nearest.
    """
    competition = prepared.competition
    known = {*competition.runs, *list_imported(prepared)}
    members = competition.ensemble.members
    if members is None:
        return [*competition.default_runs, *list_imported(prepared)]
    for name in members:
        if name in known:
            continue
        file = competition.folder / FILE
        if name in stale_imports(prepared):
            raise InputError(f"{file}: [ensemble] members: {name!r} was imported for other folds; import it again")
        raise InputError(f"{file}: [ensemble] members: no run or import {name!r}; {nearest(name, known)}")
    return members


def _member_logs(prepared: Prepared, members: list[Result]) -> tuple[np.ndarray, np.ndarray]:
    """Return the members' oof log-probabilities (n_members, n_images, n_classes) and the labels."""
    logs = []
    for member in members:
        oof = member.predictions("oof")
        if oof.classes != prepared.classes:
            raise InputError(f"{member.folder}: classes are {some(oof.classes)}, not the competition's; remake the run")
        labels, proba = oof_rows(prepared, oof)
        logs.append(_log(proba))
    return np.stack(logs), labels


def _blocks(prepared: Prepared, labels: np.ndarray) -> np.ndarray:
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


def _log(proba: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(proba.astype(np.float64), FLOOR))


def _write(folder: Path, oof: Predictions, test: Predictions) -> None:
    write_predictions(folder / "oof.parquet", oof)
    write_predictions(folder / "test.parquet", test)
