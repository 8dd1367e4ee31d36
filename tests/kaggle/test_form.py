"""The form that a sample submission shows, and what the metric makes of it."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from kit.core.errors import InputError
from kit.kaggle.submission.form import Form, read_form
from kit.kaggle.submission.suit import state_form, suit_form
from kit.scoring.metrics import find_metric

CATS = ("cat", "dog")
THREE = ("bat", "flash ", "knot")
DIGITS = ("0", "1", "2")


def table(header: str, *rows: str) -> pd.DataFrame:
    """Return rows as `read_csv` gives them: text, header stripped."""
    text = "\n".join([header, *rows]) + "\n"
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, header=None)
    frame.columns = [name.strip() for name in frame.iloc[0]]
    return frame.iloc[1:].astype(object)


def of_cells(*cells: str, column: str = "label") -> pd.DataFrame:
    return table(f"id,{column}", *(f"img{row},{cell}" for row, cell in enumerate(cells)))


def shown(sample: pd.DataFrame, classes: tuple[str, ...] = CATS, task: str = "multiclass", **known) -> Form:
    return read_form(sample, classes, task, **known)


@pytest.mark.parametrize(
    ("cells", "classes", "kind"),
    [
        (["cat", "dog"], CATS, "label"),
        (["", ""], THREE, "label"),
        (["?", "?"], THREE, "label"),
        (["42", "42"], DIGITS, "label"),
        (["bat knot", "knot bat"], THREE, "ranked"),
        (["flash", "bat"], THREE, "label"),
        (["0 1 2 3 4", "0 1 2 3 4"], THREE, "ranked"),
        (["0.5", "0.5"], CATS, "probability"),
        (["0.0", "0.0"], ("0", "1"), "probability"),
        (["0", "0"], ("0", "1"), "label"),
        (["0.0", "1.0"], ("0.0", "1.0"), "label"),
        (["bat 0.9", "knot 0.1"], THREE, "confidence"),
    ],
)
def test_cells_of_one_column_tell_the_form(cells, classes, kind):
    form = shown(of_cells(*cells), classes)
    assert form.kind == kind


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["bat knot", "bat"], " "),
        (["bat;knot", ""], ";"),
        (["bat,knot", "knot"], ","),
        (["0 1 2", "0 1 2"], " "),
        (["?", "?"], ""),
        (["", ""], ""),
    ],
)
def test_several_labels_share_a_cell_also_where_place_holders_are_no_classes(cells, separator):
    quoted = [f'"{cell}"' for cell in cells]
    form = shown(of_cells(*quoted), THREE, "multilabel")
    assert (form.kind, form.separator) == ("labels", separator)


@pytest.mark.parametrize(
    ("header", "cells", "task", "kind"),
    [
        ("id,bat,flash ,knot", "0.3,0.3,0.3", "multiclass", "probabilities"),
        ("id,bat,flash ,knot", "0,0,0", "multiclass", "probabilities"),
        ("id,bat,flash ,knot", "0,1,0", "multiclass", "zero_one"),
        ("id,bat,flash ,knot", "0,0,0", "multilabel", "zero_one"),
        ("id,bat,flash ,knot", "0.0,0.0,0.0", "multilabel", "probabilities"),
        ("id,Prob_Knot,Prob_Bat,Prob_Flash", "0.3,0.3,0.3", "multiclass", "probabilities"),
    ],
)
def test_a_column_per_class_holds_probabilities_or_zeros_and_ones(header, cells, task, kind):
    form = shown(table(header, f"a,{cells}", f"b,{cells}"), THREE, task)
    assert form.kind == kind
    assert set(form.classes) == set(THREE)


def test_columns_with_a_shared_beginning_are_of_the_classes_they_end_with():
    form = shown(table("id,Prob_Knot,Prob_Bat,Prob_Flash", "a,1,0,0"), THREE)
    assert form.classes == ("knot", "bat", "flash ")


def test_a_row_per_image_and_class_is_told_by_ids_or_by_a_column():
    rows = [f"ID_{image}_{name}" for image in ("a1", "b2") for name in ("cat", "dog", "any_cat")]
    form = shown(table("ID,Label", *(f"{row},0.5" for row in rows)), ("any_cat", "cat", "dog"), "multilabel")
    assert (form.kind, form.separator, form.values) == ("rows", "_", (1,))
    pairs = [f"{image},{name},0" for image in ("a1", "b2") for name in CATS]
    form = shown(table("image,class,p", *pairs))
    assert (form.kind, form.class_column, form.values) == ("rows", 1, (2,))


def test_ids_that_end_like_a_class_are_no_rows_per_class_where_the_test_images_are_known():
    sample = table("id,label", *(f"img_{n},0" for n in range(6)))
    assert shown(sample, tuple("012345"), ids=[f"img_{n}" for n in range(6)]).kind == "label"


@pytest.mark.parametrize("header", ["id,label,confidence", "id,label,score"])
def test_a_confidence_stands_beside_the_class(header):
    form = shown(table(header, "a,cat,0.5", "b,dog,1"))
    assert (form.kind, form.values) == ("confidence", (1, 2))
    swapped = shown(table("id,conf,label", "a,1,cat", "b,1,dog"))
    assert (swapped.kind, swapped.values) == ("confidence", (2, 1))


@pytest.mark.parametrize(
    ("header", "row", "id_column", "values"),
    [
        ("id,label", "{id},cat", 0, (1,)),
        ("label,id", "cat,{id}", 1, (0,)),
        (",id,label", "{n},{id},cat", 1, (2,)),
        ("index,label,Image", "{n},cat,{id}", 2, (1,)),
        ("Unnamed: 0,id,cat,dog", "{n},{id},0.5,0.5", 1, (2, 3)),
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_ids_are_found_in_any_column_and_an_index_is_none(header, row, id_column, values, is_known):
    ids = ["1", "2", "3"]
    sample = table(header, *(row.format(n=n, id=image_id) for n, image_id in enumerate(ids)))
    form = shown(sample, ids=ids if is_known else ())
    assert (form.id_column, form.values) == (id_column, values)


@pytest.mark.parametrize(
    ("column", "classes", "stated", "positive", "is_guess"),
    [
        ("is_dog", CATS, None, "dog", False),
        ("probCat", CATS, None, "cat", False),
        ("has_cactus", ("0", "1"), None, "1", False),
        ("label", CATS, None, "dog", True),
        ("label", CATS, "cat", "cat", False),
        ("target", ("benign", "malignant"), None, "malignant", True),
        ("cactus", ("cactus", "no_cactus"), None, "cactus", False),
    ],
)
def test_the_positive_class_is_said_named_a_yes_or_the_last(column, classes, stated, positive, is_guess):
    form = shown(of_cells("0.5", column=column), classes, positive=stated)
    assert (form.positive, bool(form.guess)) == (positive, is_guess)
    if is_guess:
        assert "[submission] positive" in form.guess


@pytest.mark.parametrize(
    ("cells", "classes", "spelled"),
    [
        (["0.0", "0.0", "2.0"], DIGITS, ["0.0", "1.0", "2.0"]),
        (["1", "0"], ("0.0", "1.0"), ["0", "1"]),
        (["False", "False"], ("0", "1"), ["False", "True"]),
        (["FALSE", "TRUE"], ("False", "True"), ["FALSE", "TRUE"]),
        (["0", "1"], ("False", "True"), ["0", "1"]),
        (["1", "2"], ("01", "02", "10"), ["1", "2", "10"]),
        (["0", "0"], ("0.5", "1.5", "2"), None),
        (["0", "0"], DIGITS, None),
        (["1", "0"], CATS, ["0", "1"]),
    ],
)
def test_classes_are_written_as_the_sample_writes_them(cells, classes, spelled):
    form = shown(of_cells(*cells), classes)
    assert form.kind == "label"
    assert [text for _, text in form.spelling] == (spelled or [])


@pytest.mark.parametrize(
    ("cells", "classes", "message"),
    [
        (["0.5", "0.5"], THREE, r"'label' holds 0.5, which no class is like .*of two classes, and here are 3"),
        (["1", "2", "3"], THREE, "If the numbers stand for the classes, name the classes so"),
        (["0", "0.25"], DIGITS, "'label' holds 0, 0.25"),
    ],
)
def test_numbers_that_are_no_class_are_refused_where_they_cannot_be_a_place_holder(cells, classes, message):
    with pytest.raises(InputError, match=message):
        shown(of_cells(*cells), classes)


def test_columns_that_are_neither_are_named():
    with pytest.raises(
        InputError, match="columns are neither one label nor the 3 classes: bat, flash , knot, x, y and 1 more differ"
    ):
        shown(table("id,x,y,z", "a,p,q,r"), THREE)
    with pytest.raises(InputError, match="only one column"):
        shown(table("id", "a"), THREE)


@pytest.mark.parametrize(
    ("cells", "classes", "metric", "kind"),
    [
        (["0", "0"], ("0", "1"), "roc_auc", "probability"),
        (["cat", "cat"], CATS, "log_loss", "probability"),
        (["0.0", "0.0"], ("0", "1"), "accuracy", "label"),
        (["0", "0"], CATS, "accuracy", "label"),
        (["bat", "bat"], THREE, "map@5", "ranked"),
        (["bat knot", "bat knot"], THREE, "top_2", "ranked"),
        (["bat 0.03", "bat 0.03"], THREE, "gap", "confidence"),
    ],
)
def test_the_metric_decides_what_the_cells_leave_open(cells, classes, metric, kind):
    sample = of_cells(*cells)
    assert suit_form(shown(sample, classes), find_metric(metric), sample, classes).kind == kind


@pytest.mark.parametrize(
    ("header", "cells", "metric", "kind"),
    [
        ("id,bat,flash,knot", "0,1,0", "log_loss", "probabilities"),
        ("id,bat,flash,knot", "0,0,0", "accuracy", "zero_one"),
        ("id,bat,flash,knot", "0.3,0.3,0.3", "accuracy", "probabilities"),
        ("id,bat,flash,knot", "0,1,0", "map@2", "probabilities"),
    ],
)
def test_columns_of_zeros_and_ones_hold_what_the_metric_reads(header, cells, metric, kind):
    sample = table(header, f"a,{cells}")
    assert suit_form(shown(sample, THREE), find_metric(metric), sample, THREE).kind == kind


@pytest.mark.parametrize(
    ("sample", "classes", "metric", "message"),
    [
        (
            of_cells("bat", "knot"),
            THREE,
            "log_loss",
            "'log_loss' needs probabilities, and the sample has room",
        ),
        (of_cells("bat knot"), THREE, "macro_auc", "'macro_auc' needs probabilities"),
        (of_cells("0.5", "0.5"), CATS, "accuracy", r"reads labels, and the sample asks for a probability .*holds 0.5"),
        (table("id,label,conf", "a,cat,0.5"), CATS, "roc_auc", "'roc_auc' needs probabilities"),
        (table("id,label,conf", "a,cat,0.5"), CATS, "map@2", "ranks 2 guesses, and the sample asks for one"),
    ],
)
def test_a_metric_that_the_form_cannot_serve_is_refused_with_the_remedy(sample, classes, metric, message):
    with pytest.raises(InputError, match=message):
        suit_form(shown(sample, classes), find_metric(metric), sample, classes)


def test_the_form_can_be_said_where_the_sample_does_not_show_it():
    sample = of_cells("0.5", "0.5")
    form = state_form(shown(sample), "label", sample, CATS)
    assert suit_form(form, find_metric("accuracy"), sample, CATS).kind == "label"
    empty = of_cells("", "")
    assert state_form(shown(empty), "probability", empty, CATS, "cat").positive == "cat"
    with pytest.raises(InputError, match='form = "label" does not fit the sample, which has 2 columns'):
        state_form(shown(table("id,label,conf", "a,cat,0.5")), "label", table("id,label,conf", "a,cat,0.5"), CATS)
