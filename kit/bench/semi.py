"""Semi: ways to use unlabelled images, side by side on real photos, paired over seeds.

Reads the folders below ``--data`` and recipes/competition.toml. Every image is encoded once; then each setting and seed
is laid out as a competition of its own: some labels per class, half of the rest a pool without labels, half held out.
Held-out labels are opened by the scoring here alone. Writes ``runs/bench-semi``; a second call re-uses what is there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kit.config.competition import Competition, order_runs
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace, hold
from kit.core.names import base_of
from kit.core.terminal import empty_table, stage, warn
from kit.data.folds import assign_folds, scored_folds
from kit.data.prepared import Prepared, prepare
from kit.features.cache import adopt_features
from kit.runs.fit.crossval import crossval
from kit.runs.pseudo.rounds import finished_rounds
from kit.runs.store import Result
from kit.runs.store.build import build_model
from kit.scoring.metrics import hits

RECIPES = Path(__file__).with_name("recipes")
BASELINE = "labels_only"
TEST_SHARE = 0.5  # of what is left beside the labels
N_SEEDS = 5
OF_IMAGES = ("ids", "splits", "paths", "digests", "groups")  # the arrays of a pool


@dataclass(frozen=True)
class PhotoSetting:
    """Say which photos, and how few labels.

    Parameters
    ----------
    name
        The folder below ``--data``.
    shots
        Labels per class.
    labels
        Column of labels.csv that holds the class; None for class folders.
    n_per_class
        Images of each class that take part at most: encoding is the long part.
    """

    name: str
    shots: int
    labels: str | None = None
    n_per_class: int = 900


SETTINGS = (
    PhotoSetting("cifar10", 4),
    PhotoSetting("cifar10", 25),
    PhotoSetting("trashnet", 4),
    PhotoSetting("trashnet", 15),
    PhotoSetting("grocery", 5, "coarse"),
)


@dataclass(frozen=True)
class Measurement:
    """Hold what one run gave in one setting and seed.

    Parameters
    ----------
    setting, seed, run
        Of what; a round is a run of its own.
    accuracy, cv
        Of the held-out images, and of the nested oof.
    worst_recall
        Held-out recall of the worst class.
    kept
        Whether it is the run's last kept round.
    """

    setting: str
    seed: int
    run: str
    accuracy: float
    cv: float
    worst_recall: float
    kept: bool


def bench_semi(data: Path, workspace: Workspace, seeds: Sequence[int] = range(N_SEEDS)) -> list[Measurement]:
    """Measure all recipes on every setting whose photos are there.

    Parameters
    ----------
    data
        A folder with ``cifar10`` and ``trashnet`` (class folders), ``grocery`` (labels.csv and images), and the weights
        ``mobilenetv2_100/model.safetensors`` and ``mini-clip``.
    workspace
        Results lie in its runs/bench-semi.
    seeds
        Draws of labels; the same for every run.

    Raises
    ------
    InputError
        When none of the folders is there.
    MissingWeights
        When the weights are not.
    """
    there = [setting for setting in SETTINGS if (data / setting.name).is_dir()]
    if not there:
        wanted = ", ".join(dict.fromkeys(f"{own.name}/" for own in SETTINGS))
        raise InputError(f"{data}: none of {wanted} is there; bench semi needs folders of photos: class folders each")
    home = Workspace(workspace.root / "runs" / "bench-semi")
    found: list[Measurement] = []
    with hold(home.root, warn):
        for name in dict.fromkeys(setting.name for setting in there):
            settings = [setting for setting in there if setting.name == name]
            everything = _read_photos(data, settings[0], home)
            for setting in settings:
                for seed in seeds:
                    found += _measure(everything, setting, seed)
                    stage("bench", f"{name}, {setting.shots} labels per class, seed {seed}")
    return found


def _read_photos(data: Path, setting: PhotoSetting, home: Workspace) -> Prepared:
    """Return a folder of photos made ready, all of them labelled: bench alone knows that."""
    labeled = f'"{setting.name}"'
    if setting.labels:
        csv, images = f"{setting.name}/labels.csv", f"{setting.name}/images"
        labeled = f'{{ csv = "{csv}", images = "{images}", id = "path", label = "{setting.labels}" }}'
    changes = (f"data.root={json.dumps(str(data.resolve()), ensure_ascii=False)}", f"data.labeled={labeled}")
    competition = _rename(read_competition(str(RECIPES), home, changes), setting.name)
    return _thin(prepare(competition), setting.n_per_class)


def _thin(everything: Prepared, n_per_class: int) -> Prepared:
    """Keep so many images of each class at most: all that is kept is encoded."""
    draw = random.Random(0)
    codes = range(len(everything.classes))
    of_class = [np.flatnonzero(everything.labels == code).tolist() for code in codes]
    kept = np.array(sorted(row for rows in of_class for row in draw.sample(rows, min(len(rows), n_per_class))))
    rows = everything.labeled[kept]
    parts = {name: getattr(everything.pool, name)[rows] for name in OF_IMAGES}
    return replace(
        everything,
        pool=replace(everything.pool, **parts),
        labeled=np.arange(len(kept)),
        labels=everything.labels[kept],
        folds=everything.folds[kept],
    )


def _rename(competition: Competition, name: str) -> Competition:
    """Return a competition under another name, so that its results lie in a folder of their own."""
    return competition.model_copy(update={"name": name})


def lay_out(everything: Prepared, setting: PhotoSetting, seed: int) -> tuple[Prepared, np.ndarray]:
    """Lay photos out as a competition: labels for a few, the rest halved into a pool and the held-out images.

    Parameters
    ----------
    everything
        All photos with their labels.
    setting
        How many labels.
    seed
        Of the draw.

    Returns
    -------
    tuple
        The competition made ready, and the class codes of its test images in their order.

    Raises
    ------
    InputError
        When there are too few photos.
    """
    counts = np.bincount(everything.labels, minlength=len(everything.classes))
    if counts.max() <= setting.shots + 1:
        raise InputError(
            f"{everything.competition.root}: {counts.max()} photos in the largest class; with {setting.shots} labels "
            "per class none are left for the pool and the held-out images"
        )
    competition = _rename(everything.competition, f"{setting.name}-{setting.shots}-{seed}")
    parts = _draw(everything.labels, setting.shots, seed)
    rows, sizes = np.concatenate(list(parts.values())), [len(part) for part in parts.values()]
    full, labeled = everything.pool, np.arange(sizes[0])
    pool = replace(
        full,
        **{name: getattr(full, name)[rows] for name in OF_IMAGES}
        | {"splits": np.repeat(np.array(list(parts), dtype=object), sizes)},
        cache=competition.workspace.cache(competition.name),
    )
    labels, plan = everything.labels[parts["labeled"]], competition.folds
    names = np.array(full.classes, dtype=object)[labels]
    folds = assign_folds(pool.ids[labeled], names, pool.groups[labeled], plan.n, plan.seed)
    for encoder, args in _encoders(competition).items():
        adopt_features(pool, full, rows, encoder, args)
    laid = Prepared(competition, pool, labeled, labels, folds, scored_folds(competition, folds))
    return laid, everything.labels[parts["test"]]


def _draw(labels: np.ndarray, shots: int, seed: int) -> dict[str, np.ndarray]:
    """Draw the rows of each split: so many labels per class, the rest halved."""
    draw = random.Random(seed)
    labeled, rest = [], []
    for code in np.unique(labels):
        rows = np.flatnonzero(labels == code).tolist()
        draw.shuffle(rows)
        labeled += rows[:shots]
        rest += rows[shots:]
    draw.shuffle(rest)
    n_test = int(TEST_SHARE * len(rest))
    parts = {"labeled": labeled, "unlabeled": rest[n_test:], "test": rest[:n_test]}
    return {split: np.array(sorted(rows), dtype=np.int64) for split, rows in parts.items()}


def _encoders(competition: Competition) -> dict[str, dict[str, Any]]:
    """Return each encoder of the runs once, with its arguments."""
    models = [build_model(competition, run) for run in competition.runs.values()]
    return {own.encoder: own.encoder_args for own in models}


def _measure(everything: Prepared, setting: PhotoSetting, seed: int) -> list[Measurement]:
    """Run everything once on one draw."""
    laid, truth = lay_out(everything, setting, seed)
    found = []
    for name in order_runs(laid.competition, list(laid.competition.runs)):
        kept = crossval(laid, name)
        for result in finished_rounds(laid, name):
            found.append(_score(laid, truth, setting, seed, result, result.name == kept.name))
    return found


def _score(
    laid: Prepared, truth: np.ndarray, setting: PhotoSetting, seed: int, result: Result, kept: bool
) -> Measurement:
    """Score one finished run on the held-out images."""
    right = hits(truth, result.predictions("test").at(laid.pool.ids[laid.split("test")]).proba)
    recalls = np.bincount(truth, weights=right, minlength=len(laid.classes))
    counts = np.bincount(truth, minlength=len(laid.classes))
    worst = float((recalls[counts > 0] / counts[counts > 0]).min())
    label = f"{setting.name} {setting.shots}"
    return Measurement(label, seed, result.name, float(right.mean()), result.record.cv, worst, kept)


@dataclass(frozen=True)
class Line:
    """Compare one run with labels alone, in one setting or over all.

    Parameters
    ----------
    setting, run
        Of what; ``"all"`` for the mean over settings and seeds.
    accuracy
        Held-out, mean over seeds.
    gain, gain_se
        Over labels alone on the same draws, and its standard error over draws.
    optimism, optimism_se
        Nested oof minus held-out accuracy: above zero, CV promises too much.
    worst_recall, worst_se
        Held-out recall of the worst class, mean over seeds, and its standard error.
    """

    setting: str
    run: str
    accuracy: float
    gain: float
    gain_se: float
    optimism: float
    optimism_se: float
    worst_recall: float
    worst_se: float


def compare_with_baseline(found: Sequence[Measurement]) -> list[Line]:
    """Return every run against labels alone: per setting, then over all; a run's own name is its last kept round."""
    values: dict[tuple[str, str], dict[tuple[str, int], Measurement]] = {}
    for own in found:
        names = dict.fromkeys([own.run, *([base_of(own.run)] if own.kept else [])])
        for name in names:
            for setting in (own.setting, "all"):
                values.setdefault((setting, name), {})[own.setting, own.seed] = own
    whole = {setting: len(draws) for (setting, name), draws in values.items() if name == BASELINE}
    return [
        _compare(setting, name, draws, values[setting, BASELINE])
        for (setting, name), draws in sorted(values.items(), key=lambda item: item[0][0] == "all")
        if setting != "all" or len(draws) == whole["all"]
    ]


