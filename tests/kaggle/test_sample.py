"""Several labels per image, sent: the forms of Kaggle's competitions, thresholds, the ensemble, local scores."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.folders import write

from kit.cli import main
from kit.config.reader import read_competition
from kit.core.errors import InputError, LeakFound
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.kaggle.submission.check import check_submission
from kit.kaggle.submission.fill import fill_sample
from kit.kaggle.submission.sample import form_of, read_sample
from kit.kaggle.submission.write import make_submission
from kit.report.board import local_score, read_solution, why_cv_only
from kit.runs.decide.decisions import decided_test, describe_decisions, write_decisions
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.fit.sweep import _losses, choose_per_fold
from kit.runs.store import decided_rows, find_result, oof_rows
from kit.runs.verify import verify
from kit.scoring.mixing import fit_greedy, fit_shrunk, of_choices
from kit.scoring.predictions import Predictions

CHANNELS = ("red", "green", "blue")
RUNS = '[runs.forest]\nmodel = "forest"\nn_trees = 10\n[runs.deep]\nmodel = "forest"\nn_trees = 15\ntrees = "extra"\n'


def lay_out(root: Path, names: tuple[str, ...]) -> None:
    """Write pictures in which a channel is bright or not; each bright one is a label."""
    draws = np.random.default_rng(0)
    for split, n_images in (("train", 60), ("test", 8)):
        (root / split).mkdir(parents=True, exist_ok=True)
        rows = ["id,label"]
        for i in range(n_images):
            is_bright = draws.random(3) < (0.3, 0.5, 0.6)
            pixels = np.clip(np.where(is_bright, 150, 90) + draws.normal(0, 60, (12, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / f"{split}{i:02d}.png")
            rows.append(f"{split}{i:02d},{';'.join(name for name, on in zip(names, is_bright, strict=True) if on)}")
        write(root / ("train.csv" if split == "train" else "solution.csv"), "\n".join(rows) + "\n")


def made(
    workspace: Path, sample: str = "", names: tuple[str, ...] = CHANNELS, rest: str = "", metric: str = "macro_f1",
    data: str = "",
) -> Prepared:  # fmt: skip
    """Return the competition `tiles`, with a sample submission of the given header and cell."""
    root = workspace / "data/tiles"
    if not root.exists():
        lay_out(root, names)
    if sample:
        header, _, cells = sample.partition("\n")
        write(root / "sample.csv", header + "\n" + "".join(f"test{i:02d},{cells}\n" for i in reversed(range(8))))
        data += 'sample_submission = "sample.csv"\n'
    facts = f'[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "{metric}"\n[folds]\nn = 3\n'
    listing = '[data]\nroot = "data/tiles"\nlabeled = { csv = "train.csv", images = "train", separator = ";" }\n'
    text = f'{facts}{listing}test = "test"\nsolution = "solution.csv"\n{data}\n{RUNS}\n{rest}\n'
    write(workspace / "competitions/tiles/competition.toml", text)
    return prepare(read_competition("tiles", Workspace(workspace)))


def said(prepared: Prepared, proba: np.ndarray | None = None) -> Predictions:
    """Return predictions of the test images: sure ones, each another set of labels."""
    ids = prepared.pool.ids[prepared.split("test")]
    if proba is None:
        proba = np.array([[(row >> code) & 1 for code in range(len(prepared.classes))] for row in range(len(ids))])
        proba = 0.1 + 0.8 * proba
    return Predictions(ids, prepared.classes, proba, "multilabel")


def cells(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["id"], table.iloc[:, 1], strict=True))


@pytest.mark.parametrize(
    ("sample", "separator"),
    [("id,label\n", ";"), ("id,tags\nred blue", " "), ("id,tags\nred|green|blue", "|"), ("id,tags\n?", ";")],
)
def test_labels_share_a_cell_parted_as_the_sample_or_the_training_labels_are(tmp_path, sample, separator):
    prepared = made(tmp_path, sample)
    table = fill_sample(prepared, said(prepared))
    assert list(table["id"]) == [f"test{i:02d}" for i in reversed(range(8))]  # the sample's order
    assert cells(table)["test00"] == "" and cells(table)["test07"] == separator.join(prepared.classes)


def test_the_separator_can_be_named_and_none_of_them_too(tmp_path):
    rest = '[decision]\nseparator = " + "\nnone_of_these = "nothing"\n'
    table = fill_sample(prepared := made(tmp_path, "id,label\n", rest=rest), said(prepared))
    assert cells(table)["test00"] == "nothing" and cells(table)["test03"] == " + ".join(prepared.classes[:2])


def test_a_class_that_holds_the_separator_is_refused_before_any_work(tmp_path):
    prepared = made(tmp_path, "id,label\n", names=("dark red", "green", "blue"), rest='[decision]\nseparator = " "\n')
    with pytest.raises(InputError, match=r"class 'dark red' holds ' ', which parts labels.*separator"):
        read_sample(prepared)


def test_a_column_per_class_wants_zeros_and_ones_where_the_metric_reads_decisions(tmp_path):
    prepared = made(tmp_path, "id,red,green,blue\n0,1,0")
    table = fill_sample(prepared, said(prepared))
    assert list(table.columns) == ["id", "red", "green", "blue"]
    wanted = [int(name == prepared.classes[0]) for name in table.columns[1:]]
    assert table.set_index("id").loc["test01"].tolist() == wanted


@pytest.mark.parametrize(("cell", "metric"), [("0.5,0.5,0.5", "macro_f1"), ("0,0,0", "map")])
def test_a_column_per_class_wants_probabilities_where_the_sample_or_the_metric_says_so(tmp_path, cell, metric):
    prepared = made(tmp_path, f"id,red,green,blue\n{cell}", metric=metric)
    table = fill_sample(prepared, said(prepared))
    assert np.unique(table[["red", "green", "blue"]]) == pytest.approx([0.1, 0.9])


def test_the_k_most_probable_classes_share_a_cell_where_the_metric_ranks_them(tmp_path):
    prepared = made(tmp_path, "id,label\n", metric="map@2")
    proba = np.tile([0.2, 0.1, 0.4], (8, 1))
    assert set(fill_sample(prepared, said(prepared, proba))["label"]) == {
        f"{prepared.classes[2]};{prepared.classes[0]}"
    }
    assert why_cv_only(prepared) is None


def test_only_the_end_of_a_path_is_written_and_parents_on_request(tmp_path):
    names, data = ("paint/red", "paint/green", "ink"), 'hierarchy = "/"\n'
    prepared = made(tmp_path, "id,label\n", names=names, data=data)
    proba = np.tile([0.1, 0.9, 0.1, 0.9], (8, 1))  # ink, paint, paint/green, paint/red
    assert set(fill_sample(prepared, said(prepared, proba))["label"]) == {"paint/red"}
    asked = made(tmp_path, "id,label\n", names=names, data=data, rest="[decision]\nparents = true\n")
    assert set(fill_sample(asked, said(asked, proba))["label"]) == {"paint;paint/red"}


def test_a_sample_may_leave_parents_out(tmp_path):
    names = ("paint/red", "paint/green", "ink")
    prepared = made(tmp_path, f"id,{','.join(names)}\n0,0,0", names=names, data='hierarchy = "/"\n')
    assert list(fill_sample(prepared, said(prepared)).columns[1:]) == list(names)


def test_a_missing_class_or_a_strange_column_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither one label nor the 3 classes: blue, pink differ"):
        read_sample(made(tmp_path, "id,red,green,pink\n0,0,0"))


@pytest.mark.parametrize(
    ("sample", "column", "cell", "message"),
    [
        ("id,label\n", "label", "red;pink", r"test07: labels that are not classes: 'pink'"),
        ("id,label\n", "label", "red;red", "a label stands twice in 'red;red'"),
        ("id,label\n", "label", "red;", "labels that are not classes: ''"),
        ("id,red,green,blue\n0,0,0", "red", 0.5, "test07, column 'red': 0.5 is not 0 or 1"),
        ("id,red,green,blue\n0.5,0.5,0.5", "red", 1.5, "1.5 is not a probability"),
        ("id,red,green,blue\n0.5,0.5,0.5", "red", "x", "x is not a probability"),
    ],
)
def test_a_finished_table_that_kaggle_would_refuse_is_refused(tmp_path, sample, column, cell, message):
    prepared = made(tmp_path, sample)
    table, (form, _) = fill_sample(prepared, said(prepared)).astype(object), read_sample(prepared)
    table.loc[table.index[0], column] = cell
    with pytest.raises(InputError, match=message):
        check_submission(prepared, form, table)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    prepared = made(tmp_path_factory.mktemp("several"), "id,label\n")
    return prepared, [crossval(prepared, name) for name in ("forest", "deep")]


def test_the_cv_is_after_thresholds_that_other_folds_chose_and_verifies(trained):
    prepared, (forest, _) = trained
    labels, decided = decided_rows(prepared, forest)
    assert forest.record.cv == pytest.approx(prepared.competition.metric.score(labels, decided))
    assert set(forest.record.thresholds.per_fold) == {"0", "1", "2"}
    assert len(verify(prepared, [forest])) == 2


def test_other_thresholds_than_the_other_folds_choose_are_a_leak(trained):
    prepared, (forest, _) = trained
    thresholds = forest.record.thresholds.model_copy(update={"values": [0.123] * 3})
    with pytest.raises(LeakFound, match="other thresholds than"):
        verify(prepared, [forest.with_record(thresholds=thresholds)])


def test_one_half_on_request_scores_anew_what_was_trained(trained):
    prepared, (forest, _) = trained
    plan = prepared.competition.decision.model_copy(update={"thresholds": 0.5})
    other = replace(prepared, competition=prepared.competition.model_copy(update={"decision": plan}))
    again = find_result(other, "forest")
    labels, proba = oof_rows(prepared, forest.predictions("oof"))
    assert again.folder == forest.folder and again.record.cv == prepared.competition.metric.score(labels, proba)
    assert decided_test(other, again).proba == pytest.approx(forest.predictions("test").proba)


def test_the_ensemble_of_several_labels_is_no_worse_than_its_members(trained):
    prepared, members = trained
    combined = ensemble(prepared, members)
    assert combined.predictions("test").task == "multilabel" and sum(combined.record.weights.values()) > 0.999
    assert verify(prepared, [combined])

    def loss(result):
        labels, proba = oof_rows(prepared, result.predictions("oof"))
        return -np.log(np.clip(np.where(labels == 1, proba, 1 - proba), 1e-7, 1)).mean()

    assert loss(combined) < min(map(loss, members)) + 0.01


@pytest.mark.parametrize("n_members", [1, 2])
def test_an_ensemble_of_one_member_or_of_equal_ones_says_and_sends_what_that_one_does(trained, n_members):
    prepared, (forest, _) = trained
    combined = ensemble(prepared, [replace(forest, name=f"forest_{i}") for i in range(n_members)])
    for split in ("oof", "test"):
        theirs = forest.predictions(split)
        assert np.array_equal(combined.predictions(split).at(theirs.ids).proba, theirs.proba)
    assert combined.record.thresholds == forest.record.thresholds and combined.record.cv == forest.record.cv
    ours, theirs = (fill_sample(prepared, decided_test(prepared, own)) for own in (combined, forest))
    assert ours.equals(theirs)


def test_one_class_by_itself_is_mixed_as_two_classes_are():
    draws = np.random.default_rng(0)
    labels, blocks = draws.integers(0, 2, 200), np.arange(200) % 4
    proba = np.clip(draws.normal(0.2 + 0.6 * labels, [[0.2], [0.3]], (2, 200)), 0.01, 0.99)
    said = of_choices(proba, True)  # (n_members, n_images, 2)
    for fit in (fit_shrunk, fit_greedy("accuracy")):
        two, several = fit(labels, said, blocks), fit(labels[:, None].astype(np.int8), said[:, :, None], blocks)
        assert several.weights == pytest.approx(two.weights) and several.temperatures == pytest.approx(two.temperatures)


def test_a_sweep_of_one_class_by_itself_loses_what_two_classes_do():
    draws = np.random.default_rng(0)
    labels, proba = draws.integers(0, 2, 50), draws.uniform(0.01, 0.99, (3, 50))
    several = _losses(labels[:, None].astype(np.int8), proba[..., None], np.zeros(1))
    assert several == pytest.approx(_losses(labels, np.stack([1 - proba, proba], axis=-1), np.zeros(1)))


def test_a_sweep_of_several_labels_chooses_the_better_value(trained):
    prepared, _ = trained
    truth = {fold: prepared.fold_labels(fold).astype(float) for fold in prepared.scored}
    sweeps = {fold: np.stack([np.full(own.shape, 0.5), 0.2 + 0.6 * own]) for fold, own in truth.items()}
    assert choose_per_fold(prepared, ["plain", "good"], sweeps, "plain") == dict.fromkeys(prepared.scored, "good")


def test_a_submission_is_scored_against_the_solution_as_decided(trained):
    prepared, (forest, _) = trained
    solution, test = read_solution(prepared), decided_test(prepared, forest)
    labels = np.array([solution[image_id] for image_id in test.ids])
    assert local_score(prepared, solution, test)[0] == prepared.competition.metric.score(labels, test.proba)
    written = pd.read_csv(make_submission(prepared, forest), keep_default_na=False)
    decided = dict(zip(test.ids, test.proba >= 0.5, strict=True))
    for image_id, cell in zip(written["id"], written["label"], strict=True):
        assert cell == ";".join(np.array(prepared.classes)[decided[image_id]])


def test_decisions_are_kept_beside_the_run(trained):
    prepared, (forest, _) = trained
    picture = write_decisions(describe_decisions(prepared, forest), forest)
    facts = json.loads(picture.with_name("decisions.json").read_text())
    assert set(facts["confusions"]) == set(prepared.classes) == set(facts["thresholds"]["values"])
    assert all(0.5 < own["auc"] <= 1 for own in facts["roc"])


def test_the_command_prints_one_document(trained, monkeypatch, capsys):
    workspace = trained[0].competition.workspace.root
    monkeypatch.setattr(sys, "argv", ["kit", "decisions", "tiles", "forest", "--json", "--workspace", str(workspace)])
    with pytest.raises(SystemExit):
        main()
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == "forest" and document["none_of_these"] is None and Path(document["picture"]).is_file()


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ("{ red = 0.3, grean = 0.4 }", "'grean' is not a class; did you mean 'green'"),
        ("{ red = 0.3 }", "no threshold for 2 classes: blue, green; is it of other classes"),
        ('"limits.toml"', "limits.toml: 'cat', 'dog' is not a class"),
        ('"limit.toml"', "no such file; did you mean 'limits.toml'"),
        ("{ red = 1.0 }", "above 0 and below 1"),
    ],
)
def test_thresholds_of_other_classes_are_refused(tmp_path, thresholds, message):
    write(tmp_path / "competitions/tiles/limits.toml", "cat = 0.5\ndog = 0.5\n")
    with pytest.raises(InputError, match=message):
        crossval(made(tmp_path, rest=f"[decision]\nthresholds = {thresholds}\n"), "forest")


@pytest.mark.parametrize("key", ["score", "encoder", "accept_rate"])
def test_keys_of_one_label_per_image_are_refused(tmp_path, key):
    value = 0.9 if key == "accept_rate" else '"distance"'
    with pytest.raises(InputError, match=rf"\[decision\] {key} is read with one label per image alone"):
        made(tmp_path, rest=f"[decision]\n{key} = {value}\n")


def test_the_form_is_told_by_columns_and_cells(tmp_path):
    prepared = made(tmp_path, "id,label\nred green")
    sample, _ = read_sample(prepared)
    form = form_of(prepared, sample)
    assert (form.kind, form.separator) == ("labels", " ")
