"""Triage: wrong labels come first, nothing is edited, and what is left out is left out of training alone."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.triage import choose_run, rank_labels
from kit.curate.triage.effect import measure_exclusion
from kit.curate.triage.quality import label_quality, neighbour_shares, spot_issues, suggest_labels
from kit.curate.triage.writing import write_triage
from kit.data.images import ids_of
from kit.data.prepared import prepare
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result
from kit.runs.store.exclusion import leave_out, read_exclusion
from kit.runs.store.find import run_key
from kit.runs.store.imported import import_predictions

get_label_quality_scores = pytest.importorskip("cleanlab.rank").get_label_quality_scores

RUNS = """
[runs.probe]
model = "linear_probe"
encoder = "given"

[runs.svm]
model = "svm"
"""


@pytest.fixture
def mislabelled(colours, tmp_path):
    """The competition `colours`, one labelled image of each class lying in another class's folder."""
    competition = colours(RUNS, data='embeddings = "embeddings.npy"')
    root = tmp_path / "data" / "colours"
    names, moved = ["blue", "green", "red"], set()
    first = [sorted((root / "train" / name).glob("*.png"))[0] for name in names]
    for i, file in enumerate(first):
        file.rename(root / "train" / names[(i + 1) % 3] / file.name)
        moved.add(file.stem)
    order = [
        *sorted((file.stem, name) for name in names for file in (root / "train" / name).glob("*")),
        *((file.stem, "") for split in ("unlabeled", "test") for file in sorted((root / split).glob("*"))),
    ]
    truth = [names[(int(stem) - 1) // 6] if int(stem) <= 18 else "blue" for stem, _ in order]
    draws = np.random.default_rng(0)
    centres = {name: np.eye(3)[i] for i, name in enumerate(names)}
    values = np.stack([centres[name] for name in truth]) + draws.normal(0, 0.15, (len(order), 3))
    np.save(root / "embeddings.npy", values.astype(np.float32))
    return prepare(read_competition("colours", Workspace(tmp_path))), moved, competition


def test_wrong_labels_come_first(mislabelled):
    prepared, moved, _ = mislabelled
    ranking = rank_labels(prepared, crossval(prepared, "probe"))
    first = set(prepared.pool.ids[ranking.rows[ranking.order[:3]]])
    assert first == moved
    assert set(prepared.pool.ids[ranking.rows[ranking.suspicious]]) >= moved


def test_the_csv_ranks_every_label_and_no_label_is_edited(mislabelled):
    prepared, moved, _ = mislabelled
    before = {file: file.read_bytes() for file in (prepared.competition.root / "train").rglob("*.png")}
    ranking = rank_labels(prepared, crossval(prepared, "probe"))
    path = write_triage(prepared, ranking)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, len(ranking.rows) + 1))
    assert {row["id"] for row in rows[:3]} == moved and all(row["given"] != row["suggested"] for row in rows[:3])
    assert path.with_name("labels.png").exists() and path.with_name("outliers.png").exists()
    assert before == {file: file.read_bytes() for file in (prepared.competition.root / "train").rglob("*.png")}


def test_the_oof_alone_ranks_as_cleanlab_does():
    draws = np.random.default_rng(0)
    proba = draws.dirichlet(np.ones(3), 50)
    labels = draws.integers(0, 3, 50)
    np.testing.assert_allclose(label_quality(labels, proba), get_label_quality_scores(labels, proba))


def test_several_labels_are_judged_class_by_class():
    labels = np.array([[1, 0, 1]] * 10 + [[0, 1, 0]] * 10, dtype=np.int8)
    proba = np.where(labels == 1, 0.9, 0.1)
    labels[3] = [0, 0, 1]  # one label is missing
    assert label_quality(labels, proba).argmin() == 3
    assert spot_issues(labels, proba)[3]
    suggested, sureness = suggest_labels(proba, labels)
    assert suggested[3].tolist() == [1, 0, 1] and sureness[3] == pytest.approx(0.9)


def test_an_image_is_not_its_own_neighbour():
    values = np.eye(4, dtype=np.float32)
    shares = neighbour_shares(values, np.array([0, 1, 1, 1]), 2)
    assert shares[0].tolist() == [0, 1]


