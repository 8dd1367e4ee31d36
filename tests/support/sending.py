"""Competitions with a few drawn images of given classes, a sample submission, and predictions of its test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.folders import write

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.kaggle.submission.fill import fill, write_table
from kit.kaggle.submission.sample import read_sample
from kit.scoring.predictions import Predictions

N_TEST = 6
TEST_IDS = tuple(f"t{n:02d}" for n in range(N_TEST))


def make_sent(
    workspace: Path,
    sample: str | None,
    classes: tuple[str, ...] = ("cat", "dog"),
    metric: str = "accuracy",
    rest: str = "",
    listed: str | None = None,
    test_ids: tuple[str, ...] = TEST_IDS,
) -> Prepared:
    """Return a competition of class folders whose sample submission is the given text; without `sample` it has none.

    `listed` is the header of a CSV that names the labelled images in place of their folders.
    """
    root, draws = workspace / "data", np.random.default_rng(0)
    rows = []

    def save(*place: str) -> None:
        path = root.joinpath(*place)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)

    for code, name in enumerate(classes):
        for n in range(4):
            file = f"{code}{n}.png"
            save("train", *([] if listed else [name]), file)
            rows.append(f"{file},{name}")
    for image_id in test_ids:
        save("test", f"{image_id}.png")
    if listed:
        write(root / "train.csv", "\n".join([listed, *rows]) + "\n")
    data = 'labeled = { csv = "train.csv", images = "train" }\n' if listed else 'labeled = "train"\n'
    data += 'test = "test"\n'
    if sample is not None:
        write(root / "sample.csv", sample)
        data += 'sample_submission = "sample.csv"\n'
    facts = f'[competition]\ntitle = "t"\nmetric = "{metric}"\n'
    runs = '[folds]\nn = 2\n[runs.forest]\nmodel = "forest"\npixels = 4\nn_trees = 5\n'
    write(workspace / "competitions/sent/competition.toml", f'{facts}[data]\nroot = "data"\n{data}{runs}{rest}\n')
    return prepare(read_competition("sent", Workspace(workspace)))


def sample_of(header: str, row: str, ids: tuple[str, ...] = TEST_IDS) -> str:
    """Return a sample submission whose rows are `row` with each id."""
    return "\n".join([header, *(row.format(id=image_id, n=n) for n, image_id in enumerate(ids))]) + "\n"


def drawn(prepared: Prepared, seed: int = 0) -> Predictions:
    """Return predictions of the test images drawn at random."""
    ids = prepared.pool.ids[prepared.split("test")]
    proba = np.random.default_rng(seed).dirichlet(np.ones(len(prepared.classes)), len(ids))
    return Predictions(ids, prepared.classes, proba, prepared.pool.task)


def written(prepared: Prepared, test: Predictions | None = None) -> list[str]:
    """Return the lines of the submission that is written."""
    sample = read_sample(prepared)
    return write_table(sample, fill(prepared, sample, test or drawn(prepared))).splitlines()
