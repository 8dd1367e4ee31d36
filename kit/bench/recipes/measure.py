"""Measure ways to classify images with a few labels, draw by draw.

Reads the folders below ``--data`` and the weights below ``--weights``. Writes features and ``draws-KEY.json`` below
``runs/bench-recipes``; a draw that is there is not measured again. Hidden labels are opened by the scoring here alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kit.bench.recipes.sets import Draw, label_of, list_available, plan_draw, read_set
from kit.bench.recipes.ways import run_baselines, run_plan, try_settings
from kit.bench.semi import PhotoSetting
from kit.core.files import Workspace, hold, key_of, read_json, write_json
from kit.core.shapes import Labels, Proba
from kit.core.terminal import stage, warn
from kit.curate.plan import Wishes
from kit.scoring.metrics import hits

N_DRAWS = 8
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
    home = Workspace(workspace.root / "runs" / "bench-recipes")
    wishes = Wishes(weights=weights.resolve() if weights else None)
    asked = {(label_of(setting), draw) for setting in available for draw in draws}
    with hold(home.root, warn):
        for setting in available:
            _measure_set(data, setting, home, wishes, draws)
        measured = [each for setting in available for each in _read(_file(home, setting, wishes))]
    return [each for each in measured if (each.setting, each.draw) in asked]


def _file(home: Workspace, setting: PhotoSetting, wishes: Wishes) -> Path:
    """Return where the figures of a setting lie: other encoders, other figures."""
    return home.root / f"{setting.name}-{setting.shots}-{key_of(str(wishes.weights))[:8]}.json"


def _read(file: Path) -> list[Measured]:
    return [Measured(**each) for each in read_json(file) or []]


def _measure_set(data: Path, setting: PhotoSetting, home: Workspace, wishes: Wishes, draws: Sequence[int]) -> None:
    """Measure the draws of a setting that are not there yet."""
    file = _file(home, setting, wishes)
    measured = _read(file)
    waiting = [draw for draw in draws if draw not in {each.draw for each in measured}]
    everything = read_set(data, setting, home) if waiting else None
    for number in waiting:
        assert everything is not None
        draw = plan_draw(everything, setting, number, wishes)
        scored = {way: score(draw.truth, proba) for way, proba in _predict(draw).items()}
        measured += [Measured(label_of(setting), number, way, *values) for way, values in scored.items()]
        write_json(file, [asdict(each) for each in measured])
        shutil.rmtree(home.runs(draw.laid.competition.name))  # its features are copies
        stage("bench", f"{label_of(setting)}, draw {number}")


def _predict(draw: Draw) -> dict[str, Proba]:
    """Return what every way says of the test images."""
    return run_baselines(draw) | run_plan(draw) | try_settings(draw)


def score(truth: Labels, proba: Proba) -> tuple[float, float]:
    """Return the accuracy of probabilities, and their log-loss at the temperature that is best for it."""
    from scipy.special import log_softmax

    logits = np.log(np.maximum(proba, TINY))
    rows = np.arange(len(truth))
    losses = [-log_softmax(logits / temperature, axis=1)[rows, truth].mean() for temperature in TEMPERATURES]
    return float(hits(truth, proba).mean()), float(min(losses))
