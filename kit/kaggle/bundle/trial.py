"""Try a bundle out where it was written: compare its predictions with those of its runs, and time it.

Reads the bundle, the test images and the runs' predictions; writes nothing that stays.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.shapes import Proba
from kit.core.terminal import warn
from kit.data.images import name_images
from kit.data.prepared import Prepared
from kit.kaggle.bundle.inference import IMAGES_PER_CHUNK, as_competition, as_prepared, predict_table
from kit.kaggle.bundle.manifest import Bundle, read_bundle
from kit.kaggle.bundle.member_predictions import mix_members
from kit.kaggle.bundle.members import BundledRun
from kit.kaggle.submission import read_sample
from kit.runs.decide.decisions import decided_test
from kit.runs.store import Result
from kit.scoring.metrics import decide
from kit.scoring.predictions import Predictions

N_TRIED = 256  # test images that are predicted to try a bundle out
TIMED = (16, 64, 256)  # images that are predicted to time it; where there are fewer of the test, others join them
PROBA_TOLERANCE = 1e-3  # of probabilities, where half precision is no part of it
MAX_OTHER_LABELS = 0.01  # share of the tried images


@dataclass(frozen=True)
class BundleTrial:
    """Hold the outcome of trying a bundle out.

    Parameters
    ----------
    difference
        Largest difference of a probability from that in the runs' files.
    n_other
        Images that get another decision.
    images_per_second
        Without loading models.
    load_seconds
        To load, or fit anew, all models once.
    n_timed
        Images that were timed.
    slowest, fastest
        Images per second, between the sizes that were timed; None where there was one alone.
    """

    n_images: int
    difference: float
    n_other: int
    images_per_second: float
    load_seconds: float
    device: str
    n_timed: int = 0
    slowest: float | None = None
    fastest: float | None = None

    def estimate(self, n_test: int) -> float:
        """Return the seconds that `n_test` images take on a machine such as this one; models load once per chunk."""
        return self._seconds(n_test, self.images_per_second)

    def estimates(self, n_test: int) -> tuple[float, float]:
        """Return the least and the most seconds, by the fastest and the slowest rate that was seen."""
        fastest, slowest = self.fastest or self.images_per_second, self.slowest or self.images_per_second
        return self._seconds(n_test, fastest), self._seconds(n_test, slowest)

    def _seconds(self, n_test: int, rate: float) -> float:
        return math.ceil(n_test / IMAGES_PER_CHUNK) * self.load_seconds + n_test / rate


def try_out(prepared: Prepared, members: list[BundledRun], whole: Result | None, folder: Path) -> BundleTrial:
    """Predict some test images with a bundle, compare with the predictions in the runs' files, and time it.

    `members` and `whole` are those of `choose_members`. RuntimeError where more than one in a hundred labels differ.
    """
    from kit.features.device import device_name

    bundle = read_bundle(folder)
    pool, rows = prepared.pool, prepared.split("test")
    table = pd.DataFrame({"id": pool.ids[rows], "path": pool.paths[rows], "split": "test"}, dtype=object)
    _check_sample(prepared, bundle, folder, table)
    if not any(member.asks_neighbours and member.run.use_test_images for member in bundle.members):
        table = table.head(N_TRIED)  # else all: they are each other's neighbours
    mixture, decided, _ = _predict(prepared, bundle, folder, table)
    timed = _add_others(prepared, table)
    sizes = sorted({min(n_images, len(timed)) for n_images in TIMED})
    seconds = [_predict(prepared, bundle, folder, timed.head(n_images))[2] for n_images in sizes]
    known = mix_members(bundle.members, [each.result.predictions("test").at(mixture.ids) for each in members])
    sent = known if whole is None else decided_test(prepared, whole).at(mixture.ids).proba
    slope, slopes = _find_slopes(sizes, seconds)
    trial = BundleTrial(
        n_images=len(table),
        difference=float(np.abs(mixture.proba - known).max()),
        n_other=_count_other(decided.at(mixture.ids).proba, sent, prepared.pool.is_multilabel),
        images_per_second=1 / slope,
        load_seconds=max(seconds[-1] - slope * sizes[-1], 0.0),
        device=device_name(),
        n_timed=sizes[-1],
        slowest=1 / max(slopes) if slopes else None,
        fastest=1 / min(slopes) if slopes else None,
    )
    return _judge(trial)


def _predict(
    prepared: Prepared, bundle: Bundle, folder: Path, table: pd.DataFrame
) -> tuple[Predictions, Predictions, float]:
    """Predict images with nothing cached; return the mixture, the decisions and the seconds."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
        competition = as_competition(bundle, folder, prepared.competition.root, Path(scratch))
        started = time.perf_counter()
        return *predict_table(bundle, competition, table), time.perf_counter() - started


def _add_others(prepared: Prepared, table: pd.DataFrame) -> pd.DataFrame:
    """Return the test images to time, and where they are few, as before a code competition's rerun, others too."""
    pool = prepared.pool
    others = np.flatnonzero(pool.splits != "test")[: max(TIMED[-1] - len(table), 0)]
    names = name_images(pool.splits[others], pool.ids[others])  # an id may be that of a test image too
    more = pd.DataFrame({"id": names, "path": pool.paths[others], "split": "test"}, dtype=object)
    return pd.concat([table, more], ignore_index=True)


def _find_slopes(sizes: list[int], seconds: list[float]) -> tuple[float, list[float]]:
    """Return the seconds per image from the smallest size to the largest, and those from each size to the next."""
    slopes = [
        (later - earlier) / (more - fewer)
        for fewer, more, earlier, later in zip(sizes, sizes[1:], seconds, seconds[1:], strict=False)
        if later > earlier
    ]
    if len(sizes) > 1 and seconds[-1] > seconds[0]:
        return (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0]), slopes
    return seconds[-1] / sizes[-1], slopes


def _count_other(ours: Proba, theirs: Proba, is_multilabel: bool) -> int:
    """Return the number of images whose decision differs between two predictions."""
    differs = decide(ours, is_multilabel) != decide(theirs, is_multilabel)
    return int(differs.reshape(len(differs), -1).any(axis=1).sum())


def _check_sample(prepared: Prepared, bundle: Bundle, folder: Path, table: pd.DataFrame) -> None:
    """Read the sample submission as the bundle will: what it cannot read at Kaggle must be found out now."""
    competition = as_competition(bundle, folder, prepared.competition.root, folder)
    read_sample(replace(as_prepared(bundle, competition, table), broken_test=prepared.broken_test))


def _judge(trial: BundleTrial) -> BundleTrial:
    """Refuse a bundle whose decisions are not those of its runs; warn where probabilities differ."""
    facts = (
        f"of {trial.n_images} test images {trial.n_other} get another label than by the runs' own predictions, "
        f"probabilities differ by up to {trial.difference:.1g}"
    )
    if trial.n_other > max(1, MAX_OTHER_LABELS * trial.n_images):
        raise RuntimeError(f"the bundle was not kept: {facts}. Were the runs made by other versions? Train them again")
    if trial.difference > PROBA_TOLERANCE:
        warn(f"{facts}: half precision, or a device other than in training, explains small differences")
    return trial
