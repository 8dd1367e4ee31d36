"""The leaderboard with several labels per image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score
from support.folders import write

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.kaggle.submission.standing import _disagreement
from kit.report.board import leaderboard, local_score, read_solution, score_classes
from kit.runs.fit.crossval import crossval
from kit.runs.store import oof_rows
from kit.scoring.predictions import write_predictions

FACTS = '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "{metric}"\n[folds]\nn = 2\n'
DATA = '[data]\nroot = "data/tiles"\nlabeled = {{ csv = "train.csv", images = "train" }}\ntest = "test"\n{more}\n'
RUNS = '[runs.forest]\nmodel = "forest"\nn_trees = 30\n'
CHANNELS = ("paint/red", "paint/green", "ink/blue")


def lay_out(workspace: Path) -> None:
    """Write pictures in which a channel is bright or not; each bright one is a label."""
    draws = np.random.default_rng(0)
    for split, n_images in (("train", 40), ("test", 12)):
        rows = ["id,label"]
        (workspace / "data/tiles" / split).mkdir(parents=True, exist_ok=True)
        for i in range(n_images):
            is_bright = draws.random(3) < 0.5
            pixels = np.clip(np.where(is_bright, 190, 60) + draws.normal(0, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(workspace / "data/tiles" / split / f"{split}{i:02d}.png")
            names = [name for name, is_on in zip(CHANNELS, is_bright, strict=True) if is_on]
            rows.append(f"{split}{i:02d},{';'.join(names)}")
        file = "train.csv" if split == "train" else "solution.csv"
        write(workspace / "data/tiles" / file, "\n".join(rows) + "\n")


def made(workspace: Path, metric: str = "macro_f1", more: str = "") -> Prepared:
    lay_out(workspace)
    text = FACTS.format(metric=metric) + DATA.format(more='solution = "solution.csv"\n' + more) + RUNS
    write(workspace / "competitions" / "tiles" / "competition.toml", text)
    return prepare(read_competition("tiles", Workspace(workspace)))


@pytest.fixture
def several(tmp_path):
    prepared = made(tmp_path, more='hierarchy = "/"')
    return prepared, crossval(prepared, "forest")


def test_the_board_of_several_labels_shows_f1_and_average_precision(several):
    prepared, result = several
    row = leaderboard(prepared, [result], {})[0]
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    assert row.cv == pytest.approx(f1_score(labels, proba >= 0.5, average="macro"))
    assert row.beside["micro_f1"].score == pytest.approx(f1_score(labels, proba >= 0.5, average="micro"))
    assert row.beside["map"].score == pytest.approx(average_precision_score(labels, proba, average="macro"))
    assert set(row.beside) == {"accuracy", "micro_f1", "map"} and row.beside["map"].se > 0


def test_several_labels_are_scored_by_the_solution_with_their_parents(several):
    prepared, result = several
    solution = read_solution(prepared)
    assert prepared.classes == ("ink", "ink/blue", "paint", "paint/green", "paint/red")
    test = result.predictions("test")
    labels = np.array([solution[image_id] for image_id in test.ids])
    assert (labels[:, 0] == labels[:, 1]).all() and (labels[:, 2] == labels[:, 3:].max(axis=1)).all()
    score, error = local_score(prepared, solution, test)
    assert score == pytest.approx(f1_score(labels, test.proba >= 0.5, average="macro")) and error > 0


def test_an_unknown_label_of_the_solution_is_refused(several):
    prepared, _ = several
    path = prepared.competition.root / "solution.csv"
    path.write_text(path.read_text().replace("ink/blue", "ink/pink"))
    with pytest.raises(InputError, match=r"solution\.csv: labels that are not classes: ink/pink"):
        read_solution(prepared)


def test_every_class_of_several_has_its_line(several):
    prepared, result = several
    scores = score_classes(prepared, result)
    assert [own.name for own in scores] == list(prepared.classes)
    assert [own.support for own in scores] == prepared.labels.sum(axis=0).tolist()


def test_a_metric_of_one_label_is_refused_for_several(tmp_path):
    with pytest.raises(InputError, match="metric: 'mcc' is no metric of task = 'multilabel', which has accuracy, ham"):
        made(tmp_path, metric="mcc")


def test_runs_that_label_one_class_otherwise_disagree_on_that_image(several, tmp_path):
    prepared, result = several
    test = result.predictions("test")
    proba = test.proba.copy()
    proba[0, 4] = 1 - proba[0, 4].round()
    write_predictions(tmp_path / "test.parquet", replace(test, proba=proba))
    assert _disagreement(prepared, result, replace(result, folder=tmp_path)) == pytest.approx(1 / len(test))
