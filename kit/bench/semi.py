"""Semi: ways to use unlabelled images, side by side on real photos, paired over seeds.

Reads the folders below ``--data``, and recipes/competition.toml or, where networks are compared,
networks/competition.toml. Every image is encoded once; then each setting and seed is laid out as a competition of its
own: some labels per class, half of the rest a pool without labels, half held out. Held-out labels are opened by the
scoring here alone. Writes ``runs/bench-semi`` or ``runs/bench-networks``; a second call re-uses what is there.
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

from kit.bench.explain import mean_and_error
from kit.config.competition import Competition, order_runs
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace, read_json
from kit.core.held import hold
from kit.core.names import base_of
from kit.core.shapes import Labels, Rows
from kit.core.terminal import empty_table, stage, warn
from kit.data.folds import assign_folds, scored_folds
from kit.data.prepared import Prepared, prepare
from kit.features.cache import adopt_features
from kit.runs.fit.crossval import crossval
from kit.runs.fit.fold import TRAINING
from kit.runs.pseudo.rounds import finished_rounds
from kit.runs.store import Result
from kit.runs.store.build import build_model
from kit.scoring.metrics import hits

RECIPES = Path(__file__).with_name("recipes")
NETWORKS = Path(__file__).with_name("networks")
BASELINE = "labels_only"
TEST_SHARE = 0.5  # of what is left beside the labels
N_SEEDS = 5


@dataclass(frozen=True)
class PhotoSetting:
    """Name photos, and how few labels to use of them.

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
    takes_first
        Whether these are the first of each class, else they are drawn.
    """

    name: str
    shots: int
    labels: str | None = None
    n_per_class: int = 900
    takes_first: bool = False


SETTINGS = (
    PhotoSetting("cifar10", 4),
    PhotoSetting("cifar10", 25),
    PhotoSetting("trashnet", 4),
    PhotoSetting("trashnet", 15),
    PhotoSetting("grocery", 5, "coarse"),
)
OF_NETWORKS = (  # with pools that a network without a GPU gets through in minutes
    PhotoSetting("cifar10", 25, n_per_class=110),
    PhotoSetting("trashnet", 15, n_per_class=130),
)


@dataclass(frozen=True)
class Measurement:
    """Hold the result of one run in one setting and seed.

    Parameters
    ----------
    run
        Its name; each round counts as a run.
    accuracy, cv
        On the held-out images, and of the nested oof; 0..1.
    worst_recall
        Held-out recall of the worst class.
    kept
        Whether it is the run's last kept round.
    used
        Share of the unlabelled images that taught in the last epoch of a network, 0..1, the mean over the folds; None
        where none took part.
    """

    setting: str
    seed: int
    run: str
    accuracy: float
    cv: float
    worst_recall: float
    kept: bool
    used: float | None = None


def bench_semi(
    data: Path, workspace: Workspace, seeds: Sequence[int] = range(N_SEEDS), networks: bool = False
) -> list[Measurement]:
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
    networks
        Whether networks are compared, in place of heads.

    Raises
    ------
    InputError
        When none of the folders is there.
    MissingWeights
        When the weights are not.
    """
    recipes, settings = (NETWORKS, OF_NETWORKS) if networks else (RECIPES, SETTINGS)
    available = [setting for setting in settings if (data / setting.name).is_dir()]
    if not available:
        wanted = ", ".join(dict.fromkeys(f"{setting.name}/" for setting in settings))
        raise InputError(f"{data}: none of {wanted} is there; bench semi needs folders of photos: class folders each")
    home = Workspace(workspace.root / "runs" / ("bench-networks" if networks else "bench-semi"))
    measurements: list[Measurement] = []
    with hold(home.root, warn):
        for name in dict.fromkeys(setting.name for setting in available):
            of_name = [setting for setting in available if setting.name == name]
            everything = read_photos(data, of_name[0], home, recipes)
            for setting in of_name:
                for seed in seeds:
                    measurements += _measure(everything, setting, seed)
                    stage("bench", f"{name}, {setting.shots} labels per class, seed {seed}")
    return measurements


