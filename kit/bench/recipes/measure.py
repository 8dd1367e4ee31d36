"""Measure ways to classify images with a few labels, draw by draw: each of every set before the next of any.

What is planned comes first, on all draws, then scikit-learn's methods and the settings of the joint probe.

Reads the folders below ``--data`` and the weights below ``--weights``. Writes features, and of every draw its figures
and what the planned runs predict, below ``runs/bench-recipes``; a draw that the same code has measured is not measured
again. Hidden labels are opened by the scoring here alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

from kit.bench.kept import Kept, code_key, keep, mix, read_kept
from kit.bench.recipes.sets import Draw, label_of, list_available, plan_draw, read_set
from kit.bench.recipes.ways import (
    BASELINE,
    ENSEMBLED,
    RUN,
    SPREADING,
    ask_scikit_learn,
    run_baselines,
    run_plan,
    try_settings,
)
from kit.bench.semi import PhotoSetting
from kit.core.files import Workspace, key_of, read_json, write_json
from kit.core.held import hold
from kit.core.shapes import Labels, Proba
from kit.core.terminal import stage, warn
from kit.curate.plan import Wishes
from kit.data.prepared import Prepared
from kit.models.trust import trusted
from kit.scoring.metrics import hits

N_DRAWS = 8
PIP_ALONE = ", pip's encoders alone"
PLANNED, OTHERS = BASELINE, SPREADING
PARTS = (PLANNED, OTHERS)
"""Parts of a draw, each by a way that is measured in it: what is planned and the baselines, then all else."""
MADE_BY = ("data", "features", "models", "runs/fit", "runs/store", "curate/plan", "bench/semi.py", "bench/recipes")
WITHOUT = ("models/trust.py", "runs/store/rounds.py", "bench/recipes/evidence.py")
"""The code that decides what is measured here; the second is what follows from it, or reads it."""
TEMPERATURES = np.exp(np.arange(-2.0, 2.75, 0.25))
TINY = 1e-7  # probability: the logarithm of a certain error stays finite


@dataclass(frozen=True)
class Measured:
    """Hold the result of one way on the hidden images of one draw.

    Parameters
    ----------
    way
        What was tried: a baseline, ``run NAME`` of the plan, ``smooth = 0.5`` and so on of its joint probe.
    accuracy
        0..1.
    log_loss
        At the temperature that is best for it, in nats.
    """

    setting: str
    draw: int
    way: str
    accuracy: float
    log_loss: float


def bench_recipes(
    data: Path,
    weights: Path | None,
    workspace: Workspace,
    draws: Sequence[int] = range(N_DRAWS),
    only: Sequence[str] = (),
) -> list[Measured]:
    """Measure every way on every setting whose photos are there.

    A call that was stopped goes on at the next draw.

    Parameters
    ----------
    data
        A folder with ``trashnet`` and ``cifar10`` (class folders) and ``grocery`` (labels.csv and images).
    weights
        What ``new --weights`` is given; None for the encoders of pip alone.
    workspace
        Results lie in its runs/bench-recipes.
    only
        The settings to measure, as tables call them; all by default.

    Raises
    ------
    InputError
        When none of the folders of photos is there, or there is no setting of a name in `only`.
    """
    available = list_available(data, only)
    home, wishes = home_of(workspace), _wishes_of(weights)
    asked = {(_name(setting, wishes), draw) for setting in available for draw in draws}
    with hold(home.root, warn):
        everything: dict[PhotoSetting, Prepared] = {}
        for part, number, setting in product(PARTS, draws, available):  # stopped anywhere, the sets have as many draws
            if not _is_measured(_file(home, setting, wishes), part, number):
                everything[setting] = everything.get(setting) or read_set(data, setting, home)
                _measure_draw(everything[setting], setting, home, wishes, part, number)
        measured = [each for setting in available for each in _read_all(home, setting, wishes, draws)]
    return [each for each in measured if (each.setting, each.draw) in asked]


def read_planned(
    data: Path,
    weights: Path | None,
    workspace: Workspace,
    draws: Sequence[int] = range(N_DRAWS),
    only: Sequence[str] = (),
) -> dict[str, dict[int, Kept]]:
    """Return what the planned runs predict, by setting and draw, of the draws that `bench_recipes` has measured."""
    home, wishes = home_of(workspace), _wishes_of(weights)
    planned = {}
    for setting in list_available(data, only):
        file = _file(home, setting, wishes)
        there = [draw for draw in draws if _is_measured(file, PLANNED, draw)]
        if there:
            planned[_name(setting, wishes)] = {draw: read_kept(_kept_at(file, draw)) for draw in there}
    return planned


def home_of(workspace: Workspace) -> Workspace:
    """Return where the sets' features lie, and what is measured on their draws."""
    return Workspace(workspace.root / "runs" / "bench-recipes")


