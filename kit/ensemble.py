"""Ensemble: a temperature per member, simplex weights by log-loss, shrunk to uniform; the score is nested.

Reads the members' oof and test predictions; writes ``runs/NAME/ensemble/KEY/`` in the form of a run. Temperatures,
weights and the strength of the shrinkage for fold k are chosen on the other folds' oof rows, so that the printed CV is
measured on rows that chose nothing; the weights for the test images are chosen on all rows. Shrunk all the way, the
weights are uniform: that is the fallback where learning them does not help.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kit.competition import ENSEMBLE
from kit.errors import InputError, some
from kit.files import key_of, read_json
from kit.folds import assign_folds
from kit.metrics import METRICS
from kit.predictions import Predictions, write_predictions
from kit.prepare import Prepared
from kit.runs import Result, describe_run, oof_rows, write_result

SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the learned weights; 0 is uniform
FLOOR = 1e-7  # probability: the logarithm of a member's certain error stays finite
TEMPERATURE_BOUNDS = (-3.0, 3.0)  # natural logarithm of the temperature
N_HOLD_OUT_BLOCKS = 5  # blocks in which a single published hold-out is cross-fitted
N_GREEDY_STEPS = 50


def fit_temperature(labels: np.ndarray, log_proba: np.ndarray) -> float:
    """Return the temperature that minimises the log-loss (Guo et al. 2017, section 4.2).

    Parameters
    ----------
    labels
        (n_images,) class codes.
    log_proba
        (n_images, n_classes) log-probabilities of one member.

    Returns
    -------
    float
        Above 0; above 1 makes the member less sure.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    def loss(log_temperature: float) -> float:
        scaled = log_proba / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]).mean())

    found = minimize_scalar(loss, bounds=TEMPERATURE_BOUNDS, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply_temperature(log_proba: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log_proba / temperature), float64, (n_images, n_classes)."""
    from scipy.special import softmax

    return softmax(log_proba / temperature, axis=1)


def fit_simplex_weights(own: np.ndarray) -> np.ndarray:
    """Return the convex weights that minimise the log-loss of a mixture.

    The loss needs the members' probabilities of the true class alone, and is convex. Float64 and the exact gradient:
    with numeric gradients on float32 the optimiser returns its start and says nothing.

    Parameters
    ----------
    own
        (n_members, n_images) float64 probability each member gives the true class, above 0.

    Returns
    -------
    np.ndarray
        (n_members,) weights, 0 or more, summing to 1.

    Raises
    ------
    RuntimeError
        When the optimiser fails, or stops at its start though the gradient there is not flat.
    """
    from scipy.optimize import minimize

    own = np.asarray(own, dtype=np.float64)
    n_members, n_images = own.shape
    start = np.full(n_members, 1 / n_members)
    if n_members == 1:
        return start

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixture = np.maximum(weights @ own, FLOOR)
        return float(-np.log(mixture).mean()), -(own / mixture).sum(axis=1) / n_images

    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    found = minimize(
        loss, start, jac=True, method="SLSQP", bounds=[(0, 1)] * n_members, constraints=constraint,
        options={"maxiter": 500, "ftol": 1e-10},
    )  # fmt: skip
    weights = np.maximum(found.x, 0)
    weights /= weights.sum()
    gradient = loss(start)[1]
    flat = np.ptp(gradient) < 1e-6
    if not np.isfinite(weights).all() or (not flat and np.abs(weights - start).max() < 1e-9):
        raise RuntimeError(f"ensemble weights: the optimiser did not move ({found.message})")
    return weights


def select_greedily(labels: np.ndarray, proba: np.ndarray, metric: str) -> np.ndarray:
    """Return the weights of forward selection with replacement (Caruana et al. 2004), for any metric.

    Parameters
    ----------
    labels
        (n_images,) class codes.
    proba
        (n_members, n_images, n_classes).
    metric
        A name in METRICS.
    """
    chosen = METRICS[metric]
    counts, total, best = np.zeros(len(proba)), np.zeros(proba.shape[1:]), (-np.inf, np.zeros(len(proba)))
    for step in range(1, N_GREEDY_STEPS + 1):
        scores = [chosen.sign * chosen.score(labels, (total + member) / step) for member in proba]
        winner = int(np.argmax(scores))
        counts[winner] += 1
        total = total + proba[winner]
        if scores[winner] > best[0] + 1e-12:
            best = (scores[winner], counts / step)
    return best[1]


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
        raise InputError("the ensemble has no finished member; ./run.sh train makes them")
    found = find_ensemble(prepared, members)
    if found:
        return found
    method, key = prepared.competition.ensemble.method, _key(prepared, members)
    folder = prepared.competition.workspace.runs(prepared.competition.name) / ENSEMBLE / key
    started = time.perf_counter()
    oof, test, facts = _combine(prepared, members, method)
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


def _combine(prepared: Prepared, members: list[Result], method: str) -> tuple[Predictions, Predictions, dict[str, Any]]:
    """Return nested oof, test predictions and what was learned."""
    logs, labels = _member_logs(prepared, members)
    blocks = _blocks(prepared, labels)
    fit = _fit_greedy(prepared.competition.facts.metric) if method == "greedy" else _fit_shrunk
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


class Mixture:
    """Mix members: each at its temperature, then by weight."""

    def __init__(self, temperatures: np.ndarray, weights: np.ndarray, shrinkage: float) -> None:
        self.temperatures, self.weights, self.shrinkage = temperatures, weights, shrinkage

    def __call__(self, logs: np.ndarray) -> np.ndarray:
        """Return (n_images, n_classes) probabilities for (n_members, n_images, n_classes) log-probabilities."""
        scaled = [apply_temperature(log, own) for log, own in zip(logs, self.temperatures, strict=True)]
        return np.tensordot(self.weights, np.stack(scaled), axes=1)


def _fit_shrunk(labels: np.ndarray, logs: np.ndarray, blocks: np.ndarray) -> Mixture:
    """Fit temperatures and weights; choose the shrinkage by cross-validation over `blocks`."""
    temperatures = np.array([fit_temperature(labels, log) for log in logs])
    own = _own_proba(labels, logs, temperatures)  # (n_members, n_images)
    uniform = np.full(len(logs), 1 / len(logs))
    losses = np.zeros((len(SHRINKAGES), len(labels)))
    for block in np.unique(blocks) if len(np.unique(blocks)) > 1 else []:
        rest, mine = blocks != block, blocks == block
        learned = fit_simplex_weights(own[:, rest])
        for row, share in enumerate(SHRINKAGES):
            weights = share * learned + (1 - share) * uniform
            losses[row, mine] = -np.log(np.maximum(weights @ own[:, mine], FLOOR))
    share = SHRINKAGES[_simplest_good(losses)]
    return Mixture(temperatures, share * fit_simplex_weights(own) + (1 - share) * uniform, share)


def _simplest_good(losses: np.ndarray) -> int:
    """Return the first row (the most uniform) that is within one paired standard error of the best."""
    best = int(losses.mean(axis=1).argmin())
    apart = losses - losses[best]
    error = apart.std(axis=1) / np.sqrt(max(losses.shape[1], 1))
    return int(np.flatnonzero(apart.mean(axis=1) <= error)[0])


def _fit_greedy(metric: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Mixture]:
    """Return a fit by forward selection on the metric."""

    def fit(labels: np.ndarray, logs: np.ndarray, blocks: np.ndarray) -> Mixture:
        temperatures = np.array([fit_temperature(labels, log) for log in logs])
        scaled = np.stack([apply_temperature(log, own) for log, own in zip(logs, temperatures, strict=True)])
        return Mixture(temperatures, select_greedily(labels, scaled, metric), 1.0)

    return fit


def _own_proba(labels: np.ndarray, logs: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Return what each member gives the true class, (n_members, n_images) float64."""
    rows = np.arange(len(labels))
    own = [apply_temperature(log, own)[rows, labels] for log, own in zip(logs, temperatures, strict=True)]
    return np.maximum(np.stack(own), FLOOR)


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
    images = prepared.labeled[rows]
    return assign_folds(prepared.pool.ids[images], labels, prepared.pool.groups[images], N_HOLD_OUT_BLOCKS, 0)


def _log(proba: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(proba.astype(np.float64), FLOOR))


def _write(folder: Path, oof: Predictions, test: Predictions) -> None:
    write_predictions(folder / "oof.parquet", oof)
    write_predictions(folder / "test.parquet", test)