def read_photos(data: Path, setting: PhotoSetting, home: Workspace, recipes: Path = RECIPES) -> Prepared:
    """Return a folder of photos as a prepared competition, all of them labelled: bench alone sees all labels.

    `recipes` is the folder of the competition.toml whose runs are compared.
    """
    labeled = f'"{setting.name}"'
    if setting.labels:
        csv, images = f"{setting.name}/labels.csv", f"{setting.name}/images"
        labeled = f'{{ csv = "{csv}", images = "{images}", id = "path", label = "{setting.labels}" }}'
    changes = (f"data.root={json.dumps(str(data.resolve()), ensure_ascii=False)}", f"data.labeled={labeled}")
    competition = _rename(read_competition(str(recipes), home, changes), setting.name)
    return _thin(prepare(competition), setting)


def _thin(everything: Prepared, setting: PhotoSetting) -> Prepared:
    """Keep so many images of each class at most: all that is kept is encoded."""
    draw, n_most = random.Random(0), setting.n_per_class

    def choose(rows: list[int]) -> list[int]:
        return rows[:n_most] if setting.takes_first else draw.sample(rows, min(len(rows), n_most))

    codes = range(len(everything.classes))
    of_class = [np.flatnonzero(everything.labels == code).tolist() for code in codes]
    kept = np.array(sorted(row for rows in of_class for row in choose(rows)))
    return replace(
        everything,
        pool=everything.pool.take(everything.labeled[kept]),
        labeled=np.arange(len(kept)),
        labels=everything.labels[kept],
        folds=everything.folds[kept],
    )


def _rename(competition: Competition, name: str) -> Competition:
    """Return a competition under another name, so that its results lie in a folder of their own."""
    return competition.model_copy(update={"name": name})


def lay_out(everything: Prepared, setting: PhotoSetting, seed: int) -> tuple[Prepared, Labels]:
    """Lay photos out as a competition: labels for a few, the rest halved into a pool and the held-out images.

    Parameters
    ----------
    everything
        All photos with their labels.
    seed
        Of the draw.

    Returns
    -------
    tuple
        The prepared competition, and the class codes of its test images in their order.

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
    parts = draw_rows(everything.labels, setting.shots, seed)
    rows, sizes = np.concatenate(list(parts.values())), [len(part) for part in parts.values()]
    full, labeled = everything.pool, np.arange(sizes[0])
    pool = replace(
        full.take(rows),
        splits=np.repeat(np.array(list(parts), dtype=object), sizes),
        cache=competition.workspace.cache(competition.name),
    )
    labels, plan = everything.labels[parts["labeled"]], competition.folds
    names = np.array(full.classes, dtype=object)[labels]
    folds = assign_folds(pool.ids[labeled], names, pool.groups[labeled], plan.n, plan.seed)
    for encoder, args in _encoders(competition).items():
        adopt_features(pool, full, rows, encoder, args)
    laid = Prepared(competition, pool, labeled, labels, folds, scored_folds(competition, folds))
    return laid, everything.labels[parts["test"]]


def draw_rows(labels: Labels, shots: int, seed: int) -> dict[str, Rows]:
    """Draw the rows of each split: so many labels per class, the rest halved; in the order of `lay_out`."""
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
    models = (build_model(competition, run) for run in competition.runs.values())
    return dict(each for model in models for each in model.encoders_used)


def _measure(everything: Prepared, setting: PhotoSetting, seed: int) -> list[Measurement]:
    """Run everything once on one draw."""
    laid, truth = lay_out(everything, setting, seed)
    measurements = []
    for name in order_runs(laid.competition, list(laid.competition.runs)):
        kept = crossval(laid, name)
        for result in finished_rounds(laid, name):
            is_kept = result.name == kept.name or result.round == kept.record.rounds.get("kept")
            measurements.append(_score(laid, truth, setting, seed, result, is_kept))
    return measurements


def _score(laid: Prepared, truth: Labels, setting: PhotoSetting, seed: int, result: Result, kept: bool) -> Measurement:
    """Score one finished run on the held-out images."""
    right = hits(truth, result.predictions("test").at(laid.pool.ids[laid.split("test")]).proba)
    recalls = np.bincount(truth, weights=right, minlength=len(laid.classes))
    counts = np.bincount(truth, minlength=len(laid.classes))
    worst = float((recalls[counts > 0] / counts[counts > 0]).min())
    label = f"{setting.name} {setting.shots}"
    return Measurement(label, seed, result.name, float(right.mean()), result.record.cv, worst, kept, _used(result))


def _used(result: Result) -> float | None:
    """Return the share of unlabelled images that taught in the last epoch, 0..1; None where none took part."""
    documents = [read_json(file) for file in sorted(result.folder.glob(f"fold_*/{TRAINING}"))]
    last = [copy[-1] for document in documents for copy in document["copies"] if isinstance(copy, list)]
    rates = [epoch["mask_rate"] for epoch in last if "mask_rate" in epoch]
    return float(np.mean(rates)) if rates else None


@dataclass(frozen=True)
class Line:
    """Hold how one run compares with labels alone, in one setting or over all.

    Parameters
    ----------
    setting
        ``"all"`` for the mean over settings and seeds.
    accuracy
        Held-out, mean over seeds.
    gain, gain_se
        Over labels alone on the same draws, and its standard error over draws.
    optimism, optimism_se
        Nested oof minus held-out accuracy: above zero, CV promises too much.
    worst_recall, worst_se
        Held-out recall of the worst class, mean over seeds, and its standard error.
    used
        Share of the unlabelled images that taught at the end, mean over seeds; None where none took part.
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
    used: float | None = None


