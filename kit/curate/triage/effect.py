"""Measure what it is worth to leave images out of training: one run with and without them, on the same oof rows.

Where oof predictions chose the images to leave out, neither figure is a verdict. Both are too high: the labels of a
fold, by which its oof was judged, chose what the other folds' models learn from. The figure of the images that stay is
also too low, the more of the run's errors are left out: where all are, it cannot rise. On TrashNet (1,500 labels, 5 %
flipped, a probe, 8 draws) as many of triage's first rows left out as labels are flipped measured +2.4 points on all
scored images and +2.5 on the others, and gained 1.5 ± 0.3 on 1,027 hidden images; all suspicious rows left out measured
+3.5 and -6.5, and gained 0.2 ± 0.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.data.prepared import Prepared
from kit.runs.fit.crossval import crossval, crossval_run
from kit.runs.store import decided_rows, find_run
from kit.runs.store.exclusion import read_exclusion
from kit.scoring.metrics import paired_difference


@dataclass(frozen=True)
class Effect:
    """Hold the paired effect of leaving images out of a run's training.

    Parameters
    ----------
    difference, error
        In the metric, positive where it is better without them, and one standard error; on all scored images.
    kept_difference, kept_error
        The same on the scored images that are not excluded.
    """

    run: str
    n_excluded: int
    difference: float
    error: float
    kept_difference: float
    kept_error: float

    def __str__(self) -> str:
        """Tell it to a person."""
        return (
            f"{self.run} without {self.n_excluded} images in training: {self.difference:+.4f} ± {self.error:.4f} on all"
            f" scored images, {self.kept_difference:+.4f} ± {self.kept_error:.4f} on the others\n"
            "where oof told which, as triage does, neither is what new images would show: both lean up, since the\n"
            "scored labels chose what is learned from, and the second down, since what the run got wrong is left out"
        )


def measure_exclusion(prepared: Prepared, name: str, file: Path) -> Effect:
    """Train a run with and without the images of a file, and compare both on the same rows.

    InputError where no run has this name, or the file is refused.
    """
    metric, groups = prepared.metric, prepared.scored_groups
    run = prepared.competition.run(name)
    without = run.model_copy(update={"exclude": str(file.resolve())})
    left_out = {image_id for image_id, weight in read_exclusion(prepared, without).items() if weight < 1}
    whole = crossval(prepared, name)
    other = find_run(prepared, without) or crossval_run(prepared, without)
    labels, theirs = decided_rows(prepared, whole)
    _, ours = decided_rows(prepared, other)
    ids = prepared.pool.ids[prepared.labeled[prepared.scored_rows]]
    kept = np.array([image_id not in left_out for image_id in ids])
    on_all = paired_difference(metric, labels, ours, theirs, groups)
    on_kept = paired_difference(metric, labels[kept], ours[kept], theirs[kept], groups[kept])
    return Effect(name, len(left_out), *on_all, *on_kept)
