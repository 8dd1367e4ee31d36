"""Every form as it is written: header, order, ids, quotes and types of the sample, the right numbers in it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from support.sending import TEST_IDS, drawn, make_sent, sample_of, written

from kit.core.errors import InputError
from kit.kaggle.submission.check import check_file
from kit.kaggle.submission.sample import read_sample
from kit.scoring.predictions import Predictions

TURNED = TEST_IDS[::-1]


def cells(lines: list[str], at: int = 1) -> list[str]:
    return [row[at] for row in csv.reader(lines[1:])]


def check(prepared, lines: list[str]) -> None:
    """Read what was written back, as the gate does before it is sent."""
    path = prepared.competition.workspace.root / "sent.csv"
    path.write_text("\n".join(lines) + "\n")
    check_file(prepared, path)


@pytest.mark.parametrize(
    ("positive", "column", "code"), [(None, "label", 1), ("cat", "label", 0), (None, "is_cat", 0), (None, "P(dog)", 1)]
)
def test_one_number_is_the_probability_of_the_positive_class(tmp_path, capsys, positive, column, code):
    rest = f'[submission]\npositive = "{positive}"' if positive else ""
    prepared = make_sent(tmp_path, sample_of(f"id,{column}", "{id},0.5", TURNED), metric="roc_auc", rest=rest)
    test = drawn(prepared)
    lines = written(prepared, test)
    assert lines[0] == f"id,{column}" and cells(lines, 0) == list(TURNED)
    assert np.array(cells(lines), dtype=float) == pytest.approx(test.at(np.array(TURNED)).proba[:, code], abs=1e-6)
    assert ("the last one" in " ".join(capsys.readouterr().err.split())) == (positive is None and column == "label")
    check(prepared, lines)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("header", ["id,label", 'id,"label"'])
def test_what_parts_the_samples_cells_parts_those_of_the_submission(tmp_path, separator, header):
    prepared = make_sent(tmp_path, sample_of(header, "{id},cat").replace(",", separator))
    test = drawn(prepared)
    lines = written(prepared, test)
    assert lines[0] == header.replace(",", separator)
    likeliest = [prepared.classes[code] for code in test.at(np.array(TEST_IDS)).proba.argmax(axis=1)]
    assert lines[1:] == [f"{image_id}{separator}{name}" for image_id, name in zip(TEST_IDS, likeliest, strict=True)]
    check(prepared, lines)


def test_numbers_with_a_decimal_comma_are_refused(tmp_path):
    prepared = make_sent(tmp_path, sample_of("id;dog", "{id};0,5"), metric="roc_auc")
    with pytest.raises(InputError, match="'dog' holds numbers with a decimal comma, 0,5; write decimal points"):
        written(prepared)


@pytest.mark.parametrize(
    ("cell", "metric", "expected"),
    [
        ("['a']", "accuracy", "['{0}']"),
        ('"[""a""]"', "accuracy", '["{0}"]'),
        ("[a]", "accuracy", "[{0}]"),
        ("\"['a', 'b']\"", "map@2", "['{0}', '{1}']"),
        ("\"['a','b']\"", "map@2", "['{0}','{1}']"),
    ],
)
def test_a_list_in_a_cell_is_written_as_the_sample_writes_it(tmp_path, cell, metric, expected):
    prepared = make_sent(tmp_path, sample_of("id,label", f"{{id}},{cell}"), ("a", "b", "c"), metric)
    test = drawn(prepared)
    lines = written(prepared, test)
    order = np.argsort(-test.at(np.array(TEST_IDS)).proba, axis=1, kind="stable")
    assert cells(lines) == [expected.format(*(prepared.classes[code] for code in row)) for row in order]
    check(prepared, lines)
    with pytest.raises(InputError, match="'a' is no list of labels"):
        check(prepared, [lines[0], *(f"{image_id},a" for image_id in TEST_IDS)])


def test_a_nearly_certain_probability_is_not_written_as_certain(tmp_path):
    prepared = make_sent(tmp_path, sample_of("id,label", "{id},0"), ("0", "1"), "log_loss")
    proba = np.tile(np.array([1e-12, 1.0], dtype=np.float32), (6, 1))
    lines = written(prepared, Predictions(np.array(TEST_IDS, dtype=object), prepared.classes, proba))
    assert [1 - float(cell) for cell in cells(lines)] == pytest.approx([1e-12] * 6, rel=1e-3)


def test_a_probability_per_class_sums_to_one_and_keeps_tiny_numbers(tmp_path):
    classes = ("a", "b", "c")
    prepared = make_sent(tmp_path, sample_of("id,b,c,a", "{id},0.3,0.3,0.4"), classes, "log_loss")
    proba = np.tile(np.array([1e-20, 0.3, 0.7], dtype=np.float32), (6, 1))
    lines = written(prepared, Predictions(np.array(TEST_IDS, dtype=object), classes, proba))
    rows = [[float(cell) for cell in line.split(",")[1:]] for line in lines[1:]]
    assert rows[0] == pytest.approx([0.3, 0.7, 1e-20], rel=1e-6) and abs(sum(rows[0]) - 1) < 1e-8
    check(prepared, lines)


def test_guesses_stand_in_the_order_of_their_probability(tmp_path):
    classes = ("a", "b", "c", "d")
    prepared = make_sent(tmp_path, sample_of("Image,Id", "{id},a b c"), classes, "map@3")
    test = drawn(prepared)
    lines = written(prepared, test)
    best = np.argsort(-test.proba, axis=1)[:, :3]
    assert cells(lines) == [" ".join(classes[code] for code in row) for row in best]
    check(prepared, lines)


@pytest.mark.parametrize(
    ("header", "row", "at"), [("id,label,conf", "{id},cat,0.5", 2), ("id,landmarks", "{id},cat 0.5", 1)]
)
def test_a_confidence_is_the_probability_of_the_class_that_is_written(tmp_path, header, row, at):
    prepared = make_sent(tmp_path, sample_of(header, row))
    test = drawn(prepared)
    lines = written(prepared, test)
    labels = [cell.split(" ")[0] for cell in cells(lines)]
    assert labels == [prepared.classes[code] for code in test.proba.argmax(axis=1)]
    sure = [float(cell.split(" ")[-1]) for cell in cells(lines, at)]
    assert sure == pytest.approx(test.proba.max(axis=1).tolist(), abs=1e-6)
    check(prepared, lines)


@pytest.mark.parametrize(
    ("header", "row"),
    [("ID,p", "{id}_{name},0.5"), ("image,kind,p", "{id},{name},0.5"), ("ID,p", "x/{id}.png_{name},0")],
)
def test_a_row_per_image_and_class_gets_that_classs_probability(tmp_path, header, row):
    names = ("dog", "cat")
    rows = [row.format(id=image_id, name=name) for image_id in TURNED for name in names]
    prepared = make_sent(tmp_path, "\n".join([header, *rows]) + "\n", metric="log_loss")
    test = drawn(prepared)
    lines = written(prepared, test)
    assert [line.rsplit(",", 1)[0] for line in lines[1:]] == [line.rsplit(",", 1)[0] for line in rows]
    expected = test.at(np.array(TURNED)).proba[:, [1, 0]].ravel()
    assert np.array(cells(lines, -1), dtype=float) == pytest.approx(expected, abs=1e-6)
    check(prepared, lines)


def test_a_row_per_image_and_class_of_zeros_holds_decisions_where_the_metric_reads_labels(tmp_path):
    rows = [f"{image_id}_{name},0" for image_id in TEST_IDS for name in ("cat", "dog")]
    prepared = make_sent(tmp_path, "\n".join(["ID,p", *rows]) + "\n")
    test = drawn(prepared)
    values = np.array(cells(written(prepared, test)), dtype=int).reshape(-1, 2)
    assert (values.argmax(axis=1) == test.proba.argmax(axis=1)).all() and (values.sum(axis=1) == 1).all()


def test_columns_of_zeros_and_ones_are_one_hot_where_the_metric_reads_labels(tmp_path):
    prepared = make_sent(tmp_path, sample_of("id,cat,dog", "{id},False,True"))
    test = drawn(prepared)
    lines = written(prepared, test)
    assert [line.split(",")[1:] for line in lines[1:]] == [
        ["False", "True"] if code else ["True", "False"] for code in test.proba.argmax(axis=1)
    ]
    check(prepared, lines)


@pytest.mark.parametrize(
    ("classes", "cell", "texts"),
    [
        (("0", "1"), "0.0", {"0.0", "1.0"}),
        (("0", "1"), "False", {"False", "True"}),
        (("False", "True"), "0", {"0", "1"}),
        (("1", "2"), "42", {"1", "2"}),
        (("1", "2"), "", {"1", "2"}),
        (("cat", "dog"), "0", {"0", "1"}),
        (("flash ", "knot"), "knot", {"flash ", "knot"}),
    ],
)
def test_labels_are_of_the_samples_type(tmp_path, classes, cell, texts):
    prepared = make_sent(tmp_path, sample_of("id,label", f"{{id}},{cell}"), classes)
    lines = written(prepared, drawn(prepared))
    assert set(cells(lines)) == texts
    check(prepared, lines)


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ('"id","label"', '"{id}","cat"', ['"id","label"', '"{id}","{label}"']),
        ('id,"label"', '{id},"cat"', ['id,"label"', '{id},"{label}"']),
        ("id, label", "{id},cat", ["id, label", "{id},{label}"]),
        ("label,id", "cat,{id}", ["label,id", "{label},{id}"]),
        (",id,label", "{n},{id},cat", [",id,label", "{n},{id},{label}"]),
        ("id,label", "test/{id}.png,cat", ["id,label", "test/{id}.png,{label}"]),
        ("id,label", "/kaggle/input/x/{id}.jpg,cat", ["id,label", "/kaggle/input/x/{id}.jpg,{label}"]),
        ("id,label,Usage", "{id},cat,Public", None),
    ],
)
def test_header_ids_quotes_and_other_columns_stay_as_they_are(tmp_path, header, row, expected):
    prepared = make_sent(tmp_path, sample_of(header, row, TURNED))
    if expected is None:
        with pytest.raises(InputError, match="columns are neither one label nor the 2 classes: Usage, cat, dog, label"):
            written(prepared)
        return
    test = drawn(prepared)
    labels = [prepared.classes[code] for code in test.at(np.array(TURNED)).proba.argmax(axis=1)]
    assert written(prepared, test) == [
        expected[0],
        *(expected[1].format(id=name, n=n, label=labels[n]) for n, name in enumerate(TURNED)),
    ]


@pytest.mark.parametrize(
    ("shown", "ids"),
    [(("1.0", "2.0", "3.0"), ("1", "2", "3")), (("1", "2", "3"), ("001", "002", "003")), (("A", "B "), ("a", "b"))],
)
def test_ids_of_another_form_mean_the_one_image_that_fits(tmp_path, shown, ids):
    prepared = make_sent(tmp_path, sample_of("id,label", "{id},cat", shown), test_ids=ids)
    assert list(read_sample(prepared).ids) == list(ids)
    assert cells(written(prepared), 0) == list(shown)


def test_a_row_too_many_gets_the_mean_of_all_and_is_named(tmp_path, capsys):
    prepared = make_sent(tmp_path, sample_of("id,p", "{id},0.5", (*TEST_IDS, "ghost")), metric="roc_auc")
    test = drawn(prepared)
    numbers = np.array(cells(written(prepared, test)), dtype=float)
    assert numbers[-1] == pytest.approx(test.proba[:, 1].mean(), abs=1e-6) and len(numbers) == 7
    assert "1 of 7 ids have no test image: ghost" in " ".join(capsys.readouterr().err.split())


def test_test_images_that_the_sample_does_not_ask_for_are_left_out_and_named(tmp_path, capsys):
    prepared = make_sent(tmp_path, sample_of("id,label", "{id},cat", TEST_IDS[:4]))
    assert len(written(prepared)) == 5
    assert "2 test images are not in it and are left out: t04, t05" in " ".join(capsys.readouterr().err.split())


def test_an_id_that_stands_twice_is_refused_with_the_remedy(tmp_path):
    prepared = make_sent(tmp_path, sample_of("id,label", "{id},cat", (*TEST_IDS, "t00")))
    with pytest.raises(InputError, match="ids repeat: t00; an image has one row, take the others out"):
        read_sample(prepared)


@pytest.mark.parametrize(
    ("listed", "metric", "classes", "header", "first"),
    [
        ("image_name,target", "accuracy", ("cat", "dog"), "image_name,target", "t00.png"),
        ("image_name,target", "roc_auc", ("0", "1"), "image_name,target", "t00.png"),
        (None, "accuracy", ("cat", "dog"), "id,label", "t00"),
        (None, "log_loss", ("a", "b", "c"), "id,a,b,c", "t00"),
        ("file,kind", "log_loss", ("a", "b", "c"), "file,a,b,c", "t00.png"),
    ],
)
def test_without_a_sample_columns_and_ids_are_those_of_the_training_list(
    tmp_path, listed, metric, classes, header, first
):
    prepared = make_sent(tmp_path, None, classes, metric, listed=listed)
    lines = written(prepared)
    assert lines[0] == header and lines[1].split(",")[0] == first and len(lines) == 7
    if metric != "accuracy":
        assert all(0 < float(cell) < 1 for cell in cells(lines))


def test_certain_zeros_are_counted_where_the_log_loss_counts(tmp_path, capsys):
    prepared = make_sent(tmp_path, sample_of("id,cat,dog", "{id},0.5,0.5"), metric="log_loss")
    proba = np.array([[0, 1], [0.5, 0.5]] * 3)
    written(prepared, Predictions(np.array(TEST_IDS, dtype=object), prepared.classes, proba))
    assert "3 of 6 images have a class of probability exactly 0" in " ".join(capsys.readouterr().err.split())


def test_a_metric_of_probabilities_is_refused_where_the_sample_has_room_for_labels(tmp_path):
    prepared = make_sent(tmp_path, sample_of("id,label", "{id},a"), ("a", "b", "c"), "log_loss")
    with pytest.raises(InputError, match=r"sample.csv: metric 'log_loss' needs probabilities.*\[submission\] form"):
        read_sample(prepared)


def test_labels_can_be_asked_for_all_the_same(tmp_path):
    rest = '[submission]\nform = "label"'
    prepared = make_sent(tmp_path, sample_of("id,label", "{id},a"), ("a", "b", "c"), "log_loss", rest)
    assert set(cells(written(prepared))) <= {"a", "b", "c"}


@pytest.mark.parametrize(
    ("sample", "metric", "text", "message"),
    [
        (
            sample_of("id,label", "{id},0"),
            "roc_auc",
            sample_of("id,label", "{id},1"),
            "every number is 0 or 1, as",
        ),
        (sample_of("id,label", "{id},0"), "roc_auc", sample_of("id,label", "{id},dog"), "dog is not a probability"),
        (
            sample_of("id,0,1", "{id},1,0"),
            "log_loss",
            sample_of("id,0,1", "{id},0.9,0.9"),
            "sum to 1.800, not 1 .6 r",
        ),
        (sample_of("id,label", "{id},0"), "accuracy", sample_of("id,label", "{id},0.7"), "that are not classes: 0.7"),
        (sample_of("id,label", "{id},0"), "accuracy", sample_of("id,label", "{id},"), "empty values in 6 rows"),
        (sample_of("id,l,conf", "{id},0,1"), "accuracy", sample_of("id,l,conf", "{id},0,9"), "'conf': 9 is not a prob"),
        (sample_of("id,0,1", "{id},1,0"), "accuracy", sample_of("id,0,1", "{id},0.4,0.6"), "0.4 is not 0 or 1"),
    ],
)
def test_the_gate_reads_the_file_back_and_checks_its_form_against_the_metric(tmp_path, sample, metric, text, message):
    prepared = make_sent(tmp_path, sample, ("0", "1"), metric)
    with pytest.raises(InputError, match=message):
        check(prepared, text.splitlines())
