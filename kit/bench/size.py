"""Size: seconds and memory as images and classes grow, each line measured in a process of its own.

Features are drawn as clustered Gaussians. The time of comparing all pairs is that of a part of the rows, times the
rest: it grows with the square, and of 300,000 images would take most of an hour. Prints a table; writes nothing.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from kit.core.shapes import Vectors
from kit.core.terminal import empty_table, stage

SIZES = (30_000, 50_000, 100_000, 300_000)  # rows whose neighbours are found
N_DIMS = 512
N_NEIGHBORS = 11
PER_CLUSTER = 40  # rows of one cluster
SPREAD = 1.0  # of a cluster, beside its centre's
N_LATENT = 32  # directions in which clusters differ and spread; the rest is noise
NOISE = 0.1
N_TIMED = 3072  # rows that are compared with all
BLOCK = 1024  # rows searched at a time, as kit.features.neighbours does
N_CLASSES, N_LABELED, N_TEST = 1000, 15, 20_000  # of the support vector machine: classes, labels each, images


@dataclass(frozen=True)
class Grown:
    """Hold what one size costs.

    Parameters
    ----------
    task
        What was done.
    n_rows
        Images.
    seconds
        Of all, building included.
    gigabytes
        The most resident memory that the process had.
    exact
        Seconds of comparing all pairs, as estimated; None where that is not another way of the same.
    recall
        Share of the exact neighbours that were found, 0..1; None likewise.
    """

    task: str
    n_rows: int
    seconds: float
    gigabytes: float
    exact: float | None = None
    recall: float | None = None


def bench_size(sizes: tuple[int, ...] = SIZES, n_classes: int = N_CLASSES) -> list[Grown]:
    """Measure neighbours at every size, then a support vector machine of many classes, one after the other."""
    tasks: list[tuple[Callable[[int], Grown], int]] = [(_find_neighbours, n_rows) for n_rows in sizes]
    lines = []
    for measure, size in [*tasks, (_separate_classes, n_classes)]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            lines.append(process.submit(measure, size).result())
        stage("size", f"{lines[-1].task}: {lines[-1].n_rows:,} images, {lines[-1].seconds:.0f} s")
    return lines


def render_size(lines: list[Grown]) -> Table:
    """Return the table."""
    table = empty_table("size")
    for name in ("task", "images", "s", "ms per image", "all pairs, s", "share of that", "recall", "GB"):
        table.add_column(name, justify="left" if name == "task" else "right", overflow="fold")
    for line in lines:
        share = None if line.exact is None else f"{line.seconds / line.exact:.2f}"
        table.add_row(
            line.task,
            f"{line.n_rows:,}",
            f"{line.seconds:.0f}",
            f"{1000 * line.seconds / line.n_rows:.2f}",
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


def _find_neighbours(n_rows: int) -> Grown:
    """Find the neighbours of all rows as the kit does, and of some of them exactly."""
    from kit.features.nearest import choose_search, search_exact

    values, every = draw_features(n_rows), np.arange(n_rows)
    started = time.perf_counter()
    search = choose_search(values, every, None, N_NEIGHBORS)
    found = np.concatenate([search(every[start : start + BLOCK])[0] for start in range(0, n_rows, BLOCK)])
    seconds, gigabytes = time.perf_counter() - started, _peak()
    exact = search_exact(values, every, None, N_NEIGHBORS)
    timed = np.sort(np.random.default_rng(1).permutation(n_rows)[: max(N_TIMED // BLOCK * BLOCK, BLOCK)])
    started = time.perf_counter()
    truth = np.concatenate([exact(timed[start : start + BLOCK])[0] for start in range(0, len(timed), BLOCK)])
    of_all = (time.perf_counter() - started) * n_rows / len(timed)
    recall = float((found[timed][:, :, None] == truth[:, None, :]).any(axis=1).mean())
    return Grown("nearest neighbours", n_rows, seconds, gigabytes, of_all, recall)


def _separate_classes(n_classes: int) -> Grown:
    """Fit a support vector machine on many classes, and predict many images."""
    from sklearn.svm import SVC

    from kit.models.classic.margins import one_vs_rest_margins

    values = draw_features(n_classes * N_LABELED + N_TEST)
    labels = np.repeat(np.arange(n_classes), N_LABELED)
    started = time.perf_counter()
    machine = SVC(C=10.0, decision_function_shape="ovr").fit(values[: len(labels)], labels)
    one_vs_rest_margins(machine, values[len(labels) :])
    return Grown(f"svm, {n_classes:,} classes", N_TEST, time.perf_counter() - started, _peak())


def _peak() -> float:
    """Return the most resident memory that this process had, in GB."""
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
