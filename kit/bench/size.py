"""Size: seconds and memory as images and classes grow, each size measured in a process of its own.

Features are drawn as clustered Gaussians. Beside the time on the clock stands that of the processors, which other work
hardly changes. The time of comparing all pairs is that of a part of the rows, times the rest: it grows with the square,
and of 300,000 images would take most of an hour. Prints a table; leaves nothing on the disk.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from kit.core.shapes import Vectors
from kit.core.terminal import empty_table, stage

if TYPE_CHECKING:
    from kit.data.images import Images

SIZES = (30_000, 50_000, 100_000, 300_000)  # rows whose neighbours are found, and on which cheap runs are fitted
N_DIMS = 512
N_NEIGHBORS = 11
PER_CLUSTER = 40  # rows of one cluster
SPREAD = 1.0  # of a cluster, beside its centre's
N_LATENT = 32  # directions in which clusters differ and spread; the rest is noise
NOISE = 0.1
N_TIMED = 3072  # rows that are compared with all
BLOCK = 1024  # rows searched at a time, as kit.features.neighbours does
N_CLASSES, N_LABELED, N_TEST = 1000, 15, 20_000  # of the support vector machine: classes, labels each, images
N_POOL_CLASSES = 48  # of the pool that cheap runs are fitted on


@dataclass(frozen=True)
class Grown:
    """Hold what one size costs.

    Parameters
    ----------
    task
        What was done.
    n_rows
        Images.
    seconds, processor
        Of all, building included: on the clock, and summed over the processors.
    gigabytes
        The most resident memory that the process had so far.
    exact
        Processor seconds of comparing all pairs, as estimated; None where that is not another way of the same.
    recall
        Share of the exact neighbours that were found, 0..1; None likewise.
    """

    task: str
    n_rows: int
    seconds: float
    processor: float
    gigabytes: float
    exact: float | None = None
    recall: float | None = None


def bench_size(sizes: tuple[int, ...] = SIZES, n_classes: int = N_CLASSES) -> list[Grown]:
    """Measure neighbours and cheap runs at every size, then a support vector machine of many classes."""
    tasks: list[tuple[Callable[[int], list[Grown]], int]] = [(_find_neighbours, n_rows) for n_rows in sizes]
    lines: list[Grown] = []
    for measure, size in [*tasks, *((_fit_cheap_runs, n_rows) for n_rows in sizes), (_separate_classes, n_classes)]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            lines += process.submit(measure, size).result()
        stage("size", f"{lines[-1].task}: {lines[-1].n_rows:,} images, {lines[-1].seconds:.0f} s")
    return lines


def render_size(lines: list[Grown]) -> Table:
    """Return the table."""
    table = empty_table("size")
    for name in ("task", "images", "s", "processor s", "ms per image", "all pairs", "share of that", "recall", "GB"):
        table.add_column(name, justify="left" if name == "task" else "right", overflow="fold")
    for line in lines:
        share = None if line.exact is None else f"{line.processor / line.exact:.2f}"
        table.add_row(
            line.task,
            f"{line.n_rows:,}",
            f"{line.seconds:.0f}",
            f"{line.processor:.0f}",
            f"{1000 * line.processor / line.n_rows:.2f}",
            "" if line.exact is None else f"{line.exact:.0f}",
            share or "",
            "" if line.recall is None else f"{line.recall:.3f}",
            f"{line.gigabytes:.2f}",
        )
    return table


def draw_features(n_rows: int, n_dims: int = N_DIMS, seed: int = 0) -> Vectors:
    """Return features of unit length around centres, (n_rows, n_dims) float32."""
    draw = np.random.default_rng(seed)
    basis = draw.normal(size=(N_LATENT, n_dims)).astype(np.float32) / np.float32(np.sqrt(n_dims))
    centres = draw.normal(size=(max(n_rows // PER_CLUSTER, 1), N_LATENT)).astype(np.float32)
    values = np.empty((n_rows, n_dims), dtype=np.float32)
    for start in range(0, n_rows, BLOCK):
        latent = centres[draw.integers(0, len(centres), len(values[start : start + BLOCK]))]
        latent = latent + SPREAD * draw.normal(size=latent.shape).astype(np.float32)
        block = latent @ basis + NOISE / np.sqrt(n_dims) * draw.normal(size=(len(latent), n_dims)).astype(np.float32)
        values[start : start + BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return values


def _find_neighbours(n_rows: int) -> list[Grown]:
    """Find the neighbours of all rows as the kit does, and of some of them exactly."""
    from kit.features.nearest import choose_search, search_exact

    values, every = draw_features(n_rows), np.arange(n_rows)
    started = _Started()
    search = choose_search(values, every, None, N_NEIGHBORS)
    found = np.concatenate([search(every[start : start + BLOCK])[0] for start in range(0, n_rows, BLOCK)])
    spent, gigabytes = started.spent(), _peak()
    exact = search_exact(values, every, None, N_NEIGHBORS)
    timed = np.sort(np.random.default_rng(1).permutation(n_rows)[: max(N_TIMED // BLOCK * BLOCK, BLOCK)])
    started = _Started()
    truth = np.concatenate([exact(timed[start : start + BLOCK])[0] for start in range(0, len(timed), BLOCK)])
    of_all = started.spent()[1] * n_rows / len(timed)
    recall = float((found[timed][:, :, None] == truth[:, None, :]).any(axis=1).mean())
    return [Grown("nearest neighbours", n_rows, *spent, gigabytes, of_all, recall)]


def _fit_cheap_runs(n_rows: int) -> list[Grown]:
    """Fit one fold of four cheap runs on given features, and predict all images; neighbours are found first."""
    from kit.features.neighbours import read_neighbours
    from kit.models.classic.clusters import Clusters
    from kit.models.classic.label_spreading import LabelSpreading
    from kit.models.heads.linear_probe import LinearProbe
    from kit.models.model import Model

    models: dict[str, Model] = {
        "linear_probe": LinearProbe("given"),
        "linear_probe, neighbours": LinearProbe("given", smooth=0.8),
        "label_spreading": LabelSpreading("given"),
        "clusters": Clusters("given"),
    }
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        labeled, unlabeled = draw_pool(n_rows, Path(folder))
        read_neighbours(labeled.pool, "given", {}, N_NEIGHBORS, False)
        for name, model in models.items():
            started = _Started()
            model.fit(labeled, unlabeled).predict_proba(unlabeled)
            lines.append(Grown(f"{name}, one fold", n_rows, *started.spent(), _peak()))
            del model
    return lines


def draw_pool(n_rows: int, folder: Path, n_dims: int = N_DIMS) -> tuple[Images, Images]:
    """Return labelled and unlabelled images without files, whose features are given; classes are halves of space."""
    from kit.data.images import Pool

    values = draw_features(n_rows, n_dims)
    n_labeled = N_POOL_CLASSES * N_LABELED
    sides = np.random.default_rng(2).normal(size=(n_dims, N_POOL_CLASSES)).astype(np.float32)
    ids = np.array([f"{i:07d}" for i in range(n_rows)], dtype=object)
    splits = np.where(np.arange(n_rows) < n_labeled, "labeled", "unlabeled").astype(object)
    classes = tuple(f"class {i}" for i in range(N_POOL_CLASSES))
    pool = Pool(ids, splits, ids, ids, np.arange(n_rows), classes, folder, folder, embeddings=values)
    labeled = pool.select(np.arange(n_labeled), (values[:n_labeled] @ sides).argmax(axis=1))
    return labeled, labeled.pool.select(np.arange(n_labeled, n_rows))


def _separate_classes(n_classes: int) -> list[Grown]:
    """Fit a support vector machine on many classes, and predict many images."""
    from sklearn.svm import SVC

    from kit.models.classic.margins import one_vs_rest_margins, scale_gamma

    values = draw_features(n_classes * N_LABELED + N_TEST)
    labels = np.repeat(np.arange(n_classes), N_LABELED)
    started = _Started()
    gamma: Any = scale_gamma(values[: len(labels)])
    machine = SVC(C=10.0, gamma=gamma, decision_function_shape="ovr").fit(values[: len(labels)], labels)
    one_vs_rest_margins(machine, values[len(labels) :])
    return [Grown(f"svm, {n_classes:,} classes", N_TEST, *started.spent(), _peak())]


class _Started:
    """Remember when something began."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        """Return the seconds since then, on the clock and of all processors."""
        return time.perf_counter() - self._clock, time.process_time() - self._processor


def _peak() -> float:
    """Return the most resident memory that this process had, in GB."""
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