def compare_with_baseline(measurements: Sequence[Measurement]) -> list[Line]:
    """Return every run against labels alone: per setting, then over all; a run without a round is its last kept one."""
    values: dict[tuple[str, str], dict[tuple[str, int], Measurement]] = {}
    for measured in measurements:
        names = [measured.run, base_of(measured.run)] if measured.kept else [measured.run]
        for name in names:
            for setting in (measured.setting, "all"):
                values.setdefault((setting, name), {})[measured.setting, measured.seed] = measured
    whole = {setting: len(draws) for (setting, name), draws in values.items() if name == BASELINE}
    return [
        _compare(setting, name, draws, values[setting, BASELINE])
        for (setting, name), draws in sorted(values.items(), key=lambda item: item[0][0] == "all")
        if setting != "all" or len(draws) == whole["all"]
    ]


def _compare(
    setting: str, name: str, run: dict[tuple[str, int], Measurement], base: dict[tuple[str, int], Measurement]
) -> Line:
    """Compare two runs on the draws of the first."""
    accuracy = np.array([measured.accuracy for measured in run.values()])
    gains = accuracy - np.array([base[draw].accuracy for draw in run])
    optimism = np.array([measured.cv for measured in run.values()]) - accuracy
    worst = np.array([measured.worst_recall for measured in run.values()])
    used = [measured.used for measured in run.values() if measured.used is not None]
    return Line(
        setting,
        name,
        float(accuracy.mean()),
        *mean_and_error(gains),
        *mean_and_error(optimism),
        *mean_and_error(worst),
        float(np.mean(used)) if used else None,
    )


def render_semi(lines: Sequence[Line]) -> Table:
    """Return the comparison as a table, one block per setting."""
    table = empty_table()
    columns = ["setting", "run", "held-out", "against labels only", "nested oof - held-out", "worst class"]
    are_used = any(line.used is not None for line in lines)
    for column in [*columns, "pool used"] if are_used else columns:
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
            *(["" if line.used is None else f"{line.used:.0%}"] if are_used else []),
        )
    return table
