"""Measure ways to classify images with a few labels, draw by draw: each of every set before the next of any.

What is planned comes first, on all draws, then scikit-learn's methods and the settings of the joint probe.

Reads the folders below ``--data`` and the weights below ``--weights``. Writes features, and of every part of a draw its
figures, and what the planned runs predict, in files of their own below ``runs/bench-recipes``; what the same code has
measured is not measured again. Hidden labels are opened by the scoring here alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from kit.bench.kept import Kept, code_key, keep, mix, read_kept
from kit.bench.recipes.sets import Draw, label_of, list_available, make_task, plan_draw, read_set
from kit.bench.recipes.ways import (
    ENSEMBLED,
    RUN,
    ask_scikit_learn,
    encode_views,
    run_baselines,
    run_plan,
    try_settings,
)
from kit.bench.semi import PhotoSetting
from kit.core.engine import Task, is_remote, run_tasks
from kit.core.engine.elsewhere import list_places
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
PARTS = PLANNED, OTHERS = "planned", "others"
"""Parts of a draw: what is planned and the baselines, then all else."""
MADE_BY = ("data", "features", "models", "runs/fit", "runs/store", "curate/plan", "bench/semi.py", "bench/recipes")
WITHOUT = ("models/trust.py", "runs/store/rounds.py", "bench/recipes/evidence.py")
"""The code that decides what is measured here; the second is what follows from it, or reads it."""
TEMPERATURES = np.exp(np.arange(-2.0, 2.75, 0.25))
TINY = 1e-7  # probability: the logarithm of a certain error stays finite


@dataclass(frozen=True)
class Sets:
    """Hold what tasks have in common: the sets, by their settings as tables call them, and their workspace."""

    home: Workspace
    of: dict[str, Prepared]

    @property
    def root(self) -> Path:
        """Return the folder of the workspace."""
        return self.home.root

    @property
    def hidden(self) -> tuple[Path, ...]:
        """Return the files that no task may read."""
        return tuple(file for everything in self.of.values() for file in everything.hidden)

    def moved(self, move: Callable[[str | Path], Path]) -> Sets:
        """Return the sets as they lie on another machine; `move` says where a file lies there."""
        return Sets(Workspace(move(self.root)), {name: each.moved(move) for name, each in self.of.items()})


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

    A call that was stopped goes on at the next draw. Draws are tasks of the engine in use.

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
    stems = {setting: _stem(home, setting, wishes) for setting in available}
    with hold(home.root, warn):
        waiting = [  # stopped anywhere, the sets have as many draws
            each for each in product(PARTS, draws, available) if not _figures_at(stems[each[-1]], *each[:2]).exists()
        ]
        settings = [setting for setting in available if setting in {each for *_, each in waiting}]
        sets = Sets(home, {label_of(setting): read_set(data, setting, home) for setting in settings})
        for setting in settings if is_remote() else ():
            _encode_ahead(sets, setting, next(number for _, number, each in waiting if each == setting), wishes)
        reads = {setting: _list_reads(sets.of[label_of(setting)], wishes) for setting in settings}
        for wanted in PARTS:  # one after the other: both parts of a draw work in one folder
            tasks = [
                _make_task(stems[setting], part, number, setting, wishes, reads[setting])
                for part, number, setting in waiting
                if part == wanted
            ]
            for done in run_tasks(tasks, sets):
                stage("bench", done.task.label)
        return [each for setting in available for each in _read_all(stems[setting], setting, wishes, draws)]


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
        stem = _stem(home, setting, wishes)
        there = [draw for draw in draws if _figures_at(stem, PLANNED, draw).exists()]
        if there:
            planned[_name(setting, wishes)] = {draw: read_kept(_kept_at(stem, draw)) for draw in there}
    return planned


def home_of(workspace: Workspace) -> Workspace:
    """Return where the sets' features lie, and what is measured on their draws."""
    return Workspace(workspace.root / "runs" / "bench-recipes")


def _wishes_of(weights: Path | None) -> Wishes:
    return Wishes(weights=weights.resolve() if weights else None)


