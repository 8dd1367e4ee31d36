"""Several labels per image, sent: the forms of Kaggle's competitions, thresholds, the ensemble, local scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.channels import make_with_sample, predictions_of

from kit.core.errors import InputError
from kit.kaggle.submission.check import check_submission
from kit.kaggle.submission.fill import fill_sample
from kit.kaggle.submission.sample import read_sample
from kit.report.board import why_cv_only


def cells(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["id"], table.iloc[:, 1], strict=True))


@pytest.mark.parametrize(
    ("sample", "separator"),
    [("id,label\n", ";"), ("id,tags\nred blue", " "), ("id,tags\nred|green|blue", "|"), ("id,tags\n?", ";")],
)
def test_labels_share_a_cell_parted_as_the_sample_or_the_training_labels_are(tmp_path, sample, separator):
    prepared = make_with_sample(tmp_path, sample)
    table = fill_sample(prepared, predictions_of(prepared))
    assert list(table["id"]) == [f"test{i:02d}" for i in reversed(range(8))]  # the sample's order
    assert cells(table)["test00"] == "" and cells(table)["test07"] == separator.join(prepared.classes)


def test_the_separator_can_be_named_and_none_of_them_too(tmp_path):
    rest = '[decision]\nseparator = " + "\nnone_of_these = "nothing"\n'
    table = fill_sample(prepared := make_with_sample(tmp_path, "id,label\n", rest=rest), predictions_of(prepared))
    assert cells(table)["test00"] == "nothing" and cells(table)["test03"] == " + ".join(prepared.classes[:2])


def test_a_class_that_holds_the_separator_is_refused_before_any_work(tmp_path):
    names, rest = ("dark red", "green", "blue"), '[decision]\nseparator = " "\n'
    prepared = make_with_sample(tmp_path, "id,label\n", names=names, rest=rest)
    with pytest.raises(InputError, match=r"class 'dark red' holds ' ', which parts labels.*separator"):
        read_sample(prepared)


def test_a_column_per_class_wants_zeros_and_ones_where_the_metric_reads_decisions(tmp_path):
    prepared = make_with_sample(tmp_path, "id,red,green,blue\n0,1,0")
    table = fill_sample(prepared, predictions_of(prepared))
    assert list(table.columns) == ["id", "red", "green", "blue"]
    wanted = [int(name == prepared.classes[0]) for name in table.columns[1:]]
    assert table.set_index("id").loc["test01"].tolist() == wanted


@pytest.mark.parametrize(("cell", "metric"), [("0.5,0.5,0.5", "macro_f1"), ("0,0,0", "map")])
def test_a_column_per_class_wants_probabilities_where_the_sample_or_the_metric_says_so(tmp_path, cell, metric):
    prepared = make_with_sample(tmp_path, f"id,red,green,blue\n{cell}", metric=metric)
    table = fill_sample(prepared, predictions_of(prepared))
    assert np.unique(table[["red", "green", "blue"]]) == pytest.approx([0.1, 0.9])


def test_the_k_most_probable_classes_share_a_cell_where_the_metric_ranks_them(tmp_path):
    prepared = make_with_sample(tmp_path, "id,label\n", metric="map@2")
    proba = np.tile([0.2, 0.1, 0.4], (8, 1))
    assert set(fill_sample(prepared, predictions_of(prepared, proba))["label"]) == {
        f"{prepared.classes[2]};{prepared.classes[0]}"
    }
    assert why_cv_only(prepared) is None


def test_only_the_end_of_a_path_is_written_and_parents_on_request(tmp_path):
    names, data = ("paint/red", "paint/green", "ink"), 'hierarchy = "/"\n'
    prepared = make_with_sample(tmp_path, "id,label\n", names=names, data=data)
    proba = np.tile([0.1, 0.9, 0.1, 0.9], (8, 1))  # ink, paint, paint/green, paint/red
    assert set(fill_sample(prepared, predictions_of(prepared, proba))["label"]) == {"paint/red"}
    asked = make_with_sample(tmp_path, "id,label\n", names=names, data=data, rest="[decision]\nparents = true\n")
    assert set(fill_sample(asked, predictions_of(asked, proba))["label"]) == {"paint;paint/red"}


def test_a_sample_may_leave_parents_out(tmp_path):
    names = ("paint/red", "paint/green", "ink")
    prepared = make_with_sample(tmp_path, f"id,{','.join(names)}\n0,0,0", names=names, data='hierarchy = "/"\n')
    assert list(fill_sample(prepared, predictions_of(prepared)).columns[1:]) == list(names)


def test_a_missing_class_or_a_strange_column_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither one label nor the 3 classes: blue, pink differ"):
        read_sample(make_with_sample(tmp_path, "id,red,green,pink\n0,0,0"))


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
    prepared = make_with_sample(tmp_path, sample)
    table, form = fill_sample(prepared, predictions_of(prepared)).astype(object), read_sample(prepared)
    table.loc[table.index[0], column] = cell
    with pytest.raises(InputError, match=message):
        check_submission(prepared, form, table)


def test_the_form_is_told_by_columns_and_cells(tmp_path):
    prepared = make_with_sample(tmp_path, "id,label\nred green")
    form = read_sample(prepared).form
    assert (form.kind, form.separator) == ("labels", " ")