def _compare(
    setting: str, name: str, ours: dict[tuple[str, int], Measurement], base: dict[tuple[str, int], Measurement]
) -> Line:
    """Compare two runs on the draws of the first."""
    gains = np.array([own.accuracy - base[draw].accuracy for draw, own in ours.items()])
    optimism = np.array([own.cv - own.accuracy for own in ours.values()])
    worst = np.array([own.worst_recall for own in ours.values()])
    accuracy = float(np.mean([own.accuracy for own in ours.values()]))
    return Line(setting, name, accuracy, *_mean(gains), *_mean(optimism), *_mean(worst))


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Return a mean over draws and its standard error."""
    return float(values.mean()), float(values.std(ddof=min(1, len(values) - 1)) / np.sqrt(len(values)))


def render_semi(lines: Sequence[Line]) -> Table:
    """Return the comparison as a table, one block per setting."""
    table = empty_table()
    for column in ("setting", "run", "held-out", "against labels only", "nested oof - held-out", "worst class"):
        table.add_column(column, justify="left" if column in ("setting", "run") else "right", no_wrap=True)
    for last, line in zip([None, *lines], lines, strict=False):
        if last is not None and last.setting != line.setting:
            table.add_section()
        table.add_row(
            "" if last is not None and last.setting == line.setting else line.setting,
            line.run,
            f"{line.accuracy:.3f}",
            f"{line.gain:+.3f} ± {line.gain_se:.3f}",
            f"{line.optimism:+.3f} ± {line.optimism_se:.3f}",
            f"{line.worst_recall:.3f} ± {line.worst_se:.3f}",
        )
    return table