def test_excluded_images_are_left_out_of_training_and_stay_in_the_oof(mislabelled, tmp_path):
    prepared, moved, _ = mislabelled
    file = tmp_path / "exclude.csv"
    file.write_text("id\n" + "\n".join(sorted(moved)) + "\n")
    run = prepared.competition.run("probe").model_copy(update={"exclude": str(file)})
    for fold in prepared.scored:
        assert not moved & set(ids_of(leave_out(prepared, run, prepared.training(fold))))
    effect = measure_exclusion(prepared, "probe", file)
    oof = crossval(prepared, "probe").predictions("oof")
    assert moved <= set(oof.ids)
    assert effect.n_excluded == 3 and effect.kept_difference >= 0
    assert "without 3 images in training" in str(effect)


def test_a_weight_of_one_changes_nothing_but_the_key(mislabelled, tmp_path):
    prepared, moved, _ = mislabelled
    file = tmp_path / "weights.csv"
    file.write_text("id,weight\n" + "\n".join(f"{name},1" for name in sorted(moved)) + "\n")
    run = prepared.competition.run("probe")
    same = run.model_copy(update={"exclude": str(file)})
    labeled = prepared.training(0)
    left = leave_out(prepared, same, labeled)
    assert left.rows.tolist() == labeled.rows.tolist() and left.weights.tolist() == labeled.weights.tolist()
    assert run_key(prepared, run) != run_key(prepared, same)
    effect = measure_exclusion(prepared, "probe", file)
    assert (effect.n_excluded, effect.difference, effect.error) == (0, 0.0, 0.0)


def test_the_file_decides_the_run_and_not_its_name(mislabelled, tmp_path):
    prepared, moved, _ = mislabelled
    keys = []
    for n in (1, 2):
        file = tmp_path / "exclude.csv"
        file.write_text("id\n" + "\n".join(sorted(moved)[:n]) + "\n")
        keys.append(run_key(prepared, prepared.competition.run("probe").model_copy(update={"exclude": str(file)})))
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\n00001\n", "no column 'id'"),
        ("id\n99999\n", "no labelled image has the id '99999'"),
        ("id,weight\n00001,2\n", "row 2: weight '2' is no number from 0 .left out. to 1"),
        ("id,weight\n00001,much\n", "row 2: weight 'much'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(colours, tmp_path, text, message):
    prepared = prepare(colours())
    file = tmp_path / "exclude.csv"
    file.write_text(text)
    run = prepared.competition.run("svm").model_copy(update={"exclude": str(file)})
    with pytest.raises(InputError, match=message):
        read_exclusion(prepared, run)


def test_a_class_without_any_training_image_is_refused(colours, tmp_path):
    prepared = prepare(colours())
    file = tmp_path / "exclude.csv"
    red = prepared.pool.ids[prepared.labeled[prepared.labels == prepared.classes.index("red")]]
    file.write_text("id\n" + "\n".join(red) + "\n")
    run = prepared.competition.run("svm").model_copy(update={"exclude": str(file)})
    with pytest.raises(InputError, match="excludes every training image of red"):
        leave_out(prepared, run, prepared.training(0))


def test_a_file_that_is_not_there_is_named_with_where_it_was_looked_for(colours):
    prepared = prepare(colours(changes=('runs.svm.exclude="gone.csv"',)))
    with pytest.raises(InputError, match=r"\[runs.svm\] exclude = 'gone.csv': no such file in "):
        find_result(prepared, "svm")


def test_no_oof_yet_names_the_command_that_makes_it(colours):
    prepared = prepare(colours())
    with pytest.raises(InputError, match=r"no run has made any yet; \./run.sh train colours"):
        choose_run(prepared, [], None)
    result = crossval(prepared, "svm")
    with pytest.raises(InputError, match=r"run forest has no oof predictions yet; \./run.sh train colours forest"):
        choose_run(prepared, [result], "forest")
    with pytest.raises(InputError, match="no run 'forst'; did you mean 'forest'"):
        choose_run(prepared, [result], "forst")
    assert choose_run(prepared, [result, replace(result, name="ensemble")], None).name == "ensemble"


def test_labels_are_judged_by_an_ensemble_that_holds_an_import(several):
    prepared, result = several
    home = prepared.competition.workspace.root
    for split in ("oof", "test"):
        predictions = result.predictions(split)
        pd.DataFrame(predictions.proba, columns=predictions.classes).assign(id=predictions.ids).set_index("id").to_csv(
            home / f"{split}.csv"
        )
    member = import_predictions(prepared, "elsewhere", home / "oof.csv", home / "test.csv")
    assert len(rank_labels(prepared, ensemble(prepared, [member, result])).order) == len(prepared.scored_rows)