def _wishes_of(weights: Path | None) -> Wishes:
    return Wishes(weights=weights.resolve() if weights else None)


def _name(setting: PhotoSetting, wishes: Wishes) -> str:
    """Return how tables call a setting, and what encoders were to be had."""
    return label_of(setting) + ("" if wishes.weights else PIP_ALONE)


def _file(home: Workspace, setting: PhotoSetting, wishes: Wishes) -> Path:
    """Return where the figures of a setting lie: of other encoders, or of other code, other figures."""
    key = key_of(str(wishes.weights), code_key(MADE_BY, WITHOUT), trusted("smooth"))
    return home.root / f"{setting.name}-{setting.shots}-{key[:8]}.json"


def _kept_at(file: Path, draw: int) -> Path:
    """Return where the predictions of a draw's planned runs lie."""
    return file.with_name(f"{file.stem}-{draw}.npz")


def _read(file: Path) -> list[Measured]:
    return [Measured(**each) for each in read_json(file) or []]


def _read_all(home: Workspace, setting: PhotoSetting, wishes: Wishes, draws: Sequence[int]) -> list[Measured]:
    """Return all figures of a setting; the ensembles are made anew of the runs' predictions: it takes a moment."""
    file = _file(home, setting, wishes)
    measured = _read(file)
    for number in sorted({each.draw for each in measured} & set(draws)):
        kept = read_kept(_kept_at(file, number))
        measured.append(Measured(_name(setting, wishes), number, ENSEMBLED, *score(kept.truth, mix(kept))))
    return measured


def _is_measured(file: Path, part: str, number: int) -> bool:
    """Return whether a part of a draw of a setting is there: `part` is a way that belongs to it."""
    return any((each.draw, each.way) == (number, part) for each in _read(file))


def _measure_draw(
    everything: Prepared, setting: PhotoSetting, home: Workspace, wishes: Wishes, part: str, number: int
) -> None:
    """Measure a part of a draw of a setting, and add it to those that are there."""
    file = _file(home, setting, wishes)
    draw = plan_draw(everything, setting, number, wishes)
    said = _run(draw, _kept_at(file, number)) if part == PLANNED else ask_scikit_learn(draw) | try_settings(draw)
    scored = {way: score(draw.truth, proba) for way, proba in said.items()}
    measured = [Measured(_name(setting, wishes), number, way, *values) for way, values in scored.items()]
    write_json(file, [asdict(each) for each in [*_read(file), *measured]])
    shutil.rmtree(home.runs(draw.laid.competition.name))  # its features are copies
    stage("bench", f"{label_of(setting)}, draw {number}{'' if part == PLANNED else ', other ways'}")


def _run(draw: Draw, kept_at: Path) -> dict[str, Proba]:
    """Return what the planned runs say, which is kept, and what the baselines say."""
    runs = run_plan(draw)
    keep(kept_at, runs)
    planned = {f"{RUN}{name}": proba for name, proba in zip(runs.names.tolist(), runs.test, strict=True)}
    return run_baselines(draw) | planned


def score(truth: Labels, proba: Proba) -> tuple[float, float]:
    """Return the accuracy of probabilities, and their log-loss at the temperature that is best for it."""
    from scipy.special import log_softmax

    logits = np.log(np.maximum(proba, TINY))
    rows = np.arange(len(truth))
    losses = [-log_softmax(logits / temperature, axis=1)[rows, truth].mean() for temperature in TEMPERATURES]
    return float(hits(truth, proba).mean()), float(min(losses))
