"""Predictions refuse what is not a table of probabilities, once for every model ever written."""

from __future__ import annotations

import numpy as np
import pytest

from kit.core.errors import InputError
from kit.scoring.predictions import Predictions, concatenate, mean_predictions, read_predictions, write_predictions

CLASSES = ("id", "b c ", "ü")


def some_predictions(n: int = 4) -> Predictions:
    return Predictions([f"{i:06d}" for i in range(n)], CLASSES, np.random.default_rng(n).dirichlet(np.ones(3), n))


def test_predictions_survive_the_disk(tmp_path):
    predictions = some_predictions()
    write_predictions(tmp_path / "p.parquet", predictions)
    read = read_predictions(tmp_path / "p.parquet")
    assert list(read.ids) == list(predictions.ids) and read.classes == CLASSES
    assert (read.proba == predictions.proba).all() and read.proba.dtype == np.float32


def test_predictions_of_no_image_survive_the_disk(tmp_path):
    write_predictions(tmp_path / "p.parquet", Predictions([], CLASSES, np.zeros((0, 3))))
    assert len(read_predictions(tmp_path / "p.parquet")) == 0


@pytest.mark.parametrize(
    ("ids", "proba", "message"),
    [
        (["a"], [[0.5, 0.5]], "shape"),
        (["a", "a"], [[1, 0, 0]] * 2, "repeat: a"),
        (["a"], [[np.nan, 0, 1]], "'a' are not finite"),
        (["a"], [[0.5, 0.5, 0.5]], "'a' sum to 1.5"),
        (["a"], [[1.5, -0.5, 0.0]], "0..1"),
        ([1], [[1, 0, 0]], "text"),
    ],
)
def test_wrong_predictions_are_refused(ids, proba, message):
    with pytest.raises(ValueError, match=message):
        Predictions(ids, CLASSES, np.array(proba, dtype=float))


def test_rows_are_joined_by_id_not_by_position():
    predictions = some_predictions()
    shuffled = predictions.at(predictions.ids[::-1])
    assert mean_predictions([predictions, shuffled]).proba == pytest.approx(predictions.proba)


def test_a_missing_id_is_named():
    with pytest.raises(InputError, match="nobody"):
        some_predictions().at(np.array(["nobody"], dtype=object))


def test_another_class_order_is_refused():
    predictions = some_predictions()
    other = Predictions(predictions.ids, CLASSES[::-1], predictions.proba)
    with pytest.raises(ValueError, match="class order differs"):
        concatenate([predictions, other])


def test_a_broken_file_is_named_with_the_remedy(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"p\.parquet.*delete .* and run again"):
        read_predictions(tmp_path / "p.parquet")


def test_predictions_keep_their_task(tmp_path):
    predictions = Predictions(["a", "b"], ("x", "y"), np.array([[0.9, 0.8], [0.1, 0.0]]), "multilabel")
    write_predictions(tmp_path / "p.parquet", predictions)
    read = read_predictions(tmp_path / "p.parquet")
    assert read.task == "multilabel" and read.at(["b"]).task == "multilabel"
    other = Predictions(["a", "b"], ("x", "y"), np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="tasks differ"):
        mean_predictions([predictions, other])
    with pytest.raises(ValueError, match=r"one of 'b' is 1\.5"):
        Predictions(["a", "b"], ("x", "y"), np.array([[0.9, 0.8], [0.1, 1.5]]), "multilabel")