def _name(setting: PhotoSetting, wishes: Wishes) -> str:
    """Return how tables call a setting, and what encoders were to be had."""
    return label_of(setting) + ("" if wishes.weights else PIP_ALONE)


def _stem(home: Workspace, setting: PhotoSetting, wishes: Wishes) -> Path:
    """Return how the files of a setting begin: of other encoders, or of other code, they are others."""
    key = key_of(str(wishes.weights), code_key(MADE_BY, WITHOUT), trusted("smooth"))
    return home.root / f"{setting.name}-{setting.shots}-{key[:8]}"


def _figures_at(stem: Path, part: str, draw: int) -> Path:
    """Return where the figures of a part of a draw lie, the last of its files to be written."""
    return stem.with_name(f"{stem.name}-{draw}-{part}.json")


def _kept_at(stem: Path, draw: int) -> Path:
    """Return where the predictions of a draw's planned runs lie."""
    return stem.with_name(f"{stem.name}-{draw}.npz")


def _read_all(stem: Path, setting: PhotoSetting, wishes: Wishes, draws: Sequence[int]) -> list[Measured]:
    """Return all figures of a setting; the ensembles are made anew of the runs' predictions: it takes a moment."""
    draws = sorted(set(draws))
    files = [_figures_at(stem, part, number) for part in PARTS for number in draws]
    measured = [Measured(**each) for file in files for each in read_json(file)]
    for number in draws:
        kept = read_kept(_kept_at(stem, number))
        measured.append(Measured(_name(setting, wishes), number, ENSEMBLED, *score(kept.truth, mix(kept))))
    return measured


def _encode_ahead(sets: Sets, setting: PhotoSetting, number: int, wishes: Wishes) -> None:
    """Encode a set as one of its draws needs it, once for all nodes of a cluster."""
    draw = plan_draw(sets.of[label_of(setting)], setting, number, wishes)
    encode_views(draw)
    shutil.rmtree(sets.home.runs(draw.laid.competition.name))


def _list_reads(everything: Prepared, wishes: Wishes) -> list[Path]:
    """Return what draws of a set read: prompts, features, pixels, images that a plan looks at, and weights."""
    weights = [] if wishes.weights is None else [wishes.weights]
    return [everything.competition.folder, everything.pool.cache, *map(Path, everything.pool.paths), *weights]


def _make_task(
    stem: Path, part: str, number: int, setting: PhotoSetting, wishes: Wishes, reads: Sequence[Path]
) -> Task:
    """Return the task of a part of a draw, which plans its runs where it is done."""
    weights = None if wishes.weights is None else str(wishes.weights)
    kept = [_kept_at(stem, number)] if part == PLANNED else []
    more = "" if part == PLANNED else ", other ways"
    arguments = {"part": part, "stem": stem.name, "weights": weights}
    writes = [*kept, _figures_at(stem, part, number)]
    return make_task(f"{__name__}:do_part", setting, number, more, arguments, reads, writes)


def do_part(sets: Sets, setting: dict[str, Any], draw: int, part: str, stem: str, weights: str | None) -> None:
    """Measure a part of a draw of a setting, and write its figures."""
    photos, start = PhotoSetting(**setting), sets.root / stem
    places = [] if weights is None else list_places(weights, (sets.root,))
    wishes = Wishes(weights=next((place for place in places if place.is_dir()), places[-1] if places else None))
    planned = plan_draw(sets.of[label_of(photos)], photos, draw, wishes)
    if part == PLANNED:
        said = _run(planned, _kept_at(start, draw))
    else:
        said = ask_scikit_learn(planned) | try_settings(planned)
    scored = {way: score(planned.truth, proba) for way, proba in said.items()}
    measured = [Measured(_name(photos, wishes), draw, way, *values) for way, values in scored.items()]
    write_json(_figures_at(start, part, draw), [asdict(each) for each in measured])
    shutil.rmtree(sets.home.runs(planned.laid.competition.name))  # its features are copies


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
