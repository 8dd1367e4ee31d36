"""Whether what is printed of a score holds: coverage and width of 95 % intervals, and the best of many equal runs.

Images, labels and probabilities are drawn; the truth is known, or is the score of very many images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from kit.core.shapes import Groups, Labels, Proba
from kit.core.terminal import empty_table, track
from kit.scoring.metrics import Z_95, compare_with_best, correct_best, estimate, find_metric

DRAWS = 100  # of each case, for one `--seeds`
N_TRUTH = 200_000  # images whose score stands for the truth
TOGETHER = (0.0, 0.1, 0.3, 0.5)  # correlation of two images of a group: right or wrong
ALIKE = 0.5  # of what a model sees of an image: the part of its variance that images of a group have in common
GROUPED_TRUTHS = 400  # draws whose images together are the truth of metrics of groups
SIZES = {  # of the groups of 150 images
    "5 groups": [30] * 5,
    "15 groups": [10] * 15,
    "30 groups": [5] * 30,
    "30 unequal groups": [17, 17, 11, 8, 8, 7, 7, 6, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1],
}
Draw = tuple[Labels, Proba]


@dataclass(frozen=True)
class Coverage:
    """Hold how the printed interval of a case holds.

    Parameters
    ----------
    coverage
        Share of the draws whose 95 % interval holds the truth.
    width
        Mean width of the interval, in widths of the 95 % interval by the true spread of the score.
    """

    case: str
    n_images: int
    truth: float
    coverage: float
    width: float


@dataclass(frozen=True)
class Luck:
    """Hold what becomes of equally good runs.

    Parameters
    ----------
    shared
        Share of an image's difficulty that all runs have in common.
    called_worse
        Share of the families in which a run is called worse than the best.
    raw, corrected, corrected_se
        The best CV above the truth, as it is, and without the luck of the choice, with its standard error.
    """

    n_runs: int
    shared: float
    called_worse: float
    raw: float
    corrected: float
    corrected_se: float


def bench_coverage(n_seeds: int) -> tuple[list[Coverage], list[Luck]]:
    """Draw every case `n_seeds` hundred times, equal runs as often."""
    cases = list(_list_cases())
    coverage = [_cover(*case, n_seeds * DRAWS) for case in track(cases, "coverage")]
    families = [(n_runs, shared) for n_runs in (2, 5, 10, 30) for shared in (0.0, 0.5, 0.9)]
    return coverage, [_try_luck(*family, n_seeds * DRAWS) for family in track(families, "equal runs")]


def render_coverage(coverage: list[Coverage], luck: list[Luck]) -> list[Table]:
    """Return both as tables."""
    first = empty_table("95 % intervals")
    for header in ("case", "images", "truth", "coverage", "width / true spread"):
        first.add_column(header, justify="left" if header == "case" else "right")
    for row in coverage:
        first.add_row(row.case, str(row.n_images), f"{row.truth:.3f}", f"{row.coverage:.3f}", f"{row.width:.2f}")
    second = empty_table("The best of equal runs: 150 images, accuracy .8")
    for header in ("runs", "shared difficulty", "one called worse", "best CV - truth", "corrected - truth"):
        second.add_column(header, justify="right")
    for line in luck:
        corrected = f"{line.corrected:+.4f} ± {line.corrected_se:.4f}"
        worse = f"{line.called_worse:.3f}"
        second.add_row(str(line.n_runs), f"{line.shared:.1f}", worse, f"{line.raw:+.4f}", corrected)
    return [first, second]


def _list_cases() -> Iterator[tuple[str, str, int, Callable[[np.random.Generator, int], Draw], Groups | None]]:
    """Give what is drawn: its name, the metric, images, how labels and probabilities are drawn, the groups."""
    for accuracy in (0.5, 0.9, 0.99):
        for n_images in (30, 150, 720):
            yield f"accuracy {accuracy}", "accuracy", n_images, _right_at(accuracy), None
    for name, sizes in SIZES.items():
        groups = np.repeat(np.arange(len(sizes)), sizes)
        for accuracy in (0.5, 0.9, 0.99):
            for together in TOGETHER:
                draw = _right_at(accuracy, groups, together)
                yield f"accuracy {accuracy}, {name}, alike {together:g}", "accuracy", len(groups), draw, groups
        for metric in ("macro_f1", "log_loss"):
            yield f"{metric}, strength 2, {name}", metric, len(groups), _one_of_five(2.0, groups), groups
        yield f"macro_f1 of 6 labels, strength 2, {name}", "macro_f1", len(groups), _several(2.0, groups), groups
    for strength in (1.0, 2.0, 3.0):
        for n_images in (30, 150, 720):
            for metric in ("macro_f1", "log_loss"):
                yield f"{metric}, strength {strength:g}", metric, n_images, _one_of_five(strength), None
            yield f"macro_f1 of 6 labels, strength {strength:g}", "macro_f1", n_images, _several(strength), None


def _cover(
    case: str, metric: str, n_images: int, draw: Callable[[np.random.Generator, int], Draw], groups: Groups | None,
    n_draws: int,
) -> Coverage:  # fmt: skip
    """Draw one case."""
    truth = float(case.split()[1].rstrip(",")) if metric == "accuracy" else _find_truth(metric, n_images, draw, groups)
    generator = np.random.default_rng(0)
    scores, _, low, high = np.array([estimate(metric, *draw(generator, n_images), groups) for _ in range(n_draws)]).T
    covered = (low <= truth + 1e-9) & (truth <= high + 1e-9)
    return Coverage(case, n_images, truth, float(covered.mean()), float((high - low).mean() / scores.std() / 2 / Z_95))


def _find_truth(
    metric: str, n_images: int, draw: Callable[[np.random.Generator, int], Draw], groups: Groups | None
) -> float:
    """Return the score of very many images."""
    generator = np.random.default_rng(1)
    if groups is None:
        return find_metric(metric).score(*draw(generator, N_TRUTH))
    labels, probas = zip(*(draw(generator, n_images) for _ in range(GROUPED_TRUTHS)), strict=True)
    return find_metric(metric).score(np.concatenate(labels), np.concatenate(probas))


def _right_at(
    accuracy: float, groups: Groups | None = None, together: float = 0.1
) -> Callable[[np.random.Generator, int], Draw]:
    """Return draws of images that are right at a rate, those of a group alike by a correlation."""

    def draw(generator: np.random.Generator, n_images: int) -> Draw:
        rate = np.full(n_images, accuracy)
        if groups is not None and together > 0:
            count = (1 - together) / together
            rate = generator.beta(accuracy * count, (1 - accuracy) * count, int(groups.max()) + 1)[groups]
        return _decide(generator, generator.random(n_images) < rate)

    return draw


def _decide(generator: np.random.Generator, is_right: np.ndarray) -> Draw:
    """Return labels of four classes, and probabilities that decide for them where they are right."""
    labels = generator.integers(0, 4, len(is_right))
    decided = np.where(is_right, labels, (labels + generator.integers(1, 4, len(labels))) % 4)
    return labels, (np.eye(4)[decided] * 0.6 + 0.1).astype(np.float32)


def _one_of_five(strength: float, groups: Groups | None = None) -> Callable[[np.random.Generator, int], Draw]:
    """Return draws of five classes, the rarest a fifth as frequent as the first, with honest probabilities."""
    frequency = np.geomspace(1, 0.2, 5) / np.geomspace(1, 0.2, 5).sum()

    def draw(generator: np.random.Generator, n_images: int) -> Draw:
        labels = generator.choice(5, n_images, p=frequency)
        seen = _see(generator, n_images, 5, groups) + strength * np.eye(5)[labels]
        odds = np.exp(strength * seen) * frequency
        return labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)

    return draw


def _several(strength: float, groups: Groups | None = None) -> Callable[[np.random.Generator, int], Draw]:
    """Return draws of six labels, on 40 % to 10 % of the images, with honest probabilities."""
    frequency = np.geomspace(0.4, 0.1, 6)

    def draw(generator: np.random.Generator, n_images: int) -> Draw:
        labels = (generator.random((n_images, 6)) < frequency).astype(np.int8)
        seen = _see(generator, n_images, 6, groups) + strength * labels
        odds = np.exp(strength * (seen - strength / 2)) * frequency / (1 - frequency)
        return labels, (odds / (1 + odds)).astype(np.float32)

    return draw


def _see(generator: np.random.Generator, n_images: int, n_classes: int, groups: Groups | None) -> np.ndarray:
    """Return what hides the classes, normal of variance 1, in part the same for all images of a group."""
    alone = generator.normal(size=(n_images, n_classes))
    if groups is None:
        return alone
    shared = generator.normal(size=(int(groups.max()) + 1, n_classes))[groups]
    return np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * alone


def _try_luck(n_runs: int, shared: float, n_families: int, n_images: int = 150, accuracy: float = 0.8) -> Luck:
    """Draw families of equally good runs."""
    from scipy.stats import norm

    generator, limit = np.random.default_rng(n_runs), norm.ppf(accuracy)
    worse, raw, corrected = [], [], []
    for _ in range(n_families):
        hard = np.sqrt(shared) * generator.normal(size=n_images)
        is_right = hard + np.sqrt(1 - shared) * generator.normal(size=(n_runs, n_images)) < limit
        labels = generator.integers(0, 4, n_images)
        probas = [np.eye(4)[np.where(right, labels, (labels + 1) % 4)] * 0.6 + 0.1 for right in is_right]
        worse.append(not compare_with_best("accuracy", labels, probas).may_be_best.all())
        raw.append(is_right.mean(axis=1).max() - accuracy)
        corrected.append(correct_best("accuracy", labels, probas) - accuracy)
    error = float(np.std(corrected) / np.sqrt(n_families))
    return Luck(n_runs, shared, float(np.mean(worse)), float(np.mean(raw)), float(np.mean(corrected)), error)
