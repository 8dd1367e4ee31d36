"""Class correlation: how far apart the classes lie in a network's features, before and after fine-tuning.

Reads the kept weights of a fine-tuned run's folds; writes ``runs/NAME/RUN/KEY/correlation.json`` and ``.png``. The
features of each image come from the model of the fold that held it out, so no model has seen the label of an image it
places: after training, its own training images would lie apart in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.core.figures import empty_figure, write_figure
from kit.core.files import write_json
from kit.core.shapes import Labels, Vectors
from kit.data.prepared import Prepared
from kit.models.networks.trained import TrainedNetwork
from kit.runs.fit.restore import read_settled, restore_fold
from kit.runs.store import Result, settings_of
from kit.runs.store.build import build_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ClassMatrix: TypeAlias = NDArray[np.floating[Any]]
"""(n_classes, n_classes) one number for each pair of classes; NaN where there is none."""

MOST_MOVED = 10  # pairs of classes that are named
WITH_NUMBERS = 12  # classes: the cells of larger maps hold no numbers
INCHES_PER_CLASS = 0.24


@dataclass(frozen=True)
class Correlation:
    """Hold the distances between classes before and after fine-tuning.

    Parameters
    ----------
    alphas
        Weight of the fine-tuned network that each fold predicts with, 0..1.
    before, after
        (n_classes, n_classes) Euclidean distances of the classes' mean features of unit length, 0..2; NaN for a class
        without a scored image.
    """

    classes: tuple[str, ...]
    alphas: dict[int, float]
    before: ClassMatrix
    after: ClassMatrix

    def moved(self) -> list[dict[str, Any]]:
        """Return the pairs of classes whose distance changed most, the most changed first."""
        change = np.triu(self.after - self.before, k=1)
        rows, columns = np.unravel_index(np.argsort(-np.abs(np.nan_to_num(change)), axis=None), change.shape)
        pairs = [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if i < j]
        return [
            {
                "classes": [self.classes[i], self.classes[j]],
                "before": float(self.before[i, j]),
                "after": float(self.after[i, j]),
            }
            for i, j in pairs[:MOST_MOVED]
            if np.isfinite(change[i, j])
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON; null where a class has no scored image."""
        return {
            "classes": list(self.classes),
            "alphas": self.alphas,
            "before": list_cells(self.before),
            "after": list_cells(self.after),
            "moved": self.moved(),
        }


def class_distances(values: Vectors, labels: Labels, n_classes: int | None = None) -> ClassMatrix:
    """Return the Euclidean distances between the classes' mean features.

    The matrix is symmetric, with zeros on the diagonal; NaN for a class without images.
    """
    from scipy.spatial.distance import pdist, squareform

    n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
    counts = np.bincount(labels, minlength=n_classes)
    sums = np.zeros((n_classes, values.shape[1]))
    np.add.at(sums, labels, values.astype(np.float64))
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts[:, None], out=means, where=counts[:, None] > 0)
    distances = squareform(pdist(means))
    distances[counts == 0] = np.nan  # on the diagonal too
    return distances


def check_trains(competition: Competition, name: str) -> None:
    """Check that a run's model trains its network, before anything is asked of its files.

    InputError where there is no such run, or its features never move.
    """
    competition.check_single("correlation measures between classes that share no image")
    run = competition.run(name)
    if not isinstance(build_model(competition, run), TrainedNetwork):
        raise InputError(
            f"run {name}: {run.model} trains no network, so its features do not move; correlation takes runs of "
            "clip_finetune and fine_tune"
        )
    if run.n_copies > 1:
        cause = f"its {run.n_copies} bags or seeds have a feature space each"
        raise InputError(f"run {name}: {cause}; correlation takes runs of one network per fold")


def correlate(prepared: Prepared, result: Result) -> Correlation:
    """Measure the distances between classes on the images that each fold held out.

    The folds' models differ, but start from one network and stay near it: their features are averaged per class.

    Raises
    ------
    MissingWeights
        When the weights before training cannot be had.
    """
    labels = np.concatenate([prepared.fold_labels(fold) for fold in prepared.scored])
    alphas, before, after = {}, [], []
    for fold in prepared.scored:
        model, alphas[fold] = _restore(prepared, result, fold)
        images = prepared.held_out(fold)
        before.append(_unit(model.encode(images, 0.0)))
        after.append(_unit(model.encode(images, alphas[fold])))
    distances = [
        class_distances(np.concatenate(features), labels, len(prepared.classes)) for features in (before, after)
    ]
    return Correlation(prepared.classes, alphas, before=distances[0], after=distances[1])


def write_correlation(correlation: Correlation, result: Result) -> Path:
    """Write correlation.json and correlation.png beside a run's predictions; return the picture's path."""
    write_json(result.folder / "correlation.json", {"run": result.name} | correlation.as_dict())
    path = result.folder / "correlation.png"
    maps = {"before fine-tuning": correlation.before, "after fine-tuning": correlation.after}
    draw_maps(maps, correlation.classes, result.name, "distance of class means", path)
    return path


def _restore(prepared: Prepared, result: Result, fold: int) -> tuple[TrainedNetwork, float]:
    """Return a fold's fitted model, and the weight of the fine-tuned network in it."""
    model = restore_fold(prepared, settings_of(prepared, result), result.folder, fold)
    if not isinstance(model, TrainedNetwork):
        raise TypeError(f"{result.name} trains no network")
    if model.sweep_name != "alpha":
        return model, 1.0
    settled = read_settled(result.folder, fold)
    return model, float(settled[model.sweep_name] if isinstance(settled, dict) else settled)


def _unit(values: Vectors) -> Vectors:
    """Return features of unit length: only so do two networks' distances compare."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def list_cells(values: ClassMatrix) -> list[list[float | None]]:
    """Return a matrix for JSON; null where it is NaN."""
    return [[None if np.isnan(value) else round(float(value), 6) for value in row] for row in values]


def draw_maps(maps: dict[str, ClassMatrix], classes: tuple[str, ...], name: str, unit: str, path: Path) -> None:
    """Draw two heat maps of classes by classes side by side, in one scale of colours.

    `maps` are two by title, NaN where there is nothing; `unit` is what the colours say.
    """
    n_classes = len(classes)
    side = max(3.0, INCHES_PER_CLASS * n_classes)
    figure = empty_figure(2 * side + 3, side + 2)
    diagonal = np.eye(n_classes, dtype=bool)  # left out: it would use up the colours
    apart = np.where(diagonal, np.nan, list(maps.values()))  # (2, n_classes, n_classes)
    low, high = float(np.nanmin(apart)), float(np.nanmax(apart))
    panels, drawn = figure.subplots(1, 2), []
    for panel, title, distances in zip(panels, maps, apart, strict=True):
        drawn.append(panel.imshow(distances, vmin=low, vmax=high, cmap="viridis"))
        panel.set_title(title)
        panel.set_xticks(range(n_classes), classes, rotation=90, parse_math=False)
        panel.set_yticks(range(n_classes), classes, parse_math=False)
        if n_classes <= WITH_NUMBERS:
            _write_numbers(panel, distances, (low + high) / 2)
    figure.colorbar(drawn[0], ax=panels, label=unit, shrink=0.8)
    figure.suptitle(f"{name}: held-out images", parse_math=False)
    write_figure(path, figure)


def _write_numbers(panel: Axes, distances: ClassMatrix, middle: float) -> None:
    """Write each distance into its cell, dark on light and light on dark."""
    for (i, j), value in np.ndenumerate(distances):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            panel.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=6)
